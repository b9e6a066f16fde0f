"""From the scores of all layers to cells: gains over the controls, with their intervals."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.probing.controls.labels import majority
from engine.probing.probes.scores import all_scores
from engine.probing.probes.spread import Pools, Spread, moderated_spread
from engine.probing.report.results import Cell, Combined, Gain, Measurement, RunSummary
from engine.probing.surface.experiment import Experiment, Target, unseen_shares
from engine.probing.surface.layer_scores import LayerScores
from engine.probing.surface.significance import Intervals, intervals

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything that was scored: L layers of n untrained networks, and of R runs' K networks."""

    raw: LayerScores
    # [n][L]
    untrained: Sequence[Sequence[LayerScores]]
    # [R][K][L]
    trained: Sequence[Sequence[Sequence[LayerScores]]]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Gains [R, K, L, C, 1 + B] of all networks, and their bounds."""

    gains: Float32
    # One run by itself: luck is the spread of untrained networks.
    single: Intervals
    # Mean gains of the runs [K, L, C, 1 + B] with bounds; None for one run.
    mean: Float32 | None
    combined: Intervals | None


def baselines(scores: Scores, attribute: str) -> Float32:
    """[L, C, 1 + B] the better of raw input and the mean of the untrained networks.

    The better one is chosen anew in each resample, since that choice is uncertain too.
    """
    raw = getattr(scores.raw, attribute)[None]
    untrained = np.stack(
        [[getattr(layer, attribute) for layer in network] for network in scores.untrained]
    )
    better: Float32 = np.maximum(raw, untrained.mean(axis=0)).astype(np.float32)
    return better


def measure_gains(experiment: Experiment, scores: Scores, pools: Pools) -> Surface:
    """Gains over the baselines, with the bounds of single cells and of all at once.

    `pools` int64[L]: layers of one kind have about the same spread by initialisation.
    """
    config = experiment.config
    rng = np.random.default_rng((config.seed, 1))
    base = baselines(scores, "scores")
    found = np.stack(
        [[[layer.scores for layer in network] for network in run] for run in scores.trained]
    )
    gains: Float32 = found - base
    count = len(scores.untrained)
    spread = moderated_spread(_estimates(scores.untrained, "scores"), pools)
    shape = gains.shape[:-1]
    runs, places = shape[:2]
    unseen = np.broadcast_to(unseen_shares(experiment, config.confidence), shape)
    luck = [(spread.repeated(runs * places), 1.0 + 1.0 / count)]
    single = intervals(gains, luck, unseen, config.confidence, rng)
    if runs == 1:
        return Surface(gains=gains, single=single, mean=None, combined=None)
    mean: Float32 = gains.mean(axis=0)
    found = gains[..., 0].astype(np.float64).reshape(runs, -1, shape[-1])
    own = moderated_spread(found, np.tile(pools, places))
    own = dataclasses.replace(own, networks=np.repeat(np.arange(places), len(pools)))
    luck = [(own, 1.0 / runs), (spread.repeated(places), 1.0 / count)]
    combined = intervals(mean, luck, unseen[0], config.confidence, rng)
    return Surface(gains=gains, single=single, mean=mean, combined=combined)


def _estimates(untrained: Sequence[Sequence[LayerScores]], attribute: str) -> Array:
    """[n, L, C] scores without resamples."""
    found = [[getattr(layer, attribute)[:, 0] for layer in network] for network in untrained]
    return np.array(found, float)


def make_cells(
    experiment: Experiment,
    scores: Scores,
    surface: Surface,
    runs: Sequence[RunSummary],
    layers: Sequence[str],
    pools: Pools,
) -> tuple[Cell, ...]:
    """All cells: by run, concept, checkpoint and layer."""
    plain = [_majority_score(experiment, target) for target in experiment.targets]
    secondary = {
        name: (
            baselines(scores, name),
            moderated_spread(_estimates(scores.untrained, name), pools),
        )
        for name in ("self_play", "harder")
    }
    return tuple(
        _cell(experiment, scores, surface, (r, k, layer, c), runs[r], layers, plain[c], secondary)
        for r in range(len(runs))
        for c in range(len(experiment.targets))
        for k in range(len(runs[r].checkpoints))
        for layer in range(len(layers))
    )


def _majority_score(experiment: Experiment, target: Target) -> float:
    """Score of the best guess without features."""
    train, test = experiment.main.rows.train, experiment.main.rows.test
    kind = target.concept.kind
    known = target.labels[train][~np.isnan(target.labels[train])]
    held_out = target.labels[test]
    guess = np.full((1, len(test)), majority(known, kind))
    return float(all_scores([kind], held_out[None], guess)[0])


def _cell(
    experiment: Experiment,
    scores: Scores,
    surface: Surface,
    place: tuple[int, int, int, int],
    run: RunSummary,
    layers: Sequence[str],
    plain: float,
    secondary: Mapping[str, tuple[Float32, Spread]],
) -> Cell:
    r, k, layer, c = place
    found = scores.trained[r][k][layer]
    target = experiment.targets[c]
    refused = None
    if np.isnan(found.scores[c, 0]):
        refused = "refused: this layer has no squares"
        if found.widths[c]:
            refused = experiment.refusal(c, int(found.widths[c]), experiment.main)
    measurement = None
    if refused is None:
        measurement = _measurement(experiment, scores, surface, place, plain, secondary)
    return Cell(
        run=run.name,
        concept=target.concept.name,
        layer=layers[layer],
        checkpoint=run.checkpoints[k].name,
        width=int(found.widths[c]),
        measurement=measurement,
        refused=refused,
    )


def _measurement(
    experiment: Experiment,
    scores: Scores,
    surface: Surface,
    place: tuple[int, int, int, int],
    plain: float,
    secondary: Mapping[str, tuple[Float32, Spread]],
) -> Measurement:
    r, k, layer, c = place
    found, bounds = scores.trained[r][k][layer], surface.single
    untrained = [network[layer] for network in scores.untrained]
    auc = float(found.auc[c])
    return Measurement(
        score=float(found.scores[c, 0]),
        auc=None if np.isnan(auc) else auc,
        training_score=float(found.training[c]),
        penalty=float(found.penalty[c]),
        majority=plain,
        raw_input=float(scores.raw.scores[c, 0]),
        random_init=tuple(float(each.scores[c, 0]) for each in untrained),
        shuffled_labels=float(found.shuffled[c]),
        control_task_training=float(found.control_training[c]),
        control_task=float(found.control[c]),
        selectivity=float(found.scores[c, 0] - found.control[c]),
        bits=float(found.bits[c]),
        bits_raw_input=float(scores.raw.bits[c]),
        bits_random_init=float(np.mean([each.bits[c] for each in untrained])),
        bits_marginal=float(found.marginal_bits[c]),
        gain=float(surface.gains[r, k, layer, c, 0]),
        gain_low=float(bounds.low[place]),
        gain_high=float(bounds.high[place]),
        corrected_low=float(bounds.corrected_low[place]),
        corrected_high=float(bounds.corrected_high[place]),
        self_play=_other_gain(experiment, "self_play", found.self_play[c], place, secondary),
        harder=_other_gain(experiment, "harder", found.harder[c], place, secondary),
    )


def _other_gain(
    experiment: Experiment,
    name: str,
    resampled: Float32,
    place: tuple[int, int, int, int],
    secondary: Mapping[str, tuple[Float32, Spread]],
) -> Gain | None:
    """The gain in another setting, with a pointwise interval."""
    _, _, layer, c = place
    base, spread = secondary[name]
    if np.isnan(resampled[0]) or np.isnan(base[layer, c, 0]):
        return None
    config = experiment.config
    rng = np.random.default_rng((config.seed, 2, *place))
    gains = resampled.astype(np.float64) - base[layer, c]
    share = 1.0 + 1.0 / config.random_networks
    gains[1:] += spread.deviations(c, np.array([layer]), share, rng, len(gains) - 1)[0]
    outside = (1.0 - config.confidence) / 2.0
    low, high = np.quantile(gains[1:], [outside, 1.0 - outside])
    rows = len(experiment.harder.rows.test) if experiment.harder and name == "harder" else 0
    if name == "self_play" and experiment.self_play is not None:
        rows = len(experiment.self_play[0])
    return Gain(
        score=float(resampled[0]),
        baseline=float(base[layer, c, 0]),
        gain=float(gains[0]),
        gain_low=min(float(low), float(gains[0])),
        gain_high=max(float(high), float(gains[0])),
        rows=rows,
    )


def make_combined(
    experiment: Experiment, surface: Surface, layers: Sequence[str]
) -> tuple[Combined, ...]:
    """The gains of several runs as one; empty for one run."""
    if surface.combined is None or surface.mean is None:
        return ()
    bounds, mean = surface.combined, surface.mean
    places, _, concepts = mean.shape[:3]
    return tuple(
        Combined(
            concept=experiment.targets[c].concept.name,
            layer=layers[layer],
            place=k,
            gains=tuple(float(gain) for gain in surface.gains[:, k, layer, c, 0]),
            gain=float(mean[k, layer, c, 0]),
            gain_low=float(bounds.low[k, layer, c]),
            gain_high=float(bounds.high[k, layer, c]),
            corrected_low=float(bounds.corrected_low[k, layer, c]),
            corrected_high=float(bounds.corrected_high[k, layer, c]),
        )
        for c in range(concepts)
        for k in range(places)
        for layer in range(len(layers))
        if not np.isnan(mean[k, layer, c, 0])
    )
