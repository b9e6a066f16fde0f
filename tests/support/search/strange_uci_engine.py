"""UCI engines that misbehave, for tests: `strange_uci_engine.py MODE [FILE]`.

FILE gets the number of a process that must not be left behind.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable

HELLO = b"option name UCI_Variant type combo default chess var chess var gardner\nuciok\n"
SHOUTED = (
    b"Option  name uci_VARIANT type combo var Chess var GARDNER default Chess\r\n"
    b"option name uci_showwdl type check default false\r\nUCIOK\r\n"
)
SLEEPER = "import os, signal, time; {ignore}os.write({pipe}, b'x'); time.sleep(1000)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "

GO: dict[str, bytes] = {
    "multipv": (
        b"info depth 2 multipv 1 score cp 400 wdl 900 100 0 nodes 5 pv b2a3\n"
        b"info depth 2 multipv 2 score cp -400 wdl 0 100 900 nodes 6 pv a2a3\n"
        b"bestmove b2a3\n"
    ),
    "string": b"info score cp 400 nodes 5\ninfo string score cp -900\nbestmove b2a3\n",
    "bound": (b"info score cp 400 nodes 5\ninfo score cp -900 upperbound nodes 9\nbestmove b2a3\n"),
    "shouting": b"INFO depth 1 score cp 400 nodes 5 pv B2A3\r\nBestMove  B2A3 ponder (none)\r\n",
    "noise": b"\xff\xfe\x00 what?\n\n" + b"x" * 200_000 + b"\ninfo score cp 400\nbestmove b2a3\n",
    "digits": b"info score cp 400 nodes " + b"9" * 5_000 + b"\nbestmove b2a3\n",
    "twice": b"info score cp 400\nbestmove b2a3\nbestmove a2a3\n",
    "capital": b"bestmove a4a5Q\n",
    "null": b"bestmove NULL\n",
    "empty": b"bestmove\n",
}


def say(text: bytes) -> None:
    """Write at once."""
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def note(number: int) -> None:
    """Put a process's number into FILE."""
    with open(sys.argv[2] + ".tmp", "w", encoding="utf-8") as file:
        file.write(str(number))
    os.replace(sys.argv[2] + ".tmp", sys.argv[2])


def start_helper(*, deaf: bool) -> None:
    """A process that holds our standard output for a long time."""
    # It has a pipe by which it says that it has begun.
    ours, theirs = os.pipe()
    program = SLEEPER.format(ignore=DEAF if deaf else "", pipe=theirs)
    helper = subprocess.Popen([sys.executable, "-S", "-c", program], pass_fds=[theirs])
    os.read(ours, 1)
    note(helper.pid)


def spam(line: bytes) -> None:
    """The same for ever."""
    while True:
        say(line * 100)


def fall_silent() -> None:
    """Close standard output and live on."""
    note(os.getpid())
    os.close(1)
    time.sleep(1000)


def hang() -> None:
    """Think without end, deaf to everything but SIGKILL."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(os.getpid())
    time.sleep(1000)


def answer_late() -> None:
    """Answer a second time, after a moment."""
    say(b"bestmove b2a3\n")
    time.sleep(0.05)
    say(b"bestmove a2a3\n")


AT_GO: dict[str, Callable[[], None]] = {
    "spam": lambda: spam(b"info depth 1 nodes 1\n"),
    "chatter": lambda: spam(b"hello\n"),
    "endless line": lambda: spam(b"bestmov"),
    "fall silent": fall_silent,
    "hang": hang,
    "late": answer_late,
}


def main(mode: str) -> None:
    """Answer until the end of the input."""
    if mode.endswith("helper"):
        start_helper(deaf=mode.startswith("deaf"))
    if mode == "mute":
        note(os.getpid())
        time.sleep(1000)
    for line in sys.stdin:
        word = line.split()[0]
        if word == "uci":
            say(SHOUTED if mode == "shouting" else HELLO)
        elif word == "isready":
            say(b"readyok\n")
        elif word == "setoption" and mode == "shouting":
            with open(sys.argv[2], "a", encoding="utf-8") as file:
                file.write(line)
        elif word == "go":
            AT_GO.get(mode, lambda: say(GO.get(mode, b"bestmove b2a3\n")))()
        elif word == "quit" and mode != "ignores quit":
            return


main(sys.argv[1])
