"""Players with endgame tables.

A search that stops at the first proven win may find another one at every move, no nearer to the
end, and so let the move rule draw a won game. So in a covered position that is won or lost, the
move comes from the table itself, by its score at the clock (`search.exact.tablebase.probe`): where
the clock leaves time, the distance to mate falls at every move, else the distance to the next move
that resets the clock (the next zeroing).

Such a player repeats no position itself. But positions that occurred often enough before may be
draws when they occur again, and the opponent may aim for that. Then the table is not enough, and
the game up to the next zeroing is searched, with these positions as draws. Other repetitions do not
matter: a side that can win although repetitions draw can win without repeating.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.player import BatchPlayer, Choice, Limits, Player, legal_moves
from engine.rules.errors import InputError
from engine.rules.history import hash_row
from engine.rules.kernels import apply, generate_batch
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from search.exact.tablebase.tables import Tablebases
from search.scores import LONGEST, NO_SCORE, WIN, value_of_score

MOST_NODES: Final = 20_000
"""Positions that a search around earlier repetitions expands for one move: some seconds."""


class _ZeroingSearch:
    """Whether a position is won up to the next zeroing, with some positions as draws.

    A depth-first and-or search, with the table's best move first. The clock grows with every ply,
    so that no position of the search occurs twice.
    """

    def __init__(self, tablebases: Tablebases, drawn: frozenset[int]) -> None:
        self.drawn = drawn
        self.nodes = 0
        self._tablebases = tablebases
        # The largest clock at which a position is shown to be won, the smallest at which it is not.
        self._won: dict[bytes, int] = {}
        self._not_won: dict[bytes, int] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the search has reached its limit; what it has not shown is then unknown."""
        return self.nodes >= MOST_NODES

    def wins(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the side to move is shown to win the position after a move, given its score."""
        return score > LONGEST and (self._is_beyond(row, score) or self._wins(row))

    def loses(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the side to move is shown to lose the position after a move."""
        return score < -LONGEST and (self._is_beyond(row, score) or self._loses(row))

    def _is_beyond(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the game is over or the clock was reset, so that the table's score is exact."""
        return abs(score) == WIN or row[self._tablebases.variant.squares + CLOCK] == 0

    def _replies(self, row: npt.NDArray[np.uint8]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
        """The positions after all moves with their scores, the lowest first."""
        self.nodes += 1
        tables = self._tablebases.variant.tables
        moves, _ = generate_batch(tables, row[None])
        after = np.empty((len(moves), len(row)), dtype=np.uint8)
        for place, move in enumerate(moves):
            apply(tables, row, move, after[place])
        scores = self._tablebases.scores_at_clock(after)
        return [(int(scores[place]), after[place]) for place in np.argsort(scores, kind="stable")]

    def _is_drawn(self, row: npt.NDArray[np.uint8]) -> bool:
        return int(hash_row(self._tablebases.variant.tables, row)) in self.drawn

    def _wins(self, row: npt.NDArray[np.uint8]) -> bool:
        place = self._tablebases.variant.squares + CLOCK
        key, clock = row[:place].tobytes(), int(row[place])
        if clock <= self._won.get(key, -1):
            return True
        if self.exhausted or clock >= self._not_won.get(key, clock + 1):
            return False
        # A score of NO_SCORE is below all others, and not a loss.
        won = any(
            score != NO_SCORE and not self._is_drawn(after) and self.loses(after, score)
            for score, after in self._replies(row)
        )
        (self._won if won else self._not_won)[key] = clock
        return won

    def _loses(self, row: npt.NDArray[np.uint8]) -> bool:
        if self.exhausted:
            return False
        return all(
            not self._is_drawn(after) and self.wins(after, score)
            for score, after in self._replies(row)
        )


def _drawn_by_repetition(position: Position) -> frozenset[int]:
    """Hashes of the positions whose next occurrence is a draw by the n-fold rule."""
    fold = position.variant.fold_rule
    if not fold:
        return frozenset()
    own = int(hash_row(position.variant.tables, position.row))
    recent = position.hashes[-position.clock :] if position.clock else []
    counts = Counter([*recent, own])
    return frozenset(hash_ for hash_, count in counts.items() if count + 1 >= fold)


def _best_reply(
    position: Position, tablebases: Tablebases, search: _ZeroingSearch
) -> tuple[int, int] | None:
    """The best move and its value for the side that makes it; None where a score is unknown."""
    rows, ends = [], []
    moves = position.legal_moves
    for move in moves:
        position.push(move)
        outcome = position.outcome()
        rows.append(position.row)
        ends.append(None if outcome is None else outcome.value(position.turn) * WIN)
        position.pop()
    known = tablebases.scores_at_clock(np.stack(rows)).tolist()
    scores = [score if end is None else end for score, end in zip(known, ends, strict=True)]
    if NO_SCORE in scores:
        return None
    order = sorted(range(len(moves)), key=scores.__getitem__)
    best = moves[order[0]], scores[order[0]]
    if not search.drawn:
        return best[0], value_of_score(-best[1])
    # The table's order, except for wins and losses that an earlier repetition turns into draws.
    for place in order:
        if search.loses(rows[place], scores[place]):
            return moves[place], 1
    for place in order:
        drawn = scores[place] == 0 or not search.wins(rows[place], scores[place])
        if scores[place] >= 0 and drawn and not search.exhausted:
            return moves[place], 0
    # Nothing better than the table's score is known.
    return best[0], value_of_score(-best[1])


def table_choice(position: Position, tablebases: Tablebases) -> Choice | None:
    """The quickest win or the longest loss that clock and repetitions allow, or a drawing move.

    None where the tables do not cover every move. The game must not be over.
    """
    current = position.copy()
    line: list[int] = []
    search = _ZeroingSearch(tablebases, _drawn_by_repetition(current))
    first = found = _best_reply(current, tablebases, search)
    if first is None:
        return None
    while found is not None and (found[1] != 0 or not line):
        line.append(found[0])
        current.push(found[0])
        if first[1] == 0 or current.outcome() is not None:
            break
        drawn = _drawn_by_repetition(current)
        if drawn != search.drawn:
            search = _ZeroingSearch(tablebases, drawn)
        found = _best_reply(current, tablebases, search)
    value = first[1]
    return Choice(
        move=line[0],
        value=float(value),
        wdl=(float(value == 1), float(value == 0), float(value == -1)),
        principal_variation=tuple(line),
        nodes=1 + search.nodes,
    )


class TablebasePlayer(Player):
    """Plays won and lost endgames from the tables, other positions like another player.

    The searches of the other player probe the tables too.
    """

    def __init__(self, player: Player, tablebases: Tablebases) -> None:
        self.name = player.name
        # Of equally good moves, the tables' choice is the first.
        self.deterministic = player.deterministic
        self._player = player
        self._tablebases = tablebases

    def _known(self, position: Position) -> Choice | None:
        legal_moves(position)
        score = int(self._tablebases.scores_at_clock(position.row[None])[0])
        if score == NO_SCORE or value_of_score(score) == 0:
            return None
        choice = table_choice(position, self._tablebases)
        # Where repetitions have turned a win into a draw, the other player tries to win.
        return None if choice is not None and choice.value == 0 and score > 0 else choice

    def _seen(self, position: Position) -> Position:
        """The position for the other player, with the tables attached."""
        seen = position.copy()
        seen.variant = self._tablebases.attached
        return seen

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the other player raises."""
        known = self._known(position)
        return self._player.choose(self._seen(position), limits) if known is None else known

    def close(self) -> None:
        """Close the other player."""
        self._player.close()


class TablebaseBatchPlayer(TablebasePlayer):
    """The same for players that choose in batches."""

    def __init__(self, player: BatchPlayer, tablebases: Tablebases) -> None:
        super().__init__(player, tablebases)
        self._batch_player = player

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """See BatchPlayer."""
        choices = [self._known(position) for position in positions]
        rest = [
            self._seen(position)
            for position, known in zip(positions, choices, strict=True)
            if known is None
        ]
        found = iter(self._batch_player.choose_batch(rest) if rest else [])
        return [next(found) if known is None else known for known in choices]


class PerfectEndgamePlayer(Player):
    """Plays only the endgames that the tables cover, by the exact value at the clock."""

    name = "perfect"

    def __init__(self, tablebases: Tablebases) -> None:
        self._tablebases = tablebases

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises InputError for a position that the tables do not cover."""
        legal_moves(position)
        choice = table_choice(position, self._tablebases)
        if choice is None:
            raise InputError(
                f"perfect: the tablebases of {position.variant.name} do not know every move of"
                f" '{position.fen()}'"
            )
        return choice


def with_tablebases(player: Player, tablebases: Tablebases) -> Player:
    """The player, with the tables."""
    if isinstance(player, BatchPlayer):
        return TablebaseBatchPlayer(player, tablebases)
    return TablebasePlayer(player, tablebases)
