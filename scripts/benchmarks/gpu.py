"""Figures of a GPU: how far it is from the network, and how fast it is.

Every logit is compared with torch in float64 on the CPU. Times include all transfers.
"""

import functools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.backend_evaluator import BackendEvaluator
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
from scripts.benchmarks.network import GAME, NETWORKS, network_rates
from scripts.benchmarks.rows import REPEATS, SIMULATIONS, Row, row
from scripts.benchmarks.self_play import Meter
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search

LARGER: Final[dict[str, dict[str, object]]] = {
    "transformer-8x256": {
        "trunk": "transformer",
        "blocks": 8,
        "channels": 256,
        "heads": 8,
        "hidden": 512,
    },
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
THREADS: Final = 4
_TIMED: Final = 0.03
"""Seconds of one repeat, at least."""
_SPEED_BATCHES: Final = (1, 8, 32, 128, 512, 1024, LARGEST)
_GAMES: Final = (512, 1024, 2048, LARGEST)
_SIDES: Final = (4096, 8192)
"""Of the square matrices of the ceiling."""

Floats = npt.NDArray[np.float64]


class Logits(NamedTuple):
    """A network's logits for B positions."""

    policy: Floats
    """[B, S, S] logits."""
    promotion: Floats
    """[B, S, P] logits."""
    wdl: Floats
    """[B, 3] logits."""


def available() -> bool:
    """Whether there is a GPU to measure."""
    return torch.cuda.is_available()


def gpu() -> Iterator[Row]:
    """All figures; raises InputError without a GPU, or if it disagrees with the network."""
    if not available():
        raise InputError("bench --only gpu: torch finds no CUDA device here")
    for measure in (parity, ceiling, speed, search, cpu):
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


def logits(backend: Backend, encoder: CompiledEncoder, rows: npt.NDArray[np.uint8]) -> Logits:
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


def _repeated(true: Logits, count: int) -> Logits:
    places = np.arange(count) % len(true.wdl)
    return Logits(*(part[places] for part in true))


class _Verdict:
    """Rows of differences, and whether one was too large."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def row(self, label: str, precision: PrecisionName, errors: list[float]) -> Row:
        """The row of one label; its limit is the peer."""
        limit = LARGEST_ERROR[precision]
        name = f"gpu/parity/{label}/{precision}"
        if not all(value <= limit for value in errors):
            self.failed.append(f"{name} ({max(errors):.3g}, allowed {limit})")
        return row(name, "of the norm", errors, ("the largest that is allowed", limit))


def parity() -> Iterator[Row]:
    """How far the GPU is from the network, at every batch size, after an update, from threads.

    Raises InputError at the end if it is too far, or if repeated calls differ in any bit.
    """
    verdict = _Verdict()
    for name in {**NETWORKS, **LARGER}:
        for precision in PRECISIONS:
            yield from _parity_of(verdict, GAME, name, precision, COUNTS)
    for game in ("hexapawn", "chess"):
        for name in ("transformer-4x64", "residual-5x64"):
            yield from _parity_of(verdict, game, name, "fp32", (1, 33, 256))
    for precision in PRECISIONS:
        errors, unequal = _from_threads(precision)
        yield verdict.row(f"{THREADS}-threads", precision, errors)
        if unequal:
            verdict.failed.append(f"{unequal} logits from threads differ from run to run")
    if verdict.failed:
        raise InputError(f"the GPU disagrees with the network: {'; '.join(verdict.failed)}")


def _parity_of(
    verdict: _Verdict, game: str, name: str, precision: PrecisionName, counts: tuple[int, ...]
) -> Iterator[Row]:
    distinct = random_positions(get_variant(game), DISTINCT)
    old, new = lively(game, name), lively(game, name, seed=1)
    encoder = CompiledEncoder(old.encoder)
    backend = CudaBackend(old, precision=precision, max_batch=max(counts))
    true = exact_logits(game, name, 0)
    label, errors, first = f"{game}/{name}", [], {}
    for count in counts:
        rows = distinct[np.arange(count) % DISTINCT]
        first[count] = logits(backend, encoder, rows)
        errors.append(error(first[count], _repeated(true, count)))
    yield verdict.row(label, precision, errors)
    fresh = CudaBackend(old, precision=precision, max_batch=max(counts))
    for kind, asked in (("again", backend), ("a fresh backend", fresh)):
        for count in (counts[1], counts[-1]):
            rows = distinct[np.arange(count) % DISTINCT]
            if not _same(first[count], logits(asked, encoder, rows)):
                verdict.failed.append(f"{label} {precision}: other bits from {kind} at {count}")
    backend.update(new)
    true = exact_logits(game, name, 1)
    errors = []
    for count in (counts[1], counts[-1]):
        rows = distinct[np.arange(count) % DISTINCT]
        errors.append(error(logits(backend, encoder, rows), _repeated(true, count)))
    yield verdict.row(f"{label}/updated", precision, errors)


def _same(one: Logits, other: Logits) -> bool:
    return all(np.array_equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


def _from_threads(precision: PrecisionName) -> tuple[list[float], int]:
    """Errors of backends in several threads, one each, that run at the same time, and how many
    results differed from the first ones in any bit."""
    distinct = random_positions(get_variant(GAME), DISTINCT)
    networks = [lively(GAME, "residual-5x64", seed) for seed in range(THREADS)]
    true = [exact_logits(GAME, "residual-5x64", seed) for seed in range(THREADS)]
    errors: list[float] = []
    unequal: list[int] = []
    problems: list[BaseException] = []

    def work(network: PolicyValueNet, expected: Logits) -> None:
        try:
            backend = CudaBackend(network, precision=precision, max_batch=512)
            encoder = CompiledEncoder(network.encoder)
            first: dict[int, Logits] = {}
            for turn in range(40):
                count = (500, 3, 60, 200)[turn % 4]
                outputs = logits(backend, encoder, distinct[np.arange(count) % DISTINCT])
                errors.append(error(outputs, _repeated(expected, count)))
                if not _same(first.setdefault(count, outputs), outputs):
                    unequal.append(count)
        except BaseException as problem:
            problems.append(problem)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(networks, true, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return errors, len(unequal)


def _rates(work: Callable[[], None], count: int) -> list[float]:
    """Positions a second of a step of `count` positions timed until its results are there."""
    work()
    begun = time.perf_counter()
    work()
    steps = max(1, round(_TIMED / max(1e-6, time.perf_counter() - begun)))
    found = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for _ in range(steps):
            work()
        found.append(steps * count / (time.perf_counter() - begun))
    return found


@functools.cache
def gpu_matmul(precision: PrecisionName, side: int) -> tuple[float, ...]:
    """Multiplications and additions a second in a large product, each repeat."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    matrices = [torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2)]

    def work() -> None:
        for _ in range(10):
            torch.mm(*matrices)
        torch.cuda.synchronize()

    return tuple(rate * 10 * 2.0 * side**3 for rate in _rates(work, 1))


def ceiling() -> Iterator[Row]:
    """What the GPU multiplies in a second."""
    for precision in PRECISIONS:
        for side in _SIDES:
            found = list(gpu_matmul(precision, side))
            yield row(f"gpu/ceiling/matmul-{side}/{precision}", "FLOP/s", found)


def _flops(network: PolicyValueNet) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    start = get_variant(GAME).start_row[None].copy()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.from_numpy(start))
    return int(counter.get_total_flops())


def speed() -> Iterator[Row]:
    """Each network by batch size: in a graph, with encoding and choice of moves, and eager."""
    for name in {**NETWORKS, **LARGER}:
        network = lively(GAME, name)
        flops = _flops(network)
        for precision in PRECISIONS:
            peak = max(statistics.median(gpu_matmul(precision, side)) for side in _SIDES) / flops
            batches = _SPEED_BATCHES if precision == "bf16" else (128, LARGEST)
            backend = CudaBackend(network, precision=precision, max_batch=LARGEST)
            evaluator = make_evaluator(
                network, backend="torch", precision=precision, max_batch=LARGEST, device="cuda"
            )
            for batch in batches:
                label = f"{name}/{precision}/batch-{batch}"
                yield from _speed_of(label, network, backend, evaluator, batch, peak)


def _speed_of(
    label: str,
    network: PolicyValueNet,
    backend: CudaBackend,
    evaluator: BackendEvaluator,
    batch: int,
    peak: float,
) -> Iterator[Row]:
    positions = random_positions(get_variant(GAME), DISTINCT)[np.arange(batch) % DISTINCT]
    moves, offsets = generate_batch(get_variant(GAME).tables, positions)
    buffers = backend.batch(batch)
    CompiledEncoder(network.encoder).encode(positions, buffers.squares, buffers.state)
    graph = _rates(buffers.run, batch)
    whole = _rates(lambda: _forget(evaluator.evaluate(positions, moves, offsets)), batch)
    with exact_arithmetic():
        eager = _rates(_eager(backend, buffers.squares.copy(), buffers.state.copy()), batch)
    against = "the GPU's largest matmul"
    yield row(f"gpu/graph/{label}", "positions/s", graph, (against, peak))
    yield row(
        f"gpu/latency/{label}",
        "µs",
        [1e6 * batch / rate for rate in graph],
        ("the same network, eager", 1e6 * batch / statistics.median(eager)),
    )
    yield row(
        f"gpu/evaluate/{label}", "positions/s", whole, ("its graph", statistics.median(graph))
    )
    yield row(f"gpu/eager/{label}", "positions/s", eager, (against, peak))


def _forget(_: object) -> None:
    pass


def _eager(
    backend: CudaBackend, squares: npt.NDArray[np.int32], state: npt.NDArray[np.float32]
) -> Callable[[], None]:
    """The same network and the same arithmetic without a graph, from and to numpy."""
    network = backend.network

    @torch.inference_mode()
    def step() -> None:
        tokens = Tokens(torch.from_numpy(squares).cuda(), torch.from_numpy(state).cuda())
        features = network.trunk(network.embedding(tokens))
        wdl, _ = network.value(features)
        for output in (*network.policy(features), wdl):
            output.float().cpu()

    return step


def search() -> Iterator[Row]:
    """PUCT with the network on the GPU, by one thread and by several."""
    for name in ("transformer-4x64", "residual-5x64", "residual-8x256"):
        for games in _GAMES:
            yield from _searched(f"gpu/search/{GAME}/{name}/games-{games}", name, games, 1)
    for threads in (2, 4, 8):
        label = f"gpu/search/{GAME}/residual-5x64/games-1024/threads-{threads}"
        yield from _searched(label, "residual-5x64", 1024, threads)


def _searched(label: str, name: str, games: int, threads: int) -> Iterator[Row]:
    variant = get_variant(GAME)
    rows = random_positions(variant, DISTINCT)[np.arange(games) % DISTINCT]
    roots = Roots(rows, np.zeros((games, 1), np.uint64), np.zeros(games, np.int64))
    config = PuctConfig(simulations=SIMULATIONS, noise_fraction=0.25)
    network = lively(GAME, name)
    meters = [
        Meter(make_evaluator(network, precision="bf16", max_batch=games, device="cuda"))
        for _ in range(threads)
    ]

    def work(meter: Meter, seed: int) -> None:
        tree_search(variant, roots, meter, config, np.random.default_rng(seed))

    rates, outside = [], []
    for turn in range(1 + 3):
        for meter in meters:
            meter.positions, meter.seconds = 0, 0.0
        workers = [
            threading.Thread(target=work, args=(meter, turn * threads + i))
            for i, meter in enumerate(meters)
        ]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - begun
        if turn:  # The first captures graphs and compiles kernels.
            rates.append(sum(meter.positions for meter in meters) / seconds)
            network_seconds = sum(meter.seconds for meter in meters)
            outside.append(100.0 * (1.0 - network_seconds / threads / seconds))
    yield row(label, "simulations/s", rates)
    yield row(f"{label}/outside-the-network", "% of the time", outside)


def cpu() -> Iterator[Row]:
    """The same machine's CPU: torch on all its threads, and the AVX-512 kernels on one."""
    threads = torch.get_num_threads()
    variant = get_variant(GAME)
    positions = random_positions(variant, DISTINCT)
    moves, offsets = generate_batch(variant.tables, positions)
    for name in {**NETWORKS, **LARGER}:
        for precision in PRECISIONS:
            evaluate = make_evaluator(
                lively(GAME, name),
                backend="torch",
                precision=precision,
                max_batch=DISTINCT,
                device="cpu",
            ).evaluate
            found = _rates(
                lambda evaluate=evaluate: _forget(evaluate(positions, moves, offsets)),  # type: ignore[misc]
                DISTINCT,
            )
            yield row(f"gpu/cpu/{name}/{precision}/torch-{threads}-threads", "positions/s", found)
    for name in NETWORKS:
        try:
            found = network_rates(name, "bf16", "native")
        except InputError:
            break  # Not on this processor.
        finally:
            torch.set_num_threads(threads)
        yield row(f"gpu/cpu/{name}/bf16/native-1-thread", "positions/s", found)
