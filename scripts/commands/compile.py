"""`pawnscope compile`: compile every kernel, once, on all cores; the set-up does this.

Each kernel is a task, which begins when all kernels that it calls are compiled. Of the tasks that
can begin, the first is the one with the longest chain of callers still to be compiled.
"""

import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from tqdm import tqdm

from engine.rules.compilation.decorators import (
    JIT_ENABLED,
    KERNEL_CACHE,
    GenericKernel,
    Kernel,
    kernels,
)
from engine.rules.compilation.kernel_cache import kernel_modules
from engine.system.processes import ProcessPool, usable_cores
from scripts.options import FigureOptions, parse_options, print_json
from scripts.terminal.colour import is_terminal
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Ticking
from scripts.terminal.verbosity import Verbosity, verbosity

NETWORKS: Final = ("gardner", "hexapawn4x4", "hexapawn")
"""Variants whose networks, as the presets build them, are compiled as well where the processor can
run the AVX-512 kernels. Others are compiled when used."""
_WEIGHT_OF_A_NETWORK: Final = 10_000
"""In bytes of code; they take longest."""
_COMPLETE: Final = "complete"
_MOST_PROCESSES: Final = 8
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class CompileOptions(FigureOptions):
    """Compile all kernels for this machine. What is compiled already stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kernel or network to compile."""

    # Full name of a kernel, or the name of a variant.
    name: str
    # Module of the kernel; None for a network.
    module: str | None
    # Names of the kernels that must be compiled before.
    after: Set[str]
    # How long it takes, about: bytes of its Python code.
    weight: int


def main(arguments: list[str]) -> int:
    """Compile what is missing; 0, or 1 where it cannot be kept."""
    options = parse_options(CompileOptions, "compile", arguments)
    start = time.monotonic()
    compiled = compile_all(quiet=options.json or options.quiet)
    seconds = time.monotonic() - start
    problem = KERNEL_CACHE.problem
    if options.json:
        print_json({"compiled": compiled, "seconds": seconds, "problem": problem or None})
    elif not problem:
        done = f"{compiled} compiled in {seconds:.1f} s" if compiled else "all were compiled before"
        print(f"kernels: {done}; they are kept in {KERNEL_CACHE.folder}")
    return 1 if problem else 0


def ensure_compiled() -> None:
    """Compile all kernels where that was not done before.

    Where that fails a line says why, and kernels are compiled as they are called.
    """
    if is_complete():
        return
    try:
        compile_all(quiet=verbosity() == Verbosity.QUIET)
    except (OSError, ImportError, BrokenProcessPool) as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        _warn(f"the kernels are compiled as they are called ({reason})")


def is_complete() -> bool:
    """Whether nothing is left to compile: a whole compilation has ended here, or JIT is off."""
    return not JIT_ENABLED or (KERNEL_CACHE.folder / _COMPLETE).exists()


def compile_all(*, quiet: bool) -> int:
    """Compile what is missing, with a bar on standard error; the number of kernels and networks.

    Where the cache cannot be used nothing is compiled, and unless `quiet` a line says why.
    """
    # The folder is made here, which may fail.
    complete = KERNEL_CACHE.folder / _COMPLETE
    if not KERNEL_CACHE.problem:
        tasks = missing_tasks()
        kept = "what is compiled is kept; the next start compiles the rest"
        with telling(kept), _bar(len(tasks), quiet=quiet) as bar, Ticking(bar.refresh):
            KERNEL_CACHE.problem = _run(tasks, lambda: bar.update())
    if not KERNEL_CACHE.problem:
        KERNEL_CACHE.write(complete, b"")
    if not KERNEL_CACHE.problem:
        return len(tasks)
    if not quiet:
        _warn(f"compiled kernels cannot be kept ({KERNEL_CACHE.problem}): every start takes long")
    return 0


def _warn(text: str) -> None:
    print(f"pawnscope: {text}", file=sys.stderr, flush=True)


def _bar(total: int, *, quiet: bool) -> "tqdm[None]":
    if total and not quiet and not is_terminal(sys.stderr):
        print("compiling the kernels (once) …", file=sys.stderr, flush=True)
    return tqdm(
        desc="compiling the kernels (once)",
        total=total,
        unit="",
        leave=False,
        disable=quiet or not total or not is_terminal(sys.stderr),
        dynamic_ncols=True,
        # The first tasks take longest: from them tqdm would expect hours.
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]",
    )


def missing_tasks() -> list[Task]:
    """All that is not yet compiled."""
    names = [".".join(path.relative_to(_ROOT).with_suffix("").parts) for path in kernel_modules()]
    for name in names:
        importlib.import_module(name)
    missing = {
        kernel.full_name: kernel
        for kernel in kernels()
        if kernel.py_func.__module__ in names and not kernel.is_kept
    }
    tasks = [
        Task(
            name=name,
            module=kernel.py_func.__module__,
            after=missing.keys() & _below(kernel),
            weight=len(kernel.py_func.__code__.co_code),
        )
        for name, kernel in missing.items()
    ]
    from engine.network.inference.avx512.backend import available_precisions

    if available_precisions() and not is_complete():
        tasks += [
            Task(name=game, module=None, after=set(), weight=_WEIGHT_OF_A_NETWORK)
            for game in NETWORKS
        ]
    return tasks


def _below(kernel: GenericKernel) -> Iterator[str]:
    """The kernels that it calls, directly or through code that it absorbs."""
    for callee in kernel.callees():
        if isinstance(callee, Kernel):
            yield callee.full_name
        else:
            yield from _below(callee)


def _run(tasks: list[Task], advance: Callable[[], object]) -> str:
    """Run the tasks in as many processes as there are cores; raises what a task raises.

    Returns why something could not be kept, "" where all was.
    """
    if not tasks:
        return ""
    waiting = {task.name: task for task in tasks}
    urgency = _urgencies(waiting)
    order = TopologicalSorter({task.name: task.after for task in tasks})
    order.prepare()
    processes = min(len(usable_cores()), _MOST_PROCESSES)
    ready: list[str] = []
    running: dict[Future[str], str] = {}
    problem = ""
    with ProcessPool(processes) as pool:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=urgency.__getitem__)
            while ready and len(running) < processes:
                name = ready.pop()
                running[pool.submit(compile_task, waiting[name])] = name
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                order.done(running.pop(future))
                problem = future.result() or problem
                advance()
    return problem


def _urgencies(tasks: Mapping[str, Task]) -> dict[str, int]:
    """Of each task: the weight of the longest chain of tasks that begins with it."""
    found = {name: task.weight for name, task in tasks.items()}
    callees_first = TopologicalSorter({task.name: task.after for task in tasks.values()})
    for name in reversed(list(callees_first.static_order())):
        for callee in tasks[name].after:
            found[callee] = max(found[callee], tasks[callee].weight + found[name])
    return found


def compile_task(task: Task) -> str:
    """Compile one kernel or network, in a process of the pool; why it could not be kept, or ""."""
    if task.module is None:
        _compile_network(task.name)
    else:
        importlib.import_module(task.module)
        next(kernel for kernel in kernels() if kernel.full_name == task.name).prepare()
    return KERNEL_CACHE.problem


def _compile_network(game: str) -> None:
    """Evaluate one position by the AVX-512 kernels, with the network of the game's preset."""
    from engine.network.inference.avx512.backend import Avx512Backend, computes
    from engine.network.inference.evaluator import DEFAULT_PRECISIONS
    from engine.network.model.policy_value import PolicyValueNet
    from engine.rules.variant import get_variant
    from training.config import resolve

    variant = get_variant(game)
    config = resolve((variant,), {}).network_config(variant)
    known = [name for name in DEFAULT_PRECISIONS if computes(config, name)]
    if known:
        # The last is the fastest, and what "auto" tries first.
        backend = Avx512Backend(PolicyValueNet(config), precision=known[-1], max_batch=1)
        backend.batch(1).run()
