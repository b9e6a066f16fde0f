"""Attention by head: planted heads, a slow count, untrained networks as controls."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.attention import (
    RELATIONS,
    SQUARE_RELATIONS,
    attention_baseline,
    attention_scores,
    best_moves,
    related_squares,
    scores_of,
)
from engine.probing.analyses.positions.move_table import move_table
from engine.probing.analyses.positions.resampling import Resamples
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import canonical_boards, canonical_groups
from engine.rules.errors import InputError
from engine.rules.moves import from_square, to_square
from engine.rules.position import Position
from engine.rules.tables import BLACK
from tests.engine.probing.analyses.cases import HEXAPAWN, Solved, weight
from tests.support.network.network_cases import lively_network, small_config

STRONG = 30.0
"""A bias of an attention score against which nothing else counts."""


@pytest.fixture(scope="module")
def solved() -> Solved:
    return Solved("hexapawn")


def planted_head(relation: str, block: int, head: int) -> PolicyValueNet:
    """A fresh network, one head of which attends to the squares in a relation alone."""
    torch.manual_seed(0)
    network = PolicyValueNet(small_config("hexapawn4x4", "geometric"))
    table = weight(network, "trunk.geometry.table")
    for rank in range(-7, 8):
        for file in range(-7, 8):
            related = {
                "file": file == 0 and rank != 0,
                "rank": rank == 0 and file != 0,
                "diagonal": abs(rank) == abs(file) > 0,
                "king's step": max(abs(rank), abs(file)) == 1,
                "knight's step": sorted((abs(rank), abs(file))) == [1, 2],
                "itself": rank == file == 0,
            }[relation]
            number = (rank + 7) * 15 + file + 7
            table[block, head, number] = STRONG * related
    return network.eval()


@pytest.mark.parametrize("relation", SQUARE_RELATIONS)
def test_a_planted_head_is_found_and_no_other(relation: str) -> None:
    solved = Solved("hexapawn4x4")
    found = attention_scores(planted_head(relation, 1, 0), solved.rows[::40], solved)
    first = found.of(relation)[0]
    assert (first.block, first.head) == (1, 0)
    assert first.score == pytest.approx(1.0, abs=0.01)
    assert first.stands_out
    others = [each for each in found.scores if (each.block, each.head) != (1, 0)]
    assert not any(each.stands_out for each in others)
    assert max(each.score for each in found.of(relation)[1:]) < 0.6


def test_scores_are_those_of_a_slow_count(solved: Solved) -> None:
    network = lively_network("hexapawn", "geometric")
    found = attention_scores(network, solved.rows, solved)
    assert found.exact
    with torch.no_grad(), network.hook_points.read("block.1.attention.pattern") as patterns:
        network(torch.from_numpy(solved.rows))
    pattern = patterns["block.1.attention.pattern"].numpy()[:, 0]
    squares = [(square // 3, square % 3) for square in range(9)]
    steps: dict[str, Callable[[int, int], bool]] = {
        "file": lambda r, f: f == 0 and r != 0,
        "diagonal": lambda r, f: r == f != 0,
        "knight's step": lambda r, f: r + f == 3 and r * f == 2,
        "itself": lambda r, f: r == f == 0,
    }
    score = {each.relation: each for each in found.scores if (each.block, each.head) == (1, 0)}
    for relation, holds in steps.items():
        rows = []
        for query, (rank, file) in enumerate(squares):
            keys = [
                key for key, (r, f) in enumerate(squares) if holds(abs(r - rank), abs(f - file))
            ]
            if keys:
                rows.append(pattern[:, query, keys].sum(1))
        assert score[relation].score == pytest.approx(np.mean(rows), abs=1e-5)
    best, others, difference = [], [], []
    for row, weights in zip(solved.rows, pattern, strict=True):
        optimal = solved.solution.optimal_moves(row).tolist()
        kinds: dict[bool, list[float]] = {True: [], False: []}
        for move in Position.from_row(row, HEXAPAWN).legal_moves:
            pair = [from_square(move), to_square(move)]
            if row[9] == BLACK:
                pair = [square % 3 + 3 * (2 - square // 3) for square in pair]
            kinds[move in optimal].append(weights[pair[0], pair[1]])
        best.append(np.mean(kinds[True]))
        if kinds[False]:
            others.append(np.mean(kinds[False]))
            difference.append(best[-1] - others[-1])
    for relation, slow in (
        ("best move", best),
        ("other legal moves", others),
        ("best over other moves", difference),
    ):
        assert score[relation].score == pytest.approx(np.mean(slow), abs=1e-5)
        assert score[relation].positions == len(slow)
    assert score["best move"].uniform == pytest.approx(1 / 9)


def test_uniform_attention_has_no_excess() -> None:
    solved = Solved("hexapawn4x4")
    network = PolicyValueNet(small_config("hexapawn4x4", "geometric"))
    for block in range(2):
        weight(network, f"trunk.blocks.{block}.attention.qkv.weight").zero_()
    found = attention_scores(network, solved.rows[::40], solved)
    assert len(found.scores) == 2 * 2 * len(RELATIONS)
    for each in found.scores:
        assert each.excess == pytest.approx(0.0, abs=1e-5)
    # Of 16 squares: 3 others on each file; the centre of 3x3 has no knight's step.
    assert found.of("file")[0].uniform == pytest.approx(3 / 16)
    assert related_squares(3, 3)[SQUARE_RELATIONS.index("knight's step")].sum() == 16


def test_a_board_without_a_relation_has_no_score_of_it() -> None:
    network = lively_network("hexapawn1x4", "geometric")
    found = attention_scores(network, Position("hexapawn1x4").row[None], resamples=20)
    assert {each.relation for each in found.scores} == {
        "file",
        "king's step",
        "itself",
        "best move",
    }


def test_untrained_networks_seldom_stand_out() -> None:
    """Each of 30 is compared with five others: at most 5 % may have any head that stands out."""
    solved = Solved("hexapawn4x4")
    rows = solved.rows[::60]
    config = small_config("hexapawn4x4", "geometric")
    legal = move_table(rows, solved.solution.variant, solved)
    groups = canonical_groups(canonical_boards(rows, solved.solution.variant))
    resamples = Resamples(groups, 200)
    found = 0
    for seed in range(30):
        network, *others = untrained_networks(config, range(6 * seed, 6 * seed + 6))
        best = best_moves(network, legal)
        baseline = attention_baseline(others, legal, best)
        scores = scores_of(network, legal, best, resamples, baseline, seed).scores
        found += any(each.stands_out for each in scores)
    # Two standard errors above five per cent.
    assert found / 30 <= 0.13


@pytest.mark.parametrize(
    ("trunk", "settings", "reason"),
    [
        ("residual", {}, "no attention"),
        ("plain", {}, "no attention"),
        ("geometric", {"blocks": 0}, "no block"),
    ],
)
def test_networks_without_attention_say_so(
    trunk: str, settings: dict[str, int], reason: str
) -> None:
    network = lively_network("hexapawn", trunk, 0, **settings)
    found = attention_scores(network, Position("hexapawn").row[None])
    assert not found.scores
    assert found.absent is not None
    assert reason in found.absent
    assert reason in repr(found)


def test_without_a_solution_the_best_moves_are_the_network_s(solved: Solved) -> None:
    network = lively_network("hexapawn", "geometric", seed=4)
    found = attention_scores(network, solved.rows, resamples=20)
    assert not found.exact
    assert "own" in repr(found)
    legal = move_table(solved.rows, HEXAPAWN)
    assert best_moves(network, legal).sum() == len(solved.rows)


def test_at_least_one_untrained_network_is_needed() -> None:
    network = lively_network("hexapawn", "geometric")
    with pytest.raises(InputError, match="untrained = 0"):
        attention_scores(network, Position("hexapawn").row[None], untrained=0)
