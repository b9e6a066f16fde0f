"""Residual tower and transformer under the same heads: at equal speed and at equal parameters.

Every network trains by self-play on one core for the same time, on a solved variant with several
seeds and on Gardner. The first is measured by exact values. On Gardner each transformer plays the
tower, once with equal simulations and once with equal time a move: simulations in proportion to the
positions a second that the fastest backends compute.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.network.inference.backend_evaluator import BackendEvaluator
from engine.network.inference.backends.protocol import BackendError
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.parity import parity_positions
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.compile_time import working_time
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant, get_variant
from scripts.experiments.study import KEPT_AXIS, Figures, elo_text
from scripts.plots.curve import Panel
from training.config import merge
from training.data.run_directory import checkpoint_of
from training.studies import study

TITLE: Final = "Tower and transformer, trained on one core for the same time"
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

SETTINGS: Final[dict[str, Any]] = {
    # Where the presets of the two variants differ.
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
        "replay_ratio": 3.0,
        "learning_rate": 2e-3,
        "outcome_share": 0.5,
        "surprise_share": 0.0,
        "ema_steps": 50,
    },
}


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """For each network "parameters", "speed" by backend, "truth" by seed, "curve", and its matches
    against the tower: "match" at equal simulations, "timed" at equal time a move.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    # Seed by seed: networks that are compared train at the same time.
    trainings = [
        training_of(folder, name, SOLVED, seed, minutes)
        for seed in range(1, SEEDS + 1)
        for name in TRUNKS
    ]
    trainings += [training_of(folder, name, CHESS, 1, minutes) for name in TRUNKS]
    study.train_side_by_side(trainings, report)
    results = study.Results(folder)
    speeds = results.get(["speed", *TRUNKS], measure_speeds, get_variant(CHESS))["speeds"]
    found: dict[str, Any] = {}
    for name, settings in TRUNKS.items():
        curves = [
            study.truth_curve(results, folder, _run(name, SOLVED, seed), SOLVED)
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
        # Simulations in the time of the tower's, at least one.
        ratio = max(speeds[name].values()) / max(speeds[TOWER].values())
        timed = max(1, round(SIMULATIONS * ratio))
        for kind, simulations in (("match", SIMULATIONS), ("timed", timed)):
            players = [
                f"mcts:{count}:{checkpoint_of(folder / 'runs' / _run(network, CHESS, 1))}"
                for network, count in ((name, simulations), (TOWER, SIMULATIONS))
            ]
            key = ["match", *players]
            line = results.get(key, study.score, *players, get_variant(CHESS), _GAMES)
            found[name][kind] = {**line, "simulations": simulations}
            report(f"{CHESS}: {line['score']:.1%} by {name}, {simulations} simulations a move")
    return found


def _run(name: str, variant: str, seed: int) -> str:
    """The name of the run's directory."""
    return f"{name.replace(',', '').replace(' ', '-')}-{variant}-{seed}"


def training_of(folder: Path, name: str, variant: str, seed: int, minutes: float) -> study.Training:
    """The training of a network of the table."""
    own = {"network": TRUNKS[name], "seed": seed, "minutes": minutes}
    return study.Training(
        path=folder / "runs" / _run(name, variant, seed),
        variants=variant,
        overrides=merge(merge(study.ONE_CORE, SETTINGS), own),
    )


def fresh(settings: Mapping[str, Any], variant: Variant) -> PolicyValueNet:
    """A fresh network of the table, without the auxiliary heads."""
    torch.manual_seed(1)
    return PolicyValueNet(NetworkConfig.for_variant(variant, settings)).eval()


def measure_speeds(variant: Variant) -> study.Line:
    """Positions a second of one thread, by network and "backend precision": the median of turns.

    Backends that this machine lacks, or that do not compute a network, are left out.
    """
    torch.set_num_threads(1)
    rows = np.concatenate([parity_positions(variant).positions] * _BATCH)[:_BATCH]
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


def table(found: Figures) -> list[str]:
    """A row for each network."""
    backends = list(dict.fromkeys(name for line in found.values() for name in line["speed"]))
    head = ["network", "parameters", *(f"{name}, positions/s" for name in backends)]
    head += ["value kept, raw network", "Elo at equal simulations", "Elo at equal time a move"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, line in found.items():
        truth, speed = line["truth"], line["speed"]
        cells = [name, f"{line['parameters']:,}"]
        cells += [f"{speed[backend]:,.0f}" if backend in speed else "–" for backend in backends]
        cells.append(f"{sum(truth) / len(truth):.1%} ({min(truth):.1%} to {max(truth):.1%})")
        cells += [elo_text(line[kind]) if kind in line else "0" for kind in ("match", "timed")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def panels(found: Figures) -> list[Panel]:
    """The tower beside each transformer."""
    curves = {name: line["curve"] for name, line in found.items()}
    return [
        Panel(
            title=name,
            curves={TOWER: curves[TOWER], "transformer": curves[name]},
            unit=KEPT_AXIS,
        )
        for name in (SAME_SIZE, SAME_SPEED)
    ]
