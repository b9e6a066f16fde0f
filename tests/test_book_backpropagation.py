"""Klein, Neural Networks for Chess, chapter 2: a backward pass by hand, checked against autograd.

A network of two layers with a softmax behind it, in numpy alone. Each line of `backward` undoes one
of `forward`, from the last to the first, by the chain rule. N examples; d_x is the slope of the
loss along x.

    x [N, 3] --> h = x A + a --> r = max(h, 0) --> z = r B + b [N, 2] --> loss = -log softmax(z)[y]
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Array = npt.NDArray[np.float64]
Parameters = dict[str, Array]


def softmax(z: Array) -> Array:
    powers: Array = np.exp(z - z.max(1, keepdims=True))
    shares: Array = powers / powers.sum(1, keepdims=True)
    return shares


def forward(p: Parameters, x: Array, y: npt.NDArray[np.int64]) -> tuple[float, Array, Array]:
    """The mean loss, and what the backward pass needs: r and softmax(z)."""
    h = x @ p["A"] + p["a"]
    r = np.maximum(h, 0.0)
    z = r @ p["B"] + p["b"]
    shares = softmax(z)
    return float(-np.log(shares[np.arange(len(y)), y]).mean()), r, shares


def backward(
    p: Parameters, x: Array, y: npt.NDArray[np.int64], r: Array, shares: Array
) -> Parameters:
    """The slope of the mean loss along every parameter."""
    d_z = (shares - np.eye(2)[y]) / len(y)  # too much probability for the wrong, too little for y
    d_r = d_z @ p["B"].T
    d_h = d_r * (r > 0)  # where the ReLU was flat, nothing comes through
    return {"A": x.T @ d_h, "a": d_h.sum(0), "B": r.T @ d_z, "b": d_z.sum(0)}


def planted() -> tuple[Parameters, Array, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    shapes = {"A": (3, 5), "a": (5,), "B": (5, 2), "b": (2,)}
    parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    x = rng.normal(size=(40, 3))
    return parameters, x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # XOR of two signs


def test_by_hand_as_by_autograd() -> None:
    parameters, x, y = planted()
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    hidden: Tensor = (torch.tensor(x) @ leaves["A"] + leaves["a"]).relu()
    loss = F.cross_entropy(hidden @ leaves["B"] + leaves["b"], torch.tensor(y))
    torch.autograd.backward(loss)
    by_hand, r, shares = forward(parameters, x, y)
    np.testing.assert_allclose(by_hand, loss.item(), rtol=1e-12)
    for name, slope in backward(parameters, x, y, r, shares).items():
        expected = leaves[name].grad
        assert expected is not None
        np.testing.assert_allclose(slope, expected.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_by_hand_as_by_small_steps() -> None:
    """A slope's definition: how much the loss grows along a parameter, over how far it went."""
    parameters, x, y = planted()
    _, r, shares = forward(parameters, x, y)
    for name, slope in backward(parameters, x, y, r, shares).items():
        for place in np.ndindex(slope.shape):
            losses = []
            for step in (1e-6, -1e-6):
                moved = {other: value.copy() for other, value in parameters.items()}
                moved[name][place] += step
                losses.append(forward(moved, x, y)[0])
            np.testing.assert_allclose(slope[place], (losses[0] - losses[1]) / 2e-6, atol=1e-7)


def test_down_the_slope_it_learns() -> None:
    parameters, x, y = planted()
    before, r, shares = forward(parameters, x, y)
    for _ in range(500):
        for name, slope in backward(parameters, x, y, r, shares).items():
            parameters[name] -= 0.5 * slope
        after, r, shares = forward(parameters, x, y)
    assert after < 0.2 < before
    assert (shares.argmax(1) == y).all()
