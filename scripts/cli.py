"""The command line: which module serves which command, and how errors reach a person.

`pawnscope --help` must answer at once, so a command's module is imported when it is called and not
before. Each has `main(arguments: list[str]) -> int`, which returns the exit status.
"""

import contextlib
import functools
import importlib
import os
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from engine.system.termination import Terminated, raise_on_termination

BAD_INPUT: Final = 2
INTERNAL_ERROR: Final = 1
INTERRUPTED: Final = 130
"""As a shell reports a process that SIGINT ended."""
TERMINATED: Final = 143
"""As a shell reports a process that SIGTERM ended."""
READER_LEFT: Final = 141
"""As a shell reports a process that SIGPIPE ended."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A word that may follow `pawnscope`, and the module that serves it."""

    # Full name of the module that holds `main`.
    module: str
    # What `pawnscope --help` says of it.
    help: str
    # Whether it runs compiled kernels, and so may have to compile them first.
    kernels: bool = True
    # Whether it does so before it begins; else as each kernel is first called.
    compiles_first: bool = True
    # Whether SIGTERM ends it as ^C does; else at once.
    tidies_up: bool = True


COMMANDS: Final = {
    "train": Command(
        module="scripts.commands.train", help="teach a network a game by self-play; again to resume"
    ),
    "play": Command(
        module="scripts.commands.play", help="play against a network, a search or the truth"
    ),
    "probe": Command(
        module="scripts.commands.probe", help="report what the networks of a run have learned"
    ),
    "solve": Command(module="scripts.commands.solve", help="solve a game exactly"),
    "match": Command(
        module="scripts.commands.match", help="games between two players, with Elo and its interval"
    ),
    "evaluate": Command(
        module="scripts.commands.evaluate", help="measure a run's checkpoints against the truth"
    ),
    "language": Command(
        module="scripts.commands.language.main",
        help="language models of moves, and GPT-2: train, continue, count parameters",
    ),
    "export": Command(module="scripts.commands.export", help="write a network as ONNX or OpenVINO"),
    "study": Command(
        module="scripts.commands.study",
        help="train networks side by side and compare what they learn",
    ),
    "uci": Command(
        module="scripts.commands.uci",
        help="serve as an engine for a chess program",
        # The protocol wants its first answer within seconds.
        compiles_first=False,
        # It has nothing to save, so SIGTERM ends it at once.
        tidies_up=False,
    ),
    "perft": Command(
        module="scripts.commands.perft",
        help="count the positions at a depth, and how fast that goes",
    ),
    "bench": Command(module="scripts.commands.bench", help="speed figures of this machine"),
    "compile": Command(
        module="scripts.commands.compile",
        help="compile the kernels; set-up does it by itself",
        kernels=False,
    ),
    "variants": Command(module="scripts.commands.variants", help="list the games", kernels=False),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status.

    `arguments` are without the program's name; this process's own where absent, and then SIGTERM
    ends most commands as ^C does.
    """
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        if arguments is None and _tidies_up(words):
            raise_on_termination()
        status = _dispatch([word for word in words if word != "--debug"])
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        if isinstance(interrupt, Terminated):
            return _complain("terminated", TERMINATED)
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError as error:
        left = [stream for stream in (sys.stdout, sys.stderr) if _reader_left(stream)]
        for stream in left:
            # Python flushes at exit what is still buffered, and would complain of the broken pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if left:
            return READER_LEFT
        return _report(error, debug)
    except Exception as error:
        return _report(error, debug)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else BAD_INPUT
    name, *arguments = words
    if name == "--version":
        from importlib.metadata import version

        print(f"pawnscope {version('pawnscope')}")
        return 0
    if name not in COMMANDS:
        return _complain(_unknown(name), BAD_INPUT)
    command = COMMANDS[name]
    _settle_home()
    # Waiting OpenMP threads spin by default, and on a busy machine work takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if command.kernels and not {"-h", "--help"} & set(arguments):
        if command.compiles_first:
            from scripts.commands.compile import ensure_compiled

            ensure_compiled()
        _announce_compilation()
    main = importlib.import_module(command.module).main
    status: int = main(arguments)
    return status


def _tidies_up(words: list[str]) -> bool:
    return all(COMMANDS[word].tidies_up for word in words[:1] if word in COMMANDS)


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pawnscope COMMAND …",
            "",
            *lines,
            "",
            "pawnscope COMMAND --help tells more; --debug shows the traceback of an error.",
        ]
    )


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS)
    advice = f"did you mean {' or '.join(near)}?" if near else "see pawnscope --help"
    return f"no command {name!r}; {advice}"


def _settle_home() -> None:
    """Libraries ask for the home directory and do not expect that a user has none."""
    try:
        Path.home()
    except RuntimeError:
        # As Debian writes it; caches that should be there count as closed.
        os.environ["HOME"] = "/nonexistent"


@functools.cache
def _announce_compilation() -> None:
    from engine.rules.compilation.decorators import KERNEL_CACHE, on_compile

    def announce() -> None:
        # Where nothing can be kept that has been said, and said why.
        if not KERNEL_CACHE.problem:
            print("compiling kernels (once; they are cached) …", file=sys.stderr, flush=True)

    on_compile(announce)


def _report(error: Exception, debug: bool) -> int:
    from engine.rules.errors import InputError

    if debug:
        raise error
    if isinstance(error, InputError):
        return _complain(str(error), BAD_INPUT)
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        where = f": {error.filename}" if error.filename is not None else ""
        return _complain(reason + where, BAD_INPUT)
    text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
    return _complain(text, INTERNAL_ERROR)


def _complain(message: str, status: int) -> int:
    # If standard error is closed, the exit status remains.
    with contextlib.suppress(OSError):
        print(f"pawnscope: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    return status


def _open_streams() -> None:
    """Standard streams that the caller has closed lead nowhere: what is written to one would go to
    another, or to a file that was opened in its place."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Kept open to the end; it takes the lowest free number, that of the stream if it can.
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _reader_left(stream: TextIO) -> bool:
    """Whether it is this stream that broke, and not some other pipe."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return False
    return bool(poll.poll(0))


if __name__ == "__main__":
    sys.exit(main())
