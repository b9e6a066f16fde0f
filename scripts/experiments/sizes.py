"""What a network trained on four sizes of Hexapawn knows of two that it has never seen.

One network learns the solver's positions of four sizes. On the two other sizes it is compared with
networks that learn only those, for the same time on the same core, and with random moves.
"""

from pathlib import Path
from typing import Any, Final

from scripts.experiments.study import KEPT_AXIS, Figures
from scripts.plots.curve import Panel
from training.config import merge
from training.studies import study

TITLE: Final = "Hexapawn on boards of sizes that a network has never seen"
TRAINED: Final = ("hexapawn", "hexapawn4x4", "hexapawn3x5", "hexapawn5x4")
UNSEEN: Final = ("hexapawn4x5", "hexapawn5x5")
TOGETHER: Final = "trained on four other sizes"
SINGLE: Final = "trained on this size"

SETTINGS: Final[dict[str, Any]] = {
    "teacher": "solver",
    "network": {"trunk": "transformer", "blocks": 4, "channels": 64, "heads": 2, "hidden": 128},
    "self_play": {"positions": 4096},
    "learning": {"batch": 256, "replay_ratio": 1.0, "learning_rate": 2e-3, "ema_steps": 100},
}


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """For each size its curves [(seconds, share kept)] and the share that random moves keep.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    runs = {"together": "+".join(TRAINED), **{name: name for name in UNSEEN}}
    settings = merge(study.ONE_CORE, SETTINGS) | {"minutes": minutes}
    trainings = [
        study.Training(path=folder / "runs" / name, variants=variants, overrides=settings)
        for name, variants in runs.items()
    ]
    study.train_side_by_side(trainings, report)
    results = study.Results(folder)
    found: dict[str, Any] = {}
    for name in (*UNSEEN, *TRAINED):
        curves = {TOGETHER: study.truth_curve(results, folder, "together", name)}
        if name in UNSEEN:
            curves[SINGLE] = study.truth_curve(results, folder, name, name)
        found[name] = {"chance": study.chance(results, folder, name), "curves": curves}
        report(f"{name}: {curves[TOGETHER][-1][1]:.1%} by a network {TOGETHER}")
    return found


def table(found: Figures) -> list[str]:
    """A row for each size: the shares at the end of training."""
    lines = [
        "| size | random moves | trained on four sizes | trained on this size |",
        "|---|---|---|---|",
    ]
    for name in (*UNSEEN, *TRAINED):
        shares = [curve[-1][1] for curve in found[name]["curves"].values()]
        own = f"{shares[1]:.1%}" if name in UNSEEN else "(among the four)"
        lines.append(f"| {name} | {found[name]['chance']:.1%} | {shares[0]:.1%} | {own} |")
    return lines


def panels(found: Figures) -> list[Panel]:
    """A panel for each unseen size."""
    return [
        Panel(
            title=f"{name}, never seen by the first",
            curves=found[name]["curves"],
            level=("random moves", found[name]["chance"]),
            unit=KEPT_AXIS,
        )
        for name in UNSEEN
    ]
