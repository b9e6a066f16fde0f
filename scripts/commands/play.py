"""`pawnscope play VARIANT`: play on a text board against a network, a search or the truth."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from engine.player import Choice, Player
from engine.rules.errors import IllegalMoveError
from engine.rules.notation.board_text import board_text
from engine.rules.position import Outcome, Position, Termination
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import get_variant
from engine.settings import Natural
from engine.system.termination import Terminated
from scripts.options import EndgameOptions, parse_options
from scripts.players import default_player, player_of
from scripts.progress import say

_COLOURS: Final = ("White", "Black")
_UNFINISHED: Final = "The game was left unfinished."
_HELP: Final = """\
a move   as b1b2 or b2, with a piece's letter as Nf3, castling as O-O, promotion as a8=Q or a7a8q
moves    list the legal moves
hint     ask your opponent what it would play for you
undo     take your last move back
board    show the board again
resign   give the game up
quit     leave (also ^D and ^C)"""
_REASONS: Final = {
    Termination.CHECKMATE: "checkmate",
    Termination.STALEMATE: "{mover} has no legal move",
    Termination.FLAG: "the goal is reached",
    Termination.EXTINCTION: "pieces that must not be lost are gone",
    Termination.INSUFFICIENT_MATERIAL: "nobody can win with the pieces that are left",
    Termination.MOVE_RULE: "too many moves without a capture or a pawn move",
    Termination.REPETITION: "the position was repeated too often",
}


@dataclass(frozen=True, kw_only=True)
class PlayOptions(EndgameOptions):
    """Play a game; only the board in the terminal exists so far."""

    # The game; `pawnscope variants` lists them.
    variant: str
    # Play in the terminal.
    terminal: bool = False
    # Your opponent, as in match; if left out the strongest network known of the game, else the
    # perfect player if the game is solved within a second, else alphabeta:4.
    opponent: str | None = None
    # Your colour.
    colour: Literal["white", "black", "random"] = "white"
    # Seed of the opponent's random choices and of a random colour.
    seed: Natural | None = None


def main(arguments: list[str]) -> int:
    """Play one game on standard input and output."""
    options = parse_options(PlayOptions, "play", arguments)
    variant = get_variant(options.variant)
    rng = np.random.default_rng(options.seed)
    if not options.terminal:
        print("there is no browser board yet; this is the one of --terminal", file=sys.stderr)
    colours = {"white": WHITE, "black": BLACK, "random": int(rng.integers(2))}
    spec = options.opponent
    if spec is None:
        spec, why = default_player(variant, perfect=True)
        say(f"your opponent is {spec} ({why})")
    opponent = player_of(spec, variant, rng, options.tablebases)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        TerminalGame(Position(variant), colours[options.colour], opponent, _ask_person).play()
    except (EOFError, KeyboardInterrupt) as end:
        print(f"\n{_UNFINISHED}")
        if isinstance(end, Terminated):
            raise
    finally:
        opponent.close()
    return 0


def _ask_person(prompt: str) -> str:
    """A line from the person, without blanks around it; raises EOFError."""
    if sys.stdin.isatty():
        # Arrow keys then edit the line.
        import readline  # noqa: F401

        return input(prompt).strip()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    # A terminal shows the prompt and the line; a pipe does not.
    print(f"{prompt}{line.strip()}", flush=True)
    return line.strip()


class TerminalGame:
    """One game between a person and a player, as text."""

    def __init__(
        self, position: Position, colour: int, opponent: Player, ask: Callable[[str], str]
    ) -> None:
        """`colour` is the person's, `ask` shows a prompt and returns what the person typed."""
        self._position = position
        self._colour = colour
        self._opponent = opponent
        self._ask = ask
        self._ending: str | None = None
        self._commands = {
            "moves": self._list_moves,
            "hint": self._hint,
            "undo": self._undo,
            "board": self._show_board,
            "resign": self._resign,
            "help": lambda: print(_HELP),
            "quit": self._quit,
        }

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

    def _obey(self, line: str) -> None:
        if line.lower() in self._commands:
            self._commands[line.lower()]()
        elif line:
            try:
                self._position.push(parse_move(self._position, line))
            except IllegalMoveError as problem:
                print(f"{problem}; try moves or help")

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
        self._ending = f"{result}: you resign, {winner} wins."

    def _quit(self) -> None:
        self._ending = _UNFINISHED

    def _result_text(self, outcome: Outcome) -> str:
        """Who won and why."""
        reason = _REASONS[outcome.termination].format(mover=_COLOURS[self._position.turn])
        if outcome.winner is None:
            return f"{outcome.result}: a draw, {reason}."
        who = "you" if outcome.winner == self._colour else self._opponent.name
        return f"{outcome.result}: {_COLOURS[outcome.winner]} ({who}) wins, {reason}."


def parse_move(position: Position, text: str) -> int:
    """The legal move that the text means, in UCI notation or SAN; raises IllegalMoveError."""
    try:
        return position.parse_uci(text)
    except IllegalMoveError:
        return position.parse_san(text)


def chances_text(choice: Choice, whose: str) -> str:
    """The player's evaluation of its choice, empty if it gives none."""
    if choice.wdl is not None:
        win, draw, loss = choice.wdl
        return f"; {whose} chances: win {win:.0%}, draw {draw:.0%}, loss {loss:.0%}"
    if choice.value is not None:
        return f"; {whose} expected result: {choice.value:+.2f}"
    return ""
