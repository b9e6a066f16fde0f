"""Finished games as flat arrays: what the learner gets from self-play, and its files.

A shard is what an actor wrote at once. A file holds one shard, or many that `merging` has put
together, one after the other; its header then lists them under "shards".
"""

import contextlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.checkpoint import header_field, load_tensors, read_metadata, save_tensors
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.moves import SQUARE_BITS, SQUARE_MASK
from engine.rules.tables import (
    BLACK_BIT,
    CASTLING,
    CASTLING_RIGHTS,
    EMPTY,
    EN_PASSANT,
    NO_SQUARE,
    SIDE,
)
from engine.rules.variant import Variant
from engine.settings import quoted
from search.scores import UNPROVEN

SHARD_FORMAT: Final = "pawnscope-games-2"
_OLDER_FORMATS: Final = ("pawnscope-games-1",)

NO_REPLY: Final = 0
"""Instead of a move where the game ended first: a1 to a1, which no move is."""
UNKNOWN_END: Final = 0
"""Instead of plies left: the game was not played to its end."""
_KINDS: Final = {
    "positions": torch.uint8,
    "offsets": torch.int64,
    "moves": torch.uint16,
    "policy": torch.float32,
    "search_wdl": torch.float32,
    "proven": torch.int8,
    "outcomes": torch.int8,
    "moves_left": torch.int16,
    "replies": torch.uint16,
    "surprise": torch.float32,
    "endings": torch.uint8,
    "games": torch.int32,
}
"""Types of the arrays in a file, by the names of GameRows' fields."""


class ShardError(InputError):
    """A file that does not hold games of this run's variant; names the file."""


@dataclass(frozen=True, kw_only=True)
class GameRows:
    """N positions of finished games; M legal moves in all. Values are for the side to move."""

    # [N, R] uint8 rows.
    positions: npt.NDArray[np.uint8]
    # [N + 1] int64: where each position's moves begin and end.
    offsets: npt.NDArray[np.int64]
    # [M] uint16 legal moves.
    moves: npt.NDArray[np.uint16]
    # [M] float32: the search's improved policy, sums to 1 over a position.
    policy: npt.NDArray[np.float32]
    # [N, 3] float32: the search's WDL, exact where it was proven.
    search_wdl: npt.NDArray[np.float32]
    # [N] int8: the value that the search had proven, or UNPROVEN.
    proven: npt.NDArray[np.int8]
    # [N] int8: how the game ended, 1, 0 or -1.
    outcomes: npt.NDArray[np.int8]
    # [N] int16: plies until it ended, or UNKNOWN_END.
    moves_left: npt.NDArray[np.int16]
    # [N] uint16: the move that was played in the position after this one, or NO_REPLY.
    replies: npt.NDArray[np.uint16]
    # [N] float32 in nats: Kullback-Leibler divergence of the policy from the priors.
    surprise: npt.NDArray[np.float32]
    # [N, S] uint8: the squares when the game ended; no target where UNKNOWN_END.
    endings: npt.NDArray[np.uint8]
    # [N] int32: the number of the position's game, from 0 in each file.
    games: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def game_count(self) -> int:
        """Games that the rows are from."""
        return int(self.games[-1]) + 1 if len(self) else 0


_MERGED: Final = re.compile(r"\d{6}-\d{6}(-\d{2})?\.safetensors")
"""The names that `merged_name` makes."""
RAGGED: Final = ("moves", "policy")
"""The arrays with an entry for each legal move."""
SINGLE: Final = tuple(name for name in _KINDS if name not in (*RAGGED, "offsets"))
"""The arrays with an entry for each position."""


def join(parts: Sequence[GameRows]) -> GameRows:
    """All rows of the parts, in order, their games numbered from 0."""
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in (*SINGLE, *RAGGED)
    }
    firsts = np.cumsum([0] + [part.game_count for part in parts[:-1]])
    fields["games"] += np.repeat(firsts, [len(part) for part in parts]).astype(np.int32)
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return GameRows(offsets=_offsets(counts), **fields)


def tail(rows: GameRows, start: int) -> GameRows:
    """The rows from `start` on, the first of a game; views, with the games numbered from 0."""
    return _between(rows, start, len(rows))


def _between(rows: GameRows, start: int, end: int) -> GameRows:
    """The rows from `start`, the first of a game, to before `end`, as `tail`."""
    first, last = rows.offsets[start], rows.offsets[end]
    fields = {name: getattr(rows, name)[start:end] for name in SINGLE}
    fields |= {name: getattr(rows, name)[first:last] for name in RAGGED}
    fields["games"] = fields["games"] - fields["games"][:1]
    return GameRows(offsets=rows.offsets[start : end + 1] - first, **fields)


def _offsets(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where so many moves of each position begin and end, int64[N + 1]."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def select_moves(
    offsets: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The offsets of the positions of these indices, and the places of their moves among all."""
    counts = offsets[indices + 1] - offsets[indices]
    selected = _offsets(counts)
    return selected, np.arange(selected[-1]) + np.repeat(offsets[indices] - selected[:-1], counts)


def select(rows: GameRows, indices: npt.NDArray[np.int64]) -> GameRows:
    """The rows of these indices, in their order."""
    offsets, places = select_moves(rows.offsets, indices)
    fields = {name: getattr(rows, name)[indices] for name in SINGLE}
    fields |= {name: getattr(rows, name)[places] for name in RAGGED}
    return GameRows(offsets=offsets, **fields)


def shard_name(round_number: int, actor: int, part: int, game: int | None) -> str:
    """The name of a shard; `game` is the variant's number in a run of several."""
    name = f"{round_number:06d}-{actor:02d}-{part:03d}"
    return f"{name}.safetensors" if game is None else f"{name}-{game:02d}.safetensors"


def merged_name(first_round: int, last_round: int, game: int | None) -> str:
    """The name of a file with the shards of some rounds; `game` as in `shard_name`."""
    name = f"{first_round:06d}-{last_round:06d}"
    return f"{name}.safetensors" if game is None else f"{name}-{game:02d}.safetensors"


class Part(NamedTuple):
    """One shard in a file."""

    name: str
    """That of the file in which its actor wrote it."""
    positions: int
    games: int
    source: dict[str, Any]
    """How its actor made it, see `selfplay.actors.local`."""


def save_games(path: Path, rows: GameRows, variant: Variant, source: dict[str, Any]) -> None:
    """Write a shard and where it is from, whole or not at all; raises OSError."""
    _save(path, rows, variant, {"source": source})


def save_merged(path: Path, parts: Sequence[tuple[Part, GameRows]], variant: Variant) -> None:
    """Write many shards as one file, whole or not at all; raises OSError."""
    listed = [part._asdict() for part, _ in parts]
    _save(path, join([rows for _, rows in parts]), variant, {"source": {}, "shards": listed})


def _save(path: Path, rows: GameRows, variant: Variant, about: dict[str, Any]) -> None:
    tensors = {name: getattr(rows, name) for name in _KINDS}
    header = {
        "format": SHARD_FORMAT,
        "variant": {"name": variant.name, "digest": variant.digest},
        "positions": len(rows),
        "games": rows.game_count,
    }
    save_tensors(path, tensors, header | about)


def describe_games(path: Path) -> dict[str, Any]:
    """The header of a shard: positions, games and source; raises ShardError, CheckpointError or
    OSError."""
    header = read_metadata(path)
    _check_format(path, header)
    return header


def are_counts(values: Iterable[object]) -> bool:
    """Whether all are whole numbers that count something."""
    return all(type(value) is int and 0 <= value < 1 << 53 for value in values)


def parts_of(path: Path, header: dict[str, Any]) -> list[Part]:
    """The shards in a file, by its header, in the order of their rows."""
    if "shards" in header:
        return [Part(**part) for part in header["shards"]]
    return [Part(path.name, header["positions"], header["games"], header["source"])]


def game_files(folder: Path) -> list[Path]:
    """The files of games in a folder, oldest first.

    Without those whose shards a merged file holds: a kill may have prevented their removal.
    """
    paths = sorted(folder.glob("*.safetensors"))
    held = {path: {path.name} for path in paths}
    for path in paths:
        if _MERGED.fullmatch(path.name):
            # A damaged file holds nothing for certain.
            with contextlib.suppress(InputError, FileNotFoundError):
                held[path] = {part.name for part in parts_of(path, describe_games(path))}
    merged = [names for names in held.values() if len(names) > 1]
    return [path for path in paths if not any(held[path] < names for names in merged)]


def files_of(folder: Path, variant: Variant) -> list[Path]:
    """The `game_files` of a variant; damaged ones are skipped."""
    return [path for path in game_files(folder) if _is_of(path, variant)]


def newest_file(folder: Path, variant: Variant) -> Path | None:
    """The last of `files_of`, None where there is none; reads headers from the newest on."""
    newest_first = sorted(folder.glob("*.safetensors"), reverse=True)
    return next((path for path in newest_first if _is_of(path, variant)), None)


def _is_of(path: Path, variant: Variant) -> bool:
    # A run in progress may have merged the file into another since the folder was listed.
    try:
        return bool(describe_games(path)["variant"]["digest"] == variant.digest)
    except (InputError, KeyError, FileNotFoundError):
        return False


def _check_format(path: Path, header: dict[str, Any]) -> None:
    """Raises ShardError for a header of another format or with missing fields."""
    if header.get("format") in _OLDER_FORMATS:
        raise ShardError(
            f"{path}: games of an older version ({header['format']}, this one reads {SHARD_FORMAT})"
        )
    if header.get("format") != SHARD_FORMAT:
        raise ShardError(f"{path}: not a file of self-play games")
    variant, _ = (header_field(path, header, name) for name in ("variant", "source"))
    for name in ("name", "digest"):
        if not isinstance(variant.get(name), str):
            raise ShardError(f"{path}: missing field 'variant.{name}'")
    for name in ("positions", "games"):
        if not are_counts([header.get(name)]):
            raise ShardError(f"{path}: {name} = {quoted(header.get(name))} is no count")
    if "shards" in header and not _are_parts(header):
        raise ShardError(f"{path}: its list of shards does not fit its positions and games")


def _are_parts(header: dict[str, Any]) -> bool:
    """Whether the list of shards in a header has all fields and adds up to the file."""
    parts = header["shards"]
    if not isinstance(parts, list) or not parts:
        return False
    for part in parts:
        if not isinstance(part, dict) or set(part) != set(Part._fields):
            return False
        if not isinstance(part["name"], str) or not isinstance(part["source"], dict):
            return False
        if not are_counts([part["positions"], part["games"]]) or not part["positions"]:
            return False
    sums = [sum(part[name] for part in parts) for name in ("positions", "games")]
    names = {part["name"] for part in parts}
    return sums == [header["positions"], header["games"]] and len(names) == len(parts)


def load_games(path: Path, variant: Variant) -> GameRows:
    """Read a file of this variant's games; raises CheckpointError, ShardError or OSError."""
    return _load(path, variant)[0]


def load_parts(path: Path, variant: Variant) -> list[tuple[Part, GameRows]]:
    """The shards in a file, each with its rows as its actor wrote them; raises as `load_games`."""
    rows, header = _load(path, variant)
    parts = parts_of(path, header)
    ends = list(itertools.accumulate((part.positions for part in parts), initial=0))
    if ends[-1] != len(rows):
        raise ShardError(f"{path}: {len(rows)} positions, not {ends[-1]} as its header says")
    return [
        (part, _between(rows, start, end))
        for part, (start, end) in zip(parts, itertools.pairwise(ends), strict=True)
    ]


def _load(path: Path, variant: Variant) -> tuple[GameRows, dict[str, Any]]:
    tensors, header = load_tensors(path)
    _check_format(path, header)
    if header["variant"]["digest"] != variant.digest:
        raise ShardError(
            f"{path}: games of {quoted(header['variant']['name'])} by other rules than"
            f" {variant.name}'s"
        )
    for name in _KINDS:
        if name not in tensors:
            raise ShardError(f"{path}: the array '{name}' is missing")
    _check_kinds(path, tensors, variant)
    rows = GameRows(**{name: tensors[name].numpy() for name in _KINDS})
    _check_values(path, rows, variant)
    return rows, header


def _check_kinds(path: Path, tensors: dict[str, Tensor], variant: Variant) -> None:
    """Raises ShardError for an array of another type or shape."""
    count, moves = len(tensors["games"]), tensors["moves"].numel()
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(SINGLE, (count,))
    shapes |= dict.fromkeys(RAGGED, (moves,))
    shapes |= {"offsets": (count + 1,), "positions": (count, variant.row_size)}
    shapes |= {"search_wdl": (count, 3), "endings": (count, variant.squares)}
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.dtype != _KINDS[name] or tensor.shape != shape:
            kind = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            wanted = f"{str(_KINDS[name]).removeprefix('torch.')}{list(shape)}"
            raise ShardError(f"{path}: the array '{name}' is {kind}, not {wanted}")


def _check_values(path: Path, rows: GameRows, variant: Variant) -> None:
    """Raises ShardError for rows that are no positions of the variant, for moves that are not the
    legal ones, and for values without a meaning: kernels and networks do not check them."""
    squares = variant.squares
    pieces = [kind | colour for kind in variant.piece_types for colour in (0, BLACK_BIT)]
    known = np.isin(np.arange(256), [EMPTY, *pieces])
    state = rows.positions[:, squares:]
    en_passant = state[:, EN_PASSANT]
    replies = np.stack([rows.replies & SQUARE_MASK, rows.replies >> SQUARE_BITS & SQUARE_MASK])
    counts = np.diff(rows.offsets)
    sound = {
        "offsets": rows.offsets[0] == 0
        and (counts > 0).all()
        and rows.offsets[-1] == len(rows.moves),
        "positions": known[rows.positions[:, :squares]].all()
        and (state[:, SIDE] <= 1).all()
        and (state[:, CASTLING] < 1 << CASTLING_RIGHTS).all()
        and ((en_passant < squares) | (en_passant == NO_SQUARE)).all(),
        "endings": known[rows.endings].all(),
        "replies": (replies < squares).all(),
        "policy": (rows.policy >= 0).all(),
        "search_wdl": (rows.search_wdl >= 0).all(),
        "surprise": (rows.surprise >= 0).all(),
        "proven": np.isin(rows.proven, (UNPROVEN, -1, 0, 1)).all(),
        "outcomes": (np.abs(rows.outcomes.astype(np.int64)) <= 1).all(),
        "moves_left": (rows.moves_left >= 0).all(),
        "games": (rows.games >= 0).all() and (rows.games < len(rows)).all(),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise ShardError(
                f"{path}: the array '{name}' holds values that are impossible in {variant.name}"
            )
    legal, offsets = generate_batch(variant.tables, rows.positions)
    owner = np.repeat(np.arange(len(rows), dtype=np.int64) << 16, counts)
    # In any order: the generator's is no part of the format.
    if not np.array_equal(offsets, rows.offsets) or not np.array_equal(
        np.sort(owner | legal), np.sort(owner | rows.moves)
    ):
        raise ShardError(f"{path}: the array 'moves' does not hold the positions' legal moves")
