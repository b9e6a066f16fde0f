"""The solver as a teacher: its positions instead of self-play's, written as the same shards.

A round brings as many positions as a round of self-play, drawn without replacement until all have
been drawn. Labels are exact: the value, the moves that keep it (all alike) and the plies to the end
with best play; the reply and the ending are those of one line of best play, with the quickest wins
and the longest losses. With `held_out`, that share of the *canonical* positions is never drawn: no
symmetric position of a held-out one, by mirror or by colour, is learned
(engine/probing/data/canonical.py).
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.probing.data.samples import Sample
from engine.probing.data.splits import split
from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.kernels import apply, generate_batch
from engine.rules.tables import Tables
from engine.rules.variant import Variant
from search.exact.solution import Solution
from training.data.shards import NO_REPLY, GameRows, save_games, shard_name
from training.selfplay.actors.protocol import Progress, SelfPlayRequest

Positions = Array2D[np.uint8]


def divide(
    variant: Variant, positions: Positions, held_out: float, seed: int
) -> tuple[Positions, Positions]:
    """Positions to learn and positions to test on, split by canonical position."""
    if held_out <= 0.0:
        return positions, positions[:0]
    sample = Sample.from_rows(positions, variant)
    sides = split(sample, held_out, np.random.default_rng(seed))
    return positions[sides.train], positions[sides.test]


@kernel
def _play_on(
    tables: Tables,
    positions: Positions,
    chosen: npt.NDArray[np.uint16],
    after: Positions,
) -> None:
    """Play one move in each position."""
    for index in range(positions.shape[0]):
        apply(tables, positions[index], chosen[index], after[index])


def teacher_rows(variant: Variant, solution: Solution, positions: Positions) -> GameRows:
    """Unfinished positions [N, R] with exact targets."""
    moves, offsets = generate_batch(variant.tables, positions)
    values, distances = solution.lookup_batch(positions)
    kept = solution.score_moves(positions, moves, offsets)[0] == np.repeat(values, np.diff(offsets))
    good = np.repeat(np.add.reduceat(kept.astype(np.int64), offsets[:-1]), np.diff(offsets))
    replies, endings = _best_line(variant, solution, positions, distances)
    return GameRows(
        positions=positions,
        offsets=offsets,
        moves=moves,
        policy=(kept / good).astype(np.float32),
        search_wdl=np.eye(3, dtype=np.float32)[1 - values],
        proven=values,
        outcomes=values.copy(),
        moves_left=distances,
        replies=replies,
        surprise=np.zeros(len(positions), np.float32),
        endings=endings,
        games=np.arange(len(positions), dtype=np.int32),
    )


def _optimal(
    solution: Solution,
    positions: Positions,
    moves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """[M] whether a move is best: it keeps the value by the shortest way, a loss by the longest."""
    values, distances = solution.score_moves(positions, moves, offsets)
    counts = np.diff(offsets)
    value = np.repeat(np.maximum.reduceat(values, offsets[:-1]), counts)
    # Between equal values a loser prefers the long way, anyone else the short one.
    haste = np.where(value < 0, distances, -distances).astype(np.int64)
    haste[values != value] = np.iinfo(np.int32).min
    most = np.repeat(np.maximum.reduceat(haste, offsets[:-1]), counts)
    best: npt.NDArray[np.bool_] = haste == most
    return best


def _best_line(
    variant: Variant,
    solution: Solution,
    positions: Positions,
    distances: npt.NDArray[np.int16],
) -> tuple[npt.NDArray[np.uint16], Positions]:
    """The reply [N] to the first best move, and the squares [N, S] where best play ends."""
    rows, left = positions.copy(), distances.astype(np.int64)
    replies = np.full(len(rows), NO_REPLY, np.uint16)
    ply = 0
    while (left > ply).any():
        unfinished = np.flatnonzero(left > ply)
        here = np.ascontiguousarray(rows[unfinished])
        moves, offsets = generate_batch(variant.tables, here)
        best = _optimal(solution, here, moves, offsets)
        # The first best move of each position.
        flat = np.where(best, np.arange(len(moves)), len(moves))
        chosen = moves[np.minimum.reduceat(flat, offsets[:-1])]
        after = np.empty_like(here)
        _play_on(variant.tables, here, chosen, after)
        rows[unfinished] = after
        if ply == 1:
            replies[unfinished] = chosen
        ply += 1
    return replies, rows[:, : variant.squares].copy()


@dataclass(kw_only=True)
class TeacherActor:
    """A source of positions (`actors.protocol.Source`): the next ones that the solver knows."""

    variant: Variant
    solution: Solution
    # Those that it draws from.
    positions: Positions
    seed: int
    # How many were drawn so far, in earlier sessions too.
    drawn: int
    # As in `shard_name`.
    game: int | None

    def prepare(self, request: SelfPlayRequest, chosen: str) -> str:
        """See `Source`: the solver needs no network."""
        return ""

    def play(self, request: SelfPlayRequest, progress: Progress) -> list[str]:
        """Write one shard; raises OSError."""
        places = np.arange(self.drawn, self.drawn + request.positions)
        self.drawn += request.positions
        epochs, turns = np.divmod(places, len(self.positions))
        chosen = np.concatenate(
            [self._shuffled(int(epoch))[turns[epochs == epoch]] for epoch in np.unique(epochs)]
        )
        rows = teacher_rows(self.variant, self.solution, self.positions[chosen])
        # After a kill the round has shards already.
        names = (shard_name(request.round, 0, part, self.game) for part in itertools.count())
        name = next(name for name in names if not (request.folder / name).exists())
        source = {"round": request.round, "actor": 0, "checkpoint": "solver"}
        save_games(request.folder / name, rows, self.variant, source)
        progress(len(rows))
        return [name]

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of the positions in an epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        return generator.permutation(len(self.positions))
