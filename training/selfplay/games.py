"""Self-play: many games at once, every move by a search.

All games move together. With playout-cap randomisation (KataGo: Wu 2019, section 3.1) one coin a
step decides for all games: each ply of each game has the same chance as with a coin for each game,
and no batch runs half empty because some games search less than others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.history import push
from engine.rules.kernels import generate
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import CLOCK, ENDGAMES, MAX_MOVES, SIDE, SQUARES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.exact.tablebase.probe import probe, repetition_is_near
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.search import SearchConfig, tree_search
from search.scores import LONGEST, NO_SCORE
from training.config import SelfPlayConfig
from training.data.shards import GameRows, join
from training.selfplay.recording import Recorder

UNFINISHED: Final = 2
"""Instead of a result."""
_RESIGN_TURNS: Final = 2
"""Turns in a row with a lost value after which a side resigns."""


@kernel
def play_moves(
    tables: Tables,
    positions: Array2D[np.uint8],
    histories: Array2D[np.uint64],
    lengths: npt.NDArray[np.int64],
    moves: npt.NDArray[np.uint16],
) -> npt.NDArray[np.int8]:
    """Play one move in each game, in place: positions [G, R], histories [G, H], their lengths [G].

    Returns the results [G] for the side then to move, or UNFINISHED.
    """
    results = np.empty(positions.shape[0], np.int8)
    legal, scratch = np.empty(MAX_MOVES, np.uint16), np.empty(positions.shape[1], np.uint8)
    for game in range(positions.shape[0]):
        row = positions[game]
        push(tables, row, np.int64(moves[game]), histories[game], lengths[game], scratch)
        lengths[game] += 1
        reason = termination(tables, row, generate(tables, row, legal))
        results[game] = terminal_value(tables, reason, row) if reason else UNFINISHED
    return results


@kernel
def _look_up_results(
    tables: Tables,
    positions: Array2D[np.uint8],
    histories: Array2D[np.uint64],
    lengths: npt.NDArray[np.int64],
    results: npt.NDArray[np.int8],
) -> None:
    """Write the result of every unfinished game whose position the endgame tables know.

    A win that a repetition of an earlier position may turn into a draw is played on.
    """
    for game in range(positions.shape[0]):
        if results[game] != UNFINISHED:
            continue
        score = probe(tables, positions[game])
        if score == NO_SCORE:
            continue
        clock = int(np.int64(positions[game, tables[SQUARES] + CLOCK]))
        value = 1 if score > LONGEST else -1 if score < -LONGEST else 0
        if value == 0 or not repetition_is_near(tables, histories[game], lengths[game], clock):
            results[game] = value


@kernel
def _random_walk(
    tables: Tables,
    row: npt.NDArray[np.uint8],
    history: npt.NDArray[np.uint64],
    choices: npt.NDArray[np.float64],
) -> int:
    """Play `choices.size` moves, move i the legal one at the share `choices[i]` of their list;
    returns the number played, or -1 if the game ended."""
    legal, scratch = np.empty(MAX_MOVES, np.uint16), np.empty(row.shape[0], np.uint8)
    for ply in range(choices.shape[0] + 1):
        count = generate(tables, row, legal)
        if termination(tables, row, count):
            return -1
        if ply < choices.shape[0]:
            move = np.int64(legal[int(choices[ply] * count)])
            push(tables, row, move, history, ply, scratch)
    return len(choices)


def _begin(
    variant: Variant,
    config: SelfPlayConfig,
    row: npt.NDArray[np.uint8],
    history: npt.NDArray[np.uint64],
    rng: np.random.Generator,
) -> int:
    """Set up a game, from the start position or after random moves; returns how many."""
    played = -1
    while played < 0:
        varied = config.opening_plies > 0 and rng.random() < config.varied_starts
        plies = int(rng.integers(1, config.opening_plies + 1)) if varied else 0
        row[:] = variant.start_row
        played = _random_walk(variant.tables, row, history, rng.random(plies))
    return played


def start_games(
    variant: Variant, config: SelfPlayConfig, games: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Positions [G, R], histories [G, H] and their lengths [G], as self-play begins its games."""
    longest = config.longest_game + config.opening_plies + 1
    positions = np.zeros((games, variant.row_size), dtype=np.uint8)
    histories = np.zeros((games, longest), dtype=np.uint64)
    lengths = np.zeros(games, dtype=np.int64)
    for game in range(games):
        lengths[game] = _begin(variant, config, positions[game], histories[game], rng)
    return positions, histories, lengths


@kernel
def _choose_moves(
    offsets: npt.NDArray[np.int64],
    policy: npt.NDArray[np.float32],
    drawn: npt.NDArray[np.bool_],
    draws: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """The index [G] of each game's move in all moves: drawn in proportion to the policy, or the
    most likely one."""
    choices = np.empty(drawn.shape[0], np.int64)
    for game in range(drawn.shape[0]):
        start, end = offsets[game], offsets[game + 1]
        best, total = start, 0.0
        for index in range(start, end):
            total += policy[index]
            if policy[index] > policy[best]:
                best = index
        choices[game] = best
        if not drawn[game]:
            continue
        left = draws[game] * total
        for index in range(start, end):
            left -= policy[index]
            # Moves of share 0 are never drawn; after rounding at the end the most likely one stays.
            if left < 0.0:
                choices[game] = index
                break
    return choices


@dataclass(kw_only=True)
class Statistics:
    """Counts of self-play since the last shard."""

    # Moves played in all games, recorded or not.
    plies: int = 0
    # Simulations of their searches.
    simulations: int = 0
    # Games in which a side resigned.
    resigned: int = 0
    # Games in which a side would have resigned, but which were played on as a check.
    checked: int = 0
    # Of these, the games that it did not lose.
    wrong: int = 0


class SelfPlay:
    """Games in progress. A game that ends is replaced by a new one at once.

    The same generator and the same evaluators give the same games.
    """

    def __init__(self, variant: Variant, config: SelfPlayConfig, rng: np.random.Generator) -> None:
        self._variant = variant
        self._config = config
        self._rng = rng
        # Simulations of a full search from now on.
        self.simulations = config.simulations
        self.statistics = Statistics()
        games = config.games
        self._positions, self._histories, self._lengths = start_games(variant, config, games, rng)
        self._recorder = Recorder(games, config.longest_game, variant.row_size)
        # Turns in a row in which each side's value was lost; games in which nobody resigns.
        self._lost = np.zeros((games, 2), dtype=np.int64)
        self._plays_on = np.zeros(games, dtype=np.bool_)
        # In these, the result of a resignation, for the side to move at the next ply; 0 for none.
        self._expected = np.zeros(games, dtype=np.int8)
        if self._resigns:
            self._plays_on = rng.random(games) < config.resign_play_on

    def _start(self, game: int) -> None:
        """Begin a new game at this index."""
        self._lengths[game] = _begin(
            self._variant, self._config, self._positions[game], self._histories[game], self._rng
        )
        self._recorder.start(game)
        self._lost[game] = 0
        self._expected[game] = 0
        if self._resigns:
            self._plays_on[game] = self._rng.random() < self._config.resign_play_on

    @property
    def _resigns(self) -> bool:
        return self._config.resign_below > -1.0

    def play(
        self,
        evaluator: Evaluator,
        positions: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> GameRows:
        """Play until finished games have so many positions; returns all their rows.

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
        """One move in every game; returns the games that it ended, those with rows.

        Where the variant's tables hold endgames, a game ends in the first position that they know,
        with its value: a search with only winning moves need not make progress.
        """
        config = self._config
        full = config.full_share >= 1.0 or bool(self._rng.random() < config.full_share)
        result = self._search(evaluator, full)
        moves = self._choose(result, full)
        self._recorder.note(self._positions, result, moves, rows=full)
        resigned = self._resign(result) if self._resigns else np.zeros(len(moves), dtype=np.bool_)
        tables = self._variant.tables
        results = play_moves(tables, self._positions, self._histories, self._lengths, moves)
        whole = results != UNFINISHED
        if tables[ENDGAMES]:
            _look_up_results(tables, self._positions, self._histories, self._lengths, results)
        # The side that resigned was to move before.
        results[resigned & (results == UNFINISHED)] = 1
        self._expected *= -1
        self.statistics.plies += len(moves)
        self.statistics.simulations += int(result.simulations.sum())
        self.statistics.resigned += int(resigned.sum())
        over = (results != UNFINISHED) | (self._recorder.plies >= config.longest_game)
        finished = [
            self._finish(int(game), int(results[game]), whole=bool(whole[game]))
            for game in np.flatnonzero(over)
        ]
        return [rows for rows in finished if len(rows)]

    def _search(self, evaluator: Evaluator, full: bool) -> SearchResult:
        """A full search explores; a fast one plays as well as it can."""
        config = self._config
        roots = Roots(self._positions, self._histories, self._lengths)
        simulations = self.simulations if full else min(config.fast_simulations, self.simulations)
        if config.search == "gumbel":
            search: SearchConfig = GumbelConfig(
                simulations=simulations,
                considered=config.considered,
                c_scale=config.c_scale,
                gumbel_scale=1.0 if full else 0.0,
            )
        else:
            search = PuctConfig(
                simulations=simulations,
                noise_fraction=config.noise_fraction if full else 0.0,
                root_temperature=config.root_temperature if full else 1.0,
                forced_playouts=config.forced_playouts if full else 0.0,
            )
        return tree_search(self._variant, roots, evaluator, search, self._rng)

    def _choose(self, result: SearchResult, full: bool) -> npt.NDArray[np.uint16]:
        """A move for each game: drawn from the policy early on, the most likely one later.

        A full Gumbel search has drawn its move by its noise (Danihelka et al. 2022, section 3).
        """
        drawn = self._recorder.plies < self._config.temperature_plies
        draws = self._rng.random(len(drawn))
        choices = _choose_moves(result.offsets, result.policy, drawn, draws)
        if full and self._config.search == "gumbel":
            choices = np.where(drawn, result.offsets[:-1] + result.choices, choices)
        moves: npt.NDArray[np.uint16] = result.moves[choices]
        return moves

    def _resign(self, result: SearchResult) -> npt.NDArray[np.bool_]:
        """The games [G] in which the side to move resigns; notes those in which it only would."""
        games = np.arange(len(self._positions))
        side = self._positions[:, self._variant.squares + SIDE]
        lost = result.value < self._config.resign_below
        self._lost[games, side] = np.where(lost, self._lost[games, side] + 1, 0)
        would = self._lost[games, side] >= _RESIGN_TURNS
        noted = would & self._plays_on & (self._expected == 0)
        self._expected[noted] = -1
        resigns: npt.NDArray[np.bool_] = would & ~self._plays_on
        return resigns

    def _finish(self, game: int, result: int, *, whole: bool) -> GameRows:
        """The rows of a game that is over, `whole` if by the rules; begins a new one."""
        value = 0 if result == UNFINISHED else result
        ending = self._positions[game, : self._variant.squares]
        rows = self._recorder.take(game, value, ending, whole=whole)
        if self._expected[game]:
            self.statistics.checked += 1
            self.statistics.wrong += value != self._expected[game]
        self._start(game)
        return rows
