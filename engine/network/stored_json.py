"""JSON from files of strangers: bounded in size and depth, every number finite, no key twice."""

import json
import math
from typing import Any, Final

LARGEST_TEXT: Final = 1 << 22
"""Characters of a header or configuration. Ours have some thousands; Python needs thirty times as
many bytes for the worst of them."""
_DEEPEST: Final = 64
"""Objects within objects. Ours have five; whoever prints or copies a thousand runs out of stack."""


def parse_json(text: str | bytes) -> Any:
    """What a text holds.

    Raises ValueError for what is too long, too deep or damaged, for a key that stands twice, and
    for a number that is not finite.
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
            raise ValueError(f"the key '{name[:40]}' stands twice")
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
