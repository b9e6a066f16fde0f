"""Piece values: planted weights are recovered, and the regression is least squares."""

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.probing.analyses.piece_values import Counts, piece_values, regress, values_of
from engine.probing.analyses.positions.evaluations import Evaluations, evaluate
from engine.probing.analyses.positions.move_table import move_table
from engine.probing.analyses.positions.resampling import Resamples
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.probing.data.samples import play_random_games
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BISHOP, BLACK_BIT, KNIGHT, PAWN, QUEEN, ROOK
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import HEXAPAWN, Solved, weight
from tests.support.network.network_cases import lively_network, small_config

GARDNER = get_variant("gardner")
WORTH = {PAWN: 0.1, KNIGHT: 0.32, BISHOP: 0.33, ROOK: 0.5, QUEEN: 0.95}
"""Of the value's log-odds, planted."""


def adds_up_pieces(variant: str, worth: dict[int, float]) -> PolicyValueNet:
    """A network whose value's log-odds are the sum of its pieces' worth: the embedding says which
    piece stands on a square, the value head adds."""
    config = small_config(
        variant, "geometric", blocks=0, channels=TOKENS, value_channels=TOKENS, value="scalar"
    )
    network = PolicyValueNet(config)
    for name in (
        "embedding.place.weight",
        "embedding.state.weight",
        "value.square.bias",
        "value.hidden.bias",
    ):
        weight(network, name).zero_()
    one_hot = torch.eye(TOKENS)
    weight(network, "embedding.token.weight").copy_(one_hot)
    normed = torch.nn.functional.layer_norm(one_hot, (TOKENS,))
    # Of each square's piece alone: the inverse of what the norm makes of one-hot vectors.
    weight(network, "value.square.weight").copy_(torch.linalg.pinv(normed).T)
    weight(network, "value.square.bias").fill_(1.0)
    weight(network, "value.hidden.weight").copy_(one_hot)
    value = weight(network, "value.wdl.value.weight")
    value.zero_()
    for piece, planted in worth.items():
        # The log-odds are twice the head's number; the mean over the board is no sum.
        value[0, piece] = planted * config.squares / 2
        value[0, piece | BLACK_BIT] = -planted * config.squares / 2
    return network.eval()


@pytest.fixture(scope="module")
def games() -> Rows:
    return play_random_games(GARDNER, 600, np.random.default_rng(0)).rows


def test_planted_values_and_their_order_are_recovered(games: Rows) -> None:
    found = piece_values(adds_up_pieces("gardner", WORTH), games)
    values = {each.piece: each for each in found.log_odds.pieces}
    names = ("pawn", "knight", "bishop", "rook", "queen")
    assert tuple(values) == names
    for name, planted in zip(names, WORTH.values(), strict=True):
        in_pawns = values[name].in_pawns
        assert in_pawns is not None
        assert values[name].value.value == pytest.approx(planted, abs=1e-3)
        assert in_pawns.value == pytest.approx(planted / WORTH[PAWN], rel=1e-2)
        assert in_pawns.high - in_pawns.low < 0.05
    assert found.log_odds.order == ("queen", "rook", "bishop", "knight", "pawn")
    assert found.log_odds.order_certainty == 1.0
    assert found.log_odds.explained == pytest.approx(1.0, abs=1e-4)
    assert found.log_odds.intercept.value == pytest.approx(0.0, abs=1e-3)
    assert (found.exact, found.score_where_exact, found.absent) == (None, None, ())
    for each in found.log_odds.pawns_by_rank:
        assert each.value.value == pytest.approx(WORTH[PAWN], abs=2e-3)


def test_two_pieces_of_equal_worth_have_no_certain_order(games: Rows) -> None:
    table = move_table(games, GARDNER)
    evaluations = evaluate(adds_up_pieces("gardner", WORTH | {KNIGHT: 0.33}), table)
    noise = np.random.default_rng(1).normal(0.0, 0.3, (len(games), 1))
    noisy = Evaluations(
        policy=evaluations.policy, wdl=evaluations.wdl + np.hstack([noise, 0 * noise, -noise])
    )
    groups = canonical_groups(canonical_boards(games, GARDNER))
    found = values_of(noisy, table, Resamples(groups, 500)).log_odds
    pair = found.order.index("knight"), found.order.index("bishop")
    assert abs(pair[0] - pair[1]) == 1
    assert 0.5 <= found.order_pairs[min(pair)] < 0.99
    assert found.order_certainty < 0.99


def test_coefficients_are_those_of_least_squares_and_intervals_of_a_bootstrap(
    games: Rows,
) -> None:
    rng = np.random.default_rng(3)
    counts = Counts.of(games, GARDNER)
    values = counts.differences @ rng.normal(size=5) + rng.normal(size=len(games))
    among = rng.random(len(games)) < 0.7
    groups = np.arange(len(games)) // 3
    resamples = Resamples(groups, 300)
    found = regress("score", "exact", values, counts, among, resamples)
    design = np.hstack([counts.differences, np.ones((len(games), 1))])
    slow = np.linalg.lstsq(design[among], values[among], rcond=None)[0]
    ours = [each.value.value for each in found.pieces]
    np.testing.assert_allclose([*ours, found.intercept.value], slow, atol=1e-4)
    assert found.positions == among.sum()
    residual = values[among] - design[among] @ slow
    assert found.explained == pytest.approx(1 - residual.var() / values[among].var(), abs=1e-6)
    # One resample by hand: each row as often as its unit was drawn.
    slow_draws = []
    for drawn in resamples.weights[1:]:
        rows = np.repeat(np.arange(len(games)), drawn[groups].astype(int))
        rows = rows[among[rows]]
        slow_draws.append(np.linalg.lstsq(design[rows], values[rows], rcond=None)[0][0])
    low, high = np.quantile(slow_draws, [0.025, 0.975])
    assert found.pieces[0].value.low == pytest.approx(low, abs=1e-4)
    assert found.pieces[0].value.high == pytest.approx(high, abs=1e-4)


def test_exact_values_by_material_are_those_of_the_solution() -> None:
    solved = Solved("hexapawn")
    found = piece_values(lively_network("hexapawn", "geometric"), solved.rows, solved)
    values: dict[int, list[int]] = {}
    for row in solved.rows:
        board = Position.from_row(row, HEXAPAWN).fen().split()[0]
        difference = board.count("P") - board.count("p")
        difference *= 1 if row[9] == 0 else -1
        values.setdefault(difference, []).append(solved.solution.value(row))
    assert [each.difference for each in found.by_material] == [
        "equal" if not number else f"{number:+d} pawn" for number in sorted(values)
    ]
    for each, (_, slow) in zip(found.by_material, sorted(values.items()), strict=True):
        assert each.positions == len(slow)
        assert each.exact == pytest.approx(np.mean(slow))
    assert found.exact is not None
    assert found.exact.positions == 70
    assert [each.piece for each in found.exact.pawns_by_rank] == [
        "pawn on rank 1",
        "pawn on rank 2",
    ]
    assert "exact" in repr(found)


def test_a_network_that_has_learned_nothing_has_no_pawn_to_measure_by() -> None:
    solved = Solved("hexapawn")
    found = piece_values(PolicyValueNet(small_config("hexapawn", "geometric")), solved.rows, solved)
    pawn = found.log_odds.pieces[0]
    assert pawn.value.value == pytest.approx(0.0)
    assert pawn.in_pawns is None
    assert found.exact is not None
    assert found.exact.pieces[0].in_pawns is not None


def test_without_any_difference_of_pieces_there_is_nothing_to_measure() -> None:
    network = lively_network("gardner", "geometric")
    with pytest.raises(InputError, match="1 positions of gardner: no kind of piece differs"):
        piece_values(network, Position("gardner").row[None])
