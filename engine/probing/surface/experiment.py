"""What all networks, layers and concepts of a report share: splits, labels, resamples."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels, label
from engine.probing.concepts.truth import Truth
from engine.probing.controls.labels import control_task_labels, shuffled_labels
from engine.probing.data.canonical import seen_boards
from engine.probing.data.samples import Sample
from engine.probing.data.searched import Searched
from engine.probing.data.signatures import NAMES, signatures, usual_kind
from engine.probing.data.splits import (
    Indices,
    Split,
    clusters,
    count_distinct,
    fold_numbers,
    split,
    split_whole,
    thin,
)
from engine.probing.probes.scores import METRICS, Bootstrap
from engine.probing.report.results import ClassCount, ConceptSummary, Counts
from engine.probing.surface.config import ProbeConfig
from engine.rules.errors import InputError
from engine.rules.variant import Variant

SMALLEST_CLASS: Final = 10
"""Distinct positions that each class needs on either side of the split, and that must have another
number than the usual one."""
FEWEST_CLUSTERS: Final = 10
"""Games, or distinct positions, that must be held out for an interval to mean anything."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a probe is fitted to: a concept's labels [N], and those of two controls.

    A per-square concept has the label of one square of each position.
    """

    concept: Concept
    labels: Labels
    shuffled: Labels
    control_task: Labels


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the rows of a setting allow for one target."""

    # Distinct training positions that have a label: no probe may be wider.
    distinct: int
    # Why no probe may be scored, whatever its width; None where it may.
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to hold rows out."""

    # Rows to fit to and rows held out.
    rows: Split
    # [M] fold of each training row, for the choice of the penalty.
    folds: npt.NDArray[np.int64]
    # Resamples of the held-out rows.
    bootstrap: Bootstrap
    # Of each target, in their order.
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The positions, how they are held out, and what is asked about them."""

    config: ProbeConfig
    variant: Variant
    # All positions that were given.
    whole: Sample
    # bool of each of these: whether it is on the held-out side of `main`.
    whole_held_out: npt.NDArray[np.bool_]
    # Those that are fitted to or held out; all rows below are of these.
    sample: Sample
    # [N] the square that per-square concepts ask about, as the side to move sees the board; the
    # same one, mirrored, for symmetric positions.
    squares: npt.NDArray[np.int64]
    # Held out by canonical position, and by game where games are known.
    main: Setting
    # Whole material signatures or pawn skeletons held out; None where there are too few of them.
    harder: Setting | None
    # Places among the held-out rows of `main` that occur in self-play, with their own resamples.
    self_play: tuple[Indices, Bootstrap] | None
    # The concepts that are measured.
    targets: tuple[Target, ...]
    # All concepts, with the reason where one is not measured.
    summaries: tuple[ConceptSummary, ...]
    # How many signatures or skeletons there are, and how many are held out.
    harder_groups: tuple[int, int]

    def refusal(self, target: int, width: int, setting: Setting) -> str | None:
        """Why a probe of this width may not be scored for a target by its number, or None."""
        limit = setting.limits[target]
        if width > limit.distinct:
            return f"refused: {limit.distinct} distinct training positions, {width} are needed"
        return limit.reason


def prepare(
    whole: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    config: ProbeConfig,
    *,
    truth: Truth | None = None,
    searched: Searched | None = None,
) -> Experiment:
    """Split the sample and label it; raises InputError where nothing can be held out."""
    rng = np.random.default_rng(config.seed)
    main = _setting(whole, split(whole, config.test_share, rng), config, rng, config.resamples)
    if main is None:
        raise InputError(f"{whole.distinct} distinct positions are too few to hold some out")
    kinds = signatures(whole.boards, variant, config.held_out or usual_kind(variant))
    harder_split = split_whole(whole, kinds, config.test_share, rng)
    harder = _setting(whole, harder_split, config, rng, secondary(config.resamples))
    held_out = count_distinct(kinds[harder_split.test])
    whole_held_out = np.isin(whole.groups, whole.groups[main.rows.test])
    sample, main, harder = _only_used(whole, main, harder)
    squares = draw_squares(sample, variant, rng)
    targets, summaries = [], []
    for concept, labels in label_all(concepts, sample.rows, variant, truth, searched):
        if isinstance(labels, np.ndarray) and concept.per_square:
            labels = labels[np.arange(len(sample)), squares]
        reason = labels if isinstance(labels, str) else _constant(concept, labels, main.rows.train)
        if isinstance(labels, str) or reason is not None:
            summaries.append(_summary(concept, absent=reason))
            continue
        summaries.append(_summary(concept, **_balance(concept, labels, main.rows)))
        # A stream of its own for each concept: adding one leaves the others as they are.
        own = np.random.default_rng((config.seed, zlib.crc32(concept.name.encode())))
        targets.append(
            Target(
                concept=concept,
                labels=labels,
                shuffled=shuffled_labels(sample, labels, own),
                control_task=control_task_labels(sample, labels, config.seed),
            )
        )
    return Experiment(
        config=config,
        variant=variant,
        whole=whole,
        whole_held_out=whole_held_out,
        sample=sample,
        squares=squares,
        main=_limited(sample, main, targets),
        harder=None if harder is None else _limited(sample, harder, targets),
        self_play=_self_play(sample, main, config, rng),
        targets=tuple(targets),
        summaries=tuple(summaries),
        harder_groups=(count_distinct(kinds), held_out),
    )


def label_all(
    concepts: Sequence[Concept],
    rows: npt.NDArray[np.uint8],
    variant: Variant,
    truth: Truth | None,
    searched: Searched | None,
) -> list[tuple[Concept, Labels | str]]:
    """Each concept with its labels, [N] or [N, S], or with the reason why it has none."""
    reasons: dict[str, str] = {}
    for each in concepts:
        try:
            each.label(Positions(rows[:1], variant, truth, searched))
        except ConceptUndefinedError as reason:
            reasons[each.name] = str(reason)
    defined = tuple(each for each in concepts if each.name not in reasons)
    labels = label(defined, rows, variant, truth=truth, searched=searched)
    return [(each, reasons.get(each.name) or labels[each.name]) for each in concepts]


def draw_squares(
    sample: Sample, variant: Variant, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """[N] a random square a canonical position, in each row as its side to move sees it."""
    squares = rng.integers(variant.squares, size=sample.distinct)[sample.groups]
    is_mirrored = (seen_boards(sample.rows, variant) != sample.boards).any(axis=1)
    ranks, files = np.divmod(squares, variant.width)
    mirrored = ranks * variant.width + variant.width - 1 - files
    found: npt.NDArray[np.int64] = np.where(is_mirrored, mirrored, squares)
    return found


def _setting(
    sample: Sample, rows: Split, config: ProbeConfig, rng: np.random.Generator, resamples: int
) -> Setting | None:
    """None where a side is empty."""
    rows = rows.without_repeats(sample)
    rows = Split(train=thin(rows.train, config.training_rows, rng), test=rows.test)
    folds = fold_numbers(sample, rows.train, config.folds, rng)
    if not len(rows.test) or folds.max(initial=0) < config.folds - 1:
        return None
    bootstrap = Bootstrap(clusters(sample, rows.test), resamples, rng)
    return Setting(rows=rows, folds=folds, bootstrap=bootstrap)


def _only_used(
    whole: Sample, main: Setting, harder: Setting | None
) -> tuple[Sample, Setting, Setting | None]:
    """The rows that a setting uses, and the settings in terms of these."""
    settings = [each for each in (main, harder) if each is not None]
    used = np.unique(
        np.concatenate([side for each in settings for side in (each.rows.train, each.rows.test)])
    )

    def moved(setting: Setting) -> Setting:
        rows = Split(
            train=np.searchsorted(used, setting.rows.train),
            test=np.searchsorted(used, setting.rows.test),
        )
        return replace(setting, rows=rows)

    return whole.take(used), moved(main), None if harder is None else moved(harder)


def _limited(sample: Sample, setting: Setting, targets: Sequence[Target]) -> Setting:
    """The setting with the limits of each target."""
    return replace(setting, limits=tuple(_limit(sample, setting, each) for each in targets))


def _limit(sample: Sample, setting: Setting, target: Target) -> Limit:
    groups, labels = sample.groups, target.labels
    sides = {
        name: rows[~np.isnan(labels[rows])]
        for name, rows in (("training", setting.rows.train), ("held-out", setting.rows.test))
    }
    distinct = count_distinct(groups[sides["training"]])
    if not distinct:
        return Limit(distinct=0, reason="refused: no training position has a label")
    drawn = count_distinct(clusters(sample, sides["held-out"]))
    if drawn < FEWEST_CLUSTERS:
        unit = "positions" if sample.games is None else "games"
        reason = f"refused: {drawn} held-out {unit}, {FEWEST_CLUSTERS} are needed"
        return Limit(distinct=distinct, reason=reason)
    if target.concept.is_number:
        for name, rows in sides.items():
            values, members = np.unique(labels[rows], return_counts=True)
            usual = values[members.argmax()]
            count = count_distinct(groups[rows[labels[rows] != usual]])
            if count < SMALLEST_CLASS:
                what = f"{count} distinct {name} positions with other than '{usual:g}'"
                reason = f"refused: {what}, {SMALLEST_CLASS} are needed"
                return Limit(distinct=distinct, reason=reason)
        return Limit(distinct=distinct, reason=None)
    for value in np.unique(labels[~np.isnan(labels)]):
        for name, rows in sides.items():
            count = count_distinct(groups[rows[labels[rows] == value]])
            if count < SMALLEST_CLASS:
                said = target.concept.class_name(value)
                what = f"{count} distinct {name} positions with '{said}'"
                reason = f"refused: {what}, {SMALLEST_CLASS} are needed"
                return Limit(distinct=distinct, reason=reason)
    return Limit(distinct=distinct, reason=None)


def secondary(resamples: int) -> int:
    """Resamples of the gains that stand beside the main one and carry no claim of their own."""
    return min(resamples, 200)


def _self_play(
    sample: Sample, main: Setting, config: ProbeConfig, rng: np.random.Generator
) -> tuple[Indices, Bootstrap] | None:
    if sample.self_play is None:
        return None
    places = np.flatnonzero(sample.self_play[main.rows.test])
    if not len(places):
        return None
    resamples = secondary(config.resamples)
    bootstrap = Bootstrap(clusters(sample, main.rows.test[places]), resamples, rng)
    return places, bootstrap


def _constant(concept: Concept, labels: Labels, train: Indices) -> str | None:
    """Why there is nothing to learn from the training labels; None where there is."""
    defined = labels[train][~np.isnan(labels[train])]
    if not len(defined):
        return "undefined in every training position"
    if (defined != defined[0]).any():
        return None
    name = f"{defined[0]:g}" if concept.is_number else concept.class_name(defined[0])
    return f"'{name}' in every training position"


def _summary(concept: Concept, **found: Any) -> ConceptSummary:
    return ConceptSummary(
        name=concept.name,
        kind=concept.kind,
        metric=METRICS[concept.kind],
        definition=concept.definition,
        source=concept.source,
        family=concept.family,
        per_square=concept.per_square,
        **found,
    )


def _balance(concept: Concept, labels: Labels, rows: Split) -> dict[str, Any]:
    """Fields of ConceptSummary: how the labels are distributed."""
    of_both = labels[np.concatenate([rows.train, rows.test])]
    defined = of_both[~np.isnan(of_both)]
    found: dict[str, Any] = {"defined": len(defined) / len(of_both)}
    if concept.is_number:
        return found | {"mean": float(defined.mean()), "spread": float(defined.std())}
    train, test = labels[rows.train], labels[rows.test]
    classes = (
        ClassCount(
            name=concept.class_name(value),
            train=int((train == value).sum()),
            test=int((test == value).sum()),
        )
        for value in np.unique(defined)
    )
    return found | {"classes": tuple(classes)}


def unseen_shares(experiment: Experiment, confidence: float) -> npt.NDArray[np.float64]:
    """[C] where all resamples of a score are alike: how far unseen positions could move it.

    The exact interval of a share (Clopper and Pearson 1934) bounds how many unseen units of the
    smallest class may differ, each by a whole point.
    """
    members = clusters(experiment.sample, experiment.main.rows.test)
    found = []
    for target in experiment.targets:
        labels = target.labels[experiment.main.rows.test]
        parts = [members[~np.isnan(labels)]]
        if not target.concept.is_number:
            parts = [members[labels == value] for value in np.unique(labels[~np.isnan(labels)])]
        fewest = min((count_distinct(part) for part in parts), default=0)
        tail = (1.0 - confidence) / 2.0 / max(1, len(parts))
        found.append(1.0 - tail ** (1.0 / max(1, fewest)))
    return np.array(found)


def counts(experiment: Experiment) -> Counts:
    """The positions, for the report."""
    sample, rows = experiment.sample, experiment.main.rows
    train, test = sample.groups[rows.train], sample.groups[rows.test]
    has_games = sample.games is not None
    found, held_out = experiment.harder_groups
    kind = experiment.config.held_out or usual_kind(experiment.variant)
    return Counts(
        source=sample.source,
        census=sample.census,
        rows=len(train) + len(test),
        distinct=experiment.whole.distinct,
        train_rows=len(train),
        train_distinct=count_distinct(train),
        test_rows=len(test),
        test_distinct=count_distinct(test),
        test_games=count_distinct(clusters(sample, rows.test)) if has_games else None,
        test_self_play=None if experiment.self_play is None else len(experiment.self_play[0]),
        split_by="canonical position and game" if has_games else "canonical position",
        harder_by=NAMES[kind],
        harder_groups=found,
        harder_test_groups=held_out,
    )
