"""What is written of a number: six significant digits, more than any figure here is known to."""

import dataclasses
from typing import Any, Final

_DIGITS: Final = 6


def rounded(value: Any) -> Any:
    """The value with all its floats rounded, however deep in dataclasses, dicts and sequences.

    Whole numbers, such as seeds, counts and steps, stay exact. What is rounded stays as it is when
    it is rounded again.
    """
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        make = getattr(value, "_make", type(value))
        return make(map(rounded, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return type(value)(**{each.name: rounded(getattr(value, each.name)) for each in fields})
    return value
