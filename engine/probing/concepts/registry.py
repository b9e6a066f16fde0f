"""Concepts: properties of a position whose right value is known.

A new concept is one decorated function from positions to labels; the first paragraph of its
docstring, one sentence, is its definition in the report:

    @concept("a pawn on an edge file", kind="binary", source="Wikipedia, Rook pawn")
    def edge_pawn(positions: Positions) -> Labels:
        \"\"\"The side to move has a pawn on the left or the right edge of the board.\"\"\"
        edges = positions.me.files(0, positions.variant.width - 1)
        return positions.me.pawns & edges != 0

Labels are from the side to move's view, and symmetric positions (canonical.py) have equal labels;
those of a per-square concept are mirrored with the board. What is said of one side is written once,
for either, as a function of its `Side` (board/sides.py), and `both_sides` makes the concepts.
"""

import contextlib
import inspect
import re
import traceback
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.sides import Side
from engine.probing.concepts.board.undefined import (
    ConceptUndefinedError as ConceptUndefinedError,
)
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.truth import Truth
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import Searched
from engine.rules.errors import InputError
from engine.rules.variant import Variant

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
CHUNK: Final = 16_384
"""Positions that are labelled at a time: calls cost little, and what they share stays cached."""


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
    # Where its function is, FILE:LINE, if it comes from a person's own file: errors begin with it.
    place: str = ""

    @property
    def file(self) -> str:
        """The person's own file that its function comes from, if it does."""
        return re.sub(r":[0-9]+$", "", self.place)

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
        """The same for positions that other concepts share.

        Raises ConceptUndefinedError, and InputError for labels that are not of the kind or shape
        that was promised. What else the function raises becomes an InputError that names the line,
        if it comes from a person's own file.
        """
        try:
            found = self.function(positions)
        except ConceptUndefinedError:
            raise
        except Exception as problem:
            if not self.place:
                raise
            place = line_in(problem, self.file) or self.place
            raise InputError(f"{place}: the concept '{self.name}': {told(problem)}") from problem
        return self._checked(np.asarray(found), positions)

    def _checked(self, found: npt.NDArray[np.generic], positions: Positions) -> Labels:
        shape = (len(positions), positions.variant.squares)[: 1 + self.per_square]
        if self.per_square and found.ndim == 3:
            found = found.reshape(len(found), -1)
        fault = None
        if found.dtype.kind not in "buif":
            fault = f"labels of type {found.dtype}, not numbers"
        elif found.shape != shape:
            fault = (
                f"labels of shape {list(found.shape)}, not {list(shape)}, for "
                f"{len(positions)} positions of {positions.variant.name}"
            )
        elif _BUILT_IN.get(self.name) is not self:
            fault = self._wrong_value(found)
        if fault is not None:
            place = f"{self.place}: " if self.place else ""
            raise InputError(f"{place}the concept '{self.name}': {fault}")
        return found.astype(np.float64, copy=False)

    def _wrong_value(self, labels: npt.NDArray[Any]) -> str | None:
        """A label that its kind does not have; those of built-in concepts are left to the tests."""
        known = labels[~np.isnan(labels)]
        is_right = np.isfinite(known)
        if self.kind == "binary":
            is_right &= (known == 0) | (known == 1)
        elif self.kind != "real":
            is_right &= known == np.round(known)
        if self.kind == "count":
            is_right &= known >= 0
        if is_right.all():
            return None
        return f"the label {known[~is_right][0]}, which is not one of kind '{self.kind}'"

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
    shape = (len(rows), variant.squares)
    found = {each.name: np.empty(shape[: 1 + each.per_square]) for each in concepts}
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        positions = Positions(rows[part], variant, truth, searched)
        for each in concepts:
            found[each.name][part] = each.label(positions)
    return found


@dataclass(frozen=True, kw_only=True)
class Prevalence:
    """How the labels of a concept are distributed over a sample; those of squares all together."""

    name: str
    family: str
    kind: Kind
    # Labels, and those among them that are not defined for their position.
    labels: int
    undefined: int
    # Of the defined ones; None without any. The mean of a binary concept is its prevalence.
    mean: float | None
    sd: float | None
    # Share of the most common label.
    majority: float | None
    # Why the concept makes no sense in the variant, if it does not.
    absent: str | None = None


def prevalences(
    concepts: tuple[Concept, ...],
    rows: Rows,
    variant: Variant,
    *,
    truth: Truth | None = None,
    searched: Searched | None = None,
) -> tuple[Prevalence, ...]:
    """The distribution of each concept's labels over rows uint8[N, R]; for what is handed in see
    `label`."""
    found = []
    for each in concepts:
        labels, absent = np.empty(0), None
        try:
            labels = each.labels(rows, variant, truth=truth, searched=searched)
        except ConceptUndefinedError as reason:
            absent = str(reason)
        known = labels[~np.isnan(labels)]
        counts = np.unique(known, return_counts=True)[1]
        found.append(
            Prevalence(
                name=each.name,
                family=each.family,
                kind=each.kind,
                labels=labels.size,
                undefined=labels.size - known.size,
                mean=float(known.mean()) if known.size else None,
                sd=float(known.std()) if known.size else None,
                majority=float(counts.max() / known.size) if known.size else None,
                absent=absent,
            )
        )
    return tuple(found)


def line_in(problem: BaseException, file: str) -> str | None:
    """FILE:LINE of the innermost call in a file from which an exception came; None if there is
    none."""
    lines = [
        line
        for frame, line in traceback.walk_tb(problem.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return f"{file}:{lines[-1]}" if lines else None


def told(problem: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(problem).split())
    if isinstance(problem, InputError):
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


@dataclass(frozen=True)
class _Registry:
    """Where decorated functions are registered."""

    # By name.
    concepts: dict[str, Concept]
    # Names that belong to others.
    taken: frozenset[str] = frozenset()
    # The person's own file that is being read.
    file: str = ""


_YES_NO: Final = ((0, "no"), (1, "yes"))
_BUILT_IN: Final[dict[str, Concept]] = {}
_registry: Final[ContextVar[_Registry | None]] = ContextVar("registry", default=None)


def _current() -> _Registry:
    return _registry.get() or _Registry(_BUILT_IN)


def concept(
    name: str,
    *,
    kind: Kind,
    source: str = "",
    per_square: bool = False,
    class_names: tuple[tuple[int, str], ...] = (),
    needs: Needs = "rules",
) -> Callable[[LabelFunction], Concept]:
    """Register the decorated function as a concept that every report measures.

    Raises InputError for a name that is taken, an unknown kind, or a function without docstring.
    """

    def decorate(function: LabelFunction) -> Concept:
        return register(
            Concept(
                name=name,
                kind=kind,
                definition=_first_paragraph(function, name),
                function=function,
                per_square=per_square,
                class_names=class_names or (_YES_NO if kind == "binary" else ()),
                needs=needs,
                **_origin(function, source),
            )
        )

    return decorate


def _origin(function: Callable[..., object], source: str) -> dict[str, Any]:
    """Fields of Concept: where a function is from."""
    file = _current().file
    if not file:
        return {"source": source, "family": function.__module__.rpartition(".")[2]}
    path, place = Path(file), file
    if inspect.isfunction(code := inspect.unwrap(function)):
        place = f"{code.__code__.co_filename}:{code.__code__.co_firstlineno}"
    return {"source": source or path.name, "family": path.stem, "place": place}


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
    where `difference` as a third, "NAME (mine minus theirs)".

    In the docstring `{side}` stands for the side and `{other}` for its opponent.
    """

    def decorate(function: SideFunction) -> BothSides:
        text = _first_paragraph(function, name)
        origin = _origin(function, source)
        numbers = origin | {"kind": kind, "class_names": _YES_NO if kind == "binary" else ()}
        mine = Concept(
            name=f"my {name}",
            definition=_about(text, "the side to move", "the opponent"),
            function=lambda positions: function(positions.me),
            **numbers,
        )
        theirs = Concept(
            name=f"their {name}",
            definition=_about(text, "the opponent", "the side to move"),
            function=lambda positions: function(positions.them),
            **numbers,
        )
        between = Concept(
            name=f"{name} (mine minus theirs)",
            kind="real",
            definition="Mine minus theirs: " + _about(text, "a side", "the other"),
            function=lambda positions: np.subtract(
                function(positions.me), function(positions.them), dtype=np.float64
            ),
            **origin,
        )
        return BothSides(
            register(mine), register(theirs), register(between) if difference else None
        )

    return decorate


def _about(text: str, side: str, other: str) -> str:
    """A definition about one side; it begins with a capital letter."""
    filled = text.replace("{side}", side).replace("{other}", other)
    return filled[:1].upper() + filled[1:]


def register(made: Concept) -> Concept:
    """Register a concept that is no decorated function; raises InputError as `concept` does."""
    registry = _current()
    if not isinstance(made.name, str) or not made.name.strip():
        raise InputError(f"the name of a concept is a text, not {made.name!r}")
    if made.name in registry.concepts or made.name in registry.taken:
        raise InputError(f"the concept '{made.name}' exists already")
    if made.kind not in KINDS:
        raise InputError(
            f"the concept '{made.name}': kind is {made.kind!r}, not one of {', '.join(KINDS)}"
        )
    registry.concepts[made.name] = made
    return made


def registered_concepts() -> tuple[Concept, ...]:
    """All built-in concepts, in the order of registration."""
    return tuple(_BUILT_IN.values())


@contextlib.contextmanager
def registering(file: str, taken: Collection[str]) -> Iterator[dict[str, Concept]]:
    """What is registered inside, by a person's own file, goes into this dictionary alone.

    `taken` are names beside those of the built-in concepts that it may not use.
    """
    found: dict[str, Concept] = {}
    token = _registry.set(_Registry(found, frozenset(taken) | _BUILT_IN.keys(), file))
    try:
        yield found
    finally:
        _registry.reset(token)


def _first_paragraph(function: Callable[..., object], name: str) -> str:
    documentation = inspect.getdoc(function)
    if not documentation:
        raise InputError(f"the concept '{name}' has no docstring, which is its definition")
    return " ".join(documentation.split("\n\n")[0].split())
