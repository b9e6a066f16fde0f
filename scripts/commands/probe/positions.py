"""Which positions are probed on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.network.checkpoint import UniversalDescription, read_description
from engine.probing.data.samples import Sample, draw_games, draw_positions, play_random_games
from engine.rules.variant import Variant
from search.exact.solution import Solution
from training.data.run_directory import run_checkpoints
from training.data.shards import GameRows, files_of, game_files, load_games


def gather(
    runs: Sequence[Path],
    variant: Variant,
    solution: Solution | None,
    wanted: int,
    rng: np.random.Generator,
) -> Sample:
    """Unfinished positions of a solved game, else positions of the runs' games, else random.

    Those of a solved game are marked where they occur in the runs' games.
    """
    paths = [path for run in runs if run.is_dir() for path in _shards(run, variant)]
    if solution is not None:
        sample = draw_positions(solution.unfinished_positions(), variant, wanted, rng)
        if not paths:
            return sample
        return sample.marking_self_play(
            (shard.positions for shard in _loaded(paths, variant)), variant
        )
    if not paths:
        return play_random_games(variant, wanted, rng)
    shuffled = [paths[index] for index in rng.permutation(len(paths))]
    shards = ((shard.positions, shard.games) for shard in _loaded(shuffled, variant))
    return draw_games(shards, variant, wanted, rng)


def _shards(run: Path, variant: Variant) -> list[Path]:
    several = isinstance(read_description(run_checkpoints(run)[-1]), UniversalDescription)
    folder = run / "games"
    return files_of(folder, variant) if several else game_files(folder)


def _loaded(paths: Sequence[Path], variant: Variant) -> Iterator[GameRows]:
    for path in paths:
        yield load_games(path, variant)
