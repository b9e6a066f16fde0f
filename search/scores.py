"""One number for value and distance, as chess programs write mate scores.

Seen from the side to move, d plies before the end of the game with best play:

    won in d     WIN - d
    drawn in d   -d
    lost in d    d - WIN

so that the larger score is the better one: the winner hurries, the loser delays, and in a drawn
game both sides hurry.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel

WIN: Final = 16384
LONGEST: Final = WIN // 2 - 1
"""Plies; scores beyond WIN - LONGEST are decided."""
NO_SCORE: Final = -32768
"""Below every score."""
UNPROVEN: Final = -2
"""In place of a proven value (-1, 0 or 1): the value is not known."""


@kernel
def value_of_score(score: int) -> int:
    """The value of a score: -1, 0 or 1 for the side to move."""
    return 1 if score > LONGEST else -1 if score < -LONGEST else 0


@kernel
def score_before(score: int) -> int:
    """The score of a move, for the side that makes it, from the score of the position after it."""
    if score > LONGEST:
        return 1 - score
    if score < -LONGEST:
        return -1 - score
    return score - 1


def split_scores(
    scores: npt.NDArray[np.int16],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]:
    """Values (-1, 0, 1 for the side to move) and distances (plies) of scores of any shape."""
    values = (scores > LONGEST).astype(np.int8) - (scores < -LONGEST).astype(np.int8)
    distances = np.where(values == 0, -scores, WIN - np.abs(scores))
    return values, distances.astype(np.int16)
