"""Positions as callers pass them, checked before a compiled kernel sees them.

Every function of the face takes one `Position`, several of them, or rows uint8[N, R].
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.notation.fen import parse_fen, square_name, write_fen
from engine.rules.outcome import termination
from engine.rules.position import Position
from engine.rules.tables import (
    BLACK,
    BLACK_BIT,
    CASTLING,
    EMPTY,
    EN_PASSANT,
    KING,
    NO_SQUARE,
    PAWN,
    ROOK,
    SIDE,
    WHITE,
)
from engine.rules.variant import Variant
from engine.settings import quoted
from search.mcts.roots import Roots

Rows: TypeAlias = npt.NDArray[np.uint8]
"""uint8[N, R]: one position a row (`engine/rules/README.md` describes it)."""
Positions: TypeAlias = Sequence[Position] | Rows
"""Several positions of one variant."""

_SIDES: Final = ((WHITE, "White"), (BLACK, "Black"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B positions of one variant, at least one."""

    variant: Variant
    # uint8[B, R], a copy.
    rows: Rows
    # Copies of the positions, with their histories; None where rows were given.
    positions: tuple[Position, ...] | None
    # Whether one position was given, and not a list of one.
    single: bool

    def position(self, index: int) -> Position:
        """The position at that place, from 0."""
        if self.positions is not None:
            return self.positions[index]
        return Position.from_row(self.rows[index], self.variant)

    def roots(self) -> Roots:
        """The positions with the games that led to them, as a search takes them."""
        if self.positions is not None:
            return Roots.from_positions(self.positions)
        games = len(self.rows)
        return Roots(self.rows, np.zeros((games, 1), np.uint64), np.zeros(games, np.int64))

    def legal_moves(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """Moves uint16[M] and offsets int64[B + 1]; raises InputError where a game is over."""
        tables = self.variant.tables
        moves, offsets = generate_batch(tables, self.rows)
        for index, count in enumerate(np.diff(offsets).tolist()):
            if termination(tables, self.rows[index], count):
                text = self.position(index).fen()
                name = "" if self.single else f"positions[{index}]: "
                raise InputError(f"{name}the game is over in '{text}' ({self.variant.name})")
        return moves, offsets


def batch_of(positions: object, variant: Variant | None, owner: str) -> Batch:
    """One position or several, all of `variant` where that is given.

    `owner` says in messages whose variant it is, as "the network". Raises InputError for anything
    else, for an empty batch, for positions of several variants and for rows that are no positions
    of the variant.
    """
    if isinstance(positions, Position):
        _require_variant(positions.variant, variant, owner, "the position")
        return _of_positions([positions], single=True)
    if isinstance(positions, str | bytes | dict) or not isinstance(positions, Iterable):
        raise _no_position("positions", positions)
    if hasattr(positions, "__array__") and np.asarray(positions).dtype != object:
        return _of_rows(np.asarray(positions), variant, owner)
    several = list(positions)
    if not several:
        raise InputError("positions is empty; at least one is needed")
    if all(hasattr(row, "__array__") for row in several):
        shapes = {np.shape(row) for row in several}
        if len(shapes) > 1:
            raise InputError(f"positions: rows of {len(shapes)} different lengths")
        return _of_rows(np.stack([np.asarray(row) for row in several]), variant, owner)
    for index, position in enumerate(several):
        if not isinstance(position, Position):
            raise _no_position(f"positions[{index}]", position)
    first = several[0].variant
    for index, position in enumerate(several):
        _require_variant(position.variant, first, "positions[0]", f"positions[{index}]")
    _require_variant(first, variant, owner, "positions[0]")
    return _of_positions(several, single=False)


def place_of(index: object, count: int) -> int:
    """A place in a result of so many positions, counted from 0 or from the end.

    Raises IndexError beyond them, and TypeError for what is no whole number.
    """
    if not isinstance(index, int | np.integer):
        raise TypeError(f"a position's place is a whole number, not {quoted(index)}")
    if not -count <= index < count:
        raise IndexError(f"no position {index}, there are {count}")
    return int(index) % count


def _of_positions(positions: Sequence[Position], *, single: bool) -> Batch:
    # Copies: a result must not change when the caller plays on.
    copies = tuple(position.copy() for position in positions)
    size = copies[0].variant.row_size
    for index, position in enumerate(copies):
        if position.row.shape != (size,):
            shape = list(position.row.shape)
            raise InputError(
                f"positions[{index}]: a row {shape}, not [{size}] of {position.variant.name}"
            )
    rows = np.stack([position.row for position in copies])
    # `Position.from_row` and `push` trust their callers.
    _require_sound(copies[0].variant, rows, single=single)
    return Batch(variant=copies[0].variant, rows=rows, positions=copies, single=single)


def _no_position(name: str, value: object) -> InputError:
    kind = type(value).__name__
    return InputError(
        f"{name}: a Position, a sequence of them or rows uint8[N, R] are expected, not"
        f" {quoted(value)} ({kind})"
    )


def _require_variant(found: Variant, wanted: Variant | None, owner: str, what: str) -> None:
    if wanted is not None and found.digest != wanted.digest:
        raise InputError(f"{what} is of {found.name}, {owner} of {wanted.name}")


def _of_rows(rows: npt.NDArray[Any], variant: Variant | None, owner: str) -> Batch:
    if variant is None:
        raise InputError(f"rows do not say their variant, and neither does {owner}: give Positions")
    size = variant.row_size
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != size:
        shape = f"{rows.dtype}{list(rows.shape)}"
        advice = " (row[None] makes rows of one)" if rows.shape == (size,) else ""
        raise InputError(f"positions: {shape}, not rows uint8[N, {size}] of {variant.name}{advice}")
    if not len(rows):
        raise InputError("positions is empty; at least one is needed")
    rows = np.array(rows, order="C")
    _require_sound(variant, rows, single=False)
    return Batch(variant=variant, rows=rows, positions=None, single=False)


def _require_sound(variant: Variant, rows: Rows, *, single: bool) -> None:
    """Raises InputError where an entry would lead a kernel astray, or where none may stand."""

    def name(index: int) -> str:
        return "the position" if single else f"positions[{index}]"

    for faulty, problem in _faults(variant, rows):
        if faulty.any():
            index = int(np.argmax(faulty))
            raise InputError(f"{name(index)}: no position of {variant.name}: {problem}")
    passed = np.flatnonzero(rows[:, variant.squares + EN_PASSANT] != NO_SQUARE)
    for index in passed.tolist():
        text = write_fen(variant, rows[index])
        try:
            parse_fen(variant, text)
        except InputError as problem:
            raise InputError(f"{name(index)}: {problem}") from None


def _faults(variant: Variant, rows: Rows) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
    """What is wrong with which rows [N]; later checks trust what earlier ones have found good."""
    squares = variant.squares
    pieces, state = rows[:, :squares], rows[:, squares:]
    known = np.zeros(256, bool)
    known[EMPTY] = True
    for piece_type in variant.piece_types:
        known[[piece_type, piece_type | BLACK_BIT]] = True
    yield np.count_nonzero(known[pieces], axis=1) < squares, "an unknown piece"
    yield state[:, SIDE] > BLACK, "neither side is to move"
    target = state[:, EN_PASSANT]
    yield (target != NO_SQUARE) & (target >= squares), "an en passant square outside the board"
    yield from _piece_faults(variant, pieces)
    for right, (king, rook, *_) in enumerate(variant.castling):
        bit = BLACK_BIT if right >= 2 else 0
        asked = (state[:, CASTLING] >> right & 1).astype(bool)
        if king == NO_SQUARE:
            yield asked, "a right to castle"
        else:
            standing = (pieces[:, king] == KING | bit) & (pieces[:, rook] == ROOK | bit)
            yield asked > standing, "a right to castle without king or rook"
    yield state[:, CASTLING] >= 16, "unknown rights to castle"
    if variant.has_king:
        waiting = rows.copy()
        waiting[:, squares + SIDE] ^= 1
        checks = np.array([is_check(variant.tables, row) for row in waiting], dtype=bool)
        yield checks, "the side that is not to move stands in check"


def _piece_faults(variant: Variant, pieces: Rows) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
    for colour, name in _SIDES:
        bit = BLACK_BIT if colour == BLACK else 0
        if variant.has_king:
            kings = np.count_nonzero(pieces == (KING | bit), axis=1)
            yield np.not_equal(kings, 1), f"{name} does not have one king"
        region = variant.promotion_region[colour]
        for square in range(variant.squares):
            if region >> square & 1:
                where = square_name(variant, square)
                yield (
                    pieces[:, square] == (PAWN | bit),
                    f"a pawn stands on {where}, where it must promote",
                )
