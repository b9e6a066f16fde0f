"""The ablation: what each switch of the configuration is worth, in equal wall time.

Every variation differs from one base in the fields that are named. Each trains from zero for the
same time in a process of its own, pinned to one core and with one thread, so that as many run at a
time as there are cores; the results go into a JSON-lines file as they come, and a second call goes
on where the first was broken off. Strength is the truth's: the shares of one fixed sample of
decision positions in which the raw network, and a search with it, keep the value.

What is not training is not counted: solving, making a teacher's games, measuring.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.network.inference.evaluator import NetworkEvaluator, openvino_installed
from engine.rules.errors import InputError
from engine.rules.variant import Variant, define_variants, get_variant
from engine.system.files import append_whole
from search.evaluator import SolverEvaluator
from search.exact.solver import Solution, load_or_solve
from training.config import SelfPlayConfig, merge, resolve
from training.data.run_directory import RunDirectory, read_metrics
from training.data.shards import save_games
from training.evaluation.truth import Truth
from training.learner.networks import network_for
from training.run.loop import TrainingRun
from training.selfplay.games import SelfPlay
from training.studies.side_by_side import Unwatched, run_side_by_side

Settings = dict[str, Any]

RESULTS: Final = "results.jsonl"
_SAMPLE: Final = 20_000
_SEARCHED: Final = 1_000
_SEARCH_SIMULATIONS: Final = 64
_SAMPLE_SEED: Final = 2026
_LESSONS: Final = 6_000
"""Positions of the teacher's games for the warm start."""


def _learning(**fields: Any) -> Settings:
    return {"learning": fields}


def _self_play(**fields: Any) -> Settings:
    return {"self_play": fields}


def _network(**fields: Any) -> Settings:
    return {"network": fields}


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
        "passes": 3.0,
        "outcome_share": 0.5,
        "reply_weight": 0.0,
        "placement_weight": 0.0,
        "surprise_share": 0.0,
        "mirror": True,
        "average_steps": 50,
        "moves_left_weight": 0.01,
    },
}
"""What the variations vary: small enough that two minutes on one core teach something."""

VARIATIONS: Final[Mapping[str, Settings]] = {
    "base": {},
    "PUCT for Gumbel": _self_play(search="puct"),
    "Gumbel's value scale 0.1": _self_play(c_scale=0.1),
    "playout cap": _self_play(full_share=0.3, simulations=48, fast_simulations=10),
    "progressive simulations": _self_play(first_simulations=8, growth_rounds=12),
    "surprise weighting": _learning(surprise_share=0.5),
    "reply head": _learning(reply_weight=0.15),
    "placement head": _learning(placement_weight=0.15),
    "reply and placement heads": _learning(reply_weight=0.15, placement_weight=0.15),
    "moves left at a tenth": _learning(moves_left_weight=0.001),
    "no moves left": _learning(moves_left_weight=0.0),
    "no mirror": _learning(mirror=False),
    "scalar value": _network(value="scalar"),
    "no squeeze-and-excitation": _network(excitation=False),
    "no norm": _network(norm="none"),
    "transformer": _network(trunk="transformer", heads=2, hidden=96),
    "no mean of weights": _learning(average_steps=1),
    "values rescored": _learning(rescore="value"),
    "values and policies rescored": _learning(rescore="both"),
    "result alone": _learning(outcome_share=1.0),
    "search's value alone": _learning(outcome_share=0.0),
    "small fixed window": _learning(window=20_000),
    "small growing window": _learning(window=20_000, window_growth=0.4),
    "one pass": _learning(passes=1.0),
    "four passes": _learning(passes=4.0),
    "warm start": {"warm_start": "lessons"},
    "solver as teacher": {"teacher": "solver"},
}
"""The rows of the table, each named for what it changes."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training: a variation and a seed."""

    variant: str
    # The variant's rules, for a process that does not know it.
    ini: str
    variation: str
    seed: int
    seconds: float
    # Where runs, solution and results lie.
    folder: Path


def settings_of(trial: Trial) -> Settings:
    """All overrides of a trial's configuration."""
    # A backend that is named, because a measured choice would not be the same for every trial.
    backend = "openvino" if openvino_installed() else "torch"
    fixed: Settings = {
        "seed": trial.seed,
        "minutes": trial.seconds / 60.0,
        "stop_at_raw": 2.0,
        "measure_seconds": 1e9,
        "raw_sample": 1,
        "search_sample": 1,
        "self_play": {"backend": backend, "precision": "fp32"},
    }
    settings = merge(merge(BASE, fixed), VARIATIONS[trial.variation])
    if "warm_start" in settings:
        settings["warm_start"] = str(trial.folder / "lessons.safetensors")
    return settings


def _varied(name: str) -> Settings:
    """What a variation is made of, as a line of the results tells it; {} for one that is gone."""
    return merge(BASE, VARIATIONS[name]) if name in VARIATIONS else {}


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train and measure; the trial's line of the results. Raises InputError, OSError."""
    variant = _variant_of(trial)
    solution = load_or_solve(variant, trial.folder)
    truth = Truth.of(variant, solution)
    path = trial.folder / "runs" / f"{trial.variation.replace(' ', '-')}-{trial.seed}"
    shutil.rmtree(path, ignore_errors=True)
    directory = RunDirectory(path, variant, settings_of(trial))
    run: TrainingRun | None = None
    try:
        run = TrainingRun(directory, variant, Unwatched(), solution=solution)
        summary = run.train(measured=False)
        network = network_for(run.network, variant)
    finally:
        (run or directory).close()
    evaluator = NetworkEvaluator(network)
    sample = truth.sample(_SAMPLE, np.random.default_rng(_SAMPLE_SEED))
    searched = truth.sample(_SEARCHED, np.random.default_rng(_SAMPLE_SEED))
    last = read_metrics(path)[-1]
    return {
        "variant": variant.name,
        "variation": trial.variation,
        "seed": trial.seed,
        "seconds": trial.seconds,
        "took": round(summary.seconds, 2),
        "raw": sample.raw(evaluator),
        "search": searched.search(evaluator, _SEARCH_SIMULATIONS),
        "positions": last["positions"],
        "steps": last["step"],
        "settings": _varied(trial.variation),
    }


def _variant_of(trial: Trial) -> Variant:
    with contextlib.suppress(InputError):
        return get_variant(trial.variant)
    define_variants(trial.ini, trial.variant)
    return get_variant(trial.variant)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The lines of a results file that go with the present settings; half a last line is passed
    over, and one whose variation was another then. Lines of old that tell no settings count."""
    path = folder / RESULTS
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                line = json.loads(text)
                own = _varied(line["variation"])
                if line.get("settings", own) == own:
                    lines.append(line)
    return lines


def missing_trials(
    variant: Variant, folder: Path, names: Sequence[str], seeds: int, seconds: float
) -> list[Trial]:
    """What is not in the results yet, seed by seed, so that every variation has one early."""
    done = {
        (line["variant"], line["variation"], line["seed"], line["seconds"])
        for line in read_results(folder)
    }
    return [
        Trial(
            variant=variant.name,
            ini=variant.ini(),
            variation=name,
            seed=seed,
            seconds=seconds,
            folder=folder,
        )
        for seed in range(1, seeds + 1)
        for name in names
        if (variant.name, name, seed, seconds) not in done
    ]


def prepare(variant: Variant, folder: Path) -> Solution:
    """The solution and a teacher's games into the folder, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    solution = load_or_solve(variant, folder)
    lessons = folder / "lessons.safetensors"
    if not lessons.exists():
        own = {**BASE["self_play"], "search": "puct", "simulations": 8}
        config = resolve(variant, {"self_play": own}).self_play
        rows = _lessons(variant, solution, config)
        save_games(lessons, rows, variant, {"round": 0, "actor": 0, "checkpoint": "solver"})
    return solution


def _lessons(variant: Variant, solution: Solution, config: SelfPlayConfig) -> Any:
    games = SelfPlay(variant, config, np.random.default_rng(_SAMPLE_SEED))
    return games.play(SolverEvaluator(solution), _LESSONS)


def run_ablation(
    trials: Sequence[Trial], folder: Path, report: Callable[[dict[str, Any]], None]
) -> None:
    """Run the trials, one on each core at a time; raises InputError, OSError.

    Every result is appended to the results file before it is reported.
    """
    path = folder / RESULTS
    _cut_half_a_line(path)
    for line in run_side_by_side(run_trial, trials):
        append_whole(path, json.dumps(line) + "\n")
        report(line)


def _cut_half_a_line(path: Path) -> None:
    """What a session wrote when it was killed; the next line would be lost behind it."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The results in Markdown: mean and range of the shares, best search first."""
    names = list(dict.fromkeys(line["variation"] for line in lines))
    rows = []
    for name in names:
        own = [line for line in lines if line["variation"] == name]
        raw, search = ([float(line[field]) for line in own] for field in ("raw", "search"))
        positions = np.mean([line["positions"] for line in own])
        rows.append((float(np.mean(search)), name, raw, search, positions, len(own)))
    rows.sort(key=lambda row: -row[0])
    text = ["| variation | raw | with search | positions | seeds |", "|---|---|---|---|---|"]
    for _, name, raw, search, positions, count in rows:
        text.append(f"| {name} | {_range(raw)} | {_range(search)} | {positions:,.0f} | {count} |")
    return "\n".join(text)


def _range(shares: Sequence[float]) -> str:
    """Mean, lowest and highest in per cent."""
    return f"{np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
