"""The targets of a batch, all from the view of the position's side to move.

The sign of every one of them is tested for both colours (tests/training/data/test_targets.py).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.model.heads import EMPTY_SQUARE, MY_SQUARE, THEIR_SQUARE
from engine.rules.tables import BLACK_BIT, SIDE
from engine.rules.variant import Variant
from search.scores import UNPROVEN
from training.config import LearningConfig
from training.data.shards import NO_REPLY, UNKNOWN_END, GameRows
from training.data.symmetry import mirror_boards, mirror_moves, mirror_positions

UNKNOWN_OWNER: Final = -100
"""Instead of a square's owner: the game was not played to its end."""


class Batch(NamedTuple):
    """Targets for B positions with M legal moves in all, as tensors."""

    positions: Tensor
    """uint8[B, R]."""
    moves: Tensor
    """int64[M] legal moves."""
    rows: Tensor
    """int64[M] the position of each move."""
    policy: Tensor
    """float32[M], sums to 1 over a position."""
    wdl: Tensor
    """float32[B, 3] for the side to move."""
    moves_left: Tensor
    """float32[B] plies, UNKNOWN_END where a game was not played to its end."""
    replies: Tensor
    """int64[C] the moves that were played in the next position, where there was one."""
    replied: Tensor
    """int64[C] the indices of their positions."""
    ownership: Tensor
    """int64[B, S] the owner of each square when the game is over, as the side to move sees the
    board: EMPTY_SQUARE, MY_SQUARE or THEIR_SQUARE; UNKNOWN_OWNER where that is not known."""


def value_targets(rows: GameRows, outcome_share: float) -> npt.NDArray[np.float32]:
    """WDL targets [N, 3]: proven values alone, else the result mixed with the search's WDL."""
    classes = np.eye(3, dtype=np.float32)
    known = rows.proven != UNPROVEN
    mixed = outcome_share * classes[1 - rows.outcomes] + (1 - outcome_share) * rows.search_wdl
    exact = classes[1 - np.where(known, rows.proven, 0)]
    targets: npt.NDArray[np.float32] = np.where(known[:, None], exact, mixed).astype(np.float32)
    return targets


def ownership_targets(
    variant: Variant, positions: npt.NDArray[np.uint8], endings: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Owners [N, S] of the squares at the end, with the ranks as the side to move sees them."""
    black = positions[:, variant.squares + SIDE] == 1
    boards = endings.reshape(-1, variant.height, variant.width)
    seen = np.where(black[:, None, None], boards[:, ::-1], boards).reshape(endings.shape)
    mine = (seen >= BLACK_BIT) == black[:, None]
    owners = np.where(mine, MY_SQUARE, THEIR_SQUARE)
    targets: npt.NDArray[np.int64] = np.where(seen == 0, EMPTY_SQUARE, owners)
    return targets


def make_batch(variant: Variant, rows: GameRows, config: LearningConfig, mirror: bool) -> Batch:
    """The training targets of rows; with `mirror` those of their mirror images."""
    positions, moves = rows.positions, rows.moves
    replies, endings = rows.replies, rows.endings
    replied = np.flatnonzero(replies != NO_REPLY)
    replies = replies[replied]
    if mirror:
        positions, endings = mirror_positions(variant, positions), mirror_boards(variant, endings)
        moves, replies = mirror_moves(variant, moves), mirror_moves(variant, replies)
    ownership = ownership_targets(variant, positions, endings)
    ownership[rows.moves_left == UNKNOWN_END] = UNKNOWN_OWNER
    indices = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    return Batch(
        positions=torch.from_numpy(positions),
        moves=torch.from_numpy(moves.astype(np.int64)),
        rows=torch.from_numpy(indices),
        policy=torch.from_numpy(rows.policy),
        wdl=torch.from_numpy(value_targets(rows, config.outcome_share)),
        moves_left=torch.from_numpy(rows.moves_left.astype(np.float32)),
        replies=torch.from_numpy(replies.astype(np.int64)),
        replied=torch.from_numpy(replied),
        ownership=torch.from_numpy(ownership),
    )


def sampling_weights(rows: GameRows, surprise_share: float) -> npt.NDArray[np.float64]:
    """How often each row [N] is drawn, 1 on average: partly uniform, partly by its surprise.

    KataGo's policy surprise weighting (KataGoMethods.md, "Policy Surprise Weighting"): there half
    of the weight is spread evenly and half in proportion to the divergence of the target from the
    prior.
    """
    weights = np.ones(len(rows))
    mean = float(rows.surprise.mean()) if len(rows) else 0.0
    if surprise_share > 0.0 and mean > 0.0:
        weights += surprise_share * (rows.surprise / mean - 1.0)
    return weights
