"""Klein, Neural Networks for Chess, chapter 2: what one layer cannot say, and two can.

Exclusive or:    b           A single neuron is true on one side of a straight line, and no
                 1 | 1  0    straight line has both ones on one side and both zeros on the other
                 0 | 0  1    (Minsky and Papert 1969). A hidden layer bends the plane first.
                   +------ a
                     0  1
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUTS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
AND = torch.tensor([0.0, 0.0, 0.0, 1.0])
XOR = torch.tensor([0.0, 1.0, 1.0, 0.0])


def step(x: Tensor) -> Tensor:
    """Rosenblatt's neuron: true or false."""
    return (x > 0).float()


def perceptron(target: Tensor, sweeps: int = 50) -> Tensor:
    """Rosenblatt's rule: after each mistake the weights move by the input, towards the target."""
    weights, bias = torch.zeros(2), torch.zeros(())
    for _ in range(sweeps):
        for x, wanted in zip(INPUTS, target, strict=True):
            mistake = wanted - step(x @ weights + bias)
            weights, bias = weights + mistake * x, bias + mistake
    return step(INPUTS @ weights + bias)


def test_a_perceptron_learns_and() -> None:
    assert torch.equal(perceptron(AND), AND)


def test_a_perceptron_cannot_learn_xor() -> None:
    assert not torch.equal(perceptron(XOR), XOR)


def test_no_single_neuron_says_xor() -> None:
    """Not a matter of learning: of a whole grid of neurons many say AND and none says XOR."""
    grid = torch.linspace(-2, 2, 17)
    neurons = torch.tensor(list(itertools.product(grid.tolist(), repeat=3)))
    answers = step(neurons[:, :2] @ INPUTS.T + neurons[:, 2:])  # [neurons, 4]
    assert (answers == AND).all(1).sum() > 100
    assert not (answers == XOR).all(1).any()


def test_two_layers_by_hand_say_xor() -> None:
    """One or the other, but not both."""
    either = step(INPUTS.sum(1) - 0.5)
    both = step(INPUTS.sum(1) - 1.5)
    assert torch.equal(step(either - both - 0.5), XOR)


def learn(network: nn.Module, steps: int) -> Tensor:
    """Gradient descent on the cross entropy; the probabilities of "true"."""
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(network(INPUTS)[:, 0], XOR)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return torch.sigmoid(network(INPUTS)[:, 0])


def test_two_layers_learn_xor_and_one_stays_undecided() -> None:
    torch.manual_seed(0)
    two = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    assert (learn(two, 500) - XOR).abs().max() < 0.05
    one = nn.Sequential(nn.Linear(2, 1))
    assert torch.allclose(learn(one, 500), torch.full((4,), 0.5), atol=0.01)
