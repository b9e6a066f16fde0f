"""A player who knows the endgame tables by heart and searches where they end.

A search that stops at the first proven win may find another one, no nearer to the end, at every
move, and so draw by the move rule what it has won. So where a position is covered and decided, the
move comes from the table itself: the distance falls at every move. Moves by which the game would be
drawn at once, by repetition or by the move rule, count as draws.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from engine.rules.position import Position
from search.limits import Limits
from search.player import Choice, Player, legal_moves
from search.tablebase import UNPROVEN, Tablebases


@runtime_checkable
class BatchChooser(Player, Protocol):
    """A player for whom many positions at once are cheaper than one after the other."""

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from different games."""
        ...


def table_choice(position: Position, tablebases: Tablebases) -> Choice | None:
    """The quickest win or the longest loss; None where the game is drawn or not covered.

    The position is one in which the game goes on.
    """
    walk = position.copy()
    line: list[int] = []
    first = _best_reply(walk, tablebases)
    found = first
    while found is not None and found[1] != 0:
        line.append(found[0])
        walk.push(found[0])
        found = None if walk.outcome() is not None else _best_reply(walk, tablebases)
    if first is None or not line:
        return None
    value = first[1]
    return Choice(
        move=line[0],
        value=float(value),
        wdl=(float(value == 1), 0.0, float(value == -1)),
        principal_variation=tuple(line),
        nodes=1,
    )


def _best_reply(position: Position, tablebases: Tablebases) -> tuple[int, int] | None:
    """The best move and its value for the side that makes it; None where one is not covered."""
    moves = position.legal_moves
    rows, ended = [], []
    for move in moves:
        position.push(move)
        outcome = position.outcome()
        rows.append(position.row)
        ended.append(None if outcome is None else outcome.value(1 - position.turn))
        position.pop()
    values, distances = tablebases.lookup(np.stack(rows))
    best: tuple[tuple[int, int], int] | None = None
    for move, value, distance, end in zip(
        moves, values.tolist(), distances.tolist(), ended, strict=True
    ):
        if value == UNPROVEN and end is None:
            return None
        own = -value if end is None else end
        plies = distance if end is None else 0
        # The winner hurries, the loser delays.
        rank = (own, -plies if own > 0 else plies)
        if best is None or rank > best[0]:
            best = rank, move
    return None if best is None else (best[1], best[0][0])


class TablebasePlayer(Player):
    """Plays decided endgames from the tables, everything else like another player.

    The other player sees the tables too: its searches take up proven values from them.
    """

    def __init__(self, player: Player, tablebases: Tablebases) -> None:
        self.name = player.name
        # A move from the tables is the first of the best.
        self.deterministic = player.deterministic
        self._player = player
        self._tablebases = tablebases

    def _known(self, position: Position) -> Choice | None:
        legal_moves(position)
        values, _ = self._tablebases.lookup(position.row[None])
        if values[0] in (UNPROVEN, 0):
            return None
        return table_choice(position, self._tablebases)

    def _seen(self, position: Position) -> Position:
        """The position as the other player gets it."""
        twin = position.copy()
        twin.variant = self._tablebases.attached
        return twin

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the other player raises."""
        known = self._known(position)
        return self._player.choose(self._seen(position), limits) if known is None else known

    def close(self) -> None:
        """Let go of what the other player holds."""
        self._player.close()


class TablebaseBatchPlayer(TablebasePlayer):
    """The same for players who think about many positions at once."""

    def __init__(self, player: BatchChooser, tablebases: Tablebases) -> None:
        super().__init__(player, tablebases)
        self._chooser = player

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from games that are not over, all at once."""
        choices = [self._known(position) for position in positions]
        rest = [
            self._seen(position)
            for position, known in zip(positions, choices, strict=True)
            if known is None
        ]
        found = iter(self._chooser.choose_batch(rest) if rest else [])
        return [next(found) if known is None else known for known in choices]


def with_tablebases(player: Player, tablebases: Tablebases) -> Player:
    """The player, helped by the tables."""
    if isinstance(player, BatchChooser):
        return TablebaseBatchPlayer(player, tablebases)
    return TablebasePlayer(player, tablebases)
