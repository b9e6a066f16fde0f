"""Threats on drawn boards, against the naive rules in many variants, and against python-chess."""

import functools
import itertools
from collections.abc import Callable

import chess
import numpy as np
import numpy.typing as npt
import pytest

from engine.probing.concepts import king, threats
from engine.probing.concepts.facts.each_side import MINE, THEIRS
from engine.probing.concepts.facts.moves import moves_to_win
from engine.probing.concepts.registry import (
    BothSides,
    Concept,
    ConceptUndefinedError,
    label,
)
from engine.probing.data.samples import play_random_games
from engine.rules.errors import InputError, VariantError
from engine.rules.notation.fen import write_fen
from engine.rules.position import Position
from engine.rules.tables import EN_PASSANT, NO_SQUARE, REPETITION, SIDE
from engine.rules.variant import Registry, Variant, get_variant
from tests.support.concepts.boards import answers
from tests.support.concepts.naive_threats import NaiveThreats
from tests.support.rules.invented_variants import invented_ini
from tests.support.rules.naive_rules import start
from tests.support.rules.naive_variant import rules_of
from tests.support.rules.random_games import random_games, replayed
from tests.support.training.training_cases import child_of

Rows = npt.NDArray[np.uint8]

KINGS = "4k/5/5/5/K4 w - - 0 1"

# Boards, ranks from the top; capitals are White's, to move.
BOARDS = {
    "a knight forks two rooks": (
        """
        . r . r k
        . . . . .
        . . N . .
        . . . . .
        K . . . .
        """,
        {threats.forks.mine: 1, threats.forks.theirs: 0, threats.skewers.mine: 0},
    ),
    "it can go there": (
        """
        . r . r k
        . . . . .
        . . . . .
        . . . . .
        K N . . .
        """,
        {threats.fork_available: 1, threats.forks.mine: 0},
    ),
    "a bishop guards the square": (
        """
        b r . r k
        . . . . .
        . . . . .
        . . . . .
        K N . . .
        """,
        {threats.fork_available: 0},
    ),
    "pawns of a kind fork where nothing defends": (
        """
        . . . . .
        . p . p .
        . . P . .
        . . . . .
        K . . . k
        """,
        {threats.forks.mine: 1, threats.forks.theirs: 0},
    ),
    "a knight is pinned to its king": (
        """
        . . . . k
        . . . . .
        . . . . n
        . . . . .
        K . . . R
        """,
        {threats.pinned.mine: 0, threats.pinned.theirs: 1, threats.pinned_to_piece.theirs: 0},
    ),
    "a knight is pinned to its queen": (
        """
        . k . . q
        . . . . .
        . . . . n
        . . . . .
        K . . . R
        """,
        {threats.pinned.theirs: 0, threats.pinned_to_piece.theirs: 1, threats.skewers.mine: 0},
    ),
    "a queen is skewered before a rook": (
        """
        . . . . .
        . . . . k
        . . . . .
        K . . . .
        R . q . r
        """,
        {threats.skewers.mine: 1, threats.skewers.theirs: 0, threats.queen_attacked.theirs: 1},
    ),
    "a king is skewered before its queen": (
        """
        k . . . .
        . . . . .
        r . K . Q
        . . . . .
        . . . . .
        """,
        {threats.skewers.theirs: 1, threats.in_check: 1, threats.queen_attacked.mine: 0},
    ),
    "a knight uncovers a rook": (
        """
        q . . . k
        . . . . .
        N . . . .
        . . . . .
        R . . K .
        """,
        {threats.discovery_available: 1, threats.queen_attacked.theirs: 0},
    ),
    "a pawn cannot leave its file": (
        """
        q . . . k
        . . . . .
        P . . . .
        . . . . .
        R . . K .
        """,
        {threats.discovery_available: 0},
    ),
    "a pawn without a defender hangs": (
        """
        . . . . k
        . . . . .
        . . p . .
        . . . . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.best_capture.mine: 1, threats.undefended.theirs: 1},
    ),
    "a rook does not take a defended pawn": (
        """
        . . . . k
        . p . . .
        . . p . .
        . . . . .
        K . R . .
        """,
        {threats.hanging.theirs: 0, threats.best_capture.mine: 0, threats.undefended.theirs: 0},
    ),
    "a rook behind a rook takes part": (
        """
        . . r . k
        . . . . .
        . . p . .
        . . R . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.best_capture.mine: 1},
    ),
    "a rook behind the attacker defends": (
        """
        . . p . k
        . . . . .
        . . R . .
        K . . . .
        . . r . .
        """,
        {threats.hanging.theirs: 1, threats.undefended.theirs: 2, threats.best_capture.mine: 5},
    ),
    "a king defends": (
        """
        . . . . .
        . . . . .
        . . p k .
        . . R . .
        K . . . .
        """,
        {threats.hanging.theirs: 0, threats.hanging.mine: 1},
    ),
    "a king does not take what is defended": (
        """
        . . . . .
        . . . . .
        . . p k .
        . . R . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.hanging.mine: 0},
    ),
    "mate on the back rank": (
        """
        k . . . .
        . . . . .
        K . . . .
        . . . . .
        . . . . R
        """,
        {threats.mate_in_one: 1, threats.mate_in_two: 0, threats.win_in_one: 1},
    ),
    "a waiting move mates in two": (
        """
        . . R . .
        . . . . .
        . . . K .
        . . . . .
        . . . k .
        """,
        {threats.mate_in_one: 0, threats.mate_in_two: 1, threats.win_in_two: 1},
    ),
    "the opponent would mate": (
        """
        K . . . .
        . . . . .
        k . . . .
        . . . . .
        N . . . r
        """,
        {threats.their_mate_in_one: 1, threats.mate_in_one: 0, threats.their_checks: 1},
    ),
    "pawns before promotion": (
        """
        . . . . k
        P . . . .
        . . . . .
        . . . p .
        K . . . .
        """,
        {threats.promotion_available: 1, threats.their_promotion_available: 1},
    ),
    "captures are counted": (
        """
        . . . . k
        . . p p .
        . . . P .
        . . . . .
        K . R . .
        """,
        {threats.capture_available: 1, threats.my_captures: 2, threats.their_captures: 1},
    ),
    "squares around the kings": (
        """
        k . . . .
        . . . . .
        . . . . .
        . . . . .
        K R . . .
        """,
        {
            king.ring_attacked.theirs: 2,
            king.ring_attackers.theirs: 1,
            king.ring_attacked.mine: 0,
            king.my_escapes: 2,
            king.their_escapes: 1,
            king.nearest_enemy.theirs: 4,
        },
    ),
}
CASES = [
    pytest.param(board, concept, wanted, id=f"{name}: {concept.name}")
    for name, (board, asked) in BOARDS.items()
    for concept, wanted in asked.items()
]


@pytest.mark.parametrize(("board", "concept", "wanted"), CASES)
def test_drawn_boards(board: str, concept: Concept, wanted: int) -> None:
    """From either side, and mirrored."""
    text = "/".join(line.replace(" ", "") for line in board.split("\n") if line.strip())
    for length in range(5, 0, -1):
        text = text.replace("." * length, str(length))
    assert answers(concept, "gardner", f"{text} w") == wanted


@pytest.mark.nojit
def test_a_pawn_wins_by_arriving_where_there_is_no_king() -> None:
    """4 |  .  .  .  .
    3 |  P  .  .  .    a3-a4 wins at once; d2-d1 would, if it were Black's turn.
    2 |  .  .  .  p
    1 |  .  .  .  .
    """
    board = "4/P3/3p/4 w"
    assert answers(threats.win_in_one, "hexapawn4x4", board) == 1
    assert answers(threats.their_win_in_one, "hexapawn4x4", board) == 1
    assert answers(threats.win_in_two, "hexapawn4x4", "4/3p/P3/4 w") == 1
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no king"):
        answers(threats.mate_in_one, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="has no pieces that capture along lines"):
        answers(threats.skewers.mine, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no promotion"):
        answers(threats.promotion_available, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no queens"):
        answers(threats.queen_attacked.mine, "hexapawn4x4", board)


def test_games_that_are_over_at_the_start_have_no_positions() -> None:
    """Without knights from the beginning, and who has none has lost."""
    over = child_of(
        "gardner", "over", extinctionValue="loss", extinctionPieceTypes="n", startFen=KINGS
    )
    with pytest.raises(InputError, match="over: its games are over at the start"):
        play_random_games(over, 10, np.random.default_rng(0))


def sampled(variant: Variant, games: int, plies: int, every: int, seed: int = 0) -> Rows:
    """Unfinished positions of random games, each by itself: nothing is repeated."""
    rows = []
    for game in random_games(variant, games, plies, seed=seed):
        for position in itertools.islice(replayed(game), 0, None, every):
            if position.outcome() is None:
                row = position.row.copy()
                row[variant.squares + REPETITION] = 0
                rows.append(row)
    return np.stack(rows)


OWN = """
# Men that ride and capture in different ways, a leaper with forward captures, and a king.
[own]
king = k
pawn = p
customPiece1 = a:mRcF
customPiece2 = b:cRmN
customPiece3 = c:fNQ
maxFile = 6
maxRank = 6
startFen = abkcba/pppppp/6/6/PPPPPP/ABKCBA w - - 0 1
promotionRegionWhite = *6
promotionRegionBlack = *1
promotionPieceTypes = c
doubleStep = true
doubleStepRegionWhite = *2
doubleStepRegionBlack = *5
castling = false

# A king, and yet won by a flag, by bareness, or by stalemating.
[ends]
king = k
rook = r
knight = n
pawn = p
maxFile = 5
maxRank = 5
startFen = rnknr/ppppp/5/PPPPP/RNKNR w - - 0 1
promotionPieceTypes = rn
promotionRegionWhite = *5
promotionRegionBlack = *1
doubleStep = false
castling = false
flagPiece = k
flagRegionWhite = *5
flagRegionBlack = *1
stalemateValue = loss
extinctionValue = loss
extinctionPieceTypes = p
"""
INVENTED = (3, 5, 8, 12, 17, 21)


@functools.cache
def variant_of(name: str) -> Variant:
    registry = Registry()
    if name not in ("own", "ends") and not name.startswith("invented"):
        return get_variant(name)
    if name in ("own", "ends"):
        registry.add_text(OWN, "own.ini")
    elif name.startswith("invented"):
        try:
            registry.add_text(invented_ini(name, int(name[8:])), "invented.ini")
        except VariantError:
            pytest.skip("its start is a check")
    return registry.get(name)


NAMES = ["gardner", "hexapawn4x4", "chess", "own", "ends", *(f"invented{n}" for n in INVENTED)]


@functools.cache
def sample(name: str) -> Rows:
    rows = sampled(variant_of(name), 3, 40, 3, seed=1)
    return rows[:24]


@functools.cache
def labelled(name: str) -> dict[str, npt.NDArray[np.float64]]:
    variant = variant_of(name)
    every = [value for module in (threats, king) for value in vars(module).values()]
    concepts = [value for value in every if isinstance(value, Concept)]
    for both in every:
        if isinstance(both, BothSides):
            concepts += [both.mine, both.theirs]
    defined = tuple(each for each in concepts if each.undefined_in(variant) is None)
    return label(defined, sample(name), variant)


def naive(name: str) -> list[NaiveThreats]:
    return [NaiveThreats.of(row, variant_of(name)) for row in sample(name)]


def of_sides(at: NaiveThreats) -> list[tuple[int, str, str]]:
    return [(MINE, at.me, at.you), (THEIRS, at.you, at.me)]


@pytest.mark.parametrize("name", NAMES)
def test_attacks_and_exchanges_are_those_of_plain_loops(name: str) -> None:
    found, clear = labelled(name), 0
    for index, at in enumerate(naive(name)):
        for _, side, enemy in of_sides(at):
            whose = "my" if side == at.me else "their"
            attackers = found[f"{whose} attackers of the square"][index]
            for square in at.squares():
                wanted = len(at.attackers(at.board, square, side))
                assert attackers[at.seen(square)] == wanted
            hanging = at.hanging(side)
            bare = [
                square
                for square in at.pieces(side)
                if at.attackers(at.board, square, enemy)
                and not at.attackers(at.board, square, side)
            ]
            assert found[f"{whose} attacked pieces without a defender"][index] == len(bare)
            if all(order <= 1 for order in at.orders):
                clear += 1
                marked = found[f"{whose} hanging piece on the square"][index]
                wanted_squares = {at.seen(square) for square in hanging}
                assert set(np.flatnonzero(marked).tolist()) == wanted_squares
                assert found[f"{whose} hanging pieces"][index] == len(hanging)
                best = "their" if whose == "my" else "my"
                most = max(hanging.values(), default=0.0)
                assert found[f"{best} best capture"][index] == most
    assert clear > len(sample(name))


@pytest.mark.parametrize("name", NAMES)
def test_forks_pins_and_skewers_are_those_of_plain_loops(name: str) -> None:
    found = labelled(name)
    for index, at in enumerate(naive(name)):
        for _, side, _ in of_sides(at):
            whose = "my" if side == at.me else "their"
            wanted = {
                "forks": at.forks,
                "pinned pieces": at.pinned,
                "pieces pinned to a better one": at.pinned_to_piece,
                "skewers": at.skewers,
            }
            for concept, count in wanted.items():
                if f"{whose} {concept}" in found:
                    assert found[f"{whose} {concept}"][index] == count(side), at.game.fen()
        assert found["fork available"][index] == at.can_fork(), at.game.fen()
        if "discovered attack available" in found:
            assert found["discovered attack available"][index] == at.can_discover(), at.game.fen()


@pytest.mark.parametrize("name", NAMES)
def test_moves_and_their_ends_are_those_of_the_naive_rules(name: str) -> None:
    found, variant = labelled(name), variant_of(name)
    rules = rules_of(variant.ini(), variant.name)
    for index, row in enumerate(sample(name)):
        own = start(rules, write_fen(variant, row))
        turned = row.copy()
        turned[variant.squares + SIDE] ^= 1
        turned[variant.squares + EN_PASSANT] = NO_SQUARE
        checked = own.in_check(own.board, own.side)
        for whose, game in (("my", own), ("their", start(rules, write_fen(variant, turned)))):
            after = [game.play(text) for text in game.legal]
            ends = [(each.end(), each) for each in after]
            # A draw by the rules does not hide a win, and none is looked for.
            mates = sum(end is not None and end[0] == "checkmate" for end, _ in ends)
            wins = sum(end is not None and end[1] == -1 for end, _ in ends)
            checks = sum(each.in_check(each.board, each.side) for each in after)
            captures = sum(len(each.board) < len(game.board) for each in after)
            promotions = sum(len(text) > 4 for text in game.legal)
            prefix = "" if whose == "my" else "their "
            wanted = {
                f"{whose} captures": captures,
                f"{whose} checks": checks,
                f"{prefix}mate in one": mates > 0,
                f"{prefix}win in one move": wins > 0,
                f"{prefix}promotion available": promotions > 0,
            }
            for concept, value in wanted.items():
                if concept in found:
                    number = found[concept][index]
                    if whose == "their" and checked:
                        assert np.isnan(number)
                    else:
                        assert number == value, (concept, game.fen())
        if "in check" in found:
            assert found["in check"][index] == checked


@pytest.mark.parametrize("name", ["gardner", "chess", "own", "ends"])
def test_the_king_s_surroundings_are_those_of_plain_loops(name: str) -> None:
    found = labelled(name)
    for index, at in enumerate(naive(name)):
        for _, side, enemy in of_sides(at):
            whose = "my" if side == at.me else "their"
            ring = at.ring(side)
            hit = [square for square in ring if at.attackers(at.board, square, enemy)]
            attackers = {one for at_ in hit for one in at.attackers(at.board, at_, enemy)}
            assert found[f"{whose} attacked squares around the king"][index] == len(hit)
            assert found[f"{whose} attackers around the king"][index] == len(attackers)
        steps = [
            text
            for text, step in at.game.legal.items()
            if at.square(text[:2]) == at.king(at.me) and not step.castling
        ]
        assert found["my king's escape squares"][index] == len(steps)


def forces(position: Position, moves: int, won: Callable[[Position], bool]) -> bool:
    """Whether the side to move can end the game by its move of that number, by looking at all."""
    for move in position.legal_moves:
        position.push(move)
        good = won(position)
        if not good and moves > 1 and position.outcome() is None:
            good = True
            for reply in position.legal_moves:
                position.push(reply)
                good = position.outcome() is None and forces(position, moves - 1, won)
                position.pop()
                if not good:
                    break
        position.pop()
        if good:
            return True
    return False


def is_mate(position: Position) -> bool:
    outcome = position.outcome()
    return outcome is not None and outcome.termination.name == "CHECKMATE"


def is_win(position: Position) -> bool:
    outcome = position.outcome()
    return outcome is not None and outcome.value(position.turn) == -1


@pytest.mark.parametrize(
    ("name", "mates_only", "count"),
    [
        ("gardner", True, 60),
        ("losalamos", True, 30),
        ("own", True, 30),
        ("ends", False, 50),
        ("hexapawn4x4", False, 300),
        ("breakthrough5", False, 60),
    ],
)
def test_wins_in_two_are_those_of_a_naive_search(name: str, mates_only: bool, count: int) -> None:
    variant = variant_of(name)
    rows = sampled(variant, 40, 80, 1, seed=3)
    every = moves_to_win(variant, rows, mates_only=mates_only)
    kinds = [np.flatnonzero(every == answer) for answer in (0, 1, 2)]
    chosen = np.concatenate([kind[:: max(1, 3 * len(kind) // count)] for kind in kinds])
    rows, found = rows[chosen], every[chosen]
    won = is_mate if mates_only else is_win
    for row, moves in zip(rows, found.tolist(), strict=True):
        position = Position.from_row(row, variant)
        wanted = 1 if forces(position, 1, won) else 2 if forces(position, 2, won) else 0
        assert moves == wanted, position.fen()
    assert {0, 1, 2} == set(found.tolist())


def chess_boards() -> list[tuple[int, chess.Board]]:
    variant = get_variant("chess")
    return [(i, chess.Board(write_fen(variant, row))) for i, row in enumerate(sample("chess"))]


def test_chess_is_judged_as_by_python_chess() -> None:
    found = labelled("chess")
    for index, board in chess_boards():
        sides = [(0, "my", board.turn), (1, "their", not board.turn)]
        for _, whose, colour in sides:
            attackers = found[f"{whose} attackers of the square"][index]
            for square in chess.SQUARES:
                seen = square if board.turn else chess.square_mirror(square)
                assert attackers[seen] == len(board.attackers(colour, square))
            pins = sum(
                board.is_pinned(colour, square)
                for square, piece in board.piece_map().items()
                if piece.color == colour and piece.piece_type != chess.KING
            )
            assert found[f"{whose} pinned pieces"][index] == pins
            queens = board.pieces(chess.QUEEN, colour)
            attacked = any(board.is_attacked_by(not colour, square) for square in queens)
            assert found[f"{whose} queen attacked"][index] == attacked
        moves = list(board.legal_moves)
        assert found["in check"][index] == board.is_check()
        assert found["my captures"][index] == sum(map(board.is_capture, moves))
        assert found["my checks"][index] == sum(map(board.gives_check, moves))
        mates = 0
        for move in moves:
            board.push(move)
            mates += board.is_checkmate()
            board.pop()
        assert found["mate in one"][index] == (mates > 0)
        if not board.is_check():
            board.push(chess.Move.null())
            assert found["their captures"][index] == sum(map(board.is_capture, board.legal_moves))
            assert found["their checks"][index] == sum(map(board.gives_check, board.legal_moves))
            board.pop()


def test_a_published_exchange() -> None:
    """Chess Programming Wiki, Static Exchange Evaluation: Rxe5 wins a pawn, Nxe5 loses a knight for
    a pawn."""
    board = "1k1r4/1pp4p/p7/4p3/8/P5P1/1PP4P/2K1R3 w"
    assert answers(threats.best_capture.mine, "chess", board) == 1
    board = "1k1r3q/1ppn3p/p4b2/4p3/8/P2N2P1/1PP1R1BP/2K1Q3 w"
    variant = get_variant("chess")
    row = Position(variant, f"{board} - - 0 1").row
    hanging = threats.hanging_on_squares.theirs.labels(row[None], variant)[0]
    assert hanging[chess.E5] == 0
