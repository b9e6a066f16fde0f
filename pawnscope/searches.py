"""Tree search from Python: one `SearchResult`, or many as arrays.

Values and probabilities of win, draw and loss are seen from the side to move at the root.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from engine.settings import quoted
from pawnscope.evaluations import Wdl, title, title_of_several
from pawnscope.networks import Network
from pawnscope.positions import Batch, Positions, Rows, batch_of, place_of
from pawnscope.tables import counted, share_text, table, value_text, wdl_text
from pawnscope.threads import torch_threads_for
from search.evaluator import Evaluator, UniformEvaluator
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.result import SearchResult as TreeResult
from search.mcts.roots import Roots
from search.mcts.tree import ROOT
from search.scores import UNPROVEN

Proven: TypeAlias = Literal["win", "draw", "loss"]
_PROVEN: Final[dict[int, Proven]] = {1: "win", 0: "draw", -1: "loss"}
UNKNOWN_DISTANCE: Final = -1
"""In `SearchResults.distances`."""


@dataclass(frozen=True, kw_only=True)
class SearchedMove:
    """A legal move of a position that was searched."""

    # As in a game score, e.g. "Nxc3+".
    san: str
    # From-square and to-square, e.g. "b1c3".
    uci: str
    # The engine's number, for `Position.push`.
    move: int
    # Simulations through it.
    visits: int
    # Its mean value in [-1, 1] for the side that makes it, exact where proven; that of the position
    # where it was not tried.
    q: float
    # The network's probability.
    prior: float
    # What it is proven to be for the side that makes it; None where that is open.
    proven: Proven | None
    # Plies to the end of the game along the proof of a win or loss, itself counted.
    distance: int | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SearchResult:
    """What a search found in one position, seen from the side to move.

        >>> import pawnscope as ps
        >>> found = ps.search(None, ps.Position("hexapawn"), simulations=2000)
        >>> found
        hexapawn, White to move: proven loss in 6 plies, 53 simulations
          move   uci  visits       q   prior           proven
          b2    b1b2      25  -1.000  33.3 %  loss in 6 plies
          a2    a1a2      14  -1.000  33.3 %  loss in 4 plies
          c2    c1c2      14  -1.000  33.3 %  loss in 4 plies
          line: b2 axb2 cxb2 c2 a2 c1#
        >>> found.value, found.proven, found.distance, found.best
        (-1.0, 'loss', 6, 'b2')

    It prints as a table.
    """

    # The position; a copy.
    position: Position
    # Simulations that were run: fewer than asked for where the value was proven before.
    simulations: int
    # Mean of all evaluations as probabilities of win, draw and loss; exact where proven.
    wdl: Wdl
    # The legal moves: the one to play, then by visits.
    moves: tuple[SearchedMove, ...]
    # What the position is proven to be for the side to move; None where that is open.
    proven: Proven | None
    # Plies to the end of the game along the proof of a win or loss.
    distance: int | None
    # The expected line in SAN; its first move is the one to play.
    principal_variation: tuple[str, ...]

    @property
    def value(self) -> float:
        """Win minus loss in [-1, 1], exact where proven."""
        return self.wdl.win - self.wdl.loss

    @property
    def best(self) -> str:
        """The move to play, as SAN."""
        return self.moves[0].san

    @property
    def visits(self) -> Mapping[str, int]:
        """Visits of each legal move by SAN, in the order of `moves`."""
        return {move.san: move.visits for move in self.moves}

    @property
    def q_values(self) -> Mapping[str, float]:
        """Mean value of each legal move by SAN, in the order of `moves`."""
        return {move.san: move.q for move in self.moves}

    def __repr__(self) -> str:
        known = _proof_text(self.proven, self.distance)
        verdict = (
            f"proven {known}" if known else f"value {value_text(self.value)} ({wdl_text(self.wdl)})"
        )
        lines = [
            (
                move.san,
                move.uci,
                f"{move.visits:,}",
                value_text(move.q),
                share_text(move.prior),
                _proof_text(move.proven, move.distance),
            )
            for move in self.moves
        ]
        head = ("move", "uci", "visits", "q", "prior", "proven")
        return (
            f"{title(self.position)}: {verdict}, {counted(self.simulations, 'simulation')}\n"
            f"{table(head, lines, len(lines))}\n"
            f"  line: {' '.join(self.principal_variation)}"
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SearchResults:
    """What a search found in B positions with M legal moves in all.

        >>> import pawnscope as ps
        >>> start = ps.Position("hexapawn")
        >>> after = start.copy()
        >>> move = after.push_text("a2")
        >>> found = ps.search(None, [start, after], simulations=2000)
        >>> found.values
        array([-1.,  1.], dtype=float32)
        >>> found.is_proven
        array([ True,  True])
        >>> found[1].best
        'bxa2'

    `found[i]` is the `SearchResult` of position i. It prints as a table.
    """

    batch: Batch
    # What the trees hold: `moves`, `visit_counts`, `q_values`, `priors` and more, each [M], with
    # `offsets` [B + 1].
    trees: TreeResult
    # [B] plies to the end along the proof of a win or loss, else UNKNOWN_DISTANCE.
    distances: npt.NDArray[np.int16]
    # Expected lines of move numbers, one for each position.
    lines: tuple[tuple[int, ...], ...]

    @property
    def variant(self) -> Variant:
        """Of all positions."""
        return self.batch.variant

    @property
    def rows(self) -> Rows:
        """The positions, uint8[B, R]."""
        return self.batch.rows

    @property
    def wdl(self) -> npt.NDArray[np.float32]:
        """[B, 3] mean of all evaluations; exact where proven."""
        return self.trees.wdl

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """[B] win minus loss in [-1, 1], exact where proven."""
        return self.trees.value

    @property
    def is_proven(self) -> npt.NDArray[np.bool_]:
        """[B] whether the value is exact."""
        return np.not_equal(self.trees.proven, UNPROVEN)

    @property
    def best(self) -> tuple[str, ...]:
        """The moves to play, as SAN."""
        return tuple(found.best for found in self)

    def __len__(self) -> int:
        return len(self.trees.value)

    def __getitem__(self, index: int) -> SearchResult:
        index = place_of(index, len(self))
        position = self.batch.position(index).copy()
        moves = [
            self._move(position, place)
            for place in range(*self.trees.offsets[index : index + 2].tolist())
        ]
        chosen = self.lines[index][0]
        moves.sort(key=lambda each: (each.move != chosen, -each.visits))
        distance = int(self.distances[index])
        return SearchResult(
            position=position,
            simulations=int(self.trees.simulations[index]),
            wdl=Wdl(*self.wdl[index].tolist()),
            moves=tuple(moves),
            proven=_PROVEN.get(int(self.trees.proven[index])),
            distance=None if distance == UNKNOWN_DISTANCE else distance,
            principal_variation=_line(position, self.lines[index]),
        )

    def _move(self, position: Position, place: int) -> SearchedMove:
        trees = self.trees
        move, proven = int(trees.moves[place]), int(trees.proven_moves[place])
        return SearchedMove(
            san=position.san(move),
            uci=position.uci(move),
            move=move,
            visits=int(trees.visit_counts[place]),
            q=float(trees.q_values[place]),
            prior=float(trees.priors[place]),
            proven=_PROVEN.get(proven),
            distance=int(trees.distances[place]) if abs(proven) == 1 else None,
        )

    def __iter__(self) -> Iterator[SearchResult]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        lines = (
            (
                str(place),
                value_text(found.value),
                _proof_text(found.proven, found.distance),
                f"{found.simulations:,}",
                found.best,
            )
            for place, found in enumerate(self)
        )
        head = ("position", "value", "proven", "simulations", "best")
        return f"{title_of_several(self.batch)}\n{table(head, lines, len(self))}"


@overload
def search(
    network: Network | None, positions: Position, *, simulations: int = 200
) -> SearchResult: ...


@overload
def search(
    network: Network | None, positions: Positions, *, simulations: int = 200
) -> SearchResults: ...


def search(
    network: Network | None, positions: Position | Positions, *, simulations: int = 200
) -> SearchResult | SearchResults:
    """Search by PUCT without noise; deterministic. Several positions are searched together.

        >>> import pawnscope as ps
        >>> found = ps.search(ps.load("gardner"), ps.Position("gardner"), simulations=50)
        >>> sum(found.visits.values()), found.principal_variation[0] == found.best
        (50, True)

    Positions are one `Position`, several of one variant, or rows uint8[N, R], as one batch of
    trees. The games that led to Positions count for repetitions. Without a network (None) every
    position counts as a draw with equal moves until the end of the game is found.

    Raises InputError where a game is over, for another variant's positions and for none, and
    SettingError for a negative number of simulations.
    """
    if not isinstance(network, Network | None):
        raise _no_network(network)
    batch = batch_of(positions, None if network is None else network.variant, "the network")
    batch.legal_moves()
    evaluator: Evaluator = (
        UniformEvaluator() if network is None else network.evaluator(batch.variant)
    )
    config = PuctConfig(simulations=_simulations(simulations))
    if network is None:
        found = _search(batch, evaluator, config)
    else:
        with torch_threads_for(len(batch.rows)):
            found = _search(batch, evaluator, config)
    return found[0] if batch.single else found


def _simulations(value: object) -> int:
    """The number as Python's own; other things are for the settings to judge."""
    from search.players.network import MOST_SIMULATIONS

    number: Any = int(value) if isinstance(value, np.integer) else value
    if isinstance(number, int) and number > MOST_SIMULATIONS:
        raise InputError(f"simulations = {number} is more than {MOST_SIMULATIONS:,}")
    return number  # type: ignore[no-any-return]


def _search(batch: Batch, evaluator: Evaluator, config: PuctConfig) -> SearchResults:
    """As many trees at once as memory is given for; no tree depends on the others."""
    from search.players.network import MOST_SIMULATIONS

    roots, parts = batch.roots(), []
    distances, lines = [], []
    at_once = max(1, MOST_SIMULATIONS // (config.simulations + 1))
    for start in range(0, len(batch.rows), at_once):
        some = Roots._make(array[start : start + at_once] for array in roots)
        # Without noise the generator is never used.
        tree = PuctSearch(batch.variant, some, evaluator, config, np.random.default_rng(0))
        tree.run()
        parts.append(tree.result())
        distances.append(tree.trees.nodes[:, ROOT]["distance"].copy())
        lines += [tuple(tree.principal_variation(game)) for game in range(len(some.positions))]
    trees = _joined(parts)
    decided = np.abs(trees.proven) == 1
    return SearchResults(
        batch=batch,
        trees=trees,
        distances=np.where(decided, np.concatenate(distances), UNKNOWN_DISTANCE).astype(np.int16),
        lines=tuple(lines),
    )


def _joined(parts: Sequence[TreeResult]) -> TreeResult:
    """The results of several batches of trees as those of one."""
    if len(parts) == 1:
        return parts[0]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(TreeResult)
        if field.name != "offsets"
    }
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return TreeResult(offsets=np.concatenate([[0], np.cumsum(counts)]), **arrays)


def _no_network(network: object) -> InputError:
    if isinstance(network, Position) or (
        isinstance(network, Sequence) and not isinstance(network, str)
    ):
        return InputError(
            f"search(network, positions): the network comes first, not {quoted(network)}"
        )
    return InputError(
        f"search(network, positions): a Network or None is expected, not {quoted(network)}"
        f" ({type(network).__name__})"
    )


def _line(position: Position, moves: Sequence[int]) -> tuple[str, ...]:
    walk, line = position.copy(), []
    for move in moves:
        line.append(walk.san(move))
        walk.push(move)
    return tuple(line)


def _proof_text(proven: Proven | None, distance: int | None) -> str:
    if proven is None or distance is None:
        return proven or ""
    return f"{proven} in {distance} {'ply' if distance == 1 else 'plies'}"
