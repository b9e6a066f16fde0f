"""How a network opens a game: probabilities of the first moves, and its principal line.

The raw policy, without search, as in McGrath et al. 2022, section 6. Moves that lead to symmetric
positions are one move: of b2-b3 and c2-c3 on a symmetric board the first stands for both.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.positions.evaluations import evaluate, variant_of
from engine.probing.analyses.positions.move_table import MoveTable, MoveTruth, move_table
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.kernels import apply
from engine.rules.position import Position
from engine.rules.variant import Variant

PLIES: Final = 8
"""Plies of the principal line."""


@dataclass(frozen=True, kw_only=True)
class FirstMove:
    """A move, or several that lead to symmetric positions."""

    # As SAN, those that are one move with a slash between.
    move: str
    # Probability of all of them.
    probability: float
    # Exact value for the side that moves and plies to the end; None where not known.
    value: int | None
    distance: int | None


@dataclass(frozen=True, kw_only=True)
class LineMove:
    """One ply of a principal line."""

    move: str
    probability: float
    # Whether it keeps the exact value; None where not known.
    keeps_value: bool | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Opening:
    """How one network opens the game."""

    variant: str
    fen: str
    # In the order of the moves' generation, the same for every network.
    moves: tuple[FirstMove, ...]
    # Of the probabilities above, nats, and that of a policy to which all legal moves are alike.
    entropy: float
    uniform_entropy: float
    # The likeliest move, the likeliest reply, and so on, symmetric moves being one.
    line: tuple[LineMove, ...]
    # Expected score of the side to move, -1 to 1, and the exact one.
    score: float
    value: int | None

    def __repr__(self) -> str:
        lines = [f"opening of {self.variant}: entropy {self.entropy:.2f} nats"]
        for each in sorted(self.moves, key=lambda move: -move.probability):
            worth = "" if each.value is None else f"  {_RESULTS[each.value]} in {each.distance}"
            lines.append(f"{each.move:16}{100 * each.probability:6.1f} %{worth}")
        lines.append("line " + " ".join(each.move for each in self.line))
        return "\n".join(lines)


_RESULTS: Final = {1: "won", 0: "drawn", -1: "lost"}


def opening(
    network: VariantNetwork,
    truth: MoveTruth | None = None,
    *,
    variant: Variant | None = None,
    fen: str | None = None,
    plies: int = PLIES,
) -> Opening:
    """How a network opens the game, or plays on from the position of a FEN.

    `truth` gives exact values, where the game is solved. Raises InputError for a finished position,
    FenError for another text.
    """
    variant = variant_of(network, variant)
    position = Position(variant, fen)
    legal = move_table(position.row[None], variant, truth)
    evaluations = evaluate(network, legal)
    chances = np.exp(evaluations.policy)
    names = [position.san(int(move)) for move in legal.moves]
    distances = _distances(legal, truth)
    joined = symmetric_moves(legal)
    moves = []
    for number in range(int(joined.max()) + 1):
        members = np.flatnonzero(joined == number)
        value, distance = distances[members[0]] if distances else (None, None)
        moves.append(
            FirstMove(
                move="/".join(names[index] for index in members),
                probability=float(chances[members].sum()),
                value=value,
                distance=distance,
            )
        )
    alike = np.bincount(joined) / len(joined)
    exact = legal.exact
    return Opening(
        variant=variant.name,
        fen=position.fen(),
        moves=tuple(moves),
        entropy=_entropy(np.array([each.probability for each in moves])),
        uniform_entropy=_entropy(alike),
        line=_line(network, position, truth, plies),
        score=float(evaluations.expected_score[0]),
        value=int(exact.values[0]) if exact is not None and exact.known[0] else None,
    )


def symmetric_moves(legal: MoveTable) -> npt.NDArray[np.int64]:
    """[M] of the moves of one position: those that lead to symmetric positions share a number,
    counted in the order of the moves."""
    after = np.empty((len(legal.moves), legal.variant.row_size), np.uint8)
    for index, move in enumerate(legal.moves):
        apply(legal.variant.tables, legal.rows[0], move, after[index])
    groups = canonical_groups(canonical_boards(after, legal.variant))
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    numbers: npt.NDArray[np.int64] = np.argsort(np.argsort(first))[member.ravel()]
    return numbers


def _distances(legal: MoveTable, truth: MoveTruth | None) -> list[tuple[int, int]]:
    """Value and distance of each move, empty where they are not known."""
    if truth is None or legal.exact is None or not legal.exact.known[0]:
        return []
    values, distances = truth.moves(legal.rows, legal.moves, legal.offsets)
    return list(zip(values.tolist(), distances.tolist(), strict=True))


def _entropy(chances: npt.NDArray[np.float64]) -> float:
    present = chances[chances > 0.0]
    return float(abs(-(present * np.log(present)).sum()))


def _line(
    network: VariantNetwork, start: Position, truth: MoveTruth | None, plies: int
) -> tuple[LineMove, ...]:
    """The likeliest move of each position in turn, symmetric ones joined; of equal ones the
    first."""
    position = start.copy()
    found: list[LineMove] = []
    while len(found) < plies and position.legal_moves:
        row: Rows = position.row[None]
        legal = move_table(row, position.variant, truth)
        joined = symmetric_moves(legal)
        chances = np.bincount(joined, np.exp(evaluate(network, legal).policy))
        best = int(np.argmax(joined == chances.argmax()))
        exact = legal.exact
        found.append(
            LineMove(
                move=position.san(int(legal.moves[best])),
                probability=float(chances.max()),
                keeps_value=(
                    bool(exact.keeping[best]) if exact is not None and exact.known[0] else None
                ),
            )
        )
        position.push(int(legal.moves[best]))
    return tuple(found)
