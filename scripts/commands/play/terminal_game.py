"""A game in the terminal: the board as text, moves and words as a person types them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.player import Choice, Player
from engine.rules.errors import IllegalMoveError
from engine.rules.notation.board_text import board_text
from engine.rules.pgn import GameRecord, write_pgn
from engine.rules.position import Outcome, Position, Termination
from engine.rules.tables import BLACK, WHITE
from engine.system.files import described
from scripts.commands.play.record import GameTags, append_game, record_of

_COLOURS: Final = ("White", "Black")
UNFINISHED: Final = "The game was left unfinished."
_HELP: Final = """\
a move     as b1b2 or b2, with a piece's letter as Nf3, castling as O-O, promotion as a8=Q or a7a8q
moves      list the legal moves
hint       ask your opponent what it would play for you
undo       take your last move back
board      show the board again
pgn        show the game so far as PGN
save FILE  add the game so far to a PGN file
resign     give the game up
quit       leave (also ^D and ^C)"""
_AFTERWARDS: Final = "save FILE or pgn to keep the game, Enter to leave: "
_REASONS: Final = {
    Termination.CHECKMATE: "checkmate",
    Termination.STALEMATE: "{mover} has no legal move",
    Termination.FLAG: "the goal is reached",
    Termination.EXTINCTION: "pieces that must not be lost are gone",
    Termination.INSUFFICIENT_MATERIAL: "nobody can win with the pieces that are left",
    Termination.MOVE_RULE: "too many moves without a capture or a pawn move",
    Termination.REPETITION: "the position was repeated too often",
}


class TerminalGame:
    """One game between a person and a player, as text."""

    def __init__(
        self,
        position: Position,
        colour: int,
        opponent: Player,
        ask: Callable[[str], str],
        tags: GameTags | None = None,
    ) -> None:
        """`colour` is the person's, `ask` shows a prompt and returns what the person typed.

        `tags` are those of the game's PGN.
        """
        self._position = position
        self._colour = colour
        self._opponent = opponent
        self._ask = ask
        self._tags = tags or GameTags.of(opponent.name, colour)
        # What was printed of the end; None while the game goes on.
        self._ending: str | None = None
        # What the person did.
        self._resigned = self._left = False
        self._commands = {
            "moves": self._list_moves,
            "hint": self._hint,
            "undo": self._undo,
            "board": self._show_board,
            "pgn": self._show_pgn,
            "resign": self._resign,
            "help": lambda: print(_HELP),
            "quit": self._quit,
        }

    @property
    def over(self) -> bool:
        """Whether it was played to its end, was resigned or was left by the word for that."""
        return self._ending is not None

    def record(self) -> GameRecord:
        """The game so far."""
        return record_of(self._position, self._tags, resigned=self._resigned)

    def play(self) -> None:
        """Play until the game is over; raises EOFError if the input ends before."""
        print(
            f"{self._position.variant.name}: you have {_COLOURS[self._colour]},"
            f" {self._opponent.name} has {_COLOURS[1 - self._colour]}."
            " Type a move, or help.\n"
        )
        self._show_board()
        while self._ending is None:
            if self._position.turn == self._colour:
                self._obey(self._ask(f"{_COLOURS[self._colour]}, your move: "))
            else:
                self._answer()
            outcome = self._position.outcome()
            if outcome is not None:
                if self._position.turn != self._colour:
                    self._show_board()
                self._ending = self._result_text(outcome)
        print(self._ending)

    def keep(self) -> None:
        """After the end: offer to save or show the game, until the person leaves."""
        if not self._position.move_stack or self._left:
            return
        while line := self._ask(_AFTERWARDS):
            word = line.split()[0].lower()
            if word == "quit":
                return
            if word in ("save", "pgn", "board"):
                self._obey(line)
            else:
                print("the game is over: save FILE, pgn, board or quit")

    def _obey(self, line: str) -> None:
        word, *rest = line.split(None, 1) or [""]
        if line.lower() in self._commands:
            self._commands[line.lower()]()
        elif word.lower() == "save":
            self._save(rest[0] if rest else "")
        elif line:
            try:
                self._position.push_text(line)
            except IllegalMoveError as problem:
                print(f"{problem}; try moves or help")

    def _show_pgn(self) -> None:
        print(write_pgn(self.record()).rstrip("\n"))

    def _save(self, name: str) -> None:
        if not name:
            print("save needs the name of a file, as in: save games.pgn")
            return
        path = Path(name).expanduser()
        try:
            append_game(path, self.record())
        except (OSError, RuntimeError) as problem:
            # Without HOME there is no "~".
            why = described(problem) if isinstance(problem, OSError) else str(problem)
            print(f"the game is not saved: {why}")
        else:
            print(f"the game is added to {path}")

    def _answer(self) -> None:
        choice = self._opponent.choose(self._position)
        text = self._position.san(choice.move)
        self._position.push(choice.move)
        print(f"\n{_COLOURS[1 - self._colour]} plays {text}{chances_text(choice, 'its')}\n")
        self._show_board()

    def _show_board(self) -> None:
        flipped = self._colour == BLACK
        print(board_text(self._position.row, self._position.variant, flipped=flipped) + "\n")

    def _list_moves(self) -> None:
        print(" ".join(self._position.san(move) for move in self._position.legal_moves))

    def _hint(self) -> None:
        choice = self._opponent.choose(self._position)
        text = self._position.san(choice.move)
        print(f"hint: {text}{chances_text(choice, 'your')}")

    def _undo(self) -> None:
        if len(self._position.move_stack) < 2:
            print("you have no move to take back")
            return
        self._position.pop()
        self._position.pop()
        self._show_board()

    def _resign(self) -> None:
        result = "0-1" if self._colour == WHITE else "1-0"
        winner = f"{_COLOURS[1 - self._colour]} ({self._opponent.name})"
        self._resigned = True
        self._ending = f"{result}: you resign, {winner} wins."

    def _quit(self) -> None:
        self._left, self._ending = True, UNFINISHED

    def _result_text(self, outcome: Outcome) -> str:
        """Who won and why."""
        reason = _REASONS[outcome.termination].format(mover=_COLOURS[self._position.turn])
        if outcome.winner is None:
            return f"{outcome.result}: a draw, {reason}."
        who = "you" if outcome.winner == self._colour else self._opponent.name
        return f"{outcome.result}: {_COLOURS[outcome.winner]} ({who}) wins, {reason}."


def chances_text(choice: Choice, whose: str) -> str:
    """The player's evaluation of its choice, empty if it gives none."""
    if choice.wdl is not None:
        win, draw, loss = choice.wdl
        return f"; {whose} chances: win {win:.0%}, draw {draw:.0%}, loss {loss:.0%}"
    if choice.value is not None:
        return f"; {whose} expected result: {choice.value:+.2f}"
    return ""
