"""The pictures of a run: the truth curve or the losses, simulations against truth, the ladder."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from engine.rules.errors import InputError
from engine.system.files import replacing

_RAW, _SEARCH, _THIRD, _QUIET = "#1f6f8b", "#e07a1f", "#7a4fa3", "#6b7280"
_COLOURS = {"puct": _RAW, "gumbel": _SEARCH}


@contextmanager
def _figure(path: Path, title: str, panels: int = 1) -> Iterator[list[Any]]:
    """Panels to draw in, written at the end in the format of the ending of `path`.

    Raises InputError for an unknown ending, before anything is drawn, and OSError.
    """
    # Without a cache folder it is only slower.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    endings = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in endings:
        raise InputError(f"{path}: pictures end in {', '.join(sorted(endings))}")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for one in axes:
        one.grid(visible=True, color="#e5e7eb")
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    yield axes
    figure.suptitle(title, x=0.02, ha="left")
    # No date in the file: the same run gives the same picture.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": title}), replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)


def draw_curve(
    metrics: Sequence[Mapping[str, Any]], title: str, path: Path, beginning: str = "zero"
) -> None:
    """Write the picture in the format that the ending of `path` names (svg, png, pdf).

    `beginning` says what the run began with: zero, or another network.

    Raises InputError where the run has measured nothing yet, or for an unknown ending, and OSError.
    """
    if not metrics:
        raise InputError(f"{title}: the run has no metrics yet, nothing to draw")
    measured = [values for values in metrics if "truth" in values]
    name = f"{title}: {metrics[-1]['games']:,} games of self-play, from {beginning}"
    with _figure(path, name) as (axes,):
        if measured:
            _draw_truth(axes, measured)
        else:
            _draw_losses(axes, metrics)
        axes.set_xlabel("seconds of training")


def _draw_truth(axes: Any, measured: Sequence[Mapping[str, Any]]) -> None:
    seconds = [values["seconds"] for values in measured]
    for name, label, colour in (
        ("search", "network with search", _SEARCH),
        ("raw", "raw network", _RAW),
    ):
        shares = [100 * values["truth"][name] for values in measured]
        axes.plot(seconds, shares, color=colour, marker="o", markersize=3, label=label)
    axes.axhline(100, color=_QUIET, linewidth=1, linestyle=":")
    axes.set_ylabel("positions in which the move\nkeeps the game's exact value, %")
    axes.set_ylim(_ten_below(100 * min(min(each["truth"].values()) for each in measured)), 101)
    axes.set_xlim(0, None)
    axes.legend(frameon=False, loc="lower right")


def _draw_losses(axes: Any, metrics: Sequence[Mapping[str, Any]]) -> None:
    # A run may measure the untrained network before its first loss.
    metrics = [values for values in metrics if "losses" in values]
    seconds = [values["seconds"] for values in metrics]
    for name, label, colour in (
        ("policy_gap", "policy, above its targets' entropy", _RAW),
        ("wdl", "win, draw, loss", _SEARCH),
    ):
        axes.plot(
            seconds, [values["losses"][name] for values in metrics], color=colour, label=label
        )
    axes.set_ylabel("loss, nats")
    axes.set_ylim(0, None)
    axes.legend(frameon=False)


def draw_simulations(points: Sequence[dict[str, Any]], raw: float, title: str, path: Path) -> None:
    """Write the picture of `SearchPoint`s (training/evaluation/simulations.py): share and regret.

    `raw` is the share that the network keeps without search. Raises as `draw_curve`.
    """
    with _figure(path, title, panels=2) as (shares, regrets):
        for search in dict.fromkeys(point["search"] for point in points):
            own = [point for point in points if point["search"] == search]
            colour = _COLOURS.get(search, _QUIET)
            names = "simulations", "share", "share_low", "share_high"
            _draw_intervals(shares, own, *names, colour, label=search, scale=100.0)
            names = "simulations", "regret", "regret_low", "regret_high"
            _draw_intervals(regrets, own, *names, colour, label=search)
        shares.axhline(100 * raw, color=_QUIET, linewidth=1, linestyle=":", label="raw network")
        shares.set_ylabel("positions in which the move\nkeeps the game's exact value, %")
        regrets.set_ylabel("mean value given away\n(a win and a loss lie 2 apart)")
        regrets.set_ylim(0, None)
        for axes in (shares, regrets):
            axes.set_xlabel("simulations a move")
            axes.set_xscale("log", base=2)
            counts = sorted({point["simulations"] for point in points})
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.minorticks_off()
        shares.legend(frameon=False, loc="lower right")


def _draw_intervals(
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    low: str,
    high: str,
    colour: str,
    *,
    label: str | None = None,
    scale: float = 1.0,
) -> None:
    """A curve of the figures of that name in the rows, with the bounds of their intervals."""
    axes.errorbar(
        [row[x] for row in rows],
        [scale * row[y] for row in rows],
        yerr=[
            [scale * (row[y] - row[low]) for row in rows],
            [scale * (row[high] - row[y]) for row in rows],
        ],
        color=colour,
        marker="o",
        markersize=4,
        capsize=3,
        label=label,
    )


class Panel(NamedTuple):
    """Curves of shares over seconds of training, or over something else, in one panel."""

    unit: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    """At most three, by label."""
    title: str = ""
    level: tuple[str, float] | None = None
    """A label and a share to compare with."""
    lowest: float | None = None
    """Lower end of the shares; None for a little below the lowest that is not 0."""
    across: str = "seconds of training"
    """What the curves run over."""


def draw_panels(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Write a picture of several panels side by side. Raises as `draw_curve`."""
    with _figure(path, title, panels=len(panels)) as parts:
        for axes, panel in zip(parts, panels, strict=True):
            colours = (_SEARCH, _RAW, _THIRD)[: len(panel.curves)]
            for (label, curve), colour in zip(panel.curves.items(), colours, strict=True):
                heights = [100 * share for _, share in curve]
                seconds = [second for second, _ in curve]
                axes.plot(seconds, heights, color=colour, marker="o", markersize=3, label=label)
            if panel.level is not None:
                label, share = panel.level
                axes.axhline(100 * share, color=_QUIET, linewidth=1, linestyle=":", label=label)
            axes.set_title(panel.title, fontsize=10, loc="left")
            axes.set_xlabel(panel.across)
            axes.set_xlim(0, None)
            lowest = _lowest(panels) if panel.lowest is None else 100 * panel.lowest
            axes.set_ylim(lowest, 101)
        parts[0].set_ylabel(panels[0].unit)
        parts[-1].legend(frameon=False, loc="lower right")


def _lowest(panels: Sequence[Panel]) -> float:
    """Lower end in per cent; curves at 0, of networks without preference, are left out."""
    shares = [share for panel in panels for curve in panel.curves.values() for _, share in curve]
    shares += [panel.level[1] for panel in panels if panel.level is not None]
    return _ten_below(100 * min((share for share in shares if share > 0), default=1.0))


def _ten_below(lowest: float) -> int:
    """A multiple of ten, at least five below the lowest per cent."""
    return 10 * math.floor(max(0.0, lowest - 5) / 10)


def draw_ladder(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Write the picture of Elo against hours, from the rows of `evaluate --ladder`.

    Rows without hours are players of known strength and become level lines. Raises as `draw_curve`.
    """
    with _figure(path, title) as (axes,):
        trained = sorted((row for row in rows if row["hours"] is not None), key=itemgetter("hours"))
        if trained:
            _draw_intervals(axes, trained, "hours", "elo", "low", "high", _SEARCH)
        known = sorted((row for row in rows if row["hours"] is None), key=itemgetter("elo"))
        for row in known:
            axes.axhline(row["elo"], color=_QUIET, linewidth=1, linestyle=":")
        _label_lines(axes, [(row["name"], row["elo"]) for row in known])
        axes.set_xlabel("hours of training")
        axes.set_ylabel("Elo, with 95 % intervals")
        axes.set_xlim(0, None)


def _label_lines(axes: Any, lines: Sequence[tuple[str, float]]) -> None:
    """Names beside level lines, in ascending order, each above the last."""
    low, high = axes.get_ylim()
    least = -math.inf
    for name, height in lines:
        least = max(height, least + (high - low) / 25)
        axes.annotate(
            name,
            (1.0, least),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_QUIET,
        )
