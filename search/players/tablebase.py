"""Players who know the endgame tables by heart.

A search that stops at the first proven win may find another one, no nearer to the end, at every
move, and so draw by the move rule what it has won. So where a position is covered and decided, the
move comes from the table itself, by its score at the clock (`search.exact.tablebase.probe`): the
distance to mate falls at every move where the clock leaves time for it, else the distance to the
next move that resets the clock.

Such a player repeats no position itself. But what stood often enough before it took over is drawn
when it comes up again, and the opponent may head for that. Then the table's word is not enough, and
the game up to the next capture or pawn move is searched, with these positions as draws. No other
repetition needs to be looked at: who can win although repetitions draw wins without repeating.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.errors import InputError
from engine.rules.history import hash_row
from engine.rules.kernels import apply, generate_batch
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from search.exact.tablebase.tables import Tablebases
from search.scores import LONGEST, NO_SCORE, WIN

MOST_NODES: Final = 20_000
"""Positions that the search around earlier repetitions looks at for one move: some seconds."""


@runtime_checkable
class BatchChooser(Player, Protocol):
    """A player for whom many positions at once are cheaper than one after the other."""

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from different games."""
        ...


class _Detour:
    """Who wins from here to the next zeroing move, where some positions are drawn.

    Or-nodes and and-nodes, depth first, the best move by the table first; the clock grows with
    every ply, so that nothing comes back.
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
        """Whether the search has given up: what it has not shown is not known."""
        return self.nodes >= MOST_NODES

    def wins(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the side to move is shown to win the position after a move, given its score."""
        return score > LONGEST and (self._is_beyond(row, score) or self._wins(row))

    def loses(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the side to move is shown to lose the position after a move."""
        return score < -LONGEST and (self._is_beyond(row, score) or self._loses(row))

    def _is_beyond(self, row: npt.NDArray[np.uint8], score: int) -> bool:
        """Whether the game is over or the clock reset: there the table's word is enough."""
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
    position: Position, tablebases: Tablebases, detour: _Detour
) -> tuple[int, int] | None:
    """The best move and its value for the side that makes it; None where one is not known."""
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
    if not detour.drawn:
        return best[0], _value(-best[1])
    # The table's order, but for wins and losses that an earlier repetition turns into draws.
    for place in order:
        if detour.loses(rows[place], scores[place]):
            return moves[place], 1
    for place in order:
        drawn = scores[place] == 0 or not detour.wins(rows[place], scores[place])
        if scores[place] >= 0 and drawn and not detour.exhausted:
            return moves[place], 0
    # Nothing better is known than what the table says.
    return best[0], _value(-best[1])


def _value(score: int) -> int:
    return 1 if score > LONGEST else -1 if score < -LONGEST else 0


def table_choice(position: Position, tablebases: Tablebases) -> Choice | None:
    """The quickest win or the longest loss that clock and repetitions allow, or a drawing move.

    None where a position after a move is not known. The position is one in which the game goes on.
    """
    walk = position.copy()
    line: list[int] = []
    detour = _Detour(tablebases, _drawn_by_repetition(walk))
    first = found = _best_reply(walk, tablebases, detour)
    if first is None:
        return None
    while found is not None and (found[1] != 0 or not line):
        line.append(found[0])
        walk.push(found[0])
        if first[1] == 0 or walk.outcome() is not None:
            break
        drawn = _drawn_by_repetition(walk)
        if drawn != detour.drawn:
            detour = _Detour(tablebases, drawn)
        found = _best_reply(walk, tablebases, detour)
    value = first[1]
    return Choice(
        move=line[0],
        value=float(value),
        wdl=(float(value == 1), float(value == 0), float(value == -1)),
        principal_variation=tuple(line),
        nodes=1 + detour.nodes,
    )


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
        score = int(self._tablebases.scores_at_clock(position.row[None])[0])
        if score == NO_SCORE or _value(score) == 0:
            return None
        choice = table_choice(position, self._tablebases)
        # A win that repetitions have spoilt is the other player's to try for.
        return None if choice is not None and choice.value == 0 and score > 0 else choice

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


class PerfectEndgamePlayer(Player):
    """Plays the endgames that the tables cover, by the exact value at the clock, and no others."""

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
    """The player, helped by the tables."""
    if isinstance(player, BatchChooser):
        return TablebaseBatchPlayer(player, tablebases)
    return TablebasePlayer(player, tablebases)
