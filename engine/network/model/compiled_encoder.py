"""`Encoder` in compiled kernels: rows to a backend's input, its output to logits of legal moves.

The tables are those of `Encoder` and the results equal, bit for bit. A batch takes a few
microseconds, in place of dozens of calls of torch.
"""

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.tokens import STATE_FEATURES, Encoder
from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D, Array3D, Strided3D
from engine.rules.moves import PROMOTION_SHIFT
from engine.rules.tables import (
    BLACK_BIT,
    CASTLING,
    CLOCK,
    EN_PASSANT,
    REPETITION,
    SIDE,
    STATE_SIZE,
)

Rows = Array2D[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Squares = npt.NDArray[np.int32]


@kernel
def _encode(
    positions: Rows,
    places: Array2D[np.int64],
    codes: Array2D[np.int32],
    rights: Array3D[np.float32],
    counts: Array2D[np.float32],
    squares: Array2D[np.int32],
    state: Array2D[np.float32],
) -> None:
    size = places.shape[1]
    for i in range(positions.shape[0]):
        row = positions[i]
        side = np.int64(row[size + SIDE])
        passed = np.int64(row[size + EN_PASSANT])
        for square in range(size):
            place = places[side, square]
            code = np.int64(row[place])
            # An empty square to capture on en passant has a code that no piece has (`tokens.py`).
            if place == passed:
                code |= BLACK_BIT
            squares[i, square] = codes[side, code]
        castling = np.int64(row[size + CASTLING])
        for right in range(rights.shape[2]):
            state[i, right] = rights[side, castling, right]
        state[i, 4] = counts[0, row[size + CLOCK]]
        state[i, 5] = counts[1, row[size + REPETITION]]


@kernel
def _gather_logits(
    positions: Rows,
    moves: Moves,
    offsets: Offsets,
    pairs: Array2D[np.int64],
    promotions: npt.NDArray[np.int64],
    policy: Strided3D[np.float32],
    bonus: Strided3D[np.float32],
    logits: Floats,
) -> bool:
    """Write the logits of the moves; False where a promotion type is unknown to the network."""
    size, types = bonus.shape[1], bonus.shape[2]
    low_bits = (1 << PROMOTION_SHIFT) - 1
    first = offsets[0]
    for i in range(positions.shape[0]):
        side = np.int64(positions[i, size + SIDE])
        for j in range(offsets[i] - first, offsets[i + 1] - first):
            move = np.int64(moves[j])
            pair = pairs[side, move & low_bits]
            source = pair // size
            target = pair - source * size
            logit = policy[i, source, target]
            kind = promotions[move >> PROMOTION_SHIFT]
            if kind > types:
                return False
            if kind > 0:
                logit += bonus[i, target, kind - 1]
            logits[j] = logit
    return True


@kernel
def _softmax(logits: Array2D[np.float32], probabilities: Array2D[np.float32]) -> None:
    """Softmax of each row of `logits` [B', 3], for the rows of `probabilities` [B, 3], B <= B'."""
    for i in range(probabilities.shape[0]):
        highest = max(logits[i, 0], logits[i, 1], logits[i, 2])
        total = 0.0
        for k in range(3):
            probabilities[i, k] = np.exp(logits[i, k] - highest)
            total += probabilities[i, k]
        for k in range(3):
            probabilities[i, k] /= total


class CompiledEncoder:
    """`Encoder`, and the logits of the legal moves, compiled."""

    def __init__(self, encoder: Encoder) -> None:
        self._places = encoder.squares.cpu().numpy()
        self._codes = encoder.codes.cpu().numpy()
        self._rights = encoder.rights.float().cpu().numpy()
        self._pairs = encoder.pairs.cpu().numpy()
        self._promotions = encoder.promotions.cpu().numpy()
        self._counts = _counts(encoder)
        self.size = encoder.size

    def encode(self, positions: Rows, squares: Squares, state: Floats) -> None:
        """Write the tokens int32[B, S] and state features float32[B, 6] of uint8[B, S + 5]."""
        _encode(positions, self._places, self._codes, self._rights, self._counts, squares, state)

    def choose(
        self,
        positions: Rows,
        moves: Moves,
        offsets: Offsets,
        policy: Floats,
        promotion: Floats,
        logits: Floats,
    ) -> None:
        """Write the logits [M] of the moves, from from-to logits [B', S, S] and promotion logits
        [B', S, P] of B <= B' positions.

        `moves[offsets[i] - offsets[0]:offsets[i + 1] - offsets[0]]` are the moves of position i.
        Raises IndexError for a promotion to a type that the network does not have.
        """
        known = _gather_logits(
            positions, moves, offsets, self._pairs, self._promotions, policy, promotion, logits
        )
        if not known:
            raise IndexError("a move promotes to a type that the network does not have")

    def softmax(self, logits: Floats, probabilities: Floats) -> None:
        """Write the WDL probabilities [B, 3] of WDL logits [B', 3], B <= B'."""
        _softmax(logits, probabilities)


def _counts(encoder: Encoder) -> Floats:
    """float32[2, 256]: the features of each half-move clock and of each count of repetitions."""
    rows = torch.zeros(
        256, encoder.size + STATE_SIZE, dtype=torch.uint8, device=encoder.squares.device
    )
    rows[:, encoder.size + CLOCK] = rows[:, encoder.size + REPETITION] = torch.arange(256)
    features = encoder(rows).state.float().cpu().numpy()
    return np.ascontiguousarray(features[:, STATE_FEATURES - 2 :].T)
