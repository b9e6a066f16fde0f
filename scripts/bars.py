"""The bar of a training's part under way, on standard error."""

import sys
from typing import Any

from tqdm import tqdm


class Bars:
    """One bar at a time; none where standard error is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        # Whether lines beside the bar are left out.
        self.quiet = quiet
        self._bar: tqdm[Any] | None = None

    def begin(self, name: str, total: int, unit: str, bar_format: str | None = None) -> None:
        """A new bar in the place of the last."""
        self.close()
        self._bar = tqdm(
            desc=name,
            total=total,
            unit=unit,
            bar_format=bar_format,
            leave=False,
            file=sys.stderr,
            disable=None,
            dynamic_ncols=True,
        )

    def advance(self, amount: int) -> None:
        """So much more is done."""
        if self._bar is not None:
            self._bar.update(amount)

    def close(self) -> None:
        """No bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
