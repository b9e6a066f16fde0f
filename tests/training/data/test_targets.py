"""No target has a wrong sign: each is checked, and learned, for both colours and for draws."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.checkpoint import (
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.network.model.config import NetworkConfig
from engine.network.model.heads import EMPTY_SQUARE, MY_SQUARE, THEIR_SQUARE
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.kernels import generate_batch
from engine.rules.moves import from_square, to_square
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, SIDE
from engine.rules.variant import Variant, get_variant
from search.evaluator import UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solution import Solution
from search.exact.solver import solve
from search.scores import UNPROVEN
from tests.support.training.training_cases import (
    SMALL_NETWORK,
    child_of,
    hexapawn,
    random_rows,
    rook_ending,
    rows_of_game,
    self_play_config,
)
from training.config import LearningConfig
from training.data.replay import ReplayWindow
from training.data.shards import NO_REPLY, UNKNOWN_END, GameRows, select
from training.data.targets import make_batch, ownership_targets, sampling_weights, value_targets
from training.learner import networks
from training.learner.learner import Learner
from training.learner.losses import losses
from training.selfplay.games import SelfPlay
from training.selfplay.teacher import teacher_rows

ALL = LearningConfig(
    batch=64,
    learning_rate=1e-2,
    warm_up=5,
    ema_steps=10,
    moves_left_weight=0.05,
    reply_weight=0.3,
    ownership_weight=0.3,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def played(variant: Variant, positions: int, *, seed: int = 1) -> GameRows:
    """Random games."""
    config = self_play_config(noise_fraction=1.0, simulations=1)
    return SelfPlay(variant, config, np.random.default_rng(seed)).play(
        UniformEvaluator(), positions
    )


@pytest.mark.parametrize("outcome", [1, 0, -1])
def test_value_targets(outcome: int) -> None:
    rows = random_rows(get_variant("hexapawn"), [2] * 4)
    rows.outcomes[:] = outcome
    rows.proven[:] = [UNPROVEN, 1, 0, -1]
    targets = value_targets(rows, 0.75)
    # Win, draw, loss.
    exact = {1: [1, 0, 0], 0: [0, 1, 0], -1: [0, 0, 1]}
    expected = 0.75 * np.array(exact[outcome]) + 0.25 * rows.search_wdl[0]
    np.testing.assert_allclose(targets[0], expected, rtol=1e-6)
    assert targets[1:].tolist() == [exact[1], exact[0], exact[-1]]


@pytest.mark.parametrize("name", ["hexapawn4x4", "gardner", "silverman4x5"])
def test_replies_are_the_moves_that_were_played_next(name: str) -> None:
    variant = get_variant(name)
    rows = played(variant, 150)
    assert rows.replies.any()
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        assert rows.replies[places[-1]] == NO_REPLY
        for place, following in itertools.pairwise(places):
            reply = int(rows.replies[place])
            position = Position.from_row(rows.positions[following], variant)
            # The position after the next one, or the end, follows from it.
            position.push(reply)
            if following != places[-1]:
                board = rows.positions[following + 1][: variant.squares]
            else:
                board = rows.endings[following]
            assert np.array_equal(position.row[: variant.squares], board)


def test_endings_are_those_of_finished_games() -> None:
    variant = rook_ending()
    rows = played(variant, 200)
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        assert (rows.endings[places] == rows.endings[places[0]]).all()
        last = Position.from_row(rows.positions[places[-1]], variant)
        boards = []
        for move in last.legal_moves:
            last.push(move)
            boards.append(last.row[: variant.squares].copy())
            last.pop()
        assert any(np.array_equal(rows.endings[places[0]], board) for board in boards)


def test_ownership_is_seen_from_the_side_to_move() -> None:
    variant = get_variant("hexapawn")
    positions = np.repeat(variant.start_row[None], 2, axis=0)
    positions[1, variant.squares + SIDE] = 1
    # At the end: white on a1, black on b2.
    ending = np.zeros(9, np.uint8)
    ending[0], ending[4] = 7, 7 | BLACK_BIT
    targets = ownership_targets(variant, positions, np.stack([ending, ending]))
    white, black = np.full(9, EMPTY_SQUARE), np.full(9, EMPTY_SQUARE)
    white[0], white[4] = MY_SQUARE, THEIR_SQUARE
    # Black sees a1 where white sees a3.
    black[6], black[4] = THEIR_SQUARE, MY_SQUARE
    assert targets.tolist() == [white.tolist(), black.tolist()]


def test_the_mirror_image_has_the_mirrored_targets() -> None:
    variant = get_variant("hexapawn4x4")
    rows = played(variant, 60)
    plain, mirrored = (make_batch(variant, rows, ALL, mirror) for mirror in (False, True))
    board = (-1, variant.height, variant.width)
    assert torch.equal(mirrored.ownership.view(board).flip(2), plain.ownership.view(board))
    assert torch.equal(mirrored.replied, plain.replied)
    for move, image in zip(plain.replies.tolist(), mirrored.replies.tolist(), strict=True):
        for square in (from_square, to_square):
            assert square(move) // 4 == square(image) // 4
            assert square(move) % 4 == 3 - square(image) % 4


def network_for(variant: Variant, **settings: object) -> PolicyValueNet:
    torch.manual_seed(1)
    heads = {"reply": True, "ownership": True, "channels": 32, "hidden": 64}
    return PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK | heads | settings))


def learned(
    variant: Variant, rows: GameRows, steps: int, **settings: object
) -> tuple[PolicyValueNet, npt.NDArray[np.bool_]]:
    """The acting network after training on rows, and which of them have Black to move."""
    learner = Learner([variant], network_for(variant, **settings), ALL)
    window = ReplayWindow(ALL)
    window.add(rows, 10_000)
    learner.learn([window], steps, np.random.default_rng(0))
    average = networks.specialised_network(learner.ema, variant)
    return average, rows.positions[:, variant.squares + SIDE] == 1


@pytest.mark.parametrize("head", ["wdl", "scalar"])
def test_a_teachers_lessons_are_learned_for_both_sides(head: str) -> None:
    variant, solution = hexapawn()
    rows = teacher_rows(variant, solution, solution.unfinished_positions())
    network, black = learned(variant, rows, 300, value=head)
    batch = make_batch(variant, rows, ALL, mirror=False)
    with torch.no_grad():
        outputs, auxiliary = network.forward_with_auxiliary(batch.positions)
    wdl = outputs.wdl.softmax(-1)
    right = torch.sign(wdl[:, 0] - wdl[:, 2]).numpy() == rows.outcomes
    assert auxiliary.reply is not None
    assert auxiliary.ownership is not None
    likeliest = auxiliary.reply.flatten(1).argmax(1)[batch.replied].numpy()
    size = variant.squares**2
    wanted = network.encoder.from_to(batch.positions, batch.replies, batch.replied).numpy() % size
    # Mirrored twins may have another first best reply.
    answered = np.ones(len(rows), np.bool_)
    answered[batch.replied.numpy()] = likeliest == wanted
    said, placed = auxiliary.ownership.argmax(-1).numpy(), batch.ownership.numpy()
    quick = np.abs(outputs.moves_left.numpy() - rows.moves_left) < 1.0
    for side in (black, ~black):
        assert right[side].mean() > 0.9
        assert answered[side].mean() > 0.75
        assert (said[side] == placed[side]).mean() > 0.75
        # Mine and theirs are not taken for each other.
        occupied = placed[side] != EMPTY_SQUARE
        swapped = MY_SQUARE + THEIR_SQUARE - placed[side][occupied]
        assert (said[side][occupied] == placed[side][occupied]).mean() > 0.5
        assert (said[side][occupied] == swapped).mean() < 0.15
        assert quick[side].mean() > 0.9


def test_draws_are_learned_as_draws() -> None:
    """Two kinds of games, won and drawn, that the position tells apart for either side to move."""
    variant = get_variant("gardner")
    rows = played(variant, 64, seed=3)
    drawn = np.arange(len(rows)) % 2 == 0
    exact = np.where(drawn, 0, np.where(rows.positions[:, variant.squares + SIDE] == 1, 1, -1))
    rows = replace(rows, proven=exact.astype(np.int8))
    for head, most in (("wdl", 1), ("scalar", None)):
        network, _ = learned(variant, rows, 150, value=head)
        wdl = network.wdl(torch.from_numpy(rows.positions)).numpy()
        value = wdl[:, 0] - wdl[:, 2]
        assert (np.abs(value[drawn]) < 0.5).mean() > 0.9
        assert (np.sign(value[~drawn]) == exact[~drawn]).mean() > 0.9
        if most is not None:
            assert (wdl[drawn].argmax(1) == most).mean() > 0.9


def test_a_scalar_head_says_win_and_loss_and_no_draw() -> None:
    variant = get_variant("hexapawn")
    network = network_for(variant, value="scalar")
    head = network.value.wdl
    torch.nn.init.normal_(next(iter(head.parameters())))
    positions = torch.from_numpy(np.stack([variant.start_row] * 2))
    positions[1, variant.squares + SIDE] = 1
    shares = network.wdl(positions)
    value = (shares[:, 0] - shares[:, 2]).numpy()
    logits = network(positions).wdl.detach().numpy()
    np.testing.assert_allclose(value, np.tanh(logits[:, 0]), atol=1e-6)
    assert (shares[:, 1] < 1e-6).all()
    # Its loss is the squared error of the value.
    rows = random_rows(variant, [2, 2])
    batch = make_batch(variant, replace(rows, positions=positions.numpy()), ALL, mirror=False)
    batch = batch._replace(moves=batch.moves * 0, rows=batch.rows)
    target = (batch.wdl[:, 0] - batch.wdl[:, 2]).numpy()
    assert losses(network, batch).wdl.item() == pytest.approx(np.mean((value - target) ** 2))


def test_surprising_rows_are_drawn_more_often() -> None:
    variant = get_variant("hexapawn")
    rows = replace(random_rows(variant, [1] * 4), surprise=np.array([0, 1, 2, 5], np.float32))
    assert sampling_weights(rows, 0.0).tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(sampling_weights(rows, 1.0), [0, 0.5, 1, 2.5])
    np.testing.assert_allclose(sampling_weights(rows, 0.5), [0.5, 0.75, 1, 1.75])
    # Nobody was surprised.
    calm = replace(rows, surprise=np.zeros(4, np.float32))
    assert sampling_weights(calm, 0.5).tolist() == [1, 1, 1, 1]
    config = LearningConfig(surprise_share=1.0)
    window = ReplayWindow(config)
    window.add(rows, 10)
    drawn = window.sample(4000, np.random.default_rng(0)).surprise
    shares = [np.mean(drawn == surprise) for surprise in (0, 1, 2, 5)]
    np.testing.assert_allclose(shares, [0, 0.125, 0.25, 0.625], atol=0.03)


def test_surprise_is_how_far_the_search_went_from_the_prior() -> None:
    variant, solution = hexapawn()
    config = self_play_config(varied_starts=1.0, simulations=32)
    knowing, unknowing = (
        SelfPlay(variant, config, np.random.default_rng(2)).play(evaluator, 200)
        for evaluator in (SolverEvaluator(solution), UniformEvaluator())
    )
    assert (knowing.surprise >= 0).all()
    assert (unknowing.surprise >= 0).all()
    # The search agrees with the prior.
    assert np.median(knowing.surprise) < 0.3 * np.median(unknowing.surprise[unknowing.surprise > 0])
    counts = np.diff(unknowing.offsets)
    starts = unknowing.offsets[:-1]
    entropy = -np.add.reduceat(
        unknowing.policy * np.log(np.maximum(unknowing.policy, 1e-30)), starts
    )
    np.testing.assert_allclose(unknowing.surprise, np.log(counts) - entropy, atol=1e-4)


@pytest.fixture(scope="module")
def breakthrough() -> tuple[Variant, Solution]:
    variant = child_of("hexapawn", "slim", maxRank="5", startFen="ppp/3/3/3/PPP w - - 0 1")
    return variant, solve(variant)


def test_the_teacher_tells_the_truth(breakthrough: tuple[Variant, Solution]) -> None:
    variant, solution = breakthrough
    positions = solution.unfinished_positions()[:400]
    rows = teacher_rows(variant, solution, positions)
    moves, offsets = generate_batch(variant.tables, positions)
    assert np.array_equal(rows.moves, moves)
    values, distances = solution.lookup_batch(positions)
    assert np.array_equal(rows.outcomes, values)
    assert np.array_equal(rows.moves_left, distances)
    for index, row in enumerate(positions):
        part = slice(offsets[index], offsets[index + 1])
        kept = moves[part][rows.policy[part] > 0]
        assert sorted(kept) == sorted(solution.value_preserving_moves(row))
        # Best play by both sides ends in the board that it names, after the reply that it names.
        position = Position.from_row(row, variant)
        line = []
        while position.outcome() is None:
            line.append(int(solution.optimal_moves(position.row)[0]))
            position.push(line[-1])
        assert len(line) == rows.moves_left[index]
        assert rows.replies[index] == (line[1] if len(line) > 1 else NO_REPLY)
        assert np.array_equal(rows.endings[index], position.row[: variant.squares])


def test_only_training_asks_the_auxiliary_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = get_variant("hexapawn")
    network = network_for(variant, value="scalar")
    plain = PolicyValueNet(replace(network.config, reply=False, ownership=False))
    # What plays is the same with them and without.
    state = network.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    positions = torch.from_numpy(variant.start_row[None])
    for ours, theirs in zip(network(positions), plain(positions), strict=True):
        assert torch.equal(ours, theirs)
    assert plain.forward_with_auxiliary(positions)[1] == (None, None)

    def never(*_: object) -> None:
        raise AssertionError("an auxiliary head was computed")

    for head in (network.reply, network.ownership):
        monkeypatch.setattr(head, "forward", never)
    network(positions)
    moves, offsets = generate_batch(variant.tables, variant.start_row[None])
    exact = NetworkEvaluator(plain).evaluate(variant.start_row[None], moves, offsets)
    quick = make_evaluator(network).evaluate(variant.start_row[None], moves, offsets)
    np.testing.assert_allclose(quick.wdl, exact.wdl, atol=0.02)
    with pytest.raises(AssertionError, match="auxiliary"):
        network.forward_with_auxiliary(positions)
    # They travel with a checkpoint.
    save_checkpoint(tmp_path / "network", network, metadata={})
    loaded = load_checkpoint(tmp_path / "network", variant=variant).network
    assert loaded.config == network.config
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


def test_a_checkpoint_from_before_the_auxiliary_heads_is_read(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
    path = tmp_path / "network"
    save_checkpoint(path, network, metadata={})
    tensors, header = load_tensors(path)
    for field in ("value", "reply", "ownership"):
        del header["network"][field]
    save_tensors(path, tensors, header)
    assert load_checkpoint(path, variant=variant).network.config == network.config


def test_an_unknown_end_gives_no_targets() -> None:
    """Moves left and final squares have no target; all others have."""
    variant, solution = hexapawn()
    rows = teacher_rows(variant, solution, solution.unfinished_positions())
    heads = {"ownership": True, "blocks": 1, "channels": 8}
    network = PolicyValueNet(NetworkConfig.for_variant(variant, heads))
    cut = np.arange(len(rows)) % 3 == 0
    moves_left = np.where(cut, UNKNOWN_END, rows.moves_left).astype(np.int16)
    known = select(rows, np.flatnonzero(~cut))
    config = LearningConfig()
    ours, theirs, whole = (
        losses(network, make_batch(variant, part, config, mirror=False), len(rows))
        for part in (replace(rows, moves_left=moves_left), known, rows)
    )
    torch.testing.assert_close(ours.moves_left, theirs.moves_left)
    torch.testing.assert_close(ours.ownership, theirs.ownership)
    assert ours.ownership < whole.ownership
    torch.testing.assert_close(ours.wdl, whole.wdl)
