"""What is supported and what is not, in words, by rule from the cells."""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.probing.report.drawing.svg import signed
from engine.probing.report.grid import Grid, short_layer
from engine.probing.report.results import Emergence, FamilyEmergence, Gain, Report
from engine.probing.report.verdicts import REASONS, Status, Verdict, verdicts

CONTROL_FAMILY: Final = "control"
"""Concepts of this family are random functions: none should be supported."""
_SHOWN: Final = 12
"""Concepts that a terminal is told one by one."""
_COLUMNS: Final = 100
_NAMED: Final = 2
"""So many concepts that are not measured for one reason are named."""


def supported(report: Report) -> tuple[str, ...]:
    """Names of the concepts whose gain is supported, control concepts apart."""
    return tuple(
        each.concept.name
        for each in verdicts(Grid(report))
        if each.is_supported and each.concept.family != CONTROL_FAMILY
    )


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The verdicts, sorted."""

    # All concepts that are measured but control concepts.
    real: tuple[Verdict, ...]
    # Control concepts.
    controls: tuple[Verdict, ...]

    @property
    def supported(self) -> tuple[Verdict, ...]:
        """By their gain, the largest first."""
        found = [each for each in self.real if each.is_supported]
        return tuple(sorted(found, key=lambda each: -(each.best.gain if each.best else 0.0)))

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The others, in the order of the report."""
        return tuple(each for each in self.real if not each.is_supported)

    def by_reason(self) -> list[tuple[Status, str, tuple[Verdict, ...]]]:
        """Each reason with the concepts that it holds of; reasons without any are left out."""
        groups = (
            (status, words, tuple(each for each in self.real if each.status == status))
            for status, words in REASONS.items()
        )
        return [group for group in groups if group[2]]

    @property
    def tried_controls(self) -> int:
        """How many control concepts have a figure."""
        return sum(each.best is not None for each in self.controls)

    @property
    def false_controls(self) -> tuple[Verdict, ...]:
        """Control concepts that came out as supported."""
        return tuple(each for each in self.controls if each.is_supported)


def findings(grid: Grid) -> Findings:
    """The verdicts of a report."""
    found = verdicts(grid)
    return Findings(
        real=tuple(each for each in found if each.concept.family != CONTROL_FAMILY),
        controls=tuple(each for each in found if each.concept.family == CONTROL_FAMILY),
    )


def lost_elsewhere(grid: Grid, found: Findings, attribute: str) -> tuple[list[str], list[str], int]:
    """Supported concepts whose gain is not clear of zero in another setting of their best cell.

    `attribute` is "harder" or "self_play". Their names; the names of those that were not measured
    there; and how many were.
    """
    lost, unmeasured, measured = [], [], 0
    for each in found.supported:
        assert each.best is not None
        cells = grid.cells(each.concept.name, each.best.layer, each.best.place)
        gains: list[Gain] = [
            gain
            for cell in cells
            if cell.measurement is not None
            and (gain := getattr(cell.measurement, attribute)) is not None
        ]
        if not gains:
            unmeasured.append(each.concept.name)
            continue
        measured += 1
        if not all(gain.gain_low > 0.0 for gain in gains):
            lost.append(each.concept.name)
    return lost, unmeasured, measured


def longer_codes(grid: Grid, found: Findings) -> list[str]:
    """Supported concepts whose online code is no shorter than that of the better control."""
    names = []
    for each in found.supported:
        assert each.best is not None
        cells = grid.cells(each.concept.name, each.best.layer, each.best.place)
        for cell in cells:
            it = cell.measurement
            if it is not None and it.bits >= min(it.bits_raw_input, it.bits_random_init):
                names.append(each.concept.name)
                break
    return names


def appears(each: Emergence) -> bool:
    """Whether a concept appears in every run."""
    return all(place is not None for place in each.places)


def order_words(families: Sequence[FamilyEmergence]) -> list[str]:
    """For each two families of which most concepts appear, whether one appears before the other, or
    that it is not known; and the families of which fewer do."""
    real = [each for each in families if each.family != CONTROL_FAMILY]
    shown = sorted(
        (each for each in real if 2 * each.appearing > each.concepts), key=lambda each: each.rank
    )
    before: list[str] = []
    unknown: list[str] = []
    for first, second in itertools.combinations(shown, 2):
        if first.rank_high < second.rank_low:
            before.append(f"{first.family} before {second.family}")
        else:
            unknown.append(f"{first.family} and {second.family}")
    few = [
        f"{each.family} ({each.appearing} of {each.concepts})" for each in real if each not in shown
    ]
    words = before
    if unknown:
        words.append(f"not told apart, because the intervals overlap: {joined(unknown)}")
    if few:
        words.append(f"without a place, because no more than half appear: {joined(few)}")
    return words


@dataclass(frozen=True, kw_only=True)
class Absence:
    """Why some concepts are not measured."""

    # Without the variant's name where it lacks something: "no king".
    reason: str
    # Of the concepts.
    names: tuple[str, ...]

    @property
    def counted(self) -> str:
        """`no king (24)`."""
        return f"{self.reason} ({len(self.names)})"

    @property
    def brief(self) -> str:
        """The same, but one or two concepts are named."""
        few = len(self.names) <= _NAMED
        return f"{self.reason} ({joined(self.names)})" if few else self.counted


def absences(grid: Grid) -> list[Absence]:
    """Why concepts are not measured, the most frequent reason first."""
    found: dict[str, list[str]] = {}
    for each in grid.absent:
        reason = (each.absent or "").removeprefix(f"{grid.report.variant} has ")
        found.setdefault(reason, []).append(each.name)
    every = [Absence(reason=reason, names=tuple(names)) for reason, names in found.items()]
    return sorted(every, key=lambda each: -len(each.names))


def joined(names: Iterable[str]) -> str:
    """`a, b, c`; with semicolons where a name has a comma."""
    found = list(names)
    return ("; " if any("," in name for name in found) else ", ").join(found)


def summary(report: Report) -> str:
    """The verdicts for a terminal."""
    grid = Grid(report)
    found, counts = findings(grid), report.counts
    runs = f"; {len(report.runs)} runs" if len(report.runs) > 1 else ""
    sure = f"{report.confidence:.0%} for all {grid.count:,} cells at once"
    lines = [
        f"{report.variant}: {counts.source}; {counts.test_distinct:,} distinct ones held out{runs}",
        f"supported: {len(found.supported)} of {len(found.real)} concepts",
    ]
    if not grid.count:
        lines.append("  nothing could be measured: a larger board has more positions")
    if found.supported:
        lines.append(f"  gain over both controls clear of zero, {sure}; the best cell of each:")
    shown = found.supported[:_SHOWN]
    width = max((len(each.concept.name) for each in shown), default=0)
    for each in shown:
        assert each.best is not None
        assert each.first is not None
        best = each.best
        lines.append(
            f"  {each.concept.name:{width}}  {signed(best.gain, 3)} "
            f"({signed(best.corrected_low, 3)} to {signed(best.corrected_high, 3)})  "
            f"{short_layer(best.layer)}, {grid.step(best.place)}; since "
            f"{grid.step(each.first.place)}"
        )
    rest = [each.concept.name for each in found.supported[_SHOWN:]]
    lines += _wrapped("  and ", rest)
    for _, words, failed in found.by_reason():
        lines += _wrapped(f"{words} ({len(failed)}): ", [each.concept.name for each in failed])
    if found.tried_controls:
        lines.append(
            f"control concepts, which are random: {len(found.false_controls)} of "
            f"{found.tried_controls} supported"
        )
    unmeasured = [each.brief for each in absences(grid)]
    lines += _wrapped(f"not measured ({len(grid.absent)}): ", unmeasured)
    lines.append(f"layers: {joined(report.layers)}")
    return "\n".join(lines) + "\n"


def _wrapped(beginning: str, names: Sequence[str]) -> list[str]:
    """The names in lines; none for no names."""
    if not names:
        return []
    return textwrap.wrap(
        beginning + joined(names),
        _COLUMNS,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
