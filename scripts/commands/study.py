"""`pawnscope study NAME`: several trainings side by side, and what they teach together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from engine.rules.errors import InputError
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import SHIPPED
from scripts.plots.curve import Panel, draw_panels
from scripts.progress import Waiting
from training.studies.several import CHESS, SOLVED, several_against_single
from training.studies.study import Report
from training.studies.transfer import (
    LESSONS,
    OPPONENT,
    UNSEEN,
    transfer_over_sizes,
    transfer_to_los_alamos,
)
from training.studies.trunks import SAME_SIZE, SAME_SPEED, TOWER, compare_trunks

Name = Literal["several", "sizes", "losalamos", "trunks"]
_KEPT: Final = "decisions in which the raw network\nkeeps the exact value, %"


@dataclass(frozen=True, kw_only=True)
class StudyOptions(FigureOptions):
    """Train networks side by side, one on each core, and compare them; again to go on.

    several: one network for two sizes of Hexapawn and Gardner beside networks for one game.
    sizes: what a network trained on four sizes of Hexapawn knows of two that it has never seen.
    losalamos: Gardner's network trained on at Los Alamos beside one that begins from zero.
    trunks: the residual tower beside transformers as large and as fast, by truth, speed and Elo.
    """

    # The study.
    name: Name
    # Minutes of training of every network.
    minutes: float = 5.0
    # Where runs, results and the picture go; runs/study-NAME where left out.
    out: Path | None = None


class Study(NamedTuple):
    """How a study is made, told and drawn."""

    measure: Callable[[Path, float, Report], dict[str, Any]]
    tell: Callable[[Mapping[str, Any]], list[str]]
    panels: Callable[[Mapping[str, Any]], list[Panel]]
    title: str


def main(arguments: list[str]) -> int:
    """Run what is missing, print the figures and draw the curves."""
    options = parse_options(StudyOptions, "study", arguments)
    if not options.minutes > 0:
        raise InputError(f"--minutes {options.minutes}: a training takes some time")
    study = STUDIES[options.name]
    folder = options.out or Path("runs") / f"study-{options.name}"
    picture = folder / f"{options.name}.svg"
    with Waiting(f"study {options.name}") as waiting:
        found = study.measure(folder, options.minutes, waiting.report)
    draw_panels(study.panels(found), study.title, picture)
    if options.json:
        print_json({"study": options.name, "picture": str(picture), "results": found})
    else:
        print("\n".join([*study.tell(found), f"curves in {picture}"]))
    return 0


def _tell_sizes(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "| size | drawn blindly | trained on four sizes | trained on this size |",
        "|---|---|---|---|",
    ]
    for game in (*UNSEEN, *LESSONS):
        shares = [curve[-1][1] for curve in found[game]["curves"].values()]
        own = f"{shares[1]:.1%}" if game in UNSEEN else "(among the four)"
        lines.append(f"| {game} | {found[game]['chance']:.1%} | {shares[0]:.1%} | {own} |")
    return lines


def _size_panels(found: Mapping[str, Any]) -> list[Panel]:
    return [
        Panel(
            title=f"{game}, never seen by the first",
            curves=_in_per_cent(found[game]["curves"]),
            level=("drawn blindly", 100 * found[game]["chance"]),
            unit=_KEPT,
        )
        for game in UNSEEN
    ]


def _in_per_cent(curves: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    return {
        name: [(seconds, 100 * share) for seconds, share in curve] for name, curve in curves.items()
    }


def _tell_losalamos(found: Mapping[str, Any]) -> list[str]:
    lines = ["| network | score after so many seconds |", "|---|---|"]
    for name, curve in found["curves"].items():
        points = ", ".join(f"{score:.0%} ({seconds:.0f} s)" for seconds, score in curve)
        lines.append(f"| {name} | {points} |")
    return [
        *lines,
        f"({found['games']} games against {found['opponent']} each)",
        "the last networks against each other: " + _match(found["last"]),
    ]


def _match(line: Mapping[str, Any]) -> str:
    return (
        f"+{line['wins']} ={line['draws']} -{line['losses']}, {line['score']:.1%},"
        f" Elo {line['elo']:+.0f} ({line['elo_low']:+.0f} to {line['elo_high']:+.0f})"
    )


def _losalamos_panels(found: Mapping[str, Any]) -> list[Panel]:
    curves = _in_per_cent(found["curves"])
    unit = f"score against {OPPONENT}, %"
    # A match can be lost altogether, and the point is to be seen whole.
    return [Panel(title="", curves=curves, level=None, unit=unit, lowest=-1)]


def _tell_several(found: Mapping[str, Any]) -> list[str]:
    lines = ["| game | one network for all | a network of its own | |", "|---|---|---|---|"]
    for game in SOLVED:
        several, own = found[game].values()
        part = [share for seconds, share in own if seconds <= own[-1][0] / (1 + len(SOLVED))]
        lines.append(
            f"| {game}, kept | {several[-1][1]:.1%} | {own[-1][1]:.1%}"
            f" | {part[-1]:.1%} after a third of the time |"
        )
    return [*lines, f"| {CHESS}, match | {_match(found[CHESS])} | | |"]


def _several_panels(found: Mapping[str, Any]) -> list[Panel]:
    return [
        Panel(title=game, curves=_in_per_cent(found[game]), level=None, unit=_KEPT)
        for game in SOLVED
    ]


def _tell_trunks(found: Mapping[str, Any]) -> list[str]:
    ways = list(dict.fromkeys(way for line in found.values() for way in line["speed"]))
    head = ["network", "parameters", *(f"{way}, positions/s" for way in ways)]
    head += ["keeps the value, raw", "Elo at equal simulations", "Elo at equal time a move"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, line in found.items():
        truth = line["truth"]
        cells = [name, f"{line['parameters']:,}"]
        cells += [f"{line['speed'][way]:,.0f}" if way in line["speed"] else "–" for way in ways]
        cells.append(f"{sum(truth) / len(truth):.1%} ({min(truth):.1%} to {max(truth):.1%})")
        cells += [_elo(line[kind]) if kind in line else "0" for kind in ("match", "timed")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _elo(line: Mapping[str, Any]) -> str:
    return f"{line['elo']:+.0f} ({line['elo_low']:+.0f} to {line['elo_high']:+.0f})"


def _trunk_panels(found: Mapping[str, Any]) -> list[Panel]:
    """The tower beside one transformer, and beside the other."""
    curves = _in_per_cent({name: line["curve"] for name, line in found.items()})
    return [
        Panel(
            title=name,
            curves={TOWER: curves[TOWER], "transformer": curves[name]},
            level=None,
            unit=_KEPT,
        )
        for name in (SAME_SIZE, SAME_SPEED)
    ]


def _from_gardner(folder: Path, minutes: float, report: Report) -> dict[str, Any]:
    return transfer_to_los_alamos(folder, minutes, SHIPPED / "gardner.safetensors", report)


STUDIES: Final[Mapping[str, Study]] = {
    "several": Study(
        several_against_single,
        _tell_several,
        _several_panels,
        "One network for three games beside networks for one",
    ),
    "sizes": Study(
        transfer_over_sizes,
        _tell_sizes,
        _size_panels,
        "Hexapawn on boards of sizes that a network has never seen",
    ),
    "losalamos": Study(
        _from_gardner,
        _tell_losalamos,
        _losalamos_panels,
        "Los Alamos, from Gardner's network and from zero",
    ),
    "trunks": Study(
        compare_trunks,
        _tell_trunks,
        _trunk_panels,
        "Tower and transformer, trained on one core for the same time",
    ),
}
assert tuple(STUDIES) == get_args(Name)
