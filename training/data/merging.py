"""Many small files of games become one.

A small variant plays a few hundred positions in a round: a run of minutes would leave hundreds of
files. A merged file keeps the shards apart in its header, so that the window is filled with the
same parts as before.

At any moment every shard can be read: the merged file is written whole, then the index says that
the shards are there, then the small files are removed. Where a kill comes between, the index
removes them when it is opened next (`index.Index`), and readers without an index leave them out
(`shards.game_files`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from training.data.index import Index, Shard
from training.data.shards import GameRows, Part, load_parts, merged_name, save_merged

_MOST_SMALL: Final = 16
"""Small files of a variant; when there are as many, they are merged."""
_SMALL: Final = 16_384
"""Positions below which a file is small. Each row is written a few times at most."""


def merge_small_files(
    index: Index,
    folder: Path,
    variant: Variant,
    game: int | None,
    rounds: range,
    log: Callable[[str], None],
) -> None:
    """Merge the files of a variant's finished `rounds` where there are many small ones.

    `game` is as in `shards.shard_name`. Damaged files stay as they are and are left out of the
    index. Raises OSError.
    """
    small = index.small_files(variant.name, rounds, _SMALL)
    if len(small) < _MOST_SMALL:
        return
    for group in _groups(small):
        parts: list[tuple[Part, GameRows]] = []
        merged: list[Shard] = []
        for shards in group:
            file = shards[0].file
            try:
                parts += load_parts(folder / file, variant)
            except InputError as problem:
                log(f"left out: {problem}")
                index.drop_file(file)
                continue
            merged += shards
        files = {shard.file for shard in merged}
        if len(files) < 2:
            continue
        numbers = [shard.round for shard in merged]
        name = merged_name(min(numbers), max(numbers), game)
        save_merged(folder / name, parts, variant)
        index.move_shards(merged, name)
        for file in files - {name}:
            (folder / file).unlink()


def _groups(small: list[list[Shard]]) -> Iterator[list[list[Shard]]]:
    """Consecutive files that are no longer small together; the last group may be.

    Files of one round stay together: groups are named by their rounds, and two of one name would
    replace each other.
    """
    group: list[list[Shard]] = []
    positions, last_round = 0, -1
    for shards in small:
        if positions >= _SMALL and shards[0].round > last_round:
            yield group
            group, positions = [], 0
        group.append(shards)
        positions += sum(shard.positions for shard in shards)
        last_round = max(last_round, shards[-1].round)
    if group:
        yield group
