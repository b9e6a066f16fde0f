"""Concepts: questions about a position to which the right answer is known.

A new concept is one decorated function from rows uint8[N, R] and their variant to labels [N]; its
docstring's first paragraph stands in the report:

    @concept("doubled", kind="binary")
    def doubled(rows: Rows, variant: Variant) -> Labels:
        \"\"\"The side to move has two men on one file.\"\"\"
        ...

All labels are the side to move's, and a position, its mirror image and its colour-swapped twin must
be labelled alike.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import seen_boards
from engine.rules.betza import MOVE_ONLY
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.tables import BISHOP, BLACK_BIT, KING, KNIGHT, PIECE_CODES, QUEEN, ROOK
from engine.rules.variant import Variant

Rows = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.float64]
"""[N] answers; classes are whole numbers, and of a binary concept 0 and 1."""
Kind = Literal["binary", "categorical", "scalar"]
LabelFunction = Callable[[Rows, Variant], Labels]
ExactValues = Callable[[Rows], npt.NDArray[np.int8]]
"""Game values int8[N] of rows uint8[N, R], from the side to move: 1, 0 or -1."""


class ConceptUndefinedError(InputError):
    """A concept that means nothing in a variant; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A question about a position."""

    # How reports name it; unique among the registered ones.
    name: str
    # "binary", "categorical" or "scalar".
    kind: Kind
    # What exactly is asked, in a sentence or a few.
    definition: str
    # The answers [N] to rows [N, R]; raises ConceptUndefinedError.
    function: LabelFunction
    # How a report names the classes, where numbers do not say it.
    class_names: tuple[tuple[int, str], ...] = ()

    def labels(self, rows: Rows, variant: Variant) -> Labels:
        """[N]; raises ConceptUndefinedError."""
        labels = np.asarray(self.function(rows, variant)).astype(np.float64)
        if labels.shape != (len(rows),):
            raise AssertionError(f"{self.name}: labels {labels.shape} for {len(rows)} positions")
        return labels

    def class_name(self, label: float) -> str:
        """How a report calls the class."""
        return dict(self.class_names).get(int(label), str(int(label)))


_YES_NO: Final = ((0, "no"), (1, "yes"))
_registered: Final[dict[str, Concept]] = {}


def concept(name: str, *, kind: Kind) -> Callable[[LabelFunction], Concept]:
    """Register a function as a concept that every report measures."""

    def register(function: LabelFunction) -> Concept:
        if name in _registered:
            raise AssertionError(f"the concept '{name}' is registered twice")
        _registered[name] = Concept(
            name=name,
            kind=kind,
            definition=_first_paragraph(function),
            function=function,
            class_names=_YES_NO if kind == "binary" else (),
        )
        return _registered[name]

    return register


def registered_concepts() -> tuple[Concept, ...]:
    """All concepts of decorated functions, in the order of their definition."""
    return tuple(_registered.values())


def game_value(exact_values: ExactValues) -> Concept:
    """The concept "game value" of a solved game; `exact_values` answers for every row asked."""

    def function(rows: Rows, variant: Variant) -> Labels:
        return exact_values(rows).astype(np.float64)

    return Concept(
        name="game value",
        kind="categorical",
        definition="The result with best play of both sides, for the side to move: win, draw or "
        "loss, as an exact solution of the game has it.",
        function=function,
        class_names=((1, "win"), (0, "draw"), (-1, "loss")),
    )


def _first_paragraph(function: LabelFunction) -> str:
    documentation = inspect.getdoc(function)
    if not documentation:
        raise AssertionError(f"{function.__name__} needs a docstring: it stands in the report")
    return " ".join(documentation.split("\n\n")[0].split())


_PIECE_VALUES: Final = {KNIGHT: 3.0, BISHOP: 3.0, ROOK: 5.0, QUEEN: 9.0, KING: 0.0}
"""The usual ones; pawns and a variant's own pieces (men) count 1."""


@concept("material", kind="scalar")
def material(rows: Rows, variant: Variant) -> Labels:
    """Own material minus the enemy's: men and pawns 1, knights and bishops 3, rooks 5, queens 9."""
    worth = np.zeros(PIECE_CODES)
    for piece_type in variant.piece_types:
        worth[piece_type] = _PIECE_VALUES.get(piece_type, 1.0)
        worth[piece_type | BLACK_BIT] = -worth[piece_type]
    total: Labels = worth[seen_boards(rows, variant)].sum(axis=1)
    return total


@concept("mobility", kind="scalar")
def mobility(rows: Rows, variant: Variant) -> Labels:
    """The number of legal moves of the side to move."""
    _, offsets = generate_batch(variant.tables, np.ascontiguousarray(rows))
    return np.diff(offsets).astype(np.float64)


@concept("a pawn can break through", kind="binary")
def breakthrough(rows: Rows, variant: Variant) -> Labels:
    """The side to move has a pawn (or man) that can walk straight to the last rank, and no enemy
    pawn could block or capture it on the way: no enemy pawn stands a files aside and d ranks ahead
    of it with d at least the larger of 1 and 2a.

    In pictures, P with the move; an enemy pawn on x stops it, one on o comes too late:

        x  x  x  x  x
        o  x  x  x  o      a = 1: an enemy two or more ranks ahead captures P as it passes, but at
        o  x  x  x  o             d = 1 it is too late, P steps past it;
        o  o  x  o  o      a = 2: it must come nearer first, so that it takes four ranks.
        o  o  P  o  o

    An enemy pawn that could come nearer only by capturing counts as able to. Up to four ranks
    that never matters, and the definition is exact (tests walk every position). Left out are other
    pieces than pawns, and whether the enemy would be faster elsewhere: this is the passed pawn of
    chess with the move taken into account, and not a proof of a win.
    """
    men = _men(variant)
    boards = seen_boards(rows, variant).reshape(-1, variant.height, variant.width)
    own, enemy = np.isin(boards, men), np.isin(boards, men | BLACK_BIT)
    stopped = np.zeros_like(own)
    for ahead in range(1, variant.height):
        for aside in range(-(ahead // 2), ahead // 2 + 1):
            left, right = max(0, -aside), min(variant.width, variant.width - aside)
            if left < right:
                seen = enemy[:, ahead:, left + aside : right + aside]
                stopped[:, :-ahead, left:right] |= seen
    return np.asarray((own & ~stopped).any(axis=(1, 2)), np.float64)


def _men(variant: Variant) -> npt.NDArray[np.uint8]:
    """Types that go one rank forward at a time and can go straight: pawns and their kin."""
    steps = {(-1, 1), (0, 1), (1, 1)}
    men = [
        piece_type
        for piece_type, movement in variant.movements.items()
        if not movement.rides
        and steps.issuperset(movement.leaps)
        and movement.leaps.get((0, 1), 0) & MOVE_ONLY
    ]
    if not men:
        raise ConceptUndefinedError(f"{variant.name} has no pawns")
    return np.array(men, np.uint8)
