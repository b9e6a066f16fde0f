"""A run's figures as TensorBoard reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.rules.errors import InputError
from engine.system.extras import missing_extra
from training.data.metrics_table import flat


class TensorBoardWriter:
    """Writes the lines of metrics.jsonl into a folder of event files, at the learner's steps."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        """Points of earlier files at `first_step` and later are hidden, because they are made
        again. Raises InputError where the package is missing, and OSError."""
        missing = missing_extra("tensorboard", "tensorboard")
        if missing is not None:
            raise InputError(missing)
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one line's figures. Those of language runs, which count no steps, are at rounds."""
        step = values.get("step", values["round"])
        for name, value in flat(values):
            if isinstance(value, (int, float)) and name not in ("step", "round"):
                # "losses.policy" is the curve "policy" in the group "losses".
                self._writer.add_scalar(name.replace(".", "/"), value, step)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()
