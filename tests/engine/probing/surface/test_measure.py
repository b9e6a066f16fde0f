"""The toolkit itself: it finds what was planted, finds nothing where nothing is, and says so."""

import copy
import dataclasses
import json
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Readout, capture, stream_points
from engine.probing.concepts.material import material
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Kind, Labels
from engine.probing.controls.features import raw_input, untrained_networks
from engine.probing.data.canonical import Rows, board_fractions, canonical_boards, seen_boards
from engine.probing.data.samples import Sample
from engine.probing.data.splits import Split, split
from engine.probing.probes.design import Design
from engine.probing.probes.scores import score
from engine.probing.probes.tasks import Task
from engine.probing.report.results import Measurement, Report
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.measure import surface
from engine.rules.tables import BLACK_BIT
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network, small_config
from tests.support.network.probing_cases import (
    QUICK,
    game_rows,
    mirrored,
    planted_report,
    recoloured,
    solved_rows,
    subject,
)

LAYER = "block.1.residual"
PAWN = 7


def direction(network: PolicyValueNet, kind: Kind) -> Concept:
    """Planted and present: a linear function of the network's own activation."""

    def function(positions: Positions) -> Labels:
        features = capture(network, positions.rows, [LAYER])[LAYER].astype(np.float64)
        weights = np.random.default_rng(5).normal(size=features.shape[1])
        values: Labels = (features / np.maximum(features.std(axis=0), 1e-9)) @ weights
        return values if kind == "real" else (values > np.median(values)).astype(np.float64)

    return Concept(name=f"direction ({kind})", kind=kind, definition="Planted.", function=function)


def by_hash(kind: Kind) -> Concept:
    """Planted and absent: a coin, or a number, that the board decides and nothing can learn."""

    def function(positions: Positions) -> Labels:
        fractions = board_fractions(canonical_boards(positions.rows, positions.variant), 17)
        return fractions if kind == "real" else (fractions < 0.3).astype(np.float64)

    return Concept(name=f"hash ({kind})", kind=kind, definition="Planted.", function=function)


def odd_count(positions: Positions) -> Labels:
    """Whether the side to move has an odd number of pieces: nothing linear on the board says so."""
    odd: Labels = positions.mine.sum(axis=(1, 2)) % 2.0
    return odd


ODD = Concept(name="odd", kind="binary", definition="An odd number of pieces.", function=odd_count)


def measured(report: Report, concept: str, layer: str) -> Measurement:
    """The measurement of the only checkpoint."""
    (cell,) = (each for each in report.cells if (each.concept, each.layer) == (concept, layer))
    measurement = cell.measurement
    assert measurement is not None
    return measurement


@pytest.fixture(scope="module")
def planted() -> Report:
    network = lively_network("hexapawn4x4", "geometric")
    kinds: tuple[Kind, ...] = ("real", "binary")
    concepts = [direction(network, kind) for kind in kinds] + [by_hash(kind) for kind in kinds]
    return planted_report(tuple(concepts), network=network)


@pytest.mark.parametrize("kind", ["real", "binary"])
def test_a_planted_direction_is_found_where_it_is(planted: Report, kind: Kind) -> None:
    found = measured(planted, f"direction ({kind})", LAYER)
    assert found.score > 0.95
    assert found.gain > 0.05
    # Whether it is clear of zero needs more concepts, whose spreads are pooled (test_planted.py).
    assert found.gain_low <= found.gain <= found.gain_high
    assert found.baseline == pytest.approx(max(found.raw_input, np.mean(found.random_init)))
    assert found.auc is None if kind == "real" else (found.auc or 0) > 0.99


@pytest.mark.parametrize("kind", ["real", "binary"])
def test_nothing_is_found_where_nothing_is(planted: Report, kind: Kind) -> None:
    chance = 0.0 if kind == "real" else 0.5
    for layer in planted.layers:
        found = measured(planted, f"hash ({kind})", layer)
        assert not found.is_above_controls
        assert found.score == pytest.approx(chance, abs=0.08)


def test_shuffled_labels_and_the_control_task_are_chance(planted: Report) -> None:
    for cell in planted.cells:
        found = cell.measurement
        assert found is not None
        chance = 0.0 if "real" in cell.concept else 0.5
        assert found.majority == pytest.approx(chance, abs=0.02)
        assert found.shuffled_labels == pytest.approx(chance, abs=0.08)
        assert found.control_task < chance + 0.08
        if "direction" in cell.concept:
            assert found.control_task_training > found.control_task, "it memorises a little"


def faced(positions: Positions) -> Labels:
    """[N, S] where a piece of the side to move stands nose to nose with an enemy."""
    boards = positions.boards
    found = np.zeros(boards.shape)
    found[:, :-1] = (boards[:, :-1] == PAWN) & (boards[:, 1:] == PAWN | BLACK_BIT)
    return found.reshape(len(boards), -1)


def teach(network: PolicyValueNet, rows: Rows, squares: Labels) -> None:
    """Train the trunk to tell the marked squares [N, S] apart, for about a second."""
    torch.set_num_threads(1)
    head = torch.nn.Linear(network.config.channels, 1)
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-2)
    boards, wanted = torch.from_numpy(rows), torch.from_numpy(squares).float()
    rng = np.random.default_rng(0)
    for _ in range(100):
        batch = torch.from_numpy(rng.integers(len(rows), size=256))
        with network.hook_points.read("final") as activations:
            network(boards[batch])
        logits = head(activations["final"])[..., 0]
        loss = F.binary_cross_entropy_with_logits(logits, wanted[batch])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()


def test_training_plants_what_the_probe_then_finds() -> None:
    name = "hexapawn4x4"
    variant, rows = get_variant(name), solved_rows(name, 2500)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = PolicyValueNet(small_config(name, "residual", blocks=1))
        untrained = copy.deepcopy(network)
        teach(network, rows, faced(Positions(rows, variant)))
    count = Concept(
        name="faced pieces",
        kind="real",
        definition="How many of my pieces stand nose to nose with an enemy.",
        function=lambda positions: faced(positions).sum(axis=1),
    )
    # Of three untrained networks the spread would be known too badly.
    config = ProbeConfig(random_networks=5, resamples=300)
    first, last = (
        planted_report((count,), network=each, rows=rows, config=config)
        for each in (untrained, network)
    )
    for layer, gain in (("block.0.residual", 0.2), ("final", 0.4)):
        learned = measured(last, "faced pieces", layer)
        fresh = measured(first, "faced pieces", layer)
        assert learned.gain_low > gain
        assert not fresh.is_above_controls
    embedded = measured(last, "faced pieces", "embed")
    assert not embedded.is_above_controls, "no square has seen its neighbours there"


def test_a_leak_shows_in_the_shuffled_labels() -> None:
    """Features that name the position: an honest split finds nothing in them, a leaky one does."""
    rng = np.random.default_rng(0)
    base = solved_rows("hexapawn4x4", 120)
    variant = get_variant("hexapawn4x4")
    rows = np.concatenate([base, [recoloured(mirrored(row, variant), variant) for row in base]])
    sample = Sample.from_rows(rows, variant)
    names = np.eye(sample.distinct, dtype=np.float32)[sample.groups]
    labels = rng.permutation(np.arange(sample.distinct) % 2.0)[sample.groups]
    honest = split(sample, 0.3, rng)
    leaky = Split(train=np.arange(120), test=np.arange(120, 240))
    scores = []
    for sides in (honest, leaky):
        task = Task(name="names", kind="binary", labels=labels, penalty=1e-3)
        (probe,) = Design(names, sides.train).fit([task]).probes
        scores.append(score("binary", labels[sides.test], probe.predict(names[sides.test])))
    assert scores[0] < 0.65
    assert scores[1] == 1.0


def test_the_same_seed_gives_the_same_report_on_any_number_of_cores() -> None:
    rows = solved_rows("hexapawn4x4", 400)
    texts = []
    # Four workers begin with raw input and all untrained networks at the same moment.
    for seed, workers, memory in ((0, 1, 1 << 29), (0, 4, 1), (1, 1, 1 << 29)):
        config = ProbeConfig(
            seed=seed, random_networks=3, resamples=100, workers=workers, memory=memory
        )
        report = planted_report((material, ODD), rows=rows, config=config)
        texts.append(dataclasses.replace(report, seconds=0.0).to_json())
    assert texts[0] == texts[1] != texts[2]


def test_untrained_networks_are_of_the_same_build_and_all_different() -> None:
    config = small_config("hexapawn4x4", "residual")
    state = torch.get_rng_state()
    first, second = untrained_networks(config, [1, 2])
    (again,) = untrained_networks(config, [1])
    assert torch.equal(torch.get_rng_state(), state)
    assert first.config == second.config == config
    weights = [network.state_dict()["embedding.token.weight"] for network in (first, second, again)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_no_untrained_network_begins_as_a_training_run_does() -> None:
    """A run draws its first weights from its seed, and most have small ones."""
    config = small_config("hexapawn4x4", "residual")
    begun = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(4):
            torch.manual_seed(seed)
            begun.append(PolicyValueNet(config).state_dict()["embedding.token.weight"])
    for network in untrained_networks(config, range(4)):
        own = network.state_dict()["embedding.token.weight"]
        assert not any(torch.equal(own, each) for each in begun)


def test_three_by_three_is_refused() -> None:
    network = lively_network("hexapawn", "geometric")
    report = planted_report((material, ODD), name="hexapawn", network=network)
    assert report.counts.rows == 70
    for cell in report.cells:
        if cell.width > report.counts.train_distinct:
            assert cell.measurement is None
            assert cell.refused == (
                f"refused: {report.counts.train_distinct} distinct training positions, "
                f"{cell.width} are needed"
            )
        else:
            assert cell.layer == "value.hidden"
    assert {cell.width for cell in report.cells if cell.layer == "final"} == {32}


def test_rare_classes_are_refused_and_constants_absent() -> None:
    rows = solved_rows("hexapawn4x4", 600)

    def rare(positions: Positions) -> Labels:
        fractions = board_fractions(canonical_boards(positions.rows, positions.variant), 17)
        return (fractions < 0.02).astype(np.float64)

    def flat(positions: Positions) -> Labels:
        return np.ones(len(positions))

    def undefined(positions: Positions) -> Labels:
        raise ConceptUndefinedError("there are no dragons")

    report = planted_report(
        (
            Concept(name="rare", kind="binary", definition="", function=rare),
            Concept(
                name="flat",
                kind="real",
                definition="",
                function=lambda positions: np.ones(len(positions)),
            ),
            Concept(name="dragons", kind="binary", definition="", function=undefined),
        ),
        rows=rows,
    )
    assert {cell.concept for cell in report.cells} == {"rare"}
    assert all("distinct" in (cell.refused or "") for cell in report.cells)
    absent = {each.name: each.absent for each in report.concepts}
    assert absent == {
        "rare": None,
        "flat": "'1' in every training position",
        "dragons": "there are no dragons",
    }


def test_concepts_with_few_labels_are_measured_but_their_forms_are_not_compared() -> None:
    """Of the rows that the forms are fitted to, which are fewer."""

    def seldom(positions: Positions) -> Labels:
        fractions = board_fractions(canonical_boards(positions.rows, positions.variant), 17)
        return np.where(fractions < 0.05, odd_count(positions), np.nan)

    report = planted_report(
        (
            Concept(name="seldom", kind="binary", definition="", function=seldom),
            Concept(name="often", kind="binary", definition="", function=odd_count),
        ),
        rows=solved_rows("hexapawn4x4"),
        config=ProbeConfig(random_networks=2, resamples=50, layers=("final",)),
    )
    assert all(cell.measurement is not None for cell in report.cells)
    forms = report.sections["forms"]
    assert [row["name"] for row in forms["rows"]] == ["often"]
    assert forms["left_out"] == ["seldom"]
    json.dumps(report.sections, allow_nan=False)


def test_games_are_kept_together_and_drawn_together() -> None:
    variant = get_variant("gardner")
    rows, games = game_rows("gardner", 60, plies=25)
    report = surface(
        [("games", [subject(lively_network("gardner", "residual"))])],
        Sample.from_rows(rows, variant, games, "random games"),
        (material,),
        variant,
        config=ProbeConfig(random_networks=2, resamples=100, layers=("final",)),
    )
    assert report.counts.split_by == "canonical position and game"
    assert report.counts.test_games is not None
    assert 10 <= report.counts.test_games <= 18
    assert report.layers == ("final",)
    found = report.cells[0].measurement
    assert found is not None
    assert found.raw_input > 0.9, "material is linear on the board"


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
@pytest.mark.parametrize("readout", get_args(Readout))
def test_features_are_the_activations(trunk: str, readout: Readout) -> None:
    network = lively_network("hexapawn4x4", trunk).train()
    rows = solved_rows("hexapawn4x4", 10)
    points = stream_points(network)
    assert points == ("embed", "block.0.residual", LAYER, "final", "value.hidden")
    found = capture(network, rows, points, readout=readout, batch=4)
    assert network.training
    with network.hook_points.read(*points) as activations, torch.no_grad():
        network(torch.from_numpy(rows))
    for name in points:
        activation = activations[name].numpy()
        if name != "value.hidden":
            mean, largest = activation.mean(1), activation.max(1)
            activation = {
                "mean": mean,
                "mean+max": np.concatenate([mean, largest], axis=1),
                "squares": activation.reshape(len(rows), -1),
            }[readout]
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], activation, rtol=1e-4, atol=1e-5)


def test_the_raw_input_tells_positions_apart_unless_symmetric() -> None:
    variant = get_variant("hexapawn4x4")
    rows = solved_rows("hexapawn4x4", 200)
    network = lively_network("hexapawn4x4", "geometric")
    both = np.concatenate([rows, [recoloured(row, variant) for row in rows]])
    features = raw_input(network, both)
    np.testing.assert_array_equal(features[:200], features[200:])
    boards = {board.tobytes() for board in seen_boards(rows, variant)}
    assert len(np.unique(features[:200], axis=0)) == len(boards)
    assert (np.ptp(features, axis=0) > 0).all()


def test_the_json_has_every_control(planted: Report) -> None:
    data = json.loads(planted.to_json())
    assert data["format"] == "pawnscope-probe-report-2"
    assert len(data["cells"]) == len(planted.concepts) * len(planted.layers)
    cell = data["cells"][0]
    controls = {"majority", "raw_input", "random_init", "shuffled_labels", "control_task"}
    assert controls < set(cell["measurement"])
    assert len(cell["measurement"]["random_init"]) == QUICK.random_networks
    classes = data["concepts"][1]["classes"]
    assert [each["name"] for each in classes] == ["0", "1"]
    assert sum(each["train"] + each["test"] for each in classes) == data["counts"]["rows"]


def test_the_examples_are_the_extremes_of_the_held_out_positions() -> None:
    """Material, which a layer holds exactly: the highest example has the most of it."""
    rows = solved_rows("hexapawn4x4", 800)
    config = ProbeConfig(random_networks=2, resamples=50, layers=("embed", "final"))
    report = planted_report((material, ODD), rows=rows, config=config)
    variant = get_variant("hexapawn4x4")
    labels = material.labels(rows, variant)
    (shown,) = (each for each in report.examples if each.concept == "material")
    assert shown.highest[0].label >= np.quantile(labels, 0.95)
    assert shown.lowest[0].label <= np.quantile(labels, 0.05)
    for board in (*shown.highest, *shown.lowest, *shown.wrong):
        mine = sum(0 < code < BLACK_BIT for code in board.codes)
        theirs = sum(code > BLACK_BIT for code in board.codes)
        assert board.label == mine - theirs
        assert board.prediction == pytest.approx(board.label, abs=0.2)
    (odd,) = (each for each in report.examples if each.concept == "odd")
    assert odd.highest[0].prediction > 0.5 > odd.lowest[0].prediction
    for board in odd.wrong:
        assert (board.prediction > 0.5) != (board.label == 1.0)
