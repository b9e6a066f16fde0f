"""`pawnscope match`: its figures, its PGN, and what it does with bad words and sudden ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.rules.errors import InputError
from engine.rules.pgn import GameRecord, read_pgn
from engine.rules.variant import get_variant
from engine.system.files import append_to
from scripts import cli, players
from scripts.commands import match

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No runs and no solutions of the person's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(players, "solution_cache", lambda: tmp_path / "solutions")


Play = Callable[..., tuple[dict[str, float], list[GameRecord]]]


@pytest.fixture
def play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    """Play a match; its figures and its games."""

    def run(*words: str) -> tuple[dict[str, float], list[GameRecord]]:
        path = tmp_path / "games.pgn"
        path.unlink(missing_ok=True)
        assert match.main([*words, "--json", "--pgn", str(path)]) == 0
        figures = json.loads(capsys.readouterr().out)
        return figures, list(read_pgn(path.read_text(encoding="utf-8")))

    return run


def test_the_figures_of_a_match(play: Play) -> None:
    figures, games = play("random", "alphabeta:2", "hexapawn4x4", "--games", "7")
    assert figures["complete"]
    assert list(figures) == [
        *("games", "complete", "wins", "draws", "losses", "elo", "elo_low", "elo_high"),
        *("illegal", "time_losses", "distinct", "pairs", "distinct_pairs", "independent_pairs"),
    ]
    assert figures["games"] == len(games) == 7
    assert figures["wins"] + figures["draws"] + figures["losses"] == 7
    assert figures["elo_low"] < figures["elo"] < figures["elo_high"]
    assert figures["illegal"] == figures["time_losses"] == 0


def test_perfect_play_against_itself_is_black_s(play: Play) -> None:
    figures, games = play("perfect", "perfect", "hexapawn", "--games", "10")
    assert [game.result for game in games] == ["0-1"] * 10
    assert all(len(game.moves) == 6 for game in games)
    assert (figures["wins"], figures["losses"], figures["elo"]) == (5, 5, 0.0)


def test_perfect_play_never_loses_as_black(play: Play) -> None:
    figures, games = play("perfect", "random", "hexapawn", "--games", "60")
    as_black = [game.result for game in games if game.tags["Black"] == "perfect"]
    assert as_black == ["0-1"] * 30
    assert figures["wins"] >= 30
    assert figures["elo_low"] > 0


def test_the_games_are_those_of_the_score(play: Play) -> None:
    figures, games = play("uct:20", "random", "gardner", "--games", "6", "--seed", "4")
    wins = sum(
        game.result == ("1-0" if game.tags["White"] == "uct:20" else "0-1") for game in games
    )
    assert figures["wins"] == wins
    assert [game.tags["White"] for game in games] == ["uct:20", "random"] * 3
    assert all(game.variant is get_variant("gardner") for game in games)
    assert all(games[i].moves[:2] == games[i + 1].moves[:2] for i in (0, 2, 4))
    assert play("uct:20", "random", "gardner", "--games", "6", "--seed", "4")[1] == games
    assert play("uct:20", "random", "gardner", "--games", "6", "--seed", "5")[1] != games


def test_pairs_that_repeat_are_told(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("alphabeta:2", "minimax:1", "hexapawn4x4", "--opening-plies", "1", "--games", "20")
    figures, games = play(*words)
    # Four openings, two players without chance.
    assert figures["distinct"] == len({tuple(game.moves) for game in games}) <= 8
    assert (figures["distinct_pairs"], figures["independent_pairs"]) == (4, 4)
    assert match.main([*words]) == 0
    assert "4 of 10 pairs of games differ; the others count" in capsys.readouterr().out
    by_chance = ("perfect", "perfect", "hexapawn", "--games", "40")
    figures, _ = play(*by_chance)
    assert figures["distinct_pairs"] < 10
    assert figures["independent_pairs"] == 20
    assert match.main([*by_chance]) == 0
    assert "of 20 pairs of games differ; all count" in capsys.readouterr().out


def test_a_test_counts_every_pair_where_a_player_draws_by_chance(play: Play) -> None:
    """An even score over all pairs, of which those that repeat are the likely ones."""
    words = ("uct:5", "minimax:1", "hexapawn", "--sprt", "-150", "0", "--seed", "3")
    figures, _ = play(*words)
    found: dict[str, float | str] = figures["sprt"]  # type: ignore[assignment]
    assert found["verdict"] == "H1"
    assert found["pairs"] == figures["games"] // 2 == figures["independent_pairs"]
    assert figures["elo_low"] > -150


def test_a_test_without_chance_ends_with_the_openings(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two players who are alike on the smallest board, where few openings leave a game open."""
    words = ("alphabeta:3", "alphabeta:2", "hexapawn", "--sprt", "-5", "5")
    figures, games = play(*words)
    found: dict[str, float | str] = figures["sprt"]  # type: ignore[assignment]
    assert (found["verdict"], found["openings_exhausted"]) == ("undecided", True)
    # 1 + 3 + 10 + 20 + 24 + 16 + 3 open positions after 0 to 6 plies (test_arena_pairs.py).
    assert len(games) == 2 * 77
    assert found["pairs"] == figures["independent_pairs"] < 77
    assert match.main([*words]) == 0
    assert "SPRT [-5, 5]: undecided, openings exhausted; log ratio" in capsys.readouterr().out


def test_a_test_without_chance_goes_on_with_longer_openings(play: Play) -> None:
    """16 openings of two plies leave the difference open."""
    figures, games = play("alphabeta:2", "minimax:2", "hexapawn4x4", "--sprt", "0", "60")
    found: dict[str, bool | str] = figures["sprt"]  # type: ignore[assignment]
    assert found["verdict"] != "undecided"
    assert not found["openings_exhausted"]
    assert 16 < found["pairs"] == figures["independent_pairs"]  # type: ignore[operator]
    assert len(games) > 2 * 16


@pytest.mark.parametrize(("elo0", "elo1", "verdict"), [(0, 10_000, "H0"), (-10_000, 0, "H1")])
def test_a_difference_beyond_rounding_is_no_bug(
    elo0: int, elo1: int, verdict: str, play: Play
) -> None:
    words = ("minimax:1", "minimax:1", "hexapawn", "--sprt", str(elo0), str(elo1))
    found: dict[str, str] = play(*words)[0]["sprt"]  # type: ignore[assignment]
    assert found["verdict"] == verdict


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("alphabeta:4 random", "H1"),
        ("random alphabeta:4", "H0"),
        ("random random", "undecided"),
    ],
)
def test_a_test_ends_the_match(
    words: str, verdict: str, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*words.split(), "hexapawn5x4", "--sprt", "-20", "20", "--games", "120"]
    figures, games = play(*asked)
    found: dict[str, float | str] = figures["sprt"]  # type: ignore[assignment]
    assert found["verdict"] == verdict
    assert (found["elo0"], found["elo1"], found["alpha"], found["beta"]) == (-20, 20, 0.05, 0.05)
    assert (len(games) < 120) == (verdict != "undecided")
    assert found["lower"] == pytest.approx(-found["upper"])  # type: ignore[operator]
    assert match.main(asked) == 0
    assert f"SPRT [-20, 20]: {verdict}" in capsys.readouterr().out


def test_a_person_s_own_variant_is_played(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "own.ini"
    path.write_text("[match-test:hexapawn]\nmaxFile = 4\nstartFen = pppp/4/PPPP w - - 0 1\n")
    words = ("random", "perfect", "match-test", "--games", "2", "--variants", str(path))
    assert [game.variant.name for game in play(*words)[1]] == ["match-test"] * 2


def test_the_score_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert match.main(["perfect", "perfect", "hexapawn", "--games", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "perfect against perfect at hexapawn: +2 =0 -2 of 4 games (50.0%)"
    assert lines[1].startswith("Elo +0, between -")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("random random hexapwn", "hexapwn"),
        ("random stockfish hexapawn", "'stockfish'"),
        ("random alphabeta:x hexapawn", "'alphabeta:x'"),
        ("random perfect gardner", "gardner"),
        ("random mcts:8 hexapawn", "hexapawn"),
        ("random random hexapawn --games 0", "--games 0"),
        ("random random hexapawn --opening-plies -1", "--opening-plies -1"),
        ("random random hexapawn --openings 8", "8 plies"),
        ("random random hexapawn --concurrency 0", "--concurrency 0"),
        ("random random hexapawn --sprt 5 5", "--sprt 5 5"),
        ("random random hexapawn --sprt 0 5 --alpha 0.7", "--alpha 0.7"),
    ],
)
def test_bad_words_are_refused(words: str, quoted: str) -> None:
    with pytest.raises(InputError) as caught:
        match.main(words.split())
    assert quoted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_where_no_file_can_be_is_found_before_the_games() -> None:
    with pytest.raises(FileNotFoundError):
        match.main(["random", "random", "chess", "--games", "100000", "--pgn", "no/such/x.pgn"])


def test_games_are_added_to_a_file_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "all.pgn"
    for _ in range(2):
        match.main(["random", "random", "hexapawn", "--games", "3", "--pgn", str(path)])
    assert len(list(read_pgn(path.read_text()))) == 6


def test_a_full_disk_leaves_whole_games(tmp_path: Path) -> None:
    class FullDisk(io.FileIO):
        room = 100

        def write(self, data: bytes) -> int:  # type: ignore[override]
            if not self.room:
                raise OSError(28, "No space left on device")
            part, self.room = data[: self.room], self.room - len(data[: self.room])
            return super().write(part)

    path = tmp_path / "x.pgn"
    with FullDisk(str(path), "ab") as file:
        append_to(file, b"a" * 60)
        with pytest.raises(OSError, match="space"):
            append_to(file, b"b" * 60)
    assert path.read_text() == "a" * 60


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A match in a process of its own, in the current directory, that ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", "match", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_games(path: Path, size: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_kill_leaves_whole_games(tmp_path: Path) -> None:
    path = tmp_path / "killed.pgn"
    words = ("random", "random", "gardner", "--games", "100000", "--pgn", str(path))
    with started(*words) as process:
        wait_for_games(path, 40_000)
        process.kill()
    assert len(list(read_pgn(path.read_text()))) > 5


def test_an_interrupt_shows_the_score_so_far(tmp_path: Path) -> None:
    path = tmp_path / "interrupted.pgn"
    words = ("random", "random", "gardner", "--games", "100000", "--json", "--pgn", str(path))
    with started(*words) as process:
        wait_for_games(path, 5_000)
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    told = json.loads(printed)
    counted = told["games"]
    assert not told["complete"]
    # The interrupt may come between writing a game and counting it.
    assert len(list(read_pgn(path.read_text()))) - counted in (0, 1)
    assert f"interrupted after {counted} games\npawnscope: interrupted\n" in complaints


def test_our_own_engine_plays_as_an_external_one(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of it at once, and each goes on to a second game."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    engine = f"uci:{sys.executable} -m scripts.cli uci --player alphabeta:8:nodes=10000"
    words = ("random", engine, "hexapawn", "--games", "4", "--concurrency", "2")
    figures, games = play(*words)
    assert figures["illegal"] == figures["time_losses"] == 0
    assert [game.result for game in games if game.tags["Black"] == engine] == ["0-1"] * 2


ONCE = """\
import os, sys
from pathlib import Path
started, mode = Path(sys.argv[1]), sys.argv[2]
if started.exists():
    sys.exit("no second time")
started.write_text(str(os.getpid()))
for line in sys.stdin:
    if line.startswith("uci\\n"):
        print("option name VariantPath type string\\nuciok", flush=True)
    elif line.startswith("isready"):
        print("readyok", flush=True)
    elif line.startswith("go"):
        if mode == "hang":
            __import__("time").sleep(1000)
        print("bestmove a1a1", flush=True)
        # The first move costs the first game, the second also the engine.
        mode = "die" if mode == "once" else sys.exit()
"""


def engine_once(tmp_path: Path, mode: str) -> str:
    """An engine that starts once only, and then fails as `mode` says."""
    script = tmp_path / "once.py"
    script.write_text(ONCE)
    return f"uci:{sys.executable} -S {script} {tmp_path / 'started'} {mode}"


def test_an_engine_that_does_not_start_again_leaves_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pgn"
    engine = engine_once(tmp_path, "once")
    words = ("random", engine, "hexapawn", "--games", "20", "--json", "--pgn", str(path))
    assert cli.main(["match", *words, "--concurrency", "1"]) == 2
    told = capsys.readouterr()
    figures = json.loads(told.out)
    assert (figures["games"], figures["wins"], figures["illegal"]) == (2, 2, 2)
    assert len(list(read_pgn(path.read_text()))) == 2
    assert "the match ends after 2 of 20 games" in told.err
    assert re.search(r"pawnscope: .* has ended \(exit status 1\)\n$", told.err)


def test_any_sudden_end_leaves_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[bytes] = []

    def full(_: object, data: bytes) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(data)

    monkeypatch.setattr(match, "append_to", full)
    words = ("random", "random", "hexapawn", "--games", "20", "--pgn", str(tmp_path / "x.pgn"))
    assert cli.main(["match", *words]) == 2
    told = capsys.readouterr()
    assert " of 3 games" in told.out
    assert told.err.endswith("pawnscope: No space left on device\n")


def test_an_interrupt_while_an_engine_thinks_ends_the_engine(tmp_path: Path) -> None:
    started_at = tmp_path / "started"
    with started("random", engine_once(tmp_path, "hang"), "hexapawn", "--concurrency", "1") as run:
        wait_for_games(started_at, 1)
        engine = int(started_at.read_text())
        # It thinks or is about to: in either case nothing stays behind.
        run.send_signal(signal.SIGINT)
        complaints = run.communicate(timeout=PATIENCE)[1]
    assert "interrupted" in complaints
    with pytest.raises(ProcessLookupError):
        os.killpg(engine, 0)
