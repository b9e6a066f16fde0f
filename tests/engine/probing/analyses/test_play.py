"""Play where a concept holds: counts by hand, planted skill, and null."""

import numpy as np
import numpy.typing as npt
import pytest

from engine.network.model.policy_value import PolicyValueNet, VariantNetwork
from engine.probing.analyses.play import (
    ALL,
    Played,
    compare_play,
    play_of,
    searched_decisions,
)
from engine.probing.analyses.positions.move_table import MoveTable, move_table
from engine.probing.analyses.positions.resampling import Resamples
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.errors import InputError
from engine.rules.position import Position
from tests.engine.probing.analyses.cases import HEXAPAWN, Planted, Solved, slow_choice
from tests.support.network.network_cases import lively_network, small_config

Right = npt.NDArray[np.float64]


def setting(name: str = "hexapawn4x4", step: int = 10) -> tuple[Solved, MoveTable, Resamples]:
    solved = Solved(name)
    table = move_table(solved.rows[::step], solved.solution.variant, solved)
    groups = canonical_groups(canonical_boards(table.rows, solved.solution.variant))
    return solved, table, Resamples(groups, 300)


def test_a_network_s_share_is_that_of_a_count_by_hand() -> None:
    solved, table, _ = setting("hexapawn", 1)
    network = lively_network("hexapawn", "geometric", seed=9)
    found = play_of(network, table)
    assert found.search is None
    for row, right in zip(table.rows, found.network, strict=True):
        legal = Position.from_row(row, HEXAPAWN).legal_moves
        keeping = solved.solution.value_preserving_moves(row).tolist()
        assert right == (legal[slow_choice(network, row)] in keeping)


def test_shares_where_a_concept_holds_beside_random_moves() -> None:
    _, table, resamples = setting()
    exact = table.exact
    assert exact is not None
    rng = np.random.default_rng(0)
    holds = (rng.random(len(table)) < 0.4).astype(float)
    undefined = np.where(rng.random(len(table)) < 0.5, np.nan, holds)
    concepts = {
        "planted": holds,
        "rare": (np.arange(len(table)) < 3).astype(float),
        "partly": undefined,
    }
    perfect = Played(network=np.ones(len(table)), search=None)
    untrained = play_of(PolicyValueNet(small_config("hexapawn4x4", "geometric")), table)
    found = compare_play({"last": perfect}, [untrained], table, concepts, resamples)
    assert [each.concept for each in found.concepts] == [ALL, "planted", "partly"]
    assert "distinct decisions" in dict(found.refused)["rare"]
    held = exact.decisions & (holds == 1)
    planted = found.concepts[1]
    assert planted.decisions == held.sum()
    assert found.concepts[2].decisions == (exact.decisions & (undefined == 1)).sum()
    assert planted.random_move == pytest.approx(exact.chance[held].mean())
    assert planted.untrained == pytest.approx(untrained.network[held].mean())
    share = found.share("planted", "last")
    assert share.network.value == 1.0
    assert share.network_gain.value == pytest.approx(1.0 - untrained.network[held].mean())
    assert planted.network_since == "last"
    with pytest.raises(KeyError):
        found.share("rare", "last")
    assert "planted" in repr(found)


def test_the_first_checkpoint_above_untrained_ones_is_named() -> None:
    """One that plays at random, one that plays where the concept holds alone, one that plays."""
    _, table, resamples = setting()
    rng = np.random.default_rng(1)
    holds = rng.random(len(table)) < 0.4

    def at_random() -> Right:
        return (rng.random(len(table)) < 0.5).astype(float)

    checkpoints = {
        "0": Played(network=at_random(), search=None),
        "1": Played(network=np.where(holds, 1.0, at_random()), search=None),
        "2": Played(network=np.ones(len(table)), search=None),
    }
    untrained = [Played(network=at_random(), search=None) for _ in range(5)]
    concepts = {"early": holds.astype(float), "late": (~holds).astype(float)}
    found = compare_play(checkpoints, untrained, table, concepts, resamples)
    since = {each.concept: each.network_since for each in found.concepts}
    assert (since["early"], since["late"]) == ("1", "2")


def test_networks_that_play_at_random_are_seldom_above_untrained_ones() -> None:
    """Of 60 made-up runs of five concepts and five checkpoints about 3 may show anything."""
    _, table, resamples = setting(step=30)
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(60):
        played = [
            Played(network=(rng.random(len(table)) < 0.5).astype(float), search=None)
            for _ in range(10)
        ]
        concepts = {name: (rng.random(len(table)) < 0.3).astype(float) for name in "abcde"}
        named = dict(zip("12345", played[:5], strict=True))
        result = compare_play(named, played[5:], table, concepts, resamples)
        found += any(each.network_since for each in result.concepts)
    assert found <= 8


def test_the_search_is_asked_for_few_decisions_and_its_moves_are_checked() -> None:
    solved, table, resamples = setting()
    exact = table.exact
    assert exact is not None
    network = lively_network("hexapawn4x4", "geometric")
    holds = (np.arange(len(table)) % 3 == 0).astype(float)
    chosen = searched_decisions(table, {"third": holds}, 40)
    assert [flags.sum() for flags in chosen.values()] == [40, 40]
    assert not (chosen["third"] & ~(exact.decisions & (holds == 1))).any()
    asked: list[int] = []

    def perfect(network: VariantNetwork, rows: Rows) -> npt.NDArray[np.uint16]:
        asked.append(len(rows))
        return np.array([solved.solution.optimal_moves(row)[0] for row in rows], np.uint16)

    union = chosen[ALL] | chosen["third"]
    played = play_of(network, table, perfect, union)
    assert asked == [union.sum()]
    assert union.sum() < 80, "concepts share positions"
    assert played.search is not None
    assert (np.isfinite(played.search) == union).all()
    found = compare_play(
        {"a": played},
        [played],
        table,
        {"third": holds},
        resamples,
        search="perfect play",
        searched_among=chosen,
    )
    share = found.share("third", "a")
    assert share.search is not None
    assert (share.search.value, share.search.positions) == (1.0, 40)
    assert share.network.positions == (exact.decisions & (holds == 1)).sum()
    assert found.concepts[1].searched == 40
    with pytest.raises(InputError, match="is not legal in"):
        play_of(network, table, lambda network, rows: np.zeros(len(rows), np.uint16))


def test_without_exact_values_or_untrained_networks_there_is_no_comparison() -> None:
    _, table, resamples = setting("hexapawn", 1)
    network = lively_network("hexapawn", "geometric")
    with pytest.raises(InputError, match="no exact values of hexapawn"):
        play_of(network, move_table(table.rows, HEXAPAWN))
    with pytest.raises(InputError, match="no untrained network"):
        compare_play({"a": play_of(network, table)}, [], table, {}, resamples)
    one_move = [row for row in table.rows if len(Position.from_row(row, HEXAPAWN).legal_moves) == 1]
    forced = move_table(np.stack(one_move), HEXAPAWN, Planted(network))
    played = play_of(network, forced)
    nothing = compare_play(
        {"a": played}, [played], forced, {}, Resamples(np.arange(len(forced)), 10)
    )
    assert nothing.concepts == ()
    assert "nothing measured" in repr(nothing)
