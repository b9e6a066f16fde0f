"""The network as an OpenVINO graph, built from its weights.

The graph leads from the tokens to the logits (`compiled_encoder.py` does the rest), for one batch
size. It is built from OpenVINO's own operations and not traced: that takes 5 ms instead of a
second, needs no converter, and each part takes the form that is fastest on a CPU. The results are
the same up to rounding.

    squares int32[B, S], state float32[B, 6]
        -> policy [B, S, S], promotion [B, S, P], wdl [B, 3], as `Outputs` has them

The inputs of the trunk's matrix products and convolutions are *sites*, named like their weights.
If ranges are given for them, their values and the weights are rounded to 8 bits, which OpenVINO
turns into integer products (`backends/quantisation.py` chooses the ranges).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.network.inference.backends.quantisation import LEVELS
from engine.network.inference.openvino.core import ov
from engine.network.model.backbone import Backbone, Block
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualBlock, ResidualTower, SqueezeExcitation
from engine.network.model.tokens import STATE_FEATURES

Node = Any
"""An OpenVINO node; the library is untyped."""
Array = npt.NDArray[np.float32]
Ranges = Mapping[str, tuple[float, float]]
"""The lowest and highest value at each site; 0 lies between them."""

ops: Final = ov.opset13

OUTPUTS: Final = ("policy", "promotion", "wdl")

WEIGHT_LEVELS: Final = 255
"""Symmetric about zero."""


def build_graph(network: PolicyValueNet, batch: int, ranges: Ranges | None = None) -> ov.Model:
    """The graph of a network for `batch` positions, in 8 bits if `ranges` are given."""
    builder = _Builder(ranges)
    inputs = _inputs(network, batch)
    return ov.Model(builder.outputs(network, *inputs), inputs, "network")


def build_sites(network: PolicyValueNet, batch: int) -> tuple[ov.Model, list[str]]:
    """A graph whose outputs are the values at the sites, and the sites' names in the same order."""
    builder = _Builder(None)
    inputs = _inputs(network, batch)
    builder.outputs(network, *inputs)
    return ov.Model(list(builder.sites.values()), inputs, "sites"), list(builder.sites)


def _inputs(network: PolicyValueNet, batch: int) -> list[Node]:
    squares = ops.parameter([batch, network.config.squares], np.int32, name="squares")
    state = ops.parameter([batch, STATE_FEATURES], np.float32, name="state")
    return [squares, state]


def _array(tensor: Tensor | Array) -> Array:
    if isinstance(tensor, Tensor):
        return tensor.detach().to("cpu", torch.float32).numpy()
    return tensor


def _numbers(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


def _norm(x: Node, norm: nn.LayerNorm) -> Node:
    """LayerNorm over the last axis."""
    normal = ops.mvn(x, _numbers(-1), True, norm.eps, "inside_sqrt")
    scaled = ops.multiply(normal, ops.constant(_array(norm.weight)))
    return ops.add(scaled, ops.constant(_array(norm.bias)))


def _unit(x: Node, norm: nn.LayerNorm) -> Node:
    """LayerNorm without weight and bias, over the last axis of values whose mean is 0."""
    squared = ops.power(x, ops.constant(np.float32(2)))
    deviation = ops.sqrt(ops.add(_mean(squared, -1), ops.constant(np.float32(norm.eps))))
    return ops.multiply(x, ops.divide(ops.constant(np.float32(1)), deviation))


def _with_norm(linear: nn.Linear, norm: nn.LayerNorm | None) -> tuple[Array, Array]:
    """Weight and bias of a linear layer, with those of the LayerNorm before it multiplied in."""
    weight, bias = _array(linear.weight), _array(linear.bias)
    if norm is None:
        return weight, bias
    return weight * _array(norm.weight), bias + weight @ _array(norm.bias)


def _centred(weight: Tensor | Array, axis: int = 0) -> Array:
    """Weights without their mean over `axis`, the outputs, so that the outputs have mean 0."""
    array = _array(weight)
    centred: Array = array - array.mean(axis=axis, keepdims=True)
    return centred


def _reshaped(x: Node, *shape: int) -> Node:
    return ops.reshape(x, _numbers(*shape), False)


def _transposed(x: Node, *order: int) -> Node:
    return ops.transpose(x, _numbers(*order))


def _mean(x: Node, *axes: int) -> Node:
    return ops.reduce_mean(x, _numbers(*axes), True)


def _rounded(x: Node, low: Array, high: Array, levels: int) -> Node:
    """Rounded to `levels` evenly spaced values from `low` to `high`."""
    limits = [ops.constant(low), ops.constant(high)]
    return ops.fake_quantize(x, *limits, *limits, levels)


def _weight(weight: Array, *, rounded: bool) -> Node:
    """A constant [out, ...], rounded for each output separately."""
    if not rounded:
        return ops.constant(weight)
    others = tuple(range(1, weight.ndim))
    highest = np.maximum(np.abs(weight).max(axis=others, keepdims=True), np.float32(1e-8))
    return _rounded(ops.constant(weight), -highest, highest, WEIGHT_LEVELS)


class _Builder:
    """Writes the parts of a network as nodes."""

    def __init__(self, ranges: Ranges | None) -> None:
        self.ranges = ranges
        self.sites: dict[str, Node] = {}
        self.rounded: dict[str, Node] = {}

    def outputs(self, network: PolicyValueNet, squares: Node, state: Node) -> list[Node]:
        """From-to logits, promotion logits if there are promotions, and WDL logits."""
        config = network.config
        x = self._embedding(network, squares, state)
        if isinstance(network.trunk, Backbone):
            x = self._transformer(network.trunk, x)
        else:
            x = self._tower(network.trunk, x, (config.height, config.width))
        return [*self._policy(network, x), self._value(network, x)]

    def _linear(
        self, x: Node, weight: Tensor | Array, bias: Tensor | Array | None, site: str = ""
    ) -> Node:
        """`weight` [out, in] as in `nn.Linear`."""
        x, rounded = self._at(site, x)
        product = ops.matmul(x, _weight(_array(weight), rounded=rounded), False, True)
        return product if bias is None else ops.add(product, ops.constant(_array(bias)))

    def _convolution(self, planes: Node, layer: nn.Conv2d, site: str) -> Node:
        planes, rounded = self._at(site, planes)
        weight = _weight(_array(layer.weight), rounded=rounded)
        product = ops.convolution(planes, weight, [1, 1], [1, 1], [1, 1], [1, 1])
        assert layer.bias is not None
        return ops.add(product, ops.constant(_array(layer.bias)[None, :, None, None]))

    def _at(self, site: str, x: Node) -> tuple[Node, bool]:
        """`x`, rounded if ranges are given, and whether it is."""
        if not site:
            return x, False
        self.sites[site] = x
        if self.ranges is None:
            return x, False
        if site not in self.rounded:
            low, high = (np.array(end, np.float32) for end in self.ranges[site])
            self.rounded[site] = _rounded(x, low, high, LEVELS)
        return self.rounded[site], True

    def _embedding(self, network: PolicyValueNet, squares: Node, state: Node) -> Node:
        """[B, S, D]; centred for a transformer."""
        embedding = network.embedding
        tables = [
            _array(embedding.token.weight),
            _array(embedding.places @ embedding.place.weight.T),
            _array(embedding.state.weight.T),
        ]
        if isinstance(network.trunk, Backbone):
            if network.trunk.place is not None:
                tables[1] = tables[1] + _array(network.trunk.place)
            tables = [_centred(table, axis=-1) for table in tables]
        token, place, feature = tables
        tokens = ops.gather(ops.constant(token), squares, ops.constant(np.int64(0)))
        features = _reshaped(self._linear(state, feature.T, None), -1, 1, place.shape[1])
        return ops.add(tokens, ops.add(features, ops.constant(place)))

    def _transformer(self, trunk: Backbone, x: Node) -> Node:
        """[B, S, D] -> [B, S, D], without the last LayerNorm's weight and bias.

        The stream is read only by LayerNorms, which subtract the mean. So the weights that write to
        the stream are centred beforehand, the layers that read it contain the LayerNorm's weight
        and bias, and only a division by the root mean square remains. With two axes instead of
        three, OpenVINO keeps the stream in the layout of the matrix products.
        """
        biases = None if trunk.geometry is None else _array(trunk.geometry())
        _, S, D = x.output(0).get_shape()
        x = _reshaped(x, -1, D)
        for i, block in enumerate(trunk.blocks):
            assert isinstance(block, Block)
            bias = None if biases is None else biases[i]
            x = ops.add(x, self._attention(block, x, bias, S, f"block.{i}"))
            if block.mlp is not None and block.mlp_norm is not None:
                hidden = _unit(x, block.mlp_norm)
                hidden = self._linear(
                    hidden, *_with_norm(block.mlp.up, block.mlp_norm), f"block.{i}.up"
                )
                hidden = ops.relu(hidden) if block.mlp.relu else ops.gelu(hidden, "tanh")
                down = _centred(block.mlp.down.weight), _centred(block.mlp.down.bias)
                x = ops.add(x, self._linear(hidden, *down, f"block.{i}.down"))
        return _reshaped(_unit(x, trunk.norm), -1, S, D)

    def _attention(self, block: Block, x: Node, bias: Array | None, S: int, site: str) -> Node:
        """[B * S, D] -> [B * S, D]; `bias` [H, q, k]."""
        attention = block.attention
        H, D = attention.heads, x.output(0).get_shape()[1]
        x = _unit(x, block.attention_norm)
        weight, add = _with_norm(attention.qkv, block.attention_norm)
        weights, adds = weight.reshape(3, D, D), add.reshape(3, D)
        scales = np.array(
            [(D // H) ** -0.5, 1, 1], np.float32
        )  # the queries are scaled, not the scores
        parts = []
        for weight, add, scale in zip(weights, adds, scales, strict=True):
            part = self._linear(x, weight * scale, add * scale, f"{site}.qkv")
            parts.append(_transposed(_reshaped(part, -1, S, H, D // H), 0, 2, 1, 3))
        query, key, value = parts
        scores = ops.matmul(query, key, False, True)
        if bias is not None:
            scores = ops.add(scores, ops.constant(bias))
        gathered = ops.matmul(ops.softmax(scores, -1), value, False, False)
        gathered = _reshaped(_transposed(gathered, 0, 2, 1, 3), -1, D)
        out = _centred(attention.out.weight), _centred(attention.out.bias)
        return self._linear(gathered, *out, f"{site}.out")

    def _tower(self, trunk: ResidualTower, x: Node, board: tuple[int, int]) -> Node:
        """[B, S, D] -> [B, S, D]; without LayerNorms as planes [B, D, height, width] throughout."""
        S, D = x.output(0).get_shape()[1:]

        def to_planes(squares: Node) -> Node:
            return _transposed(_reshaped(squares, -1, *board, D), 0, 3, 1, 2)

        def to_squares(planes: Node) -> Node:
            return _reshaped(_transposed(planes, 0, 2, 3, 1), -1, S, D)

        planes = to_planes(x if trunk.normed else ops.relu(x))
        for i, block in enumerate(trunk.blocks):
            assert isinstance(block, ResidualBlock)
            if block.norm is None:
                branch = self._branch(block, planes, f"block.{i}")
                planes = ops.relu(ops.add(branch, planes))
            else:
                squares = to_squares(planes)
                branch = self._branch(block, to_planes(_norm(squares, block.norm)), f"block.{i}")
                planes = to_planes(ops.add(squares, to_squares(branch)))
        return _norm(to_squares(planes), trunk.norm)

    def _branch(self, block: ResidualBlock, planes: Node, site: str) -> Node:
        hidden = ops.relu(self._convolution(planes, block.first, f"{site}.first"))
        planes = self._convolution(hidden, block.second, f"{site}.second")
        return planes if block.excitation is None else self._excitation(block.excitation, planes)

    def _excitation(self, excitation: SqueezeExcitation, planes: Node) -> Node:
        D = planes.output(0).get_shape()[1]
        pooled = _reshaped(_mean(planes, 2, 3), -1, D)
        squeezed = self._linear(pooled, excitation.down.weight, excitation.down.bias)
        squeezed = ops.relu(squeezed)
        weight, bias = _array(excitation.up.weight), _array(excitation.up.bias)
        gate = ops.sigmoid(self._linear(squeezed, weight[:D], bias[:D]))
        shift = self._linear(squeezed, weight[D:], bias[D:])
        scaled = ops.multiply(planes, _reshaped(gate, -1, D, 1, 1))
        return ops.add(scaled, _reshaped(shift, -1, D, 1, 1))

    def _policy(self, network: PolicyValueNet, x: Node) -> list[Node]:
        """From-to logits, and promotion logits if there are promotions."""
        head, norm = network.policy, _pending_norm(network)
        scale = np.float32(head.query.out_features**-0.5)
        weight, bias = _with_norm(head.query, norm)
        query = self._linear(x, weight * scale, bias * scale)
        key = self._linear(x, *_with_norm(head.key, norm))
        outputs = [ops.matmul(query, key, False, True)]
        if head.promotion is not None:
            outputs.append(self._linear(x, *_with_norm(head.promotion, norm)))
        return outputs

    def _value(self, network: PolicyValueNet, x: Node) -> Node:
        head = network.value
        pooled = ops.relu(self._linear(x, *_with_norm(head.square, _pending_norm(network))))
        pooled = _reshaped(_mean(pooled, 1), -1, head.square.out_features)
        hidden = ops.relu(self._linear(pooled, head.hidden.weight, head.hidden.bias))
        return self._linear(hidden, head.wdl.weight, head.wdl.bias)


def _pending_norm(network: PolicyValueNet) -> nn.LayerNorm | None:
    """The LayerNorm whose weight and bias are in the heads' first layers."""
    return network.trunk.norm if isinstance(network.trunk, Backbone) else None
