"""A player of a match, with as many copies as play at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from engine.player import BatchPlayer, Choice, Player
from engine.rules.errors import IllegalMoveError
from search.players.external import EngineError, EngineTimeoutError, ExternalPlayer
from training.evaluation.games.game import Ending, GameInProgress

MakeCopy = Callable[[int], Player]
"""Make another player like A (0) or B (1): to replace one whose engine failed, or for another
process."""


class Side:
    """One player of a match, with as many copies as play at once.

    An external engine follows one game at a time, so each of the parallel games has its own
    process. Other players keep nothing from game to game, and one serves all games.
    """

    def __init__(self, which: int, player: Player, make_copy: MakeCopy | None) -> None:
        self._which, self._make_copy = which, make_copy
        self.is_engine = isinstance(player, ExternalPlayer)
        self._copies: dict[int, Player] = {0: player}
        # Processes to be replaced before their next game, not at once: if the replacement does not
        # start, games that ended are still counted.
        self._failed: set[int] = set()

    def begin_game(self, place: int) -> None:
        """Prepare for a new game; raises what starting an engine raises."""
        copy = self._copy_of(place)
        if copy not in self._copies:
            assert self._make_copy is not None
            self._copies[copy] = self._make_copy(self._which)
        elif copy in self._failed:
            self._replace(copy)
        elif isinstance(player := self._copies[copy], ExternalPlayer):
            try:
                player.new_game()
            except EngineError:
                self._replace(copy)

    def _copy_of(self, place: int) -> int:
        """Players that are no engines serve all games."""
        return place if self.is_engine else 0

    def _replace(self, copy: int) -> None:
        if self._make_copy is not None:
            self._copies[copy].close()
            self._copies[copy] = self._make_copy(self._which)
        self._failed.discard(copy)

    def ask(self, games: Sequence[GameInProgress], pool: ThreadPoolExecutor | None) -> None:
        """Choose a move in each of these games, in which it is to move."""
        if isinstance(self._copies[0], BatchPlayer):
            choices = self._copies[0].choose_batch([game.position for game in games])
            for game, choice in zip(games, choices, strict=True):
                game.play(choice.move)
            return
        # Engines think at the same time; other players choose one by one.
        answers = pool.map(self._answer, games) if pool else map(self._answer, games)
        for game, answer in zip(games, answers, strict=True):
            if isinstance(answer, Choice):
                game.play(answer.move)
            elif isinstance(answer, IllegalMoveError):
                game.forfeit(Ending.ILLEGAL, str(answer))
            else:
                late = isinstance(answer, EngineTimeoutError)
                game.forfeit(Ending.TIME if late else Ending.ILLEGAL, str(answer))
                self._failed.add(self._copy_of(game.place))

    def _answer(self, game: GameInProgress) -> Choice | IllegalMoveError | EngineError:
        player = self._copies[self._copy_of(game.place)]
        try:
            return player.choose(game.position)
        except (IllegalMoveError, EngineError) as problem:
            return problem
