"""A run's figures as TensorBoard reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.extras import require_extra
from training.data.metrics_table import flat

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardWriter:
    """Writes the lines of metrics.jsonl into a folder of event files, at the learner's steps."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError where the package is missing."""
        require_extra("tensorboard", "tensorboard", "tensorboard")
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one line's figures. Those of language runs, which count no steps, are at rounds.

        Points that earlier files have at the first line's step and later are hidden, because a
        resumed run makes them again. Raises OSError.
        """
        step = values.get("step", values["round"])
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in flat(values):
            if isinstance(value, (int, float)) and name not in ("step", "round"):
                # "losses.policy" is the curve "policy" in the group "losses".
                self._writer.add_scalar(name.replace(".", "/"), value, step)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        if self._writer is not None:
            self._writer.close()
