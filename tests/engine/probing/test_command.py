"""`pawnscope probe`: what it writes, where its positions come from, and how it refuses."""

import errno
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from engine.network.checkpoint import save_checkpoint
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.report.page import render_page
from engine.rules.variant import get_variant
from scripts import cli
from scripts.commands.probe import main, running
from scripts.commands.probe.subjects import choose_subjects
from scripts.terminal.progress import Bars
from search.evaluator import UniformEvaluator
from tests.support.network.network_cases import lively_network
from tests.support.network.stored_reports import read_back
from tests.support.network.universal_cases import lively_universal
from tests.support.training.training_cases import self_play_config
from training.data.shards import save_games
from training.selfplay.games import SelfPlay


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solutions that the command keeps stay out of the person's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_run(path: Path, *networks: PolicyValueNet) -> Path:
    """A run directory with these networks as its checkpoints."""
    (path / "checkpoints").mkdir(parents=True)
    for step, network in enumerate(networks):
        name = f"{100 * step:08d}.safetensors"
        save_checkpoint(path / "checkpoints" / name, network, metadata={"step": 100 * step})
    return path


def probe(*words: str | Path) -> int:
    return cli.main(["probe", *map(str, words)])


def test_a_run_gets_a_page_and_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    class Recorded(Bars):
        def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
            begun.append(name)
            super().begin(name, total, unit, logged=logged)

    monkeypatch.setattr(main, "Bars", Recorded)
    networks = [lively_network("hexapawn4x4", "geometric", seed) for seed in range(3)]
    run = make_run(tmp_path / "run", *networks)
    assert probe(run, "--positions", "60", "--checkpoints", "2") == 0
    assert [name.partition(" ")[0] for name in begun] == [f"{n}/7" for n in range(1, 8)]
    assert "2/7 probing" in begun
    printed = capsys.readouterr().out
    assert f"report: {run / 'report.html'}" in printed
    page = (run / "report.html").read_text(encoding="utf-8")
    stored = (run / "report.json").read_text(encoding="utf-8")
    # Both hold the same figures, and these are not longer than anyone reads.
    assert render_page(read_back(stored)) == page
    long = re.compile(r"[1-9]\d{3,}\.\d{4}|\.0*[1-9]\d{6}")
    for text in (stored, (run / "report.csv").read_text(encoding="utf-8")):
        assert long.search(text) is None
    report = json.loads(stored)
    assert report["counts"]["source"] == "a random 60 of 11,420 reachable unfinished positions"
    assert report["counts"]["source"] in page
    (probed,) = report["runs"]
    assert [each["step"] for each in probed["checkpoints"]] == [0, 200]
    assert {"material", "game value", "a pawn can break through", "zugzwang"} < {
        each["name"] for each in report["concepts"]
    }
    assert {"lens", "play", "openings", "entanglement", "factors"} <= set(report["sections"])
    assert report["command"] == f"pawnscope probe {run} --positions 60 --checkpoints 2"
    assert report["command"] in page
    assert sorted(item.name for item in run.iterdir()) == [
        "checkpoints",
        "report.csv",
        "report.html",
        "report.json",
    ]


def test_several_runs_are_one_report_and_must_be_of_one_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        make_run(tmp_path / f"run{seed}", *[lively_network("hexapawn", "geometric", seed)] * 3)
        for seed in range(2)
    ]
    assert probe(*runs, "--checkpoints", "2", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    report = json.loads((runs[0] / "report.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in report["runs"]] == [str(run) for run in runs]
    assert set(figures) == {"concepts", "cells", "supported", "refused", "seconds"}
    assert figures["cells"] == len(report["cells"])
    assert figures["refused"] == sum(cell["refused"] is not None for cell in report["cells"])
    assert {each["place"] for each in report["combined"]} <= {0, 1}
    assert not (runs[1] / "report.html").exists()
    assert probe(runs[1], runs[1]) == 2
    assert f"{runs[1]} and {runs[1]} are one network" in capsys.readouterr().err
    variant = get_variant("hexapawn")
    ((_, (last,)),) = choose_subjects(runs[:1], variant, 1)
    assert (last.summary.step, last.summary.role) == (200, "only")
    other = make_run(tmp_path / "other", lively_network("hexapawn", "residual"))
    assert probe(runs[0], other) == 2
    assert "are networks of different builds" in capsys.readouterr().err
    elsewhere = make_run(tmp_path / "elsewhere", lively_network("baby", "residual"))
    assert probe(runs[0], elsewhere) == 2
    assert f"plays hexapawn and {elsewhere} plays baby" in capsys.readouterr().err


PRINTING = """
import os
import re
from engine.probing.concepts.registry import concept
print("while it is read")
os.system("echo by a program")

@concept("few moves", kind="binary")
def few_moves(positions):
    \"\"\"Under two legal moves.\"\"\"
    print("while it is asked")
    return positions.legal.counts < 2
"""


def test_one_checkpoint_another_place_and_a_file_of_concepts_that_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "geometric"), metadata={})
    (tmp_path / "mine.py").write_text(PRINTING, encoding="utf-8")
    words = ("--out", tmp_path / "page.html", "--concepts-from", tmp_path / "mine.py")
    assert probe(path, "--json", *words) == 0
    printed, messages = capfd.readouterr()
    assert json.loads(printed)["supported"] == []
    assert printed.count("\n") == 1
    assert {"while it is read", "by a program", "while it is asked"} <= set(messages.splitlines())
    report = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert "few moves" in {each["name"] for each in report["concepts"]}
    assert report["counts"]["rows"] == 70
    assert report["counts"]["census"] is True
    assert report["runs"][0]["checkpoints"] == [{"name": "one", "role": "only", "step": None}]
    refused = {cell["refused"] for cell in report["cells"] if cell["width"] == 32}
    said = f"{report['counts']['train_distinct']} distinct training positions, 32 are needed"
    assert f"refused: {said}" in refused
    assert None not in refused
    assert "one (one)" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_full_disk_loses_nothing_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "geometric"), metadata={})
    page = tmp_path / "page.html"

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(page))

    with monkeypatch.context() as patched:
        patched.setattr("scripts.commands.probe.main.write_report", full)
        assert probe(path, "--out", page) != 0
    assert "No space left on device" in capsys.readouterr().err
    assert list(page.with_suffix(".parts").rglob("*.npz"))
    monkeypatch.setattr("engine.probing.surface.measure.score_layer", None)
    assert probe(path, "--out", page) == 0
    assert page.exists()
    assert not page.with_suffix(".parts").exists()


def test_each_of_several_games_has_its_page(tmp_path: Path) -> None:
    games = ["hexapawn", "hexapawn4x3"]
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    path = run / "checkpoints" / "00000000.safetensors"
    save_checkpoint(path, lively_universal("geometric"), metadata={"step": 0}, trained_on=games)
    for game in games:
        assert probe(run, "--game", game, "--positions", "30") == 0
    pages = {path.name: path.read_text(encoding="utf-8") for path in run.glob("report*.html")}
    assert set(pages) == {f"report-{game}.html" for game in games}
    for game in games:
        assert json.loads((run / f"report-{game}.json").read_text())["variant"] == game


def add_games(run: Path, shards: int) -> None:
    """Self-play without a network, a few games a shard."""
    variant = get_variant("gardner")
    (run / "games").mkdir()
    config = self_play_config(games=16, simulations=2, longest_game=8, temperature_plies=99)
    play = SelfPlay(variant, config, np.random.default_rng(0))
    for number in range(shards):
        rows = play.play(UniformEvaluator(), 300)
        save_games(run / "games" / f"{number:08d}.safetensors", rows, variant, {})


def test_an_unsolved_game_is_probed_on_the_run_s_own_games(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", lively_network("gardner", "geometric"))
    add_games(run, 2)
    words = ("--positions", "240", "--json", "--seed", "3", "--untrained", "2")
    assert probe(run, *words) == 0
    assert json.loads(capsys.readouterr().out)["concepts"] > 80
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    counts = report["counts"]
    assert counts["source"].endswith("self-play games of the run")
    assert 240 <= int(counts["source"].split()[0]) < 260
    assert counts["split_by"] == "canonical position and game"
    assert counts["test_games"] >= 8
    assert report["seed"] == 3
    assert report["random_seeds"] == [4, 5]
    absent = {each["name"]: each["absent"] for each in report["concepts"]}
    assert absent["game value"].startswith("gardner is not solved here, so that exact results")
    assert absent["game value"] in (run / "report.html").read_text(encoding="utf-8")


def test_a_run_without_games_is_probed_on_random_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", lively_network("gardner", "geometric"))
    assert probe(run, "--positions", "200", "--untrained", "2") == 0
    assert "games of random moves" in capsys.readouterr().out


def test_games_of_another_variant_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", lively_network("baby", "geometric"))
    add_games(run, 1)
    assert probe(run) == 2
    assert "games of 'gardner' by other rules than baby's" in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_a_closed_folder_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(
        tmp_path / "one.safetensors", lively_network("hexapawn", "geometric"), metadata={}
    )

    def refuse(**_: object) -> None:
        raise PermissionError

    # Whoever may write everywhere runs the tests, too.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(running, "surface", lambda *_, **__: pytest.fail("it probes"))
    page = tmp_path / "page.html"
    for words in (("--out", str(page)), ()):
        assert probe(str(tmp_path / "one.safetensors"), *words) == 2
        assert f"nothing can be written to the folder {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nowhere",), "No such file or directory: nowhere"),
        (("empty",), "no checkpoints there"),
        (("half.safetensors",), "truncated or not a safetensors file"),
        (("one.safetensors", "--positions", "3"), "--positions 3 is not a whole number of at"),
        (("one.safetensors", "--out", "page.json"), "--out page.json: the report's name ends in"),
        (("one.safetensors", "--readout", "median"), "--readout is 'median', not one of"),
        (("one.safetensors", "--out", "no/such/page.html"), "there is no folder no/such"),
        (("one.safetensors", "--out", "folder.html"), "--out folder.html: that is a folder"),
        ((), "missing: RUN"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint("one.safetensors", lively_network("hexapawn", "geometric"), metadata={})
    Path("half.safetensors").write_bytes(Path("one.safetensors").read_bytes()[:2000])
    Path("empty").mkdir()
    Path("folder.html").mkdir()
    assert probe(*words) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
    left = {item.name for item in tmp_path.iterdir()}
    assert left <= {"one.safetensors", "half.safetensors", "empty", "folder.html", "cache"}
