"""The terminal board, played as a person would, through standard input and output."""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import chess.pgn
import numpy as np
import pytest

from engine.network.checkpoint import save_checkpoint
from engine.player import Choice, Limits, Player
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.pgn import read_pgn
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import get_variant
from engine.system.termination import Terminated
from scripts import cli, players
from scripts.commands.play import main as play
from scripts.commands.play.terminal_game import TerminalGame
from scripts.players import SHIPPED, default_player, find_checkpoint, load_evaluator, player_of
from tests.support.network.network_cases import lively_network

HEXAPAWN = get_variant("hexapawn")
START_BOARD = "3  p p p\n2  . . .\n1  P P P\n\n   a b c\n"

Printed = pytest.CaptureFixture[str]


class Scripted(Player):
    """Plays what it was told."""

    name = "scripted"

    def __init__(self, *moves: str) -> None:
        self._moves = list(moves)

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        move = position.parse_uci(self._moves.pop(0))
        return Choice(move=move, value=0.5, wdl=(0.625, 0.25, 0.125))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No runs and no solutions of the person's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(players, "solution_cache", lambda: tmp_path / "solutions")


@pytest.fixture
def game(capsys: Printed) -> Callable[..., str]:
    """Play the lines that a person types against a scripted player; what was printed."""

    def run(lines: list[str], *replies: str, colour: int = WHITE, name: str = "hexapawn") -> str:
        typed: Iterator[str] = iter(lines)
        position = Position(get_variant(name))
        TerminalGame(position, colour, Scripted(*replies), lambda _: next(typed)).play()
        assert next(typed, None) is None, "the game was over too early"
        return capsys.readouterr().out

    return run


def command(monkeypatch: pytest.MonkeyPatch, typed: str, *words: str) -> int:
    """`pawnscope play` with its input from a pipe."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return play.main(list(words))


def test_a_game_from_its_board_to_its_goal(game: Callable[..., str]) -> None:
    printed = game(["a2", "axb3"], "c3c2")
    assert printed.startswith("hexapawn: you have White, scripted has Black.")
    assert START_BOARD in printed
    assert "3  p P .\n2  . . p\n1  . P P\n" in printed
    assert printed.endswith("1-0: White (you) wins, the goal is reached.\n")


def test_the_opponent_says_what_it_thinks(game: Callable[..., str]) -> None:
    printed = game(["b2", "quit"], "a3b2")
    assert "Black plays axb2; its chances: win 62%, draw 25%, loss 12%" in printed
    assert "3  . p p\n2  . p .\n1  P . P\n" in printed


def test_the_end_says_who_won_and_why(game: Callable[..., str]) -> None:
    lost = game(["b2", "cxb2", "a2"], "a3b2", "c3c2", "c2c1")
    assert lost.endswith("0-1: Black (scripted) wins, the goal is reached.\n")
    blocked = game(["b2", "axb2", "cxb2"], "a3b2", "c3b2")
    assert blocked.endswith("1-0: White (you) wins, Black has no legal move.\n")
    shuffle = ["Nf3", "Ng1"] * 2, ["g8f6", "f6g8"] * 2
    drawn = game(shuffle[0], *shuffle[1], name="chess")
    assert drawn.endswith("1/2-1/2: a draw, the position was repeated too often.\n")


def test_moves_lists_what_is_legal(game: Callable[..., str]) -> None:
    assert "\na2 b2 c2\n" in "\n" + game(["moves", "quit"])
    assert "\na2 axb2 c2 cxb2\n" in game(["b2", "moves", "quit"], "a3b2")


@pytest.mark.parametrize("bad", ["b4", "b1b3", "castle", "Kb2", "b1b2q", "e9", "ö"])
def test_a_bad_move_is_answered_in_one_line(game: Callable[..., str], bad: str) -> None:
    printed = game([bad, "b2", "quit"], "a3b2")
    complaint = [line for line in printed.splitlines() if bad in line]
    assert len(complaint) == 1
    assert f"'{bad}'" in complaint[0]
    assert "Black plays axb2" in printed


def test_undo_takes_back_both_moves(game: Callable[..., str]) -> None:
    printed = game(["undo", "b2", "undo", "b2", "undo", "undo", "quit"], "a3b2", "c3b2")
    assert printed.count("you have no move to take back") == 2
    assert printed.count(START_BOARD) == 3


def test_undo_as_black_leaves_the_first_move_standing(game: Callable[..., str]) -> None:
    printed = game(["undo", "axb2", "undo", "cxb2", "quit"], "b1b2", "a1b2", "a1b2", colour=BLACK)
    assert printed.count("you have no move to take back") == 1
    # Black looks from the other side.
    assert "1  P . P\n2  . P .\n3  p p p\n\n   c b a\n" in printed


def test_hint_shows_a_move_and_plays_none(game: Callable[..., str]) -> None:
    printed = game(["hint", "moves", "quit"], "b1b2")
    assert "hint: b2; your chances: win 62%, draw 25%, loss 12%\n" in printed
    assert "a2 b2 c2" in printed


@pytest.mark.parametrize(("colour", "result"), [(WHITE, "0-1"), (BLACK, "1-0")])
def test_resigning_gives_the_game_to_the_opponent(
    game: Callable[..., str], colour: int, result: str
) -> None:
    printed = game(["resign"], "b1b2", colour=colour)
    winner = "White" if colour == BLACK else "Black"
    assert printed.endswith(f"{result}: you resign, {winner} (scripted) wins.\n")


def test_help_names_every_command(game: Callable[..., str]) -> None:
    printed = game(["HELP", "", "quit"])
    for word in ("moves", "hint", "undo", "board", "resign", "quit"):
        assert f"\n{word} " in printed


def test_chess_is_played_to_its_mate(game: Callable[..., str]) -> None:
    printed = game(["f3", "g4"], "e7e5", "d8h4", name="chess")
    assert "Black plays Qh4#" in printed
    assert printed.endswith("0-1: Black (scripted) wins, checkmate.\n")


@pytest.mark.parametrize("seed", range(4))
def test_black_beats_whoever_plays_at_random(capsys: Printed, seed: int) -> None:
    rng = np.random.default_rng(seed)
    position = Position(HEXAPAWN)

    def guess(prompt: str) -> str:
        return position.san(int(rng.choice(position.legal_moves)))

    TerminalGame(position, WHITE, player_of("perfect", HEXAPAWN, rng), guess).play()
    printed = capsys.readouterr().out
    assert "\n0-1: Black (perfect) wins, " in printed
    assert "its chances: win 100%, draw 0%, loss 0%" in printed


def test_a_whole_session_through_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    typed = "what\nmoves\nhint\nb2\nundo\nb1b2\nboard\nresign\n"
    assert command(monkeypatch, typed, "hexapawn", "--terminal", "--seed", "3") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("hexapawn: you have White, perfect has Black.")
    assert "White, your move: what\nthe move 'what' is not legal in 'ppp/3/PPP w" in printed.out
    assert printed.out.count(START_BOARD) == 2
    assert printed.out.endswith("0-1: you resign, Black (perfect) wins.\n")


@pytest.mark.parametrize("typed", ["", "b2\n", "quit\n"])
def test_the_end_of_the_input_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, typed: str
) -> None:
    words = ("hexapawn", "--opponent", "random", "--colour", "random", "--seed", "1")
    assert command(monkeypatch, typed, *words) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("The game was left unfinished.\n")
    assert printed.err == ""


def test_an_interrupt_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(play, "_ask_person", interrupt)
    assert play.main(["hexapawn", "--opponent", "random"]) == 0
    assert capsys.readouterr().out.endswith("\nThe game was left unfinished.\n")


def test_a_request_to_terminate_keeps_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    def terminate(prompt: str) -> str:
        raise Terminated

    monkeypatch.setattr(play, "_ask_person", terminate)
    assert cli.main(["play", "hexapawn", "--opponent", "random"]) == 143
    assert capsys.readouterr().out.endswith("\nThe game was left unfinished.\n")


def saved_run(folder: Path, steps: Sequence[int], truth: float | None = None) -> str:
    """A run of hexapawn with checkpoints and, if there is one, a point of its truth curve."""
    (folder / "checkpoints").mkdir(parents=True)
    for step in steps:
        path = folder / "checkpoints" / f"{step:08d}.safetensors"
        save_checkpoint(path, lively_network("hexapawn", "geometric"), metadata={})
    if truth is not None:
        point = {"round": 1, "truth": {"raw": truth, "search": 1.0}}
        (folder / "metrics.jsonl").write_text(json.dumps(point) + "\n")
    return f"runs/{folder.name}/checkpoints/{steps[-1]:08d}.safetensors"


MATE = '[Event "Mate"]\n\n1. f3 e5 2. g4 Qh4# 0-1'


def test_the_game_so_far_is_shown_as_pgn(game: Callable[..., str]) -> None:
    printed = game(["b2", "pgn", "quit"], "a3b2")
    (shown,) = read_pgn(printed[printed.index("[Event") : printed.index("1. b2 axb2 *") + 12])
    assert len(shown.moves) == 2
    assert [shown.tags[name] for name in ("White", "Black", "WhiteType", "BlackType")] == [
        *("Human", "scripted", "human", "program")
    ]
    assert (shown.result, shown.tags["Termination"]) == ("*", "unterminated")
    assert shown.variant is HEXAPAWN


def test_the_game_is_saved_while_it_is_played_and_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, tmp_path: Path
) -> None:
    path = tmp_path / "my games.pgn"
    # Another program's file, without an end of line.
    path.write_text(MATE)
    typed = f"b2\nsave {path}\nSAVE\nsave no/x.pgn\nresign\nboo\nboard\nsave {path}\nquit\n"
    words = ("hexapawn", "--opponent", "perfect", "--seed", "5", "--colour", "white")
    before = date.today()
    assert command(monkeypatch, typed, *words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count(f"the game is added to {path}\n") == 2
    assert "save needs the name of a file" in printed.out
    assert "the game is not saved: No such file or directory: no/x.pgn" in printed.out
    assert "the game is over: save FILE, pgn, board or quit\n" in printed.out
    foreign, running, resigned = read_pgn(path.read_text())
    assert foreign.tags["Event"] == "Mate"
    assert (running.result, running.tags["Termination"]) == ("*", "unterminated")
    assert (resigned.result, resigned.tags["Termination"]) == ("0-1", "normal")
    assert resigned.comments == {2: "White resigns"}
    assert resigned.moves == running.moves
    assert resigned.tags["BlackSettings"] == "seed=5"
    assert resigned.tags["Date"] in {f"{day:%Y.%m.%d}" for day in (before, date.today())}


def test_a_game_from_a_position_is_written_where_python_chess_reads_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, tmp_path: Path
) -> None:
    path, fen = tmp_path / "x.pgn", "6k1/5ppp/8/8/8/8/5PPP/R5K1 b - - 3 20"
    words = ("chess", "--opponent", "random", "--seed", "1", "--fen", fen, "--pgn", str(path))
    # The opponent moves first; the input then ends.
    assert command(monkeypatch, "Ra5\n", *words) == 0
    with path.open() as file:
        theirs = chess.pgn.read_game(file)
    assert theirs is not None
    assert not theirs.errors
    assert (theirs.headers["FEN"], theirs.headers["SetUp"]) == (fen, "1")
    assert [move.uci() for move in theirs.mainline_moves()][1] == "a1a5"
    assert theirs.headers["Black"] == "random"
    assert command(monkeypatch, "", "chess", "--opponent", "random", "--pgn", str(path)) == 0
    assert len(list(read_pgn(path.read_text()))) == 1, "a game without moves is not kept"
    capsys.readouterr()


def test_a_game_that_ends_is_kept_with_its_result(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, tmp_path: Path
) -> None:
    path = tmp_path / "x.pgn"
    words = ("hexapawn", "--opponent", "perfect", "--colour", "white", "--pgn", str(path))
    fen = "1p1/P2/2P w - - 0 5"
    assert command(monkeypatch, "a3\n", *words, "--fen", fen, "--opponent", "random") == 0
    (game,) = read_pgn(path.read_text())
    assert (game.result, game.tags["Termination"], game.start_fen) == ("1-0", "normal", fen)
    assert game.comments == {1: "flag"}
    assert f"the game is added to {path}" in capsys.readouterr().err


def test_a_game_is_kept_when_something_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, tmp_path: Path
) -> None:
    typed, path = iter(["b2"]), tmp_path / "x.pgn"

    def interrupt(prompt: str) -> str:
        for line in typed:
            return line
        raise KeyboardInterrupt

    monkeypatch.setattr(play, "_ask_person", interrupt)
    words = ["hexapawn", "--opponent", "random", "--pgn", str(path)]
    assert play.main(words) == 0
    assert len(next(read_pgn(path.read_text())).moves) == 2
    # What cannot be written is shown.
    typed = iter(["b2"])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(play, "append_game", full)
    capsys.readouterr()
    with pytest.raises(OSError, match="No space"):
        play.main(words)
    assert "\n1. b2 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("hexapawn --fen x", "'x'"),
        ("chess --fen rnbqk/ppppp/5/PPPPP/RNBQK", "rnbqk/ppppp/5/PPPPP/RNBQK"),
        ("gardner --fen k4/5/5/5/4K", "the game is over in 'k4/5/5/5/4K w - - 0 1'"),
        ("hexapawn --fen 3/ppp/PPP --opponent perfect", "3/ppp/PPP"),
        ("hexapawn --pgn no/x.pgn", "--pgn no/x.pgn"),
        ("hexapawn --pgn .", "--pgn .: that is a folder"),
    ],
)
def test_what_cannot_be_played_is_refused_before_the_game(
    words: str, quoted: str, capsys: Printed
) -> None:
    with pytest.raises(InputError) as caught:
        play.main(words.split())
    assert quoted in str(caught.value)
    assert capsys.readouterr().out == ""


def test_without_a_name_an_opponent_is_taken_that_knows_the_position(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    assert command(monkeypatch, "quit\n", "hexapawn", "--fen", "3/ppp/PPP") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("hexapawn: you have White, alphabeta:4 has Black.")
    assert "your opponent is alphabeta:4 (the position '3/ppp/PPP w" in printed.err
    assert command(monkeypatch, "quit\n", "hexapawn", "--fen", "pp1/1Pp/P1P w") == 0
    assert "perfect has Black" in capsys.readouterr().out


def test_the_default_opponent_is_the_strongest_known(tmp_path: Path) -> None:
    gardner, mallett = get_variant("gardner"), get_variant("mallett")
    assert default_player(HEXAPAWN, perfect=True).spec == "perfect"
    assert default_player(HEXAPAWN, perfect=False).spec == "alphabeta:4"
    assert default_player(mallett, perfect=True) == ("alphabeta:4", "no network yet")
    shipped = default_player(gardner, perfect=True)
    assert shipped.spec == f"mcts:400:{SHIPPED / 'gardner.safetensors'}"
    assert "Elo against alphabeta:4" in shipped.reason
    strong = saved_run(tmp_path / "runs" / "strong", [0, 20], 0.9)
    assert default_player(HEXAPAWN, perfect=True) == (
        f"mcts:400:{strong}",
        "keeps the exact value in 90.0 % of its decisions",
    )
    assert default_player(mallett, perfect=True).spec == "alphabeta:4"
    # Newer ones that are weaker, or of unknown strength, are not preferred.
    saved_run(tmp_path / "runs" / "weak", [30], 0.5)
    saved_run(tmp_path / "runs" / "unknown", [40])
    assert default_player(HEXAPAWN, perfect=True).spec == f"mcts:400:{strong}"
    assert str(find_checkpoint(None, HEXAPAWN)) == strong


def test_a_network_of_unknown_strength_plays_only_where_it_is_named(
    tmp_path: Path, capsys: Printed
) -> None:
    path = saved_run(tmp_path / "runs" / "unknown", [40])
    found = default_player(HEXAPAWN, perfect=False)
    assert found.spec == "alphabeta:4"
    assert "'pawnscope evaluate runs/unknown --only ladder' rates it" in found.reason
    # A person asked for a network: this is the only one.
    player_of("policy", HEXAPAWN, np.random.default_rng(0))
    assert f"hexapawn: the network {path} (not measured)" in capsys.readouterr().err


def test_a_network_below_alphabeta_is_not_the_default(tmp_path: Path) -> None:
    saved_run(tmp_path / "runs" / "weak", [40])
    rows = [{"name": "gumbel:64@00000040", "elo": 500}, {"name": "alphabeta:4", "elo": 800}]
    (tmp_path / "runs" / "weak" / "ratings.json").write_text(json.dumps(rows))
    found = default_player(HEXAPAWN, perfect=False)
    assert found == ("alphabeta:4", "runs/weak: -300 Elo against alphabeta:4, at step 40")


def test_a_network_is_made_ready_once_until_its_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "plain", 1), metadata={})
    first = load_evaluator(str(path), HEXAPAWN)
    assert load_evaluator(str(path), HEXAPAWN) is first
    assert load_evaluator(str(path), HEXAPAWN, "fp32") is not first
    save_checkpoint(path, lively_network("hexapawn", "plain", 2), metadata={})
    second = load_evaluator(str(path), HEXAPAWN)
    rows = HEXAPAWN.start_row[None]
    moves = generate_batch(HEXAPAWN.tables, rows)
    assert (first.evaluate(rows, *moves).wdl != second.evaluate(rows, *moves).wdl).any()


def test_a_checkpoint_is_a_file_a_run_or_the_strongest(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "00000007.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "geometric"), metadata={})
    for text in ("runs/one", str(path), None):
        assert find_checkpoint(text, HEXAPAWN).resolve() == path.resolve()
        load_evaluator(text, HEXAPAWN)
    with pytest.raises(InputError, match=r"'hexapawn'.*not for 'gardner'"):
        load_evaluator(str(path), get_variant("gardner"))
    with pytest.raises(InputError, match="pawnscope train mallett"):
        load_evaluator(None, get_variant("mallett"))
    with pytest.raises(InputError, match="runs"):
        load_evaluator("runs", HEXAPAWN)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="00000007"):
        load_evaluator("runs/one", HEXAPAWN)
    # A damaged file is not taken by itself.
    assert default_player(HEXAPAWN, perfect=True).spec == "perfect"
