"""Exact position keys and the hash table that a solution lives in.

A key is the position itself, not a hash of it: each square takes `bits` bits (two where there is one
piece type: empty, white man, black man, empty en-passant target), the side to move one more.

    word 0   63 bits: side to move, then the first squares (31 of them at two bits)
    word 1…  64 bits: the squares that are left, 32 a word

Word 0 is then mixed by a bijection, so that keys spread evenly and can still be unpacked.

The table is open addressing with linear probing *in the order of the mixed word* (Amble and Knuth,
"Ordered hash tables", 1974): a search stops at the first larger key, so the table works at a load of
0.9, and because `home` rises with the word, the whole table is sorted and grows in place. It needs
no second copy, which is what keeps a position at 14 bytes even in the moment of growth.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation import kernel
from engine.rules.tables import (
    BLACK_BIT,
    CASTLING,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    NO_SQUARE,
    PIECE_CODES,
    REPETITION,
    SIDE,
)

Keys = npt.NDArray[np.uint64]
Scores = npt.NDArray[np.int16]
Row = npt.NDArray[np.uint8]

MAX_LOAD: Final = 0.9
GROWTH: Final = 1.25
OVERFLOW: Final = 64
"""Slots behind the last home, so that probing never wraps; the last one stays empty."""
MIN_CAPACITY: Final = 128
SCORE_BYTES: Final = 2
MAX_CAPACITY: Final = (1 << 32) - 1
"""`home` multiplies 32 bits by 32 bits."""

EMPTY_SLOT: Final = np.uint64(0)
"""No key is 0: the mixed word is odd."""
EMPTY_CELL: Final = 0
EN_PASSANT_CELL: Final = 1
FIRST_PIECE_CELL: Final = 2

_ONE: Final = np.uint64(1)
_HALF: Final = np.uint64(32)
_MASK_63: Final = np.uint64((1 << 63) - 1)
_MULTIPLIER: Final = np.uint64(0x1E3779B97F4A7C15)
_INVERSE: Final = np.uint64(pow(0x1E3779B97F4A7C15, -1, 1 << 63))


class KeyLayout(NamedTuple):
    """How a row becomes a key (W words)."""

    squares: int
    bits: int
    """Bits a square."""
    words: int
    """W."""
    cells: npt.NDArray[np.uint8]
    """[32] cell of each piece code."""
    codes: npt.NDArray[np.uint8]
    """[2 ** bits] piece code of each cell."""


def key_layout(squares: int, piece_types: tuple[int, ...]) -> KeyLayout:
    """The layout for a board of `squares` squares and men of `piece_types`."""
    pieces = [piece | colour for piece in piece_types for colour in (0, BLACK_BIT)]
    bits = max(2, (FIRST_PIECE_CELL + len(pieces) - 1).bit_length())
    cells = np.zeros(PIECE_CODES, np.uint8)
    codes = np.zeros(1 << bits, np.uint8)
    for cell, code in enumerate(pieces, FIRST_PIECE_CELL):
        cells[code] = cell
        codes[cell] = code
    beyond = max(0, squares - 62 // bits)
    words = 1 + -(-beyond // (64 // bits))
    return KeyLayout(squares, bits, words, cells, codes)


@kernel
def pack(layout: KeyLayout, row: Row, key: Keys) -> None:
    """Write the key of a row into `key` (uint64[W])."""
    squares = layout.squares
    bits = np.uint64(layout.bits)
    en_passant = row[squares + EN_PASSANT]
    word, room, shift = 0, np.uint64(63), _ONE
    packed = np.uint64(row[squares + SIDE])
    for square in range(squares):
        if shift + bits > room:
            key[word] = packed
            word, room, shift, packed = word + 1, np.uint64(64), np.uint64(0), np.uint64(0)
        cell = layout.cells[row[square]]
        if square == en_passant:
            cell = EN_PASSANT_CELL
        packed |= np.uint64(cell) << shift
        shift += bits
    key[word] = packed
    first = (key[0] ^ _fold(key)) * _MULTIPLIER & _MASK_63
    first = (first ^ first >> _HALF) * _MULTIPLIER & _MASK_63
    key[0] = first << _ONE | _ONE


@kernel
def _fold(key: Keys) -> np.uint64:
    """63 bits that depend on all words but the first."""
    folded = np.uint64(0)
    for word in range(1, key.shape[0]):
        folded = (folded ^ key[word]) * _MULTIPLIER
        folded ^= folded >> _HALF
    return folded & _MASK_63


@kernel
def unpack(layout: KeyLayout, key: Keys, row: Row) -> None:
    """Write the row of a key into `row` (uint8[R]); clock, castling and repetition are 0."""
    squares = layout.squares
    bits = np.uint64(layout.bits)
    mask = (_ONE << bits) - _ONE
    first = (key[0] >> _ONE) * _INVERSE & _MASK_63
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
            packed = key[word]
        cell = packed >> shift & mask
        row[square] = layout.codes[cell]
        if cell == EN_PASSANT_CELL:
            row[squares + EN_PASSANT] = square
        shift += bits


@kernel
def home(first: np.uint64, capacity: int) -> int:
    """Where a key's probing begins; rises with the mixed word."""
    return np.int64((first >> _HALF) * np.uint64(capacity) >> _HALF)


@kernel
def find(keys: Keys, capacity: int, key: Keys) -> int:
    """The slot of the key, or ~slot (negative) of the place where it belongs."""
    first = key[0]
    slot = home(first, capacity)
    while True:
        there = keys[slot, 0]
        if there == EMPTY_SLOT or there > first:
            return ~slot
        if there == first:
            same = True
            for word in range(1, key.shape[0]):
                same = same and keys[slot, word] == key[word]
            if same:
                return slot
        slot += 1


@kernel
def insert(keys: Keys, scores: Scores, slot: int, key: Keys, score: int) -> bool:
    """Put a new key at `slot`, moving the larger ones on; False (unchanged) where there is no room."""
    end = slot
    while keys[end, 0] != EMPTY_SLOT:
        end += 1
    if end + 1 >= keys.shape[0]:
        return False
    words = keys.shape[1]
    while end > slot:
        for word in range(words):
            keys[end, word] = keys[end - 1, word]
        scores[end] = scores[end - 1]
        end -= 1
    for word in range(words):
        keys[slot, word] = key[word]
    scores[slot] = score
    return True


@kernel
def _move_slot(keys: Keys, scores: Scores, source: int, target: int) -> None:
    if source == target:
        return
    for word in range(keys.shape[1]):
        keys[target, word] = keys[source, word]
    keys[source, 0] = EMPTY_SLOT
    scores[target] = scores[source]


@kernel
def spread(keys: Keys, scores: Scores, used: int, capacity: int) -> bool:
    """Give the keys in the first `used` slots their places in a larger table, in place.

    They are sorted, so they are pushed to the far end and laid down again from the front; the place
    of each then lies at or before the slot that it comes from. False where the last ones do not fit
    (possible only by an extreme chance): grow further and call again with all slots.
    """
    slots = keys.shape[0]
    begin = slots
    for slot in range(used - 1, -1, -1):
        if keys[slot, 0] != EMPTY_SLOT:
            begin -= 1
            _move_slot(keys, scores, slot, begin)
    for slot in range(begin, slots):
        if home(keys[slot, 0], capacity) > slot:
            return False
    free = 0
    for slot in range(begin, slots):
        place = max(home(keys[slot, 0], capacity), free)
        _move_slot(keys, scores, slot, place)
        free = place + 1
    return free < slots


@kernel
def _gather(keys: Keys, scores: Scores, out_keys: Keys, out_scores: Scores) -> None:
    count = 0
    for slot in range(keys.shape[0]):
        if keys[slot, 0] != EMPTY_SLOT:
            out_keys[count] = keys[slot]
            out_scores[count] = scores[slot]
            count += 1


class StoredPositions(NamedTuple):
    """A table as the kernels see it (C slots, W words)."""

    layout: KeyLayout
    capacity: int
    """Number of homes; C - OVERFLOW."""
    keys: Keys
    """[C, W] mixed keys in rising order, word 0 EMPTY_SLOT where the slot is free."""
    scores: Scores
    """[C] see scores.py."""


def slot_bytes(layout: KeyLayout) -> int:
    """Bytes of one slot."""
    return 8 * layout.words + SCORE_BYTES


def largest_table(layout: KeyLayout, positions: int) -> int:
    """Most bytes that a table needs on its way to `positions` positions."""
    return int(slot_bytes(layout) * (max(positions / MAX_LOAD * GROWTH, MIN_CAPACITY) + OVERFLOW))


class PositionTable:
    """A growing table of positions and their scores."""

    def __init__(self, layout: KeyLayout, capacity: int = MIN_CAPACITY) -> None:
        self.layout = layout
        self.capacity = capacity
        self.count = 0
        self.keys: Keys = np.zeros((capacity + OVERFLOW, layout.words), np.uint64)
        self.scores: Scores = np.zeros(capacity + OVERFLOW, np.int16)

    @classmethod
    def from_sorted(cls, layout: KeyLayout, keys: Keys, scores: Scores) -> "PositionTable":
        """The table of keys uint64[N, W], mixed and in rising order, and their scores int16[N]."""
        count = keys.shape[0]
        table = cls(layout, max(MIN_CAPACITY, int(count / MAX_LOAD) + 1))
        table.keys[:count] = keys
        table.scores[:count] = scores
        table.count = count
        if not spread(table.keys, table.scores, count, table.capacity):
            table.grow()
        return table

    @property
    def room(self) -> int:
        """How many positions it takes before it must grow."""
        return int(self.capacity * MAX_LOAD)

    @property
    def bytes(self) -> int:
        """Bytes that it holds now."""
        return int(self.keys.nbytes + self.scores.nbytes)

    @property
    def grown_bytes(self) -> int:
        """Bytes that it holds after `grow`."""
        return slot_bytes(self.layout) * (self._grown_capacity() + OVERFLOW)

    def stored(self) -> StoredPositions:
        """The arrays for a kernel; stale after `grow`."""
        return StoredPositions(self.layout, self.capacity, self.keys, self.scores)

    def grow(self) -> None:
        """Widen by GROWTH in place: the arrays are lengthened, never copied by us."""
        while True:
            used = self.keys.shape[0]
            self.capacity = self._grown_capacity()
            slots = self.capacity + OVERFLOW
            self.keys.resize((slots, self.layout.words), refcheck=False)
            self.scores.resize(slots, refcheck=False)
            if spread(self.keys, self.scores, used, self.capacity):
                return

    def gather(self) -> tuple[Keys, Scores]:
        """The keys uint64[N, W] in rising order and their scores int16[N], without the gaps."""
        keys = np.empty((self.count, self.layout.words), np.uint64)
        scores = np.empty(self.count, np.int16)
        _gather(self.keys, self.scores, keys, scores)
        return keys, scores

    def _grown_capacity(self) -> int:
        return min(int(self.capacity * GROWTH) + 1, MAX_CAPACITY)
