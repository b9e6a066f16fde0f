"""An external engine as a player, over the Universal Chess Interface and for boards of any size.

python-chess drives engines on 8x8 only, so this is our own client, kept small. An engine is a
foreign program: every wait has a limit, whatever the engine prints or does not print, and `close`
ends every process that the engine has started.
"""

import contextlib
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from search.minimax.material import WIN_SCORE, score_to_value

_START_SECONDS: Final = 10.0
_READY_SECONDS: Final = 60.0
"""Until an engine has loaded what it needs, for instance a network or newly compiled kernels."""
_GRACE_SECONDS: Final = 10.0
"""How long an engine may exceed its time before it counts as dead."""
_LONGEST_SECONDS: Final = 600.0
_QUIT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.01
_GAMES_PATH: Final = "/usr/games:/usr/local/games"
"""Where Debian installs engines, which is often not on the path."""
DEFAULT_LIMITS: Final = Limits(nodes=10_000)
"""Of an engine for which none are given."""

_WORDS: Final = frozenset({"uciok", "readyok", "option", "info", "bestmove"})
"""First words of the lines that are read; all other lines are ignored."""
_LONGEST_LINE: Final = 1 << 16
"""Bytes of a line that are kept; the rest is cut off."""
_LONGEST_WORD: Final = 20
"""Characters of a move that a message quotes."""
_CHUNK: Final = 1 << 16
_MOST_CLOSED: Final = 32
"""Players that are closed at once."""
_NUMBER: Final = r"-?\d{1,15}"


class EngineError(InputError):
    """An external engine that died, does not answer or cannot continue."""


class EngineTimeoutError(EngineError):
    """An external engine that does not answer in time."""


class UciEngine:
    """A running engine: lines in, lines out, and a time limit on every wait.

    The engine leads its own process group, so that its child processes end with it. A terminal's ^C
    does not reach that group: the caller must close the engine.
    """

    def __init__(self, command: str) -> None:
        """Start the process; raises OSError if there is no such program, or EngineError."""
        self.command = command
        try:
            arguments = shlex.split(command)
        except ValueError as problem:
            raise InputError(f"engine command '{command}': {problem}") from None
        if not arguments:
            raise InputError(f"engine command '{command}' is empty")
        if shutil.which(arguments[0]) is None:
            arguments[0] = shutil.which(arguments[0], path=_GAMES_PATH) or arguments[0]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        # Ends the processes at the latest when the interpreter exits.
        self._kill = weakref.finalize(self, _kill_group, self._process.pid, os.getpid())
        self._rest = b""
        self._lines: deque[str] = deque()
        # By their names in lower case: the name as the engine spells it, and a combo's values.
        self.options: dict[str, tuple[str, list[str]]] = {}
        try:
            for stream in (self._stdin, self._stdout):
                os.set_blocking(stream.fileno(), False)
            self._read_options()
        except BaseException:
            self.close()
            raise

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read_options(self) -> None:
        self.send("uci")
        deadline = time.monotonic() + _START_SECONDS
        while (line := self.receive(deadline)) != "uciok":
            match = re.match(r"option\s+name\s+(.+?)\s+type\s+(\w+)(.*)", line or "", re.IGNORECASE)
            if match:
                _, *values = re.split(r"\svar\s", f"{match[3]} ")
                values = [re.sub(r"\s+default\s.*", "", value).strip() for value in values]
                self.options[match[1].casefold()] = match[1], list(filter(None, values))

    def send(self, line: str, seconds: float = _GRACE_SECONDS) -> None:
        """Write a line; raises EngineError if the engine reads no more input."""
        data = line.encode(errors="surrogateescape") + b"\n"
        deadline = time.monotonic() + seconds
        if self._stdin.closed:
            raise self._ended()
        output = select.poll()
        while data:
            try:
                output.register(self._stdin, select.POLLOUT)
                ready = output.poll(max(0.0, 1000 * (deadline - time.monotonic())))
                if ready:
                    data = data[self._stdin.write(data) or 0 :]
            except (OSError, ValueError):
                # Of a closed stream: another thread closes the engine.
                raise self._ended() from None
            if not ready:
                raise EngineTimeoutError(f"the engine '{self.command}' reads no input")

    def receive(self, deadline: float, poll: float | None = None) -> str | None:
        """The next line that UCI knows; None after `poll` seconds without one.

        Its words are separated by single spaces and the first is in lower case. Raises EngineError
        at the deadline (of time.monotonic), even if the engine still prints, or if it has ended.
        """
        until = deadline if poll is None else min(deadline, time.monotonic() + poll)
        if time.monotonic() < deadline:
            while not self._lines and self._take_in(until - time.monotonic()):
                pass
            if self._lines:
                return self._lines.popleft()
            if until < deadline:
                return None
        raise EngineTimeoutError(f"the engine '{self.command}' does not answer")

    def _take_in(self, seconds: float) -> bool:
        """Read what the engine prints, False if that is nothing for `seconds`.

        Raises EngineError at the end of its output.
        """
        if self._stdout.closed:
            raise self._ended()
        output = select.poll()
        try:
            output.register(self._stdout, select.POLLIN)
            if seconds < 0.0 or not output.poll(1000 * seconds):
                return False
            chunk = os.read(self._stdout.fileno(), _CHUNK)
        except BlockingIOError:
            # Another thread, which closes the engine, was faster.
            return True
        except (OSError, ValueError):
            # It has closed the stream.
            raise self._ended() from None
        if not (chunk or self._rest):
            raise self._ended()
        *whole, rest = (self._rest + (chunk or b"\n")).split(b"\n")
        self._rest = rest[:_LONGEST_LINE]
        for line in whole:
            words = line[:_LONGEST_LINE].decode(errors="replace").split()
            if words and words[0].lower() in _WORDS:
                self._lines.append(" ".join([words[0].lower(), *words[1:]]))
        return True

    def _ended(self) -> EngineError:
        try:
            status = self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            return EngineError(f"the engine '{self.command}' has closed its input or output")
        return EngineError(f"the engine '{self.command}' has ended (exit status {status})")

    def synchronise(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until the engine has processed all commands; drops what it has printed until then.

        Raises EngineError.
        """
        self.send("isready")
        deadline = time.monotonic() + seconds
        while self.receive(deadline) != "readyok":
            pass

    def set_option(self, name: str, value: str) -> None:
        """Set an option of the engine.

        The name, and the value of a combo option, are spelled as the engine spells them: UCI
        ignores case, but not every engine does.
        """
        spelled, values = self.options[name.casefold()]
        value = next((v for v in values if v.casefold() == value.casefold()), value)
        self.send(f"setoption name {spelled} value {value}")

    def close(self) -> None:
        """Ask the engine to quit, then end all its processes; a no-op if repeated.

        Takes at most a few times `_QUIT_SECONDS`, even if another process holds the output open.
        """
        if not self._kill.alive:
            return
        try:
            with contextlib.suppress(EngineError):
                self.send("quit", 0.0)
            with contextlib.suppress(OSError):
                self._stdin.close()
            self._wait()
            # Child processes may have outlived the engine.
            _signal_group(self._process.pid, signal.SIGTERM)
            self._wait()
        finally:
            self._kill()
            self._wait()
            self._stdout.close()

    def _wait(self) -> None:
        """Read until all that hold the output have ended, or the time is over."""
        deadline = time.monotonic() + _QUIT_SECONDS
        with contextlib.suppress(EngineError):
            while self._take_in(deadline - time.monotonic()):
                self._lines.clear()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))


def _signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _kill_group(leader: int, owner: int) -> None:
    """Kill a process group; not from a forked child of the process that started it."""
    if os.getpid() == owner:
        _signal_group(leader, signal.SIGKILL)


def close_players(players: Iterable[Player]) -> None:
    """Close players at the same time, so that engines that ignore `quit` are awaited together."""
    players = list(players)
    if players:
        with ThreadPoolExecutor(min(len(players), _MOST_CLOSED)) as pool:
            list(pool.map(lambda player: player.close(), players))


class ExternalPlayer(Player):
    """A UCI engine that knows the variant by name or reads it from a file (VariantPath)."""

    # Not even with a limit of nodes: the protocol does not tell whether an engine uses random
    # numbers, several threads, or its hash table from earlier games.
    deterministic = False

    def __init__(self, command: str, variant: Variant, limits: Limits | None = None) -> None:
        """Start the engine; raises OSError or EngineError. Unless given, 10,000 nodes a move."""
        self.name = f"uci:{command}"
        self._limits = limits or DEFAULT_LIMITS
        self._variant_file: Path | None = None
        self._engine = UciEngine(command)
        try:
            self._choose_variant(variant)
            self.new_game()
        except BaseException:
            self.close()
            raise

    def _choose_variant(self, variant: Variant) -> None:
        options = self._engine.options
        _, known = options.get("uci_variant", ("UCI_Variant", ["chess"]))
        if variant.name.casefold() not in map(str.casefold, known):
            if "variantpath" not in options:
                raise EngineError(
                    f"the engine '{self._engine.command}' does not know '{variant.name}'"
                )
            with tempfile.NamedTemporaryFile(
                "w", suffix=".ini", delete=False, encoding="utf-8"
            ) as file:
                self._variant_file = Path(file.name)
                file.write(variant.ini() + _older_keys(variant))
            self._engine.set_option("VariantPath", file.name)
        if "uci_variant" in options:
            self._engine.set_option("UCI_Variant", variant.name)
        if "uci_showwdl" in options:
            self._engine.set_option("UCI_ShowWDL", "true")

    def new_game(self) -> None:
        """Announce that the next position is of another game; raises EngineError."""
        self._engine.send("ucinewgame")
        self._engine.synchronise()

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises EngineError, and IllegalMoveError for a move against the rules."""
        legal_moves(position)
        limits = limits or self._limits
        # A second answer to an earlier question must not count for this one.
        self._engine.synchronise(_GRACE_SECONDS)
        self._engine.send(_position_command(position))
        self._engine.send(_go_command(limits))
        seconds = _LONGEST_SECONDS if limits.movetime is None else limits.movetime + _GRACE_SECONDS
        deadline = time.monotonic() + seconds
        stopping, info = False, ""
        while True:
            line = self._engine.receive(deadline, _POLL_SECONDS) or ""
            if limits.stop is not None and limits.stop.is_set() and not stopping:
                self._engine.send("stop")
                stopping, deadline = True, time.monotonic() + _GRACE_SECONDS
            kind, _, rest = line.partition(" ")
            if kind == "info":
                info = _newer_info(rest, info)
            elif kind == "bestmove":
                return _read_choice(position, rest, info)

    def close(self) -> None:
        """End the engine."""
        try:
            self._engine.close()
        finally:
            if self._variant_file is not None:
                self._variant_file.unlink(missing_ok=True)


def _newer_info(new: str, old: str) -> str:
    """The newer of two `info` lines with a score of the best variation; bounds count only alone."""
    # After the word `string` comes free text.
    new = re.sub(r"(^| )string( .*|$)", "", new)
    variation = re.search(r"\bmultipv (\d+)", new)
    if " score " not in f" {new}" or (variation is not None and variation[1].lstrip("0") != "1"):
        return old
    return old if old and re.search(r"\b(lower|upper)bound\b", new) else new


def _older_keys(variant: Variant) -> str:
    """The promotion region for Fairy-Stockfish before version 14; later versions ignore the key."""
    last_rank = (1 << variant.width) - 1 << variant.width * (variant.height - 1)
    if variant.promotion_region[0] != last_rank:
        return ""
    return f"promotionRank = {variant.height}\n"


def _position_command(position: Position) -> str:
    current, texts = position.copy(), []
    moves = current.move_stack
    for _ in moves:
        current.pop()
    start = current.fen()
    for move in moves:
        texts.append(current.uci(move))
        current.push(move)
    return f"position fen {start} moves {' '.join(texts)}" if texts else f"position fen {start}"


def _go_command(limits: Limits) -> str:
    milliseconds = None if limits.movetime is None else max(1, round(1000 * limits.movetime))
    numbers = {"nodes": limits.nodes, "depth": limits.depth, "movetime": milliseconds}
    words = [f"{name} {number}" for name, number in numbers.items() if number is not None]
    return " ".join(["go", *(words or ["infinite"])])


def _read_choice(position: Position, answer: str, info: str) -> Choice:
    """The choice in `bestmove` and the last `info` with a score, both without these words."""
    move = _read_move(position, answer)
    score = re.search(rf"\bscore (cp|mate) ({_NUMBER})\b", info)
    value = None
    if score is not None:
        mated = score[2].startswith("-") or int(score[2]) == 0
        decided = -WIN_SCORE if mated else WIN_SCORE
        value = score_to_value(int(score[2]) if score[1] == "cp" else decided)
    shares = re.search(r"\bwdl (\d{1,9}) (\d{1,9}) (\d{1,9})\b", info)
    wdl = None
    if shares is not None and sum(map(int, shares.groups())) > 0:
        win, draw, loss = (int(share) / sum(map(int, shares.groups())) for share in shares.groups())
        wdl = (win, draw, loss)
    nodes = re.search(rf"\bnodes ({_NUMBER})\b", info)
    return Choice(
        move=move,
        value=value,
        wdl=wdl,
        principal_variation=_read_variation(position, move, info),
        nodes=int(nodes[1]) if nodes is not None else 0,
    )


def _read_move(position: Position, answer: str) -> int:
    """The legal move that an engine answers; raises EngineError or IllegalMoveError."""
    word = answer.partition(" ")[0]
    if word.lower() in ("", "(none)", "none", "null", "0000"):
        raise EngineError(
            f"the engine finds no move in '{position.fen()}' ({position.variant.name}):"
            " does it know the rules of this variant?"
        )
    # Some engines write the piece of a promotion in upper case, a few the squares as well.
    with contextlib.suppress(IllegalMoveError):
        return position.parse_uci(word.lower())
    return position.parse_uci(word[:_LONGEST_WORD])


def _read_variation(position: Position, move: int, info: str) -> tuple[int, ...]:
    """The engine's line up to an illegal move; only the move if the line begins with another."""
    _, _, text = info.partition(" pv ")
    current, line = position.copy(), []
    with contextlib.suppress(IllegalMoveError):
        for word in text.split():
            line.append(current.push_uci(word.lower()))
    return tuple(line) if line[:1] == [move] else (move,)
