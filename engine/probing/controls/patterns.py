"""Patterns of pieces: concepts that are known exactly and that no linear function of a board tells.

A pattern names what stands on a square and on squares next to it, as the side to move sees them.
"My pawn with an enemy pawn diagonally ahead", in both of its images:

    .  x        x  .
    P  .        .  P

An occurrence is an AND of squares, which one thresholded unit of a network computes (`planted.py`).
The mirror image counts as well, so that symmetric positions have equal labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, Kind, Labels
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, EMPTY
from engine.rules.variant import Variant

COMMON: Final = (0.1, 0.9)
"""A drawn pattern occurs in at least and at most this share of the positions."""
MOST_LINEAR: Final = 0.5
"""Of the variance of its count, squares alone explain at most this share linearly: what raw input
tells leaves nothing to find."""
_TRIES: Final = 1000
_STEPS: Final = tuple((r, f) for r in (-1, 0, 1) for f in (-1, 0, 1) if (r, f) != (0, 0))


class Condition(NamedTuple):
    """What stands next to a pattern's square."""

    ranks: int
    """-1, 0 or 1: ranks ahead, as the side to move plays."""
    files: int
    """-1, 0 or 1: files to the right."""
    code: int
    """0 for empty, a type for a piece of the side to move, type | 16 for one of the opponent."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What stands on a square and next to it."""

    # What stands on the square itself, as in `Condition.code`.
    centre: int
    # One condition a neighbour.
    others: tuple[Condition, ...] = ()

    @property
    def images(self) -> tuple["Pattern", ...]:
        """The pattern, and its mirror image if that is another."""
        mirrored = tuple(Condition(each.ranks, -each.files, each.code) for each in self.others)
        if set(mirrored) == set(self.others):
            return (self,)
        return self, Pattern(centre=self.centre, others=mirrored)

    def text(self, variant: Variant) -> str:
        """In words: "my P, their P ahead left"."""
        others = [f"{_piece(each.code, variant)} {_place(each)}" for each in self.others]
        return ", ".join([_piece(self.centre, variant), *others])

    def squares(self, boards: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """[N, H, W] occurrences on each square, 0 to 2, of boards [N, H, W] as seen."""
        counts: npt.NDArray[np.int64] = np.sum([_holds(one, boards) for one in self.images], axis=0)
        return counts

    def count(self, positions: Positions) -> Labels:
        """[N] occurrences on the whole board."""
        counts: Labels = self.squares(positions.boards).sum(axis=(1, 2)).astype(np.float64)
        return counts

    def concept(self, variant: Variant, kind: Kind = "count") -> Concept:
        """The number of occurrences ("count"), or whether there is one ("binary")."""
        if kind not in ("count", "binary"):
            raise InputError(f"a pattern is a count or binary, not '{kind}'")

        def function(positions: Positions) -> Labels:
            counts = self.count(positions)
            return counts if kind == "count" else (counts > 0).astype(np.float64)

        text = self.text(variant)
        what = "How often" if kind == "count" else "Whether"
        return Concept(
            name=f"{text} ({kind})",
            kind=kind,
            definition=f"{what} this pattern or its mirror image is on the board: {text}.",
            function=function,
            family="planted",
            class_names=((0, "no"), (1, "yes")) if kind == "binary" else (),
        )


def _holds(pattern: Pattern, boards: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """[N, H, W]; a square off the board holds nothing, not even "empty"."""
    padded = np.pad(boards.astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    height, width = boards.shape[1:]
    found = np.asarray(boards == pattern.centre)
    for ranks, files, code in pattern.others:
        found &= padded[:, 1 + ranks : 1 + ranks + height, 1 + files : 1 + files + width] == code
    return found


def draw_pattern(
    rows: Rows, variant: Variant, rng: np.random.Generator, *, offsets: int = 2
) -> Pattern:
    """A random pattern that is neither rare nor everywhere in `rows` uint8[N, R], and that raw
    input does not tell, as far as so many rows can say that.

    It has one neighbour, or two with the same distance from the middle file; it and its mirror
    image look at no more than `offsets` neighbours. Raises InputError where there is none.
    """
    positions = Positions(rows, variant)
    codes, basis = np.unique(positions.boards), _linear_basis(positions)
    for _ in range(_TRIES):
        pattern = _random_pattern(codes, rng)
        looked_at = {each[:2] for image in pattern.images for each in image.others}
        if len(looked_at) > offsets:
            continue
        count = pattern.count(positions)
        share = float((count > 0).mean())
        if COMMON[0] <= share <= COMMON[1] and _linear_share(count, basis) <= MOST_LINEAR:
            return pattern
    raise InputError(f"{variant.name}: no pattern is in {COMMON[0]:.0%} to {COMMON[1]:.0%} of rows")


def _linear_basis(positions: Positions) -> npt.NDArray[np.float64]:
    """[N, rank] orthonormal: all linear functions of what stands on each square, less the mean."""
    boards = positions.boards.reshape(len(positions), -1)
    one_hot = (boards[:, :, None] == np.unique(boards)).reshape(len(boards), -1).astype(np.float64)
    left, sizes, _ = np.linalg.svd(one_hot - one_hot.mean(axis=0), full_matrices=False)
    basis: npt.NDArray[np.float64] = left[:, sizes > 1e-9 * sizes.max(initial=1e-300)]
    return basis


def _linear_share(count: Labels, basis: npt.NDArray[np.float64]) -> float:
    """Adjusted R² of a count [N]; 0 where there are too few rows to tell."""
    rows, rank = basis.shape
    if rows <= 2 * rank:
        return 0.0
    centred = count - count.mean()
    explained = float(((basis.T @ centred) ** 2).sum() / (centred**2).sum())
    adjusted: float = 1.0 - (1.0 - explained) * (rows - 1) / (rows - 1 - rank)
    return adjusted


def _random_pattern(codes: npt.NDArray[np.uint8], rng: np.random.Generator) -> Pattern:
    ranks, files = _STEPS[int(rng.integers(len(_STEPS)))]
    centre, *others = (int(code) for code in rng.choice(codes, 3))
    steps = [(ranks, files)]
    if rng.integers(2):
        steps.append((-ranks, files) if files == 0 else (ranks, -files))
    pairs = sorted(zip(steps, others, strict=False))
    return Pattern(centre=centre, others=tuple(Condition(*step, code) for step, code in pairs))


def draw_patterns(
    rows: Rows, variant: Variant, count: int, rng: np.random.Generator, *, offsets: int = 2
) -> tuple[Pattern, ...]:
    """`count` different ones of `draw_pattern`; raises InputError where there are not as many."""
    positions = Positions(rows, variant)
    # The same squares may be told from another square of the pattern.
    found: dict[bytes, Pattern] = {}
    for _ in range(20 * count):
        pattern = draw_pattern(rows, variant, rng, offsets=offsets)
        found.setdefault(pattern.count(positions).tobytes(), pattern)
        if len(found) == count:
            return tuple(found.values())
    raise InputError(f"{variant.name}: only {len(found)} different patterns, not {count}")


def _piece(code: int, variant: Variant) -> str:
    if code == EMPTY:
        return "empty"
    letter = variant.piece_letters[code & ~BLACK_BIT].upper()
    return f"their {letter}" if code & BLACK_BIT else f"my {letter}"


def _place(condition: Condition) -> str:
    parts: Sequence[str] = (
        {-1: "behind", 0: "", 1: "ahead"}[condition.ranks],
        {-1: "left", 0: "", 1: "right"}[condition.files],
    )
    return " ".join(filter(None, parts))
