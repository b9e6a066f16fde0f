"""What all networks of a surface share: the positions that are used, and the two sides."""

import numpy as np
import pytest

from engine.probing.concepts.control import by_hash
from engine.probing.concepts.material import material
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, Labels
from engine.probing.data.samples import Sample
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import Task
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.experiment import SMALLEST_CLASS, Experiment, counts, prepare
from engine.probing.surface.layer_scores import _score_rows
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows

VARIANT = get_variant("hexapawn4x4")
TRAINING_ROWS = 120
RARE = by_hash(0.03, 5, "rare")


def few_others(positions: Positions) -> Labels:
    """A number that is nearly always zero: R² in a resample without the others means nothing."""
    return 7.0 * RARE.labels(positions.rows, positions.variant)


NEARLY_FLAT = Concept(name="nearly flat", kind="count", definition="A.", function=few_others)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    sample = Sample.from_rows(solved_rows(VARIANT.name, 800), VARIANT, source="some")
    config = ProbeConfig(training_rows=TRAINING_ROWS, resamples=20)
    return prepare(sample, (material, RARE, NEARLY_FLAT), VARIANT, config)


def test_only_rows_that_are_fitted_to_or_held_out_are_kept(experiment: Experiment) -> None:
    main, harder = experiment.main.rows, experiment.harder
    assert harder is not None
    sides = [main.train, main.test, harder.rows.train, harder.rows.test]
    assert len(main.train) == len(harder.rows.train) == TRAINING_ROWS
    used = np.unique(np.concatenate(sides))
    assert np.array_equal(used, np.arange(len(experiment.sample)))
    assert len(used) < len(experiment.whole)
    # They are the same positions, with the same symmetric ones.
    known = {row.tobytes(): board for row, board in zip(*whole_boards(experiment), strict=True)}
    for row, board in zip(experiment.sample.rows, experiment.sample.boards, strict=True):
        assert np.array_equal(known[row.tobytes()], board)
    _, first = np.unique(experiment.sample.boards, axis=0, return_inverse=True)
    groups = experiment.sample.groups
    assert len(np.unique(groups)) == len(np.unique(np.stack([groups, first.ravel()]), axis=1).T)
    # The report still tells of all that were given.
    assert counts(experiment).distinct == experiment.whole.distinct


def whole_boards(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    return experiment.whole.rows, experiment.whole.boards


def test_no_canonical_position_is_on_both_sides(experiment: Experiment) -> None:
    assert experiment.harder is not None
    boards = experiment.sample.boards
    for setting in (experiment.main, experiment.harder):
        train, test = (
            {board.tobytes() for board in boards[side]}
            for side in (setting.rows.train, setting.rows.test)
        )
        assert train
        assert test
        assert not train & test


def test_labels_are_those_of_the_rows_that_are_kept(experiment: Experiment) -> None:
    for target in experiment.targets:
        wanted = target.concept.labels(experiment.sample.rows, VARIANT)
        assert np.array_equal(target.labels, wanted)


def test_a_concept_without_a_training_label_in_the_harder_split_is_refused_there() -> None:
    """Defined for one number of pieces only: whole material signatures are held out."""

    def of_count(pieces: int) -> Concept:
        def function(positions: Positions) -> Labels:
            total = (positions.boards != 0).sum(axis=(1, 2))
            return np.where(total == pieces, material.label(positions), np.nan)

        return Concept(name=f"{pieces} pieces", kind="real", definition="A.", function=function)

    sample = Sample.from_rows(solved_rows(VARIANT.name, 1_500), VARIANT, source="some")
    concepts = tuple(of_count(pieces) for pieces in range(3, 9))
    reasons = set()
    for seed in range(4):
        made = prepare(sample, concepts, VARIANT, ProbeConfig(seed=seed, resamples=5))
        assert made.harder is not None
        reasons |= {limit.reason for limit in made.harder.limits}
    assert "refused: no training position has a label" in reasons


def test_drawn_labels_that_are_all_alike_leave_nothing_to_explain() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3)).astype(np.float32)
    labels = np.append(rng.normal(size=40), np.ones(20))
    design = Design(features, np.arange(40), np.arange(40) % 4)
    probes = design.fit([Task(name="drawn", kind="real", labels=labels)])
    held_out = np.arange(40, 60)
    assert _score_rows(probes, features[held_out], [labels], held_out).tolist() == [0.0]


def test_a_setting_limits_the_width_and_refuses_rare_classes(experiment: Experiment) -> None:
    number, rare, nearly_flat = range(3)
    main = experiment.main
    distinct = len({board.tobytes() for board in experiment.sample.boards[main.rows.train]})
    assert experiment.refusal(number, distinct, main) is None
    wide = experiment.refusal(number, distinct + 1, main)
    assert wide == f"refused: {distinct} distinct training positions, {distinct + 1} are needed"
    labels = experiment.targets[rare].labels[main.rows.train]
    boards = experiment.sample.boards[main.rows.train][labels == 1]
    count = len({board.tobytes() for board in boards})
    assert 0 < count < SMALLEST_CLASS
    found = f"refused: {count} distinct training positions with"
    assert experiment.refusal(rare, 1, main) == f"{found} 'yes', 10 are needed"
    assert experiment.refusal(nearly_flat, 1, main) == f"{found} other than '0', 10 are needed"
