"""Gardner's shipped network trained on at Los Alamos, beside a network that begins from zero.

Los Alamos has a larger board and other promotions: the weights are transferred.
"""

from pathlib import Path
from typing import Any, Final

from engine.rules.variant import get_variant
from scripts.experiments.study import Figures, match_text
from scripts.players import SHIPPED
from scripts.plots.curve import Panel
from training.data.run_directory import checkpoint_of
from training.studies import study

TITLE: Final = "Los Alamos, from Gardner's network and from zero"
FROM_GARDNER: Final = "from Gardner's network"
FROM_ZERO: Final = "from zero"
OPPONENT: Final = "alphabeta:2"
_PLAYER: Final = "mcts:32"
_GAMES: Final = 40
_LAST_GAMES: Final = 100


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """The curves [(seconds, score against OPPONENT)], and the match of the last two networks.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    variant = get_variant("losalamos")
    settings = study.ONE_CORE | {"minutes": minutes}
    gardner = {"initial": str(SHIPPED / "gardner.safetensors")}
    trainings = {
        FROM_GARDNER: study.Training(
            path=folder / "runs" / "gardner",
            variants=variant.name,
            overrides=settings | gardner,
        ),
        FROM_ZERO: study.Training(
            path=folder / "runs" / "zero", variants=variant.name, overrides=settings
        ),
    }
    study.train_side_by_side(list(trainings.values()), report)
    results = study.Results(folder)
    curves: dict[str, study.Curve] = {}
    for name, training in trainings.items():
        curves[name] = []
        for seconds, path in study.checkpoints(training.path):
            key = ["score", training.path.name, path.name, OPPONENT]
            line = results.get(key, study.score, f"{_PLAYER}:{path}", OPPONENT, variant, _GAMES)
            curves[name].append((seconds, line["score"]))
            report(f"{name}, {seconds:.0f} s: {line['score']:.1%} against {OPPONENT}")
    last = [f"{_PLAYER}:{checkpoint_of(training.path)}" for training in trainings.values()]
    match = results.get(["last", *last], study.score, *last, variant, _LAST_GAMES)
    return {"curves": curves, "games": _GAMES, "opponent": OPPONENT, "last": match}


def table(found: Figures) -> list[str]:
    """A row for each network: its scores during training."""
    lines = ["| network | score after so many seconds |", "|---|---|"]
    for name, curve in found["curves"].items():
        points = ", ".join(f"{share:.0%} ({seconds:.0f} s)" for seconds, share in curve)
        lines.append(f"| {name} | {points} |")
    return [
        *lines,
        f"({found['games']} games against {found['opponent']} each)",
        "the last networks against each other: " + match_text(found["last"]),
    ]


def panels(found: Figures) -> list[Panel]:
    """One panel with both curves."""
    unit = f"score against {OPPONENT}, %"
    # A score of 0 must be visible.
    return [Panel(curves=found["curves"], unit=unit, lowest=-0.01)]
