"""A network's weights in the layout and precision of the AVX-512 kernels."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.network.inference.avx512.attention import MASKED
from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.embedding_and_heads import Bytes, Embedding, Floats, Heads
from engine.network.inference.avx512.kernels import GROUP_BYTES, INT8, Fixed
from engine.network.inference.avx512.residual_tower import Tower
from engine.network.inference.avx512.transformer import Linear, Transformer
from engine.network.inference.backends.quantisation import best_range, calibration_sample
from engine.network.model.backbone import Backbone, Block
from engine.network.model.compiled_encoder import Rows
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualBlock, ResidualTower

_LARGEST: Final = 127
"""The largest signed 8-bit number."""
_LARGEST_UNSIGNED: Final = 255
_ZERO: Final = 128
"""The unsigned 8-bit number that stands for 0 if values have a sign."""

ActivationMaxima = dict[nn.Module, float]
"""For each layer the largest absolute value of its inputs that is not clipped."""


def find_activation_maxima(network: PolicyValueNet, rows: Rows) -> ActivationMaxima:
    """Those of the trunk's linear layers and convolutions, on positions uint8[N, R]."""
    maxima: ActivationMaxima = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maxima[layer] = best_range(inputs[0].abs().numpy())[1]

    hooks = [
        module.register_forward_pre_hook(note)
        for module in network.trunk.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(calibration_sample(rows)))
    finally:
        for hook in hooks:
            hook.remove()
    return maxima


def array(tensor: Tensor) -> Floats:
    """A contiguous copy in float32."""
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _parameters(layer: nn.Linear | nn.Conv2d | nn.LayerNorm) -> tuple[Floats, Floats]:
    """Weight and bias."""
    assert layer.bias is not None
    return array(layer.weight), array(layer.bias)


def aligned(*shape: int) -> Bytes:
    """uint8 zeros that begin at a multiple of 64 bytes."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].reshape(shape)


def aligned_floats(*shape: int) -> Floats:
    """float32 zeros that begin at a multiple of 64 bytes."""
    return aligned(*shape[:-1], 4 * shape[-1]).view(np.float32)


def rounded_up(count: int) -> int:
    """`count` rounded up to a multiple of 16."""
    return -(-count // LANES) * LANES


class Packed(NamedTuple):
    """A layer's weights."""

    weights: Bytes
    """[N / outputs of a part, k, C / group, k, blocks, 16, group], flattened."""
    steps: Floats
    """[N], the value of a quantised 1 in each output's weights."""
    sums: Floats
    """[N], the sum of each output's quantised weights."""


def pack(weight: Floats, blocks: Fixed, number: Fixed) -> Packed:
    """Weights [N, C, k, k] in the order of `kernels.convolve`."""
    outputs, inputs, taps, _ = weight.shape
    steps = np.ones(outputs, np.float32)
    quantised: npt.NDArray[np.generic]
    if number == INT8:
        highest = np.abs(weight).reshape(outputs, -1).max(1)
        steps = (np.maximum(highest, 1e-8) / _LARGEST).astype(np.float32)
        rounded = np.rint(weight / steps[:, None, None, None])
        quantised, sums = rounded.astype(np.int8), rounded.sum((1, 2, 3))
    else:
        quantised, sums = weight, weight.sum((1, 2, 3))
        if len(number) == 2:
            quantised = torch.from_numpy(weight).bfloat16().view(torch.int16).numpy()
    group = GROUP_BYTES // len(number)
    parts = quantised.reshape(-1, len(blocks), LANES, inputs // group, group, taps, taps)
    ordered = np.ascontiguousarray(parts.transpose(0, 5, 3, 6, 1, 2, 4))
    return Packed(ordered.view(np.uint8).ravel(), steps, sums.astype(np.float32))


class _Stack:
    """The layers of one kind, one per block."""

    def __init__(self, blocks: Fixed, number: Fixed, outputs: int) -> None:
        self._blocks, self._number, self._outputs = blocks, number, outputs
        self._layers: list[tuple[Bytes, Floats, Floats]] = []

    def add(
        self,
        weight: Floats,
        bias: Floats,
        *,
        unit: float = 1.0,
        zero: float = 0.0,
        output_unit: float = 1.0,
    ) -> Packed:
        """Add a layer. In its inputs `unit` stands for 1.0 and `zero` for 0; in its outputs
        `output_unit` shall stand for 1.0."""
        taps = weight.shape[2:] or (1, 1)
        packed = pack(weight.reshape(*weight.shape[:2], *taps), self._blocks, self._number)
        scale = packed.steps * np.float32(output_unit / unit)
        # The number that stands for 0 is multiplied, too; its share is subtracted.
        shift = np.float32(zero) * packed.sums * scale
        self._layers.append((packed.weights, scale, bias * np.float32(output_unit) - shift))
        return packed

    def linear(self) -> Linear:
        """All layers."""
        layers = self._layers
        stacked = aligned(len(layers), layers[0][0].size if layers else 0)
        numbers = np.zeros((2, len(layers), self._outputs), np.float32)
        for i, (weights, scales, biases) in enumerate(layers):
            stacked[i], numbers[:, i] = weights, (scales, biases)
        return Linear(stacked, *numbers)


def embedding_of(network: PolicyValueNet) -> Embedding:
    """The tables of the embedding; a learned place is added in."""
    embedding = network.embedding
    place = embedding.places @ embedding.place.weight.T
    if isinstance(network.trunk, Backbone) and network.trunk.place is not None:
        place = place + network.trunk.place
    return Embedding(
        token=array(embedding.token.weight),
        place=array(place),
        state=array(embedding.state.weight.T),
    )


def _tap_sums(weight: Floats, board: tuple[int, int]) -> Floats:
    """[S, N] sums of weights [N, C, 3, 3] at each square of a board, for the taps inside it."""
    planes = torch.ones(1, weight.shape[1], *board)
    sums = torch.nn.functional.conv2d(planes, torch.from_numpy(weight), padding=1)
    return array(sums[0].flatten(1).T)


def tower_of(
    network: PolicyValueNet, blocks: Fixed, number: Fixed, maxima: ActivationMaxima
) -> Tower:
    """The blocks of a residual tower."""
    trunk, config = network.trunk, network.config
    assert isinstance(trunk, ResidualTower)
    D, L = config.channels, config.blocks
    C = config.squeeze if config.excitation else 0
    normed, in_int8 = config.norm == "layer", number == INT8
    zero = float(_ZERO) if in_int8 and normed else 0.0
    largest_input = _LARGEST if normed else _LARGEST_UNSIGNED
    first, second = _Stack(blocks, number, D), _Stack(blocks, number, D)
    units, maps = np.ones(L + 1, np.float32), np.zeros((L, config.squares, D), np.float32)
    norms = np.zeros((2, L if normed else 0, D), np.float32)
    down, down_bias = np.zeros((L, D, C), np.float32), np.zeros((L, C), np.float32)
    up, up_bias = np.zeros((L, C, 2 * D), np.float32), np.zeros((L, 2 * D), np.float32)
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, ResidualBlock)
        units[i] = largest_input / maxima[block.first] if in_int8 else 1.0
        hidden = _LARGEST_UNSIGNED / maxima[block.second] if in_int8 else 1.0
        weight, bias = _parameters(block.first)
        packed = first.add(weight, bias, unit=float(units[i]), output_unit=hidden)
        maps[i] = bias * np.float32(hidden)
        if zero:
            # As in `_Stack.add`, but here the share differs from square to square.
            written = np.rint(weight / packed.steps[:, None, None, None]).astype(np.float32)
            sums = _tap_sums(written, (config.height, config.width))
            maps[i] -= zero * sums * packed.steps * np.float32(hidden / units[i])
        second.add(*_parameters(block.second), unit=hidden)
        if block.norm is not None:
            norms[:, i] = _quantised_norm(block.norm, float(units[i]), zero)
        if block.excitation is not None:
            for layer, matrix, vector in (
                (block.excitation.down, down, down_bias),
                (block.excitation.up, up, up_bias),
            ):
                matrix[i], vector[i] = array(layer.weight.T), array(layer.bias)
    firsts, seconds = first.linear(), second.linear()
    return Tower(
        first=firsts.weights,
        first_scales=firsts.scales,
        first_biases=maps,
        second=seconds.weights,
        second_scales=seconds.scales,
        second_biases=seconds.biases,
        units=units,
        gain=norms[0],
        shift=norms[1],
        down=down,
        down_bias=down_bias,
        up=up,
        up_bias=up_bias,
    )


def _quantised_norm(norm: nn.LayerNorm, unit: float, zero: float) -> Floats:
    """[2, D], weight and bias of a LayerNorm in whose outputs `unit` stands for 1.0 and `zero` for
    0."""
    weight, bias = _parameters(norm)
    return np.stack([weight * np.float32(unit), bias * np.float32(unit) + np.float32(zero)])


def transformer_of(
    network: PolicyValueNet,
    blocks: Fixed,
    hidden_blocks: Fixed,
    number: Fixed,
    maxima: ActivationMaxima,
) -> Transformer:
    """The blocks of a transformer."""
    trunk, config = network.trunk, network.config
    assert isinstance(trunk, Backbone)
    D, M, L = config.channels, config.hidden, config.blocks
    qkv, out, down = (_Stack(blocks, number, outputs) for outputs in (3 * D, D, D))
    up = _Stack(hidden_blocks, number, M)
    scales = np.ones((3 * D, 1), np.float32)
    scales[:D] = (D // config.heads) ** -0.5  # the queries are scaled, not the scores
    norms, units = np.zeros((L, 4, D), np.float32), np.ones(L, np.float32)
    zero = float(_ZERO) if number == INT8 else 0.0

    def unit(layer: nn.Module, largest: int = _LARGEST) -> float:
        return largest / maxima[layer] if number == INT8 else 1.0

    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        attention, mlp = block.attention, block.mlp
        input_unit, units[i] = unit(attention.qkv), unit(attention.out)
        norms[i, :2] = _quantised_norm(block.attention_norm, input_unit, zero)
        weight, bias = _parameters(attention.qkv)
        qkv.add(weight * scales, bias * scales[:, 0], unit=input_unit, zero=zero)
        out.add(*_parameters(attention.out), unit=float(units[i]), zero=zero)
        if mlp is not None and block.mlp_norm is not None:
            input_unit, hidden = unit(mlp.up), unit(mlp.down, _LARGEST_UNSIGNED)
            norms[i, 2:] = _quantised_norm(block.mlp_norm, input_unit, zero)
            up.add(*_parameters(mlp.up), unit=input_unit, zero=zero, output_unit=hidden)
            down.add(*_parameters(mlp.down), unit=hidden)
    bias = np.full(
        (L, config.heads, config.squares, rounded_up(config.squares)), MASKED, np.float32
    )
    bias[..., : config.squares] = 0 if trunk.geometry is None else array(trunk.geometry())
    return Transformer(
        qkv=qkv.linear(),
        out=out.linear(),
        up=up.linear(),
        down=down.linear(),
        norms=norms,
        bias=bias,
        units=units,
        zero=np.float32(zero),
    )


def heads_of(network: PolicyValueNet, blocks: Fixed, number: Fixed) -> Heads:
    """The last LayerNorm and the heads, in bfloat16 or float32."""
    policy, value, norm = network.policy, network.value, network.trunk.norm
    scale = policy.query.out_features**-0.5
    firsts = [policy.key, *([policy.promotion] if policy.promotion else []), value.square]
    matrices = [policy.query.weight * scale, *(layer.weight for layer in firsts)]
    vectors = [policy.query.bias * scale, *(layer.bias for layer in firsts)]
    used, part = sum(len(vector) for vector in vectors), LANES * len(blocks)
    outputs = -(-used // part) * part
    weight = np.zeros((outputs, network.config.channels), np.float32)
    weight[:used] = array(torch.cat(matrices))
    bias = np.zeros(outputs, np.float32)
    bias[:used] = array(torch.cat(vectors))
    stack = _Stack(blocks, number, outputs)
    stack.add(weight, bias)
    layer = stack.linear()
    widest = max(rounded_up(network.config.squares), network.config.channels)
    return Heads(
        gain=array(norm.weight),
        shift=array(norm.bias),
        weights=layer.weights[0],
        scales=layer.scales[0],
        biases=layer.biases[0],
        ones=np.ones(widest, np.float32),
        zeros=np.zeros(widest, np.float32),
        hidden=array(value.hidden.weight.T),
        hidden_bias=array(value.hidden.bias),
        wdl=array(value.wdl.weight.T),
        wdl_bias=array(value.wdl.bias),
    )
