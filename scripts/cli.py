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

    # What `pawnscope --help` says of it.
    help: str
    # Full name of the module that holds `main`; "" for that of the command's name.
    module: str = ""
    # Whether it runs compiled kernels.
    kernels: bool = True
    # Whether all are compiled before it begins; else each at its first call.
    compiles_first: bool = True
    # Whether SIGTERM interrupts it as ^C does; else SIGTERM kills it at once.
    interrupted_by_sigterm: bool = True


COMMANDS: Final = {
    "train": Command(help="train a network by self-play; the same command resumes"),
    "play": Command(help="play against a network, a search or perfect play"),
    "probe": Command(help="report what concepts the networks of a run have learned"),
    "solve": Command(help="solve a variant, or make endgame tables"),
    "match": Command(help="play games between two players; Elo with its interval"),
    "evaluate": Command(help="measure a run's checkpoints against exact values and other players"),
    "language": Command(
        module="scripts.commands.language.main",
        help="language models of moves, and GPT-2: train, continue, count parameters",
    ),
    "export": Command(help="write a network as ONNX or OpenVINO"),
    "study": Command(help="train networks side by side and compare what they learn"),
    "uci": Command(
        help="run as a UCI engine",
        # Its first answer must come within seconds.
        compiles_first=False,
        # It has nothing to save, so SIGTERM ends it at once.
        interrupted_by_sigterm=False,
    ),
    "perft": Command(help="count the positions at a depth, and the speed"),
    "bench": Command(help="measure speeds on this machine"),
    "compile": Command(help="compile the kernels; the set-up does this", kernels=False),
    "variants": Command(help="list the variants", kernels=False),
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
        if arguments is None and _interrupted_by_sigterm(words):
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
    _provide_home()
    # Waiting OpenMP threads spin by default, and on a busy machine work takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if command.kernels and not {"-h", "--help"} & set(arguments):
        if command.compiles_first:
            from scripts.commands.compile import ensure_compiled

            ensure_compiled()
        _announce_compilation()
    main = importlib.import_module(command.module or f"scripts.commands.{name}").main
    status: int = main(arguments)
    return status


def _interrupted_by_sigterm(words: list[str]) -> bool:
    return all(COMMANDS[word].interrupted_by_sigterm for word in words[:1] if word in COMMANDS)


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pawnscope COMMAND …",
            "",
            *lines,
            "",
            "pawnscope COMMAND --help describes it; --debug shows the traceback of an error.",
        ]
    )


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS)
    advice = f"did you mean {' or '.join(near)}?" if near else "see pawnscope --help"
    return f"no command {name!r}; {advice}"


def _provide_home() -> None:
    """Name a home directory where the user has none: libraries ask for it and fail without."""
    try:
        Path.home()
    except RuntimeError:
        # Debian's name for it. Caches in it cannot be made, and are left out.
        os.environ["HOME"] = "/nonexistent"


@functools.cache
def _announce_compilation() -> None:
    from engine.rules.compilation.decorators import KERNEL_CACHE, on_compile

    def announce() -> None:
        # If the cache cannot be written, a message has said why.
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
            # Kept open to the end. It takes the lowest free number: that of the stream, if free.
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
