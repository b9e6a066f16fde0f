"""Names that networks had in older files: the one place that knows them."""

from collections.abc import Mapping
from typing import Final, TypeVar

T = TypeVar("T")

_FORMER_NAMES: Final = {"placement": "ownership", "men": "pieces"}
"""Of a configuration's fields, and of the parts between the dots in tensors' names."""


def with_current_names(values: Mapping[str, T]) -> dict[str, T]:
    """Values by field or tensor name, under today's names.

    A former name stays where today's is there, too: readers refuse it as unknown.
    """

    def current(name: str) -> str:
        new = ".".join(_FORMER_NAMES.get(part, part) for part in name.split("."))
        return name if new in values else new

    return {current(name): value for name, value in values.items()}
