"""Learning: the losses are those of the textbook, the truth is learned, a pause changes nothing."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.kernels import generate_batch
from engine.rules.tables import SIDE
from engine.rules.variant import get_variant
from search.scores import UNPROVEN
from tests.support.network.network_cases import lively_network
from tests.support.training.training_cases import SMALL_NETWORK, hexapawn, perfect_rows
from training.config import LearningConfig
from training.data.replay import ReplayWindow
from training.data.shards import GameRows
from training.data.targets import Batch, make_batch
from training.learner.learner import Learner, _AdamW
from training.learner.losses import log_policy, losses
from training.learner.networks import specialised_network

QUICK = LearningConfig(batch=64, learning_rate=1e-2, warm_up=5, ema_steps=10)


def fresh_learner(seed: int = 1) -> Learner:
    torch.manual_seed(seed)
    variant = get_variant("hexapawn")
    network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
    return Learner([variant], network, QUICK)


def window_of(rows: GameRows) -> ReplayWindow:
    window = ReplayWindow(QUICK)
    window.add(rows, 1000)
    return window


def right_signs(learner: Learner) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For each unfinished position: whether the acting network knows who wins; Black to move."""
    variant, solution = hexapawn()
    positions = solution.unfinished_positions()
    network = specialised_network(learner.ema, variant).eval()
    wdl = network.wdl(torch.from_numpy(positions)).numpy()
    values, _ = solution.lookup_batch(positions)
    black = positions[:, variant.squares + SIDE] == 1
    return np.sign(wdl[:, 0] - wdl[:, 2]) == values, black


def test_log_policy_is_a_softmax_of_each_position() -> None:
    rng = np.random.default_rng(0)
    counts = [3, 1, 5, 2]
    logits = torch.from_numpy(rng.normal(scale=30, size=sum(counts)).astype(np.float32))
    rows = torch.from_numpy(np.repeat(np.arange(4), counts))
    expected = torch.cat([part.log_softmax(0) for part in torch.split(logits, counts)])
    torch.testing.assert_close(log_policy(logits, rows, 4), expected)


def perfect_batch(network: PolicyValueNet) -> Batch:
    """Targets that the network already meets."""
    variant, solution = hexapawn()
    batch = make_batch(variant, perfect_rows(variant, solution), QUICK, mirror=False)
    size = len(batch.positions)
    with torch.no_grad():
        outputs = network(batch.positions)
        logits = network.move_logits(outputs, batch.positions, batch.moves, batch.rows)
        return batch._replace(
            policy=log_policy(logits, batch.rows, size).exp(),
            wdl=outputs.wdl.softmax(-1),
            moves_left=outputs.moves_left,
        )


def test_a_perfect_imitation_has_no_gap() -> None:
    network = lively_network("hexapawn", "geometric")
    batch = perfect_batch(network)
    policy, gap, wdl, moves_left = (loss.item() for loss in losses(network, batch)[:4])
    counts = np.bincount(batch.rows.numpy())
    shares = np.split(batch.policy.numpy().astype(np.float64), np.cumsum(counts)[:-1])
    entropy = -np.mean([(share * np.log(share)).sum() for share in shares])
    assert policy == pytest.approx(entropy, rel=1e-5)
    assert gap == pytest.approx(0, abs=1e-5)
    assert wdl == pytest.approx(-(batch.wdl * batch.wdl.log()).sum(1).mean().item(), rel=1e-5)
    assert moves_left == 0
    # Anything else costs more.
    other = batch._replace(
        policy=batch.policy.flip(0), wdl=batch.wdl.flip(1), moves_left=batch.moves_left + 1
    )
    assert losses(network, other)[1].item() > 0.01
    assert losses(network, other)[2].item() > wdl + 0.01
    assert losses(network, other)[3].item() == pytest.approx(0.5)


def test_a_mirrored_batch_holds_the_mirrored_positions_and_their_moves() -> None:
    variant, solution = hexapawn()
    rows = perfect_rows(variant, solution)
    plain, mirrored = (make_batch(variant, rows, QUICK, mirror) for mirror in (False, True))
    moves, offsets = generate_batch(variant.tables, mirrored.positions.numpy())
    assert np.array_equal(np.repeat(np.arange(len(rows)), np.diff(offsets)), mirrored.rows)
    for index in range(len(rows)):
        part = slice(offsets[index], offsets[index + 1])
        assert sorted(moves[part]) == sorted(mirrored.moves[part].tolist())
        good = solution.value_preserving_moves(mirrored.positions[index].numpy())
        kept = mirrored.moves[part][mirrored.policy[part] > 0]
        assert sorted(good) == sorted(kept.tolist())
    assert torch.equal(plain.wdl, mirrored.wdl)
    assert not torch.equal(plain.positions, mirrored.positions)


def test_the_truth_is_learned_for_both_sides() -> None:
    learner = fresh_learner()
    window = window_of(perfect_rows(*hexapawn()))
    taken: list[int] = []
    found = learner.learn([window], 350, np.random.default_rng(0), taken.append)
    right, black = right_signs(learner)
    assert len(right) == 70
    assert right[black].all()
    assert right[~black].all()
    assert sum(taken) == learner.steps == 350
    assert found["policy"] > found["policy_gap"] > 0


def test_from_shuffled_results_it_is_not() -> None:
    rows = perfect_rows(*hexapawn())
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = replace(rows, outcomes=rows.outcomes[order], search_wdl=rows.search_wdl[order])
    learner = fresh_learner()
    learner.learn([window_of(shuffled)], 150, np.random.default_rng(0))
    assert right_signs(learner)[0].mean() < 0.9


def test_proven_values_teach_as_well() -> None:
    """Proofs and results are one truth to the batch, whichever side they are for."""
    rows = perfect_rows(*hexapawn())
    proven = replace(
        rows, proven=rows.outcomes, outcomes=-rows.outcomes, search_wdl=rows.search_wdl[:, ::-1]
    )
    assert (rows.proven == UNPROVEN).all()
    variant = get_variant("hexapawn")
    wdl = make_batch(variant, proven, QUICK, mirror=False).wdl
    assert torch.equal(wdl, make_batch(variant, rows, QUICK, mirror=False).wdl)


def copied(learner: Learner) -> dict[str, torch.Tensor]:
    """The learner's state, which it no longer changes."""
    return {name: tensor.clone() for name, tensor in learner.state().items()}


def test_a_restored_learner_goes_on_bit_for_bit() -> None:
    window = window_of(perfect_rows(*hexapawn()))
    learner, restored = fresh_learner(), fresh_learner(seed=2)
    learner.learn([window], 3, np.random.default_rng(0))
    restored.restore(copied(learner), learner.steps)
    assert restored.steps == 3
    for one in (learner, restored):
        one.learn([window], 4, np.random.default_rng(1))
    ours, theirs = learner.state(), restored.state()
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_fresh_learner_is_restored_too() -> None:
    learner, restored = fresh_learner(), fresh_learner(seed=2)
    restored.restore(copied(learner), 0)
    window = window_of(perfect_rows(*hexapawn()))
    for one in (learner, restored):
        one.learn([window], 2, np.random.default_rng(1))
    assert all(torch.equal(t, restored.state()[name]) for name, t in learner.state().items())


def test_another_networks_state_does_not_fit() -> None:
    state = copied(fresh_learner())
    del state["network.value.wdl.weight"]
    with pytest.raises(RuntimeError, match=r"value\.wdl\.weight"):
        fresh_learner().restore(state, 1)


def test_the_acting_network_follows_as_a_mean() -> None:
    window = window_of(perfect_rows(*hexapawn()))
    learner = fresh_learner()
    weights = []
    for _ in range(60):
        learner.learn([window], 1, np.random.default_rng(1))
        weights.append(learner.network.value.wdl.weight.detach().clone())
        if len(weights) == 1:
            assert torch.equal(learner.ema.value.wdl.weight, weights[0])
    recent = torch.stack(weights[-30:])
    followed = learner.ema.value.wdl.weight
    assert (followed >= recent.min(0).values).all()
    assert (followed <= recent.max(0).values).all()
    assert not torch.equal(followed, weights[-1])


def test_a_surprise_after_a_long_quiet_time_is_no_larger_step_than_at_first() -> None:
    """In a network that plays perfectly gradients nearly vanish; one batch must not undo it."""
    signs = torch.Generator().manual_seed(2)
    weights, gradient = torch.zeros(64), torch.zeros(64)
    optimiser = _AdamW(weights, gradient, 0.0)

    def moved(size: float) -> float:
        """The largest change of a weight by a gradient of that size, of random signs."""
        gradient.copy_(size * (2.0 * torch.randint(0, 2, (64,), generator=signs) - 1.0))
        before = weights.clone()
        optimiser.step(1e-3)
        return float((weights - before).abs().max())

    noisy = [moved(1.0) for _ in range(2_000)]
    for _ in range(8_000):
        moved(1e-3)
    surprise = moved(1.0)
    # Alone, without a mean of gradients before it, it moves a weight by a tenth of the rate.
    assert 0.5e-4 < surprise < 1.5e-4
    assert surprise < max(noisy[-100:])


def test_the_optimiser_is_torch_s_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(1003, generator=generator)
    gradient = torch.zeros_like(weights)
    theirs = torch.nn.Parameter(weights.clone())
    torch_s = torch.optim.AdamW([theirs], weight_decay=1e-3, fused=True, amsgrad=True)
    ours = _AdamW(weights, gradient, 1e-3)
    assert ours.state() == {}
    for step in range(1, 9):
        gradient.copy_(torch.randn(1003, generator=generator))
        theirs.grad = gradient.clone()
        torch_s.param_groups[0]["lr"] = 1e-3 * step
        torch_s.step()
        ours.step(1e-3 * step)
    assert torch.equal(weights, theirs.data)
    state = torch_s.state_dict()["state"][0]
    assert ours.state().keys() == state.keys()
    assert all(torch.equal(entry, state[name]) for name, entry in ours.state().items())
    # A state written by torch's own class is restored.
    copy = weights.clone()
    again = _AdamW(copy, gradient, 1e-3)
    again.restore(state)
    again.step(1e-3)
    ours.step(1e-3)
    assert torch.equal(copy, weights)
    # Older versions kept no largest mean squares: those of now are the largest known.
    old = {name: entry for name, entry in state.items() if name != "max_exp_avg_sq"}
    again.restore(old)
    assert torch.equal(again.state()["max_exp_avg_sq"], state["exp_avg_sq"])
    with pytest.raises(ValueError, match="exp_avg: \\[7\\]"):
        again.restore(state | {"exp_avg": torch.zeros(7)})
    with pytest.raises(ValueError, match="optimiser: step"):
        again.restore({"step": state["step"]})
