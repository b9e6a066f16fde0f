"""`pawnscope evaluate RUN`: a run's checkpoints against the truth and against known players."""

import json
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engine.network.checkpoint import load_checkpoint, read_description
from engine.network.inference import NetworkEvaluator
from engine.network.memory import keep_freed_memory
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from scripts.curve import draw_curve
from scripts.options import FigureOptions, parse_options
from scripts.players import player_of
from training.arena import MatchResult, default_opening_plies, match_games, summarise
from training.directory import read_metrics, run_checkpoints
from training.run import load_truth
from training.truth import Truth

_SAMPLE = 1000
"""Decision positions on which search is measured; of a game with fewer all."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(FigureOptions):
    """Measure a run: every kept checkpoint against the truth, the last one against others."""

    # The run's directory.
    run: Path
    # Simulations a move of the network's search.
    simulations: int = 64
    # Games against each opponent: the first checkpoint, random play and alpha-beta; 0 for none.
    games: int = 40
    # Where the picture of the run goes; curve.svg in the run's directory if left out.
    plot: Path | None = None
    # Where openings and samples come from.
    seed: int = 1


def main(arguments: list[str]) -> int:
    """Print the tables and draw the curve."""
    options = parse_options(EvaluateOptions, "evaluate", arguments)
    if options.simulations < 1:
        raise InputError(f"--simulations {options.simulations}: a search has at least 1")
    if options.games < 0:
        raise InputError(f"--games {options.games}: there are no fewer than 0 games")
    paths = run_checkpoints(options.run)
    variant = get_variant(read_description(paths[-1]).variant_name)
    picture = options.plot or options.run / "curve.svg"
    draw_curve(read_metrics(options.run), variant.name, picture)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        # A run that goes on removes its newest checkpoint when it has a newer one.
        paths[-1] = Path(shutil.copy(paths[-1], folder))
        points, ladder = _evaluate(paths, variant, options)
    if options.json:
        print(json.dumps({"checkpoints": points, "ladder": ladder, "picture": str(picture)}))
    else:
        print(f"picture: {picture}")
    return 0


def _evaluate(
    paths: list[Path], variant: Variant, options: EvaluateOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The points of the truth curve and the rows of the ladder."""
    truth = load_truth(variant)
    if not options.json:
        print(f"{options.run}: {variant.name}, {len(paths)} checkpoints kept")
    points = [_measure(path, variant, truth, options) for path in paths]
    return points, _ladder(paths, variant, options) if options.games else []


def _measure(
    path: Path, variant: Variant, truth: Truth | None, options: EvaluateOptions
) -> dict[str, Any]:
    """One checkpoint's shares of kept values; without a solution only its name and step."""
    checkpoint = load_checkpoint(path, variant=variant)
    point: dict[str, Any] = {
        "checkpoint": path.name,
        "round": checkpoint.metadata.get("round"),
        "step": checkpoint.metadata.get("step"),
    }
    if truth is not None:
        evaluator = NetworkEvaluator(checkpoint.network)
        sample = truth.sample(_SAMPLE, np.random.default_rng(options.seed))
        point["raw"] = truth.raw(evaluator)
        point["search"] = sample.search(evaluator, options.simulations)
        point["decision_positions"], point["searched"] = len(truth), len(sample)
        if not options.json:
            print(
                f"  step {point['step']:>7,}  keeps the value: raw {point['raw']:7.2%}"
                f"  with {options.simulations} simulations {point['search']:7.2%}"
                f"  (of {len(truth):,} and {len(sample):,} positions)",
                flush=True,
            )
    return point


def _ladder(paths: list[Path], variant: Variant, options: EvaluateOptions) -> list[dict[str, Any]]:
    """The last checkpoint against the first, random play and alpha-beta."""
    rows = []
    own = f"mcts:{options.simulations}:{paths[-1]}"
    opponents = {
        "first checkpoint": f"mcts:{options.simulations}:{paths[0]}",
        "random": "random",
        "alphabeta:2": "alphabeta:2",
    }
    for name, spec in opponents.items():
        result = _match(own, spec, name, variant, options)
        rows.append({"opponent": name, **_figures(result)})
        if not options.json:
            elo = result.elo
            print(
                f"  last against {name:<17} +{result.wins} ={result.draws} -{result.losses}"
                f"  {result.score:6.1%}  Elo {elo.elo:+.0f} ({elo.low:+.0f} to {elo.high:+.0f})",
                flush=True,
            )
    return rows


def _match(
    own: str, opponent: str, name: str, variant: Variant, options: EvaluateOptions
) -> MatchResult:
    opening_rng, own_rng, other_rng = np.random.default_rng(options.seed).spawn(3)
    with (
        closing(player_of(own, variant, own_rng)) as player,
        closing(player_of(opponent, variant, other_rng)) as other,
    ):
        games = match_games(
            player,
            other,
            variant,
            games=options.games,
            opening_plies=default_opening_plies(variant),
            rng=opening_rng,
        )
        bar = tqdm(games, total=options.games, desc=name, unit="game", leave=False, disable=None)
        return summarise(list(bar))


def _figures(result: MatchResult) -> dict[str, Any]:
    counts = {name: getattr(result, name) for name in ("games", "wins", "draws", "losses")}
    elo = result.elo
    return counts | {"elo": elo.elo, "elo_low": elo.low, "elo_high": elo.high}
