"""An evaluation cache: no position is evaluated twice, within a batch or soon after.

    slots   [S]      [ key start count win draw loss | ... ]    buckets of four, chosen by the key
    rows    [S, R]   [ position of each slot         | ... ]
    logits  [P]      [ a b c d e | a b c | ...             ]    a ring: the oldest are overwritten
                       ^ start     ^ start      ^ written

A hit must match in the whole row: the board, the side to move, castling rights, en passant, clock
and repetitions, which is all that an evaluator may read. So positions with equal keys are never
confused.

A new entry takes a free slot of its bucket, or the oldest one, and the next places of the ring; an
entry whose logits were overwritten counts as free. Replacement is first in, first out: the searches
of one game ask again about the positions that they asked about just before.
"""

from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, inlined, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.history import hash_row
from engine.rules.tables import CLOCK, REPETITION, SQUARES, Int, Row, Rows, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluation, Evaluator, Moves, Offsets, evaluate

SLOT: Final = np.dtype(
    [
        # Zobrist hash with the clock and the repetitions mixed in.
        ("key", np.uint64),
        # Number of the first logit among all that were ever written, or _FREE.
        ("start", np.int64),
        # How many logits there are.
        ("count", np.int32),
        ("win", np.float32),
        ("draw", np.float32),
        ("loss", np.float32),
    ],
    align=True,
)
_FREE: Final = -1
_BUCKET: Final = 4
"""Slots that a key may take."""
_LOGITS_A_SLOT: Final = 24
"""Moves of a position on average; where there are more, the ring is the tighter bound."""
_HIT: Final = -1
_NONE: Final = -1


class Store(NamedTuple):
    """The cached entries: S slots (a multiple of _BUCKET) and P logits."""

    slots: Annotated[npt.NDArray[np.void], SLOT]
    """[S] SLOT."""
    rows: Rows
    """[S, R] positions."""
    logits: npt.NDArray[np.float32]
    """[P]."""
    written: npt.NDArray[np.int64]
    """[1] logits ever written; the next one goes to this number modulo P."""


@inlined
def _key_of(tables: Tables, row: Row) -> np.uint64:
    """Shifts and exclusive-ors only, so that it runs the same compiled and as plain Python."""
    squares = tables[SQUARES]
    more = np.uint64(row[squares + CLOCK]) ^ (np.uint64(row[squares + REPETITION]) << np.uint64(8))
    spread = (more << np.uint64(5)) ^ (more << np.uint64(27)) ^ (more << np.uint64(46))
    return hash_row(tables, row) ^ spread


@inlined
def _same(rows: Rows, one: Int, others: Rows, other: Int) -> bool:
    """Whether two rows of two arrays are equal."""
    place: int = 0
    length: int = rows.shape[1]
    while place < length and rows[one, place] == others[other, place]:
        place += 1
    return place == length


@inlined
def _bucket_of(store: Store, key: np.uint64) -> Int:
    """The first slot of a key's bucket, by the upper half of the key (Lemire's multiplication)."""
    buckets = np.uint64(store.slots.shape[0] // _BUCKET)
    return np.int64((key >> np.uint64(32)) * buckets >> np.uint64(32)) * _BUCKET


@inlined
def _is_held(store: Store, slot: Int) -> bool:
    """Whether a slot holds an entry whose logits still stand in the ring."""
    start = store.slots[slot]["start"]
    held: bool = start != _FREE and start + store.logits.shape[0] >= store.written[0]
    return held


@inlined
def _find(store: Store, key: np.uint64, positions: Rows, index: Int, count: Int) -> Int:
    """The slot that holds a position, _NONE where none does."""
    first = _bucket_of(store, key)
    for slot in range(first, first + _BUCKET):
        known = store.slots[slot]
        if (
            known["key"] == key
            and known["count"] == count
            and _is_held(store, slot)
            and _same(store.rows, slot, positions, index)
        ):
            return np.int64(slot)
    return np.int64(_NONE)


@inlined
def _store(
    store: Store,
    key: np.uint64,
    row: Row,
    logits: npt.NDArray[np.float32],
    wdl: npt.NDArray[np.float32],
) -> None:
    """Store one evaluation, `wdl` [3]; a position with more moves than the ring is left out."""
    size, count = store.logits.shape[0], logits.shape[0]
    if count > size:
        return
    first = _bucket_of(store, key)
    chosen = first
    for slot in range(first, first + _BUCKET):
        if not _is_held(store, np.int64(slot)):
            chosen = np.int64(slot)
            break
        if store.slots[slot]["start"] < store.slots[chosen]["start"]:
            chosen = np.int64(slot)
    entry = store.slots[chosen]
    entry["key"] = key
    entry["start"] = store.written[0]
    entry["count"] = count
    entry["win"], entry["draw"], entry["loss"] = wdl[0], wdl[1], wdl[2]
    copy_into(store.rows[chosen], row)
    place = store.written[0] % size
    for logit in logits:
        store.logits[place] = logit
        place = place + 1 if place + 1 < size else 0
    store.written[0] += count


@kernel
def _look_up(
    tables: Tables,
    store: Store,
    positions: Rows,
    offsets: Offsets,
    keys: npt.NDArray[np.uint64],
    sources: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
) -> tuple[Int, Int]:
    """Write the cached evaluations, and number the misses; returns the hits and the misses.

    `keys` [B] are those of the positions, `sources` [B] the miss that equals each position, or
    _HIT, and `firsts` [B] the first position of each miss.
    """
    hits, misses = np.int64(0), np.int64(0)
    slots = 1
    while slots < 2 * positions.shape[0]:
        slots *= 2
    # An open-addressing table of the misses.
    seen, mask = np.full(slots, _NONE, np.int64), np.uint64(slots - 1)
    size = store.logits.shape[0]
    for index in range(positions.shape[0]):
        key = _key_of(tables, positions[index])
        keys[index] = key
        start, count = offsets[index], offsets[index + 1] - offsets[index]
        slot = _find(store, key, positions, np.int64(index), count)
        if slot != _NONE:
            known = store.slots[slot]
            wdl[index, 0], wdl[index, 1], wdl[index, 2] = known["win"], known["draw"], known["loss"]
            place = known["start"] % size
            for move in range(count):
                logits[start + move] = store.logits[place]
                place = place + 1 if place + 1 < size else 0
            sources[index] = _HIT
            hits += 1
            continue
        home = np.int64(key & mask)
        while seen[home] != _NONE:
            other = firsts[seen[home]]
            if keys[other] == key and _same(positions, np.int64(index), positions, other):
                break
            home = np.int64(np.uint64(home + 1) & mask)
        if seen[home] == _NONE:
            seen[home], firsts[misses] = misses, index
            misses += 1
        sources[index] = seen[home]
    return hits, misses


@kernel
def _fill(
    store: Store,
    positions: Rows,
    offsets: Offsets,
    keys: npt.NDArray[np.uint64],
    sources: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    miss_offsets: Offsets,
    miss_logits: npt.NDArray[np.float32],
    miss_wdl: Array2D[np.float32],
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
) -> None:
    """Write the evaluations of the misses to all positions that equal them, and store them."""
    for index in range(sources.shape[0]):
        source = sources[index]
        if source == _HIT:
            continue
        start, stop = miss_offsets[source], miss_offsets[source + 1]
        copy_into(logits[offsets[index] :], miss_logits[start:stop])
        copy_into(wdl[index], miss_wdl[source])
        if firsts[source] == index:
            _store(store, keys[index], positions[index], miss_logits[start:stop], miss_wdl[source])


def _make_store(size: int, row_size: int) -> Store:
    slots = size // (SLOT.itemsize + row_size + 4 * _LOGITS_A_SLOT) // _BUCKET * _BUCKET
    store = Store(
        slots=np.zeros(slots, dtype=SLOT),
        rows=np.empty((slots, row_size), dtype=np.uint8),
        logits=np.empty(slots * _LOGITS_A_SLOT, dtype=np.float32),
        written=np.zeros(1, dtype=np.int64),
    )
    store.slots["start"] = _FREE
    return store


class CachedEvaluator:
    """Asks another evaluator about each position once while the answer is cached.

    The answers are those of the other evaluator, bit for bit, if these do not depend on the batch.
    """

    def __init__(self, evaluator: Evaluator, variant: Variant, *, size: int) -> None:
        """Cache up to `size` bytes; raises InputError where that is too little for any entry."""
        self._evaluator = evaluator
        self._tables = variant.tables
        self._store = _make_store(max(size, 0), variant.row_size)
        if not len(self._store.slots):
            raise InputError(f"a cache of {size} bytes holds no position of {variant.name}")
        # Positions answered from the cache.
        self.hits = 0
        # Positions that were not cached and equal an earlier one of their batch.
        self.duplicates = 0
        # Positions that the other evaluator evaluated.
        self.misses = 0

    @property
    def size(self) -> int:
        """Bytes of the cache, full or empty."""
        return sum(array.nbytes for array in self._store)

    def clear(self) -> None:
        """Empty the cache: the other evaluator has changed."""
        self._store.slots["start"] = _FREE

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See `Evaluator`; raises as `search.evaluator.evaluate`, and then caches nothing."""
        count = len(positions)
        keys = np.empty(count, dtype=np.uint64)
        sources, firsts = np.empty((2, count), dtype=np.int64)
        logits = np.empty(len(moves), dtype=np.float32)
        wdl = np.empty((count, 3), dtype=np.float32)
        hits, misses = _look_up(
            self._tables, self._store, positions, offsets, keys, sources, firsts, logits, wdl
        )
        if misses:
            asked = firsts[:misses]
            lengths = np.diff(offsets)[asked]
            miss_offsets = np.concatenate([[0], np.cumsum(lengths)])
            # From a place among the moves of the misses to its place among all moves.
            shifts = np.repeat(offsets[asked] - miss_offsets[:-1], lengths)
            miss_moves = moves[shifts + np.arange(len(shifts))]
            found = evaluate(self._evaluator, positions[asked], miss_moves, miss_offsets)
            _fill(
                self._store,
                *(positions, offsets, keys, sources, firsts),
                *(miss_offsets, found.logits, found.wdl, logits, wdl),
            )
        self.hits += int(hits)
        self.misses += int(misses)
        self.duplicates += count - int(hits) - int(misses)
        return Evaluation(logits, wdl)
