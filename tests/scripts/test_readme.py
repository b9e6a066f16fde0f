"""Every command of the README runs, in its order, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine.rules.position import Position
from engine.rules.variant import get_variant
from scripts import cli
from scripts.setup.checks import ROOT
from search.exact.solver import solve

SHORT = """
raw_sample = 500
search_sample = 100
search_simulations = 4
network = { channels = 16, hidden = 32, policy_channels = 16 }
self_play = { first_simulations = 0, simulations = 4, positions = 256 }
"""
"""Settings of a short training with few measurements, in a file of their own."""
SHORT_TRAINING = ["--minutes", "0.01", "--actors", "0", "--config", "short.toml"]
SHORTENED = {
    "train hexapawn4x4": SHORT_TRAINING,
    "train gardner --minutes 10": SHORT_TRAINING,
    "train hexapawn4x4+hexapawn5x4": SHORT_TRAINING,
    "train losalamos --from runs/gardner": SHORT_TRAINING,
    "language train hexapawn4x4": ["--rounds", "2"],
    "evaluate runs/hexapawn4x4": ["--games", "2", "--simulations", "8"],
    "probe runs/hexapawn4x4": ["--positions", "100", "--checkpoints", "2"],
    "match mcts:64 alphabeta:4 gardner --games 20 --pgn games.pgn": ["--games", "2"],
}
"""What would take minutes runs with these words behind it: the same code for less long."""
SKIPPED = {"python3 scripts/test.py"}
"""That is this test's own caller."""
TYPED = {"play": "moves\nhint\nresign\nquit\n", "uci": "uci\nisready\nquit\n"}


def readme_commands() -> list[str]:
    """The indented command lines, with `pawnscope` for the way to start it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (pawnscope .*|python3 .*)$", text, flags=re.MULTILINE)
    commands = [re.sub(r"^python3 scripts/run\.py", "pawnscope", line.strip()) for line in lines]
    return list(dict.fromkeys(line for line in commands if line not in SKIPPED))


def run_program(words: list[str], folder: Path) -> tuple[int, str]:
    """A command as a person starts it: its status and all that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        input=TYPED.get(words[0], ""),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.timeout(600)
def test_every_command_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.toml").write_text(SHORT, encoding="utf-8")
    commands, shortened = readme_commands(), dict(SHORTENED)
    assert len(commands) >= 10
    # The games are trained before they are played or probed, whatever the order of the chapters.
    commands.sort(key=lambda command: not command.startswith("pawnscope train"))
    for command in commands:
        words = shlex.split(command)[1:]
        words += shortened.pop(" ".join(words), [])
        if words[0] in TYPED or command is commands[0]:
            status, printed = run_program(words, tmp_path)
        else:
            # In this process: a start takes as long as most of these commands.
            status, printed = cli.main(words), "".join(capfd.readouterr())
        assert status == 0, f"{command}\n{printed[-2000:]}"
        assert "Traceback" not in printed
    assert not shortened, "no longer in the README"
    assert (tmp_path / "games.pgn").read_text().count("[Variant ") == 2
    assert (tmp_path / "runs" / "hexapawn4x4" / "report.html").exists()


def test_the_figures_and_the_picture_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert pictures
    assert all((ROOT / picture).exists() for picture in pictures)


def test_the_python_examples_run(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert len(blocks[0].splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    evaluation, searched, *others = re.split(r"\n(?=\S)", done.stdout.strip())
    assert evaluation.startswith("gardner, White to move: value ")
    assert len(evaluation.splitlines()) == 2 + len(Position("gardner").legal_moves)
    assert re.match(r"gardner, White to move: .* 400 simulations\n", searched)
    assert searched.splitlines()[-1].startswith("  line: ")
    exact = solve(get_variant("hexapawn4x4")).value(get_variant("hexapawn4x4").start_row)
    assert others == [str(exact), "(25, 64)", "(2, 3) (2, 25, 64)"]
