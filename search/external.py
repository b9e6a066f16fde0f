"""An external engine as a player, over the Universal Chess Interface and for boards of any size.

python-chess drives engines on 8x8 only, so this is a client of our own, as small as it can be.
"""

import contextlib
import queue
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Final

from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from search.limits import Limits
from search.material import WIN_SCORE, score_to_value
from search.player import Choice, Player, legal_moves

_START_SECONDS: Final = 10.0
_READY_SECONDS: Final = 60.0
"""Until an engine has loaded what it needs, for instance a network or newly compiled kernels."""
_GRACE_SECONDS: Final = 10.0
"""How long an engine may think past its time before it counts as dead."""
_LONGEST_SECONDS: Final = 600.0
_QUIT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.01
_GAMES_PATH: Final = "/usr/games:/usr/local/games"
"""Where Debian puts engines, which is not on everybody's path."""
_DEFAULT_LIMITS: Final = Limits(nodes=10_000)


class EngineError(InputError):
    """An external engine that died, keeps silent or cannot go on."""


class EngineTimeoutError(EngineError):
    """An external engine that keeps silent for too long."""


class UciEngine:
    """A running engine: lines in, lines out, and a time limit on every wait."""

    def __init__(self, command: str) -> None:
        """Start the process; raises OSError where there is no such program, or EngineError."""
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
            text=True,
            bufsize=1,
            errors="replace",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        # Name of each option to the values that it offers, empty where it offers none.
        self.options: dict[str, list[str]] = {}
        try:
            self._shake_hands()
        except EngineError:
            self.close()
            raise

    def _read(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._lines.put(line.strip())
        self._lines.put(None)

    def _shake_hands(self) -> None:
        self.send("uci")
        deadline = time.monotonic() + _START_SECONDS
        while (line := self.receive(deadline)) != "uciok":
            match = re.match(r"option name (.+?) type (\w+)(.*)", line or "")
            if match:
                self.options[match[1]] = re.findall(r"\bvar (\S+)", match[3])

    def send(self, line: str) -> None:
        """Write a line; raises EngineError where nobody reads it any more."""
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            raise self._died() from None

    def receive(self, deadline: float, poll: float | None = None) -> str | None:
        """The next line; None after `poll` seconds without one.

        Raises EngineError at the deadline (of time.monotonic) or where the engine has died.
        """
        left = deadline - time.monotonic()
        try:
            line = self._lines.get(timeout=max(0.0, left if poll is None else min(left, poll)))
        except queue.Empty:
            if time.monotonic() < deadline:
                return None
            raise EngineTimeoutError(f"the engine '{self.command}' does not answer") from None
        if line is None:
            raise self._died()
        return line

    def _died(self) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_QUIT_SECONDS)
        status = self._process.returncode
        return EngineError(f"the engine '{self.command}' has ended (exit status {status})")

    def synchronise(self) -> None:
        """Wait until the engine has done what it was told."""
        self.send("isready")
        deadline = time.monotonic() + _READY_SECONDS
        while self.receive(deadline) != "readyok":
            pass

    def set_option(self, name: str, value: str) -> None:
        """Set a UCI option."""
        self.send(f"setoption name {name} value {value}")

    def close(self) -> None:
        """Ask the process to quit, and end it where it does not."""
        with contextlib.suppress(EngineError):
            self.send("quit")
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_QUIT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class ExternalPlayer(Player):
    """A UCI engine that knows the variant by name or reads it from a file (VariantPath)."""

    # Not even with a limit of nodes: nothing in the protocol tells whether an engine draws random
    # numbers, searches in several threads or keeps its hash table from game to game.
    deterministic = False

    def __init__(self, command: str, variant: Variant, limits: Limits | None = None) -> None:
        """Start the engine; raises OSError or EngineError. 10,000 nodes a move by default."""
        self.name = f"uci:{command}"
        self._limits = limits or _DEFAULT_LIMITS
        self._variant_file: Path | None = None
        self._engine = UciEngine(command)
        try:
            self._choose_variant(variant)
            self.new_game()
        except EngineError:
            self.close()
            raise

    def _choose_variant(self, variant: Variant) -> None:
        options = self._engine.options
        if variant.name not in options.get("UCI_Variant", ["chess"]):
            if "VariantPath" not in options:
                raise EngineError(
                    f"the engine '{self._engine.command}' does not know '{variant.name}'"
                )
            with tempfile.NamedTemporaryFile("w", suffix=".ini", delete=False) as file:
                file.write(variant.ini() + _older_keys(variant))
            self._variant_file = Path(file.name)
            self._engine.set_option("VariantPath", file.name)
        if "UCI_Variant" in options:
            self._engine.set_option("UCI_Variant", variant.name)
        if "UCI_ShowWDL" in options:
            self._engine.set_option("UCI_ShowWDL", "true")

    def new_game(self) -> None:
        """Say that the next position is of another game; raises EngineError."""
        self._engine.send("ucinewgame")
        self._engine.synchronise()

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises EngineError, and IllegalMoveError for a move against the rules."""
        legal_moves(position)
        limits = limits or self._limits
        self._engine.send(_position_command(position))
        self._engine.send(_go_command(limits))
        seconds = _LONGEST_SECONDS if limits.movetime is None else limits.movetime + _GRACE_SECONDS
        deadline = time.monotonic() + seconds
        stopping, info = False, ""
        while True:
            line = self._engine.receive(deadline, _POLL_SECONDS)
            if limits.stop is not None and limits.stop.is_set() and not stopping:
                self._engine.send("stop")
                stopping, deadline = True, time.monotonic() + _GRACE_SECONDS
            if line is not None and line.startswith("info ") and " score " in line:
                info = line
            if line is not None and line.startswith("bestmove"):
                return _read_choice(position, line, info)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()
        if self._variant_file is not None:
            self._variant_file.unlink(missing_ok=True)


def _older_keys(variant: Variant) -> str:
    """What Fairy-Stockfish before version 14 calls a promotion region (later ones pass over it)."""
    last_rank = (1 << variant.width) - 1 << variant.width * (variant.height - 1)
    if variant.promotion_region[0] != last_rank:
        return ""
    return f"promotionRank = {variant.height}\n"


def _position_command(position: Position) -> str:
    walk, texts = position.copy(), []
    moves = walk.move_stack
    for _ in moves:
        walk.pop()
    start = walk.fen()
    for move in moves:
        texts.append(walk.uci(move))
        walk.push(move)
    return f"position fen {start} moves {' '.join(texts)}" if texts else f"position fen {start}"


def _go_command(limits: Limits) -> str:
    words = ["go"]
    if limits.nodes is not None:
        words.append(f"nodes {limits.nodes}")
    if limits.depth is not None:
        words.append(f"depth {limits.depth}")
    if limits.movetime is not None:
        words.append(f"movetime {max(1, round(1000 * limits.movetime))}")
    return " ".join(words if len(words) > 1 else ["go", "infinite"])


def _read_choice(position: Position, line: str, info: str) -> Choice:
    """What `bestmove` and the last `info` with a score say."""
    words = line.split()
    if len(words) < 2 or words[1] in ("(none)", "0000"):
        raise EngineError(
            f"the engine finds no move in '{position.fen()}' ({position.variant.name}):"
            " does it know the rules of this variant?"
        )
    move = position.parse_uci(words[1])
    score = re.search(r"\bscore (cp|mate) (-?\d+)", info)
    value = None
    if score is not None:
        mated = score[2].startswith("-") or score[2] == "0"
        decided = -WIN_SCORE if mated else WIN_SCORE
        value = score_to_value(int(score[2]) if score[1] == "cp" else decided)
    shares = re.search(r"\bwdl (\d+) (\d+) (\d+)", info)
    wdl = None
    if shares is not None and sum(map(int, shares.groups())) > 0:
        win, draw, loss = (int(share) / sum(map(int, shares.groups())) for share in shares.groups())
        wdl = (win, draw, loss)
    nodes = re.search(r"\bnodes (\d+)", info)
    return Choice(
        move=move,
        value=value,
        wdl=wdl,
        principal_variation=_read_variation(position, move, info),
        nodes=int(nodes[1]) if nodes is not None else 0,
    )


def _read_variation(position: Position, move: int, info: str) -> tuple[int, ...]:
    """The engine's line as far as it is legal, the move alone where the line begins otherwise."""
    _, _, text = info.partition(" pv ")
    walk, line = position.copy(), []
    with contextlib.suppress(IllegalMoveError):
        for word in text.split():
            line.append(walk.push_uci(word))
    return tuple(line) if line[:1] == [move] else (move,)
