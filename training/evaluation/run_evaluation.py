"""What `evaluate` measures of a run: against exact values, against random moves, on the ladder.

Nothing is printed or drawn here. Where a part takes long, its results come one by one.
"""

import tomllib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.network.checkpoint import UniversalDescription, read_description, variant_of
from engine.player import Player
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solution import Solution
from training.data.run_directory import read_metrics, run_checkpoints
from training.evaluation.ladder import (
    LadderGames,
    LadderPlan,
    MakePlayer,
    missing_pairing,
    play_pairing,
)
from training.evaluation.simulations import measure_search
from training.evaluation.textbook import TextbookRow, measure_row
from training.evaluation.truth import Truth

RAW_SAMPLE: Final = 20_000
"""Decision positions on which a raw network is measured; all of a variant with fewer."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run, its checkpoints and what is known of the variant."""

    path: Path
    variant: Variant
    # Where pictures and the ladder go: the run, or a folder in it where it has several variants.
    folder: Path
    # In order of training.
    checkpoints: tuple[Path, ...]
    metrics: Sequence[Mapping[str, Any]]
    # The run's config.toml.
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, variant_name: str | None) -> "EvaluatedRun":
        """Raises InputError for a folder that is no run of the variant, OSError."""
        checkpoints = tuple(run_checkpoints(path))
        variant = variant_of(checkpoints[-1], variant_name)
        several = isinstance(read_description(checkpoints[-1]), UniversalDescription)
        return cls(
            path=path,
            variant=variant,
            folder=path / f"evaluation-{variant.name}" if several else path,
            checkpoints=checkpoints,
            metrics=of_variant(read_metrics(path), variant.name),
            config=tomllib.loads((path / "config.toml").read_text(encoding="utf-8")),
        )

    @property
    def starting_weights(self) -> str:
        """ "zero", or the checkpoint with which the run began."""
        return self.config.get("initial") or "zero"

    def hours(self, step: int) -> float | None:
        """Hours of training before a step; None where the metrics do not tell."""
        if step == 0:
            return 0.0
        seconds = [values["seconds"] for values in self.metrics if values["step"] == step]
        return seconds[-1] / 3600 if seconds else None


def of_variant(metrics: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """The metrics of a run for one of its variants: its own counts and truth curve."""
    found = []
    for values in metrics:
        own = {**values, **values.get("by_game", {}).get(name, {})}
        if "games" in own.get("truth", ()):
            point = own.pop("truth")["games"].get(name)
            own |= {"truth": point} if point else {}
        found.append(own)
    return found


class Exact(NamedTuple):
    """A solved variant and samples of its decision positions."""

    solution: Solution
    # Decision positions of the variant.
    total: int
    # Those on which raw networks are measured, and those that are searched.
    raw: Truth
    searched: Truth

    @classmethod
    def of(cls, solution: Solution, searched: int, seed: int) -> "Exact | None":
        """None where no position asks for a decision."""
        truth = Truth.of(solution.variant, solution)
        if not len(truth):
            return None
        raw, part = (
            truth.sample(size, np.random.default_rng(seed)) for size in (RAW_SAMPLE, searched)
        )
        return cls(solution, len(truth), raw, part)


def checkpoint_shares(
    exact: Exact, evaluator: Evaluator, search: str, simulations: int
) -> dict[str, Any]:
    """Shares of decisions in which the raw network, and a search with it, keep the value."""
    return {
        "raw": exact.raw.raw(evaluator),
        "search": measure_search(exact.searched, exact.total, evaluator, search, simulations).share,
        "decision_positions": exact.total,
        "raw_positions": len(exact.raw),
        "searched": len(exact.searched),
    }


def textbook_rows(
    run: EvaluatedRun, exact: Exact, evaluator: Evaluator, search: str, simulations: int
) -> list[TextbookRow]:
    """The run's last network, and perfect play, against random moves."""
    last = (read_metrics(run.path) or [{}])[-1]
    teacher = run.config.get("teacher")
    own = {
        "teacher": "self-play" if teacher in (None, "none") else teacher,
        "positions": last.get("positions"),
        "seconds": last.get("seconds"),
    }
    perfect = f"perfect play ({run.variant.name})"
    return [
        measure_row(name, asked, exact.raw, exact.solution, search, simulations, **about)
        for name, asked, about in (
            (str(run.path), evaluator, own),
            (perfect, SolverEvaluator(exact.solution), dict[str, Any]()),
        )
    ]


def ladder_plan(
    run: EvaluatedRun,
    *,
    search: str,
    simulations: int,
    anchors: Sequence[str],
    zero: str,
    games: int,
) -> tuple[LadderPlan, dict[str, str]]:
    """Who plays, and the specification of the player of each checkpoint's name."""
    kind = {"puct": "mcts", "gumbel": "gumbel"}[search]
    specs = {
        f"{kind}:{simulations}@{int(path.stem):08d}": f"{kind}:{simulations}:{path}"
        for path in run.checkpoints
    }
    plan = LadderPlan(checkpoints=list(specs), anchors=anchors, zero=zero, games=games)
    return plan, specs


def play_ladder(
    kept: LadderGames, plan: LadderPlan, specs: Mapping[str, str], make: MakePlayer
) -> Generator[str, None, None]:
    """Play what is missing; a line about each game as it ends."""

    def player(name: str, rng: np.random.Generator) -> Player:
        return make(specs.get(name, name), rng)

    while pairing := missing_pairing(kept, plan):
        total = plan.games - len(kept.numbers(*pairing))
        games = play_pairing(kept, *pairing, games=plan.games, make=player)
        for number, _ in enumerate(games, start=1):
            yield f"{' against '.join(pairing)}, game {number} of {total}"


def ladder_row(run: EvaluatedRun, rating: Mapping[str, Any]) -> dict[str, Any]:
    """A rating with the step and the hours of training of a checkpoint; None for others."""
    _, _, text = rating["name"].partition("@")
    step = int(text) if text.isdigit() else None
    return {**rating, "step": step, "hours": None if step is None else run.hours(step)}
