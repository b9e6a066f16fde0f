"""Kernels: one declared signature, files that may be damaged or missing, nothing compiled twice."""

import ast
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from numba import from_dtype, types

from engine.network.inference.evaluator import make_evaluator
from engine.rules.compilation.decorators import (
    JIT_ENABLED,
    Kernel,
    internal_kernel,
    kernel,
    kernels,
)
from engine.rules.compilation.kernel_cache import (
    KERNEL_FOLDERS,
    ON_DEMAND_FOLDERS,
    kernel_modules,
)
from engine.rules.compilation.signatures import Array2D, Strided3D, declared_types
from engine.rules.kernels import generate_batch
from engine.rules.perft import perft
from engine.rules.variant import get_variant
from scripts import cli
from search.exact.solver import solve
from tests.support.network.network_cases import TRUNKS, lively_network

ROOT = Path(__file__).resolve().parents[3]
RECORD = np.dtype([("score", np.float32), ("before", np.int32)], align=True)


class Pair(NamedTuple):
    """A structure as kernels take them."""

    matrix: Array2D[np.float32]
    number: int


def _sample(
    row: npt.NDArray[np.uint8],
    matrix: Array2D[np.int64],
    part: Strided3D[np.float32],
    marks: Annotated[npt.NDArray[np.void], RECORD, 2],
    pair: Pair,
    number: int | np.uint16,
    share: float,
    flag: bool | np.bool_,
    key: np.uint64,
) -> int:
    return 0


def test_signatures_follow_from_annotations() -> None:
    row, matrix, part, marks, pair, number, share, flag, key = declared_types(_sample)
    assert row == types.Array(types.uint8, 1, "C")
    assert matrix == types.Array(types.int64, 2, "C")
    assert part == types.Array(types.float32, 3, "A")
    assert isinstance(marks, types.Array)
    assert (marks.ndim, from_dtype(RECORD)) == (2, marks.dtype)
    assert pair == types.NamedTuple([types.Array(types.float32, 2, "C"), types.int64], Pair)
    assert (number, share, flag, key) == (
        types.int64,
        types.float64,
        types.boolean,
        types.uint64,
    )


@pytest.mark.parametrize(
    "hint", [Any, npt.NDArray[Any], npt.NDArray[np.void], str, tuple[int, ...]]
)
def test_a_parameter_without_a_machine_type_is_named(hint: Any) -> None:
    def function(tables: Any) -> None: ...

    function.__annotations__["tables"] = hint
    with pytest.raises(TypeError, match=r"function\(tables\)"):
        declared_types(function)


EVERY_FOLDER = KERNEL_FOLDERS + ON_DEMAND_FOLDERS


def _all_kernels() -> tuple[Kernel, ...]:
    for path in kernel_modules(EVERY_FOLDER):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return tuple(one for one in kernels() if not one.full_name.startswith("tests."))


def test_every_kernel_has_one_signature_and_a_name_of_its_own() -> None:
    found = _all_kernels()
    assert len({one.full_name for one in found}) == len(found) > 150
    for one in found:
        assert len(one.declared) == one.py_func.__code__.co_argcount


def test_every_module_with_kernels_is_known() -> None:
    """The cache's key and `pawnscope compile` find them by words in the source; here by syntax."""
    known = set(kernel_modules(EVERY_FOLDER))
    for package in ("engine", "search", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    names = {ast.unparse(decorator) for decorator in node.decorator_list}
                    if any(name.endswith("kernel") or name == "inlined" for name in names):
                        assert path in known


if JIT_ENABLED:

    @internal_kernel
    def _doubled(number: int) -> int:
        return 2 * number

    @kernel
    def _summed(values: npt.NDArray[np.int64], factor: int) -> int:
        total = 0
        for value in values:
            total += _doubled(value) * factor
        return total

    def test_numbers_are_converted_and_arrays_are_not() -> None:
        values = np.arange(4, dtype=np.int64)
        called: Any = _summed
        assert called(values, 3) == called(values, np.int32(3)) == 36
        assert len(called.signatures) == 1
        for wrong in (values.astype(np.int32), values[::2], values[None]):
            with pytest.raises(TypeError):
                called(wrong, 3)

    def test_the_first_call_names_what_misfits() -> None:
        @kernel
        def fresh(row: npt.NDArray[np.uint8]) -> int:
            return len(row)

        with pytest.raises(TypeError, match=r"fresh\(row\) is .*int16"):
            fresh(np.zeros(3, np.int16))
        assert fresh(np.zeros(3, np.uint8)) == 3

    def test_an_internal_kernel_has_no_entrance_for_python() -> None:
        assert _summed(np.ones(1, np.int64), 1) == 2
        for _ in range(2):
            with pytest.raises(TypeError):
                _doubled(1)


PROGRAM = """
import sys
import numpy as np
from numba.core import event
from engine.rules.compilation.decorators import KERNEL_CACHE, kernel, shared_kernel

class Count(event.Listener):
    names = []
    def on_start(self, event):
        self.names.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

event.register("numba:compile", Count())

@shared_kernel
def squared(number: int) -> int:
    return number * number

@kernel
def shifted(number: int) -> int:
    return squared(number) + 1

print(shifted(3), *sorted(Count.names), KERNEL_CACHE.problem)
"""


def _run_program(cache: Path, **variables: str) -> list[str]:
    """Results, names of compiled functions and the cache's problem, for NUMBA_CACHE_DIR `cache`."""
    program = cache.parent / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(cache), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout.split(maxsplit=3)


def test_kept_code_and_its_shared_callee_are_found_again_whatever_is_damaged(
    tmp_path: Path,
) -> None:
    cache = tmp_path / "cache"
    assert _run_program(cache) == ["10", "shifted", "squared"]
    assert _run_program(cache) == ["10"]
    squared = next(cache.rglob("*squared*"))
    shifted = next(cache.rglob("*shifted*"))
    whole = shifted.read_bytes()
    # A callee that is gone is made again before its caller's code, which names it, is loaded.
    squared.unlink()
    assert _run_program(cache) == ["10", "squared"]
    for damaged in (b"", whole[:40], whole[:-1], whole[:200] + b"\0" + whole[201:], b"x" * 99):
        shifted.write_bytes(damaged)
        assert _run_program(cache) == ["10", "shifted"]
    assert shifted.read_bytes()[32:40] == whole[32:40]
    # Nothing half-written is left beside the files.
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {
        squared.name,
        shifted.name,
    }


def test_files_of_others_stay_and_ours_can_be_read_by_others(tmp_path: Path) -> None:
    base = tmp_path / "pawnscope" / "kernels"
    for number in range(12):
        (base / f"{number:016x}").mkdir(parents=True)
        (base / f"notes {number}").mkdir()
        (tmp_path / f"{number:016x}").mkdir()
        os.utime(base / f"{number:016x}", (number, number))
    before = os.umask(0o022)
    try:
        assert _run_program(tmp_path) == ["10", "shifted", "squared"]
    finally:
        os.umask(before)
    kept = {path.name for path in base.iterdir() if not path.name.startswith("notes")}
    assert len(kept) == 8
    assert f"{11:016x}" in kept
    assert len(list(base.glob("notes *"))) == 12
    assert len(list(tmp_path.glob("0000*"))) == 12
    assert all(path.stat().st_mode & 0o044 for path in base.rglob("*squared*"))


def test_a_full_disk_is_not_taken_for_a_whole_compilation(tmp_path: Path) -> None:
    """Files may hold 64 bytes, so that empty ones can be made."""
    program = (
        "import resource, sys; from scripts.commands import compile as command\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "tasks = [task for task in command.missing_tasks() if not task.after]\n"
        "tasks.sort(key=lambda task: task.weight)\n"
        "command.missing_tasks = lambda: tasks[:1]\n"
        "print(len(tasks) > 0, command.compile_all(quiet=True), command.is_complete())\n"
        "print(command.KERNEL_CACHE.problem)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    done, problem = run.stdout.splitlines()
    assert done == "True 0 False"
    assert "File too large" in problem


def test_commands_run_where_processes_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, quiet: bool) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("scripts.commands.compile.is_complete", lambda: False)
    monkeypatch.setattr("scripts.commands.compile.compile_all", fail)
    assert cli.main(["perft", "hexapawn", "2"]) == 0
    printed = capsys.readouterr()
    assert " nodes in " in printed.out
    assert "Function not implemented" in printed.err


def test_public_entrances_take_any_array() -> None:
    """Kernels take one type and layout; who hands over another gets the same answer."""
    variant = get_variant("hexapawn")
    rows = np.stack([variant.start_row] * 3)
    closed = rows.copy()
    closed.flags.writeable = False
    solution = solve(variant)
    moves, offsets = generate_batch(variant.tables, rows)
    evaluator = make_evaluator(
        lively_network("hexapawn", next(iter(TRUNKS))), backend="torch", precision="fp32"
    )
    others: tuple[Any, ...] = (
        closed,
        rows.astype(np.int32),
        np.asfortranarray(rows),
        np.repeat(rows, 2, 0)[::2],
    )
    for other in others:
        np.testing.assert_array_equal(generate_batch(variant.tables, other)[0], moves)
        assert perft(variant.tables, other[0], 2) == perft(variant.tables, rows[0], 2)
        np.testing.assert_array_equal(
            solution.lookup_batch(other)[0], solution.lookup_batch(rows)[0]
        )
        found = solution.score_moves(other, moves.astype(np.int64), offsets.astype(np.int32))
        np.testing.assert_array_equal(found[0], solution.score_moves(rows, moves, offsets)[0])
        np.testing.assert_array_equal(
            evaluator.evaluate(other, moves.astype(np.int64), offsets).wdl,
            evaluator.evaluate(rows, moves, offsets).wdl,
        )


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    cache = tmp_path / "file"
    cache.write_text("not a folder")
    result, *rest = _run_program(cache)
    assert result == "10"
    assert rest[:2] == ["shifted", "squared"]
    assert str(cache) in rest[2]


def _at_work(group: int) -> bool:
    """Whether a process of the group is there that has not ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return any(int(number) == group and not state.startswith("Z") for number, state in rows)


def _wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_compilation_leaves_no_process(tmp_path: Path) -> None:
    """Its cache is empty, so that its processes are at work when the first one is killed."""
    first = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", "compile"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until(lambda: any(tmp_path.rglob("engine.rules.*")))
        first.kill()
        first.wait()
        _wait_until(lambda: not _at_work(first.pid))
    finally:
        if _at_work(first.pid):
            os.killpg(first.pid, signal.SIGKILL)
    assert not list(tmp_path.rglob("complete"))
