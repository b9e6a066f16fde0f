"""What studies share: trainings side by side, results that are measured once, comparisons.

A study is a folder. `runs/` holds its trainings, ordinary run directories; `results.jsonl` holds
what was measured, one line for each result. A second call resumes: runs continue, and results in
the file are not measured again.

As many trainings run at a time as there are cores, in the order in which they are compared
(`side_by_side.py`). Each has one core to itself and the same minutes of wall time.
"""

import contextlib
import functools
import json
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.network.checkpoint import load_checkpoint, read_description
from engine.network.inference.evaluator import make_evaluator
from engine.rules.variant import Variant, get_variant
from engine.system.files import append_json, whole_lines, write_whole
from engine.system.processes import usable_cores
from search.evaluator import Evaluator
from search.exact.solver import load_or_solve
from search.players.make import make_player
from training.config import merge, parse_variants
from training.data.run_directory import read_metrics, run_checkpoints
from training.evaluation.arena import play_match
from training.evaluation.truth import Truth
from training.run.monitor import Monitor
from training.run.setup import open_directory, open_run
from training.studies.side_by_side import run_side_by_side

Line = dict[str, Any]
Curve = list[tuple[float, float]]
"""Seconds of training, and what was reached by then."""
Report = Callable[[str], None]
"""Called with a line about each step that is done."""

RESULTS: Final = "results.jsonl"
OVER: Final = "over"
"""File in a run's directory, with the minutes of training that are done."""
_SEED: Final = 2026
_SAMPLE: Final = 10_000
"""Decision positions on which a network is measured."""
_OPENING_PLIES: Final = 3
ONE_CORE: Final[dict[str, Any]] = {
    # Only play and learning take time: networks are measured afterwards.
    "stop_at_raw": math.inf,
    "measure_seconds": 1e9,
    "raw_sample": 1,
    "search_sample": 1,
    "self_play": {"actors": 0},
    "learning": {"threads": 1, "precision": "bf16"},
}
"""Settings of a training on one core."""
_SHORT_ROUND: Final[dict[str, Any]] = {
    "minutes": 1e-6,
    "self_play": {"positions": 64, "simulations": 2, "longest_game": 4},
}
"""Settings of one short round, over those of the training."""


class Results:
    """The results of a study by key. Results are appended and never changed."""

    def __init__(self, folder: Path) -> None:
        """Read the file; an unfinished last line is removed. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / RESULTS
        self._lines: dict[str, Line] = {}
        for text in whole_lines(self._path):
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                values = json.loads(text)
                self._lines[json.dumps(values["key"])] = values

    def has(self, key: Sequence[str | int]) -> bool:
        """Whether the file has the result of this key."""
        return json.dumps(list(key)) in self._lines

    def get(
        self, key: Sequence[str | int], measure: Callable[..., Line], *arguments: object
    ) -> Line:
        """The result of this key: from the file, else measured and written."""
        name = json.dumps(list(key))
        if name not in self._lines:
            line = {"key": list(key), **measure(*arguments)}
            append_json(self._path, line)
            self._lines[name] = line
        return self._lines[name]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run of a study."""

    # Its directory.
    path: Path
    # The variant, or several joined by "+".
    variants: str
    # What differs from the preset.
    overrides: Line


def train(training: Training) -> Path:
    """Start or resume the run until its time is over; its directory. Raises InputError, OSError."""
    if "teacher" not in training.overrides and not training.path.exists():
        # A short round in a temporary directory: kernels are compiled before the run's time starts.
        with tempfile.TemporaryDirectory() as folder:
            overrides = merge(training.overrides, _SHORT_ROUND)
            _run(replace(training, path=Path(folder) / "run", overrides=overrides))
    _run(training)
    write_whole(training.path / OVER, f"{training.overrides['minutes']}\n")
    return training.path


def _run(training: Training) -> None:
    variants = parse_variants(training.variants)
    with (
        open_directory(training.path, variants, training.overrides) as directory,
        open_run(directory, variants, Monitor()) as run,
    ):
        run.train(measured=False)


def train_side_by_side(trainings: Sequence[Training], report: Report) -> None:
    """All of them, one on each core at a time; raises InputError, OSError."""
    missing = [one for one in trainings if not _is_over(one)]
    if missing:
        minutes = max(one.overrides["minutes"] for one in missing)
        at_once = min(len(missing), len(usable_cores()))
        counted = "1 training" if len(missing) == 1 else f"{len(missing)} trainings"
        verb = "is" if len(missing) == 1 else "are"
        report(
            f"{counted} of {60 * minutes:g} s {verb} missing, {at_once} at a time:"
            f" {-(-len(missing) // at_once) * minutes:.1f} minutes of learning"
        )
    for path in run_side_by_side(train, missing):
        report(f"{path} is trained")


def _is_over(training: Training) -> bool:
    """Whether the run has had its minutes.

    The seconds in its files do not tell: they are those before the last round was saved.
    """
    path = training.path / OVER
    return (
        path.exists() and float(path.read_text(encoding="utf-8")) >= training.overrides["minutes"]
    )


def checkpoints(run: Path) -> Iterator[tuple[float, Path]]:
    """The kept checkpoints of a run in order, with the seconds of training before each."""
    # Checkpoints of older versions do not hold them.
    seconds = {values["step"]: values["seconds"] for values in read_metrics(run)}
    for path in run_checkpoints(run):
        metadata = read_description(path).metadata
        yield metadata.get("seconds", seconds.get(int(path.stem), 0.0)), path


@functools.cache
def truth_of(name: str, folder: Path, size: int = _SAMPLE) -> Truth:
    """A fixed sample of a variant's decision positions; the solution is kept in the folder."""
    variant = get_variant(name)
    truth = Truth.of(variant, load_or_solve(variant, folder))
    return truth.sample(size, np.random.default_rng(_SEED))


def truth_curve(results: Results, folder: Path, run: str, name: str) -> Curve:
    """The share of a variant's decisions in which each raw network of a run keeps the value."""
    return [
        (seconds, results.get(["share", run, path.name, name], _share, path, name, folder)["share"])
        for seconds, path in checkpoints(folder / "runs" / run)
    ]


def _share(checkpoint: Path, name: str, folder: Path) -> Line:
    truth = truth_of(name, folder)
    return {"share": truth.raw(evaluator_of(checkpoint, truth.variant))}


def chance(results: Results, folder: Path, name: str) -> float:
    """The share of a variant's decisions in which a random move keeps the value."""
    return float(results.get(["chance", name], _chance, name, folder)["share"])


def _chance(name: str, folder: Path) -> Line:
    truth = truth_of(name, folder)
    kept = np.add.reduceat(truth.keeps.astype(np.float64), truth.offsets[:-1])
    return {"share": float((kept / np.diff(truth.offsets)).mean())}


def evaluator_of(checkpoint: Path, variant: Variant) -> Evaluator:
    """The network of a checkpoint on its fastest backend."""
    return make_evaluator(load_checkpoint(checkpoint, variant=variant).network)


def score(one: str, other: str, variant: Variant, games: int) -> Line:
    """The score of the first of two players, both written as on the command line, with intervals.

    Openings and random numbers depend only on the variant and the number of games.
    """
    seed = [_SEED, zlib.crc32(variant.digest.encode()), games]
    openings, *chances = np.random.default_rng(seed).spawn(3)

    def load(text: str | None, game: Variant) -> Evaluator:
        assert text is not None
        return evaluator_of(Path(text), game)

    players = [
        make_player(spec, variant, rng=rng, load_evaluator=load)
        for spec, rng in zip((one, other), chances, strict=True)
    ]
    result = play_match(
        players[0],
        players[1],
        variant,
        games=games,
        rng=openings,
        opening_plies=_OPENING_PLIES,
    )
    return {
        "wins": result.wins,
        "draws": result.draws,
        "losses": result.losses,
        "score": result.score,
        "elo": result.elo.elo,
        "elo_low": result.elo.low,
        "elo_high": result.elo.high,
    }
