"""The contracts that PUCT and Gumbel share: they hold whatever the evaluator returns."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from search.evaluator import Evaluator, UniformEvaluator
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.search import tree_search
from search.scores import UNPROVEN
from tests.support.search.search_cases import (
    ScatteredEvaluator,
    TrueOrFalse,
    WhiteIsWinning,
    colour_swapped,
    decisions,
    exact_value,
    game_of,
    keeping_moves,
    reachable,
    roots_of,
    swapped_move,
    unfinished,
)
from tests.support.search.tree_cases import WINS_IN_ONE, assert_same, generator, openings

Config = PuctConfig | GumbelConfig
KINDS: Final = [PuctConfig, GumbelConfig]
NOISY: Final = [
    PuctConfig(simulations=40),
    PuctConfig(simulations=40, noise_fraction=0.25),
    GumbelConfig(simulations=40),
]


def kind_of(config: Config) -> str:
    return type(config).__name__


def search(
    variant: Variant,
    positions: list[Position],
    config: Config,
    evaluator: Evaluator | None = None,
    simulations: npt.NDArray[np.integer] | None = None,
) -> SearchResult:
    roots, evaluator = roots_of(*positions), evaluator or ScatteredEvaluator(variant)
    return tree_search(variant, roots, evaluator, config, generator(), simulations)


@pytest.mark.parametrize("name", ["gardner", "hexapawn4x4", "losalamos", "breakthrough5"])
@pytest.mark.parametrize("config", NOISY, ids=kind_of)
def test_result_is_consistent(name: str, config: Config) -> None:
    positions = openings(name, 5)
    result = search(get_variant(name), positions, config)
    for index, position in enumerate(positions):
        game = game_of(result, index)
        assert game["moves"].tolist() == position.legal_moves
        assert game["visit_counts"].sum() == result.simulations[index] <= 40
        assert result.proven[index] != UNPROVEN or result.simulations[index] == 40
        assert game["priors"].sum() == pytest.approx(1, abs=1e-5)
        assert game["policy"].sum() == pytest.approx(1, abs=1e-5)
        assert 0 <= result.choices[index] < len(position.legal_moves)
    assert np.abs(result.q_values).max() <= 1
    assert np.allclose(result.wdl.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(result.value, result.wdl[:, 0] - result.wdl[:, 2], atol=1e-6)


@pytest.mark.parametrize("config", NOISY, ids=kind_of)
def test_the_same_seed_gives_the_same_result(config: Config) -> None:
    variant, positions = get_variant("gardner"), openings("gardner", 4)
    assert_same(search(variant, positions, config), search(variant, positions, config))


@pytest.mark.parametrize("config", NOISY, ids=kind_of)
def test_a_game_does_not_depend_on_the_others(config: Config) -> None:
    variant, (one, *others) = get_variant("gardner"), openings("gardner", 4)
    alone, together = search(variant, [one], config), search(variant, [one, *others], config)
    for name, part in game_of(alone, 0).items():
        np.testing.assert_array_equal(part, game_of(together, 0)[name])
    assert alone.choices[0] == together.choices[0]


@pytest.mark.parametrize("kind", KINDS)
def test_games_may_have_different_numbers_of_simulations(kind: type[Config]) -> None:
    wanted = np.array([0, 1, 60, 7])
    config, positions = kind(simulations=10), openings("gardner", 4)
    result = search(get_variant("gardner"), positions, config, simulations=wanted)
    assert result.simulations.tolist() == wanted.tolist()
    assert np.isfinite(result.policy).all()


@pytest.mark.parametrize(
    "config",
    [PuctConfig(simulations=200, proofs=False), GumbelConfig(simulations=32, proofs=False)],
    ids=kind_of,
)
def test_true_values_overcome_wrong_priors(config: Config) -> None:
    """A wrong move has e^2 times the prior of a right one."""
    positions = decisions("hexapawn")
    variant = positions[0].variant
    result = search(variant, positions, config, TrueOrFalse(variant, 1, -1.0))
    assert len(positions) == 27
    for index, position in enumerate(positions):
        game = game_of(result, index)
        assert game["moves"][np.argmax(game["policy"])] in keeping_moves(position)
        assert game["moves"][result.choices[index]] in keeping_moves(position)


@pytest.mark.nojit
@pytest.mark.parametrize("liar", [False, True])
@pytest.mark.parametrize(
    "config",
    [PuctConfig(simulations=2000, noise_fraction=0.25), GumbelConfig(simulations=2000)],
    ids=kind_of,
)
def test_proofs_are_true_for_any_evaluator(config: Config, liar: bool) -> None:
    positions = unfinished("hexapawn")
    variant = positions[0].variant
    evaluator = TrueOrFalse(variant, -1, -4.0) if liar else UniformEvaluator()
    result = search(variant, positions, config, evaluator)
    assert len(positions) == 70
    assert result.proven.tolist() == [exact_value(position) for position in positions]
    assert (result.simulations < 2000).all()
    np.testing.assert_array_equal(result.value, result.proven)
    for index, position in enumerate(positions):
        game = game_of(result, index)
        assert set(game["moves"][game["policy"] > 0].tolist()) <= set(keeping_moves(position))
        assert game["policy"].sum() == pytest.approx(1)
        assert game["moves"][result.choices[index]] in keeping_moves(position)


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "fen"), WINS_IN_ONE)
@pytest.mark.parametrize(
    "config",
    [PuctConfig(simulations=100), GumbelConfig(simulations=100, considered=64)],
    ids=kind_of,
)
def test_a_win_in_one_is_always_played(config: Config, name: str, fen: str) -> None:
    """Even if the evaluator prefers every other move."""
    variant = get_variant(name)
    position = Position(variant, fen)
    evaluator: Evaluator = UniformEvaluator() if position.turn else WhiteIsWinning()
    result = search(variant, [position], config, evaluator)
    choice = result.choices[0]
    position.push(int(result.moves[choice]))
    outcome = position.outcome()
    assert outcome is not None
    assert outcome.value(1 - position.turn) == 1
    assert result.proven.tolist() == [1]
    assert result.policy[choice] > 0
    assert (result.distances[result.policy > 0] == 1).all()


@pytest.mark.parametrize(
    "config",
    [
        PuctConfig(simulations=120, root_fpu_reduction=0.2),
        GumbelConfig(simulations=90, gumbel_scale=0.0),
    ],
    ids=kind_of,
)
def test_both_colours_see_the_same_game(config: Config) -> None:
    variant = get_variant("gardner")
    positions = [Position.from_row(p.row, variant) for p in openings("gardner", 8)]
    swapped = [colour_swapped(position) for position in positions]
    here, there = (search(variant, side, config) for side in (positions, swapped))
    np.testing.assert_allclose(here.value, there.value, atol=1e-6)
    for index in range(len(positions)):
        one, other = game_of(here, index), game_of(there, index)
        places = [
            other["moves"].tolist().index(swapped_move(variant, move))
            for move in one["moves"].tolist()
        ]
        np.testing.assert_array_equal(one["visit_counts"], other["visit_counts"][places])
        for name in ("policy", "q_values"):
            ours, theirs = one[name].astype(float), other[name][places].astype(float)
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_game_is_a_root_without_moves(kind: type[Config]) -> None:
    over = [p for p in reachable("hexapawn") if p.outcome() is not None][:3]
    positions = [over[0], unfinished("hexapawn")[0], *over[1:]]
    result = search(get_variant("hexapawn"), positions, kind(simulations=3, proofs=False))
    assert np.diff(result.offsets)[[0, 2, 3]].tolist() == [0, 0, 0]
    assert result.proven[[0, 2, 3]].tolist() == [exact_value(position) for position in over]
    assert result.choices[[0, 2, 3]].tolist() == [-1, -1, -1]
    assert result.simulations.tolist() == [0, 3, 0, 0]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (PuctConfig, "simulations", -1),
        (PuctConfig, "leaves", 0),
        (PuctConfig, "noise_fraction", 1.5),
        (PuctConfig, "c_puct", 0.0),
        (PuctConfig, "c_base", float("nan")),
        (PuctConfig, "forced_playouts", -1.0),
        (PuctConfig, "root_temperature", 0.0),
        (GumbelConfig, "simulations", -1),
        (GumbelConfig, "leaves", 300),
        (GumbelConfig, "considered", 0),
        (GumbelConfig, "c_visit", -1.0),
        (GumbelConfig, "c_scale", 0.0),
    ],
)
def test_settings_out_of_range_are_refused(kind: type[Config], name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        kind(**{name: value})  # type: ignore[arg-type]
