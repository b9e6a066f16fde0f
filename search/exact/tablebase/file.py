"""Endgame tables on the disk: one file a material, compressed, whole or not at all.

A file is a safetensors file with the legend (the scores that occur, by code), the codes and, where
there is a move rule, the plies to zeroing, both packed by LZMA; its metadata name the game, a
digest of its rules and a checksum of the contents. Files of the first format lack plies to zeroing.
"""

import lzma
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.files import checksum_of, write_arrays
from search.scores import NO_SCORE, WIN

Codes = npt.NDArray[np.uint8]
Legend = npt.NDArray[np.int16]
Zeroing = npt.NDArray[np.uint8]

SUFFIX: Final = ".tablebase"
_FORMAT: Final = "pawnscope-tablebase-2"
_OLDER_FORMAT: Final = "pawnscope-tablebase-1"
_PARTIAL: Final = ".partial"
_SLICE: Final = 1 << 20
"""Bytes that are packed or unpacked before ^C gets its turn."""
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 1}]


class OtherRulesError(InputError):
    """A table that was made by other rules than it is asked for; names the file."""


def table_path(folder: Path, variant: Variant, name: str) -> Path:
    """The file of the material `name`, such as `gardner-KQvK.tablebase`."""
    return folder / f"{_file_word(variant.name)}-{name}{SUFFIX}"


def table_names(folder: Path, variant: Variant) -> Iterator[tuple[str, Path]]:
    """Names of the materials that the folder has files of, with the files; raises OSError."""
    for path in sorted(folder.iterdir()):
        game, dash, name = path.name.removesuffix(SUFFIX).rpartition("-")
        if path.suffix == SUFFIX and dash and game == _file_word(variant.name):
            yield name, path


def _file_word(text: str) -> str:
    # A variant's name is any text without blanks.
    return re.sub(r"[^\w.-]", "_", text)


def write_table(
    path: Path, variant: Variant, name: str, codes: Codes, legend: Legend, zeroing: Zeroing
) -> int:
    """Write a table whole or not at all; returns the bytes of the file. Raises OSError.

    `zeroing` is empty where the variant has no move rule.
    """
    metadata = {
        "format": _FORMAT,
        "variant": variant.name,
        "rules": variant.digest,
        "material": name,
        "entries": str(len(codes)),
        "checksum": _checksum(codes, legend, zeroing),
    }
    tensors: dict[str, npt.NDArray[Any]] = {"codes": _packed(codes), "legend": legend}
    if len(zeroing):
        tensors["zeroing"] = _packed(zeroing)
    return write_arrays(path, tensors, metadata, _PARTIAL)


def read_table(
    path: Path, variant: Variant, name: str, entries: int
) -> tuple[Codes, Legend, Zeroing]:
    """The codes [entries], the legend and the plies to zeroing [entries] of a table.

    The last are empty where the variant has no move rule, and in a file of the first format.
    Raises OtherRulesError, InputError for a damaged or foreign file, OSError where it cannot be
    read.
    """
    with path.open("rb"):
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            form = metadata.get("format")
            if form not in (_FORMAT, _OLDER_FORMAT):
                raise InputError(f"{path}: not a tablebase that this version reads")
            if metadata.get("rules") != variant.digest:
                raise OtherRulesError(
                    f"{path}: a tablebase of '{metadata.get('variant')}' by other rules than those"
                    f" of {variant.name}"
                )
            packed, legend = file.get_tensor("codes"), file.get_tensor("legend")
            timed = variant.clock_rule > 0 and form != _OLDER_FORMAT
            packed_zeroing = file.get_tensor("zeroing") if timed else packed[:0]
    except safetensors.SafetensorError as problem:
        raise InputError(f"{path}: not a whole tablebase file ({problem})") from None
    if metadata.get("material") != name:
        raise InputError(f"{path}: holds '{metadata.get('material')}', not {name}")
    codes = _unpacked(packed.tobytes(), entries)
    zeroing = _unpacked(packed_zeroing.tobytes(), entries) if timed else packed_zeroing
    if (
        codes is None
        or zeroing is None
        or metadata.get("checksum") != _checksum(codes, legend, zeroing)
    ):
        raise InputError(f"{path}: damaged, its checksum does not fit")
    _check_legend(path, codes, legend)
    return codes, legend, zeroing


def _check_legend(path: Path, codes: Codes, legend: Legend) -> None:
    """Raises InputError for scores that are none, and for codes without one: a checksum says that a
    file is whole, not who wrote it."""
    wide = legend.astype(np.int64) if legend.dtype == np.int16 else np.full(1, WIN + 1)
    known = (np.abs(wide) <= WIN) | (wide == NO_SCORE)
    if legend.ndim != 1 or not known.all() or int(codes.max(initial=0)) > len(legend):
        raise InputError(f"{path}: damaged, its scores are none")


def _packed(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    packer = lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    slices = (content[start : start + _SLICE] for start in range(0, len(content), _SLICE))
    packed = b"".join([*(packer.compress(part.tobytes()) for part in slices), packer.flush()])
    return np.frombuffer(packed, dtype=np.uint8)


def _unpacked(packed: bytes, entries: int) -> Codes | None:
    """The codes; None where that is not what was packed."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    content = bytearray()
    try:
        # A damaged stream may unpack to anything: it is not let beyond its size.
        while len(content) <= entries and not unpacker.eof:
            part = unpacker.decompress(packed, max_length=min(_SLICE, entries + 1 - len(content)))
            packed = b""
            if not part:
                break
            content += part
    except lzma.LZMAError:
        return None
    return np.frombuffer(content, dtype=np.uint8) if len(content) == entries else None


def _checksum(codes: Codes, legend: Legend, zeroing: Zeroing) -> str:
    return checksum_of(legend, codes, zeroing)


def sweep(folder: Path) -> None:
    """Remove what writers left behind that were killed; those at work keep theirs."""
    for path in folder.glob(f"*{SUFFIX}.*{_PARTIAL}"):
        writer = path.name.removesuffix(_PARTIAL).rpartition(".")[2]
        if writer.isdigit() and not _is_alive(int(writer)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


__all__ = [
    "OtherRulesError",
    "read_table",
    "sweep",
    "table_names",
    "table_path",
    "write_table",
]
