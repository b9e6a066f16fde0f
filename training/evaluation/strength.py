"""How strong a network is known to be: what its run has measured, read from small files.

`metrics.jsonl` has the shares of decisions in which the network keeps the exact value, where the
variant is solved. `ratings.json`, which `evaluate` writes, has the ladder's ratings.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from engine.system.files import write_whole

RATINGS: Final = "ratings.json"
REFERENCE: Final = "alphabeta:4"
"""The player of the ladder to which strengths are compared."""
LADDER_SEARCH: tuple[Literal["gumbel"], int] = ("gumbel", 64)
"""The search, and its simulations, of networks on a ladder unless another is asked for. Strengths
of networks that searched otherwise are not compared."""


@dataclass(frozen=True, kw_only=True)
class Strength:
    """What is known of a network's strength; nothing, if every field is None."""

    # Shares in [0, 1] of decisions in which the raw network, and a search with it, keep the value.
    raw: float | None = None
    search: float | None = None
    # Elo above `REFERENCE` of `LADDER_SEARCH`, and the step of the network that was rated.
    elo: float | None = None
    step: int | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known."""
        return self.raw is not None or self.elo is not None

    @property
    def below_reference(self) -> bool:
        """Whether it is known to be weaker than `REFERENCE`."""
        return self.elo is not None and self.elo < 0

    def order(self) -> tuple[float, float, float]:
        """Compares strengths of networks for the same variant: greater is stronger."""
        nothing = float("-inf")
        raw = nothing if self.raw is None else self.raw
        search = nothing if self.search is None else self.search
        return raw, search, nothing if self.elo is None else self.elo

    def short(self) -> str:
        """For a table: "98.8 %" of decisions, or "+62 Elo" against `REFERENCE`."""
        if self.raw is not None:
            return _percent(self.raw)
        return "" if self.elo is None else f"{self.elo:+.0f} Elo"

    def __str__(self) -> str:
        if self.raw is not None:
            return f"keeps the exact value in {self.short()} of its decisions"
        if self.elo is not None:
            return f"{self.short()} against {REFERENCE}, at step {self.step}"
        return "not measured"


def read_strength(metrics: Path, ratings: Path, variant_name: str) -> Strength:
    """What these files tell of a variant; files that are missing or damaged tell nothing."""
    point = _last_truth(metrics, variant_name)
    rated = _last_rating(ratings)
    return Strength(
        raw=_share(point.get("raw")),
        search=_share(point.get("search")),
        elo=rated[0],
        step=rated[1],
    )


def strength_of_run(run: Path, variant_name: str) -> Strength:
    """What a run's directory tells of the strength of its last network."""
    # Runs of several variants have a ladder for each.
    folders = (run / f"evaluation-{variant_name}", run)
    ratings = next((each / RATINGS for each in folders if (each / RATINGS).exists()), run / RATINGS)
    return read_strength(run / "metrics.jsonl", ratings, variant_name)


def write_ratings(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep the rows of a ladder (`run_evaluation.ladder_row`) in a folder; raises OSError."""
    write_whole(folder / RATINGS, json.dumps(list(rows), indent=1) + "\n")


def _last_truth(metrics: Path, variant_name: str) -> Mapping[str, Any]:
    """The last point of the truth curve of a variant; empty where there is none."""
    lines: list[bytes] = []
    with contextlib.suppress(OSError):
        lines = metrics.read_bytes().split(b"\n")
    for line in reversed(lines):
        if b'"truth"' not in line:
            continue
        with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
            point = json.loads(line)["truth"]
            point = point["games"][variant_name] if "games" in point else point
            if isinstance(point, dict):
                return point
    return {}


def _last_rating(ratings: Path) -> tuple[float | None, int | None]:
    """Elo above the reference of the last network on the ladder, and its step."""
    prefix = "{}:{}@".format(*LADDER_SEARCH)
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        rows = json.loads(ratings.read_bytes())
        elos = {str(row["name"]): float(row["elo"]) for row in rows}
        last = max(name for name in elos if name.startswith(prefix))
        return elos[last] - elos[REFERENCE], int(last.removeprefix(prefix))
    return None, None


def _share(value: object) -> float | None:
    """A share in [0, 1]; None for anything else."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _percent(share: float) -> str:
    """Per cent with one digit; 100.0 % only where it is all."""
    return f"{min(100 * share, 100.0 if share == 1.0 else 99.9):.1f} %"
