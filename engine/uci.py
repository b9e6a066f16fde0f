"""The Universal Chess Interface for every variant: the protocol alone, the player is handed in.

(Meyer-Kahlen, "Description of the universal chess interface", 2006; `UCI_Variant` and `VariantPath`
as in Fairy-Stockfish.) The command lines are read in the caller's thread, a search runs in a
second one. Every `go` is answered by exactly one `bestmove`; whatever cannot be done is answered by
one line of `info string`.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TextIO

from engine.player import Choice, Limits, Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK
from engine.rules.variant import HEXAPAWNS, Variant, get_variant, load_variants, variant_names

FIRST_VARIANT: Final = "chess"
_NO_MOVE: Final = "(none)"
_MOST: Final = 2**31 - 1
"""Nodes or milliseconds; more is as good as no limit."""
_FIRST_NODES: Final = 256
"""Nodes of the first search of an analysis without limits; each next one has twice as many."""
_NO_FILE: Final = "<empty>"
_MOVES_TO_GO: Final = 30
"""Moves that the clock must last for where nobody says."""
_OVERHEAD: Final = 0.03
"""Seconds a move that pass between the engine and the GUI's clock."""
_LEAST_SECONDS: Final = 0.001
_PATIENCE: Final = 10.0
"""Seconds that a search may still take when the input has ended."""
_LARGEST_SCORE: Final = 10_000
_FAREWELL: Final = 5.0
"""Seconds that `quit` waits for a player that does not hear."""
_GO_NUMBERS: Final = frozenset(
    ["nodes", "movetime", "depth", "wtime", "btime", "winc", "binc", "movestogo"]
)
_IGNORED: Final = frozenset(("debug", "register", "ponderhit"))
"""Commands of the protocol that have nothing to do here."""
_AFTER_THE_SEARCH: Final = frozenset(("ucinewgame", "setoption", "position", "go"))
"""Commands that wait until a search under way has ended."""


class UciError(InputError):
    """A command that cannot be carried out; quotes the offending word."""


PlayerFactory = Callable[[Variant], Player]
"""Makes the player of a variant; may raise InputError or OSError."""


def centipawns(value: float) -> int:
    """A value in [-1, 1] as GUIs show it, at most 10,000 either way.

    By Elo's logistic curve, 400 for ten to one: the score of our alpha-beta searches comes out as
    the material that it was.
    """
    win, loss = 1.0 + value, 1.0 - value
    if min(win, loss) <= 0.0:
        return _LARGEST_SCORE if win > loss else -_LARGEST_SCORE
    score = round(400.0 * math.log10(win / loss))
    return max(-_LARGEST_SCORE, min(_LARGEST_SCORE, score))


def clock_share(remaining: float, increment: float, moves_to_go: int | None) -> float:
    """Seconds for this move of a clock with `remaining` seconds and `increment` a move."""
    share = remaining / (moves_to_go or _MOVES_TO_GO) + 0.8 * increment
    share = min(share, 0.5 * remaining)
    return max(_LEAST_SECONDS, 0.5 * share, share - _OVERHEAD)


@dataclass(frozen=True)
class _Running:
    """A search under way."""

    thread: threading.Thread
    stop: threading.Event
    endless: bool


class UciSession:
    """One conversation with a GUI."""

    def __init__(
        self,
        make_player: PlayerFactory,
        name: str,
        output: TextIO,
        texts: Mapping[str, Callable[[str], None]] | None = None,
    ) -> None:
        """`name` is what the engine calls itself; every answer is one write to `output`.

        `texts` are further options of type string. Each is called with its new value, which it may
        refuse by an InputError or OSError; players are then made again.
        """
        self._make_player = make_player
        self._texts = texts or {}
        self._name = name
        self._output = output
        self._writing = threading.Lock()
        self._variant = get_variant(FIRST_VARIANT)
        self._position = Position(self._variant)
        self._players: dict[str, Player] = {}
        self._show_wdl = False
        self._running: _Running | None = None

    def run(self, lines: Iterable[str]) -> None:
        """Obey command lines until `quit` or their end.

        At the end of the input a search that ends by itself is given a little time, so that a
        script can pipe its questions in; `quit` ends it at once.
        """
        try:
            for line in lines:
                words = line.split()
                if words == ["quit"]:
                    return
                if words:
                    self._obey(words)
            if self._running is not None and not self._running.endless:
                self._finish(_PATIENCE)
        finally:
            self._stop([])
            self._finish(_FAREWELL)

    def _obey(self, words: list[str]) -> None:
        commands = {
            "uci": self._introduce,
            "isready": self._confirm,
            "ucinewgame": self._new_game,
            "setoption": self._set_option,
            "position": self._set_position,
            "go": self._go,
            "stop": self._stop,
            "d": self._display,
        }
        if words[0] in _IGNORED:
            return
        try:
            if words[0] not in commands:
                raise UciError(f"unknown command '{words[0]}'")
            if words[0] in _AFTER_THE_SEARCH:
                self._await_search()
            commands[words[0]](words[1:])
        except (InputError, OSError) as problem:
            if isinstance(problem, BrokenPipeError):
                raise
            self._complain(problem)

    def _say(self, line: str) -> None:
        with self._writing:
            self._output.write(line + "\n")
            self._output.flush()

    def _complain(self, problem: Exception) -> None:
        known = isinstance(problem, InputError | OSError)
        name = "" if known else f"{type(problem).__name__}: "
        self._say(f"info string {name}{' '.join(str(problem).split())}")

    def _introduce(self, words: list[str]) -> None:
        self._say(f"id name {self._name}")
        self._say("id author the Pawnscope developers")
        choices = "".join(f" var {name}" for name in (*variant_names(), *HEXAPAWNS))
        self._say(f"option name UCI_Variant type combo default {FIRST_VARIANT}{choices}")
        for name in ("VariantPath", *self._texts):
            self._say(f"option name {name} type string default {_NO_FILE}")
        self._say("option name UCI_ShowWDL type check default false")
        self._say("uciok")

    def _confirm(self, words: list[str]) -> None:
        """Load what the first move would wait for, then answer."""
        if self._running is None or not self._running.thread.is_alive():
            try:
                self._player(self._variant)
            except (InputError, OSError) as problem:
                self._complain(problem)
        self._say("readyok")

    def _player(self, variant: Variant) -> Player:
        if variant.digest not in self._players:
            self._players[variant.digest] = self._make_player(variant)
        return self._players[variant.digest]

    def _new_game(self, words: list[str]) -> None:
        self._position = Position(self._variant)

    def _set_option(self, words: list[str]) -> None:
        if len(words) < 2 or words[0] != "name":
            raise UciError(f"setoption '{' '.join(words)}': expected name NAME value VALUE")
        split = words.index("value") if "value" in words else len(words)
        name, value = " ".join(words[1:split]), " ".join(words[split + 1 :])
        match name.lower():
            case "uci_variant":
                self._set_variant(value)
            case "variantpath":
                if value and value != _NO_FILE:
                    names = load_variants(value)
                    self._say(f"info string loaded {' '.join(names)}")
            case "uci_showwdl":
                if value not in ("true", "false"):
                    raise UciError(f"UCI_ShowWDL is '{value}', expected true or false")
                self._show_wdl = value == "true"
            case key:
                changes = {option.lower(): change for option, change in self._texts.items()}
                if key not in changes:
                    raise UciError(f"no such option '{name}'")
                changes[key]("" if value == _NO_FILE else value)
                self._players.clear()

    def _set_variant(self, name: str) -> None:
        self._variant = get_variant(name)
        self._position = Position(self._variant)
        # Fairy-Stockfish tells GUIs the board in these words.
        self._say(
            f"info string variant {name} files {self._variant.width} ranks {self._variant.height}"
            f" pocket 0 template fairy startpos {self._variant.start_fen}"
        )

    def _set_position(self, words: list[str]) -> None:
        """Take the new position; where any of it is wrong the old one stays."""
        split = words.index("moves") if "moves" in words else len(words)
        start, moves = words[:split], words[split + 1 :]
        if start == ["startpos"]:
            position = Position(self._variant)
        elif start[:1] == ["fen"]:
            position = Position(self._variant, " ".join(start[1:]))
        else:
            raise UciError(f"position '{' '.join(start)}': expected startpos or fen FEN")
        for text in moves:
            position = position.continued()
            position.push_uci(text)
        self._position = position

    def _display(self, words: list[str]) -> None:
        position = self._position
        moves = " ".join(position.uci(move) for move in position.legal_moves)
        self._say(f"{position}\nFen: {position.fen()}\nLegal moves: {moves}")

    def _go(self, words: list[str]) -> None:
        position = self._position.continued()
        try:
            limits = parse_go(words, position.turn)
        except UciError as problem:
            self._complain(problem)
            self._say(f"bestmove {_NO_MOVE}")
            return
        stop = threading.Event()
        # The answer to `go infinite` waits for `stop`, even if the search has ended before.
        asked = position, replace(limits, stop=stop), "infinite" in words
        thread = threading.Thread(target=self._search, args=asked, daemon=True)
        self._running = _Running(thread, stop, limits.endless)
        thread.start()

    def _search(self, position: Position, limits: Limits, infinite: bool) -> None:
        """Answer one `go`, in the second thread."""
        # A GUI that has gone away closes the input as well; that ends the session.
        with contextlib.suppress(BrokenPipeError):
            answer = _NO_MOVE
            try:
                if position.legal_moves:
                    answer = position.uci(self._choose(position, limits))
            except Exception as problem:
                self._complain(problem)
            if infinite and answer != _NO_MOVE and limits.stop is not None:
                limits.stop.wait()
            self._say(f"bestmove {answer}")

    def _choose(self, position: Position, limits: Limits) -> int:
        """The player's move; what it finds on the way there is reported."""
        player = self._player(position.variant)
        start = time.monotonic()
        for choice in _choices(player, position.copy(), limits):
            seconds = time.monotonic() - start
            self._say(info_line(position, choice, seconds, wdl=self._show_wdl))
        return choice.move

    def _stop(self, words: list[str]) -> None:
        if self._running is not None:
            self._running.stop.set()

    def _await_search(self) -> None:
        """Wait for the end of the search; one that never ends is stopped."""
        if self._running is not None and self._running.endless:
            self._running.stop.set()
        self._finish(None)

    def _finish(self, patience: float | None) -> None:
        if self._running is not None:
            self._running.thread.join(patience)
            if not self._running.thread.is_alive():
                self._running = None


def _choices(player: Player, position: Position, limits: Limits) -> Iterator[Choice]:
    """The player's choice; without an end, several, each from a search twice as long."""
    if not limits.endless or limits.stop is None:
        yield player.choose(position, limits)
        return
    nodes = _FIRST_NODES
    best = latest = player.choose(position, replace(limits, nodes=nodes))
    while not limits.stop.is_set() and latest.nodes >= nodes:
        yield best
        nodes *= 2
        latest = player.choose(position, replace(limits, nodes=nodes))
        if latest.nodes >= best.nodes:
            best = latest
    yield best


def parse_go(words: list[str], turn: int) -> Limits:
    """The limits of a `go` command for the side to move; raises UciError."""
    numbers: dict[str, int] = {}
    rest = iter(words)
    for word in rest:
        if word in ("infinite", "ponder"):
            continue
        if word not in _GO_NUMBERS:
            raise UciError(f"go: cannot do '{word}'")
        text = next(rest, "")
        if not text.removeprefix("-").isdecimal():
            raise UciError(f"go: {word} '{text}' is not a whole number")
        numbers[word] = min(int(text), _MOST)
    for word in ("nodes", "depth", "movetime", "movestogo"):
        if numbers.get(word, 1) < 1:
            raise UciError(f"go: {word} '{numbers[word]}' is not above 0")
    if "infinite" in words:
        return Limits()
    own = "b" if turn == BLACK else "w"
    seconds = numbers["movetime"] / 1000 if "movetime" in numbers else None
    if seconds is None and f"{own}time" in numbers:
        seconds = clock_share(
            numbers[f"{own}time"] / 1000,
            numbers.get(f"{own}inc", 0) / 1000,
            numbers.get("movestogo"),
        )
    return Limits(nodes=numbers.get("nodes"), depth=numbers.get("depth"), movetime=seconds)


def info_line(position: Position, choice: Choice, seconds: float, *, wdl: bool) -> str:
    """The `info` line of a thought `seconds` after its beginning; `wdl` adds chances per mille."""
    shown, texts = position.copy(), []
    for move in choice.principal_variation or (choice.move,):
        texts.append(shown.uci(move))
        shown.push(move)
    words = ["info", "depth", str(len(texts))]
    if choice.value is not None and abs(choice.value) == 1.0 and shown.outcome() is not None:
        # Counted in moves of the winner; negative for the side that loses.
        mate = (len(texts) + 1) // 2
        words += ["score", "mate", str(mate if choice.value > 0 else -mate)]
    elif choice.value is not None:
        words += ["score", "cp", str(centipawns(choice.value))]
    if wdl and choice.wdl is not None:
        win, loss = round(1000 * choice.wdl[0]), round(1000 * choice.wdl[2])
        words += ["wdl", str(win), str(1000 - win - loss), str(loss)]
    words += ["nodes", str(choice.nodes), "nps", str(round(choice.nodes / max(seconds, 1e-3)))]
    return " ".join([*words, "time", str(round(1000 * seconds)), "pv", *texts])
