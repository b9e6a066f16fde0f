"""The picture of a run: the truth curve where the game is solved, the losses elsewhere."""

import math
from pathlib import Path
from typing import Any

from engine.rules.errors import InputError

_RAW, _SEARCH, _QUIET = "#1f6f8b", "#e07a1f", "#6b7280"


def draw_curve(metrics: list[dict[str, Any]], title: str, path: Path) -> None:
    """Write the picture in the format that the ending of `path` names (svg, png, pdf).

    Raises InputError where the run has measured nothing yet, or for an unknown ending, and OSError.
    """
    if not metrics:
        raise InputError(f"{title}: the run has no metrics yet, nothing to draw")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    measured = [values for values in metrics if "truth" in values]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    if measured:
        _draw_truth(axes, measured)
    else:
        _draw_losses(axes, metrics)
    last = metrics[-1]
    axes.set_title(f"{title}: {last['games']:,} games of self-play, from zero", loc="left")
    axes.set_xlabel("seconds of training")
    axes.grid(visible=True, color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    endings = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in endings:
        raise InputError(f"{path}: pictures end in {', '.join(sorted(endings))}")
    # No date in the file: the same run gives the same picture.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(path, dpi=150, metadata=metadata)


def _draw_truth(axes: Any, measured: list[dict[str, Any]]) -> None:
    seconds = [values["seconds"] for values in measured]
    for name, label, colour in (
        ("search", "network with search", _SEARCH),
        ("raw", "raw network", _RAW),
    ):
        shares = [100 * values["truth"][name] for values in measured]
        axes.plot(seconds, shares, color=colour, marker="o", markersize=3, label=label)
    axes.axhline(100, color=_QUIET, linewidth=1, linestyle=":")
    axes.set_ylabel("positions in which the move\nkeeps the game's exact value, %")
    lowest = min(100 * min(values["truth"].values()) for values in measured)
    axes.set_ylim(10 * math.floor(max(0.0, lowest - 5) / 10), 101)
    axes.set_xlim(0, None)
    axes.legend(frameon=False, loc="lower right")


def _draw_losses(axes: Any, metrics: list[dict[str, Any]]) -> None:
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
