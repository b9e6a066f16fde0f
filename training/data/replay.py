"""The window of recent positions that the learner draws its batches from."""

import itertools
from collections import deque

import numpy as np
import numpy.typing as npt

from training.config import LearningConfig
from training.data.shards import GameRows, join, select, tail
from training.data.targets import sampling_weights


def share_out(total: int, parts: int) -> list[int]:
    """`total` in so many parts that differ by one at most."""
    ends = [total * part // parts for part in range(parts + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]


def window_size(config: LearningConfig, positions: int) -> int:
    """Positions that the window holds after so many positions of the run.

    All of them up to c = `window`, then KataGo's sublinear growth (Wu 2019, appendix C):
    c * (1 + beta * ((N / c)^alpha - 1) / alpha); beta 0 keeps the window at c.
    """
    base = config.window
    if positions <= base:
        return base
    power = config.window_power
    growth = ((positions / base) ** power - 1.0) / power
    return int(base * (1.0 + config.window_growth * growth))


class ReplayWindow:
    """The newest games' rows."""

    def __init__(self, config: LearningConfig) -> None:
        self._config = config
        # Of the rows of each part, oldest first.
        self._weights: deque[npt.NDArray[np.float64]] = deque()
        # The rows as the last draw found them, the parts that came since, and how many of all these
        # rows, the oldest, have left.
        self._rows: list[GameRows] = []
        self._left = 0
        # Sums of the weights up to each row; None until the first draw after a change.
        self._totals: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._weights))

    def add(self, rows: GameRows, capacity: int) -> None:
        """Add the newest rows and drop the oldest parts beyond `capacity` positions.

        The newest part stays whole, however large it is.
        """
        if not len(rows):
            return
        self._rows.append(rows)
        self._weights.append(sampling_weights(rows, self._config.surprise_share))
        while len(self) > capacity and len(self._weights) > 1:
            self._left += len(self._weights.popleft())
        self._totals = None

    def sample(self, size: int, rng: np.random.Generator) -> GameRows:
        """`size` rows drawn with replacement, by their weights; raises ValueError for no rows."""
        if not self._weights:
            raise ValueError("an empty window: there is no row to draw")
        if self._totals is None:
            self._rows, self._left = [tail(join(self._rows), self._left)], 0
            self._totals = np.cumsum(np.concatenate(self._weights))
        (rows,), totals = self._rows, self._totals
        chosen = np.searchsorted(totals, rng.random(size) * totals[-1], side="right")
        return select(rows, np.minimum(chosen, len(rows) - 1))
