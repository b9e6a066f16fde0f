"""Weights that are built: units that write on which squares a pattern is into one direction.

S squares, D channels of the stream, V the direction and its complement (below).

With LayerNorm (transformer, residual tower) a square's vector reaches a block divided by its own
spread, so that only signs are exact. A linear function f of the embedded vectors is 0 where a
square holds what the pattern asks and 1 where it does not; a detector is

    y = 1/2 - K * (number of squares that do not hold it)          > 0 where the pattern is

Divided by any spread below K the sign of y stays, and with a large G the difference of two units

    ReLU(G y / spread) - ReLU(G y / spread - 1)

is exactly 1 where y > 0, and 0 elsewhere. A convolution sees the neighbours itself; in a
transformer, one head for each step attends to the square one step away and brings f of it.

V: in place of a count d alone, (d, e) is written into two directions with d² + e² the same on every
square. Then the spread of a square, by which LayerNorm divides all channels, does not depend on d.

Without LayerNorm (`norm = "none"`) channels of the embedding say what is on a square in 0 and 1,
and ReLU(number of squares that hold it - squares + 1) is the AND, to the bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from engine.network.model.backbone import MLP, Backbone, Block, board_steps
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualBlock, ResidualTower
from engine.network.model.tokens import EN_PASSANT_TOKEN
from engine.probing.controls.patterns import Condition, Pattern
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, EMPTY, LARGEST_SIDE
from engine.rules.variant import Variant

_GAIN: Final = 100.0
_PENALTY: Final = 100.0
"""G and K above; spreads of a square's channels are near 1."""
_SLOT: Final = 0.01
"""What a head writes where a neighbour does not hold a condition. Small, since the stream keeps it,
and the maximum over the squares of a sum is an AND, too."""
_ATTENTION: Final = 60.0
"""Bias of a head towards its step: all other squares together weigh less than float32 sees."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    """One image of a pattern, and what a square that has it gets."""

    image: Pattern
    # Added along the direction.
    along: float
    # Added along its complement.
    beside: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What one block writes and, perhaps, a later one takes out again."""

    detectors: tuple[Detector, ...]
    # Added on every square along the direction.
    constant: float
    # Added on every square along its complement.
    constant_beside: float
    # The block that writes.
    block: int
    # The block that takes it out; None where none does.
    removed_in: int | None
    # Whether the heads are kept from reading it.
    unread: bool


def images_written(pattern: Pattern) -> tuple[tuple[Detector, ...], float]:
    """The detectors that count a pattern's images on a square, and the complement's constant."""
    if len(pattern.images) == 1:
        return (Detector(image=pattern, along=1.0, beside=-1.0),), 1.0
    one, other = pattern.images
    both = Pattern(centre=one.centre, others=one.others + other.others)
    step = math.sqrt(3.0) - 2.0
    return (
        Detector(image=one, along=1.0, beside=step),
        Detector(image=other, along=1.0, beside=step),
        Detector(image=both, along=0.0, beside=-2.0 - 2.0 * step),
    ), 2.0


def build(
    network: PolicyValueNet, variant: Variant, writing: Writing, generator: torch.Generator
) -> Tensor:
    """Change the network so that it writes; the direction, float32[D] of length 1.

    Raises InputError for a build in which there is no room.
    """
    config = network.config
    with torch.no_grad():
        if config.trunk == "residual" and config.norm == "none":
            return _build_plain(network, variant, writing)
        stream = _Stream(network, variant, generator)
        if isinstance(network.trunk, ResidualTower):
            _write_tower(network.trunk, stream, writing, config.excitation)
        else:
            _write_transformer(network.trunk, stream, writing)
        if writing.unread:
            for reader in _heads(network):
                reader.weight -= reader.weight @ stream.pair @ stream.pair.T
    direction: Tensor = stream.pair[:, 0].clone()
    return direction


def _require(enough: bool, network: str, needed: int) -> None:
    if not enough:
        raise InputError(f"network configuration: {network}, a planted concept needs {needed}")


def _same_codes(code: int) -> tuple[int, ...]:
    """The tokens that mean this piece code; an empty square may be marked for en passant."""
    return (EMPTY, EN_PASSANT_TOKEN) if code == EMPTY else (code,)


class _Stream:
    """Linear functions [D] of a square's embedded vector that are exact for every vector there is.

    All are orthogonal to (1, …, 1), so that LayerNorm's subtraction of the mean changes none.
    """

    def __init__(
        self, network: PolicyValueNet, variant: Variant, generator: torch.Generator
    ) -> None:
        config, embedding = network.config, network.embedding
        places = embedding.place.weight.double().T  # [32, D]
        ranks = [
            places[r] + places[LARGEST_SIDE + config.height - 1 - r] for r in range(config.height)
        ]
        files = [
            places[2 * LARGEST_SIDE + f] + places[3 * LARGEST_SIDE + config.width - 1 - f]
            for f in range(config.width)
        ]
        types = variant.piece_types
        codes = (EMPTY, EN_PASSANT_TOKEN, *types, *(each | BLACK_BIT for each in types))
        tokens = embedding.token.weight.double()[list(codes)]
        constant = torch.ones(1, config.channels, dtype=torch.float64)
        state = embedding.state.weight.double().T
        basis = torch.cat([tokens, torch.stack(ranks + files), state, constant])
        self.needed = len(basis)
        self.channels = config.channels
        _require(len(basis) + 2 <= self.channels, f"channels = {self.channels}", len(basis) + 2)
        dual = torch.linalg.pinv(basis)  # [D, n]: dual.T @ basis.T is the identity
        self._token = dict(zip(codes, dual.T, strict=False))
        self._rank = dual.T[len(codes) :][: config.height]
        self._file = dual.T[len(codes) + config.height :][: config.width]
        outside = torch.linalg.svd(basis, full_matrices=True).Vh[len(basis) :].T  # [D, D - n]
        turn = torch.randn(outside.shape[1], outside.shape[1], generator=generator).double()
        self._outside = outside @ torch.linalg.qr(turn).Q
        self._taken = 0
        self.pair = self.fresh(2).float()
        """[D, 2]: the direction and its complement."""
        self.one = torch.stack(list(self._token.values())).sum(0)
        """1 for every square."""

    def fresh(self, count: int) -> Tensor:
        """[D, count]: orthonormal, and orthogonal to all that is embedded."""
        taken = self._taken
        room = self._outside.shape[1] - taken
        _require(count <= room, f"channels = {self.channels}", self.needed + taken + count)
        self._taken = taken + count
        directions: Tensor = self._outside[:, taken : taken + count]
        return directions

    def mismatch(self, code: int) -> Tensor:
        """1 for a square that holds something else, else 0."""
        same = _same_codes(code)
        others = [dual for token, dual in self._token.items() if token not in same]
        return torch.stack(others).sum(0)

    def edge(self, ranks: int, files: int) -> Tensor:
        """At least 1 for a square from which this step leaves the board, else 0."""
        found = torch.zeros(self.channels, dtype=torch.float64)
        if ranks:
            found = found + self._rank[-1 if ranks > 0 else 0]
        if files:
            found = found + self._file[-1 if files > 0 else 0]
        return found


def _columns_without(weight: Tensor, basis: Tensor) -> Tensor:
    """What a layer [D, n] writes, without its part in the span of `basis` [D, k]."""
    kept = basis.to(weight)
    return weight - kept @ (kept.T @ weight)


def _span(vectors: Sequence[Tensor]) -> Tensor:
    """An orthonormal basis [D, k] of vectors [D] that may depend on each other."""
    left, sizes, _ = torch.linalg.svd(torch.stack(list(vectors), dim=1), full_matrices=False)
    basis: Tensor = left[:, sizes > 1e-9 * sizes.max()]
    return basis


def _conditions(writing: Writing) -> list[Condition]:
    """All different conditions on neighbours."""
    return sorted({each for one in writing.detectors for each in one.image.others})


def _protected(stream: _Stream, writing: Writing) -> list[Tensor]:
    """The functions that the detectors read."""
    conditions = _conditions(writing)
    codes = {one.image.centre for one in writing.detectors} | {each.code for each in conditions}
    edges = [stream.edge(*step) for step in sorted({each[:2] for each in conditions})]
    pair = list(stream.pair.double().T)
    return [stream.one, *pair, *(stream.mismatch(code) for code in sorted(codes)), *edges]


def _written(stream: _Stream, one: Detector) -> Tensor:
    """[D]."""
    return stream.pair @ torch.tensor([one.along, one.beside])


def _constant(stream: _Stream, writing: Writing) -> Tensor:
    """[D]."""
    return stream.pair @ torch.tensor([writing.constant, writing.constant_beside])


def _signs(writing: Writing) -> list[tuple[int, float]]:
    """The blocks that write, and the factor of what they do."""
    blocks = [(writing.block, 1.0)]
    return blocks if writing.removed_in is None else [*blocks, (writing.removed_in, -1.0)]


def _write_transformer(trunk: Backbone, stream: _Stream, writing: Writing) -> None:
    config = trunk.config
    if config.position != "geometric":
        raise InputError(f"network configuration: position = '{config.position}', not 'geometric'")
    if config.activation != "relu":
        raise InputError(f"network configuration: activation = '{config.activation}', not 'relu'")
    units = 2 * len(writing.detectors)
    _require(config.hidden >= units, f"hidden = {config.hidden}", units)
    conditions = _conditions(writing)
    slots = dict(zip(conditions, stream.fresh(len(conditions)).T, strict=True))
    own = _span([*_protected(stream, writing), *slots.values()])
    unread = torch.cat([stream.pair.double(), *(slot[:, None] for slot in slots.values())], dim=1)
    for block in map(_as_block, trunk.blocks):
        mlp = _mlp(block)
        for reader in (block.attention.qkv, mlp.up):
            reader.weight.copy_(_columns_without(reader.weight.T, unread).T)
        for writer in (block.attention.out, mlp.down):
            writer.weight.copy_(_columns_without(writer.weight, own))
    _look_at_neighbours(trunk, stream, writing.block, slots)
    for index, sign in _signs(writing):
        mlp = _mlp(_as_block(trunk.blocks[index]))
        for unit, one in enumerate(writing.detectors):
            misses = [slots[each] / _SLOT + stream.edge(*each[:2]) for each in one.image.others]
            function = 0.5 * stream.one - _PENALTY * sum(misses, stream.mismatch(one.image.centre))
            _clipped(mlp.up, mlp.down, unit, function, sign * _written(stream, one))
        mlp.down.bias.add_(_constant(stream, writing), alpha=sign)


def _as_block(module: nn.Module) -> Block:
    assert isinstance(module, Block)
    return module


def _mlp(block: Block) -> MLP:
    assert block.mlp is not None
    return block.mlp


def _clipped(up: nn.Linear, down: nn.Linear, unit: int, function: Tensor, written: Tensor) -> None:
    """Units 2 `unit` and the next: together 1 where the function is positive."""
    pair = slice(2 * unit, 2 * unit + 2)
    up.weight[pair] = (_GAIN * function).to(up.weight)
    up.bias[pair] = torch.tensor([0.0, -1.0])
    down.weight[:, pair] = torch.stack([written, -written], dim=1)


def _look_at_neighbours(
    trunk: Backbone, stream: _Stream, block: int, slots: dict[Condition, Tensor]
) -> None:
    """One head for each step: it brings, for each condition there, whether it is missed."""
    config, attention = trunk.config, _as_block(trunk.blocks[block]).attention
    size = config.channels // config.heads
    steps = sorted({each[:2] for each in slots})
    _require(len(steps) <= config.heads, f"heads = {config.heads}", len(steps))
    assert trunk.geometry is not None
    origin = int(board_steps(1, 1)[0, 0])
    for head, step in enumerate(steps):
        rows = slice(head * size, (head + 1) * size)
        here = [each for each in slots if each[:2] == step]
        _require(len(here) <= size, f"channels = {config.channels}", config.heads * len(here))
        for part in attention.qkv.weight.view(3, config.channels, -1):
            part[rows] = 0.0
        attention.out.weight[:, rows] = 0.0
        for place, condition in enumerate(here, head * size):
            function = stream.mismatch(condition.code)
            attention.qkv.weight[2 * config.channels + place] = function.to(torch.float32)
            attention.out.weight[:, place] = (_SLOT * slots[condition]).to(torch.float32)
        bias = trunk.geometry.table[block, head]
        bias.zero_()
        bias[origin + step[0] * (2 * LARGEST_SIDE - 1) + step[1]] = _ATTENTION


def _write_tower(trunk: ResidualTower, stream: _Stream, writing: Writing, excitation: bool) -> None:
    units = 2 * len(writing.detectors)
    _require(stream.channels >= units, f"channels = {stream.channels}", units)
    own = _span(_protected(stream, writing))
    for block in map(_as_residual, trunk.blocks):
        first, second = block.first.weight, block.second.weight
        read = _columns_without(first.transpose(0, 1).flatten(1), stream.pair.double())
        first.copy_(read.view(stream.channels, -1, 3, 3).transpose(0, 1))
        second.copy_(_columns_without(second.flatten(1), own).view_as(second))
    # A fresh gate halves what a block writes.
    factor = 2.0 if excitation else 1.0
    for index, sign in _signs(writing):
        block = _as_residual(trunk.blocks[index])
        first_bias, second_bias = _biases(block)
        for unit, one in enumerate(writing.detectors):
            pair = slice(2 * unit, 2 * unit + 2)
            kernel = _detecting_kernel(stream, one.image)
            block.first.weight[pair] = (_GAIN * kernel).to(torch.float32)
            first_bias[pair] = torch.tensor([0.0, -1.0])
            written = factor * sign * _written(stream, one)
            block.second.weight[:, pair] = 0.0
            block.second.weight[:, pair, 1, 1] = torch.stack([written, -written], dim=1)
        second_bias += factor * sign * _constant(stream, writing)


def _as_residual(module: nn.Module) -> ResidualBlock:
    assert isinstance(module, ResidualBlock)
    return module


def _biases(block: ResidualBlock) -> tuple[Tensor, Tensor]:
    """Of its two convolutions, to be changed in place."""
    assert block.first.bias is not None
    assert block.second.bias is not None
    return block.first.bias, block.second.bias


def _detecting_kernel(stream: _Stream, image: Pattern) -> Tensor:
    """[D, 3, 3]: y of a pattern's image."""
    kernel = torch.zeros(stream.channels, 3, 3, dtype=torch.float64)
    edges = [stream.edge(*each[:2]) for each in image.others]
    misses = sum(edges, stream.mismatch(image.centre))
    kernel[:, 1, 1] = 0.5 * stream.one - _PENALTY * misses
    for ranks, files, code in image.others:
        kernel[:, 1 + ranks, 1 + files] -= _PENALTY * stream.mismatch(code)
    return kernel


def _build_plain(network: PolicyValueNet, variant: Variant, writing: Writing) -> Tensor:
    """The tower without LayerNorm: the last channel is the direction."""
    trunk, channels = network.trunk, network.config.channels
    assert isinstance(trunk, ResidualTower)
    codes = sorted(
        {one.image.centre for one in writing.detectors}
        | {each.code for each in _conditions(writing)}
    )
    units = len(writing.detectors)
    needed = max(units, len(codes) + 2)
    _require(channels >= needed, f"channels = {channels}", needed)
    direction = channels - 1
    place_of = {code: direction - 1 - index for index, code in enumerate(codes)}
    own = [direction, *place_of.values()]
    embedding = network.embedding
    embedding.token.weight[:, own] = 0.0
    embedding.place.weight[own] = 0.0
    embedding.state.weight[own] = 0.0
    for code, place in place_of.items():
        embedding.token.weight[list(_same_codes(code)), place] = 1.0
    for block in map(_as_residual, trunk.blocks):
        block.first.weight[:, direction] = 0.0
        block.second.weight[own] = 0.0
    factor = 2.0 if network.config.excitation else 1.0
    block = _as_residual(trunk.blocks[writing.block])
    first_bias, second_bias = _biases(block)
    for unit, one in enumerate(writing.detectors):
        block.first.weight[unit] = 0.0
        block.first.weight[unit, place_of[one.image.centre], 1, 1] = 1.0
        for ranks, files, code in one.image.others:
            block.first.weight[unit, place_of[code], 1 + ranks, 1 + files] += 1.0
        first_bias[unit] = -float(len(one.image.others))
        block.second.weight[direction, unit, 1, 1] = factor * one.along
    second_bias[direction] = factor * writing.constant
    if writing.removed_in is not None:
        _clear(_as_residual(trunk.blocks[writing.removed_in]), direction, factor)
    if writing.unread and writing.removed_in is None:
        for reader in _heads(network):
            reader.weight[:, direction] = 0.0
    return torch.nn.functional.one_hot(torch.tensor(direction), channels).float()


def _clear(block: ResidualBlock, channel: int, factor: float) -> None:
    """Make a channel zero, whatever it holds: ReLU(x - ReLU(x)), to the bit."""
    block.first.weight[0] = 0.0
    block.first.weight[0, channel, 1, 1] = 1.0
    block.second.weight[channel, 0, 1, 1] = -factor


def _heads(network: PolicyValueNet) -> list[nn.Linear]:
    """The layers that read the trunk's features."""
    readers = [network.value.square, network.ownership]
    for policy in (network.policy, network.reply):
        if policy is not None:
            readers += [policy.query, policy.key, policy.promotion]
    return [each for each in readers if each is not None]
