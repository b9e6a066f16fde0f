"""What the files of solutions and of endgame tables share."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import safetensors

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.files import checksum_of

PARTIAL: Final = ".partial"
"""How the names of files end that are being written."""

Arrays = Callable[[str], npt.NDArray[Any]]


class OtherRulesError(InputError):
    """A file that was made by other rules than those of its variant; names the file."""


def describe(variant: Variant, form: str, *arrays: npt.NDArray[Any], **more: str) -> dict[str, str]:
    """The metadata of a file with these arrays."""
    checksum = checksum_of(*arrays)
    head = {"format": form, "variant": variant.name, "rules": variant.digest, "checksum": checksum}
    return head | more


@contextlib.contextmanager
def opened(
    path: Path, variant: Variant, what: str, forms: tuple[str, ...]
) -> Iterator[tuple[dict[str, str], Arrays]]:
    """The metadata of a file, and its arrays by name; `what` is its kind in messages.

    Raises OtherRulesError, InputError for a damaged file or one in none of these formats, OSError
    where it cannot be read.
    """
    with path.open("rb"):
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in forms:
                raise InputError(f"{path}: not a {what} that this version reads")
            if metadata.get("rules") != variant.digest:
                raise OtherRulesError(
                    f"{path}: a {what} of '{metadata.get('variant')}' by other rules than those of"
                    f" {variant.name}"
                )
            yield metadata, file.get_tensor
    except safetensors.SafetensorError as problem:
        raise InputError(f"{path}: not a whole {what} file ({problem})") from None


def verify(path: Path, metadata: dict[str, str], *arrays: npt.NDArray[Any]) -> None:
    """Raises InputError where the arrays are not those that were written."""
    if metadata.get("checksum") != checksum_of(*arrays):
        raise InputError(f"{path}: damaged, its checksum does not match")
