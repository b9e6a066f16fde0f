"""Pawnscope as a library: an AlphaZero small enough to look inside.

    import pawnscope

    variant = pawnscope.get_variant("gardner")
    position = pawnscope.Position(variant)
    network = pawnscope.load_network(variant)
    print(pawnscope.evaluate(network, position))
    print(pawnscope.search(position, network, simulations=200).best)

Moves in these results are UCI texts. Everything below these functions is importable as well:
`engine`, `search` and `training` are documented in their READMEs. PyTorch is imported by the first
function that needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant, load_variants, variant_names
from pawnscope.games import Game, read_games
from search.evaluator import Evaluator, UniformEvaluator
from search.evaluator import evaluate as _evaluate
from search.exact.solution import Solution
from search.exact.solver import solve
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.roots import Roots

if TYPE_CHECKING:
    from engine.network.model.policy_value import PolicyValueNet
    from engine.probing.measure import ProbeConfig
    from engine.probing.report.cells import Report
    from training.run.monitor import Monitor, Summary

Value = TypeVar("Value", int, float)

__all__ = [
    "Game",
    "InputError",
    "Position",
    "PositionEvaluation",
    "PositionSearch",
    "Solution",
    "Variant",
    "evaluate",
    "get_variant",
    "load_network",
    "load_variants",
    "probe",
    "read_games",
    "search",
    "solve",
    "train",
    "variant_names",
]


@dataclass(frozen=True, kw_only=True)
class PositionEvaluation:
    """What a network says of a position, seen from the side to move."""

    # Probability of each legal move, most likely first.
    policy: Mapping[str, float]
    # Probabilities of win, draw and loss.
    wdl: tuple[float, float, float]

    @property
    def value(self) -> float:
        """Win minus loss, in [-1, 1]."""
        return self.wdl[0] - self.wdl[2]


@dataclass(frozen=True, kw_only=True)
class PositionSearch:
    """What a tree search found, seen from the side to move."""

    # Visits of each legal move, most visited first.
    visit_counts: Mapping[str, int]
    # Mean value of each of them in [-1, 1], exact where proven.
    q_values: Mapping[str, float]
    # The value of the position in [-1, 1].
    value: float
    # The expected line; its first move is the one to play.
    principal_variation: tuple[str, ...]

    @property
    def best(self) -> str:
        """The move to play."""
        return self.principal_variation[0]


def load_network(variant: Variant, checkpoint: str | Path | None = None) -> "PolicyValueNet":
    """The network of a checkpoint, in evaluation mode.

    `checkpoint` is a file or a run directory (its last checkpoint); None is the newest run of the
    variant under `runs/`, else the network that comes with Pawnscope. Raises InputError, OSError.
    """
    from engine.network.checkpoint import load_checkpoint
    from scripts.players import find_checkpoint

    path = find_checkpoint(None if checkpoint is None else str(checkpoint), variant)
    return load_checkpoint(path, variant=variant).network.eval()


def evaluate(network: "PolicyValueNet", position: Position) -> PositionEvaluation:
    """Evaluate a position without search.

    Raises InputError where the game is over or the network is one of another variant.
    """
    moves = _legal_moves(position)
    rows = position.row[None]
    found = _evaluate(
        _evaluator_of(network, position), rows, *generate_batch(position.variant.tables, rows)
    )
    exponentials = np.exp(found.logits - found.logits.max())
    policy = dict(zip(moves, (exponentials / exponentials.sum()).tolist(), strict=True))
    win, draw, loss = found.wdl[0].tolist()
    return PositionEvaluation(policy=_descending(policy), wdl=(win, draw, loss))


def search(
    position: Position, network: "PolicyValueNet | None" = None, *, simulations: int = 200
) -> PositionSearch:
    """Search a position by PUCT without noise; deterministic.

    Without a network every position counts as a draw with equal moves, until the game's end is
    found. Raises InputError where the game is over or the network is one of another variant.
    """
    moves = _legal_moves(position)
    evaluator = UniformEvaluator() if network is None else _evaluator_of(network, position)
    config = PuctConfig(simulations=simulations)
    roots = Roots.from_positions([position])
    # Without noise the generator is never used.
    tree = PuctSearch(position.variant, roots, evaluator, config, np.random.default_rng(0))
    tree.run()
    found = tree.result()
    visits = _descending(dict(zip(moves, found.visit_counts.tolist(), strict=True)))
    values = dict(zip(moves, found.q_values.tolist(), strict=True))
    walk, line = position.copy(), []
    for move in tree.principal_variation():
        line.append(walk.uci(move))
        walk.push(move)
    return PositionSearch(
        visit_counts=visits,
        q_values={move: values[move] for move in visits},
        value=float(found.value[0]),
        principal_variation=tuple(line),
    )


def train(
    variant: Variant | Sequence[Variant],
    run: str | Path,
    monitor: "Monitor | None" = None,
    **settings: Any,
) -> "Summary":
    """Train a network by self-play in the run's directory, or resume the run that is there.

    `settings` are fields of `training.config.TrainingConfig`, such as `minutes=2.0` or
    `self_play={"simulations": 32}`; others come from the variant's preset. `monitor` is called as
    training advances. Raises InputError, OSError.
    """
    from training.run.monitor import Monitor
    from training.run.setup import open_directory, open_run

    with (
        open_directory(Path(run), variant, settings) as directory,
        open_run(directory, variant, monitor or Monitor()) as opened,
    ):
        return opened.train()


def probe(
    run: str | Path,
    variant_name: str | None = None,
    *,
    positions: int = 12_000,
    config: "ProbeConfig | None" = None,
) -> "Report":
    """Probe what the first and the last network of a run, or one checkpoint, have learned.

    `variant_name` is needed where the networks play several variants. Write the result with
    `engine.probing.report.html.render_html`. Raises InputError, OSError.
    """
    from engine.probing.measure import ProbeConfig
    from scripts.commands.probe import probe_run

    return probe_run(Path(run), variant_name, positions=positions, config=config or ProbeConfig())


def _legal_moves(position: Position) -> list[str]:
    """UCI texts of the legal moves, in the order of the generator; raises InputError."""
    from engine.player import legal_moves

    return [position.uci(move) for move in legal_moves(position)]


def _evaluator_of(network: "PolicyValueNet", position: Position) -> Evaluator:
    from engine.network.inference.network_evaluator import NetworkEvaluator

    ours, theirs = position.variant.name, network.config.variant
    if theirs != ours:
        raise InputError(f"a network for {theirs} does not evaluate positions of {ours}")
    return NetworkEvaluator(network)


def _descending(values: Mapping[str, Value]) -> dict[str, Value]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))
