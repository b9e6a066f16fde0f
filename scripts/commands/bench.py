"""`pawnscope bench`: speed figures of this machine, each beside a peer or a ceiling of the run."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.rules.errors import InputError
from scripts.benchmarks.rows import Row
from scripts.options import FigureOptions, parse_options, print_json
from scripts.terminal.interruption import telling

Group = Literal[
    "ceiling", "perft", "solve", "search", "concepts", "network", "gpu", "learner", "language",
    "self-play", "probes", "peers",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BenchOptions(FigureOptions):
    """Measure this machine: medians of some runs with their spread.

    One core and one thread, but for self-play and the language model, which take all cores, and a
    GPU where there is one. The extra "bench" brings python-chess, a peer of perft.
    """

    # Only one group.
    only: Group | None = None
    # Python of an environment with pgx and mctx; the one in .venv-peers unless given.
    peers: Path | None = None


def main(arguments: list[str]) -> int:
    """Measure and print."""
    options = parse_options(BenchOptions, "bench", arguments)
    if options.peers is not None and not options.peers.exists():
        raise InputError(f"--peers {options.peers}: no such file")
    keep_freed_memory()
    rows = []
    shown = "are lost" if options.json else "are those above"
    with telling(f"the figures measured so far {shown}; the same command measures all again"):
        for found in _measure(options):
            rows.append(found)
            if not options.json:
                _show(found)
    if not rows:
        raise InputError(f"--only {options.only}: there is nothing here that it could measure")
    if options.json:
        print_json({"rows": [asdict(found) for found in rows]})
    return 0


def _measure(options: BenchOptions) -> Iterator[Row]:
    """The rows of the groups that were asked for, each as it is found."""
    import torch

    from scripts.benchmarks import concepts, games, gpu, language, network, peers, probes, self_play

    measures: dict[str, Callable[[], Iterator[Row]]] = {
        "ceiling": network.ceiling,
        "perft": games.perft,
        "solve": games.solver,
        "search": games.search,
        "concepts": concepts.concepts,
        "network": network.network,
        "gpu": gpu.gpu,
        "learner": network.learner,
        "language": language.language,
        "self-play": self_play.self_play,
        "probes": probes.probes,
        "peers": lambda: peers.peers(options.peers or peers.DEFAULT_PYTHON),
    }
    for group, measure in measures.items():
        if group == "gpu" and options.only is None and not gpu.available():
            continue
        if options.only in (None, group):
            if group not in ("gpu", "language"):
                torch.set_num_threads(1)
            yield from measure()


def _show(found: Row) -> None:
    share = ""
    if found.share_of_ceiling is not None:
        share = f"  {found.share_of_ceiling:.3g} times {found.against}"
    print(
        f"{found.name:<62}{_number(found.value):>20} {found.unit:<14}"
        f" ({_number(found.low)} to {_number(found.high)}){share}",
        flush=True,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
