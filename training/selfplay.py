"""Self-play: many games at once, every move by a search, every position a lesson."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.rules.compilation import kernel
from engine.rules.kernels import (
    apply,
    generate,
    hash_row,
    repetitions,
    terminal_value,
    termination,
)
from engine.rules.tables import CLOCK, MAX_MOVES, REPETITION, SQUARES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.puct import PuctConfig, Roots, puct_search
from search.result import SearchResult
from search.tree import UNPROVEN
from training.config import SelfPlayConfig
from training.games import GameRows, join

_ONGOING = 2
"""Not a result: the game goes on."""


@kernel
def _play_moves(
    tables: Tables,
    positions: npt.NDArray[np.uint8],
    histories: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int64],
    moves: npt.NDArray[np.uint16],
    results: npt.NDArray[np.int8],
) -> None:
    """Play one move in each game; `results` says how it ended for the side then to move."""
    squares = tables[SQUARES]
    after = np.empty(positions.shape[1], np.uint8)
    scratch = np.empty(MAX_MOVES, np.uint16)
    for game in range(positions.shape[0]):
        row = positions[game]
        histories[game, lengths[game]] = hash_row(tables, row)
        lengths[game] += 1
        apply(tables, row, moves[game], after)
        seen = repetitions(
            histories[game], lengths[game], after[squares + CLOCK], hash_row(tables, after)
        )
        after[squares + REPETITION] = min(seen, 255)
        row[:] = after
        reason = termination(tables, row, generate(tables, row, scratch))
        results[game] = terminal_value(tables, reason, row) if reason else _ONGOING


@kernel
def _random_walk(
    tables: Tables,
    row: npt.NDArray[np.uint8],
    history: npt.NDArray[np.uint64],
    choices: npt.NDArray[np.float64],
) -> int:
    """Play `choices.size` moves, each the given share of the way through the legal ones; returns
    the number played, or -1 if the game ended on the way or at the end of it."""
    squares = tables[SQUARES]
    after = np.empty(row.shape[0], np.uint8)
    scratch = np.empty(MAX_MOVES, np.uint16)
    for ply in range(choices.shape[0] + 1):
        count = generate(tables, row, scratch)
        if termination(tables, row, count):
            return -1
        if ply < choices.shape[0]:
            history[ply] = hash_row(tables, row)
            apply(tables, row, scratch[int(choices[ply] * count)], after)
            seen = repetitions(history, ply + 1, after[squares + CLOCK], hash_row(tables, after))
            after[squares + REPETITION] = min(seen, 255)
            row[:] = after
    return len(choices)


@dataclass(frozen=True)
class _Ply:
    """What one game notes at one move."""

    position: npt.NDArray[np.uint8]
    moves: npt.NDArray[np.uint16]
    policy: npt.NDArray[np.float32]
    wdl: npt.NDArray[np.float32]
    proven: int


class SelfPlay:
    """Games in progress. A game that ends makes room for a new one at once.

    The same generator and the same evaluators give the same games.
    """

    def __init__(self, variant: Variant, config: SelfPlayConfig, rng: np.random.Generator) -> None:
        self._variant = variant
        self._config = config
        self._rng = rng
        self._search = PuctConfig(
            simulations=config.simulations, noise_fraction=config.noise_fraction
        )
        games = config.games
        longest = config.longest_game + config.opening_plies + 1
        self._positions = np.zeros((games, variant.row_size), dtype=np.uint8)
        self._histories = np.zeros((games, longest), dtype=np.uint64)
        self._lengths = np.zeros(games, dtype=np.int64)
        self._records: list[list[_Ply]] = [[] for _ in range(games)]
        for game in range(games):
            self._start(game)

    def _start(self, game: int) -> None:
        """A new game in this place, from the start position or after random moves."""
        config, rng = self._config, self._rng
        played = -1
        while played < 0:
            varied = config.opening_plies > 0 and rng.random() < config.varied_starts
            plies = int(rng.integers(1, config.opening_plies + 1)) if varied else 0
            self._positions[game] = self._variant.start_row
            played = _random_walk(
                self._variant.tables,
                self._positions[game],
                self._histories[game],
                rng.random(plies),
            )
        self._lengths[game] = played
        self._records[game] = []

    def play(
        self,
        evaluator: Evaluator,
        positions: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> GameRows:
        """Play on until finished games have brought so many positions; returns all their rows.

        `progress` is called with the positions that each finished game adds.
        """
        finished: list[GameRows] = []
        total = 0
        while total < positions:
            for rows in self.step(evaluator):
                finished.append(rows)
                total += len(rows)
                progress(len(rows))
        return join(finished)

    def step(self, evaluator: Evaluator) -> list[GameRows]:
        """One move in every game; returns the games that it ended."""
        roots = Roots(self._positions, self._histories, self._lengths)
        result = puct_search(self._variant, roots, evaluator, self._search, self._rng)
        moves = self._choose(result)
        for game, record in enumerate(self._records):
            part = slice(result.offsets[game], result.offsets[game + 1])
            record.append(
                _Ply(
                    self._positions[game].copy(),
                    result.moves[part],
                    result.policy[part],
                    result.wdl[game],
                    int(result.proven[game]),
                )
            )
        results = np.empty(len(moves), dtype=np.int8)
        _play_moves(
            self._variant.tables, self._positions, self._histories, self._lengths, moves, results
        )
        finished = []
        for game in range(len(moves)):
            if results[game] == _ONGOING and len(self._records[game]) < self._config.longest_game:
                continue
            value = 0 if results[game] == _ONGOING else int(results[game])
            finished.append(_label(self._records[game], value))
            self._start(game)
        return finished

    def _choose(self, result: SearchResult) -> npt.NDArray[np.uint16]:
        """A move for each game: drawn from the policy early on, the most likely one later."""
        moves = np.empty(len(self._records), dtype=np.uint16)
        draws = self._rng.random(len(self._records))
        for game, record in enumerate(self._records):
            part = slice(result.offsets[game], result.offsets[game + 1])
            policy = result.policy[part]
            if len(record) < self._config.temperature_plies:
                # "right", so that rounding never draws a move of share 0.
                shares = np.cumsum(policy)
                choice = int(np.searchsorted(shares, draws[game] * shares[-1], side="right"))
            else:
                choice = int(policy.argmax())
            moves[game] = result.moves[part][choice]
        return moves


def _label(record: list[_Ply], final_value: int) -> GameRows:
    """The rows of a finished game; `final_value` is for the side to move in its last position.

    The side to move changes at every ply, so the result changes sign from row to row: the last
    recorded position, one ply before the end, has the opposite sign.
    """
    length = len(record)
    plies_left = np.arange(length, 0, -1)
    signs = np.where(plies_left % 2 == 0, 1, -1)
    return GameRows(
        positions=np.stack([ply.position for ply in record]),
        offsets=np.cumsum([0] + [len(ply.moves) for ply in record]).astype(np.int64),
        moves=np.concatenate([ply.moves for ply in record]),
        policy=np.concatenate([ply.policy for ply in record]),
        search_wdl=np.stack([ply.wdl for ply in record]),
        proven=np.array([ply.proven for ply in record], dtype=np.int8),
        outcomes=(signs * final_value).astype(np.int8),
        moves_left=plies_left.astype(np.int16),
        games=np.zeros(length, dtype=np.int32),
    )


def value_targets(rows: GameRows, outcome_share: float) -> npt.NDArray[np.float32]:
    """WDL targets [N, 3]: proven values alone, else the result mixed with the search's WDL."""
    classes = np.eye(3, dtype=np.float32)
    known = rows.proven != UNPROVEN
    mixed = outcome_share * classes[1 - rows.outcomes] + (1 - outcome_share) * rows.search_wdl
    exact = classes[1 - np.where(known, rows.proven, 0)]
    targets: npt.NDArray[np.float32] = np.where(known[:, None], exact, mixed).astype(np.float32)
    return targets
