"""Training runs from Python: train one, open one, read its curve."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from engine.settings import build, quoted
from engine.system.files import home_expanded, write_whole
from pawnscope.networks import Network, load
from pawnscope.tables import MOST_LINES, counted, share_text, table
from pawnscope.threads import torch_threads_kept

if TYPE_CHECKING:
    from training.config import TrainingConfig
    from training.run.monitor import Monitor, Summary

VariantsLike: TypeAlias = str | Variant | Sequence[str | Variant]
"""One variant, by its name or not, or several that one network learns."""

_SHOWN: Final = re.compile(
    r"round|seconds|games|positions|truth\.raw|truth\.search|truth\.games\..*\.raw|losses\.(policy|wdl)"
)
"""Columns of a curve that is printed."""
_RAW: Final = re.compile(r"truth\.(?:games\.(?P<game>.*)\.)?raw")
"""Columns with the truth of the raw network, of one variant or of each."""
_COUNTS: Final = ("round", "step", "games", "positions")
"""Columns that are in every line, and whole."""


class Curve(Mapping[str, npt.NDArray[np.generic]]):
    """How a run went: a table with a line for each round, as columns by name.

        >>> import pawnscope as ps
        >>> curve = ps.Run("runs/hexapawn").curve
        >>> curve["truth.raw"].shape == curve["seconds"].shape
        True
        >>> curve.records()[0]["round"]
        0

    A column is int64[N] or float64[N] for N lines, NaN where a line has no such figure: the truth
    is measured now and then, and only of solved games. "truth.raw" and "truth.search" are shares of
    the decisions in which the network, alone and with search, keeps the exact value. The other
    names are those of `metrics.jsonl`, with a point before each inner name. Texts are in `to_csv`
    alone.
    """

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """From the lines of `metrics.jsonl`, oldest first."""
        from training.data.metrics_table import metrics_table

        names, rows = metrics_table(lines)
        self._lines, self._columns = lines, dict[str, npt.NDArray[np.generic]]()
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            if all(value is None or isinstance(value, int | float) for value in column):
                kind = np.int64 if name in _COUNTS and None not in column else np.float64
                self._columns[name] = np.array(column, kind)

    def __getitem__(self, name: str) -> npt.NDArray[np.generic]:
        if name not in self._columns:
            raise KeyError(f"no column {name!r} (columns: {', '.join(self._columns)})")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """Number of columns, as of any mapping; `rounds` is that of lines."""
        return len(self._columns)

    @property
    def rounds(self) -> int:
        """Number of lines."""
        return len(self._lines)

    def records(self) -> list[dict[str, float]]:
        """A dictionary for each line, without the figures that it has not."""
        lines = zip(*(column.tolist() for column in self.values()), strict=True)
        return [
            {name: value for name, value in zip(self, line, strict=True) if value == value}
            for line in lines
        ]

    def to_csv(self, path: str | Path | None = None) -> str:
        """The table as CSV, empty where a line has no such figure; also written to a file where one
        is named. Raises OSError."""
        from training.data.metrics_table import metrics_csv

        text = metrics_csv(self._lines)
        if path is not None:
            write_whole(home_expanded(path), text)
        return text

    def __repr__(self) -> str:
        if not self.rounds:
            return "no round yet"
        names = [name for name in self if _SHOWN.fullmatch(name)]
        # The first and the last line, and some between them.
        count = min(self.rounds, MOST_LINES)
        places = np.linspace(0, self.rounds - 1, count).round().astype(int)
        lines = [[_cell(name, self[name][place]) for name in names] for place in places]
        return f"{counted(self.rounds, 'line')}\n{table(names, lines, count)}"


def _cell(name: str, value: Any) -> str:
    if np.isnan(value):
        return ""
    if name in _COUNTS:
        return f"{value:,}"
    return share_text(value) if name.startswith("truth") else f"{value:.2f}"


class Run:
    """A training run: its directory, curve, checkpoints and networks.

    >>> import pawnscope as ps
    >>> run = ps.Run("runs/hexapawn")
    >>> run.variants, run.config.seed
    (('hexapawn',), 1)
    >>> run.checkpoints[-1].suffix
    '.safetensors'
    >>> run.network().variant
    Variant('hexapawn', 3x3)
    """

    def __init__(self, path: str | Path, *, summary: "Summary | None" = None) -> None:
        """Open a run's directory to read it; raises InputError where there is none, OSError."""
        from training.config import load_config
        from training.data.run_directory import refuse_other_kind

        if not isinstance(path, str | Path):
            raise InputError(f"the directory of a run is expected, not {quoted(path)}")
        self.path = home_expanded(path)
        """The directory."""
        if not (self.path / "config.toml").is_file():
            raise InputError(f"{path}: no training run (no config.toml there)")
        refuse_other_kind(self.path, "a training run")
        self.config: TrainingConfig = load_config(self.path / "config.toml")
        """All settings."""
        self.summary = summary
        """How the session that made this object ended; None where it only reads the run."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants that it learns."""
        from training.config import parse_variants

        return tuple(variant.name for variant in parse_variants(self.config.variant))

    @property
    def curve(self) -> Curve:
        """Its rounds so far, as a table."""
        from training.data.run_directory import read_metrics

        exists = (self.path / "metrics.jsonl").exists()
        return Curve(read_metrics(self.path) if exists else [])

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """The files of its networks, first to last."""
        from training.data.run_directory import checkpoints_in

        return tuple(checkpoints_in(self.path))

    def network(self, checkpoint: int = -1, *, variant: str | Variant | None = None) -> Network:
        """The network of a checkpoint by its place, the last by default; `variant` as in `load`.

        Raises InputError where there is no such checkpoint.
        """
        paths = self.checkpoints
        if not -len(paths) <= checkpoint < len(paths):
            raise InputError(f"{self.path}: no checkpoint {checkpoint}, there are {len(paths)}")
        return load(paths[checkpoint], variant=variant)

    def __repr__(self) -> str:
        curve, checkpoints = self.curve, len(self.checkpoints)
        head = f"Run of {self.config.variant} in {self.path}: {counted(checkpoints, 'checkpoint')}"
        if not curve.rounds:
            return f"{head}, no round yet"
        seconds = float(curve["seconds"][-1])
        rounds = counted(int(curve["round"][-1]), "round")
        shares = ", ".join(self._shares(curve))
        verdict = f", keeps the value in {shares} of the decisions" if shares else ""
        return f"{head}, {rounds} in {seconds:,.1f} s{verdict}"

    def _shares(self, curve: Curve) -> Iterator[str]:
        """What was last measured of the raw network, for each variant."""
        last = {
            found["game"] or "": [share for share in column.tolist() if share == share][-1]
            for name, column in curve.items()
            if (found := _RAW.fullmatch(name))
        }
        if self.summary is not None:
            last |= {name: truth.raw for name, truth in self.summary.truths.items()}
            if self.summary.truth is not None:
                last[""] = self.summary.truth.raw
        for name, share in last.items():
            yield share_text(share) + (f" ({name})" if name else "")


def train(
    variant: VariantsLike,
    *,
    run: str | Path | None = None,
    bars: bool = False,
    monitor: "Monitor | None" = None,
    **settings: Any,
) -> Run:
    """Train a network by self-play, or continue the run that is there.

        >>> import pawnscope as ps
        >>> run = ps.train("hexapawn", minutes=0.01)
        >>> run.path.as_posix(), run.curve["round"][0]
        ('runs/hexapawn', np.int64(0))

    `variant` is one, or several that one network learns. `run` is the run's directory, by default
    that of the command: `runs/VARIANT`, with teacher and seed in its name where these are given.
    `settings` are fields of `training.config.TrainingConfig`, such as `minutes=2.0` (in all
    sessions of the run), `seed=3` or `self_play={"simulations": 32}`; the others come from the
    variant's preset.

    Nothing is printed unless `bars` is true: then progress bars on standard error, and a line for
    each measurement, as the command shows them. A `monitor` (`training.run.monitor.Monitor`) is
    called in their place as training advances.

    ^C loses the round in progress; the same call continues. Raises InputError, OSError.
    """
    from scripts.commands.train import RunBars, default_run
    from training.config import TrainingConfig, joined_names
    from training.run.monitor import Monitor
    from training.run.setup import open_directory, open_run

    variants = _variants(variant)
    settings = _plain(settings)
    build(TrainingConfig, {"variant": "", **settings}, "train")
    if run is None:
        asked = {name: settings.get(name) for name in ("initial", "teacher", "seed")}
        path = default_run(joined_names(variants), **asked)
    elif isinstance(run, Path) or (isinstance(run, str) and run):
        path = home_expanded(run)
    else:
        raise InputError(f"run = {run!r} is no directory")
    if not isinstance(monitor, Monitor | None):
        raise InputError(f"monitor = {quoted(monitor)} is no training.run.monitor.Monitor")
    if bars and monitor is not None:
        raise InputError("bars or a monitor, not both")
    with ExitStack() as stack:
        stack.enter_context(torch_threads_kept())
        directory = stack.enter_context(open_directory(path, variants, settings))
        if bars:
            monitor = stack.enter_context(closing(RunBars(path, quiet=False)))
        opened = stack.enter_context(open_run(directory, variants, monitor or Monitor()))
        return Run(path, summary=opened.train())


def _variants(variant: VariantsLike) -> tuple[Variant, ...]:
    from training.config import parse_variants, variants_of

    if isinstance(variant, str):
        return parse_variants(variant)
    if isinstance(variant, Variant):
        return (variant,)
    if not isinstance(variant, Sequence):
        raise InputError(f"a variant, or several, are expected, not {quoted(variant)}")
    return variants_of(
        [each if isinstance(each, Variant) else get_variant(each) for each in variant]
    )


def _plain(value: Any) -> Any:
    """A setting with Python's own numbers in place of numpy's."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value
