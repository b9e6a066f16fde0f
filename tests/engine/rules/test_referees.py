"""Our rules against programs that others wrote: Fairy-Stockfish (pyffish) and python-chess.

Fairy-Stockfish reads the very ini text that we do, every name with `ours-` before it, because it
keeps its own games of the same name. One question to it costs a millisecond and a half whatever
the position, so by default each random game is handed over whole, which checks every move played
and all checks and mates, and the full list of legal moves is compared at a few positions of it;
with PAWNSCOPE_FULL_REFEREE=1 at all of them.
"""

import os
import re
from functools import cache
from pathlib import Path

import chess
import numpy as np
import pyffish
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import engine.rules.variant
from engine.rules.position import Position, Termination
from engine.rules.tables import KING, PAWN
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY, HEXAPAWNS, STRANGE, STRANGE_FILE

FULL = os.environ.get("PAWNSCOPE_FULL_REFEREE") == "1"
GAMES = 200 if FULL else 50
SEED = 135
"""Its first fifty games end in more ways (93, each variant by itself) than a hundred of most."""
PLIES = 40
SAMPLES = 2
FEWEST_REVERSIBLE = 4
"""Half-moves without progress before which nothing can have come up twice."""
DECIDED_WITHOUT_MOVES = (
    Termination.CHECKMATE,
    Termination.STALEMATE,
    Termination.FLAG,
    Termination.EXTINCTION,
)
INI_FILE = Path(engine.rules.variant.__file__).with_name("variants.ini")
PREFIX = "ours-"


def renamed(ini_text: str) -> str:
    return re.sub(
        r"(?m)^\[([^]:]+)(:?)([^]:]*)\]",
        lambda m: f"[{PREFIX}{m[1]}{m[2]}{PREFIX if m[3] else ''}{m[3]}]",
        ini_text,
    )


@cache
def referee_knows() -> bool:
    """Load our files into Fairy-Stockfish, once."""
    texts = [INI_FILE.read_text(encoding="utf-8"), STRANGE_FILE.read_text(encoding="utf-8")]
    texts += [get_variant(name).ini() for name in HEXAPAWNS]
    pyffish.load_variant_config("\n".join(renamed(text) for text in texts))
    return True


class Referee:
    """Fairy-Stockfish's view of one variant; moves are UCI texts played from a FEN."""

    def __init__(self, name: str, prefix: str = PREFIX) -> None:
        assert referee_knows()
        self.name = prefix + name
        self.known: dict[str, list[str]] = {}

    def legal_moves(self, fen: str) -> list[str]:
        key = " ".join(fen.split()[:4])
        if key not in self.known:
            self.known[key] = sorted(pyffish.legal_moves(self.name, fen, []))
        return self.known[key]

    def sans(self, fen: str, moves: list[str]) -> list[str]:
        """Raises ValueError where a move is not legal."""
        return list(pyffish.get_san_moves(self.name, fen, moves))

    def fen(self, fen: str, moves: list[str]) -> str:
        return str(pyffish.get_fen(self.name, fen, moves))

    def decided_value(self, fen: str) -> int:
        """Of a position without moves, for the side to move."""
        return int(np.sign(pyffish.game_result(self.name, fen, [])))

    def is_decided_by_rule(self, fen: str) -> bool:
        return bool(pyffish.is_immediate_game_end(self.name, fen, [])[0])

    def is_drawn_by_history(self, fen: str, moves: list[str]) -> bool:
        over, value = pyffish.is_optional_game_end(self.name, fen, moves)
        assert not over or value == 0
        return bool(over)

    def is_dead(self, fen: str) -> bool:
        return all(pyffish.has_insufficient_material(self.name, fen, []))


def texts_of(walked: list[Position]) -> tuple[str, list[str], list[str]]:
    """Start FEN, the moves as UCI and as SAN, of a game as `replayed` gives it."""
    moves = walked[-1].move_stack
    ucis = [position.uci(move) for position, move in zip(walked[:-1], moves, strict=True)]
    sans = [position.san(move) for position, move in zip(walked[:-1], moves, strict=True)]
    return walked[0].fen(), ucis, sans


def same_fen(ours: str, theirs: str) -> bool:
    """Fairy-Stockfish also names an en-passant square where the capture would not be legal."""
    passed = 3
    mine, other = ours.split(), theirs.split()
    if mine[passed] == "-":
        other[passed] = "-"
    return mine == other


def assert_same_end(referee: Referee, finished: Position, start: str, moves: list[str]) -> None:
    outcome, fen = finished.outcome(), finished.fen()
    reason = outcome.termination if outcome else Termination.ONGOING
    if outcome and reason in DECIDED_WITHOUT_MOVES:
        assert referee.legal_moves(fen) == []
        assert referee.decided_value(fen) == outcome.value(finished.turn)
        by_rule = reason in (Termination.FLAG, Termination.EXTINCTION)
        assert referee.is_decided_by_rule(fen) == by_rule
        return
    assert referee.legal_moves(fen) != [], fen
    dead = reason == Termination.INSUFFICIENT_MATERIAL
    if dead or (finished.variant.has_king and len(re.findall("[A-Za-z]", fen.split()[0])) <= 5):
        assert referee.is_dead(fen) == dead, fen
    if not dead and finished.clock >= FEWEST_REVERSIBLE:
        by_history = reason in (Termination.MOVE_RULE, Termination.REPETITION)
        assert referee.is_drawn_by_history(start, moves) == by_history, fen


def assert_same_sans(finished: Position, ours: list[str], theirs: list[str]) -> None:
    """Fairy-Stockfish has letters for custom pieces, and no mark for a win that is not a mate."""
    if not {PAWN, KING} <= set(finished.variant.piece_types):
        return
    outcome = finished.outcome()
    if outcome and outcome.termination != Termination.CHECKMATE:
        ours[-1:] = [text.rstrip("+#") for text in ours[-1:]]
        theirs[-1:] = [text.rstrip("+#") for text in theirs[-1:]]
    assert ours == theirs


def assert_same_game(referee: Referee, finished: Position, samples: set[int]) -> None:
    walked = list(replayed(finished))
    start, ucis, sans = texts_of(walked)
    assert_same_sans(finished, sans, referee.sans(start, ucis))
    assert_same_end(referee, finished, start, ucis)
    for ply, position in enumerate(walked):
        if FULL or ply in samples:
            moves = sorted(position.uci(move) for move in position.legal_moves)
            if moves:
                assert referee.legal_moves(position.fen()) == moves, position.fen()
            if FULL or ply % 4 == 0:
                assert same_fen(position.fen(), referee.fen(start, ucis[:ply]))


@pytest.mark.parametrize("name", EVERY)
def test_random_games_agree_with_fairy_stockfish(name: str) -> None:
    referee, generator = Referee(name), np.random.default_rng(7)
    games = GAMES // 2 if name in STRANGE else GAMES
    for finished in random_games(get_variant(name), games, PLIES, seed=SEED):
        plies = len(finished.move_stack)
        samples = {int(ply) for ply in generator.integers(0, plies, SAMPLES)}
        assert_same_game(referee, finished, samples)


@pytest.mark.parametrize("name", ["chess", "gardner", "losalamos", "breakthrough"])
def test_games_with_a_fairy_stockfish_name_are_the_games_it_has(name: str) -> None:
    referee = Referee(name, prefix="")
    for finished in random_games(get_variant(name), 20, PLIES, seed=6):
        assert_same_game(referee, finished, {10, 20, 30})


# Small endings played on at random: variant, FEN, games.
ENDINGS = [
    ("gardner", "4k/5/5/1R3/K4 w - - 0 1"),
    ("gardner", "4k/5/5/1R3/K4 w - - 70 60"),
    ("silverman4x4", "2k1/4/4/K2Q w - - 90 1"),
    ("hasty", "rqkr/4/4/4/RQKR w - - 0 1"),
    ("diana", "2k3/6/6/6/6/R2K1R w KQ - 90 60"),
    ("chess", "4k3/8/8/8/8/8/8/R3K2R w KQ - 85 60"),
]


@pytest.mark.parametrize(("name", "fen"), ENDINGS)
def test_draws_by_repetition_and_clock_agree_with_fairy_stockfish(name: str, fen: str) -> None:
    referee = Referee(name)
    for finished in random_games(get_variant(name), 6, 80, fen=fen, seed=8):
        walked = list(replayed(finished))
        start, ucis, _ = texts_of(walked)
        for ply, position in enumerate(walked):
            if ply >= FEWEST_REVERSIBLE:
                assert_same_end(referee, position, start, ucis[:ply])


def assert_same_as_python_chess(position: Position, board: chess.Board) -> None:
    assert position.fen() == board.fen()
    assert position.is_check() == board.is_check()
    ends = {
        Termination.CHECKMATE: board.is_checkmate(),
        Termination.STALEMATE: board.is_stalemate(),
        Termination.INSUFFICIENT_MATERIAL: board.is_insufficient_material(),
        Termination.MOVE_RULE: board.is_fifty_moves(),
        Termination.REPETITION: board.is_repetition(3),
    }
    outcome = position.outcome()
    if outcome is None:
        assert not any(ends.values()), position
        ours = sorted(position.uci(move) for move in position.legal_moves)
        assert ours == sorted(move.uci() for move in board.legal_moves), position
    else:
        assert ends[outcome.termination], position
        mate = outcome.termination == Termination.CHECKMATE
        assert outcome.winner == (1 - position.turn if mate else None)


def assert_same_game_as_python_chess(finished: Position) -> None:
    moves = finished.move_stack
    board: chess.Board | None = None
    for position, move in zip(replayed(finished), [*moves, None], strict=True):
        board = board or chess.Board(position.fen())
        assert_same_as_python_chess(position, board)
        if move is not None:
            theirs = board.parse_uci(position.uci(move))
            assert position.san(move) == board.san(theirs)
            board.push(theirs)


def test_random_games_agree_with_python_chess() -> None:
    for finished in random_games(get_variant("chess"), 40, 160, seed=9):
        assert_same_game_as_python_chess(finished)


OPENINGS = [
    chess.STARTING_FEN,
    "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
    "8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1",
    "n1n5/PPPk4/8/8/8/8/4Kppp/5N1N b - - 0 1",
    "4k3/8/8/8/8/8/8/R3K2R w KQ - 85 60",
    "8/8/4k3/8/1B6/4K3/8/5b2 w - - 0 1",
]


@given(st.sampled_from(OPENINGS), st.lists(st.integers(0, 217), max_size=40))
def test_chosen_games_agree_with_python_chess(fen: str, choices: list[int]) -> None:
    position = Position(get_variant("chess"), fen)
    for choice in choices:
        moves = sorted(position.legal_moves)
        if not moves:
            break
        position.push(moves[choice % len(moves)])
    assert_same_game_as_python_chess(position)


@given(
    st.dictionaries(st.integers(0, 63), st.sampled_from("PNBRQpnbrq"), max_size=20),
    st.permutations(range(64)),
    st.booleans(),
)
def test_any_chess_position_agrees_with_python_chess(
    pieces: dict[int, str], squares: list[int], white: bool
) -> None:
    board = chess.Board(None)
    for square, letter in {**pieces, squares[0]: "K", squares[1]: "k"}.items():
        board.set_piece_at(square, chess.Piece.from_symbol(letter))
    board.turn = white
    assume(board.is_valid())
    assert_same_as_python_chess(Position(get_variant("chess"), board.fen()), board)
