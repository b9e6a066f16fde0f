"""What a network carries to games that it has not been trained on.

`sizes`: one network learns the solver's positions of four sizes of Hexapawn; the truth says what it
then knows of two sizes that it has never seen, beside networks that learn only those, for the same
time on the same core.

`chess`: the Gardner network that comes with the program goes on to Los Alamos, a larger board with
another set of promotions, beside a network that begins there from zero.
"""

from pathlib import Path
from typing import Any, Final

from engine.rules.variant import get_variant
from training.config import merge
from training.studies.study import (
    ALONE,
    Curve,
    Report,
    Results,
    Training,
    chance,
    checkpoints,
    score,
    train_side_by_side,
    truth_curve,
)

LESSONS: Final = ("hexapawn", "hexapawn4x4", "hexapawn3x5", "hexapawn5x4")
UNSEEN: Final = ("hexapawn4x5", "hexapawn5x5")
TOGETHER: Final = "trained on four other sizes"
ALONE_THERE: Final = "trained on this size"

FROM_GARDNER: Final = "from Gardner's network"
FROM_ZERO: Final = "from zero"
OPPONENT: Final = "alphabeta:2"
_PLAYER: Final = "mcts:32"
_GAMES: Final = 40
_LAST_GAMES: Final = 100

_SIZES: Final[dict[str, Any]] = {
    "teacher": "solver",
    "network": {
        "trunk": "transformer",
        "blocks": 4,
        "channels": 64,
        "heads": 2,
        "hidden": 128,
    },
    "self_play": {"positions": 4096},
    "learning": {"batch": 256, "passes": 1.0, "learning_rate": 2e-3, "average_steps": 100},
}


def transfer_over_sizes(folder: Path, minutes: float, report: Report) -> dict[str, Any]:
    """Of each unseen size the curves [(seconds, share kept)], and the share that chance keeps.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    runs = {"together": "+".join(LESSONS), **{name: name for name in UNSEEN}}
    settings = merge(ALONE, _SIZES) | {"minutes": minutes}
    trainings = [
        Training(path=folder / "runs" / name, games=games, overrides=settings)
        for name, games in runs.items()
    ]
    train_side_by_side(trainings, report)
    results = Results(folder)
    found: dict[str, Any] = {}
    for game in (*UNSEEN, *LESSONS):
        curves = {TOGETHER: truth_curve(results, folder, "together", game)}
        if game in UNSEEN:
            curves[ALONE_THERE] = truth_curve(results, folder, game, game)
        found[game] = {"chance": chance(results, folder, game), "curves": curves}
        report(f"{game}: {curves[TOGETHER][-1][1]:.1%} by a network {TOGETHER}")
    return found


def transfer_to_los_alamos(
    folder: Path, minutes: float, gardner: Path, report: Report
) -> dict[str, Any]:
    """The curves [(seconds, score against OPPONENT)], and the match of the last two networks.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    variant = get_variant("losalamos")
    settings = ALONE | {"minutes": minutes}
    runs = {FROM_GARDNER: folder / "runs" / "carried", FROM_ZERO: folder / "runs" / "zero"}
    carried = {"initial": str(gardner)}
    trainings = [
        Training(path=run, games=variant.name, overrides=settings | beginning)
        for run, beginning in zip(runs.values(), (carried, {}), strict=True)
    ]
    train_side_by_side(trainings, report)
    results = Results(folder)
    curves: dict[str, Curve] = {}
    for name, run in runs.items():
        curves[name] = []
        for seconds, path in checkpoints(run):
            player = f"{_PLAYER}:{path}"
            key = ["score", run.name, path.name, OPPONENT]
            line = results.get(key, score, player, OPPONENT, variant, _GAMES)
            curves[name].append((seconds, line["score"]))
            report(f"{name}, {seconds:.0f} s: {line['score']:.1%} against {OPPONENT}")
    last = [f"{_PLAYER}:{list(checkpoints(run))[-1][1]}" for run in runs.values()]
    match = results.get(["last", *last], score, *last, variant, _LAST_GAMES)
    return {"curves": curves, "games": _GAMES, "opponent": OPPONENT, "last": match}
