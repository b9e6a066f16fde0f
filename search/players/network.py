"""Players with a network: the raw policy, and tree searches that reuse their trees."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.history import hash_row
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from search.limits import Deadline
from search.mcts.batch import NO_MOVE, BatchSearch
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.search import SearchConfig, start_search
from search.mcts.tree import NODES_USED, ROOT, SIMULATIONS
from search.scores import UNPROVEN

MOST_SIMULATIONS: Final = 400_000
"""A search limited by time alone stops here, with a tree of some hundred megabytes."""
_FEWEST_IN_A_ROUND: Final = 16
_MOST_LEAVES_ALONE: Final = 16
_SIMULATIONS_A_LEAF: Final = 50
_MOST_PLIES: Final = 2
"""Plies between two choices of a player in one game: its own move and the answer."""


def leaves_alone(simulations: int) -> int:
    """Leaves at once for a single tree: a batch for the network, but few of all simulations."""
    return min(_MOST_LEAVES_ALONE, max(1, simulations // _SIMULATIONS_A_LEAF))


def is_endless(limits: Limits) -> bool:
    """Whether only the time or another thread ends the search."""
    # These players ignore a depth, but with one the search must end by itself.
    unbounded = limits.depth is None or limits.movetime is not None
    return limits.nodes is None and limits.timed and unbounded


def wanted_simulations(limits: Limits, own: int) -> int:
    """The number of simulations that the limits set, else `own`."""
    if limits.nodes is not None:
        return min(limits.nodes, MOST_SIMULATIONS)
    return MOST_SIMULATIONS if is_endless(limits) else own


def searched_choice(result: SearchResult, variation: list[int], game: int = 0) -> Choice:
    """The choice of a tree search in one of its games."""
    win, draw, loss = (float(part) for part in result.wdl[game])
    return Choice(
        move=variation[0],
        value=float(result.value[game]),
        wdl=(win, draw, loss),
        principal_variation=tuple(variation),
        nodes=int(result.simulations[game]),
    )


class PolicyPlayer(Player):
    """The move with the largest logit, without search."""

    name = "policy"
    deterministic = True

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the evaluator raises."""
        legal_moves(position)
        return self.choose_batch([position])[0]

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """See BatchPlayer."""
        rows = np.stack([position.row for position in positions])
        moves, offsets = generate_batch(positions[0].variant.tables, rows)
        evaluation = evaluate(self._evaluator, rows, moves, offsets)
        choices = []
        for game, (start, stop) in enumerate(itertools.pairwise(offsets.tolist())):
            move = int(moves[start + np.argmax(evaluation.logits[start:stop])])
            win, draw, loss = (float(part) for part in evaluation.wdl[game])
            choices.append(
                Choice(
                    move=move,
                    value=win - loss,
                    wdl=(win, draw, loss),
                    principal_variation=(move,),
                    nodes=1,
                )
            )
        return choices


_Game = tuple[int, ...]
"""Zobrist hashes of a game's positions, the current one last."""


class _KeptSearch:
    """A search and the games at its roots, so that their trees are found again some plies later."""

    def __init__(
        self, evaluator: Evaluator, config: SearchConfig, rng: np.random.Generator
    ) -> None:
        self._start: Callable[[Variant, Roots], BatchSearch] = lambda variant, roots: start_search(
            variant, roots, evaluator, config, rng
        )
        self._search: BatchSearch | None = None
        self._variant: Variant | None = None
        self._games: list[_Game] = []

    @contextlib.contextmanager
    def search_from(self, positions: Sequence[Position]) -> Iterator[BatchSearch]:
        """The search with these positions of one variant as roots, and their trees where known.

        A search that is interrupted between two steps, by an exception, is dropped.
        """
        variant, roots = positions[0].variant, Roots.from_positions(positions)
        games = [_hashes(position) for position in positions]
        search, self._search = self._search, None
        if search is None or variant is not self._variant:
            search = self._start(variant, roots)
        elif not (games == self._games and (search.roots.positions == roots.positions).all()):
            kept, moves = self._find(positions, games)
            if (kept < 0).all():
                search = self._start(variant, roots)
            else:
                if kept.tolist() != list(range(len(self._games))):
                    search.take(kept)
                search.advance(moves, roots)
        yield search
        self._search, self._variant, self._games = search, variant, games

    def _find(
        self, positions: Sequence[Position], games: list[_Game]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which kept game each position continues, -1 for none, and by which moves."""
        known: dict[_Game, list[int]] = {}
        for game in reversed(range(len(self._games))):
            known.setdefault(self._games[game], []).append(game)
        kept = np.full(len(positions), -1, dtype=np.int64)
        moves = np.full((len(positions), _MOST_PLIES), NO_MOVE, dtype=np.int64)
        for place, (position, hashes) in enumerate(zip(positions, games, strict=True)):
            played = position.move_stack[-_MOST_PLIES:]
            for plies in range(len(played), 0, -1):
                same = known.get(hashes[:-plies])
                if same:
                    kept[place] = same.pop()
                    moves[place, :plies] = played[-plies:]
                    break
        return kept, moves


def _hashes(position: Position) -> _Game:
    return (*position.hashes, int(hash_row(position.variant.tables, position.row)))


class TreePlayer(Player):
    """A player with a tree search: proven moves first, then as the search chooses.

    Within a game it reuses the tree of its last move. A tree is found by the whole game so far, so
    that another game reuses it only from the same moves; without noise the player counts as
    deterministic.
    """

    def __init__(
        self, evaluator: Evaluator, config: SearchConfig, rng: np.random.Generator
    ) -> None:
        """The configuration's `leaves` are for single games; others have one leaf a game."""
        if isinstance(config, PuctConfig):
            self.name, noise = f"mcts:{config.simulations}", config.noise_fraction
        else:
            self.name, noise = f"gumbel:{config.simulations}", config.gumbel_scale
        self.deterministic = noise == 0.0
        self._config = config
        self._single = _KeptSearch(evaluator, config, rng)
        self._batch = _KeptSearch(evaluator, replace(config, leaves=1), rng)

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the evaluator raises."""
        legal_moves(position)
        with Deadline(limits) as deadline, self._single.search_from([position]) as search:
            self._run(search, limits or Limits(), deadline.expired)
        return searched_choice(search.result(), search.principal_variation())

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """See BatchPlayer."""
        with self._batch.search_from(positions) as search:
            search.run()
        result = search.result()
        return [
            searched_choice(result, search.principal_variation(game), game)
            for game in range(len(positions))
        ]

    def _run(self, search: BatchSearch, limits: Limits, stop: Callable[[], bool]) -> None:
        """Run a search of one game, up to the simulations with which its tree is small enough."""
        counters = search.trees.counters[0]
        most = int(counters[SIMULATIONS] + max(1, MOST_SIMULATIONS - counters[NODES_USED]))
        own = self._config.simulations
        if not (isinstance(self._config, GumbelConfig) and is_endless(limits)):
            search.run(min(wanted_simulations(limits, own), most), stop)
            return
        # Sequential halving needs a fixed number: without one, each round doubles the last.
        wanted = max(_FEWEST_IN_A_ROUND, own)
        while wanted < most and search.trees.nodes[0, ROOT]["proven"] == UNPROVEN and not stop():
            search.run(wanted, stop)
            wanted *= 2
