"""A run's figures as TensorBoard reads them."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scripts.extras import require_extra
from training.data.metrics_table import flat
from training.data.run_directory import read_metrics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER: Final = "tensorboard"
"""Of a run, where its event files go."""


class TensorBoardWriter:
    """Writes the lines of a run's metrics.jsonl into a folder of event files.

    The files are written anew, with all lines that the run has before the first that is added.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        """Raises InputError where the package is missing; nothing is written yet."""
        require_extra("TensorBoard's format", "tensorboard", "tensorboard")
        self._run = run
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one line's figures, at the learner's steps; those of language runs, which count no
        steps, at rounds. Raises OSError, RunError."""
        if self._writer is None:
            self._begin(values["round"])
        assert self._writer is not None
        step = values.get("step", values["round"])
        for name, value in flat(values):
            if isinstance(value, (int, float)) and name not in ("step", "round"):
                # "losses.policy" is the curve "policy" in the group "losses".
                self._writer.add_scalar(name.replace(".", "/"), value, step)

    def _begin(self, first_round: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        earlier = []
        # A new run has no metrics yet.
        with contextlib.suppress(FileNotFoundError):
            earlier = [line for line in read_metrics(self._run) if line["round"] < first_round]
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = SummaryWriter(str(self._folder))
        for line in earlier:
            self.add(line)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        if self._writer is not None:
            self._writer.close()
