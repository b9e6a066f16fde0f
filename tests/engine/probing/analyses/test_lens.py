"""The logit lens: shorter networks, hand counts, and a planted solution that is forgotten."""

import doctest
import inspect
import sys

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.attention import attention_scores
from engine.probing.analyses.lens import _forgotten, evaluate_layers, lens
from engine.probing.analyses.positions.move_table import Flags, move_table
from engine.probing.analyses.positions.resampling import Resamples
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError, NotFiniteError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import (
    HEXAPAWN,
    Planted,
    Solved,
    shorter,
    slow_choice,
    slow_logits,
    weight,
)
from tests.support.network.network_cases import TRUNKS, lively_network, small_config
from tests.support.network.universal_cases import lively_universal


@pytest.fixture(scope="module")
def solved() -> Solved:
    return Solved("hexapawn")


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_lens_of_a_layer_is_a_network_that_ends_there(trunk: str, solved: Solved) -> None:
    network = lively_network("hexapawn", trunk, blocks=3)
    legal = move_table(solved.rows[:20], HEXAPAWN)
    layers = evaluate_layers(network, legal)
    assert list(layers) == ["embed", *(f"block.{block}.residual" for block in range(3))]
    for blocks, found in enumerate(layers.values()):
        ends_there = shorter(network, blocks)
        slow = np.concatenate([slow_logits(ends_there, row) for row in legal.rows])
        np.testing.assert_allclose(found.policy, slow, atol=1e-5)
        chances = ends_there.wdl(torch.from_numpy(legal.rows)).numpy()
        np.testing.assert_allclose(np.exp(found.wdl), chances, atol=1e-6)


def test_a_universal_network_has_the_lens_of_its_view(solved: Solved) -> None:
    universal = lively_universal("geometric")
    view, ordinary = universal.for_variant(HEXAPAWN), universal.specialise(HEXAPAWN)
    legal = move_table(solved.rows, HEXAPAWN)
    for own, other in zip(
        evaluate_layers(view, legal).values(),
        evaluate_layers(ordinary, legal).values(),
        strict=True,
    ):
        np.testing.assert_allclose(own.policy, other.policy, atol=1e-5)


def forgetful(seed: int = 0) -> PolicyValueNet:
    """Its last block adds one large vector to every square: the heads then see the same always."""
    network = lively_network("hexapawn", "geometric", seed, blocks=2)
    bias = weight(network, "trunk.blocks.1.mlp.down.bias")
    bias.copy_(1e4 * torch.randn(bias.shape))
    return network


def test_a_solution_that_the_last_block_destroys_is_forgotten(solved: Solved) -> None:
    network, rows = forgetful(), solved.rows
    answer = shorter(network, 1)
    found = lens(network, rows, Planted(answer))
    several = [row for row in rows if len(Position.from_row(row, HEXAPAWN).legal_moves) > 1]
    lost = np.mean([slow_choice(network, row) != slow_choice(answer, row) for row in several])
    assert lost > 0.3
    assert found.decisions == len(several)
    by_layer = {each.layer: each for each in found.layers}
    middle = by_layer["block.0.residual"]
    assert middle.value_kept is not None
    assert middle.value_kept.value == 1.0
    assert middle.value_kept.low < 1.0, "no position outside the sample was seen"
    assert middle.kept_here_only is not None
    assert middle.kept_here_only.value == pytest.approx(lost)
    assert found.best_move is not None
    assert found.best_move.forgotten.value == pytest.approx(lost)
    assert found.best_move.of_errors is not None
    assert found.best_move.of_errors.value == 1.0
    assert found.best_move.found_last.value == 0.0
    example = found.examples[0]
    assert [right for _, right in example.moves][1:] == [True, False]
    row = Position("hexapawn", example.fen).row
    assert example.moves[1][0] == Position("hexapawn", example.fen).uci(
        Position("hexapawn", example.fen).legal_moves[slow_choice(answer, row)]
    )


def test_a_solution_of_the_output_alone_is_found_last(solved: Solved) -> None:
    network = lively_network("hexapawn", "residual", seed=3)
    found = lens(network, solved.rows, Planted(network))
    assert found.best_move is not None
    assert found.best_move.wrong.value == 0.0
    assert found.best_move.forgotten.value == 0.0
    assert (found.best_move.of_errors, found.best_move.excess) == (None, None)
    earlier = [shorter(network, blocks) for blocks in (0, 1)]
    several = [row for row in solved.rows if len(Position.from_row(row, HEXAPAWN).legal_moves) > 1]
    late = [
        all(slow_choice(each, row) != slow_choice(network, row) for each in earlier)
        for row in several
    ]
    assert found.best_move.found_last.value == pytest.approx(np.mean(late))


@pytest.mark.parametrize("trunk", ["geometric", "plain"])
def test_figures_are_those_of_a_count_by_hand(trunk: str, solved: Solved) -> None:
    network, solution = lively_network("hexapawn", trunk, seed=5), solved.solution
    found = lens(network, solved.rows, solved)
    decisions = solution.decision_positions()
    assert (found.positions, found.decisions) == (70, len(decisions))
    kept: dict[int, list[bool]] = {blocks: [] for blocks in range(3)}
    for row in decisions:
        legal = Position.from_row(row, HEXAPAWN).legal_moves
        keeping = solution.value_preserving_moves(row).tolist()
        for blocks, right in kept.items():
            right.append(legal[slow_choice(shorter(network, blocks), row)] in keeping)
    table = np.array(list(kept.values())).T
    for each, column in zip(found.layers, table.T, strict=True):
        assert each.value_kept is not None
        assert each.value_kept.value == pytest.approx(column.mean())
        assert each.value_kept.positions == len(decisions)
        assert each.behind is not None
        assert each.behind.value == pytest.approx((1.0 * table[:, 2] - column).mean())
    assert found.layers[-1].behind is not None
    assert (found.layers[-1].behind.low, found.layers[-1].behind.high) == (0.0, 0.0)
    best = found.best_move
    assert best is not None
    assert best.forgotten.value == pytest.approx((table[:, :2].any(1) & ~table[:, 2]).mean())
    assert best.found_last.value == pytest.approx((~table[:, :2].any(1) & table[:, 2]).mean())
    p = table.mean(0)
    assert best.independent.value == pytest.approx((1 - (1 - p[0]) * (1 - p[1])) * (1 - p[2]))
    assert best.of_errors is not None
    assert best.excess is not None
    assert best.of_errors.value == pytest.approx(best.forgotten.value / best.wrong.value)
    assert best.excess.value == pytest.approx(best.of_errors.value - (1 - (1 - p[0]) * (1 - p[1])))
    assert best.excess.value == pytest.approx(
        (best.forgotten.value - best.independent.value) / best.wrong.value
    )
    shuffled = [
        (np.delete(table, last, axis=1).any(1) & ~table[:, last]).mean() for last in range(3)
    ]
    assert best.shuffled.value == pytest.approx(np.mean(shuffled))
    assert best.shuffled.low < best.shuffled.value < best.shuffled.high
    assert (best.shuffled_least, best.shuffled_most) == pytest.approx(
        (min(shuffled), max(shuffled))
    )
    values = np.array([solution.value(row) for row in solved.rows])
    chances = network.wdl(torch.from_numpy(solved.rows)).numpy()
    error = np.abs(chances[:, 0] - chances[:, 2] - values).mean()
    last = found.layers[-1]
    assert last.value_error is not None
    assert last.value_error.value == pytest.approx(error, abs=1e-5)
    assert last.result_right is not None
    assert last.result_right.value == pytest.approx((1 - chances.argmax(1) == values).mean())
    assert (last.agreement.value, last.divergence.value) == (1.0, 0.0)


def test_a_few_errors_that_are_all_forgotten_are_no_more_than_chance() -> None:
    """Two layers that are nearly always right: of ten errors of the output, chance gives ten."""
    right = np.ones((1000, 3), bool)
    right[:10, 2] = False
    right[100:150, 0] = right[200:230, 1] = False
    found = _forgotten("result", right, np.ones(1000, bool), Resamples(np.arange(1000), 300))
    assert found is not None
    assert found.of_errors is not None
    assert found.excess is not None
    assert (found.of_errors.value, found.of_errors.positions) == (1.0, 10)
    # With a share of 31 % of others, none of ten would be seen with a chance of 2.5 %.
    assert found.of_errors.low == pytest.approx(0.025 ** (1 / 10), abs=1e-6)
    assert found.excess.value == pytest.approx(0.05 * 0.03)
    assert found.excess.low < 0.0 < found.excess.high


def test_divergence_is_that_of_the_whole_policies(solved: Solved) -> None:
    network = lively_network("hexapawn", "geometric", seed=2)
    found = lens(network, solved.rows)
    early = shorter(network, 1)
    slow = []
    for row in solved.rows:
        p, q = slow_logits(network, row), slow_logits(early, row)
        slow.append((np.exp(p) * (p - q)).sum())
    assert found.layers[1].divergence.value == pytest.approx(np.mean(slow), abs=1e-5)


def test_a_network_that_has_learned_nothing_plays_at_random(solved: Solved) -> None:
    """All its moves are equally likely: the choice among them is drawn, not the first one's."""
    torch.manual_seed(0)
    large = Solved("hexapawn4x4")
    network = PolicyValueNet(small_config("hexapawn4x4", "geometric"))
    found = lens(network, large.rows[::4], large)
    assert found.random_move is not None
    for each in found.layers:
        assert each.value_kept is not None
        assert each.value_kept.low <= found.random_move <= each.value_kept.high
        assert each.agreement.value == 1.0
    assert found.best_move is not None
    assert found.best_move.forgotten.value == 0.0


def test_without_a_solution_the_layers_are_compared_with_the_output() -> None:
    network = lively_network("gardner", "geometric")
    rows = Position("gardner").row[None]
    found = lens(network, rows, resamples=10)
    assert found.decisions is None
    assert found.random_move is None
    assert (found.best_move, found.result) == (None, None)
    assert found.layers[0].value_kept is None
    assert "keeps" not in repr(found)
    assert "block.1.residual" in repr(found)


def test_positions_that_a_table_does_not_hold_are_left_out(solved: Solved) -> None:
    network = lively_network("hexapawn", "geometric", seed=1)
    black = solved.rows[:, HEXAPAWN.squares] == 1

    def is_black(rows: Rows) -> Flags:
        flags: Flags = rows[:, HEXAPAWN.squares] == 1
        return flags

    partial = lens(network, solved.rows, Solved("hexapawn", unknown=is_black))
    whole = lens(network, solved.rows[~black], solved)
    assert partial.positions == 70
    for each, other in zip(partial.layers, whole.layers, strict=True):
        assert each.value_kept is not None
        assert other.value_kept is not None
        assert each.value_kept.value == pytest.approx(other.value_kept.value)
        assert each.value_kept.positions == other.value_kept.positions


def test_the_same_seed_gives_the_same_lens_and_the_network_is_left_as_it_was(
    solved: Solved,
) -> None:
    network = lively_network("hexapawn", "geometric").train()
    assert lens(network, solved.rows, solved) == lens(network, solved.rows, solved)
    assert network.training
    assert not any(network.hook_points._find(name).open for name in network.hook_points.names)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 30), np.uint8), "uint8[2, 30]"),
        (np.zeros((0, 14), np.uint8), "no position"),
        (np.zeros((1, 14), np.int64), "int64[1, 14]"),
        (Position("hexapawn", "P1p/3/3 b").row[None], "P1p/3/3 b - -"),
    ],
)
def test_what_is_no_unfinished_position_is_quoted(rows: np.ndarray, message: str) -> None:
    network = lively_network("hexapawn", "geometric")
    with pytest.raises(InputError) as problem:
        lens(network, rows)
    assert message in str(problem.value)


def test_a_variant_of_another_board_is_refused() -> None:
    network = lively_network("hexapawn", "geometric")
    with pytest.raises(InputError, match="3x3 does not play gardner on 5x5"):
        lens(network, Position("gardner").row[None], variant=get_variant("gardner"))


def test_what_is_no_network_of_one_variant_is_told_how_to_become_one(solved: Solved) -> None:
    with pytest.raises(InputError, match="UniversalNet is no network of one variant"):
        lens(lively_universal("geometric"), solved.rows)  # type: ignore[arg-type]  # a mistake
    with pytest.raises(InputError, match="resamples = 1"):
        lens(lively_network("hexapawn", "geometric"), solved.rows, resamples=1)
    with pytest.raises(InputError, match="confidence = 95"):
        lens(lively_network("hexapawn", "geometric"), solved.rows, confidence=95)


def test_a_layer_that_is_not_finite_is_named(solved: Solved) -> None:
    network = lively_network("hexapawn", "geometric")
    weight(network, "trunk.blocks.1.mlp.down.bias")[0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"the policy of block\.1\.residual is nan"):
        lens(network, solved.rows)
    weight(network, "trunk.blocks.0.attention.qkv.bias")[0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"block\.0\.attention\.pattern"):
        attention_scores(network, solved.rows, solved)


@pytest.mark.parametrize("function", [lens, attention_scores])
def test_the_examples_run(function: object) -> None:
    name, module = getattr(function, "__name__", ""), getattr(function, "__module__", "")
    text = inspect.getdoc(function) or ""
    test = doctest.DocTestParser().get_doctest(text, vars(sys.modules[module]), name, None, None)
    assert len(test.examples) >= 5
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert result.failed == 0, "".join(told)
