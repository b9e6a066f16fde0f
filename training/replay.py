"""The window of recent positions that the learner draws its batches from."""

from collections import deque

import numpy as np

from training.games import GameRows, join, select


class ReplayWindow:
    """The newest parts of the games, at most `capacity` positions (one part at least)."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._parts: deque[GameRows] = deque()
        self._rows: GameRows | None = None

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def add(self, rows: GameRows) -> None:
        """Take in the newest games and let go of the oldest that no longer fit."""
        self._parts.append(rows)
        while len(self) > self._capacity and len(self._parts) > 1:
            self._parts.popleft()
        self._rows = None

    def sample(self, size: int, rng: np.random.Generator) -> GameRows:
        """`size` rows drawn uniformly, with replacement; raises ValueError where there are none."""
        if self._rows is None:
            self._rows = join(list(self._parts))
        return select(self._rows, rng.integers(0, len(self._rows), size=size))
