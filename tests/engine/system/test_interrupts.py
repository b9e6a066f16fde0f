"""^C while the main thread runs a kernel."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.rules.compilation.decorators import KERNEL_CACHE, generic_kernel
from engine.rules.variant import get_variant
from engine.system.interrupts import StopFlag, interruptible
from engine.system.termination import Terminated, raise_on_termination
from search.exact import position_table, solution
from search.exact.position_table import PositionTable, key_layout
from search.exact.solver import solve

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 120.0
HEXAPAWN = get_variant("hexapawn")


def test_long_kernels_hear_an_interrupt() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.rules.interrupt_cases"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.split() == ["perft", "minimax", "alphabeta", "uct", "late"]
    assert done.returncode == 0


def test_whoever_listens_already_still_hears() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible() as stop:
            signal.raise_signal(signal.SIGINT)
        assert os.read(ours, 1) == bytes([signal.SIGINT])
        with interruptible(stop):
            pass
        assert signal.set_wakeup_fd(theirs) == theirs
    finally:
        signal.set_wakeup_fd(before)
        os.close(ours)
        os.close(theirs)


@contextlib.contextmanager
def handlers(**chosen: signal.Handlers) -> Iterator[None]:
    """These signals handled so for as long as the block lasts."""
    before = {name: signal.signal(signal.Signals[name], how) for name, how in chosen.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(signal.Signals[name], handler)


@pytest.mark.parametrize("background", [False, True])
def test_a_request_to_terminate_ends_a_kernel_too(background: bool) -> None:
    """Also where a shell has started the command in the background, which ignores SIGINT."""
    own = np.zeros(1, np.uint8)
    ignored = {"SIGINT": signal.SIG_IGN} if background else {}
    with handlers(SIGTERM=signal.SIG_DFL, **ignored):
        raise_on_termination()
        with pytest.raises(Terminated), interruptible(own) as stop:
            interrupt_and_wait(stop, signal.SIGTERM)
    assert own[0] == 1


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_an_interrupt_waits_until_a_kernel_is_compiled(
    number: signal.Signals, raised: type[KeyboardInterrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLVM would drop the exception, and the kernel would be half there."""
    finished = []

    def interrupted_load(*_: object) -> None:
        signal.raise_signal(number)
        finished.append(number)

    monkeypatch.setattr(KERNEL_CACHE, "load", interrupted_load)

    @generic_kernel
    def doubled(value: int) -> int:
        return 2 * value

    with handlers(SIGTERM=signal.SIG_DFL):
        raise_on_termination()
        with pytest.raises(raised):
            doubled(3)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # It is whole: nothing is loaded or compiled any more.
        assert doubled(3) == 6
    assert finished == [number]


def test_who_ignores_a_request_to_terminate_goes_on() -> None:
    with handlers(SIGTERM=signal.SIG_IGN):
        raise_on_termination()
        with interruptible() as stop:
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    assert not stop[0]


def interrupt_and_wait(stop: StopFlag, number: int = signal.SIGINT) -> None:
    try:
        signal.raise_signal(number)
    finally:
        while not stop[0]:
            threading.Event().wait(0.001)


def test_a_flag_of_the_caller_s_own_is_raised() -> None:
    own = np.zeros(1, np.uint8)
    with pytest.raises(KeyboardInterrupt), interruptible(own) as stop:
        interrupt_and_wait(stop)
    assert own[0] == 1


def test_who_handles_interrupts_himself_gets_whole_results() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    listening = signal.set_wakeup_fd(-1)
    try:
        with interruptible():
            assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGINT, before)
        signal.set_wakeup_fd(listening)


def test_other_threads_are_left_alone() -> None:
    found: list[int] = []

    def work() -> None:
        with interruptible() as stop:
            found.append(int(stop[0]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


@contextlib.contextmanager
def at_once(stop: StopFlag | None = None) -> Iterator[StopFlag]:
    """An interrupt that comes as soon as a kernel begins."""
    yield np.ones(1, np.uint8)
    raise KeyboardInterrupt


def test_a_pass_over_a_solution_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    solved, again = solve(HEXAPAWN), solve(HEXAPAWN)
    with monkeypatch.context() as patched:
        patched.setattr(solution, "interruptible", at_once)
        with pytest.raises(KeyboardInterrupt):
            solved.decision_positions()
    # What an interrupted pass has not done is not taken for done.
    np.testing.assert_array_equal(solved.decision_positions(), again.decision_positions())


def test_a_table_that_grows_or_is_written_can_be_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = solve(HEXAPAWN)
    monkeypatch.setattr(position_table, "interruptible", at_once)
    with pytest.raises(KeyboardInterrupt):
        solved.save(tmp_path / "x.solution")
    assert not list(tmp_path.iterdir())
    table = PositionTable(key_layout(HEXAPAWN.squares, HEXAPAWN.piece_types))
    with pytest.raises(KeyboardInterrupt):
        table.grow()


FORKED = """
import os, signal, sys
from engine.system.interrupts import interruptible
with interruptible() as stop:
    child = os.fork()
    if child == 0:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            os._exit(0)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    print(status, int(stop[0]))
"""


def test_a_forked_child_s_interrupt_is_its_own() -> None:
    """The parent's kernel would end early with half a result, and nobody would know."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.split() == ["0", "0"]
