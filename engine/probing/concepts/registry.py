"""Concepts: properties of a position whose right value is known.

A new concept is one decorated function from positions to labels; the first paragraph of its
docstring is its definition in the report:

    @concept("doubled pawns", kind="binary", source="Wikipedia, Doubled pawns")
    def doubled(positions: Positions) -> Labels:
        \"\"\"The side to move has two pawns on one file.\"\"\"
        return (positions.my(PAWN).sum(axis=1) > 1).any(axis=1)

Labels are from the side to move's view, and symmetric positions (canonical.py) have equal labels;
those of a per-square concept are mirrored with the board.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.variant import Variant

Labels = npt.NDArray[np.float64]
"""[N] one label a position, or [N, S] one a square; classes are whole numbers, those of a binary
concept 0 and 1. NaN where the concept is not defined for a position, which is then left out."""
Kind = Literal["binary", "categorical", "count", "real"]
"""Classes (of two, of several) or numbers (whole ones from 0, any)."""
LabelFunction = Callable[[Positions], npt.NDArray[np.generic]]
NUMBERS: Final[tuple[Kind, ...]] = ("count", "real")
"""The kinds that are numbers."""
CHUNK: Final = 8_192
"""Positions that are labelled at a time, so that what concepts share stays in the cache."""


class ConceptUndefinedError(InputError):
    """A concept that is not defined in a variant; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A property of a position, with the function that labels it."""

    # How reports name it; unique among the registered ones.
    name: str
    # "binary", "categorical", "count" or "real".
    kind: Kind
    # What exactly it is, in a sentence or a few.
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

    @property
    def is_number(self) -> bool:
        """Whether it is measured by R², not by balanced accuracy."""
        return self.kind in NUMBERS

    def labels(self, rows: Rows, variant: Variant) -> Labels:
        """Labels [N], or [N, S] where `per_square`, of rows uint8[N, R].

        Raises ConceptUndefinedError.
        """
        return label((self,), rows, variant)[self.name]

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

    def class_name(self, label: float) -> str:
        """The name of a class in reports."""
        return dict(self.class_names).get(int(label), str(int(label)))


def label(
    concepts: tuple[Concept, ...], rows: Rows, variant: Variant, *, chunk: int = CHUNK
) -> dict[str, Labels]:
    """The labels of several concepts by name, [N] or [N, S], of rows uint8[N, R], N >= 1.

    Raises ConceptUndefinedError where one is not defined in the variant.
    """
    found: dict[str, list[Labels]] = {each.name: [] for each in concepts}
    for start in range(0, len(rows), chunk):
        positions = Positions(rows[start : start + chunk], variant)
        for each in concepts:
            found[each.name].append(each.label(positions))
    return {name: np.concatenate(parts) for name, parts in found.items()}


_YES_NO: Final = ((0, "no"), (1, "yes"))
_registered: Final[dict[str, Concept]] = {}


def concept(
    name: str,
    *,
    kind: Kind,
    source: str = "",
    per_square: bool = False,
    class_names: tuple[tuple[int, str], ...] = (),
) -> Callable[[LabelFunction], Concept]:
    """Register the decorated function as a concept that every report measures."""

    def register(function: LabelFunction) -> Concept:
        if name in _registered:
            raise AssertionError(f"the concept '{name}' is registered twice")
        _registered[name] = Concept(
            name=name,
            kind=kind,
            definition=_first_paragraph(function),
            function=function,
            source=source,
            family=function.__module__.rpartition(".")[2],
            per_square=per_square,
            class_names=class_names or (_YES_NO if kind == "binary" else ()),
        )
        return _registered[name]

    return register


def registered_concepts() -> tuple[Concept, ...]:
    """All concepts of decorated functions, in the order of registration."""
    return tuple(_registered.values())


def _first_paragraph(function: LabelFunction) -> str:
    documentation = inspect.getdoc(function)
    if not documentation:
        raise AssertionError(f"{function.__name__} needs a docstring: the report shows it")
    return " ".join(documentation.split("\n\n")[0].split())
