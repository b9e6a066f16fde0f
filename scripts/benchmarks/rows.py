"""One row of a benchmark, and how it is measured."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from engine.rules.compilation.compile_time import working_time

REPEATS = 5
BATCH = 128
"""Parallel games, and positions in a batch, unless a row says otherwise."""
SIMULATIONS = 64
"""Simulations a move."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: median, lowest and highest of the repeats."""

    # group/game/what.
    name: str
    value: float
    unit: str
    low: float
    high: float
    # Multiple of the ceiling or peer `against`, measured in the same run; None without one.
    share_of_ceiling: float | None = None
    against: str | None = None


def rates(work: Callable[[], float]) -> list[float]:
    """Units of work a second in each repeat, after one repeat that is not counted."""
    work()
    found = []
    for _ in range(REPEATS):
        begun = working_time()
        done = work()
        found.append(done / (working_time() - begun))
    return found


def row(name: str, unit: str, found: list[float], peer: tuple[str, float] | None = None) -> Row:
    """The row of some repeats; `peer` is a name and its figure in the same unit."""
    value = statistics.median(found)
    return Row(
        name=name,
        value=value,
        unit=unit,
        low=min(found),
        high=max(found),
        share_of_ceiling=value / peer[1] if peer else None,
        against=peer[0] if peer else None,
    )
