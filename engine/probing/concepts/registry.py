"""Concepts: properties of a position whose right value is known.

A new concept is one decorated function from rows uint8[N, R] and their variant to labels [N]; its
docstring's first paragraph is its definition in the report:

    @concept("doubled pawns", kind="binary")
    def doubled(rows: Rows, variant: Variant) -> Labels:
        \"\"\"The side to move has two pawns on one file.\"\"\"
        ...

Labels are from the side to move's view, and symmetric positions (canonical.py) have equal labels.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.variant import Variant

Labels = npt.NDArray[np.float64]
"""[N] one label a position; classes are whole numbers, those of a binary concept 0 and 1."""
Kind = Literal["binary", "categorical", "scalar"]
LabelFunction = Callable[[Rows, Variant], Labels]


class ConceptUndefinedError(InputError):
    """A concept that is not defined in a variant; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A property of a position, with the function that labels it."""

    # How reports name it; unique among the registered ones.
    name: str
    # "binary", "categorical" or "scalar".
    kind: Kind
    # What exactly it is, in a sentence or a few.
    definition: str
    # Labels [N] of rows uint8[N, R]; raises ConceptUndefinedError.
    function: LabelFunction
    # Names of the classes in reports; a class without one is named by its number.
    class_names: tuple[tuple[int, str], ...] = ()

    def labels(self, rows: Rows, variant: Variant) -> Labels:
        """Labels [N] of rows uint8[N, R]; raises ConceptUndefinedError."""
        labels = np.asarray(self.function(rows, variant)).astype(np.float64)
        if labels.shape != (len(rows),):
            raise AssertionError(f"{self.name}: labels {labels.shape} for {len(rows)} positions")
        return labels

    def class_name(self, label: float) -> str:
        """The name of a class in reports."""
        return dict(self.class_names).get(int(label), str(int(label)))


_YES_NO: Final = ((0, "no"), (1, "yes"))
_registered: Final[dict[str, Concept]] = {}


def concept(name: str, *, kind: Kind) -> Callable[[LabelFunction], Concept]:
    """Register the decorated function as a concept that every report measures."""

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
    """All concepts of decorated functions, in the order of registration."""
    return tuple(_registered.values())


def _first_paragraph(function: LabelFunction) -> str:
    documentation = inspect.getdoc(function)
    if not documentation:
        raise AssertionError(f"{function.__name__} needs a docstring: the report shows it")
    return " ".join(documentation.split("\n\n")[0].split())
