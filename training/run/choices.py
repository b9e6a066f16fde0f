"""What "auto" means in a run: chosen at its first start, by measuring, and kept from then on.

The same seed gives the same run only where the same things compute it. So what was chosen stands in
`config.toml`, and where a machine cannot go on with it the run says so.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from training.config import ChosenConfig
from training.data.run_directory import RunDirectory


class Choices:
    """The choices of a run, in its configuration and its log."""

    def __init__(self, directory: RunDirectory, note: Callable[[str], None]) -> None:
        """`note` hears what changes in a run that goes on."""
        self._directory = directory
        self._note = note

    @property
    def known(self) -> ChosenConfig:
        """What was chosen so far."""
        return self._directory.config.chosen

    def record(self, text: str, **values: Any) -> None:
        """Fields of ChosenConfig, and what the log says of them; raises OSError."""
        self._directory.choose(dataclasses.replace(self.known, **values))
        self._directory.log(text)

    def change(self, text: str, **values: Any) -> None:
        """The same where something else was chosen before: whoever watches hears of it."""
        self.record(text, **values)
        self._note(text)
