"""Finished games as flat arrays: what self-play hands to the learner, and its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.network.checkpoint import load_tensors, read_metadata, save_tensors
from engine.rules.errors import InputError
from engine.rules.variant import Variant

SHARD_FORMAT: Final = "pawnscope-games-2"
_OLDER_FORMATS: Final = ("pawnscope-games-1",)

NO_REPLY: Final = 0
"""In the place of a move: the game ended first. No move goes from a1 to a1."""
UNKNOWN_END: Final = 0
"""In the place of plies left: how the game would have ended is not known."""


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
    # [N] float32 in nats: how far the policy went from the priors (Kullback-Leibler divergence).
    surprise: npt.NDArray[np.float32]
    # [N, S] uint8: the squares as they stood when the game ended; no lesson where UNKNOWN_END.
    endings: npt.NDArray[np.uint8]
    # [N] int32: the game that the position is from, counted from 0 in each batch of games.
    games: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def game_count(self) -> int:
        """Games that the rows are from."""
        return int(self.games[-1]) + 1 if len(self) else 0


RAGGED: Final = ("moves", "policy")
"""The arrays with an entry for each legal move."""
SINGLE: Final = tuple(
    name for name in GameRows.__dataclass_fields__ if name not in (*RAGGED, "offsets")
)
"""The arrays with an entry for each position."""


def join(parts: Sequence[GameRows]) -> GameRows:
    """All rows of the parts, in order; the games are numbered on."""
    fields: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in GameRows.__dataclass_fields__
        if name not in ("offsets", "games")
    }
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    firsts = np.cumsum([0] + [part.game_count for part in parts[:-1]])
    return GameRows(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        games=np.concatenate(
            [part.games + first for part, first in zip(parts, firsts, strict=True)]
        ).astype(np.int32),
        **fields,
    )


def select(rows: GameRows, indices: npt.NDArray[np.int64]) -> GameRows:
    """The rows of these indices, in their order."""
    counts = rows.offsets[indices + 1] - rows.offsets[indices]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    flat = np.arange(offsets[-1]) + np.repeat(rows.offsets[indices] - offsets[:-1], counts)
    single: dict[str, Any] = {name: getattr(rows, name)[indices] for name in SINGLE}
    return GameRows(offsets=offsets, moves=rows.moves[flat], policy=rows.policy[flat], **single)


def shard_name(round_number: int, actor: int, part: int, game: int | None) -> str:
    """Of a file of games; `game` is the game's number in a run of several."""
    name = f"{round_number:06d}-{actor:02d}-{part:03d}"
    return f"{name}.safetensors" if game is None else f"{name}-{game:02d}.safetensors"


def save_games(path: Path, rows: GameRows, variant: Variant, source: dict[str, Any]) -> None:
    """Write a shard and where it is from, whole or not at all; raises OSError."""
    tensors = {name: getattr(rows, name) for name in GameRows.__dataclass_fields__}
    header = {
        "format": SHARD_FORMAT,
        "variant": {"name": variant.name, "digest": variant.digest},
        "positions": len(rows),
        "games": rows.game_count,
        "source": source,
    }
    save_tensors(path, tensors, header)


def describe_games(path: Path) -> dict[str, Any]:
    """The header of a shard: positions, games and source; raises ShardError or OSError."""
    header = read_metadata(path)
    _check_format(path, header)
    return header


def shards_of(folder: Path, variant: Variant) -> list[Path]:
    """The shards of a variant's games in a folder, oldest first; damaged ones are passed over."""
    return [path for path in sorted(folder.glob("*.safetensors")) if _is_of(path, variant)]


def newest_shard(folder: Path, variant: Variant) -> Path | None:
    """The last of `shards_of`, None where there is none; reads no more headers than it must."""
    newest_first = sorted(folder.glob("*.safetensors"), reverse=True)
    return next((path for path in newest_first if _is_of(path, variant)), None)


def _is_of(path: Path, variant: Variant) -> bool:
    try:
        return bool(describe_games(path)["variant"]["digest"] == variant.digest)
    except (InputError, KeyError):
        return False


def _check_format(path: Path, header: dict[str, Any]) -> None:
    """Raise ShardError for what this version does not read."""
    if header.get("format") in _OLDER_FORMATS:
        raise ShardError(
            f"{path}: games of an older version ({header['format']}, this one reads {SHARD_FORMAT})"
        )
    if header.get("format") != SHARD_FORMAT:
        raise ShardError(f"{path}: not a file of self-play games")


def load_games(path: Path, variant: Variant) -> GameRows:
    """Read a shard of this variant's games; raises CheckpointError, ShardError or OSError."""
    tensors, header = load_tensors(path)
    _check_format(path, header)
    if header["variant"]["digest"] != variant.digest:
        raise ShardError(
            f"{path}: games of '{header['variant']['name']}' by other rules than {variant.name}'s"
        )
    for name in GameRows.__dataclass_fields__:
        if name not in tensors:
            raise ShardError(f"{path}: the array '{name}' is missing")
    return GameRows(**{name: tensors[name].numpy() for name in GameRows.__dataclass_fields__})
