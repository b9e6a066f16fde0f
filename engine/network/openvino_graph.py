"""The network as an OpenVINO graph, built from its weights.

The graph begins at the tokens and ends at the logits (the compiled passage of `encoding.py` does
the rest), for one batch size. It is built and not traced: that takes milliseconds instead of a
second, asks for no converter, and lets each part be written as the processor likes it best.

    squares int32[B, S], state float32[B, 6]
        -> policy [B, S, S], promotion [B, S, P], wdl [B, 3], as `Outputs` has them
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from engine.network.backbone import Attention, Backbone, Block
from engine.network.policy_value import PolicyValueNet
from engine.network.residual import ResidualBlock, ResidualTower, SqueezeExcitation
from engine.network.tokens import STATE_FEATURES

Node = Any
"""An OpenVINO node; its library has no types of its own."""
Array = npt.NDArray[np.float32]

OUTPUTS: Final = ("policy", "promotion", "wdl")


def build_graph(network: PolicyValueNet, batch: int) -> ov.Model:
    """The graph of a network for `batch` positions."""
    config = network.config
    squares = ops.parameter([batch, config.squares], np.int32, name="squares")
    state = ops.parameter([batch, STATE_FEATURES], np.float32, name="state")
    x = _embedding(network, squares, state)
    x = (
        _transformer(network.trunk, x)
        if isinstance(network.trunk, Backbone)
        else _tower(network.trunk, x, batch)
    )
    return ov.Model([*_policy(network, x), _value(network, x)], [squares, state], "network")


def _array(tensor: Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _linear(x: Node, weight: Tensor | Array, bias: Tensor | Array | None = None) -> Node:
    """`weight` [out, in] as in `nn.Linear`."""
    product = ops.matmul(x, _constant(weight), False, True)
    return product if bias is None else ops.add(product, _constant(bias))


def _constant(value: Tensor | Array) -> Node:
    return ops.constant(_array(value) if isinstance(value, Tensor) else value)


def _norm(x: Node, norm: nn.LayerNorm) -> Node:
    """LayerNorm over the last axis."""
    axes = ops.constant(np.array([-1], np.int64))
    normal = ops.mvn(x, axes, True, norm.eps, "inside_sqrt")
    scaled = ops.multiply(normal, ops.constant(_array(norm.weight)))
    return ops.add(scaled, ops.constant(_array(norm.bias)))


def _shaped(x: Node, *shape: int) -> Node:
    return ops.reshape(x, ops.constant(np.array(shape, np.int64)), False)


def _turned(x: Node, *order: int) -> Node:
    return ops.transpose(x, ops.constant(np.array(order, np.int64)))


def _mean(x: Node, *axes: int) -> Node:
    return ops.reduce_mean(x, ops.constant(np.array(axes, np.int64)), True)


def _embedding(network: PolicyValueNet, squares: Node, state: Node) -> Node:
    """[B, S, D]."""
    embedding = network.embedding
    tokens = ops.gather(
        ops.constant(_array(embedding.token.weight)), squares, ops.constant(np.int64(0))
    )
    places = _array(embedding.places @ embedding.place.weight.T)
    features = _shaped(_linear(state, embedding.state.weight), -1, 1, places.shape[1])
    return ops.add(tokens, ops.add(features, ops.constant(places)))


def _transformer(trunk: Backbone, x: Node) -> Node:
    if trunk.place is not None:
        x = ops.add(x, ops.constant(_array(trunk.place)))
    biases = None if trunk.geometry is None else _array(trunk.geometry())
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        bias = None if biases is None else biases[i]
        x = ops.add(x, _attention(block.attention, _norm(x, block.attention_norm), bias))
        if block.mlp is not None and block.mlp_norm is not None:
            hidden = _linear(_norm(x, block.mlp_norm), block.mlp.up.weight, block.mlp.up.bias)
            hidden = ops.relu(hidden) if block.mlp.relu else ops.gelu(hidden, "tanh")
            x = ops.add(x, _linear(hidden, block.mlp.down.weight, block.mlp.down.bias))
    return _norm(x, trunk.norm)


def _attention(attention: Attention, x: Node, bias: Array | None) -> Node:
    """[B, S, D] -> [B, S, D]; `bias` [H, q, k]."""
    _, S, D = x.output(0).get_shape()
    H = attention.heads
    query_weight, key_weight, value_weight = _array(attention.qkv.weight).reshape(3, D, D)
    query_bias, key_bias, value_bias = _array(attention.qkv.bias).reshape(3, D)
    scale = np.float32((D // H) ** -0.5)
    parts = []
    for weight, add in (
        (query_weight * scale, query_bias * scale),
        (key_weight, key_bias),
        (value_weight, value_bias),
    ):
        parts.append(_turned(_shaped(_linear(x, weight, add), -1, S, H, D // H), 0, 2, 1, 3))
    query, key, value = parts
    scores = ops.matmul(query, key, False, True)
    if bias is not None:
        scores = ops.add(scores, ops.constant(bias))
    gathered = ops.matmul(ops.softmax(scores, -1), value, False, False)
    gathered = _shaped(_turned(gathered, 0, 2, 1, 3), -1, S, D)
    return _linear(gathered, attention.out.weight, attention.out.bias)


def _tower(trunk: ResidualTower, x: Node, batch: int) -> Node:
    S, D = x.output(0).get_shape()[1:]
    for block in trunk.blocks:
        assert isinstance(block, ResidualBlock)
        height, width = block.board
        planes = _turned(_shaped(_norm(x, block.norm), batch, height, width, D), 0, 3, 1, 2)
        planes = _residual(block, planes)
        x = ops.add(x, _shaped(_turned(planes, 0, 2, 3, 1), batch, S, D))
    return _norm(x, trunk.norm)


def _residual(block: ResidualBlock, planes: Node) -> Node:
    hidden = ops.relu(_convolution(planes, block.first))
    return _excitation(block.excitation, _convolution(hidden, block.second))


def _convolution(planes: Node, layer: nn.Conv2d) -> Node:
    weight = ops.constant(_array(layer.weight))
    product = ops.convolution(planes, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    assert layer.bias is not None
    return ops.add(product, ops.constant(_array(layer.bias)[None, :, None, None]))


def _excitation(excitation: SqueezeExcitation, planes: Node) -> Node:
    D = planes.output(0).get_shape()[1]
    pooled = _shaped(_mean(planes, 2, 3), -1, D)
    squeezed = ops.relu(_linear(pooled, excitation.down.weight, excitation.down.bias))
    weight, bias = _array(excitation.up.weight), _array(excitation.up.bias)
    gate = ops.sigmoid(_linear(squeezed, weight[:D], bias[:D]))
    shift = _linear(squeezed, weight[D:], bias[D:])
    scaled = ops.multiply(planes, _shaped(gate, -1, D, 1, 1))
    return ops.add(scaled, _shaped(shift, -1, D, 1, 1))


def _policy(network: PolicyValueNet, x: Node) -> list[Node]:
    """From-to and promotion logits; without promotions only the first."""
    head = network.policy
    scale = np.float32(head.query.out_features**-0.5)
    query = _linear(x, _array(head.query.weight) * scale, _array(head.query.bias) * scale)
    key = _linear(x, head.key.weight, head.key.bias)
    outputs = [ops.matmul(query, key, False, True)]
    if head.promotion is not None:
        outputs.append(_linear(x, head.promotion.weight, head.promotion.bias))
    return outputs


def _value(network: PolicyValueNet, x: Node) -> Node:
    head = network.value
    pooled = ops.relu(_linear(x, head.square.weight, head.square.bias))
    pooled = _shaped(_mean(pooled, 1), -1, head.square.out_features)
    hidden = ops.relu(_linear(pooled, head.hidden.weight, head.hidden.bias))
    return _linear(hidden, head.wdl.weight, head.wdl.bias)
