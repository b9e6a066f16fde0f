"""Concepts: properties of a position whose right value is known.

A new concept is one decorated function from positions to labels; the first paragraph of its
docstring, one sentence, is its definition in the report:

    @concept("a pawn on an edge file", kind="binary", source="Wikipedia, Rook pawn")
    def edge_pawn(positions: Positions) -> Labels:
        \"\"\"The side to move has a pawn on the left or the right edge of the board.\"\"\"
        return positions.my(PAWN)[:, :, [0, -1]].any(axis=(1, 2))

Labels are from the side to move's view, and symmetric positions (canonical.py) have equal labels;
those of a per-square concept are mirrored with the board. What is said of one side is written once,
for either, as a function of its `Side` (board/sides.py), and `both_sides` makes the concepts.
"""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.sides import Side
from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.truth import Truth
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import Searched
from engine.rules.errors import InputError
from engine.rules.variant import Variant

__all__ = ["ConceptUndefinedError"]

Labels = npt.NDArray[np.float64]
"""[N] one label a position, or [N, S] one a square; classes are whole numbers, those of a binary
concept 0 and 1. NaN where the concept is not defined for a position, which is then left out."""
Kind = Literal["binary", "categorical", "count", "real"]
"""Classes (of two, of several) or numbers (whole ones from 0, any)."""
Needs = Literal["rules", "truth", "search"]
"""What a concept is labelled from: the position and the rules, the exact solution, or searches."""
LabelFunction = Callable[[Positions], npt.NDArray[np.generic]]
SideFunction = Callable[[Side], npt.NDArray[np.generic]]
NUMBERS: Final[tuple[Kind, ...]] = ("count", "real")
"""The kinds that are numbers."""
KINDS: Final[tuple[Kind, ...]] = ("binary", "categorical", *NUMBERS)
CHUNK: Final = 8_192
"""Positions that are labelled at a time, so that what concepts share stays in the cache."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A property of a position, with the function that labels it."""

    # How reports name it; unique among the registered ones.
    name: str
    # "binary", "categorical", "count" or "real".
    kind: Kind
    # What exactly it is, in a sentence.
    definition: str
    # Labels of positions; raises ConceptUndefinedError where the variant has no such thing.
    function: LabelFunction
    # Where the definition is from: a publication, a program, "exact solution".
    source: str = ""
    # The family under which a report lists it; the module of its function unless noted.
    family: str = ""
    # Labels are [N, S], one a square as the side to move sees the board, rather than [N].
    per_square: bool = False
    # Names of the classes in reports; a class without one is named by its number.
    class_names: tuple[tuple[int, str], ...] = ()
    # What must be known beside the position: nothing, the exact solution, or searches.
    needs: Needs = "rules"

    @property
    def is_number(self) -> bool:
        """Whether it is measured by R², not by balanced accuracy."""
        return self.kind in NUMBERS

    def labels(
        self,
        rows: Rows,
        variant: Variant,
        *,
        truth: Truth | None = None,
        searched: Searched | None = None,
    ) -> Labels:
        """Labels [N], or [N, S] where `per_square`, of rows uint8[N, R].

        Raises ConceptUndefinedError.
        """
        return label((self,), rows, variant, truth=truth, searched=searched)[self.name]

    def label(self, positions: Positions) -> Labels:
        """The same for positions that other concepts share. Raises ConceptUndefinedError."""
        labels = np.asarray(self.function(positions)).astype(np.float64)
        shape = (len(positions), positions.variant.squares)[: 1 + self.per_square]
        if self.per_square and labels.ndim == 3:
            labels = labels.reshape(len(labels), -1)
        if labels.shape != shape:
            raise InputError(
                f"{self.name}: labels of shape {list(labels.shape)}, not {list(shape)}, for "
                f"{len(positions)} positions of {positions.variant.name}"
            )
        return labels

    def undefined_in(self, variant: Variant) -> str | None:
        """Why the concept makes no sense in a variant, None where it does.

        What needs the solution of the game, or searches, is undefined without them.
        """
        try:
            self.labels(variant.start_row[None], variant)
        except ConceptUndefinedError as reason:
            return str(reason)
        return None

    def class_name(self, label: float) -> str:
        """The name of a class in reports."""
        return dict(self.class_names).get(int(label), str(int(label)))


def label(
    concepts: tuple[Concept, ...],
    rows: Rows,
    variant: Variant,
    *,
    truth: Truth | None = None,
    searched: Searched | None = None,
    chunk: int = CHUNK,
) -> dict[str, Labels]:
    """The labels of several concepts by name, [N] or [N, S], of rows uint8[N, R], N >= 1.

    `truth` is for exact concepts, `searched` for those of search. Raises ConceptUndefinedError
    where one is not defined in the variant, or lacks these.
    """
    found: dict[str, list[Labels]] = {each.name: [] for each in concepts}
    for start in range(0, len(rows), chunk):
        positions = Positions(rows[start : start + chunk], variant, truth, searched)
        for each in concepts:
            found[each.name].append(each.label(positions))
    return {name: np.concatenate(parts) for name, parts in found.items()}


_YES_NO: Final = ((0, "no"), (1, "yes"))
_BUILT_IN: Final[dict[str, Concept]] = {}
_registering: Final[ContextVar[dict[str, Concept]]] = ContextVar("registering", default=_BUILT_IN)


def concept(
    name: str,
    *,
    kind: Kind,
    source: str = "",
    per_square: bool = False,
    class_names: tuple[tuple[int, str], ...] = (),
    needs: Needs = "rules",
) -> Callable[[LabelFunction], Concept]:
    """Register the decorated function as a concept that every report measures."""

    def register(function: LabelFunction) -> Concept:
        return _register(
            Concept(
                name=name,
                kind=kind,
                definition=_first_paragraph(function),
                function=function,
                source=source,
                family=function.__module__.rpartition(".")[2],
                per_square=per_square,
                class_names=class_names or (_YES_NO if kind == "binary" else ()),
                needs=needs,
            )
        )

    return register


class BothSides(NamedTuple):
    """A concept about one side, of the side to move and of the opponent."""

    mine: Concept
    theirs: Concept
    # Mine minus theirs, where that was asked for.
    difference: Concept | None


def both_sides(
    name: str, *, kind: Kind, source: str = "", difference: bool = False
) -> Callable[[SideFunction], BothSides]:
    """Register the decorated function of a `Side` as two concepts, "my NAME" and "their NAME", and
    where `difference` as a third, "NAME, mine minus theirs".

    In the docstring `{side}` stands for the side and `{other}` for its opponent.
    """

    def register(function: SideFunction) -> BothSides:
        text = _first_paragraph(function)
        common: dict[str, Any] = {
            "source": source,
            "family": function.__module__.rpartition(".")[2],
        }
        names = ("the side to move", "the opponent")
        numbers = common | {
            "kind": kind,
            "class_names": _YES_NO if kind == "binary" else (),
        }
        mine = Concept(
            name=f"my {name}",
            definition=text.format(side=names[0], other=names[1]),
            function=lambda positions: function(positions.me),
            **numbers,
        )
        theirs = Concept(
            name=f"their {name}",
            definition=text.format(side=names[1], other=names[0]),
            function=lambda positions: function(positions.them),
            **numbers,
        )
        between = Concept(
            name=f"{name}, mine minus theirs",
            kind="real",
            definition="Mine minus theirs: " + text.format(side="a side", other="the other"),
            function=lambda positions: np.subtract(
                function(positions.me), function(positions.them), dtype=np.float64
            ),
            **common,
        )
        return BothSides(
            _register(mine), _register(theirs), _register(between) if difference else None
        )

    return register


def _register(made: Concept) -> Concept:
    registered = _registering.get()
    if made.name in registered:
        raise AssertionError(f"the concept '{made.name}' is registered twice")
    registered[made.name] = made
    return made


def registered_concepts() -> tuple[Concept, ...]:
    """All built-in concepts, in the order of registration."""
    return tuple(_BUILT_IN.values())


@contextlib.contextmanager
def registering(taken: Collection[str] = ()) -> Iterator[dict[str, Concept]]:
    """What is registered inside goes into this dictionary and not among the built-in concepts."""
    found: dict[str, Concept] = {}
    token = _registering.set(found)
    try:
        yield found
    finally:
        _registering.reset(token)


def _first_paragraph(function: Callable[..., object]) -> str:
    documentation = inspect.getdoc(function)
    if not documentation:
        raise AssertionError(f"{function.__name__} needs a docstring: the report shows it")
    return " ".join(documentation.split("\n\n")[0].split())
