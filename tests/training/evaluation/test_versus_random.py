"""Chances against random play are exact: against a plain recursion over all games."""

from functools import cache

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import Evaluator, UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solver import solve
from tests.support.search.search_cases import (
    ScatteredEvaluator,
    WhiteIsWinning,
    children,
    unfinished,
)
from tests.support.training.training_cases import child_of, hexapawn
from training.evaluation.textbook import value_sign_accuracy
from training.evaluation.truth import search_positions
from training.evaluation.versus_random import chances_against_random, raw_chooser


def brute_force(name: str, evaluator: Evaluator, own: int) -> tuple[float, float, float]:
    """By recursion through every game, with `Position` alone."""
    variant = get_variant(name)

    def favourite(position: Position) -> int:
        row = position.row[None]
        moves, offsets = generate_batch(variant.tables, row)
        return int(np.argmax(evaluator.evaluate(row, moves, offsets).logits))

    @cache
    def chances(fen: str) -> tuple[float, float, float]:
        position = Position(variant, fen)
        outcome = position.outcome()
        if outcome is not None:
            value = outcome.value(own)
            return float(value == 1), float(value == 0), float(value == -1)
        after = [chances(child.fen()) for child in children(position)]
        if position.turn == own:
            return after[favourite(position)]
        win, draw, loss = (sum(part) / len(after) for part in zip(*after, strict=True))
        return win, draw, loss

    return chances(Position(variant).fen())


@pytest.mark.parametrize("name", ["hexapawn", "hexapawn4x3"])
def test_chances_are_those_of_all_games(name: str) -> None:
    variant = get_variant(name)
    evaluators: list[Evaluator] = [
        UniformEvaluator(),
        ScatteredEvaluator(variant),
        SolverEvaluator(solve(variant)),
    ]
    for evaluator in evaluators:
        found = chances_against_random(variant, raw_chooser(evaluator))
        assert found.first == pytest.approx(brute_force(name, evaluator, 0))
        assert found.second == pytest.approx(brute_force(name, evaluator, 1))
        assert sum(found.first) == pytest.approx(1)
        assert found.win == pytest.approx((found.first.win + found.second.win) / 2)


@pytest.mark.parametrize(("name", "winner"), [("hexapawn", "second"), ("hexapawn4x4", "first")])
def test_the_perfect_player_never_loses_the_won_side(name: str, winner: str) -> None:
    variant = get_variant(name)
    solution = solve(variant)
    evaluator = SolverEvaluator(solution)
    assert solution.winner == {"first": 1, "second": 2}[winner]
    for choose in (
        raw_chooser(evaluator),
        lambda rows, *_: search_positions(variant, rows, evaluator, "puct", 8).places,
        lambda rows, *_: search_positions(variant, rows, evaluator, "gumbel", 8).places,
    ):
        assert getattr(chances_against_random(variant, choose), winner).win == pytest.approx(1)


def test_a_side_that_begins_with_black_is_first() -> None:
    turned = child_of("hexapawn", "turned", startFen="ppp/3/PPP b - - 0 1")
    variant = get_variant("hexapawn")
    evaluator = ScatteredEvaluator(variant)
    usual = chances_against_random(variant, raw_chooser(evaluator))
    other = chances_against_random(turned, raw_chooser(ScatteredEvaluator(turned)))
    # The evaluator judges alike for both colours.
    assert other.first.win + other.first.loss == pytest.approx(1)
    assert other.first == pytest.approx(usual.first)
    assert other.second == pytest.approx(usual.second)


def test_a_game_that_can_repeat_is_refused() -> None:
    with pytest.raises(InputError, match="gardner"):
        chances_against_random(get_variant("gardner"), raw_chooser(UniformEvaluator()))


def test_signs_of_values() -> None:
    solution = hexapawn()[1]
    positions = unfinished("hexapawn")

    def accuracy(evaluator: Evaluator, most: int = 1000) -> tuple[float, int]:
        share, count = value_sign_accuracy(solution, evaluator, most, np.random.default_rng(0))
        assert share is not None
        return share, count

    assert accuracy(SolverEvaluator(solution)) == (1.0, len(positions))
    # A value of 0 has no sign, and nothing is drawn here.
    assert accuracy(UniformEvaluator()) == (0.0, len(positions))
    white_wins = sum(
        solution.value(position.row) == (1 if position.turn == 0 else -1) for position in positions
    )
    found, counted = accuracy(WhiteIsWinning())
    assert found == pytest.approx(white_wins / counted)
    assert 0.2 < found < 0.8
    assert accuracy(SolverEvaluator(solution), 20) == (1.0, 20)
    assert accuracy(WhiteIsWinning(), 20)[0] == pytest.approx(found, abs=0.35)


def test_a_game_that_is_drawn_everywhere_has_no_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    solution = hexapawn()[1]
    drawn = np.zeros(len(unfinished("hexapawn")), np.int8)
    monkeypatch.setattr(solution, "lookup_batch", lambda rows: (drawn, drawn))
    found = value_sign_accuracy(solution, UniformEvaluator(), 1000, np.random.default_rng(0))
    assert found == (None, 0)
