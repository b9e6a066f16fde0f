"""The record of games in progress, in flat arrays, until they end and become rows.

Axes: G games, L rows a game at most, R bytes of a row, S squares, E legal moves of all its rows.

Every step of self-play calls two kernels for all its games; only a game that ends costs Python.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, kernel
from engine.rules.compilation.signatures import Array2D, Array3D
from search.mcts.result import SearchResult
from training.data.shards import NO_REPLY, UNKNOWN_END, GameRows

_MOVES_A_ROW: Final = 12
"""First guess of a pool's size; it grows when games have more moves."""
_SMALLEST_PRIOR: Final = 1e-6
"""Bounds the surprise of a move with a prior near 0."""


class Notes(NamedTuple):
    """The notes of G games; game g has `counts[g]` rows."""

    counts: npt.NDArray[np.int64]
    """[G] rows recorded."""
    plies: npt.NDArray[np.int64]
    """[G] moves played, recorded or not."""
    positions: Array3D[np.uint8]
    """[G, L, R]."""
    starts: Array2D[np.int64]
    """[G, L + 1] where the moves of each row begin in the game's pool."""
    search_wdl: Array3D[np.float32]
    """[G, L, 3]."""
    proven: Array2D[np.int8]
    """[G, L]."""
    surprise: Array2D[np.float32]
    """[G, L]."""
    replies: Array2D[np.uint16]
    """[G, L]."""
    times: Array2D[np.int64]
    """[G, L] the ply of each row."""
    moves: Array2D[np.uint16]
    """[G, E] pools of legal moves."""
    policy: Array2D[np.float32]
    """[G, E] and their shares."""


@kernel
def _note_replies(notes: Notes, moves: npt.NDArray[np.uint16]) -> None:
    """`moves[g]` is about to be played: the reply to the row of one ply ago, if there is one."""
    for game in range(moves.shape[0]):
        last = notes.counts[game] - 1
        if last >= 0 and notes.times[game, last] == notes.plies[game] - 1:
            notes.replies[game, last] = moves[game]


@kernel
def _note_rows(
    notes: Notes,
    positions: Array2D[np.uint8],
    offsets: npt.NDArray[np.int64],
    moves: npt.NDArray[np.uint16],
    policy: npt.NDArray[np.float32],
    priors: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
    proven: npt.NDArray[np.int8],
) -> None:
    """Add a row to every game, with what its search found; the pools must be large enough."""
    for game in range(positions.shape[0]):
        row = notes.counts[game]
        copy_into(notes.positions[game, row], positions[game])
        notes.times[game, row] = notes.plies[game]
        copy_into(notes.search_wdl[game, row], wdl[game])
        notes.proven[game, row] = proven[game]
        notes.replies[game, row] = NO_REPLY
        place = notes.starts[game, row]
        surprise = 0.0
        for index in range(offsets[game], offsets[game + 1]):
            notes.moves[game, place] = moves[index]
            notes.policy[game, place] = policy[index]
            place += 1
            if policy[index] > 0.0:
                prior = max(np.float64(priors[index]), _SMALLEST_PRIOR)
                surprise += policy[index] * np.log(policy[index] / prior)
        notes.surprise[game, row] = max(surprise, 0.0)
        notes.starts[game, row + 1] = place
        notes.counts[game] = row + 1


class Recorder:
    """Records the rows of every game, and returns them with their result when it ends."""

    def __init__(self, games: int, longest: int, row_size: int) -> None:
        """Room for `games` games of at most `longest` rows."""
        self._notes = Notes(
            counts=np.zeros(games, np.int64),
            plies=np.zeros(games, np.int64),
            positions=np.zeros((games, longest, row_size), np.uint8),
            starts=np.zeros((games, longest + 1), np.int64),
            search_wdl=np.zeros((games, longest, 3), np.float32),
            proven=np.zeros((games, longest), np.int8),
            surprise=np.zeros((games, longest), np.float32),
            replies=np.zeros((games, longest), np.uint16),
            times=np.zeros((games, longest), np.int64),
            moves=np.zeros((games, longest * _MOVES_A_ROW), np.uint16),
            policy=np.zeros((games, longest * _MOVES_A_ROW), np.float32),
        )

    @property
    def plies(self) -> npt.NDArray[np.int64]:
        """[G] moves played in each game since it began, without those of a varied start."""
        return self._notes.plies

    def start(self, game: int) -> None:
        """Drop the game's record: a new one begins at its index."""
        self._notes.counts[game] = 0
        self._notes.plies[game] = 0

    def note(
        self,
        positions: npt.NDArray[np.uint8],
        result: SearchResult,
        moves: npt.NDArray[np.uint16],
        *,
        rows: bool,
    ) -> None:
        """Record the `moves` [G] played in `positions` [G, R], which with `rows` become rows."""
        _note_replies(self._notes, moves)
        if rows:
            self._reserve(result)
            found = (result.offsets, result.moves, result.policy, result.priors)
            _note_rows(self._notes, positions, *found, result.wdl, result.proven)
        self._notes.plies[:] += 1

    def _reserve(self, result: SearchResult) -> None:
        """Enlarge the pools where this step's moves would not fit."""
        notes = self._notes
        games = np.arange(len(notes.counts))
        used = notes.starts[games, notes.counts] + np.diff(result.offsets)
        room = notes.moves.shape[1]
        if int(used.max()) > room:
            extra = max(room // 2, int(used.max()) - room)
            self._notes = notes._replace(
                moves=np.pad(notes.moves, ((0, 0), (0, extra))),
                policy=np.pad(notes.policy, ((0, 0), (0, extra))),
            )

    def take(
        self, game: int, value: int, ending: npt.NDArray[np.uint8], *, whole: bool = True
    ) -> GameRows:
        """The rows of a finished game; none if no position was recorded.

        `value` is the result for the side to move in the last position, `ending` [S] its squares.
        The side to move changes at every ply, so the result changes sign with every ply: one ply
        before the end it has the opposite sign. A game that is not `whole` was cut off, resigned or
        adjudicated: its plies left are unknown.
        """
        notes = self._notes
        count = int(notes.counts[game])
        moves = int(notes.starts[game, count])
        plies_left = notes.plies[game] - notes.times[game, :count]
        moves_left = plies_left if whole else np.full_like(plies_left, UNKNOWN_END)
        fields = {
            name: getattr(notes, name)[game, :count].copy()
            for name in ("positions", "search_wdl", "proven", "replies", "surprise")
        }
        return GameRows(
            offsets=notes.starts[game, : count + 1].copy(),
            moves=notes.moves[game, :moves].copy(),
            policy=notes.policy[game, :moves].copy(),
            outcomes=(np.where(plies_left % 2 == 0, 1, -1) * value).astype(np.int8),
            moves_left=moves_left.astype(np.int16),
            endings=np.broadcast_to(ending, (count, len(ending))).copy(),
            games=np.zeros(count, dtype=np.int32),
            **fields,
        )
