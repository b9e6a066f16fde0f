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
from datetime import date
from pathlib import Path

import chess.pgn
import pytest

from engine.rules.errors import InputError
from engine.rules.pgn import GameRecord, read_pgn
from engine.rules.variant import get_variant
from engine.system.files import append_to
from scripts import cli, players
from scripts.commands.match import main as match
from scripts.commands.match import running

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


OPENINGS = """\
[Variant "gardner"]

1. b3 a3 2. c3 *

[Variant "gardner"]

1. d3 b3 2. c3 *

[Variant "gardner"]

1. Nc9 *

1. e4 *
"""


def test_a_match_from_the_openings_of_a_file(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "book.pgn"
    path.write_text(OPENINGS)
    words = ["random", "alphabeta:1", "gardner", "--openings", str(path), "--games", "8"]
    figures, games = play(*words)
    told_of: dict[str, object] = figures["openings"]  # type: ignore[assignment]
    assert told_of == {"file": str(path), "openings": 2, "repeated": 0, "left_out": 2}
    begun = [game.moves[:3] for game in games]
    assert begun[0::2] == begun[1::2]
    assert len(set(begun)) == 2
    assert [game.tags["White"] for game in games] == ["random", "alphabeta:1"] * 4
    shorter = [game.moves[:1] for game in play(*words, "--opening-plies", "1")[1]]
    assert len(set(shorter)) == 2
    capsys.readouterr()
    assert match.main(words) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"left out: {path}: PGN line 11: the move 'Nc9' is not legal")
    assert told[1] == f"left out: {path}: PGN line 13: a game of chess, not gardner"
    assert told[2] == f"{path}: 2 openings for 4 pairs of games: they repeat"


def test_a_match_from_positions(play: Play, tmp_path: Path) -> None:
    fens = ["ppp/1P1/P1P b - - 1 1", "1pp/p2/PPP w - - 1 2"]
    path = tmp_path / "book.epd"
    path.write_text("".join(f'{fen[:-4]} id "{fen[:3]}"; hmvc 1;\n' for fen in fens))
    words = ("alphabeta:9", "minimax:9", "hexapawn", "--openings", str(path))
    figures, games = play(*words, "--games", "4")
    assert {game.start_fen.split()[0] for game in games} == {fen.split()[0] for fen in fens}
    assert {game.tags["Opening"] for game in games} == {"ppp", "1pp"}
    assert all(game.tags["SetUp"] == "1" for game in games)
    assert (figures["distinct_pairs"], figures["independent_pairs"]) == (2, 2)
    # A test of two deterministic players ends with its openings.
    figures, games = play(*words, "--sprt", "-5", "5")
    assert len(games) == 4
    assert figures["sprt"]["openings_exhausted"]  # type: ignore[index]


def test_the_settings_of_both_players_stand_in_the_pgn(play: Play) -> None:
    today = date.today()
    words = ("uct:10", "alphabeta:2", "gardner", "--games", "2", "--seed", "7")
    first, second = play(*words)[1]
    days = {f"{day:%Y.%m.%d}" for day in (today, date.today())}
    assert first.tags["Date"] in days
    assert first.tags["WhiteSettings"] == second.tags["BlackSettings"] == "seed=7"
    assert "BlackSettings" not in first.tags
    assert first.tags["WhiteType"] == first.tags["BlackType"] == "program"
    assert first.tags["Termination"] in ("normal", "adjudication")
    shipped = str(players.SHIPPED / "gardner.safetensors")
    network = f"policy:{shipped}"
    (game,) = play(network, "random", "gardner", "--games", "1", "--precision-a", "fp32")[1]
    assert game.tags["WhiteSettings"] == f"network={shipped}; precision=fp32"


def test_python_chess_reads_a_match_of_chess(tmp_path: Path) -> None:
    book, path = tmp_path / "book.epd", tmp_path / "games.pgn"
    book.write_text("r3k2r/8/8/3pP3/8/8/6PP/R3K2R w KQkq d6 hmvc 0; fmvn 9;\n")
    words = ["random", "alphabeta:1", "chess", "--games", "2", "--openings", str(book)]
    assert match.main([*words, "--pgn", str(path)]) == 0
    with path.open() as file:
        for ours in read_pgn(path.read_text()):
            theirs = chess.pgn.read_game(file)
            assert theirs is not None
            assert not theirs.errors
            assert dict(theirs.headers) == ours.tags
            assert theirs.headers["FEN"] == "r3k2r/8/8/3pP3/8/8/6PP/R3K2R w KQkq d6 0 9"
            assert len(list(theirs.mainline_moves())) == len(ours.moves) > 5


def test_players_that_know_some_positions_only_say_so_before_the_match(tmp_path: Path) -> None:
    path = tmp_path / "book.epd"
    path.write_text("ppp/3/PPP w - -\n3/ppp/PPP b - -\n")
    with pytest.raises(InputError, match="3/ppp/PPP b"):
        match.main(["random", "perfect", "hexapawn", "--openings", str(path)])


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("random random hexapawn --openings 2 --opening-plies 1", "--openings 2"),
        ("random random hexapawn --openings book.bin", "book.bin"),
        ("random random hexapawn --openings=-1", "-1"),
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
    said, last = complaints.splitlines()[-2:]
    assert said.startswith(f"interrupted: {counted} of 100000 games are over, which count and are")
    assert last == "pawnscope: interrupted"


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

    monkeypatch.setattr(running, "append_to", full)
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
