"""One network for three variants, beside networks of the same size for one, in the same time.

Each trains by self-play on one core. Hexapawn is measured by exact values, Gardner by a match. A
network for one variant has the whole time for it; the table also gives its share after a third of
the time, which is what the common network has for each variant.
"""

from pathlib import Path
from typing import Any, Final

from engine.rules.variant import get_variant
from scripts.experiments.study import KEPT_AXIS, Figures, match_text
from scripts.plots.curve import Panel
from training.config import merge
from training.data.run_directory import checkpoint_of
from training.studies import study

TITLE: Final = "One network for three variants beside networks for one"
SOLVED: Final = ("hexapawn4x4", "hexapawn5x4")
CHESS: Final = "gardner"
SEVERAL: Final = "one network for all"
SINGLE: Final = "a network of its own"
_PLAYER: Final = "mcts:32"
_GAMES: Final = 200

SETTINGS: Final[dict[str, Any]] = {
    "network": {"trunk": "transformer", "blocks": 4, "channels": 64, "heads": 2, "hidden": 128},
    "self_play": {
        "games": 96,
        "first_simulations": 0,
        "simulations": 32,
        "positions": 3072,
        "varied_starts": 0.7,
        "opening_plies": 10,
        "forced_playouts": 2.0,
        "root_temperature": 1.1,
        "temperature_plies": 30,
        "longest_game": 160,
    },
    "learning": {
        "batch": 384,
        "window": 120_000,
        "replay_ratio": 3.0,
        "learning_rate": 2e-3,
        "outcome_share": 0.5,
        "moves_left_weight": 0.001,
        "reply_weight": 0.15,
        "ownership_weight": 0.15,
        "surprise_share": 0.0,
        "ema_steps": 50,
    },
}
"""The same for every run, whatever the preset of its game says."""


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """For each size of Hexapawn the curves [(seconds, share kept)], and the match on Gardner.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    variants = (*SOLVED, CHESS)
    settings = merge(study.ONE_CORE, SETTINGS) | {"minutes": minutes}
    trainings = [
        study.Training(path=folder / "runs" / run, variants=names, overrides=settings)
        for run, names in [("several", "+".join(variants)), *((name, name) for name in variants)]
    ]
    study.train_side_by_side(trainings, report)
    results = study.Results(folder)
    found: dict[str, Any] = {}
    for name in SOLVED:
        found[name] = {
            SEVERAL: study.truth_curve(results, folder, "several", name),
            SINGLE: study.truth_curve(results, folder, name, name),
        }
        report(f"{name}: {found[name][SEVERAL][-1][1]:.1%} by {SEVERAL}")
    one, other = (f"{_PLAYER}:{checkpoint_of(folder / 'runs' / run)}" for run in ("several", CHESS))
    match = results.get(["match", one, other], study.score, one, other, get_variant(CHESS), _GAMES)
    report(f"{CHESS}: {match['score']:.1%} by {SEVERAL} against {SINGLE}")
    return found | {CHESS: match}


def table(found: Figures) -> list[str]:
    """A row for each variant."""
    lines = [f"| variant | {SEVERAL} | {SINGLE} | |", "|---|---|---|---|"]
    for name in SOLVED:
        several, own = found[name].values()
        third = [share for seconds, share in own if seconds <= own[-1][0] / (1 + len(SOLVED))]
        lines.append(
            f"| {name}, value kept | {several[-1][1]:.1%} | {own[-1][1]:.1%}"
            f" | {third[-1]:.1%} after a third of the time |"
        )
    return [*lines, f"| {CHESS}, match | {match_text(found[CHESS])} | | |"]


def panels(found: Figures) -> list[Panel]:
    """A panel for each size of Hexapawn."""
    return [Panel(title=name, curves=found[name], unit=KEPT_AXIS) for name in SOLVED]
