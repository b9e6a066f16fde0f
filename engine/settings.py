"""Settings: frozen keyword-only dataclasses whose fields carry their bounds, checked in one place.

    @dataclass(frozen=True, kw_only=True)
    class Example(Settings):
        # Rows in a batch.
        batch: Annotated[int, Range(1)] = 256

Every construction checks types and bounds. `build` makes one from the tables of a file and refuses
unknown and missing fields by name. We check in few lines of our own: pydantic's import takes 0.11 s
of processor time, a tenth of `perft`, and its errors of several lines would have to be rewritten.
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from engine.rules.errors import InputError


class SettingError(InputError):
    """A setting that is unknown, missing or unusable; names it and quotes its value."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number or of a text's length, written into a field's type by `Annotated`.

    The ends belong to it unless noted. Numbers are finite unless noted.
    """

    low: float = 0
    high: float = math.inf
    # Whether the ends themselves are refused.
    above_low: bool = False
    below_high: bool = False
    # Whether infinity is a value, beyond `high` too.
    infinite: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number lies in it."""
        if value == math.inf:
            return self.infinite
        if not self.low <= value <= self.high or math.isinf(value):
            return False
        return not (
            (self.above_low and value == self.low) or (self.below_high and value == self.high)
        )

    def __str__(self) -> str:
        low = f"above {self.low}" if self.above_low else f"{self.low}"
        if self.high == math.inf:
            return low if self.above_low else f"of at least {low}"
        if self.above_low:
            return f"{low} and {'below' if self.below_high else 'up to'} {self.high}"
        never = ", or inf" if self.infinite else ""
        return f"from {low} to {'below ' if self.below_high else ''}{self.high}{never}"


_LONGEST_QUOTE: Final = 80
LATER: Final = "later"
"""Written into a field's type: files of older versions lack the field, and take its default."""

Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
NonNegative = Annotated[float, Range(0)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
"""torch takes 63 bits."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of dataclasses whose fields are checked when one is made; raises SettingError.

    A whole number becomes a float where the field is one, a list a tuple.
    """

    def __post_init__(self) -> None:
        for name, value in check(self).items():
            object.__setattr__(self, name, value)


SettingsT = TypeVar("SettingsT", bound=Settings)


def check(instance: Any) -> dict[str, Any]:
    """The values of a dataclass by name, each as its field's type has it; raises SettingError."""
    checked = {}
    for name, hint in _hints(type(instance)).items():
        value = getattr(instance, name)
        try:
            checked[name] = _convert(hint, value)
        except (OverflowError, ValueError):
            raise SettingError(f"{name} = {quoted(value)} is not {wanted(hint)}") from None
    return checked


def build(
    kind: type[SettingsT], values: Mapping[str, Any], where: str, *, complete: bool = False
) -> SettingsT:
    """Settings from their values by name, in which tables stand for nested settings.

    Raises SettingError that names `where` and the field. A `complete` mapping must hold every field
    but those marked LATER.
    """
    hints = _hints(kind)
    made = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1)
            advice = f"did you mean {near[0]}? " if near else ""
            raise SettingError(
                f"{where}: unknown field {quoted(name)} ({advice}fields: {', '.join(hints)})"
            )
        inner = _plain(hints[name])
        nested = isinstance(inner, type) and issubclass(inner, Settings)
        if nested and isinstance(value, Mapping):
            value = build(inner, value, f"{where} [{name}]", complete=complete)
        made[name] = value
    for field in dataclasses.fields(kind):
        needed = field.default is dataclasses.MISSING is field.default_factory
        needed |= complete and LATER not in getattr(hints[field.name], "__metadata__", ())
        if needed and field.name not in values:
            raise SettingError(f"{where}: the field '{field.name}' is missing (an older version?)")
    try:
        return kind(**made)
    except SettingError as problem:
        raise SettingError(f"{where}: {problem}") from None


def quoted(value: object) -> str:
    """A value as a message repeats it, in one line."""
    return shortened(" ".join(repr(value).splitlines()))


def shortened(text: str) -> str:
    """What a message repeats of a text from a file, which may be of any length."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…"


def _read_hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


# Types by field. mypy does not take a type variable's class for hashable.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(_read_hints)


def _plain(hint: Any) -> Any:
    """The type without its notes."""
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def _convert(hint: Any, value: Any) -> Any:
    """The value as the type has it; raises ValueError where it is of another."""
    kind = _plain(hint)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        good = any(type(value) is type(choice) and value == choice for choice in inner)
    elif origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _convert(next(each for each in inner if each is not type(None)), value)
    elif origin is tuple:
        good = isinstance(value, list | tuple)
        if good:
            kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
            # strict: a pair has two items.
            value = tuple(_convert(*pair) for pair in zip(kinds, value, strict=True))
    elif kind in (int, float):
        good = isinstance(value, int if kind is int else int | float)
        good = good and not isinstance(value, bool) and _range(hint).holds(kind(value))
        value = kind(value) if good else value
    elif kind is str:
        good = isinstance(value, str) and _range(hint).holds(len(value))
    else:
        good = isinstance(value, origin or kind)
    if not good:
        raise ValueError
    return value


def wanted(hint: Any) -> str:
    """The type of a field in words, with its bounds, as `a whole number of at least 1`."""
    kind = _plain(hint)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin in (Union, types.UnionType):
        return wanted(next(each for each in inner if each is not type(None)))
    if origin is tuple:
        return f"a list, each item {wanted(inner[0])}"
    bounds = _given_range(hint)
    if kind is str:
        return "a text" + (f" of {bounds.low} to {bounds.high} characters" if bounds else "")
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + (f" {bounds}" if bounds else "")
    return "true or false" if kind is bool else "a table"


def _range(hint: Any) -> Range:
    return _given_range(hint) or Range(-math.inf)


def _given_range(hint: Any) -> Range | None:
    notes = getattr(hint, "__metadata__", ())
    return next((note for note in notes if isinstance(note, Range)), None)
