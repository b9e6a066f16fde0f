"""What each command says is kept and lost when it is interrupted, and that it is true."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine.system.termination import Terminated
from scripts import cli
from scripts.commands import bench, compile, evaluate, solve, study
from scripts.commands.match import running
from scripts.commands.probe import main as probe
from scripts.terminal.training_bars import TrainingBars, what_is_kept
from training.evaluation import arena


def interrupt(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "module", "name", "kept"),
    [
        ("solve hexapawn", solve, "solve", "nothing of the solution is kept; the same command"),
        ("solve gardner --men 2", solve, "solve_endgames", "nothing is kept without --out"),
        (
            "solve gardner --men 2 --out tables",
            solve,
            "solve_endgames",
            "the tables that are whole are kept in tables; the same command continues",
        ),
        ("evaluate run", evaluate, "_Evaluation", "the ladder's games are kept in the run"),
        (
            "probe run",
            probe,
            "probe_runs",
            "nothing was measured yet; the same command begins again",
        ),
        ("study sizes --out folder", study, "importlib", "folder: every saved round and every"),
        ("bench", bench, "_measure", "the figures measured so far are those above"),
        ("bench --json", bench, "_measure", "the figures measured so far are lost"),
        (
            "match random random hexapawn",
            running,
            "match_games",
            "no game of 100 is over; the same",
        ),
        ("compile", compile, "_run", "what is compiled is kept; the next start compiles the rest"),
    ],
)
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_command_says_what_is_kept(
    words: str,
    module: Any,
    name: str,
    kept: str,
    quiet: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "importlib":
        study_module = type("Study", (), {"measure": interrupt})
        planted = type("Importer", (), {"import_module": lambda *_: study_module})
        monkeypatch.setattr(module, name, planted)
    else:
        monkeypatch.setattr(module, name, interrupt)
    if module is probe:
        monkeypatch.setattr(module, "_report_path", lambda _: Path("report.html"))
    if module is compile:
        monkeypatch.setattr(module, "missing_tasks", list)
    assert cli.main([*words.split(), *quiet]) == 130
    *_, said, last = capsys.readouterr().err.splitlines()
    assert kept in said
    assert last == "pawnscope: interrupted"
    assert not list(tmp_path.iterdir())


def test_an_interrupted_report_says_where_its_layers_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def measure_one(*_: object, folder: Path, **__: object) -> NoReturn:
        (folder / "digest").mkdir(parents=True)
        (folder / "digest/untrained-1-final.npz").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "probe_runs", measure_one)
    monkeypatch.setattr(probe, "_report_path", lambda _: Path("report.html"))
    assert cli.main(["probe", "run"]) == 130
    said = capsys.readouterr().err
    assert "the layers that are measured are kept in report.parts; the same command" in said


def test_sigterm_is_told_from_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminate(*_: object, **__: object) -> NoReturn:
        raise Terminated

    monkeypatch.setattr(solve, "solve", terminate)
    assert cli.main(["solve", "hexapawn"]) == 143
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "nothing of the solution is kept; the same command begins it again",
        "pawnscope: terminated",
    ]


def test_a_match_keeps_the_games_that_are_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    games = arena.match_games

    def cut_short(*players: Any, **settings: Any) -> Iterator[Any]:
        played = games(*players, **settings)
        with contextlib.closing(played):
            yield from (next(played) for _ in range(2))
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "match_games", cut_short)
    pgn = tmp_path / "games.pgn"
    words = ["match", "random", "random", "hexapawn", "--games", "9", "--pgn", str(pgn)]
    assert cli.main(words) == 130
    printed = capsys.readouterr()
    assert f"interrupted: 2 of 9 games are over, which count and are kept in {pgn};" in printed.err
    assert " of 2 games " in printed.out
    assert pgn.read_text().count("[Result ") == 2


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (None, "nothing was learned yet; the same command begins it again"),
        (0, "no round was finished yet; the same command continues"),
        (5, "kept up to round 5; the same command continues"),
    ],
)
def test_a_training_says_up_to_which_round_it_is_kept(
    saved: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.terminal.training_bars.saved_round", lambda _: saved)
    assert what_is_kept(Path("runs/x")) == f"runs/x: {said}"


def test_the_bars_of_a_training_are_gone_before_it_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = TrainingBars(Path("runs/x"), quiet=False)
    closed: list[Callable[[], None]] = []
    bars.close = lambda: closed.append(bars.close)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), bars.training():
        interrupt()
    assert closed
    assert capsys.readouterr().err.startswith("runs/x: nothing was learned yet")
