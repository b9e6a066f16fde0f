"""What each switch of the training configuration is worth, at equal time on one core.

Every variation differs from one base in the fields that are named. Each trains from zero with
several seeds on a solved variant. Fixed samples of decision positions measure the share in which
the raw network, and a search with it, keep the value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.network.inference.evaluator import openvino_installed
from engine.rules.variant import Variant, get_variant
from scripts.experiments.study import KEPT_AXIS, Figures
from scripts.plots.curve import Panel
from search.exact.evaluator import SolverEvaluator
from search.exact.solver import load_or_solve
from training.config import merge, resolve
from training.data.run_directory import checkpoint_of, read_metrics
from training.data.shards import save_games
from training.selfplay.games import SelfPlay
from training.studies import study

Settings = dict[str, Any]

TITLE: Final = "What switches of training are worth: the base, the best and the worst variation"
VARIANT: Final = "hexapawn5x5"
SEEDS: Final = 3
SAMPLE: Final = 20_000
SEARCH_SAMPLE: Final = 1_000
SEARCH_SIMULATIONS: Final = 64
WARM_START_POSITIONS: Final = 6_000
_WARM_START: Final = "warm_start.safetensors"
_SEED: Final = 2026


BASE: Final[Settings] = {
    "network": {"trunk": "residual", "blocks": 3, "channels": 48},
    "self_play": {
        "actors": 0,
        "games": 128,
        "simulations": 32,
        "positions": 2048,
        "search": "gumbel",
        "varied_starts": 0.9,
        "opening_plies": 16,
        "full_share": 1.0,
    },
    "learning": {
        "threads": 1,
        "batch": 256,
        "window": 100_000,
        "replay_ratio": 3.0,
        "outcome_share": 0.5,
        "reply_weight": 0.0,
        "ownership_weight": 0.0,
        "surprise_share": 0.0,
        "mirror": True,
        "ema_steps": 50,
        "moves_left_weight": 0.01,
    },
}
"""A network and a search that are small enough to learn within two minutes on one core."""

VARIATIONS: Final[Mapping[str, Settings]] = {
    "base": {},
    "PUCT for Gumbel": {"self_play": {"search": "puct"}},
    "Gumbel's value scale 0.1": {"self_play": {"c_scale": 0.1}},
    "playout cap": {"self_play": {"full_share": 0.3, "simulations": 48, "fast_simulations": 10}},
    "progressive simulations": {"self_play": {"first_simulations": 8, "growth_rounds": 12}},
    "surprise weighting": {"learning": {"surprise_share": 0.5}},
    "reply head": {"learning": {"reply_weight": 0.15}},
    "ownership head": {"learning": {"ownership_weight": 0.15}},
    "reply and ownership heads": {"learning": {"reply_weight": 0.15, "ownership_weight": 0.15}},
    "moves left at a tenth": {"learning": {"moves_left_weight": 0.001}},
    "no moves left": {"learning": {"moves_left_weight": 0.0}},
    "no mirror": {"learning": {"mirror": False}},
    "scalar value": {"network": {"value": "scalar"}},
    "no squeeze-and-excitation": {"network": {"excitation": False}},
    "no norm": {"network": {"norm": "none"}},
    "transformer": {"network": {"trunk": "transformer", "heads": 2, "hidden": 96}},
    "no EMA of weights": {"learning": {"ema_steps": 1}},
    "values rescored": {"learning": {"rescore": "value"}},
    "values and policies rescored": {"learning": {"rescore": "both"}},
    "result alone": {"learning": {"outcome_share": 1.0}},
    "search's value alone": {"learning": {"outcome_share": 0.0}},
    "small fixed window": {"learning": {"window": 20_000}},
    "small growing window": {"learning": {"window": 20_000, "window_growth": 0.4}},
    "replay ratio 1": {"learning": {"replay_ratio": 1.0}},
    "replay ratio 4": {"learning": {"replay_ratio": 4.0}},
    "warm start": {"warm_start": _WARM_START},
    "solver as teacher": {"teacher": "solver"},
}
"""Rows of the table, named for what differs from the base."""


def overrides_of(name: str, seed: int, folder: Path, minutes: float) -> Settings:
    """All settings of a training that differ from the variant's preset."""
    # The backend is named: a measured choice could differ between trainings.
    backend = "openvino" if openvino_installed() else "torch"
    fixed: Settings = {
        "seed": seed,
        "minutes": minutes,
        "self_play": {"backend": backend, "precision": "fp32"},
        "learning": {"precision": "fp32"},
    }
    settings = merge(merge(merge(study.ONE_CORE, BASE), fixed), VARIATIONS[name])
    if "warm_start" in settings:
        settings["warm_start"] = str(folder / settings["warm_start"])
    return settings


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """For each variation a line for every seed, and its curve [(seconds, share kept)] with seed 1.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    make_warm_start(get_variant(VARIANT), folder)
    trainings = {
        # Seed by seed: variations are compared as soon as each has one.
        (name, seed): study.Training(
            path=folder / "runs" / f"{name.replace(' ', '-')}-{seed}",
            variants=VARIANT,
            overrides=overrides_of(name, seed, folder, minutes),
        )
        for seed in range(1, SEEDS + 1)
        for name in VARIATIONS
    }
    study.train_side_by_side(list(trainings.values()), report)
    results = study.Results(folder)
    found: dict[str, Any] = {name: {"seeds": []} for name in VARIATIONS}
    for (name, seed), training in trainings.items():
        line = results.get(["trained", name, seed, str(minutes)], _measure, training, folder)
        found[name]["seeds"].append(line)
        report(f"{name}, seed {seed}: raw {line['raw']:.1%}, with search {line['search']:.1%}")
    for name, figures in found.items():
        figures["curve"] = study.truth_curve(results, folder, trainings[name, 1].path.name, VARIANT)
    return found


def make_warm_start(variant: Variant, folder: Path) -> None:
    """Games by the solver's values into the study's folder, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _WARM_START
    if path.exists():
        return
    own = {**BASE["self_play"], "search": "puct", "simulations": 8}
    config = resolve(variant, {"self_play": own}).self_play
    games = SelfPlay(variant, config, np.random.default_rng(_SEED))
    solution = load_or_solve(variant, folder)
    rows = games.play(SolverEvaluator(solution), WARM_START_POSITIONS)
    save_games(path, rows, variant, {"round": 0, "actor": 0, "checkpoint": "solver"})


def _measure(training: study.Training, folder: Path) -> study.Line:
    """The figures of a finished training."""
    truth = study.truth_of(VARIANT, folder, SAMPLE)
    searched = truth.sample(SEARCH_SAMPLE, np.random.default_rng(_SEED))
    evaluator = study.evaluator_of(checkpoint_of(training.path), truth.variant)
    last = read_metrics(training.path)[-1]
    return {
        "raw": truth.raw(evaluator),
        "search": searched.search(evaluator, SEARCH_SIMULATIONS),
        "positions": last["positions"],
        "steps": last["step"],
    }


def table(found: Figures) -> list[str]:
    """Mean and range of the shares over the seeds, best search first."""
    rows = []
    for name, figures in found.items():
        raw, search, positions = (
            [float(line[field]) for line in figures["seeds"]]
            for field in ("raw", "search", "positions")
        )
        cells = f"{_range(raw)} | {_range(search)} | {np.mean(positions):,.0f} | {len(raw)}"
        rows.append((-float(np.mean(search)), f"| {name} | {cells} |"))
    rows.sort(key=lambda row: row[0])
    head = ["| variation | raw | with search | positions | seeds |", "|---|---|---|---|---|"]
    return head + [text for _, text in rows]


def _range(shares: list[float]) -> str:
    """Mean, lowest and highest in per cent."""
    return f"{np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"


def panels(found: Mapping[str, Any]) -> list[Panel]:
    """The base beside the variations that end highest and lowest."""
    curves = {name: figures["curve"] for name, figures in found.items()}
    others = sorted((name for name in curves if name != "base"), key=lambda n: curves[n][-1][1])
    shown = ["base", *dict.fromkeys([*others[-1:], *others[:1]])]
    chosen = {name: curves[name] for name in shown}
    return [Panel(title=VARIANT, curves=chosen, unit=KEPT_AXIS)]
