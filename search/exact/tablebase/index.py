"""Where a position stands in the endgame tables: one block of numbers behind the variant's own.

The block is appended to `Variant.tables` (ENDGAMES says where), so that every kernel that knows the
rules can look positions up (probe.py); without a block that costs one comparison. It holds, one
behind the other:

    head        numbers and maps of squares, places below
    hash        signature of a material -> record, and whether its colours are to be exchanged
    records     one a material: where its codes begin, its groups of equal men
    legends     [256] a record: code -> score (search/scores.py; a draw is 0), NO_SCORE for code 0
    codes       one byte an entry, eight in a number, the lowest first
    zeroing     as many bytes again: plies to the next move that resets the clock, see ZEROING

An entry is (en-passant state, side to move, index). The index is a number with one digit for each
group of equal men: the square of a single man, the combination of squares of several:

    index = (... near(anchor) * radix + digit) * radix + digit ...

Where left and right may be exchanged, a first group of one man, the *anchor*, stays in the left
half. Where colours may be exchanged and both sides have the same men, White is to move.
"""

from dataclasses import dataclass
from math import comb, prod
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel, lowest_bit
from engine.rules.kernels import apply
from engine.rules.tables import (
    BLACK_BIT,
    BOARD,
    CASTLING,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    ENDGAMES,
    NO_SQUARE,
    PAWN,
    PIECE_CODES,
    REPETITION,
    SIDE,
    SQUARES,
    WIDTH,
    Int,
    Row,
    Rows,
    Tables,
    bitmap,
)
from engine.rules.variant import Variant
from search.exact.tablebase.material import (
    MOST_MEN,
    Material,
    is_colour_symmetric,
    is_mirror_symmetric,
    square_images,
)
from search.scores import NO_SCORE

MEN: Final = 0
"""Men of the largest material."""
HASH_MASK: Final = 1
"""Slots of the hash less one, a power of two less one."""
HASH: Final = 2
"""Where the hash begins: [slots, 2] signature (0: free), record << 2 | _AS_IT_IS, ..."""
CODES: Final = 3
"""Where the codes begin."""
ZEROING: Final = 4
"""Where the plies to zeroing begin, placed as the codes are; 0 where there is no move rule.

z of a decided position that is not over: the winner mates, captures or moves a pawn by ply z and
still wins at clock 0, whatever the loser does. So it is won at clock c exactly if c + z is not
above the rule's number. 0: not won under the rule at any clock; 0 for all other entries, too.
"""
UNKNOWN_ZEROING: Final = 255
"""In a table of a format that did not have them; plies to zeroing stay below."""
KEYS: Final = 5
"""[32] of the men's codes; a material's signature is the sum of its men's."""
_MAPS: Final = KEYS + PIECE_CODES
"""[4, 64] squares as they are, turned over, mirrored, and both."""
_ASIDE: Final = _MAPS + 4 * BOARD
"""[64] 1 on the right half of the board, 2 on the middle file, else 0."""
_NEAR: Final = _ASIDE + BOARD
"""[64] the squares of the left half and the middle, counted."""
_FROM_NEAR: Final = _NEAR + BOARD
"""[64] the square of such a number."""
_PASSED: Final = _FROM_NEAR + BOARD
"""[2, 64] for the side to move: en-passant states by square, from 1; 0 where none is possible."""
_FROM_PASSED: Final = _PASSED + 2 * BOARD
"""[2, 64] the square of such a state, less 1."""
_BINOMIALS: Final = _FROM_PASSED + 2 * BOARD
"""[MOST_MEN + 1, 65] at (k, n): n over k."""
_WIDE: Final = BOARD + 1
_BARRED: Final = _BINOMIALS + (MOST_MEN + 1) * _WIDE
"""[2] bitmaps of the squares on which no pawn of that colour can stand."""
_HEAD: Final = _BARRED + 2

_AS_IT_IS: Final = 0
_TURNED: Final = 1
WHITE_TO_MOVE: Final = 2
"""Whether a material's colours are exchanged: never, always, or where Black is to move."""

FIRST: Final = 0
"""In a record: its first entry among all codes."""
SIZE: Final = 1
"""Indices, for one side to move and one en-passant state."""
SIDES: Final = 2
"""2, or 1 where White is always to move."""
STATES: Final = 3
"""En-passant states, the first is none."""
LEGEND: Final = 4
"""Where its legend begins."""
_ANCHORED: Final = 5
"""1 where the first group is one man that stays in the left half."""
_GROUPS: Final = 6
_GROUP: Final = 7
"""[groups] code | men << 5 | radix << 8."""
_RECORD: Final = _GROUP + MOST_MEN
LEGEND_SIZE: Final = 256


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a material stands in the block."""

    material: Material
    name: str
    """`KQvK`."""
    record: int
    """Where its record begins."""
    first: int
    """Its first entry."""
    entries: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """A variant's tables with room for the endgames of some materials behind them."""

    tables: Tables
    places: tuple[Place, ...]

    def codes(self, place: Place) -> npt.NDArray[np.uint8]:
        """[entries] the codes of one table, as a view."""
        return self._bytes(place, CODES)

    def zeroing(self, place: Place) -> npt.NDArray[np.uint8]:
        """[entries] plies to zeroing of one table, as a view; empty where there is no move rule."""
        return self._bytes(place, ZEROING)

    def _bytes(self, place: Place, kind: int) -> npt.NDArray[np.uint8]:
        # Numbers are little-endian on all our machines.
        start = int(self.tables[int(self.tables[ENDGAMES]) + kind])
        end = place.first + place.entries if start else 0
        return self.tables[start:].view(np.uint8)[place.first : end]

    def legend(self, place: Place) -> npt.NDArray[np.int64]:
        """[256] scores by code, as a view."""
        start = int(self.tables[place.record + LEGEND])
        return self.tables[start : start + LEGEND_SIZE]


class _Shape:
    """What the sizes of tables depend on."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.mirrored = is_mirror_symmetric(variant)
        self.turned = is_colour_symmetric(variant)
        # Squares passed over by the other side's double steps, by side to move.
        self.passed = _passed_squares(variant, 0), _passed_squares(variant, 1)

    def record(self, material: Material) -> list[int]:
        """A record without its places."""
        squares, width = self.variant.squares, self.variant.width
        groups = material.groups
        anchored = self.mirrored and bool(groups) and groups[0][1] == 1
        radices = [comb(squares, men) for _, men in groups]
        if anchored:
            radices[0] = (width + 1) // 2 * self.variant.height
        packed = [
            code | men << 5 | radix << 8 for (code, men), radix in zip(groups, radices, strict=True)
        ]
        sides = 1 if self.turned and material == material.turned else 2
        states = 1 + max(map(len, self.passed)) if material.has_passing else 1
        padding = [0] * (MOST_MEN - len(packed))
        return [0, prod(radices), sides, states, 0, int(anchored), len(packed), *packed, *padding]


def _passed_squares(variant: Variant, side: int) -> tuple[int, ...]:
    """Squares that a pawn may just have passed over when `side` is to move."""
    mover = 1 - side
    forward = variant.width if mover == 0 else -variant.width
    starts = (s for s in range(variant.squares) if variant.double_step_region[mover] >> s & 1)
    return tuple(start + forward for start in starts if 0 <= start + 2 * forward < variant.squares)


def entries_of(variant: Variant, material: Material) -> int:
    """Entries of the material's table."""
    record = _Shape(variant).record(material)
    return record[SIZE] * record[SIDES] * record[STATES]


def make_block(variant: Variant, materials: tuple[Material, ...]) -> Block:
    """Room for the tables of these materials, with nothing known yet."""
    shape = _Shape(variant)
    base = len(variant.tables)
    slots = 4
    while slots < 4 * len(materials):
        slots *= 2
    records = base + _HEAD + 2 * slots
    legends = records + len(materials) * _RECORD
    codes = legends + len(materials) * LEGEND_SIZE
    places, entries, body = [], 0, []
    for number, material in enumerate(materials):
        record = shape.record(material)
        record[FIRST], record[LEGEND] = entries, legends + number * LEGEND_SIZE
        count = record[SIZE] * record[SIDES] * record[STATES]
        at = records + number * _RECORD
        name = material.name(variant)
        places.append(Place(material=material, name=name, record=at, first=entries, entries=count))
        entries += count
        body += record
    words = (entries + 7) // 8
    tables = np.zeros(codes + words * (2 if variant.clock_rule else 1), dtype=np.int64)
    tables[:base] = variant.tables
    tables[ENDGAMES] = base
    tables[records:legends] = body
    tables[legends:codes] = NO_SCORE
    head = tables[base : base + _HEAD]
    _write_head(head, shape)
    head[MEN] = max((material.men for material in materials), default=0)
    head[HASH_MASK], head[HASH], head[CODES] = slots - 1, base + _HEAD, codes
    head[ZEROING] = codes + words if variant.clock_rule else 0
    _write_hash(tables[base + _HEAD : records], head[KEYS : KEYS + PIECE_CODES], places, shape)
    return Block(tables=tables, places=tuple(places))


def _write_head(head: npt.NDArray[np.int64], shape: _Shape) -> None:
    """Fill keys, maps and binomials."""
    variant = shape.variant
    width = variant.width
    generator = np.random.Generator(np.random.PCG64(0x454E4447))
    # Sums of a board's men stay below 2**63.
    head[KEYS : KEYS + PIECE_CODES] = generator.integers(1, 2**56, size=PIECE_CODES)
    maps = head[_MAPS : _MAPS + 4 * BOARD].reshape(4, BOARD)
    maps[:, : variant.squares] = square_images(variant)
    near = 0
    for square in range(variant.squares):
        file, across = square % width, width - 1 - square % width
        head[_ASIDE + square] = 2 if file == across else int(file > across)
        if file <= across:
            head[_NEAR + square], head[_FROM_NEAR + near] = near, square
            near += 1
    for side, squares in enumerate(shape.passed):
        head[_FROM_PASSED + side * BOARD : _FROM_PASSED + (side + 1) * BOARD] = NO_SQUARE
        for state, square in enumerate(squares):
            head[_PASSED + side * BOARD + square] = state + 1
            head[_FROM_PASSED + side * BOARD + state] = square
    for men in range(MOST_MEN + 1):
        for count in range(_WIDE):
            head[_BINOMIALS + men * _WIDE + count] = comb(count, men)
    head[_BARRED : _BARRED + 2] = [bitmap(squares) for squares in _barred_squares(variant)]


def _barred_squares(variant: Variant) -> tuple[list[int], list[int]]:
    """Where no pawn stands in any game: those of promotion, and those behind the pawns' start."""
    width, height, squares = variant.width, variant.height, range(variant.squares)
    ranks = [
        rank if code == PAWN else height - 1 - rank
        for rank, code in ((s // width, int(variant.start_row[s])) for s in squares)
        if code & ~BLACK_BIT == PAWN
    ]
    first = min(ranks, default=0)
    behind = (range(first * width), range(variant.squares - first * width, variant.squares))
    white, black = (
        [s for s in squares if s in behind[side] or variant.promotion_region[side] >> s & 1]
        for side in (0, 1)
    )
    return white, black


def _write_hash(
    table: npt.NDArray[np.int64], keys: npt.NDArray[np.int64], places: list[Place], shape: _Shape
) -> None:
    slots = table.reshape(-1, 2)

    def write(material: Material, place: Place, exchange: int) -> None:
        codes = (*material.white, *(piece | BLACK_BIT for piece in material.black))
        signature = sum(int(keys[code]) for code in codes)
        slot = first_slot(signature, len(slots) - 1)
        while slots[slot, 0]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = signature, place.record << 2 | exchange

    for place in places:
        material = place.material
        if shape.turned and material == material.turned:
            write(material, place, WHITE_TO_MOVE)
            continue
        write(material, place, _AS_IT_IS)
        if shape.turned:
            write(material.turned, place, _TURNED)


@kernel
def first_slot(signature: Int, mask: Int) -> Int:
    return (signature ^ signature >> 23) & mask


@kernel
def aside(tables: Tables, record: Int, row: Row, occupied: int, turned: Int) -> Int:
    """Where the anchor stands: 1 on the right, 2 in the middle; 0 on the left or where none is."""
    if not tables[record + _ANCHORED]:
        return np.int64(0)
    code = tables[record + _GROUP] & 31 ^ turned << 4
    while True:
        square = lowest_bit(occupied)
        if row[square] == code:
            half: Int = tables[tables[ENDGAMES] + _ASIDE + square]
            return half
        occupied &= occupied - 1


@internal_kernel
def entry_of(
    tables: Tables,
    record: Int,
    row: Row,
    occupied: int,
    side: Int,
    passed: Int,
    turned: Int,
    mirrored: Int,
) -> Int:
    """The entry of a position in its material's table, seen with colours or sides exchanged.

    `occupied` is the bitmap of all men, `passed` the en-passant square or NO_SQUARE; the row's own
    state bytes are not read. -1 where no pawn can have passed over that square.
    """
    base = tables[ENDGAMES]
    squares = base + _MAPS + (turned + 2 * mirrored) * BOARD
    index = np.int64(0)
    for group in range(tables[record + _GROUPS]):
        packed = tables[record + _GROUP + group]
        code = packed & 31 ^ turned << 4
        men, rest = 0, occupied
        while rest:
            square = lowest_bit(rest)
            rest &= rest - 1
            if row[square] == code:
                men |= 1 << tables[squares + square]
        if group == 0 and tables[record + _ANCHORED]:
            digit = tables[base + _NEAR + lowest_bit(men)]
        else:
            digit, count = np.int64(0), 1
            while men:
                digit += tables[base + _BINOMIALS + count * _WIDE + lowest_bit(men)]
                men &= men - 1
                count += 1
        index = index * (packed >> 8) + digit
    state = np.int64(0)
    side ^= turned
    if passed != NO_SQUARE:
        state = tables[base + _PASSED + side * BOARD + tables[squares + passed]]
        if state == 0 or state >= tables[record + STATES]:
            return np.int64(-1)
    sides = tables[record + SIDES]
    entry: Int = (state * sides + side) * tables[record + SIZE] + index
    return entry


@kernel
def place_men(tables: Tables, record: Int, entry: Int, row: Row) -> bool:
    """Write the position of an entry into a row.

    False where there is none: two men on a square, a pawn where none can stand, an en-passant
    square over which no pawn can have passed or on which none can take. Checks are not looked at.
    """
    base, squares = tables[ENDGAMES], tables[SQUARES]
    size, sides = tables[record + SIZE], tables[record + SIDES]
    index, rest = entry % size, entry // size
    for square in range(squares):
        row[square] = EMPTY
    row[squares + SIDE] = rest % sides
    row[squares + CASTLING] = 0
    row[squares + EN_PASSANT] = NO_SQUARE
    row[squares + CLOCK] = 0
    row[squares + REPETITION] = 0
    for group in range(tables[record + _GROUPS] - 1, -1, -1):
        packed = tables[record + _GROUP + group]
        code, count, radix = packed & 31, packed >> 5 & 7, packed >> 8
        digit, index = index % radix, index // radix
        if group == 0 and tables[record + _ANCHORED]:
            digit = tables[base + _FROM_NEAR + digit]
        while count:
            square = digit
            if count > 1:
                square = count - 1
                while tables[base + _BINOMIALS + count * _WIDE + square + 1] <= digit:
                    square += 1
                digit -= tables[base + _BINOMIALS + count * _WIDE + square]
            count -= 1
            if row[square] != EMPTY:
                return False
            if code & 15 == PAWN and tables[base + _BARRED + (code >> 4)] >> square & 1:
                return False
            row[square] = code
    return rest < sides or _pass_over(tables, row, rest // sides - 1)


@internal_kernel
def _pass_over(tables: Tables, row: Row, state: Int) -> bool:
    """Set the en-passant square; false where the rules would not set it after any double step."""
    squares = tables[SQUARES]
    side = np.int64(row[squares + SIDE])
    square = tables[tables[ENDGAMES] + _FROM_PASSED + side * BOARD + state]
    if square == NO_SQUARE:
        return False
    mover = 1 - side
    forward = -tables[WIDTH] if mover else tables[WIDTH]
    start, end, pawn = square - forward, square + forward, PAWN | mover << 4
    if row[start] != EMPTY or row[square] != EMPTY or row[end] != pawn:
        return False
    row[end], row[start], row[squares + SIDE] = EMPTY, pawn, mover
    after = np.empty(row.shape[0], np.uint8)
    apply(tables, row, start | end << 6, after)
    for place in range(row.shape[0]):
        row[place] = after[place]
    row[squares + CLOCK] = 0
    passed: bool = row[squares + EN_PASSANT] == square
    return passed


@kernel
def place_all(tables: Tables, record: Int, entries: npt.NDArray[np.int64], rows: Rows) -> None:
    """Write the positions of entries [N] into rows [N, R]."""
    for index in range(entries.shape[0]):
        place_men(tables, record, entries[index], rows[index])
