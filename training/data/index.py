"""The run's index: which files hold what. Only the learner writes it; it can be rebuilt."""

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.network.checkpoint import read_description
from engine.rules.errors import InputError
from training.data.shards import ShardError, are_counts, describe_games, parts_of

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shards (
    name TEXT PRIMARY KEY, file TEXT, round INTEGER, actor INTEGER, variant TEXT,
    positions INTEGER, games INTEGER, source TEXT
);
CREATE TABLE IF NOT EXISTS checkpoints (name TEXT PRIMARY KEY, round INTEGER, step INTEGER);
"""


@dataclass(frozen=True)
class Shard:
    """What an actor wrote at once."""

    name: str
    # The name of the file that holds it: its own, or that of a merged one.
    file: str
    round: int
    actor: int
    # The variant's name.
    variant: str
    positions: int
    games: int
    # How its actor made it, see `selfplay.actors.local`.
    source: dict[str, Any]


_INSERT_SHARD: Final = "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# Named columns: a table of an older version lacks some, fails here and is rebuilt.
_SELECT_SHARDS: Final = (
    "SELECT name, file, round, actor, variant, positions, games, source FROM shards {}"
    " ORDER BY round, actor, name"
)


def _row_of(shard: Shard) -> tuple[Any, ...]:
    return tuple((vars(shard) | {"source": json.dumps(shard.source)}).values())


def is_kept(round_number: int) -> bool:
    """Whether the checkpoint of a round is kept: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    if round_number < 4:
        return True
    power = 1 << (round_number.bit_length() - 1)
    return round_number in (power, power + power // 2)


_ACCOUNT: Final = (
    *("seconds", "plies", "simulations", "evaluations", "evaluator_seconds"),
    *("resigned", "checked", "wrong"),
)
"""What an actor that searches counts for each shard."""


def _is_source(source: dict[str, Any]) -> bool:
    """Whether a shard's header has round and actor, and all counts or none."""
    counts: list[Any] = [source.get(name) for name in _ACCOUNT] if "simulations" in source else []
    return (
        are_counts([source.get("round"), source.get("actor")])
        and all(type(number) in (int, float) and 0 <= number < 1 << 53 for number in counts)
        and (not counts or isinstance(source.get("evaluator"), str))
    )


def account_of(shards: list[Shard]) -> dict[str, Any]:
    """The shards of a round in figures: amount, speed, and what resigning cost."""
    sources = [shard.source for shard in shards if "simulations" in shard.source]
    if not sources:
        return {}
    total = {name: sum(source[name] for source in sources) for name in _ACCOUNT}
    seconds = max(1e-9, total["seconds"])
    account: dict[str, Any] = {
        "evaluator": ", ".join(sorted({source["evaluator"] for source in sources})),
        "plies": int(total["plies"]),
        "simulations": int(total["simulations"]),
        # Of one actor, while it plays.
        "simulations_per_second": round(total["simulations"] / seconds, 1),
        "evaluations": int(total["evaluations"]),
        "outside_evaluator": round(1.0 - total["evaluator_seconds"] / seconds, 4),
    }
    if total["resigned"] or total["checked"]:
        account["resignations"] = {
            name: int(total[name]) for name in ("resigned", "checked", "wrong")
        }
    return account


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of the database as OSError, which callers handle."""
    try:
        yield
    except sqlite3.Error as problem:
        raise OSError(f"{path}: {problem}") from None


class Index:
    """index.sqlite of a run directory; opening it brings it into agreement with the files."""

    def __init__(self, directory: Path) -> None:
        """Open or rebuild; damaged shards are left out. Raises OSError."""
        self._path = directory / "index.sqlite"
        self._games = directory / "games"
        self._checkpoints = directory / "checkpoints"
        try:
            self._open()
        except OSError:
            self._path.unlink(missing_ok=True)
            self._open()

    def _open(self) -> None:
        with disk_errors(self._path):
            self._database = sqlite3.connect(self._path)
        try:
            with disk_errors(self._path):
                self._database.executescript(_SCHEMA)
            self._reconcile()
        except BaseException:
            self.close()
            raise

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement and commit; returns the rows that it found."""
        with disk_errors(self._path), self._database:
            return self._database.execute(statement, values).fetchall()

    def _reconcile(self) -> None:
        known = self.shards()
        present = {path.name for path in self._games.glob("*.safetensors")}
        shards = [shard for shard in known if shard.file in present]
        for name in sorted(present - {shard.file for shard in shards}):
            # The games of a file that cannot be read are played again.
            with contextlib.suppress(InputError):
                shards += self._describe(name)
        sizes = Counter(shard.file for shard in shards)
        # A kill may have left the parts of a merged file beside it: the larger file counts.
        found = {shard.name: shard for shard in sorted(shards, key=lambda each: sizes[each.file])}
        if found != {shard.name: shard for shard in known}:
            # A commit waits for the disk, so there is one for all files.
            with disk_errors(self._path), self._database:
                self._database.execute("DELETE FROM shards")
                self._database.executemany(_INSERT_SHARD, map(_row_of, found.values()))
        for name in sizes.keys() - {shard.file for shard in found.values()}:
            (self._games / name).unlink()

    def add_shard(self, name: str) -> Shard:
        """Add a file that an actor wrote; raises ShardError, CheckpointError or OSError."""
        (shard,) = self._describe(name)
        self._execute(_INSERT_SHARD, *_row_of(shard))
        return shard

    def move_shards(self, shards: Sequence[Shard], file: str) -> None:
        """Record that a merged file holds these shards now."""
        names = [(file, shard.name) for shard in shards]
        with disk_errors(self._path), self._database:
            self._database.executemany("UPDATE shards SET file = ? WHERE name = ?", names)

    def drop_file(self, name: str) -> None:
        """Leave out a damaged file."""
        self._execute("DELETE FROM shards WHERE file = ?", name)

    def _describe(self, name: str) -> list[Shard]:
        """The shards in a file, by its header; raises as `add_shard`."""
        path = self._games / name
        header = describe_games(path)
        shards = []
        for part in parts_of(path, header):
            if not _is_source(part.source):
                raise ShardError(f"{path}: the field 'source' is incomplete")
            shards.append(
                Shard(
                    name=part.name,
                    file=name,
                    round=part.source["round"],
                    actor=part.source["actor"],
                    variant=header["variant"]["name"],
                    positions=part.positions,
                    games=part.games,
                    source=part.source,
                )
            )
        return shards

    def shards(self) -> list[Shard]:
        """All shards, oldest first."""
        return self._select("")

    def shards_of(self, variant: str, rounds: range = range(1 << 53)) -> list[Shard]:
        """Those of one variant, by its name, and of some rounds in a row, oldest first."""
        where = "WHERE variant = ? AND round >= ? AND round < ?"
        return self._select(where, variant, rounds.start, rounds.stop)

    def small_files(self, variant: str, rounds: range, below: int) -> list[list[Shard]]:
        """The shards of each file of a variant that holds fewer positions, oldest first."""
        where = (
            "WHERE variant = ? AND round >= ? AND round < ? AND file IN"
            " (SELECT file FROM shards GROUP BY file HAVING SUM(positions) < ?)"
        )
        files: dict[str, list[Shard]] = {}
        for shard in self._select(where, variant, rounds.start, rounds.stop, below):
            files.setdefault(shard.file, []).append(shard)
        return list(files.values())

    def _select(self, where: str, *values: object) -> list[Shard]:
        return [
            Shard(name, file, number, actor, variant, positions, games, json.loads(source))
            for name, file, number, actor, variant, positions, games, source in self._execute(
                _SELECT_SHARDS.format(where), *values
            )
        ]

    def add_checkpoint(self, name: str, round_number: int, step: int) -> None:
        """Add a checkpoint that is kept."""
        self._execute(
            "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", name, round_number, step
        )

    def restore_checkpoints(self, last_round: int) -> None:
        """Add the checkpoints up to this round that are kept and that a rebuilt index lacks."""
        known = self.checkpoints()
        for path in self._checkpoints.glob("*.safetensors"):
            if path.name in known:
                continue
            # Files that are not a run's checkpoints are left out.
            with contextlib.suppress(InputError, KeyError):
                about = read_description(path).metadata
                if about["round"] <= last_round and is_kept(about["round"]):
                    self.add_checkpoint(path.name, about["round"], about["step"])

    def checkpoints(self) -> set[str]:
        """The names of the checkpoints that are kept."""
        return {name for (name,) in self._execute("SELECT name FROM checkpoints")}

    def close(self) -> None:
        """Close the file."""
        self._database.close()
