"""After `pawnscope compile` no command compiles anything, whatever it does and however long."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import event

from engine.rules.compilation.decorators import JIT_ENABLED
from scripts import cli
from scripts.commands.compile import compile_all

UCI = """uci
setoption name UCI_Variant value hexapawn
isready
position startpos
go nodes 30
position startpos moves a1a2 c3c2
go nodes 30
position startpos moves b1b2 a3b2
go nodes 30
quit
"""
TOUR = (
    "perft gardner 3 --divide",
    "solve hexapawn4x4",
    "solve gardner --men 3 --out {0}/tables",
    "train hexapawn --minutes 0.02 --run {0}/run",
    "train hexapawn --minutes 0.03 --run {0}/run",
    "train hexapawn3x4 --minutes 0.02 --run {0}/rescored --config {0}/rescored.toml",
    "train hexapawn --minutes 0.02 --run {0}/taught --teacher solver",
    "match gumbel:8:{0}/run mcts:8:{0}/run hexapawn --games 4",
    "match uct:20 alphabeta:3 gardner --games 2 --tablebases {0}/tables",
    "match minimax:2 perfect hexapawn4x4 --games 4",
    "match policy:{0}/run random hexapawn --games 2",
    "match mcts:20 alphabeta:2 gardner --games 2",
    "evaluate {0}/run --games 2",
    "probe {0}/run --positions 40 --checkpoints 1",
    "language train hexapawn --minutes 0.02 --run {0}/language",
    "language continue hexapawn --checkpoint {0}/language",
    "match language:{0}/language random hexapawn --games 2",
)


class _Compilations(event.Listener):
    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, event: event.Event) -> None:
        function = event.data["dispatcher"].py_func
        self.names.append(f"{function.__module__}.{function.__qualname__}")

    def on_end(self, event: event.Event) -> None:
        pass


def tour(folder: Path) -> list[str]:
    """Run all commands in this process; what they compiled."""
    (folder / "rescored.toml").write_text('[learning]\nrescore = "both"\n')
    seen = _Compilations()
    event.register("numba:compile", seen)
    for line in TOUR:
        words = line.format(folder).split()
        assert cli.main(words) == 0, line
    sys.stdin = io.StringIO(UCI)
    assert cli.main(["uci", "--player", f"mcts:20:{folder}/run"]) == 0
    return seen.names


@pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled where JIT is off")
def test_no_command_compiles(tmp_path: Path) -> None:
    compile_all(quiet=True)
    run = subprocess.run(
        [sys.executable, "-m", "tests.scripts.test_warm", str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1] == "compiled: []"


if __name__ == "__main__":
    sys.stdout.write(f"compiled: {tour(Path(sys.argv[1]))}\n")
