"""Does a layer link the square of the best move to that of the best move some plies later?

    N  positions with a forced line     S  squares     D  channels

A bilinear probe is told the first square and asked for the later one (Jenner et al. 2024, section
4.1). The linear probe beside it is told as much: it reads the activations of all squares and which
of them is given. Both are compared with raw input and with untrained networks on the same rows.

Few positions have such a line, so all those of the sample are taken, on the sides of the surface's
own split. Lines that come back to the first square are left out: they would be found without
looking ahead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.probing.activations.capture import capture
from engine.probing.concepts.facts.forced_lines import best_squares
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.truth import Truth
from engine.probing.controls.labels import control_task_labels
from engine.probing.data.canonical import Rows
from engine.probing.data.samples import Sample
from engine.probing.data.splits import (
    Split,
    clusters,
    count_distinct,
    fold_numbers,
    thin,
)
from engine.probing.probes.forms.compare import Progress, compare_square_forms
from engine.probing.probes.forms.linked_squares import Squares
from engine.probing.probes.forms.scoring import FormSplit
from engine.probing.probes.scores import Bootstrap
from engine.probing.probes.tasks import Task
from engine.probing.report.forms import LookAhead
from engine.probing.surface.experiment import FEWEST_CLUSTERS, Experiment

FEWEST: Final = 200
"""Positions, both sides together."""
MOST: Final = 1_500
"""On each side."""
PLIES: Final = {
    2: "square of the best move in two plies",
    4: "square of the best move in four plies",
}
"""Plies ahead that are asked for, and the tasks' names."""
_FEWEST_OF_A_SQUARE: Final = 2
"""Distinct training positions whose line reaches a square; others are not asked for."""
_SEEDS: Final = (0,)
RESAMPLES: Final = 400


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Positions with a forced line of so many plies."""

    ply: int
    # Rows of `Experiment.whole` on either side of its split.
    rows: Split
    # int64[N] of all these rows: the squares of the first and of the later best move.
    first: npt.NDArray[np.int64]
    later: npt.NDArray[np.int64]


Read = Callable[[PolicyValueNet | None, Rows], Squares]
"""Activations [N, S, D] of a network; for None raw input as a bilinear probe can read it."""


def compare_look_ahead(
    experiment: Experiment,
    network: PolicyValueNet,
    untrained: Sequence[PolicyValueNet],
    layer: str,
    truth: Truth | None,
    *,
    progress: Progress = lambda done, total: None,
) -> tuple[LookAhead, ...]:
    """For each of `PLIES` both forms at a layer with squares, or why they are not compared.

    Nothing where no exact results are known.
    """

    def read(probed: PolicyValueNet | None, rows: Rows) -> Squares:
        return _tokens(network, rows) if probed is None else _squares(probed, layer, rows)

    return tuple(
        compare_lines(experiment, lines, (network, *untrained), read, progress=progress)
        for lines in find_lines(experiment, truth)
    )


def find_lines(experiment: Experiment, truth: Truth | None) -> tuple[Lines, ...]:
    """Those of the whole sample, of which other probes may see a part only."""
    if truth is None:
        return ()
    sample = experiment.whole
    positions = Positions(sample.rows, experiment.variant, truth)
    first, is_known = best_squares(positions, 0)
    found = []
    for ply in PLIES:
        later, is_forced = best_squares(positions, ply)
        rows = np.flatnonzero(is_known & is_forced & (later != first))
        is_test = experiment.whole_held_out[rows]
        sides = Split(train=rows[~is_test], test=rows[is_test]).without_repeats(sample)
        found.append(Lines(ply=ply, rows=sides, first=first, later=later))
    return tuple(found)


def compare_lines(
    experiment: Experiment,
    lines: Lines,
    networks: Sequence[PolicyValueNet | None],
    read: Read,
    *,
    progress: Progress = lambda done, total: None,
) -> LookAhead:
    """Both forms for the lines of one length; `networks` are the one that is asked about, then
    untrained ones."""
    sample, name = experiment.whole, PLIES[lines.ply]
    every = np.concatenate([lines.rows.train, lines.rows.test])
    found = LookAhead(
        name=name,
        ply=lines.ply,
        positions=len(every),
        distinct=count_distinct(sample.groups[every]),
        needed=FEWEST,
    )
    sides = _reached_in_training(lines, sample)
    refused = _refusal(found, sides, lines, experiment)
    if refused is not None:
        return replace(found, refused=refused)
    rng = np.random.default_rng((experiment.config.seed, 7, lines.ply))
    train, test = thin(sides.train, MOST, rng), thin(sides.test, MOST, rng)
    chosen = np.concatenate([train, test])
    split = FormSplit(
        train=np.arange(len(train)),
        folds=fold_numbers(sample, train, experiment.config.folds, rng),
        test=np.arange(len(train), len(chosen)),
        bootstrap=Bootstrap(clusters(sample, test), RESAMPLES, rng),
        confidence=experiment.config.confidence,
    )
    rows, given = sample.rows[chosen], lines.first[chosen]
    own, *fresh = (read(each, rows) for each in networks)
    labels = lines.later[chosen].astype(np.float64)
    (comparison,) = compare_square_forms(
        own,
        {name: given},
        [Task(name=name, kind="categorical", labels=labels)],
        split,
        controls={"raw input": [read(None, rows)], "untrained": fresh},
        control_labels=[
            control_task_labels(
                Sample.from_rows(rows, experiment.variant), labels, experiment.config.seed
            )
        ],
        seeds=_SEEDS,
        workers=experiment.config.workers,
        progress=progress,
    )
    return replace(found, comparison=comparison)


def _reached_in_training(lines: Lines, sample: Sample) -> Split:
    """Only lines to squares that some training positions reach: a linear probe has nothing to say
    of others."""
    reached = np.unique(
        np.stack([lines.later[lines.rows.train], sample.groups[lines.rows.train]]), axis=1
    )[0]
    squares, counts = np.unique(reached, return_counts=True)
    kept = squares[counts >= _FEWEST_OF_A_SQUARE]
    train, test = (
        rows[np.isin(lines.later[rows], kept)] for rows in (lines.rows.train, lines.rows.test)
    )
    return Split(train=train, test=test)


def _refusal(found: LookAhead, sides: Split, lines: Lines, experiment: Experiment) -> str | None:
    """Why the forms are not compared, or None."""
    if found.positions < FEWEST:
        return f"{found.positions} positions have such a line, {FEWEST} are needed"
    needed = {"training": experiment.config.folds, "held-out": FEWEST_CLUSTERS}
    unit = "positions" if experiment.whole.games is None else "games"
    for (side, fewest), rows in zip(needed.items(), (sides.train, sides.test), strict=True):
        count = count_distinct(clusters(experiment.whole, rows))
        if count < fewest:
            return f"{count} distinct {side} {unit} have such a line, {fewest} are needed"
        if len(np.unique(lines.later[rows])) < 2:
            return f"the lines of all {side} positions reach the same square"
    return None


def _squares(network: PolicyValueNet, layer: str, rows: Rows) -> Squares:
    flat = capture(network, rows, [layer], readout="squares")[layer]
    return flat.reshape(len(rows), network.config.squares, -1)


def _tokens(network: PolicyValueNet, rows: Rows) -> Squares:
    """[N, S, T + S]: one-hot tokens of every square, those that occur, and its place: networks know
    both."""
    squares = network.encoder(torch.from_numpy(np.ascontiguousarray(rows))).squares.numpy()
    one_hot = (squares[:, :, None] == np.arange(TOKENS)).astype(np.float32)
    one_hot = one_hot[:, :, one_hot.any(axis=(0, 1))]
    count = squares.shape[1]
    places = np.broadcast_to(np.eye(count, dtype=np.float32), (len(rows), count, count))
    return np.concatenate([one_hot, places], axis=2)
