"""The command line: which module serves which command, and how errors reach a person.

`pawnscope --help` must answer at once, so a command's module is imported when it is called and not
before. Each has `main(arguments: list[str]) -> int`, which returns the exit status.
"""

import contextlib
import functools
import importlib
import os
import re
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from engine.system.termination import Terminated, end_at_once, raise_on_termination
from scripts.streams import flush_streams, open_streams
from scripts.terminal.colour import paint
from scripts.terminal.verbosity import Verbosity, verbosity, verbosity_of

BAD_INPUT: Final = 2
INTERNAL_ERROR: Final = 1
# As a shell reports a process that a signal ended.
INTERRUPTED: Final = 128 + signal.SIGINT
TERMINATED: Final = 128 + signal.SIGTERM
READER_LEFT: Final = 128 + signal.SIGPIPE
_PLAYERS: Final = (
    *("random", "perfect", "minimax", "alphabeta", "uct", "mcts", "gumbel"),
    *("policy", "language", "uci"),
)
"""First words of players, which stand before the variant on a command line."""
_MOST_MISTAKES: Final = 20
"""Of a variant file, a line each."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A word that may follow `pawnscope`, and the module that serves it."""

    # What `pawnscope --help` says of it.
    help: str
    # Full name of the module that holds `main`; "" for that of the command's name.
    module: str = ""
    # Whether it runs compiled kernels.
    kernels: bool = True
    # Whether another program waits for its answers: each kernel is compiled at its first call, not
    # all before it begins. Nothing is to be saved: SIGTERM ends it at once, not as ^C does.
    serves: bool = False


COMMANDS: Final = {
    "train": Command(help="train a network by self-play; the same command resumes"),
    "play": Command(
        module="scripts.commands.play.main",
        help="play against a network, a search or perfect play",
    ),
    "probe": Command(
        module="scripts.commands.probe.main",
        help="report what concepts the networks of a run have learned",
    ),
    "solve": Command(help="solve a variant, or make endgame tables"),
    "match": Command(
        module="scripts.commands.match.main",
        help="play games between two players; Elo with its interval",
    ),
    "evaluate": Command(help="measure a run's checkpoints against exact values and other players"),
    "language": Command(
        module="scripts.commands.language.main",
        help="language models of moves, and GPT-2: train, continue, count parameters",
    ),
    "export": Command(help="write a network as ONNX or OpenVINO"),
    "runs": Command(
        module="scripts.commands.runs.main",
        help="list training runs, remove them, write their figures as CSV or for TensorBoard",
        kernels=False,
    ),
    "study": Command(help="train networks side by side and compare what they learn"),
    "uci": Command(help="run as a UCI engine", serves=True),
    "perft": Command(help="count the positions at a depth, and the speed"),
    "bench": Command(help="measure speeds on this machine"),
    "compile": Command(help="compile the kernels; the set-up does this", kernels=False),
    "variants": Command(help="list the variants", kernels=False),
}
_WITHOUT_KERNELS: Final = {"-h", "--help", "--gpt2", "--gpt2-sizes"}
"""Options by which a command does something that runs no kernels."""


def needs_environment(words: Sequence[str]) -> bool:
    """Whether a command line needs more than Python itself: help and an unknown command do not."""
    return bool(COMMANDS.keys() & [word for word in words if word != "--debug"][:1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status.

    `arguments` are without the program's name; this process's own where absent, and then SIGTERM
    ends most commands as ^C does.
    """
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    serves = any(COMMANDS[name].serves for name in COMMANDS.keys() & words[:1])
    try:
        if arguments is None and not serves:
            raise_on_termination()
        try:
            with verbosity_of(words):
                return _dispatch(words)
        finally:
            # Also where a command has printed its help and exits.
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        if arguments is None:
            end_at_once()
        if debug:
            raise
        if isinstance(interrupt, Terminated):
            return _complain("terminated", TERMINATED)
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError as error:
        left = any(map(_reader_left, (sys.stdout, sys.stderr)))
        return READER_LEFT if left else _report(error, debug)
    except Exception as error:
        return _report(error, debug)
    finally:
        # Python would flush a broken one once more, and complain.
        flush_streams()
        if arguments is None:
            # All is done: what Python still does before it ends is no work to be saved.
            end_at_once()


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else BAD_INPUT
    name, *arguments = words
    if name == "--version":
        print(f"pawnscope {_version()}")
        return 0
    if name not in COMMANDS:
        return _complain(_unknown(name), BAD_INPUT)
    command = COMMANDS[name]
    _provide_home()
    # Waiting OpenMP threads spin by default, and on a busy machine work takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if command.kernels and not _WITHOUT_KERNELS & {word.split("=")[0] for word in arguments}:
        if not command.serves:
            from scripts.commands.compile import ensure_compiled

            ensure_compiled()
        _announce_compilation()
        if verbosity() == Verbosity.VERBOSE:
            from engine.rules.compilation.decorators import KERNEL_CACHE

            print(f"compiled kernels are kept in {KERNEL_CACHE.folder}", file=sys.stderr)
    from scripts.terminal.loading import loading

    # Another program waits for one that serves, and no person.
    with contextlib.nullcontext() if command.serves else loading():
        module = importlib.import_module(command.module or f"scripts.commands.{name}")
    status: int = module.main(arguments)
    return status


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pawnscope")
    except PackageNotFoundError:
        # Not installed: these are the sources.
        import tomllib

        text = Path(__file__).resolve().parents[1].joinpath("pyproject.toml").read_bytes()
        return str(tomllib.loads(text.decode())["project"]["version"])


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = "".join(f"  {name:{width}}  {command.help}\n" for name, command in COMMANDS.items())
    return (
        f"usage: pawnscope COMMAND …\n\n{lines}\n"
        "pawnscope COMMAND --help describes it. Every command takes --quiet and --verbose;\n"
        "--debug shows the traceback of an error."
    )


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
    advice = f"did you mean {near[0]}?" if near else "see pawnscope --help"
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
            from scripts.terminal.progress import say

            say("compiling kernels (once; they are cached) …")

    on_compile(announce)


def _report(error: Exception, debug: bool) -> int:
    if debug:
        raise error
    try:
        from engine.rules.errors import InputError, UnknownVariantError, VariantError
        from engine.system.files import described
    except ModuleNotFoundError:
        # Python alone, which serves no command: what failed is the output of the help.
        return _complain(f"{getattr(error, 'strerror', error)}: standard output", BAD_INPUT)
    if isinstance(error, VariantError):
        for mistake in error.mistakes[:_MOST_MISTAKES]:
            _complain(mistake, BAD_INPUT)
        if (more := len(error.mistakes) - _MOST_MISTAKES) > 0:
            _complain(f"and {more} more mistakes", BAD_INPUT)
        return BAD_INPUT
    if isinstance(error, UnknownVariantError):
        return _complain(f"{error}{_of_another_kind(str(error))}", BAD_INPUT)
    if isinstance(error, InputError):
        return _complain(str(error), BAD_INPUT)
    if isinstance(error, OSError):
        return _complain(described(error), BAD_INPUT)
    if isinstance(error, MemoryError):
        return _complain(f"not enough memory ({error or 'no more is to be had'})", INTERNAL_ERROR)
    text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
    return _complain(text, INTERNAL_ERROR)


def _of_another_kind(problem: str) -> str:
    """What a word is that names no variant."""
    word = re.search(r"unknown variant '(.+?)'", problem)
    if word and word[1].partition(":")[0] in _PLAYERS:
        return "; it is a player, and a variant's name is needed here, as in match A B VARIANT"
    if word and Path(word[1]).exists():
        kind = "folder" if Path(word[1]).is_dir() else "file"
        return f"; there is a {kind} of that name, and a variant's name is needed here"
    return ""


def _complain(message: str, status: int) -> int:
    # If standard error is closed, the exit status remains.
    with contextlib.suppress(OSError):
        name = paint("pawnscope:", "red", sys.stderr)
        print(name, " ".join(message.splitlines()), file=sys.stderr, flush=True)
    return status


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
