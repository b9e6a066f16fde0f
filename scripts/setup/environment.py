"""The set-up that run.py and test.py share: make `.venv`, install into it, start its Python.

Every start runs this module, so it imports only what an environment that is ready needs.
Annotations are quoted: an older Python must be able to read this file and then refuse itself.

A stamp in `.venv` says what was installed. During a set-up it reads "unfinished": the next start
repeats a set-up that was killed.
"""

import os
import sys
from pathlib import Path

TYPE_CHECKING = False  # typing's own is slow to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
UNFINISHED = "unfinished"
LINES_OF_A_FAILURE = 12


class SetupError(Exception):
    """Why there is no environment; the message is for the person at the terminal."""


def run_in_environment(module: str, extras: "Sequence[str]" = ()) -> "NoReturn":
    """Replace this process by `python -m module` in the environment, with the same arguments.

    Where it is not ready, the module is first asked whether the arguments need it: its
    `needs_environment` and `main` run with the standard library alone.
    """
    words = sys.argv[1:]
    try:
        check_python(sys.version_info[:2])
        # Not before: an older Python cannot read it.
        from scripts.streams import open_streams

        open_streams()
        environment = Environment(ROOT)
        if not environment.is_ready(extras):
            _run_without_environment(module, words)
        if environment.prepare(extras) and not {"-h", "--help"} & set(words):
            environment.compile_kernels()
    except KeyboardInterrupt:
        say("set-up interrupted; the next start completes it")
        sys.exit(130)
    except (SetupError, OSError) as error:
        say(str(error))
        sys.exit(2)
    # Without byte code on disk every start would compile all libraries again, for seconds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = str(environment.python)
    # -P: a folder `engine` in the working directory is not ours.
    os.execv(python, [python, "-P", "-m", module, *words])


def end(main: "Callable[[], int]") -> "NoReturn":
    """Exit with the status of `main`; of an output that takes nothing say so in one line."""
    from scripts.streams import flush_streams

    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        say(f"{error.strerror}: {error.filename}")
        sys.exit(2)
    finally:
        # What is still buffered, as help that a parser has printed before it exits.
        problem = flush_streams()
        if problem is not None and not isinstance(problem, BrokenPipeError):
            say(f"{problem.strerror}: {problem.filename}")
            sys.exit(2)


def _run_without_environment(module: str, words: "Sequence[str]") -> None:
    """Answer at once what needs no library, and exit; returns where the words need one."""
    import importlib

    command = importlib.import_module(module)
    if not command.needs_environment(words):
        end(command.main)


def check_python(version: "tuple[int, ...]") -> None:
    """Refuse a Python, (major, minor), that the pinned libraries do not support."""
    if os.name != "posix":
        raise SetupError("Pawnscope runs on Linux and macOS (on Windows: inside WSL)")
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        name, oldest, newest = ("{}.{}".format(*v) for v in (version, OLDEST_PYTHON, NEWEST_PYTHON))
        raise SetupError(
            f"Pawnscope needs Python {oldest} to {newest} and this is Python {name} "
            f"({sys.executable}): start it as python{newest} {' '.join(sys.argv)}"
        )


def say(message: str) -> None:
    """A line for the person; standard output belongs to the command."""
    try:
        print(f"pawnscope: {message}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        # Nobody reads it; the set-up is wanted nevertheless.
        return


class Environment:
    """The folder `.venv` under `root`.

    `run` does one step of the set-up: a command, the folder to run it in, and a descriptor that the
    command must keep open. It raises SetupError when the command fails.
    """

    def __init__(
        self, root: Path, run: "Callable[[Sequence[str], Path, int], None] | None" = None
    ) -> None:
        self._root = root
        self._run = run or run_quietly
        self._folder = root / ".venv"
        self._stamp = self._folder / "pawnscope-stamp"
        self.python = self._folder / "bin" / "python"

    def is_ready(self, extras: "Iterable[str]") -> bool:
        """Whether everything that is asked for is installed."""
        place, contents, installed = self._read_stamp()
        return (
            place == self._place()
            and contents == self._contents()
            and set(extras) <= set(installed)
            and self.python.exists()
        )

    def prepare(self, extras: "Sequence[str]") -> bool:
        """Make and fill the environment unless it is ready; one process at a time does so.

        Returns whether it installed anything. Raises SetupError or OSError.
        """
        if self.is_ready(extras):
            return False
        import fcntl

        with open(self._root / ".venv.lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another set-up is at work in .venv; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_ready(extras):
                return False
            self._install(extras, lock.fileno())
            return True

    def compile_kernels(self) -> None:
        """Compile all kernels with a progress bar, so that no command waits for it later.

        If that fails, commands compile what they need and say what is wrong.
        """
        import subprocess

        subprocess.run(
            [str(self.python), "-P", "-m", "scripts.cli", "compile"],
            stdout=subprocess.DEVNULL,
            check=False,
        )

    def _install(self, extras: "Sequence[str]", lock: int) -> None:
        import time

        start = time.monotonic()
        say(f"setting up {self._folder} (once; about a minute, longer on a slow connection)")
        place, contents, installed = self._read_stamp()
        if place != self._place() or not self.python.exists():
            self._make_folder(lock)
            place, contents, installed = "", "", ()
        wanted = sorted({*extras, *installed})
        self._write_stamp(UNFINISHED)
        what = "." + (f"[{','.join(wanted)}]" if wanted else "")
        pip = [str(self.python), "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        try:
            self._run([*pip, "install", "-c", "constraints.txt", "-e", what], self._root, lock)
        except SetupError:
            if place:
                # pip itself gave up and restored what it had replaced: the old state is whole.
                self._write_stamp(place, contents, *installed)
            raise
        self._write_stamp(self._place(), self._contents(), *wanted)
        say(f"set up in {time.monotonic() - start:.0f} s")

    def _make_folder(self, lock: int) -> None:
        import shutil

        mark = self._folder / "pyvenv.cfg"
        if mark.exists() and not self._stamp.exists():
            raise SetupError(f"{self._folder} is not Pawnscope's: move it away or delete it")
        if self._folder.exists():
            # First the file that makes it an environment: a kill after that leaves a mere folder.
            mark.unlink(missing_ok=True)
            shutil.rmtree(self._folder)
        self._folder.mkdir()
        self._write_stamp(UNFINISHED)
        # The base executable: this process may itself run in the environment that was removed.
        base = getattr(sys, "_base_executable", sys.executable)
        self._run([base, "-m", "venv", str(self._folder)], self._root, lock)

    def _place(self) -> str:
        """Digest of what an environment depends on: its place and its Python."""
        return _digest(str(sys.version_info[:2]).encode(), os.fsencode(self._root))

    def _contents(self) -> str:
        names = ("constraints.txt", "pyproject.toml")
        return _digest(*((self._root / name).read_bytes() for name in names))

    def _read_stamp(self) -> "tuple[str, str, tuple[str, ...]]":
        try:
            place, contents, *extras = self._stamp.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return "", "", ()
        return place, contents, tuple(extras)

    def _write_stamp(self, *words: str) -> None:
        temporary = self._stamp.with_suffix(".new")
        temporary.write_text(" ".join(words) + "\n", encoding="utf-8")
        os.replace(temporary, self._stamp)


def run_quietly(command: "Sequence[str]", folder: Path, lock: "int | None" = None) -> None:
    """Run one step; a terminal shows its latest line, an error its last ones.

    The step inherits `lock`, if one is given: if this process is killed, the lock holds until the
    step has ended, and the next set-up waits for that.
    """
    import collections
    import subprocess

    ours = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH")
    surroundings = {name: value for name, value in os.environ.items() if name not in ours}
    lines: collections.deque[str] = collections.deque(maxlen=LINES_OF_A_FAILURE)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=() if lock is None else (lock,),
    ) as step:
        assert step.stdout is not None
        try:
            for line in step.stdout:
                # Warnings are about the machine's configuration, never about the failure.
                if line.strip() and not line.startswith("WARNING"):
                    lines.append(line.rstrip())
                    _show_latest(lines[-1])
        except BaseException:
            step.terminate()
            raise
        finally:
            _show_latest("")
    if step.returncode:
        raise SetupError(
            f"set-up failed: {' '.join(command)} ended with status {step.returncode} after saying\n"
            + "\n".join(f"    {line}" for line in lines)
        )


def _show_latest(line: str) -> None:
    if sys.stderr.isatty():
        import shutil

        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)


def _digest(*parts: bytes) -> str:
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:16]
