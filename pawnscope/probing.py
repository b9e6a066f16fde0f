"""Probing piece by piece, for notebooks and scripts; `pawnscope.probe` makes a whole report.

    import pawnscope as ps
    from pawnscope import probing

    net, solution = ps.load("runs/hexapawn"), ps.solve("hexapawn")
    rows = solution.exact.unfinished_positions()
    print(probing.lens(net, rows, solution))

The network comes first, then one position, a list of them, or rows uint8[N, R]. Exact values come
from a `Solution`. A torch module does in place of a `Network`. This module imports PyTorch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import PolicyValueNet, VariantNetwork
from engine.probing import fit_probe as _fitting
from engine.probing.activations.capture import Readout
from engine.probing.activations.capture import capture as _capture
from engine.probing.analyses import attention as _attention
from engine.probing.analyses import lens as _lens
from engine.probing.analyses.attention import AttentionScores
from engine.probing.analyses.lens import Lens
from engine.probing.analyses.positions.move_table import MoveTruth
from engine.probing.concepts.registry import Concept, concept, registered_concepts
from engine.probing.concepts.truth import Truth
from engine.probing.data.samples import Sample
from engine.probing.fit_probe import FittedProbe
from engine.probing.report.results import CheckpointSummary, Report
from engine.probing.surface import measure as _measure
from engine.probing.surface.config import ProbeConfig
from engine.rules.errors import InputError
from engine.rules.position import Position
from pawnscope.networks import Network
from pawnscope.positions import Batch, Positions
from pawnscope.solutions import Solution
from training.evaluation.labels.exact import SolutionTruth

AnyNetwork: TypeAlias = Network | PolicyValueNet
AnyPositions: TypeAlias = Position | Positions

__all__ = [
    "Concept",
    "ProbeConfig",
    "attention_scores",
    "capture",
    "concept",
    "fit_probe",
    "lens",
    "registered_concepts",
    "surface",
]


def capture(
    network: AnyNetwork,
    positions: AnyPositions,
    points: Sequence[str],
    *,
    readout: Readout = "mean+max",
) -> dict[str, npt.NDArray[np.float32]]:
    """Activations at hook points, read out to one vector a position: float32[N, W] by point.

        >>> import pawnscope as ps
        >>> from pawnscope import probing
        >>> net, position = ps.load("gardner"), ps.Position("gardner")
        >>> features = probing.capture(net, [position, position], ["embed", "block.2.residual"])
        >>> features["block.2.residual"].shape
        (2, 128)

    `readout` is "mean+max" over the squares, "mean", or "squares" for all of them side by side.
    Raises InputError for an unknown point and for what is no position of the network's variant.
    """
    module, batch = _both(network, positions)
    return _capture(_ordinary(module), batch.rows, points, readout=readout)


def lens(
    network: AnyNetwork,
    positions: AnyPositions,
    truth: Solution | MoveTruth | None = None,
    **settings: Any,
) -> Lens:
    """The logit lens: what the heads would say after each layer, and forgotten solutions.

        >>> import pawnscope as ps
        >>> from pawnscope import probing
        >>> solution = ps.solve("hexapawn")
        >>> rows = solution.exact.unfinished_positions()
        >>> found = probing.lens(ps.load("runs/hexapawn"), rows, solution)
        >>> print(found)
        logit lens of 70 positions of hexapawn, ... of them decisions
        ...
        >>> found.layers[-1].agreement.value            # the last layer is the output
        1.0

    `settings`: resamples, confidence, seed. Raises InputError for finished positions.
    """
    module, batch = _both(network, positions)
    return _lens.lens(module, batch.rows, _truth(truth), variant=batch.variant, **settings)


def attention_scores(
    network: AnyNetwork,
    positions: AnyPositions,
    truth: Solution | MoveTruth | None = None,
    **settings: Any,
) -> AttentionScores:
    """Where each attention head looks: along files, ranks, diagonals, steps and best moves.

        >>> import pawnscope as ps
        >>> from pawnscope import probing
        >>> solution = ps.solve("hexapawn")
        >>> rows = solution.exact.unfinished_positions()
        >>> found = probing.attention_scores(ps.load("runs/hexapawn"), rows, solution)
        >>> print(found)
        attention on 70 positions of hexapawn: excess over uniform, ...
        >>> found.of("file")[0].relation
        'file'

    `settings`: untrained, resamples, confidence, seed. A residual tower has no attention, and the
    result says so. Raises InputError for finished positions.
    """
    module, batch = _both(network, positions)
    return _attention.attention_scores(
        module, batch.rows, _truth(truth), variant=batch.variant, **settings
    )


def fit_probe(
    network: AnyNetwork,
    positions: AnyPositions,
    labels: Concept | str | npt.ArrayLike,
    layer: str,
    **settings: Any,
) -> FittedProbe:
    """One linear probe for one concept, beside raw input and untrained networks.

        >>> import pawnscope as ps
        >>> from pawnscope import probing
        >>> rows = ps.solve("hexapawn4x3").exact.unfinished_positions()[:800]
        >>> net = ps.load(ps.train("hexapawn4x3", minutes=0.02).path)
        >>> fitted = probing.fit_probe(net, rows, "mobility", "block.0.residual", untrained=(1, 2))
        >>> fitted                                      # doctest: +ELLIPSIS
        R² 0... held-out rows; guessing ...; raw input 0..., untrained networks 0...

    `labels` are a concept, its name, or labels [N], then with `kind`. `settings` are those of
    `engine.probing.fit_probe.fit_probe`. Raises InputError.
    """
    module, batch = _both(network, positions)
    asked = _named(labels) if isinstance(labels, str) else labels
    return _fitting.fit_probe(
        _ordinary(module), asked, rows=batch.rows, variant=batch.variant, layer=layer, **settings
    )


def surface(
    networks: Mapping[str, AnyNetwork],
    positions: AnyPositions,
    concepts: Sequence[Concept | str],
    truth: Solution | Truth | None = None,
    config: ProbeConfig | None = None,
) -> Report:
    """Every concept at every layer of several networks of one build, with all controls.

        >>> import pawnscope as ps
        >>> from pawnscope import probing
        >>> rows = ps.solve("hexapawn4x3").exact.unfinished_positions()[:800]
        >>> settings = probing.ProbeConfig(layers=("embed", "final"), random_networks=2)
        >>> nets = {"last": ps.load(ps.train("hexapawn4x3", minutes=0.02).path)}
        >>> report = probing.surface(nets, rows, ["mobility", "material"], config=settings)
        >>> len(report.cells)                           # concepts x layers x networks
        4

    `networks` by name, in the order of training. Raises InputError.
    """
    if not networks:
        raise InputError("no network to probe")
    both = [_both(network, positions) for network in networks.values()]
    batch = both[0][1]
    subjects = [
        _measure.Subject(
            summary=CheckpointSummary(name=name, role="", step=None),
            load=lambda module=module: _ordinary(module),  # type: ignore[misc]
        )
        for name, (module, _) in zip(networks, both, strict=True)
    ]
    exact = SolutionTruth(truth.exact) if isinstance(truth, Solution) else truth
    return _measure.surface(
        [("networks", subjects)],
        Sample.from_rows(batch.rows, batch.variant, source=f"{len(batch.rows):,} given positions"),
        [_named(each) if isinstance(each, str) else each for each in concepts],
        batch.variant,
        config=config,
        truth=exact,
    )


def _both(network: AnyNetwork, positions: AnyPositions) -> tuple[VariantNetwork, Batch]:
    """The network for the positions' variant, and the positions."""
    wrapped = network if isinstance(network, Network) else Network(network)
    batch = wrapped._batch(positions)
    return wrapped._on(batch.variant), batch


def _ordinary(module: VariantNetwork) -> PolicyValueNet:
    """A network with weights of its own, as untrained ones are compared with."""
    if not isinstance(module, PolicyValueNet):
        raise InputError(
            "a network for several variants: ps.load(..., variant=NAME) takes it for one alone"
        )
    return module


def _truth(truth: Solution | MoveTruth | None) -> MoveTruth | None:
    return SolutionTruth(truth.exact) if isinstance(truth, Solution) else truth


def _named(name: str) -> Concept:
    found = {each.name: each for each in registered_concepts()}
    if name not in found:
        import difflib

        near = " or ".join(difflib.get_close_matches(name, found, n=3))
        raise InputError(f"unknown concept '{name}'" + (f" (did you mean {near}?)" if near else ""))
    return found[name]
