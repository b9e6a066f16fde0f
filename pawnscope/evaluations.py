"""What a network says of positions: one `Evaluation`, or many as arrays.

Values and probabilities of win, draw and loss are seen from the side to move.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.position import BLACK, Position
from engine.rules.variant import Variant
from pawnscope.positions import Batch, Rows, place_of
from pawnscope.tables import counted, share_text, table, value_text, wdl_text
from search.evaluator import Evaluator, evaluate


class Wdl(NamedTuple):
    """Probabilities that sum to 1, of the side to move."""

    win: float
    draw: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class EvaluatedMove:
    """A legal move and its probability."""

    # As in a game score, e.g. "Nxc3+".
    san: str
    # From-square and to-square, e.g. "b1c3".
    uci: str
    # The engine's number, for `Position.push`.
    move: int
    # The network's probability of playing it.
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """What a network says of one position, seen from the side to move.

        >>> import pawnscope as ps
        >>> found = ps.load("gardner").evaluate(ps.Position("gardner"))
        >>> len(found.moves), found.moves[0].san == found.best
        (7, True)
        >>> round(sum(found.policy.values()), 3), round(sum(found.wdl), 3)
        (1.0, 1.0)
        >>> -1 <= found.value <= 1
        True

    It prints as a table.
    """

    # The position; a copy.
    position: Position
    # Probabilities of win, draw and loss: `wdl.win` is the first.
    wdl: Wdl
    # The legal moves, most likely first.
    moves: tuple[EvaluatedMove, ...]

    @property
    def value(self) -> float:
        """Win minus loss, in [-1, 1]."""
        return self.wdl.win - self.wdl.loss

    @property
    def policy(self) -> Mapping[str, float]:
        """Probability of each legal move by SAN, most likely first."""
        return {move.san: move.probability for move in self.moves}

    @property
    def best(self) -> str:
        """The most likely move, as SAN."""
        return self.moves[0].san

    def __repr__(self) -> str:
        lines = [(move.san, move.uci, share_text(move.probability)) for move in self.moves]
        head = f"{title(self.position)}: value {value_text(self.value)} ({wdl_text(self.wdl)})"
        return f"{head}\n{table(('move', 'uci', 'probability'), lines, len(lines))}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluations:
    """What a network says of B positions with M legal moves in all.

        >>> import pawnscope as ps
        >>> start = ps.Position("gardner")
        >>> after = start.copy()
        >>> move = after.push_text("b3")
        >>> found = ps.load("gardner").evaluate([start, after])
        >>> found.wdl.shape, found.values.shape, len(found)
        ((2, 3), (2,), 2)
        >>> found[0].best == max(found.policies[0], key=found.policies[0].get)
        True

    `found[i]` is the `Evaluation` of position i. It prints as a table.
    """

    batch: Batch
    # [B, 3] probabilities of win, draw and loss for the side to move.
    wdl: npt.NDArray[np.float32]
    # [M] legal moves in the order of the rules' generator: those of position i are
    # moves[offsets[i]:offsets[i + 1]].
    moves: npt.NDArray[np.uint16]
    # [B + 1].
    offsets: npt.NDArray[np.int64]
    # [M] of the moves; they sum to 1 over each position.
    probabilities: npt.NDArray[np.float32]

    @property
    def variant(self) -> Variant:
        """Of all positions."""
        return self.batch.variant

    @property
    def rows(self) -> Rows:
        """The positions, uint8[B, R]."""
        return self.batch.rows

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """[B] win minus loss, in [-1, 1]."""
        values: npt.NDArray[np.float32] = self.wdl[:, 0] - self.wdl[:, 2]
        return values

    @cached_property
    def policies(self) -> tuple[Mapping[str, float], ...]:
        """Probability of each legal move by SAN, most likely first, for each position."""
        return tuple(found.policy for found in self)

    def __len__(self) -> int:
        return len(self.wdl)

    def __getitem__(self, index: int) -> Evaluation:
        index = place_of(index, len(self))
        start, stop = self.offsets[index : index + 2].tolist()
        position = self.batch.position(index).copy()
        found = [
            EvaluatedMove(
                san=position.san(move), uci=position.uci(move), move=move, probability=probability
            )
            for move, probability in zip(
                self.moves[start:stop].tolist(),
                self.probabilities[start:stop].tolist(),
                strict=True,
            )
        ]
        found.sort(key=lambda each: -each.probability)
        wdl = Wdl(*self.wdl[index].tolist())
        return Evaluation(position=position, wdl=wdl, moves=tuple(found))

    def __iter__(self) -> Iterator[Evaluation]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        lines = (
            (str(place), value_text(found.value), *map(share_text, found.wdl), found.best)
            for place, found in enumerate(self)
        )
        head = ("position", "value", "win", "draw", "loss", "best")
        return f"{title_of_several(self.batch)}\n{table(head, lines, len(self))}"


def evaluate_batch(evaluator: Evaluator, batch: Batch) -> Evaluations:
    """Raises InputError where a game is over, and what the evaluator raises."""
    moves, offsets = batch.legal_moves()
    found = evaluate(evaluator, batch.rows, moves, offsets)
    counts, starts = np.diff(offsets), offsets[:-1]
    shifted = found.logits - np.repeat(np.maximum.reduceat(found.logits, starts), counts)
    weights = np.exp(shifted.astype(np.float64))
    probabilities = weights / np.repeat(np.add.reduceat(weights, starts), counts)
    return Evaluations(
        batch=batch,
        wdl=found.wdl,
        moves=moves,
        offsets=offsets,
        probabilities=probabilities.astype(np.float32),
    )


def title(position: Position) -> str:
    """Variant and side to move."""
    side = "Black" if position.turn == BLACK else "White"
    return f"{position.variant.name}, {side} to move"


def title_of_several(batch: Batch) -> str:
    """Variant and number of positions."""
    positions = counted(len(batch.rows), "position")
    return f"{batch.variant.name}, {positions}, each seen from its side to move"
