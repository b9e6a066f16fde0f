"""Random concepts, which nobody has a reason to learn, at the prevalences of real ones.

by_hash         a hash of the canonical position: no pattern at all, so a probe that finds it has
                memorised positions or the split leaks
by_weights      a threshold of a random weighing of the one-hot board: plain in the raw input, so
                that no layer has anything to gain
by_two_squares  certain pieces on two certain squares: as simple a function of the input as many
                real concepts, which no player has a use for

All follow from a seed, and symmetric positions have equal labels. The registered ones are measured
in every report; `hashed_like` makes one for any concept.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.board_kernels import add_up, combine
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import (
    Concept,
    ConceptUndefinedError,
    Kind,
    Labels,
    register,
)
from engine.probing.data.canonical import Rows, seen_boards
from engine.probing.data.samples import play_random_games
from engine.rules.compilation.signatures import contiguous
from engine.rules.tables import PIECE_CODES
from engine.rules.variant import Variant

_SOURCE: Final = "random, by its seed"
_TASK: Final = "random, by its seed (control task: Hewitt and Liang 2019)"
_REFERENCE: Final = 2_000
"""Positions of random games on which prevalences are set, unless others are given."""
_CANDIDATES: Final = 256
"""Pairs of squares that are tried."""
_NEAREST: Final = 8
"""Of those, how many of the nearest prevalence one is drawn from: a small board has few."""
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_UNIT: Final = 1 << 16
"""Weights are whole multiples of 1 / _UNIT, so that sums do not depend on their order."""


def by_hash(prevalence: float, seed: int, name: str | None = None) -> Concept:
    """True of a share `prevalence` of the canonical positions, as their hash falls."""
    return Concept(
        name=name or f"random by hash ({_share(prevalence)})",
        kind="binary",
        definition=f"A hash of the canonical position picks {_share(prevalence)}, with nothing in "
        "common.",
        function=lambda positions: np.asarray(_fractions(positions, seed) < prevalence, np.float64),
        source=_TASK,
        family="control",
        class_names=((0, "no"), (1, "yes")),
    )


def hashed_like(concept: Concept, labels: Labels, seed: int) -> Concept:
    """A concept whose labels a hash of the canonical position draws from labels [N] (NaN left out)
    of another, of any kind with one label a position."""
    known = np.sort(labels[~np.isnan(labels)])
    return Concept(
        name=f"random by hash (like {concept.name})",
        kind=concept.kind,
        definition=f"Labels drawn from those of '{concept.name}' by a hash of the canonical "
        "position.",
        function=lambda positions: known[
            (_fractions(positions, seed) * len(known)).astype(np.int64)
        ],
        source=_TASK,
        family="control",
        class_names=concept.class_names,
    )


def by_weights(
    prevalence: float, seed: int, name: str | None = None, reference: Rows | None = None
) -> Concept:
    """True where a random weighing of the one-hot board is high, for a share `prevalence` of the
    reference positions uint8[M, R], those of random games unless given."""

    @lru_cache(8)
    def threshold(variant: Variant) -> float:
        sums = _sums(_boards(variant, reference), variant, seed)
        return float(np.quantile(sums, 1 - prevalence))

    def function(positions: Positions) -> Labels:
        variant = positions.variant
        high = _sums(_seen(positions), variant, seed) > threshold(variant)
        return np.asarray(high, np.float64)

    return Concept(
        name=name or f"random weights ({_share(prevalence)})",
        kind="binary",
        definition="Random weights of the pieces on the squares, the same for mirrored squares, "
        f"have one of the highest sums ({_share(prevalence)} in games of random moves).",
        function=function,
        source=_SOURCE,
        family="control",
        class_names=((0, "no"), (1, "yes")),
    )


def by_two_squares(
    prevalence: float, seed: int, name: str | None = None, reference: Rows | None = None
) -> Concept:
    """True where two certain squares hold certain pieces, or their mirror images do, for about a
    share `prevalence` of the reference positions, those of random games unless given."""

    @lru_cache(8)
    def chosen(variant: Variant) -> _Pair:
        return _nearest_pair(_boards(variant, reference), variant, prevalence, seed)

    def function(positions: Positions) -> Labels:
        variant = positions.variant
        return np.asarray(_holds(_seen(positions), chosen(variant), variant), np.float64)

    return Concept(
        name=name or f"two random squares ({_share(prevalence)})",
        kind="binary",
        definition="Two squares that were drawn at random hold two certain pieces, or their mirror "
        f"images do (about {_share(prevalence)} in games of random moves).",
        function=function,
        source=_SOURCE,
        family="control",
        class_names=((0, "no"), (1, "yes")),
    )


def _number(
    name: str, definition: str, draw: Callable[[Positions], npt.NDArray[np.generic]]
) -> Concept:
    kind: Kind = "real"
    return Concept(
        name=name,
        kind=kind,
        definition=definition,
        function=draw,
        source=_SOURCE,
        family="control",
    )


def _share(prevalence: float) -> str:
    return f"1 in {1 / prevalence:.3g}"


def _seen(positions: Positions) -> npt.NDArray[np.uint8]:
    """[N, S] the boards."""
    return positions.boards.reshape(len(positions), -1)


@lru_cache(64)
def _keys(variant: Variant) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """[S, PIECE_CODES] random numbers, and those of the mirrored squares."""
    shape = (variant.height, variant.width, PIECE_CODES)
    drawn = np.random.default_rng(0x636F6E63).integers(0, 1 << 64, size=shape, dtype=np.uint64)
    mirrored = np.ascontiguousarray(drawn[:, ::-1])
    return drawn.reshape(-1, PIECE_CODES), mirrored.reshape(-1, PIECE_CODES)


def _hashes(positions: Positions) -> npt.NDArray[np.uint64]:
    """[N] a hash of each canonical position: of the board and of its mirror image the smaller."""
    boards = contiguous(_seen(positions), np.uint8)
    own, other = (np.empty(len(boards), np.uint64) for _ in range(2))
    for keys, found in zip(_keys(positions.variant), (own, other), strict=True):
        combine(boards, keys, found)
    smaller: npt.NDArray[np.uint64] = np.minimum(own, other)
    return smaller


def _fractions(positions: Positions, seed: int) -> npt.NDArray[np.float64]:
    """[N] a number in [0, 1) for each canonical position, by its hash and a seed (splitmix64)."""
    mixed = positions.shared(_hashes) ^ (np.array(seed + 1, np.uint64) * _GOLDEN)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    fractions: npt.NDArray[np.float64] = (mixed >> np.uint64(11)) / 2.0**53
    return fractions


@lru_cache(64)
def _weights(variant: Variant, seed: int) -> npt.NDArray[np.int64]:
    """[S, PIECE_CODES] normal ones, equal for mirrored squares."""
    shape = (variant.height, variant.width, PIECE_CODES)
    drawn = np.random.default_rng((0x77656967, seed)).normal(size=shape)
    both = np.rint((drawn + drawn[:, ::-1]) * _UNIT).astype(np.int64)
    return both.reshape(-1, PIECE_CODES)


def _sums(boards: npt.NDArray[np.uint8], variant: Variant, seed: int) -> npt.NDArray[np.int64]:
    sums = np.empty(len(boards), np.int64)
    add_up(contiguous(boards, np.uint8), _weights(variant, seed), sums)
    return sums


@lru_cache(16)
def _random_play(variant: Variant) -> Rows:
    return play_random_games(variant, _REFERENCE, np.random.default_rng(0)).rows


def _boards(variant: Variant, reference: Rows | None) -> npt.NDArray[np.uint8]:
    """[M, S] as the side to move sees them."""
    return seen_boards(_random_play(variant) if reference is None else reference, variant)


_Pair = tuple[tuple[int, int], tuple[int, int]]
"""Two squares, each with a piece code."""


def _holds(boards: npt.NDArray[np.uint8], pair: _Pair, variant: Variant) -> npt.NDArray[np.bool_]:
    """[N] whether the board [N, S], or its mirror image, has both pieces."""
    width = variant.width
    as_drawn = np.ones(len(boards), np.bool_)
    as_mirrored = np.ones(len(boards), np.bool_)
    for square, code in pair:
        as_drawn &= boards[:, square] == code
        as_mirrored &= boards[:, square - square % width + width - 1 - square % width] == code
    return as_drawn | as_mirrored


def _nearest_pair(
    boards: npt.NDArray[np.uint8], variant: Variant, prevalence: float, seed: int
) -> _Pair:
    """Of random pairs of pieces that stand together somewhere, one of the nearest prevalence."""
    rng = np.random.default_rng((0x70616972, seed))
    drawn: list[_Pair] = []
    for index in rng.integers(len(boards), size=_CANDIDATES):
        occupied = np.flatnonzero(boards[index])
        if len(occupied) > 1:
            first, second = sorted(rng.choice(occupied, 2, replace=False).tolist())
            drawn.append(((first, int(boards[index, first])), (second, int(boards[index, second]))))
    candidates = list(dict.fromkeys(drawn))
    if not candidates:
        raise ConceptUndefinedError(f"{variant.name} has never two pieces on the board")
    shares = np.array([_holds(boards, pair, variant).mean() for pair in candidates])
    nearest = np.argsort(np.abs(shares - prevalence), kind="stable")[:_NEAREST]
    return candidates[int(rng.choice(nearest))]


for _seed, _prevalence in enumerate((1 / 2, 1 / 10, 1 / 50)):
    register(by_hash(_prevalence, _seed))
register(
    _number(
        "random number by hash",
        "A number that a hash of the canonical position draws evenly between 0 and 1.",
        lambda positions: _fractions(positions, 3),
    )
)
for _seed, _prevalence in enumerate((1 / 2, 1 / 10)):
    register(by_weights(_prevalence, _seed))
register(
    _number(
        "random sum of weights",
        "The sum of random weights of the pieces on the squares, the same for mirrored squares.",
        lambda positions: _sums(_seen(positions), positions.variant, 2) / _UNIT,
    )
)
for _seed, _prevalence in enumerate((1 / 4, 1 / 10)):
    register(by_two_squares(_prevalence, _seed))
