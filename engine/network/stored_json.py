"""JSON from untrusted files: bounded in size and depth, all numbers finite, no key twice."""

import json
import math
from typing import Any, Final

LARGEST_TEXT: Final = 1 << 22
"""Most characters of a header or configuration. Ours have a few thousand; parsed, the worst text
takes thirty times as many bytes."""
_DEEPEST: Final = 64
"""Most levels of nesting. Ours have five; printing or copying a thousand overflows the stack."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError for a text that is too long, nested too deep or damaged, for a key that occurs
    twice, and for a number that is not finite.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"longer than {LARGEST_TEXT} characters")
    try:
        value = json.loads(
            text,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_without_repeats,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check_depth(value)
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the key '{name[:40]}' occurs twice")
        values[name] = value
    return values


def _check_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {_DEEPEST}")
