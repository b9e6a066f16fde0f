"""Figures of a GPU: how far it is from the network, and how fast it is.

Every logit is compared with torch in float64 on the CPU. Times include all transfers.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.backends.cuda import CudaBackend, exact_arithmetic
from engine.network.inference.backends.protocol import Backend, PrecisionName
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.parity import random_positions
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import Tokens
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.variant import get_variant
from scripts.benchmarks.network import GAME, NETWORKS
from scripts.benchmarks.rows import SIMULATIONS, Row, rates, row
from scripts.benchmarks.self_play import Meter
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search

LARGER: Final[dict[str, dict[str, object]]] = {
    "transformer-8x256": {"blocks": 8, "channels": 256, "heads": 8, "hidden": 512},
    "residual-8x256": {"trunk": "residual", "blocks": 8, "channels": 256},
}
"""Networks that are too large for a CPU to play with."""
PRECISIONS: Final[tuple[PrecisionName, ...]] = ("fp32", "bf16")
LARGEST: Final = 4096
COUNTS: Final = (1, 7, 8, 31, 32, 100, 512, 1000, LARGEST)
"""Positions in a call: sizes that are captured, and others."""
DISTINCT: Final = 500
"""Positions that the reference evaluates; larger batches repeat them."""
LARGEST_ERROR: Final[dict[PrecisionName, float]] = {"fp32": 1e-4, "bf16": 5e-2}
"""||logits - exact|| / ||exact||; rounding to TF32 would give 3e-4 or more."""
_TIMED: Final = 0.03
"""Seconds of one repeat, at least."""

Rows = npt.NDArray[np.uint8]


class Logits(NamedTuple):
    """A network's logits for B positions."""

    policy: npt.NDArray[np.float64]
    """[B, S, S] logits."""
    promotion: npt.NDArray[np.float64]
    """[B, S, P] logits."""
    wdl: npt.NDArray[np.float64]
    """[B, 3] logits."""

    def first(self, count: int) -> "Logits":
        """Those of `count` positions, repeated from the first on where there are fewer."""
        return Logits(*(part[np.arange(count) % len(part)] for part in self))


def available() -> bool:
    """Whether there is a GPU to measure."""
    return torch.cuda.is_available()


def gpu() -> Iterator[Row]:
    """All figures; raises InputError without a GPU, or if it disagrees with the network."""
    if not available():
        raise InputError("bench --only gpu: torch finds no CUDA device here")
    for measure in (parity, speed, search):
        yield from measure()


def lively(game: str, name: str, seed: int = 0) -> PolicyValueNet:
    """A network whose every parameter matters: a fresh one evaluates all positions alike."""
    torch.manual_seed(seed)
    settings = {**NETWORKS, **LARGER}[name]
    network = PolicyValueNet(NetworkConfig.for_variant(get_variant(game), settings))
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.add_(torch.randn_like(parameter), alpha=fan_in**-0.5)
    return network.eval()


@functools.cache
def exact_logits(game: str, name: str, seed: int) -> Logits:
    """The logits of that network for the distinct positions, in float64 on the CPU."""
    exact = lively(game, name, seed).double()
    with torch.inference_mode():
        outputs = exact(torch.from_numpy(random_positions(get_variant(game), DISTINCT)))
    return Logits(outputs.policy.numpy(), outputs.promotion.numpy(), outputs.wdl.numpy())


def _positions(game: str, count: int) -> Rows:
    return random_positions(get_variant(game), DISTINCT)[np.arange(count) % DISTINCT]


def logits(backend: Backend, encoder: CompiledEncoder, rows: Rows) -> Logits:
    """The logits of a backend, batch by batch; NaN where it writes none."""
    parts: list[tuple[npt.NDArray[np.float32], ...]] = []
    start = 0
    while start < len(rows):
        batch = backend.batch(len(rows) - start)
        taken = min(len(batch.wdl), len(rows) - start)
        encoder.encode(rows[start : start + taken], batch.squares, batch.state)
        outputs = batch.policy, batch.promotion, batch.wdl
        for output in outputs:
            output.fill(np.nan)
        batch.run()
        parts.append(tuple(output[:taken].copy() for output in outputs))
        start += taken
    return Logits(*(np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)))


def error(found: Logits, exact: Logits) -> float:
    """The largest ||found - exact|| / ||exact|| of policy, promotion and WDL logits."""
    errors = [
        float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        for ours, theirs in zip(found, exact, strict=True)
        if theirs.size
    ]
    return float(np.max(errors))  # Unlike `max`, NaN if one of them is NaN.


class _Subject(NamedTuple):
    """A network, another of its kind for an update, and the exact logits of both."""

    game: str
    networks: tuple[PolicyValueNet, PolicyValueNet]
    exact: tuple[Logits, Logits]

    @classmethod
    def of(cls, game: str, name: str, seed: int = 0) -> "_Subject":
        old, new = seed, seed + 1
        networks = lively(game, name, old), lively(game, name, new)
        return cls(game, networks, (exact_logits(game, name, old), exact_logits(game, name, new)))

    def errors(self, precision: PrecisionName, counts: Sequence[int]) -> list[float]:
        """The errors of the GPU for batches of these sizes, before and after an update; infinity
        where a second call, or another backend, gives other bits."""
        backends = [
            CudaBackend(self.networks[0], precision=precision, max_batch=max(counts))
            for _ in range(2)
        ]
        encoder = CompiledEncoder(self.networks[0].encoder)
        found = []
        for number, exact in enumerate(self.exact):
            for backend in backends[: 2 * number]:
                backend.update(self.networks[number])
            for count in counts:
                rows = _positions(self.game, count)
                first, *others = (
                    logits(backend, encoder, rows) for backend in (backends[0], *backends)
                )
                same = all(
                    np.array_equal(ours, theirs)
                    for other in others
                    for ours, theirs in zip(first, other, strict=True)
                )
                found.append(error(first, exact.first(count)) if same else np.inf)
        return found


def parity() -> Iterator[Row]:
    """How far the GPU is from the network, at every batch size, after an update, from threads.

    Raises InputError at the end if it is too far, or if repeated calls differ in any bit.
    """
    failed = []
    for name, precision, errors in _compared():
        limit, largest = LARGEST_ERROR[precision], np.max(errors)
        if not largest <= limit:
            failed.append(f"{name} ({largest:.3g}, allowed {limit})")
        yield row(f"gpu/parity/{name}", "of the norm", errors, ("the largest allowed", limit))
    if failed:
        raise InputError(
            f"the GPU disagrees with the network (inf: with itself): {'; '.join(failed)}"
        )


def _compared() -> Iterator[tuple[str, PrecisionName, list[float]]]:
    for name in {**NETWORKS, **LARGER}:
        for precision in PRECISIONS:
            errors = _Subject.of(GAME, name).errors(precision, COUNTS)
            yield f"{GAME}/{name}/{precision}", precision, errors
    for game in ("hexapawn", "chess"):
        for name in ("transformer-4x64", "residual-5x64"):
            errors = _Subject.of(game, name).errors("fp32", (1, 33, 256))
            yield f"{game}/{name}/fp32", "fp32", errors
    # Made before the threads start: torch's generator is one for all.
    subjects = [_Subject.of(GAME, "residual-5x64", seed) for seed in range(4)]
    for precision in PRECISIONS:
        work = functools.partial(_Subject.errors, precision=precision, counts=(500, 3, 60, 200))
        with ThreadPoolExecutor(len(subjects)) as pool:
            errors = [each for found in pool.map(work, subjects) for each in found]
        yield f"4-threads/{precision}", precision, errors


def _rates(work: Callable[[], object], count: int) -> list[float]:
    """Positions a second of a step of `count` positions, timed until its results are there."""
    work()
    begun = time.perf_counter()
    work()
    steps = max(1, round(_TIMED / max(1e-6, time.perf_counter() - begun)))

    def repeat() -> float:
        for _ in range(steps):
            work()
        return steps * count

    return rates(repeat)


def speed() -> Iterator[Row]:
    """Each network by batch size: in a graph, with encoding and choice of moves, and eager."""
    for name in {**NETWORKS, **LARGER}:
        for precision in PRECISIONS:
            network = lively(GAME, name)
            backend = CudaBackend(network, precision=precision, max_batch=LARGEST)
            evaluator = make_evaluator(
                network, backend="torch", precision=precision, max_batch=LARGEST, device="cuda"
            )
            for batch in (1, 128, 1024, LARGEST):
                positions = _positions(GAME, batch)
                moves, offsets = generate_batch(get_variant(GAME).tables, positions)
                buffers = backend.batch(batch)
                CompiledEncoder(network.encoder).encode(positions, buffers.squares, buffers.state)
                graph = _rates(buffers.run, batch)
                evaluate = functools.partial(evaluator.evaluate, positions, moves, offsets)
                whole = _rates(evaluate, batch)
                with exact_arithmetic():
                    tokens = buffers.squares.copy(), buffers.state.copy()
                    eager = _rates(functools.partial(_eager, backend.network, *tokens), batch)
                label = f"{name}/{precision}/batch-{batch}"
                without = ("the same without a graph", statistics.median(eager))
                yield row(f"gpu/graph/{label}", "positions/s", graph, without)
                alone = ("its graph", statistics.median(graph))
                yield row(f"gpu/evaluate/{label}", "positions/s", whole, alone)
                yield row(f"gpu/eager/{label}", "positions/s", eager)


@torch.inference_mode()
def _eager(
    network: PolicyValueNet, squares: npt.NDArray[np.int32], state: npt.NDArray[np.float32]
) -> None:
    """The arithmetic of a graph's step without the graph, from and to numpy."""
    tokens = Tokens(torch.from_numpy(squares).cuda(), torch.from_numpy(state).cuda())
    features = network.trunk(network.embedding(tokens))
    wdl, _ = network.value(features)
    for output in (*network.policy(features), wdl):
        output.float().cpu()


def search() -> Iterator[Row]:
    """PUCT with the network on the GPU, by one thread and by several."""
    for name in ("transformer-4x64", "residual-5x64"):
        for threads in (1, 8):
            yield from _searched(name, games=1024, threads=threads)


def _searched(name: str, *, games: int, threads: int) -> Iterator[Row]:
    roots = Roots(
        _positions(GAME, games), np.zeros((games, 1), np.uint64), np.zeros(games, np.int64)
    )
    config = PuctConfig(simulations=SIMULATIONS, noise_fraction=0.25)
    network = lively(GAME, name)
    meters = [
        Meter(make_evaluator(network, precision="bf16", max_batch=games, device="cuda"))
        for _ in range(threads)
    ]
    outside = []

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        tree_search(get_variant(GAME), roots, meters[number], config, rng)

    def search_all() -> float:
        for meter in meters:
            meter.positions, meter.seconds = 0, 0.0
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        seconds = time.perf_counter() - begun
        in_network = sum(meter.seconds for meter in meters) / threads
        outside.append(100.0 * (1.0 - in_network / seconds))
        return sum(meter.positions for meter in meters)

    label = f"gpu/search/{GAME}/{name}/games-{games}/threads-{threads}"
    yield row(label, "simulations/s", rates(search_all))
    # The first captures graphs and compiles kernels.
    yield row(f"{label}/outside-the-network", "% of the time", outside[1:])
