"""Samples of positions to probe on: of a solved game, of self-play games, or of random ones."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Boards, Groups, Rows, canonical_boards, canonical_groups
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant

Games = npt.NDArray[np.integer]
"""[N] the game of each position, counted from 0."""

_SPARE: Final = 4
"""Positions of self-play that are read before games are drawn: so many times those wanted."""
_LONGEST_GAME: Final = 300
"""Moves after which a random game is abandoned."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """N positions to probe on; G canonical positions among them."""

    # uint8[N, R].
    rows: Rows
    # uint8[N, S] canonical boards.
    boards: Boards
    # int64[N] the canonical position of each row, 0 .. G - 1.
    groups: Groups
    # int64[N] the game of each row; None where they are not from games.
    games: npt.NDArray[np.int64] | None
    # Where the positions are from, for the report.
    source: str
    # Whether they are all positions of a solved game.
    census: bool = False
    # bool[N] which of them occur in self-play; None where that is not known.
    self_play: npt.NDArray[np.bool_] | None = None

    @classmethod
    def from_rows(
        cls, rows: Rows, variant: Variant, games: Games | None = None, source: str = ""
    ) -> Self:
        """A sample of rows uint8[N, R], with games [N] where they are known."""
        boards = canonical_boards(rows, variant)
        return cls(
            rows=np.ascontiguousarray(rows),
            boards=boards,
            groups=canonical_groups(boards),
            games=None if games is None else games.astype(np.int64),
            source=source,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def marking_self_play(self, shards: Iterable[Rows], variant: Variant) -> Self:
        """The same positions, marked where they or symmetric ones occur in self-play.

        The shards of self-play uint8[M, R] are read one at a time.
        """
        wanted = _whole_boards(self.boards)
        marks = np.zeros(len(self), bool)
        for rows in shards:
            marks |= np.isin(wanted, np.unique(_whole_boards(canonical_boards(rows, variant))))
        return dataclasses.replace(self, self_play=marks)

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Only some of the positions, in this order; canonical positions are numbered anew."""
        return dataclasses.replace(
            self,
            rows=self.rows[rows],
            boards=self.boards[rows],
            groups=np.unique(self.groups[rows], return_inverse=True)[1].ravel(),
            games=None if self.games is None else self.games[rows],
            self_play=None if self.self_play is None else self.self_play[rows],
        )

    @property
    def distinct(self) -> int:
        """G."""
        return int(self.groups.max(initial=-1)) + 1


def _whole_boards(boards: Boards) -> npt.NDArray[np.void]:
    """[N] one value a board [N, S]."""
    contiguous = np.ascontiguousarray(boards)
    return contiguous.view(np.dtype((np.void, contiguous.shape[1]))).ravel()


def draw_positions(rows: Rows, variant: Variant, wanted: int, rng: np.random.Generator) -> Sample:
    """Of a solved game's reachable unfinished positions uint8[N, R] all, or `wanted` at random."""
    count = len(rows)
    if count <= wanted:
        source = f"all {count:,} reachable unfinished positions of the solved game"
        return dataclasses.replace(Sample.from_rows(rows, variant, source=source), census=True)
    drawn = rows[np.sort(rng.choice(count, wanted, replace=False))]
    source = f"a random {wanted:,} of {count:,} reachable unfinished positions"
    return Sample.from_rows(drawn, variant, source=source)


def draw_games(
    shards: Iterable[tuple[Rows, Games]], variant: Variant, wanted: int, rng: np.random.Generator
) -> Sample:
    """Whole self-play games, drawn at random until they have `wanted` positions.

    The shards arrive in random order, each with its positions uint8[N, R] and their games [N]; no
    more of them are read than needed.
    """
    rows: list[Rows] = []
    games: list[Games] = []
    total = game_count = 0
    for shard_rows, shard_games in shards:
        rows.append(shard_rows)
        games.append(shard_games.astype(np.int64) + game_count)
        total += len(shard_rows)
        game_count += int(shard_games.max(initial=-1)) + 1
        if total >= _SPARE * wanted:
            break
    all_rows, all_games = np.concatenate(rows), np.concatenate(games)
    sizes = np.bincount(all_games)
    drawn = rng.permutation(len(sizes))
    drawn = drawn[: np.searchsorted(np.cumsum(sizes[drawn]), wanted) + 1]
    kept = np.isin(all_games, drawn)
    source = f"{int(kept.sum()):,} positions of {len(drawn):,} self-play games of the run"
    return Sample.from_rows(all_rows[kept], variant, all_games[kept], source)


def play_random_games(variant: Variant, wanted: int, rng: np.random.Generator) -> Sample:
    """At least `wanted` unfinished positions of games of random moves.

    Raises InputError where the start position is finished.
    """
    rows: list[Rows] = []
    games: list[int] = []
    game = 0
    if not Position(variant).legal_moves:
        raise InputError(f"{variant.name}: its games are over at the start")
    while len(rows) < wanted:
        position = Position(variant)
        for _ in range(_LONGEST_GAME):
            moves = position.legal_moves
            if not moves:
                break
            rows.append(position.row)
            games.append(game)
            position.push(moves[int(rng.integers(len(moves)))])
        game += 1
    source = f"{len(rows):,} positions of {game:,} games of random moves"
    return Sample.from_rows(np.stack(rows), variant, np.array(games), source)
