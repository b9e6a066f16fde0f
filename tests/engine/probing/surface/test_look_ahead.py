"""Links between squares of best moves are found where they are, and only there."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.facts.forced_lines import best_squares
from engine.probing.concepts.material import material
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows
from engine.probing.data.samples import Sample
from engine.probing.probes.forms.linked_squares import Squares
from engine.probing.report.page import render_page
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.experiment import Experiment, prepare
from engine.probing.surface.look_ahead import Lines, compare_lines, find_lines
from engine.probing.surface.measure import surface
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network
from tests.support.network.probing_cases import solution, solved_rows, subject
from training.evaluation.labels.exact import SolutionTruth

NAME = "hexapawn4x4"
VARIANT = get_variant(NAME)
CONFIG = ProbeConfig(random_networks=3, resamples=50, layers=("final",))
COUNT = Concept(
    name="moves",
    kind="count",
    definition="The number of legal moves.",
    function=lambda positions: positions.legal.counts.astype(np.float64),
)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Over all positions of the game; few of them are fitted to."""
    config = dataclasses.replace(CONFIG, training_rows=300)
    return prepare(Sample.from_rows(solved_rows(NAME), VARIANT), [material], VARIANT, config)


@pytest.fixture(scope="module")
def lines(experiment: Experiment) -> tuple[Lines, ...]:
    return find_lines(experiment, SolutionTruth(solution(NAME)))


def test_all_forced_lines_of_the_sample_are_found_on_the_sides_of_its_split(
    experiment: Experiment, lines: tuple[Lines, ...]
) -> None:
    sample = experiment.whole
    main, boards = experiment.main.rows, experiment.sample.boards
    train, test = ({board.tobytes() for board in boards[side]} for side in (main.train, main.test))
    positions = Positions(sample.rows, VARIANT, SolutionTruth(solution(NAME)))
    first = best_squares(positions, 0)[0]
    assert [each.ply for each in lines] == [2, 4]
    for each in lines:
        later, is_forced = best_squares(positions, each.ply)
        wanted = np.flatnonzero(is_forced & (later != first))
        found = np.concatenate([each.rows.train, each.rows.test])
        np.testing.assert_array_equal(np.sort(found), wanted)
        assert {board.tobytes() in test for board in sample.boards[each.rows.test]} == {True}
        assert {board.tobytes() in test for board in sample.boards[each.rows.train]} == {False}
    unseen = [board.tobytes() not in train for board in sample.boards[lines[0].rows.train]]
    assert sum(unseen) > 50, "other probes see a part only"


def planted(
    experiment: Experiment, lines: Lines, *, is_linked: bool
) -> tuple[float, tuple[float, float]]:
    """Gain and interval of the bilinear form where the activation at the later square is a turned
    copy of that at the first, or nothing is."""
    network = lively_network(NAME, "geometric")
    fresh = list(untrained_networks(network.config, (1, 2, 3)))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    seen: list[bytes] = []

    def read(probed: PolicyValueNet | None, rows: Rows) -> Squares:
        number = 0 if probed is None else 1 + [network, *fresh].index(probed)
        rng = np.random.default_rng((7, number))
        found = rng.normal(size=(len(rows), VARIANT.squares, 6))
        if probed is network and is_linked:
            places = {row.tobytes(): place for place, row in enumerate(experiment.whole.rows)}
            chosen = np.array([places[row.tobytes()] for row in rows])
            every = np.arange(len(rows))
            found[every, lines.later[chosen]] = found[every, lines.first[chosen]] @ turn
        seen.append(rows.tobytes())
        return found.astype(np.float32)

    found = compare_lines(experiment, lines, [network, *fresh], read)
    assert len(seen) == 5
    assert len(set(seen)) == 1, "all see the same rows"
    comparison = found.comparison
    assert comparison is not None
    assert comparison.train + comparison.test <= found.positions
    assert [each.form for each in comparison.forms] == ["linear", "bilinear"]
    bilinear = comparison.forms[1]
    assert bilinear.gain is not None
    assert bilinear.gain_interval is not None
    assert bilinear.is_added == is_linked
    return bilinear.gain, bilinear.gain_interval


def test_a_planted_link_is_found_and_none_where_none_is(
    experiment: Experiment, lines: tuple[Lines, ...]
) -> None:
    gain, (low, _) = planted(experiment, lines[0], is_linked=True)
    assert gain > 0.4
    assert low > 0.1
    gain, (low, high) = planted(experiment, lines[0], is_linked=False)
    assert low < 0.0 < high
    assert abs(gain) < 0.2


def test_a_surface_says_how_far_lines_are_linked_and_where_there_are_too_few() -> None:
    torch.set_num_threads(1)
    told: dict[str, list[tuple[int, int]]] = {}

    def begin(name: str, unit: str) -> Callable[[int, int], None]:
        told[name] = []
        return lambda *step: told[name].append(step)

    report = surface(
        [("planted", [subject(lively_network(NAME, "geometric"))])],
        Sample.from_rows(solved_rows(NAME), VARIANT, source="all positions"),
        (COUNT,),
        VARIANT,
        config=CONFIG,
        truth=SolutionTruth(solution(NAME)),
        begin=begin,
    )
    # Two forms on the layer, raw input, three untrained networks and control labels.
    assert told.pop("comparing look-ahead") == [(done, 12) for done in range(1, 13)]
    assert [steps[-1] for steps in told.values()] == [(1, 1), (18, 18)]
    two, four = report.sections["forms"]["look_ahead"]
    assert two["positions"] >= 200 > two["distinct"]
    assert set(two["row"]["scores"]) == {"linear", "bilinear"}
    assert two["row"]["train"] + two["row"]["test"] <= two["positions"]
    assert "Not supported: that the network links the two squares" in two["words"]
    assert four["row"] is None
    assert four["words"] == (
        "The square of the best move in four plies is not compared: 42 positions have such a line, "
        "200 are needed."
    )
    page = render_page(report)
    assert "Looking ahead" in page
    assert "42 positions have such a line" in page
