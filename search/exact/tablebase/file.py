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

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.files import write_arrays
from search.exact.stored import PARTIAL, describe, opened, verify
from search.scores import NO_SCORE, WIN

Codes = npt.NDArray[np.uint8]
Legend = npt.NDArray[np.int16]
Zeroing = npt.NDArray[np.uint8]

SUFFIX: Final = ".tablebase"
_FORMAT: Final = "pawnscope-tablebase-2"
_OLDER_FORMAT: Final = "pawnscope-tablebase-1"
_SLICE: Final = 1 << 20
"""Bytes that are packed or unpacked before ^C gets its turn."""
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 1}]


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
    about = {"material": name, "entries": str(len(codes))}
    metadata = describe(variant, _FORMAT, legend, codes, zeroing, **about)
    tensors: dict[str, npt.NDArray[Any]] = {"codes": _packed(codes), "legend": legend}
    if len(zeroing):
        tensors["zeroing"] = _packed(zeroing)
    return write_arrays(path, tensors, metadata, PARTIAL)


def read_table(
    path: Path, variant: Variant, name: str, entries: int
) -> tuple[Codes, Legend, Zeroing]:
    """The codes [entries], the legend and the plies to zeroing [entries] of a table.

    The last are empty where the variant has no move rule, and in a file of the first format.
    Raises OtherRulesError, InputError for a damaged or foreign file, OSError where it cannot be
    read.
    """
    with opened(path, variant, "tablebase", (_FORMAT, _OLDER_FORMAT)) as (metadata, array):
        packed, legend = array("codes"), array("legend")
        timed = variant.clock_rule > 0 and metadata["format"] != _OLDER_FORMAT
        packed_zeroing = array("zeroing") if timed else packed[:0]
    if metadata.get("material") != name:
        raise InputError(f"{path}: holds '{metadata.get('material')}', not {name}")
    codes = _unpacked(path, packed, entries)
    zeroing = _unpacked(path, packed_zeroing, entries) if timed else packed_zeroing
    verify(path, metadata, legend, codes, zeroing)
    _check_legend(path, codes, legend)
    return codes, legend, zeroing


def _check_legend(path: Path, codes: Codes, legend: Legend) -> None:
    """Raises InputError for numbers that are no scores, and for codes without a score.

    A checksum says that a file is whole, and not who wrote it.
    """
    wide = legend.astype(np.int64) if legend.dtype == np.int16 else np.full(1, WIN + 1)
    known = (np.abs(wide) <= WIN) | (wide == NO_SCORE)
    if legend.ndim != 1 or not known.all() or int(codes.max(initial=0)) > len(legend):
        raise InputError(f"{path}: damaged, it holds numbers that are no scores")


def _packed(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    packer = lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    slices = (content[start : start + _SLICE] for start in range(0, len(content), _SLICE))
    packed = b"".join([*(packer.compress(part.tobytes()) for part in slices), packer.flush()])
    return np.frombuffer(packed, dtype=np.uint8)


def _unpacked(path: Path, packed: npt.NDArray[np.uint8], entries: int) -> Codes:
    """What was packed; raises InputError where it has another number of entries."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    content, rest = bytearray(), packed.tobytes()
    try:
        # A damaged stream may unpack to anything: no more is read than one entry too many.
        while len(content) <= entries and not unpacker.eof:
            part = unpacker.decompress(rest, max_length=min(_SLICE, entries + 1 - len(content)))
            rest = b""
            if not part:
                break
            content += part
    except lzma.LZMAError as problem:
        raise InputError(f"{path}: damaged ({problem})") from None
    if len(content) != entries:
        raise InputError(f"{path}: damaged, it does not hold {entries} entries")
    return np.frombuffer(content, dtype=np.uint8)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of writers that were killed; those at work keep theirs."""
    for path in folder.glob(f"*{SUFFIX}.*{PARTIAL}"):
        writer = path.name.removesuffix(PARTIAL).rpartition(".")[2]
        if writer.isdecimal():
            try:
                os.kill(int(writer), 0)
            except (ProcessLookupError, OverflowError):
                path.unlink(missing_ok=True)
            except PermissionError:
                # Another user's, and alive.
                continue
