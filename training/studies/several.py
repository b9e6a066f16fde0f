"""One network for several games, beside networks for one: the same size, the same time.

Each trains by self-play on one core. The truth judges on the sizes of Hexapawn, a match on Gardner.
The networks for one game have the whole time for it; their curves also show what they knew after a
share of it as large as the common network could give each game.
"""

from pathlib import Path
from typing import Any, Final

from engine.rules.variant import get_variant
from training.config import merge
from training.studies.study import (
    ALONE,
    Report,
    Results,
    Training,
    checkpoints,
    score,
    train_side_by_side,
    truth_curve,
)

SOLVED: Final = ("hexapawn4x4", "hexapawn5x4")
CHESS: Final = "gardner"
SEVERAL: Final = "one network for all"
ALONE_THERE: Final = "a network of its own"
_PLAYER: Final = "mcts:32"
_GAMES: Final = 200

_SETTINGS: Final[dict[str, Any]] = {
    "network": {
        "trunk": "transformer",
        "blocks": 4,
        "channels": 64,
        "heads": 2,
        "hidden": 128,
    },
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
        "passes": 3.0,
        "learning_rate": 2e-3,
        "outcome_share": 0.5,
        "moves_left_weight": 0.001,
        "reply_weight": 0.15,
        "placement_weight": 0.15,
        "surprise_share": 0.0,
        "average_steps": 50,
    },
}
"""The same for every run, whatever the preset of its game says."""


def several_against_single(folder: Path, minutes: float, report: Report) -> dict[str, Any]:
    """Of each solved game the curves [(seconds, share kept)], and the match on Gardner.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    games = (*SOLVED, CHESS)
    settings = merge(ALONE, _SETTINGS) | {"minutes": minutes}
    trainings = [
        Training(path=folder / "runs" / name, games=named, overrides=settings)
        for name, named in [("several", "+".join(games)), *((game, game) for game in games)]
    ]
    train_side_by_side(trainings, report)
    results = Results(folder)
    found: dict[str, Any] = {}
    for game in SOLVED:
        found[game] = {
            SEVERAL: truth_curve(results, folder, "several", game),
            ALONE_THERE: truth_curve(results, folder, game, game),
        }
        report(f"{game}: {found[game][SEVERAL][-1][1]:.1%} by {SEVERAL}")
    last = {run: list(checkpoints(folder / "runs" / run))[-1][1] for run in ("several", CHESS)}
    one, other = (f"{_PLAYER}:{path}" for path in last.values())
    match = results.get(
        ["match", one, other], lambda: score(one, other, get_variant(CHESS), _GAMES)
    )
    report(f"{CHESS}: {match['score']:.1%} by {SEVERAL} against {ALONE_THERE}")
    return found | {CHESS: match}
