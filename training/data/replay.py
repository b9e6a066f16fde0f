"""The window of recent positions that the learner draws its batches from."""

import itertools
from collections import deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.config import LearningConfig
from training.data.shards import RAGGED, SINGLE, GameRows, select
from training.data.targets import sampling_weights

_ROOM: Final = 1.5
"""Size of new arrays over that of their contents: rows are moved once in half a window."""


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
    """The newest games' rows, in arrays that are appended to; R bytes a row, M legal moves.

    Rows that have left the window stay until the arrays are full.
    """

    def __init__(self, config: LearningConfig) -> None:
        self._config = config
        # Rows of each part that is still inside, oldest first.
        self._parts: deque[int] = deque()
        self._rows: dict[str, npt.NDArray[Any]] = {}
        self._moves: dict[str, npt.NDArray[Any]] = {}
        self._offsets = np.zeros(1, np.int64)
        self._begin, self._end = 0, 0
        self._weights = np.zeros(0)
        self._totals: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self._end - self._begin

    def add(self, rows: GameRows, capacity: int) -> None:
        """Add the newest rows and drop the oldest parts beyond `capacity` positions.

        The newest part stays whole, however large it is.
        """
        if not len(rows):
            return
        self._parts.append(len(rows))
        while sum(self._parts) > capacity and len(self._parts) > 1:
            self._begin += self._parts.popleft()
        self._reserve(rows)
        first = int(self._offsets[self._end])
        place = slice(self._end, self._end + len(rows))
        for name in SINGLE:
            self._rows[name][place] = getattr(rows, name)
        for name in RAGGED:
            self._moves[name][first : first + len(rows.moves)] = getattr(rows, name)
        self._offsets[self._end + 1 : self._end + len(rows) + 1] = first + rows.offsets[1:]
        self._weights[place] = sampling_weights(rows, self._config.surprise_share)
        self._end += len(rows)
        self._totals = None

    def _reserve(self, rows: GameRows) -> None:
        """Where `rows` would not fit, remove the rows that have left and make room."""
        live = slice(self._begin, self._end)
        first, last = int(self._offsets[self._begin]), int(self._offsets[self._end])
        fits = (
            bool(self._rows)
            and self._end + len(rows) <= len(self._weights)
            and last + len(rows.moves) <= len(self._moves[RAGGED[0]])
        )
        if fits:
            return
        size = int(_ROOM * (len(self) + len(rows)))
        moves = int(_ROOM * (last - first + len(rows.moves)))
        # Where there is nothing yet, both parts are empty.
        for name in SINGLE:
            self._rows[name] = _moved(self._rows.get(name, getattr(rows, name))[live], size)
        for name in RAGGED:
            kept = self._moves.get(name, getattr(rows, name))[first:last]
            self._moves[name] = _moved(kept, moves)
        offsets = self._offsets[self._begin : self._end + 1] - first
        self._offsets = _moved(offsets, size + 1)
        self._weights = _moved(self._weights[live], size)
        self._begin, self._end = 0, len(offsets) - 1

    def sample(self, size: int, rng: np.random.Generator) -> GameRows:
        """`size` rows drawn with replacement, by their weights; raises ValueError for no rows."""
        if not len(self):
            raise ValueError("an empty window: there is no row to draw")
        if self._totals is None:
            self._totals = np.cumsum(self._weights[self._begin : self._end])
        draws = rng.random(size) * self._totals[-1]
        chosen = np.minimum(np.searchsorted(self._totals, draws, side="right"), len(self) - 1)
        return select(self._all(), self._begin + chosen)

    def _all(self) -> GameRows:
        """The arrays as they are, with the rows that have left."""
        ragged = {name: self._moves[name] for name in RAGGED}
        single = {name: self._rows[name] for name in SINGLE}
        return GameRows(offsets=self._offsets[: self._end + 1], **ragged, **single)


def _moved(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """A copy with room for `size` entries."""
    moved = np.zeros((size, *array.shape[1:]), array.dtype)
    moved[: len(array)] = array
    return moved
