"""Residual tower and transformer under the same heads: at equal time and at equal parameters.

Every network trains by self-play on one core for the same time, on a solved game with several seeds
and on Gardner. The truth judges the first; on Gardner each transformer plays the tower, once with
equal simulations and once with equal time a move: simulations in proportion to the positions a
second that their fastest backends compute.
"""

import functools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.network.inference.evaluator import BackendError, BackendEvaluator, make_evaluator
from engine.network.inference.parity import probe_of
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.compile_time import working_time
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant, get_variant
from training.config import merge
from training.studies.study import (
    ALONE,
    Line,
    Report,
    Results,
    Training,
    checkpoints,
    score,
    train_side_by_side,
    truth_curve,
)

SOLVED: Final = "hexapawn5x4"
CHESS: Final = "gardner"
TOWER: Final = "tower 5x64"
SAME_SIZE: Final = "transformer 5x96, as many parameters"
SAME_SPEED: Final = "transformer 6x64, as fast"
TRUNKS: Final[Mapping[str, dict[str, Any]]] = {
    TOWER: {"trunk": "residual", "blocks": 5, "channels": 64},
    SAME_SIZE: {"trunk": "transformer", "blocks": 5, "channels": 96, "heads": 2, "hidden": 192},
    SAME_SPEED: {"trunk": "transformer", "blocks": 6, "channels": 64, "heads": 2, "hidden": 128},
}
"""The tower is Gardner's preset, with squeeze-and-excitation."""
BACKENDS: Final = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("native", "bf16"),
)
SEEDS: Final = 2
"""On the solved game."""
SIMULATIONS: Final = 32
"""A move, of the tower always and of all where simulations are equal."""
_GAMES: Final = 200
_BATCH: Final = 128
_TURNS: Final = 15

_SETTINGS: Final[dict[str, Any]] = {
    # What the presets of the two games do not say alike is said here.
    "self_play": {
        "games": 128,
        "first_simulations": 0,
        "simulations": 32,
        "positions": 3072,
        "varied_starts": 0.7,
        "opening_plies": 10,
    },
    "learning": {
        "batch": 384,
        "window": 120_000,
        "window_growth": 0.0,
        "passes": 3.0,
        "learning_rate": 2e-3,
        "outcome_share": 0.5,
        "surprise_share": 0.0,
        "average_steps": 50,
    },
}


def compare_trunks(folder: Path, minutes: float, report: Report) -> dict[str, Any]:
    """Of each network "parameters", "speed" by backend, "truth" by seed, "curve" and matches
    against the tower: "match" at equal simulations, "timed" at equal time a move.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    trainings = [_training(folder, name, SOLVED, seed, minutes) for seed, name in _seeded()]
    trainings += [_training(folder, name, CHESS, 1, minutes) for name in TRUNKS]
    train_side_by_side(trainings, report)
    results = Results(folder)
    speeds = results.get(["speed", *TRUNKS], measure_speeds, get_variant(CHESS))["speeds"]
    found: dict[str, Any] = {}
    for name, settings in TRUNKS.items():
        curves = [
            truth_curve(results, folder, _run(name, SOLVED, seed), SOLVED)
            for seed in range(1, SEEDS + 1)
        ]
        found[name] = {
            "parameters": fresh(settings, get_variant(CHESS)).parameter_count,
            "speed": speeds[name],
            "truth": [curve[-1][1] for curve in curves],
            "curve": curves[0],
        }
        report(f"{SOLVED}: {statistics.mean(found[name]['truth']):.1%} kept by {name}")
    for name in list(TRUNKS)[1:]:
        for kind, simulations in (("match", SIMULATIONS), ("timed", _in_equal_time(speeds, name))):
            line = _match(results, folder, name, simulations)
            found[name][kind] = {**line, "simulations": simulations}
            report(f"{CHESS}: {line['score']:.1%} by {name}, {simulations} simulations a move")
    return found


def _seeded() -> list[tuple[int, str]]:
    """Seed by seed, so that what is compared trains at the same time, as far as cores go."""
    return [(seed, name) for seed in range(1, SEEDS + 1) for name in TRUNKS]


def _run(name: str, game: str, seed: int) -> str:
    """The run's name in its folder."""
    return f"{name.replace(',', '').replace(' ', '-')}-{game}-{seed}"


def _training(folder: Path, name: str, game: str, seed: int, minutes: float) -> Training:
    own = {"network": TRUNKS[name], "seed": seed, "minutes": minutes}
    return Training(
        path=folder / "runs" / _run(name, game, seed),
        games=game,
        overrides=merge(merge(ALONE, _SETTINGS), own),
    )


def fresh(settings: Mapping[str, Any], variant: Variant) -> PolicyValueNet:
    """A network of the table, as play knows it: without the heads that only training asks."""
    torch.manual_seed(1)
    return PolicyValueNet(NetworkConfig.for_variant(variant, settings)).eval()


def measure_speeds(variant: Variant) -> Line:
    """Positions a second of one thread, by network and "backend precision", the networks in turn:
    the median. A backend that is not on this machine or does not serve a network is left out."""
    torch.set_num_threads(1)
    rows = np.concatenate([probe_of(variant).positions] * _BATCH)[:_BATCH]
    moves, offsets = generate_batch(variant.tables, rows)
    evaluators: dict[tuple[str, str], BackendEvaluator] = {}
    for name, settings in TRUNKS.items():
        for backend, precision in BACKENDS:
            try:
                evaluator = make_evaluator(
                    fresh(settings, variant),
                    backend=backend,
                    precision=precision,
                    max_batch=_BATCH,
                    device="cpu",
                )
            except BackendError:
                continue
            evaluators[name, f"{backend} {precision}"] = evaluator
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in evaluators}
    for turn in range(1 + _TURNS):
        for key, evaluator in evaluators.items():
            begun = working_time()
            evaluator.evaluate(rows, moves, offsets)
            if turn:
                taken[key].append(working_time() - begun)
    speeds: dict[str, dict[str, float]] = {name: {} for name in TRUNKS}
    for (name, way), seconds in taken.items():
        speeds[name][way] = round(_BATCH / statistics.median(seconds), 1)
    return {"speeds": speeds}


def _in_equal_time(speeds: Mapping[str, Mapping[str, float]], name: str) -> int:
    """Simulations of a network in the time of the tower's, at least one."""
    ratio = max(speeds[name].values()) / max(speeds[TOWER].values())
    return max(1, round(SIMULATIONS * ratio))


def _match(results: Results, folder: Path, name: str, simulations: int) -> Line:
    """The network of a name against the tower, both as their runs left them."""
    one, other = (
        f"mcts:{count}:{_last(folder / 'runs' / _run(who, CHESS, 1))}"
        for who, count in ((name, simulations), (TOWER, SIMULATIONS))
    )
    play = functools.partial(score, one, other, get_variant(CHESS), _GAMES)
    return results.get(["match", one, other], play)


def _last(run: Path) -> Path:
    return list(checkpoints(run))[-1][1]
