"""Networks in which a concept was put by hand: what a probe must find there is known.

    direction   a block writes the concept into one direction of the stream, where it stays
    layer       the next block takes it out again
    unused      it stays, and no head reads it: the outputs are those of the network without it
    absent      the block writes a count of pieces in its place, which raw input tells as well

A planted network is a freshly initialised one (`features.untrained_networks`) in which a few units
of a block are replaced. They compute, on every square, whether a pattern (`patterns.py`) is there:
an AND, which no linear function of the board is. So raw input and untrained networks cannot know
it, and the whole path from positions to cells is tested: capture, readout, probe, controls.

Nothing else writes into the direction, and no other unit of a block reads it. The rest of the
stream is what an untrained network has, so that the layers without the concept have none to find.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept
from engine.probing.controls.features import untrained_networks
from engine.probing.controls.patterns import Condition, Pattern, draw_patterns
from engine.probing.controls.planted_units import Detector, Writing, build, images_written
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.variant import Variant

PlantedKind = Literal["direction", "layer", "unused", "absent"]
PLANTED_KINDS: Final[tuple[PlantedKind, ...]] = get_args(PlantedKind)
_NOISE_PATTERNS: Final = 4
"""Other patterns whose counts are the noise."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A network in which it is known where a concept is."""

    network: PolicyValueNet
    kind: PlantedKind
    # What was planted, or what is absent.
    pattern: Pattern
    # float32[D], of length 1: the concept's direction in the stream, where it is anywhere; of an
    # absent one, the direction into which a count of pieces is written.
    direction: Tensor
    # Points of the stream whose activation holds the concept; () where it is absent.
    layers: tuple[str, ...]
    # Points of which it is known that they do not hold it.
    without: tuple[str, ...]

    def concept(self, variant: Variant, *, binary: bool = False) -> Concept:
        """The pattern's count on the board, or whether it is there."""
        return self.pattern.concept(variant, "binary" if binary else "count")


def plant(
    config: NetworkConfig,
    variant: Variant,
    kind: PlantedKind,
    pattern: Pattern,
    seed: int,
    *,
    block: int | None = None,
    signal_to_noise: float | None = None,
    rows: Rows | None = None,
) -> Planted:
    """A network of this configuration with a pattern planted; the same seed gives the same weights.

    `block` writes; drawn from those that can unless given. With `signal_to_noise` the counts of
    other patterns are written into the same direction: the spread of the pattern's count over
    `rows` uint8[N, R] is so many times the spread of theirs. All heads have random weights.

    Raises InputError for a configuration in which the kind has no room: "layer" needs a block
    after the one that writes, and so does "unused" in a tower without LayerNorm, where the last
    block makes the direction zero, so that the outputs are the same to the bit.
    """
    rng = np.random.default_rng(seed)
    plain = config.trunk == "residual" and config.norm == "none"
    cleared = kind == "layer" or (kind == "unused" and plain)
    choices = config.blocks - 1 if cleared else config.blocks
    if choices < 1:
        raise InputError(f"network configuration: blocks = {config.blocks}, too few for '{kind}'")
    if block is None:
        block = int(rng.integers(choices))
    if not 0 <= block < choices:
        raise InputError(f"block = {block} is not one of 0 to {choices - 1} for '{kind}'")
    removed = (block + 1 if kind == "layer" else config.blocks - 1) if cleared else None
    put = Pattern(centre=pattern.centre) if kind == "absent" else pattern
    detectors, constant_beside = images_written(put)
    noise, constant = _noise(put, variant, signal_to_noise, rows, rng)
    writing = Writing(
        detectors=detectors + noise,
        constant=constant,
        constant_beside=constant_beside,
        block=block,
        removed_in=removed,
        unread=kind == "unused",
    )
    network = next(untrained_networks(config, (seed,)))
    generator = torch.Generator().manual_seed(seed)
    _give_heads_weights(network, generator)
    direction = build(network, variant, writing, generator)
    layers, without = _layers(network, kind, block, removed)
    return Planted(
        network=network,
        kind=kind,
        pattern=pattern,
        direction=direction,
        layers=layers,
        without=without,
    )


def planted_networks(
    config: NetworkConfig,
    variant: Variant,
    kind: PlantedKind,
    count: int,
    rows: Rows,
    seed: int,
    *,
    signal_to_noise: float | None = None,
) -> Iterator[Planted]:
    """`count` networks with different patterns, drawn among those that are common in `rows`.

    Raises InputError where there are not as many, and as `plant` does.
    """
    offsets = config.heads if config.trunk == "transformer" else 2
    rng = np.random.default_rng(seed)
    for pattern in draw_patterns(rows, variant, count, rng, offsets=offsets):
        own = int(rng.integers(1 << 31))
        yield plant(config, variant, kind, pattern, own, signal_to_noise=signal_to_noise, rows=rows)


def _layers(
    network: PolicyValueNet, kind: PlantedKind, block: int, removed: int | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`Planted.layers` and `without`."""
    blocks = network.config.blocks
    residuals = [f"block.{index}.residual" for index in range(blocks)]
    after = residuals[block : blocks if removed is None else removed]
    layers = (*after, *(("final",) if removed is None else ()))
    if kind == "absent":
        layers = ()
    # The head of a network whose concept is in the last layer reads it to an unknown degree.
    read = kind == "direction"
    points = ("embed", *residuals, "final", *(() if read else ("value.hidden",)))
    return layers, tuple(point for point in points if point not in layers)


def _noise(
    pattern: Pattern,
    variant: Variant,
    signal_to_noise: float | None,
    rows: Rows | None,
    rng: np.random.Generator,
) -> tuple[tuple[Detector, ...], float]:
    """Detectors of other patterns at the same neighbours, and a constant that keeps the sum of all
    at least zero on every square."""
    if signal_to_noise is None:
        return (), 0.0
    if rows is None or not signal_to_noise > 0.0:
        raise InputError(f"signal_to_noise = {signal_to_noise} is not above zero, or without rows")
    positions = Positions(rows, variant)
    codes = np.unique(positions.boards)
    others: dict[Pattern, float] = {}
    for _ in range(100):
        drawn = [int(code) for code in rng.choice(codes, 1 + len(pattern.others))]
        conditions = zip(pattern.others, drawn[1:], strict=True)
        moved = tuple(Condition(each.ranks, each.files, code) for each, code in conditions)
        other = replace(pattern, centre=drawn[0], others=moved)
        if other not in pattern.images:
            others.setdefault(other, float(rng.choice((-1.0, 1.0))))
        if len(others) == _NOISE_PATTERNS:
            break
    total = sum(weight * other.count(positions) for other, weight in others.items())
    spread = float(np.std(total))
    if spread == 0.0:
        raise InputError(f"{variant.name}: no other patterns for noise in {len(rows)} rows")
    unit = float(pattern.count(positions).std()) / (signal_to_noise * spread)
    detectors = tuple(
        Detector(image=image, along=unit * weight)
        for other, weight in others.items()
        for image in other.images
    )
    return detectors, sum(max(0.0, -each.along) for each in detectors)


@torch.no_grad()
def _give_heads_weights(network: PolicyValueNet, generator: torch.Generator) -> None:
    """Random weights for the layers that begin at zero, so that the outputs depend on the input."""
    value, policy = network.value, network.policy
    scalar = getattr(value.wdl, "value", value.wdl)
    layers = [scalar, value.moves_left, policy.key, policy.promotion]
    layers += [] if network.reply is None else [network.reply.key]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
