"""Description lengths: codes that can be decoded, short where a probe helps, and by hand."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge

from engine.probing.concepts.registry import Kind
from engine.probing.probes.description import FIRST_BLOCK, Blocks
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import Task

Array = npt.NDArray[np.float64]
ROWS, WIDTH = 640, 6


def coded(
    labels: list[tuple[Kind, Array]],
    penalty: float = 1e-2,
    groups: npt.NDArray[np.int64] | None = None,
) -> list[tuple[float, float]]:
    """(bits, without) of labels of `planted`'s features."""
    design = Design(planted(), np.arange(ROWS), groups=groups)
    tasks = [Task(name=kind, kind=kind, labels=own) for kind, own in labels]
    found = design.description_lengths(tasks, [penalty] * len(tasks))
    return [(each.bits, each.without) for each in found]


def planted() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def test_blocks_double_and_end_between_groups() -> None:
    groups = np.random.default_rng(0).integers(150, size=ROWS)
    blocks = Blocks.of(groups)
    assert sorted(blocks.order) == list(range(ROWS))
    assert FIRST_BLOCK <= blocks.ends[0] < 2 * FIRST_BLOCK + 20
    assert blocks.ends[-1] == ROWS
    for begin, end in zip(blocks.ends[:-1], blocks.ends[1:], strict=True):
        assert end == pytest.approx(2 * begin, abs=24)
        before, block = groups[blocks.order[:begin]], groups[blocks.order[begin:end]]
        assert not set(before) & set(block)
    # Few rows are one block, and one group cannot be divided.
    assert Blocks.of(np.arange(5)).ends == (5,)
    assert Blocks.of(np.zeros(100, np.int64)).ends == (100,)


def test_what_can_be_read_off_is_short_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    features = planted()
    linear, noise = features[:, 1].astype(np.float64), rng.normal(size=ROWS)
    found = coded(
        [
            ("binary", (linear > 0.5).astype(np.float64)),
            ("categorical", np.digitize(linear, [-0.5, 0.5]).astype(np.float64)),
            ("binary", (noise > 1.5).astype(np.float64)),
            ("real", 1e3 * linear + 5.0),
            ("real", noise),
            ("real", linear + 0.5 * noise),
        ]
    )
    for bits, without in found[:2]:
        assert 0.0 < bits < 0.6 * without
    bits, without = found[2]
    assert without < bits < without + 0.15
    assert -10.0 < found[3][0] < -4.0
    assert 0.0 < found[4][0] < 0.15
    # The ratio of the spreads, of noise and of all: .25 of a variance of 1.25.
    best = math.log2(0.5 / 1.25**0.5)
    assert best < found[5][0] < 0.6 * best


def test_frequencies_cost_what_coding_one_row_after_another_costs() -> None:
    labels = np.random.default_rng(0).integers(3, size=ROWS).astype(np.float64)
    labels[labels == 1.0] = np.where(np.arange((labels == 1.0).sum()) % 9, 0.0, 1.0)
    labels[7] = np.nan
    seen, nats = np.zeros(3), 0.0
    for label in labels[~np.isnan(labels)].astype(int):
        nats -= math.log((seen[label] + 1.0) / (seen.sum() + 3.0))
        seen[label] += 1
    ((_, without),) = coded([("categorical", labels)])
    assert without == pytest.approx(nats / math.log(2.0) / seen.sum(), rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_coded_as_the_definition_says(classes: int) -> None:
    """With scikit-learn's probes, block by block; some rows have no label."""
    rng = np.random.default_rng(2)
    features = planted()
    scores = features[:, 0] + rng.normal(size=ROWS)
    labels = np.digitize(scores, [0.3, 1.0][: classes - 1]).astype(np.float64)
    labels[rng.random(ROWS) < 0.1] = np.nan
    groups = np.arange(ROWS) // 2
    blocks, penalty = Blocks.of(groups), 1e-2
    standard = (features - features.mean(0, np.float64)) / features.std(0, np.float64)
    known = blocks.order[~np.isnan(labels[blocks.order])]
    bits = 0.0
    for begin, end in zip((0, *blocks.ends[:-1]), blocks.ends, strict=True):
        before, block = (
            rows[~np.isnan(labels[rows])]
            for rows in (blocks.order[:begin], blocks.order[begin:end])
        )
        if not begin:
            bits += len(block) * math.log2(classes)
            continue
        model = LogisticRegression(C=1.0 / (penalty * len(known)), tol=1e-8, max_iter=1_000)
        model.fit(standard[before], labels[before])
        assert len(model.classes_) == classes
        chances = model.predict_proba(standard[block])[
            np.arange(len(block)), labels[block].astype(int)
        ]
        bits -= np.log2((len(before) * chances + 1.0) / (len(before) + classes)).sum()
    kind: Kind = "binary" if classes == 2 else "categorical"
    ((found, _),) = coded([(kind, labels)], penalty, groups)
    assert found == pytest.approx(bits / len(known), abs=2e-3)


def test_numbers_are_coded_as_the_definition_says() -> None:
    rng = np.random.default_rng(3)
    features = planted()
    labels = features[:, 0] * 3.0 + rng.normal(size=ROWS)
    labels[rng.random(ROWS) < 0.1] = np.nan
    blocks, penalty = Blocks.of(np.arange(ROWS)), 1e-2
    standard = (features - features.mean(0, np.float64)) / features.std(0, np.float64)
    total, nats, spread = int((~np.isnan(labels)).sum()), 0.0, None
    for begin, end in zip(blocks.ends[:-1], blocks.ends[1:], strict=True):
        before, block = (
            rows[~np.isnan(labels[rows])]
            for rows in (blocks.order[:begin], blocks.order[begin:end])
        )
        model = Ridge(alpha=penalty * total).fit(standard[before], labels[before])
        usual = labels[before].std()
        guesses = model.predict(standard[block])
        nats -= norm.logpdf(labels[block], guesses, usual if spread is None else spread).sum()
        nats += norm.logpdf(labels[block], labels[before].mean(), usual).sum()
        spread = float(((labels[block] - guesses) ** 2).mean() ** 0.5)
    ((found, without),) = coded([("real", labels)], penalty)
    assert without == 0.0
    assert found == pytest.approx(nats / math.log(2.0) / total, rel=1e-9)


def test_a_class_that_comes_late_costs_bits_but_not_infinitely_many() -> None:
    labels = np.zeros(ROWS)
    labels[Blocks.of(np.arange(ROWS)).order[-30:]] = np.repeat([1.0, 2.0], 15)
    ((bits, without),) = coded([("categorical", labels)])
    assert without < bits < 1.0
    ((bits, without),) = coded([("binary", np.minimum(labels, 1.0))])
    assert without < bits < 1.0
