"""Small endgames, and a dull way to know them: all positions in a dictionary, ply by ply."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
import numpy.typing as npt

from engine.rules.errors import FenError
from engine.rules.notation.fen import parse_fen, write_fen
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, EN_PASSANT, KING, NO_SQUARE, SIDE
from engine.rules.variant import Registry, Variant

SMALL_ENDGAMES = """
# Kings, a rook and promotion, on an odd number of files.
[rooks]
pawn = p
rook = r
king = k
maxFile = 3
maxRank = 4
startFen = rk1/p2/2P/1KR w - - 0 1
promotionRegionWhite = *4
promotionRegionBlack = *1
promotionPieceTypes = r
castling = false
doubleStep = false

# Two files, en passant, and who is stalemated wins.
[narrow]
pawn = p
king = k
queen = q
maxFile = 2
maxRank = 5
startFen = kp/p1/2/1P/PK w - - 0 1
promotionRegionWhite = *5
promotionRegionBlack = *1
promotionPieceTypes = q
doubleStepRegionWhite = *1 *2
doubleStepRegionBlack = *5 *4
stalemateValue = win
castling = false

# Pawns alone, with double steps from two ranks; who arrives has won.
[passing]
pawn = p
maxFile = 2
maxRank = 5
startFen = pp/2/2/2/PP w - - 0 1
doubleStepRegionWhite = *1 *2
doubleStepRegionBlack = *5 *4
flagPiece = p
flagRegionWhite = *5
flagRegionBlack = *1
promotionRegionWhite = -
promotionRegionBlack = -
stalemateValue = draw
castling = false

# Men without a king that cannot all go back; the goals and so the colours differ.
[goals]
customPiece1 = s:fmWcK
customPiece2 = r:mRcF
maxFile = 3
maxRank = 3
startFen = srs/3/SRS w - - 0 1
flagPiece = s
flagRegionWhite = a3 b3
flagRegionBlack = *1
stalemateValue = loss
castling = false
doubleStep = false

# Who has no knight left has won; two of a kind.
[giving]
knight = n
customPiece1 = f:FcW
maxFile = 3
maxRank = 3
startFen = nfn/3/NFN w - - 0 1
extinctionValue = win
extinctionPieceTypes = n
stalemateValue = draw
castling = false
doubleStep = false
"""

_registry = Registry()
_registry.add_text(SMALL_ENDGAMES, "tests/support/search/tablebase_cases.py")

Row = npt.NDArray[np.uint8]
UNKNOWN = 0, 0


def small_endgame(name: str) -> Variant:
    return _registry.get(name)


def hurried_endgame(name: str, moves: int) -> Variant:
    """The same game with a short move rule."""
    text = f"[{name}{moves}:{name}]\nnMoveRule = {moves}\n"
    registry = Registry()
    registry.add_text(SMALL_ENDGAMES + text, "tests/support/search/tablebase_cases.py")
    return registry.get(f"{name}{moves}")


def placements(variant: Variant, codes: tuple[int, ...]) -> list[Row]:
    """Every row on which just these men stand, both sides to move, legal or not."""
    rows = {}
    for squares in product(range(variant.squares), repeat=len(codes)):
        if len(set(squares)) < len(codes):
            continue
        row = np.zeros(variant.row_size, dtype=np.uint8)
        row[list(squares)] = codes
        row[variant.squares + EN_PASSANT] = NO_SQUARE
        for side in (0, 1):
            row[variant.squares + SIDE] = side
            rows[row.tobytes()] = row.copy()
    return list(rows.values())


def legal_rows(variant: Variant, men: int) -> list[Row]:
    """Every position of up to so many men that a FEN may name, without en passant."""
    kings = (KING, KING | BLACK_BIT) if variant.has_king else ()
    others = [t for t in variant.piece_types if not (variant.has_king and t == KING)]
    codes = [piece | colour for piece in others for colour in (0, BLACK_BIT)]
    rows = []
    for count in range(0 if kings else 1, men - len(kings) + 1):
        for chosen in combinations_with_replacement(codes, count):
            for row in placements(variant, (*kings, *chosen)):
                try:
                    rows.append(parse_fen(variant, write_fen(variant, row))[0])
                except FenError:
                    continue
    return rows


@dataclass(frozen=True)
class Known:
    """The dull result for one position."""

    row: Row
    value: int
    distance: int


def _key(row: Row) -> bytes:
    """A position without its clock and repetitions."""
    return row[:-2].tobytes()


@cache
def known_endgames(variant: Variant, men: int) -> list[Known]:
    """Value and distance of every position of up to so many men, and of those after double steps.

    First the graph of all moves, then ply n from ply n - 1 until nothing is found any more.
    """
    rows, after, known = (
        dict[bytes, Row](),
        dict[bytes, list[bytes]](),
        dict[bytes, tuple[int, int]](),
    )
    waiting = legal_rows(variant, men)
    while waiting:
        row = waiting.pop()
        if _key(row) in rows:
            continue
        position = Position.from_row(row, variant)
        rows[_key(row)], after[_key(row)] = row, []
        outcome = position.outcome()
        if outcome is not None:
            known[_key(row)] = outcome.value(position.turn), 0
            continue
        for move in position.legal_moves:
            position.push(move)
            child = position.row.copy()
            child[-2:] = 0
            position.pop()
            after[_key(row)].append(_key(child))
            waiting.append(child)
    ply, found = 0, True
    while found or ply == 0:
        ply += 1
        fresh = {}
        for key in rows.keys() - known.keys():
            replies = [known.get(child, UNKNOWN) for child in after[key]]
            if any(value == -1 for value, _ in replies):
                fresh[key] = 1, ply
            elif all(value == 1 for value, _ in replies):
                fresh[key] = -1, ply
        known |= fresh
        found = bool(fresh)
    return [Known(row, *known.get(key, UNKNOWN)) for key, row in rows.items()]


def has_unborn_pawn(variant: Variant, row: Row) -> bool:
    """Whether a pawn stands behind the rank from which pawns start."""

    def ranks(board: Row, code: int) -> list[int]:
        found = [int(square) // variant.width for square in np.flatnonzero(board == code)]
        return [variant.height - 1 - rank for rank in found] if code & BLACK_BIT else found

    board, start = row[: variant.squares], variant.start_row[: variant.squares]
    born = [rank for code in (1, 1 | BLACK_BIT) for rank in ranks(start, code)]
    now = [rank for code in (1, 1 | BLACK_BIT) for rank in ranks(board, code)]
    return min(now, default=9) < min(born, default=0)
