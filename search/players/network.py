"""Players that search a tree with an evaluator, and keep what they know of their games."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.history import hash_row
from engine.rules.position import Position
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.limits import Deadline
from search.mcts.batch import NO_MOVE, BatchSearch
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.tree import NODES_USED, ROOT
from search.scores import UNPROVEN

MOST_SIMULATIONS: Final = 400_000
"""A tree that is bounded by time alone stops here: some hundred megabytes."""
_FEWEST_IN_A_ROUND: Final = 16
_MOST_LEAVES_ALONE: Final = 16
_SIMULATIONS_A_LEAF: Final = 50
_MOST_PLIES: Final = 2
"""Plies between two choices of a player in one game: its own move and the answer."""


def leaves_alone(simulations: int) -> int:
    """Leaves at a time for a single tree: a batch for the network, and few beside the whole."""
    return min(_MOST_LEAVES_ALONE, max(1, simulations // _SIMULATIONS_A_LEAF))


def is_endless(limits: Limits) -> bool:
    """Whether only the time or another thread ends the search."""
    # A depth means nothing to these players, but whoever names one waits for an end.
    unbounded = limits.depth is None or limits.movetime is not None
    return limits.nodes is None and limits.timed and unbounded


def wanted_simulations(limits: Limits, own: int) -> int:
    """How many simulations the limits ask for, `own` where they do not say."""
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


_Line = tuple[int, ...]
"""Zobrist hashes of a game's positions, the present one last."""
StartSearch = Callable[[Variant, Roots], BatchSearch]


class _HeldGames:
    """A search and the games that stand at its roots, to be found again some plies later."""

    def __init__(self, start: StartSearch) -> None:
        self._start = start
        self._search: BatchSearch | None = None
        self._variant: Variant | None = None
        self._lines: list[_Line] = []

    def forget(self) -> None:
        """Let go of a search that was broken off between two steps."""
        self._search = None

    def search_from(self, positions: Sequence[Position]) -> BatchSearch:
        """The search with these positions of one variant as roots, and what it knows of them."""
        variant, roots = positions[0].variant, Roots.from_positions(positions)
        lines = [_line_of(position) for position in positions]
        search = self._search
        if search is None or variant is not self._variant:
            search = self._start(variant, roots)
        elif not (lines == self._lines and (search.roots.positions == roots.positions).all()):
            games, moves = self._find(positions, lines)
            if (games < 0).all():
                search = self._start(variant, roots)
            else:
                if games.tolist() != list(range(len(self._lines))):
                    search.take(games)
                search.advance(moves, roots)
        self._search, self._variant, self._lines = search, variant, lines
        return search

    def _find(
        self, positions: Sequence[Position], lines: list[_Line]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which held game each position goes on, -1 for none, and by which moves."""
        held: dict[_Line, list[int]] = {}
        for game in reversed(range(len(self._lines))):
            held.setdefault(self._lines[game], []).append(game)
        games = np.full(len(positions), -1, dtype=np.int64)
        moves = np.full((len(positions), _MOST_PLIES), NO_MOVE, dtype=np.int64)
        for place, (position, line) in enumerate(zip(positions, lines, strict=True)):
            played = position.move_stack[-_MOST_PLIES:]
            for plies in range(len(played), 0, -1):
                same = held.get(line[:-plies])
                if same:
                    games[place] = same.pop()
                    moves[place, :plies] = played[-plies:]
                    break
        return games, moves


def _line_of(position: Position) -> _Line:
    return (*position.hashes, int(hash_row(position.variant.tables, position.row)))


class TreePlayer(Player):
    """A player with a tree search. Within a game it goes on with the tree of its last move.

    The tree is found by the line of the whole game, so that it is another game's only where that
    one had come to the same line; without noise the player counts as deterministic.
    """

    def __init__(self) -> None:
        """Nothing is known of any game yet."""
        self._alone = _HeldGames(lambda variant, roots: self._start(variant, roots, alone=True))
        self._together = _HeldGames(lambda variant, roots: self._start(variant, roots, alone=False))

    @abstractmethod
    def _start(self, variant: Variant, roots: Roots, *, alone: bool) -> BatchSearch:
        """A new search; `alone` is for a single game."""

    @abstractmethod
    def _think(self, search: BatchSearch, limits: Limits, stop: Callable[[], bool]) -> None:
        """Run a search of one game."""

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the evaluator raises."""
        legal_moves(position)
        limits = limits or Limits()
        with Deadline(limits) as deadline:
            try:
                search = self._alone.search_from([position])
                self._think(search, limits, deadline.expired)
            except BaseException:
                self._alone.forget()
                raise
        return searched_choice(search.result(), search.principal_variation())

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from games that are not over, all at once."""
        try:
            search = self._together.search_from(positions)
            search.run()
        except BaseException:
            self._together.forget()
            raise
        result = search.result()
        return [
            searched_choice(result, search.principal_variation(game), game)
            for game in range(len(positions))
        ]


def _room(search: BatchSearch) -> int:
    """Simulations that a tree of one game may still begin at its root."""
    return max(1, MOST_SIMULATIONS - int(search.trees.counters[0, NODES_USED]))


class MctsPlayer(TreePlayer):
    """PUCT with an evaluator: proven moves first, else the most visits. Noise is the config's."""

    def __init__(self, evaluator: Evaluator, config: PuctConfig, rng: np.random.Generator) -> None:
        """The configuration's `leaves` hold for a single game."""
        super().__init__()
        self.name = f"mcts:{config.simulations}"
        self.deterministic = config.noise_fraction == 0.0
        self._evaluator = evaluator
        self._config = config
        self._rng = rng

    def _start(self, variant: Variant, roots: Roots, *, alone: bool) -> BatchSearch:
        config = self._config if alone else replace(self._config, leaves=1)
        return PuctSearch(variant, roots, self._evaluator, config, self._rng)

    def _think(self, search: BatchSearch, limits: Limits, stop: Callable[[], bool]) -> None:
        wanted = wanted_simulations(limits, self._config.simulations)
        search.run(min(wanted, search.simulations() + _room(search)), stop)


class GumbelPlayer(TreePlayer):
    """Gumbel MCTS with an evaluator: proven moves first, else what the halvings leave."""

    def __init__(
        self, evaluator: Evaluator, config: GumbelConfig, rng: np.random.Generator
    ) -> None:
        """The configuration's `leaves` hold for a single game; its noise is played with, too."""
        super().__init__()
        self.name = f"gumbel:{config.simulations}"
        self.deterministic = config.gumbel_scale == 0.0
        self._evaluator = evaluator
        self._config = config
        self._rng = rng

    def _start(self, variant: Variant, roots: Roots, *, alone: bool) -> BatchSearch:
        config = self._config if alone else replace(self._config, leaves=1)
        return GumbelSearch(variant, roots, self._evaluator, config, self._rng)

    def _think(self, search: BatchSearch, limits: Limits, stop: Callable[[], bool]) -> None:
        """A round of halvings must know its end: without one, each round doubles the last."""
        if not is_endless(limits):
            wanted = wanted_simulations(limits, self._config.simulations)
            search.run(min(wanted, search.simulations() + _room(search)), stop)
            return
        most = search.simulations() + _room(search)
        wanted = max(_FEWEST_IN_A_ROUND, self._config.simulations)
        while wanted < most and search.trees.nodes[0, ROOT]["proven"] == UNPROVEN and not stop():
            search.run(wanted, stop)
            wanted *= 2
