"""Exact position keys and the hash table that a solution lives in.

A key is the position itself, not a hash of it: each square takes `bits` bits (two where there is
one piece type: empty, white, black, empty en-passant target), the side to move one more bit.

    word 0   63 bits: side to move, then the first squares (31 of them at two bits)
    word 1…  64 bits: the squares that are left, 32 a word

Word 0 is then mixed by a bijection, so that keys spread evenly and can still be unpacked. Keys are
kept as halves of words, uint32[K]; a slot of the table is a key and its score, side by side in one
line of the cache:

    [ 1 | upper half of word 0 ][ lower half ] … [ score ]       12 bytes up to 31 squares, else 20

The table is open addressing with linear probing *in the order of the first half* (Amble and Knuth,
"Ordered hash tables", 1974). A search ends at the first larger half, so that a load of 0.9 is not
too slow. `home` rises with the first half, so that the whole table is sorted and grows in place,
without a second copy: a position takes at most 17 or 28 bytes, also while the table grows.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.tables import (
    BLACK_BIT,
    CASTLING,
    CLOCK,
    EN_PASSANT,
    NO_SQUARE,
    PIECE_CODES,
    REPETITION,
    SIDE,
    Row,
)
from engine.system.interrupts import StopFlag, interruptible

Keys = npt.NDArray[np.uint32]
Slots = Array2D[np.uint32]

MAX_LOAD: Final = 0.9
GROWTH: Final = 1.25
OVERFLOW: Final = 64
"""Slots behind the last home, so that probing never wraps; the last one stays empty."""
MIN_CAPACITY: Final = 128
MAX_CAPACITY: Final = (1 << 32) - 1
"""`home` multiplies 31 bits by 32 bits."""

EMPTY_SLOT: Final = np.uint32(0)
"""The first half of every key has its upper bit set."""
SCORE_BIAS: Final = 1 << 15
"""Added to a score in its slot, which has no sign."""
_MOST_GROWN: Final = 4
"""A table from a file that does not fit in so many times its size does not hold positions."""
EMPTY_CELL: Final = 0
EN_PASSANT_CELL: Final = 1
FIRST_PIECE_CELL: Final = 2

_ONE: Final = np.uint64(1)
_HALF: Final = np.uint64(32)
_HOME_BITS: Final = np.uint64(31)
_MASK_31: Final = np.uint64((1 << 31) - 1)
_MASK_63: Final = np.uint64((1 << 63) - 1)
_TOP_BIT: Final = np.uint64(1 << 63)
_MULTIPLIER: Final = np.uint64(0x1E3779B97F4A7C15)
_INVERSE: Final = np.uint64(pow(0x1E3779B97F4A7C15, -1, 1 << 63))


class KeyLayout(NamedTuple):
    """How a row becomes a key (K halves of words)."""

    squares: int
    bits: int
    """Bits a square."""
    halves: int
    """K, two for each word."""
    cells: npt.NDArray[np.uint8]
    """[32] cell of each piece code."""
    codes: npt.NDArray[np.uint8]
    """[2 ** bits] piece code of each cell."""


def key_layout(squares: int, piece_types: tuple[int, ...]) -> KeyLayout:
    """The layout for a board of `squares` squares and pieces of `piece_types`."""
    pieces = [piece | colour for piece in piece_types for colour in (0, BLACK_BIT)]
    bits = max(2, (FIRST_PIECE_CELL + len(pieces) - 1).bit_length())
    cells = np.zeros(PIECE_CODES, np.uint8)
    codes = np.zeros(1 << bits, np.uint8)
    for cell, code in enumerate(pieces, FIRST_PIECE_CELL):
        cells[code] = cell
        codes[cell] = code
    beyond = max(0, squares - 62 // bits)
    words = 1 + -(-beyond // (64 // bits))
    return KeyLayout(squares, bits, 2 * words, cells, codes)


@internal_kernel
def _word(key: Keys, word: int) -> np.uint64:
    return np.uint64(key[2 * word]) << _HALF | np.uint64(key[2 * word + 1])


@internal_kernel
def _set_word(key: Keys, word: int, packed: np.uint64) -> None:
    key[2 * word] = packed >> _HALF
    key[2 * word + 1] = packed & np.uint64(0xFFFFFFFF)


@internal_kernel
def _fold(key: Keys) -> np.uint64:
    """63 bits that depend on all words but the first."""
    folded = np.uint64(0)
    for word in range(1, key.shape[0] // 2):
        folded = (folded ^ _word(key, word)) * _MULTIPLIER
        folded ^= folded >> _HALF
    return folded & _MASK_63


@kernel
def pack(layout: KeyLayout, row: Row, key: Keys) -> None:
    """Write the key of a row into `key` (uint32[K])."""
    squares = layout.squares
    bits = np.uint64(layout.bits)
    en_passant = row[squares + EN_PASSANT]
    first, word, room, shift = np.uint64(0), 0, np.uint64(63), _ONE
    packed = np.uint64(row[squares + SIDE])
    for square in range(squares):
        if shift + bits > room:
            if word == 0:
                first = packed
            else:
                _set_word(key, word, packed)
            word, room, shift, packed = word + 1, np.uint64(64), np.uint64(0), np.uint64(0)
        cell = layout.cells[row[square]]
        if square == en_passant:
            cell = EN_PASSANT_CELL
        packed |= np.uint64(cell) << shift
        shift += bits
    if word == 0:
        first = packed
    else:
        _set_word(key, word, packed)
    first = (first ^ _fold(key)) * _MULTIPLIER & _MASK_63
    first = (first ^ first >> _HALF) * _MULTIPLIER & _MASK_63
    _set_word(key, 0, first | _TOP_BIT)


@kernel
def unpack(layout: KeyLayout, key: Keys, row: Row) -> None:
    """Write the row of a key into `row` (uint8[R]); clock, castling and repetition are 0."""
    squares = layout.squares
    bits = np.uint64(layout.bits)
    mask = (_ONE << bits) - _ONE
    first = (_word(key, 0) & _MASK_63) * _INVERSE & _MASK_63
    first = (first ^ first >> _HALF) * _INVERSE & _MASK_63
    packed = first ^ _fold(key)
    row[squares + SIDE] = packed & _ONE
    row[squares + EN_PASSANT] = NO_SQUARE
    row[squares + CASTLING] = 0
    row[squares + CLOCK] = 0
    row[squares + REPETITION] = 0
    word, room, shift = 0, np.uint64(63), _ONE
    for square in range(squares):
        if shift + bits > room:
            word, room, shift = word + 1, np.uint64(64), np.uint64(0)
            packed = _word(key, word)
        cell = packed >> shift & mask
        row[square] = layout.codes[cell]
        if cell == EN_PASSANT_CELL:
            row[squares + EN_PASSANT] = square
        shift += bits


@kernel
def home(first: np.uint32, capacity: int) -> int:
    """Where a key's probing begins; rises with the first half."""
    return int(np.int64((np.uint64(first) & _MASK_31) * np.uint64(capacity) >> _HOME_BITS))


@kernel
def find(slots: Slots, capacity: int, key: Keys) -> int:
    """The slot of the key, or ~slot (negative) of the place where it belongs."""
    first = key[0]
    slot = home(first, capacity)
    while True:
        there = slots[slot, 0]
        if there == EMPTY_SLOT or there > first:
            return ~slot
        if there == first:
            same = True
            for half in range(1, key.shape[0]):
                same = same and slots[slot, half] == key[half]
            if same:
                return slot
        slot += 1


@kernel
def score_of(slots: Slots, slot: int) -> int:
    """The score in a slot."""
    return int(np.int64(slots[slot, slots.shape[1] - 1])) - SCORE_BIAS


@kernel
def insert(slots: Slots, slot: int, key: Keys, score: int) -> bool:
    """Put a new key at `slot` and move the larger ones on; False, unchanged, without the room."""
    end = slot
    while slots[end, 0] != EMPTY_SLOT:
        end += 1
    if end + 1 >= slots.shape[0]:
        return False
    halves = key.shape[0]
    while end > slot:
        for half in range(halves + 1):
            slots[end, half] = slots[end - 1, half]
        end -= 1
    for half in range(halves):
        slots[slot, half] = key[half]
    slots[slot, halves] = score + SCORE_BIAS
    return True


@internal_kernel
def _move_slot(slots: Slots, source: int, target: int) -> None:
    if source != target:
        for half in range(slots.shape[1]):
            slots[target, half] = slots[source, half]
        slots[source, 0] = EMPTY_SLOT


@kernel
def spread(slots: Slots, used: int, capacity: int, stop: StopFlag) -> bool:
    """Move what the first `used` slots hold to its place in a larger table, in place.

    The table is sorted. All slots are moved to the far end, and then, from the front, each to its
    new place, which is at or before the one that it comes from. False where the last ones do not
    fit, which is very unlikely: lengthen the array and call again with all slots. False, and the
    table in disorder, where `stop` is set.
    """
    size = slots.shape[0]
    begin = size
    for slot in range(used - 1, -1, -1):
        if stop[0] != 0:
            return False
        if slots[slot, 0] != EMPTY_SLOT:
            begin -= 1
            _move_slot(slots, slot, begin)
    for slot in range(begin, size):
        if home(slots[slot, 0], capacity) > slot or stop[0] != 0:
            return False
    free = 0
    for slot in range(begin, size):
        if stop[0] != 0:
            return False
        place = max(home(slots[slot, 0], capacity), free)
        _move_slot(slots, slot, place)
        free = place + 1
    return bool(free < size)


@kernel
def _gather(
    slots: Slots, keys: Array2D[np.uint32], scores: npt.NDArray[np.int16], stop: StopFlag
) -> None:
    count = 0
    for slot in range(slots.shape[0]):
        if stop[0] != 0:
            return
        if slots[slot, 0] != EMPTY_SLOT:
            for half in range(keys.shape[1]):
                keys[count, half] = slots[slot, half]
            scores[count] = score_of(slots, slot)
            count += 1


class StoredPositions(NamedTuple):
    """A table as the kernels see it (C slots, K halves a key)."""

    layout: KeyLayout
    capacity: int
    """Number of homes; C - OVERFLOW."""
    slots: Slots
    """[C, K + 1] key and score, in rising order of the first half; EMPTY_SLOT where free."""


def largest_table(layout: KeyLayout, positions: int) -> int:
    """Most bytes that a table takes on its way to `positions` positions."""
    slots = max(positions / MAX_LOAD * GROWTH, MIN_CAPACITY) + OVERFLOW
    return int(slots) * 4 * (layout.halves + 1)


class PositionTable:
    """A growing table of positions and their scores."""

    def __init__(self, layout: KeyLayout, capacity: int = MIN_CAPACITY) -> None:
        self.layout = layout
        self.capacity = capacity
        self.count = 0
        self.slots: Slots = np.zeros((capacity + OVERFLOW, layout.halves + 1), np.uint32)

    @classmethod
    def from_sorted(
        cls, layout: KeyLayout, keys: Keys, scores: npt.NDArray[np.int16]
    ) -> "PositionTable":
        """The table of keys uint32[N, K] in rising order of the first half, with scores [N].

        Raises InputError for keys that are not spread as those of positions are: the table would
        grow without end.
        """
        count = keys.shape[0]
        table = cls(layout, max(MIN_CAPACITY, int(count / MAX_LOAD) + 1))
        most = _MOST_GROWN * table.capacity
        table.slots[:count, :-1] = keys
        table.slots[:count, -1] = scores.astype(np.int64) + SCORE_BIAS
        table.count = count
        fits = table._spread(count)
        while not fits:
            if table.capacity > most:
                raise InputError(f"{count} keys that are not spread as those of positions are")
            fits = table._widen()
        return table

    @property
    def room(self) -> int:
        """How many positions it takes before it must grow."""
        return int(self.capacity * MAX_LOAD)

    @property
    def grown_bytes(self) -> int:
        """Bytes that it takes after `grow`."""
        return (self._grown_capacity() + OVERFLOW) * 4 * (self.layout.halves + 1)

    def copy(self) -> "PositionTable":
        """The same positions in a table of its own."""
        table = PositionTable(self.layout, MIN_CAPACITY)
        table.capacity, table.count, table.slots = self.capacity, self.count, self.slots.copy()
        return table

    def stored(self) -> StoredPositions:
        """The table for a kernel; stale after `grow`."""
        return StoredPositions(self.layout, self.capacity, self.slots)

    def grow(self) -> None:
        """Widen by GROWTH in place: the array is lengthened, which needs no second copy."""
        while not self._widen():
            pass

    def _widen(self) -> bool:
        used = self.slots.shape[0]
        self.capacity = self._grown_capacity()
        self.slots.resize((self.capacity + OVERFLOW, self.slots.shape[1]), refcheck=False)
        return self._spread(used)

    def _spread(self, used: int) -> bool:
        with interruptible() as stop:
            return bool(spread(self.slots, used, self.capacity, stop))

    def gather(self) -> tuple[Keys, npt.NDArray[np.int16]]:
        """The keys uint32[N, K] in rising order and their scores int16[N], without the gaps."""
        keys = np.empty((self.count, self.layout.halves), np.uint32)
        scores = np.empty(self.count, np.int16)
        with interruptible() as stop:
            _gather(self.slots, keys, scores, stop)
        return keys, scores

    def _grown_capacity(self) -> int:
        return min(int(self.capacity * GROWTH) + 1, MAX_CAPACITY)
