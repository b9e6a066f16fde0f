"""Every backend says what the network says, and one that does not is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.inference import backend_evaluator
from engine.network.inference import evaluator as inference
from engine.network.inference.backend_evaluator import BackendEvaluator, Candidate, Maker
from engine.network.inference.backends.protocol import (
    BackendError,
    BackendName,
    Batch,
    FixedSizes,
    PrecisionName,
    empty_batch,
)
from engine.network.inference.backends.torch_cpu import TorchBackend
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.network_evaluator import NetworkEvaluation, NetworkEvaluator
from engine.network.inference.parity import TOLERANCES, Disagreement, disagreement, parity_positions
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.moves import make_move
from engine.rules.variant import get_variant, variant_names
from search.evaluator import Evaluator
from tests.support.network_cases import (
    TRUNKS,
    SpoiltBackend,
    lively_network,
    random_moves,
    random_rows,
    small_config,
)
from tests.support.random_games import random_games, replayed

Question = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.int64]]

ROOT = Path(__file__).resolve().parents[4]
CONFIGURATIONS: dict[str, dict[str, object]] = {
    **{trunk: {"kind": trunk} for trunk in TRUNKS},
    "one head": {"kind": "geometric", "heads": 1},
    "four heads": {"kind": "geometric", "heads": 4},
    "gelu": {"kind": "geometric", "activation": "gelu"},
    "no blocks": {"kind": "geometric", "blocks": 0},
    "no residual blocks": {"kind": "plain", "blocks": 0},
    "gates without norm": {"kind": "plain", "excitation": True},
    "norm without gates": {"kind": "residual", "excitation": False},
}
PAIRS: list[tuple[BackendName, PrecisionName]] = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
]
every_pair = pytest.mark.parametrize(("backend", "precision"), PAIRS, ids=" ".join)


def network_of(variant: str, configuration: str, seed: int = 0) -> PolicyValueNet:
    settings = dict(CONFIGURATIONS[configuration])
    return lively_network(variant, str(settings.pop("kind")), seed, **settings)


def question(name: str, count: int) -> Question:
    """Boards with anything anywhere."""
    return random_rows(get_variant(name), count), *random_moves(get_variant(name), count)


def played(name: str) -> Question:
    """Positions of random games that go on."""
    games = random_games(get_variant(name), 6, 12)
    positions = (position for game in games for position in replayed(game))
    rows = np.stack([position.row for position in positions if position.legal_moves])
    return rows, *generate_batch(get_variant(name).tables, rows)


@pytest.mark.parametrize("name", variant_names())
def test_tokens_are_those_of_the_network_s_eyes(name: str) -> None:
    variant = get_variant(name)
    encoder = lively_network(name, "geometric").encoder
    walked = [position.row for position in random_games(variant, 20, 30)]
    rows = np.concatenate([np.stack(walked), random_rows(variant, 300)])
    rows[-256:, variant.squares + 3] = rows[-256:, variant.squares + 4] = np.arange(256)
    squares = np.empty((len(rows), variant.squares), np.int32)
    state = np.empty((len(rows), 6), np.float32)
    CompiledEncoder(encoder).encode(rows, squares, state)
    expected = encoder(torch.from_numpy(rows))
    np.testing.assert_array_equal(squares, expected.squares.numpy())
    np.testing.assert_array_equal(state, expected.state.numpy())


@pytest.mark.parametrize(
    ("variant", "configuration"),
    [*(("gardner", name) for name in CONFIGURATIONS), ("hexapawn4x3", "residual")],
)
def test_openvino_agrees_with_every_network(variant: str, configuration: str) -> None:
    network = network_of(variant, configuration)
    asked = question(variant, 21)
    exact = NetworkEvaluator(network).evaluate(*asked)
    evaluator: Evaluator = make_evaluator(
        network, backend="openvino", precision="fp32", max_batch=21
    )
    said = evaluator.evaluate(*asked)
    assert said.logits.dtype == said.wdl.dtype == np.float32
    np.testing.assert_allclose(said.logits, exact.logits, atol=2e-4)
    np.testing.assert_allclose(said.wdl, exact.wdl, atol=2e-5)


@every_pair
@pytest.mark.parametrize("trunk", ["geometric", "residual", "plain"])
def test_every_backend_is_near_and_is_what_it_says(
    trunk: str, backend: BackendName, precision: PrecisionName
) -> None:
    network = lively_network("gardner", trunk)
    asked = played("gardner")
    exact = NetworkEvaluator(network).evaluate(*asked)
    evaluator = make_evaluator(network, backend=backend, precision=precision, calibration=asked[0])
    assert (evaluator.backend, evaluator.precision, evaluator.notes) == (backend, precision, ())
    said = evaluator.evaluate(*asked)
    assert disagreement(exact, said, asked[2]).within(TOLERANCES[precision])
    np.testing.assert_allclose(said.wdl.sum(1), 1, atol=1e-6)
    if precision != "fp32":
        assert not np.allclose(said.logits, exact.logits, atol=1e-6), "computed in fp32 after all"


@every_pair
def test_a_position_is_judged_alike_in_any_batch(
    backend: BackendName, precision: PrecisionName
) -> None:
    rows, moves, offsets = played("gardner")
    evaluator = make_evaluator(
        lively_network("gardner", "residual"),
        backend=backend,
        precision=precision,
        max_batch=16,
        calibration=rows,
    )
    together = evaluator.evaluate(rows, moves, offsets)
    room = 1e-5 if precision == "fp32" else 0.02
    for i in (0, 15, 16, len(rows) - 1):
        part = slice(offsets[i], offsets[i + 1])
        alone = evaluator.evaluate(rows[i : i + 1], moves[part], offsets[i : i + 2] - offsets[i])
        np.testing.assert_allclose(alone.logits, together.logits[part], atol=room)
        np.testing.assert_allclose(alone.wdl[0], together.wdl[i], atol=room)


@every_pair
def test_an_update_brings_the_new_weights(backend: BackendName, precision: PrecisionName) -> None:
    asked = played("gardner")
    old, new = (lively_network("gardner", "residual", seed) for seed in (0, 1))
    evaluator, fresh = (
        make_evaluator(network, backend=backend, precision=precision, calibration=asked[0])
        for network in (old, new)
    )
    before = evaluator.evaluate(*asked)
    evaluator.update(new)
    after, expected = evaluator.evaluate(*asked), fresh.evaluate(*asked)
    assert not np.allclose(before.wdl, after.wdl, atol=0.01)
    np.testing.assert_array_equal(after.wdl, expected.wdl)
    np.testing.assert_array_equal(after.logits, expected.logits)


@every_pair
def test_training_on_does_not_change_an_evaluator(
    backend: BackendName, precision: PrecisionName
) -> None:
    asked = played("gardner")
    network = lively_network("gardner", "geometric")
    evaluator = make_evaluator(network, backend=backend, precision=precision, calibration=asked[0])
    before = evaluator.evaluate(*asked)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(evaluator.evaluate(*asked).logits, before.logits)
    # A batch size that is compiled only now.
    rows, moves, offsets = asked
    alone = evaluator.evaluate(rows[:1], moves[: offsets[1]], offsets[:2])
    np.testing.assert_allclose(alone.logits, before.logits[: offsets[1]], atol=0.02)


def stronger_draws(batch: Batch) -> None:
    batch.wdl[:, 1] += 1.0


def other_moves(batch: Batch) -> None:
    batch.policy[:] = batch.policy[:, ::-1].copy()


def no_numbers(batch: Batch) -> None:
    batch.wdl[3] = np.nan


def correct(batch: Batch) -> None:
    """Nothing is spoilt."""


def evaluator_with(
    spoil: Callable[[Batch], None], *others: Candidate, network: PolicyValueNet | None = None
) -> BackendEvaluator:
    makers: dict[Candidate, Maker] = {
        ("openvino", "fp32"): lambda network: SpoiltBackend(network, spoil, "openvino"),
    }
    for candidate in others:
        makers[candidate] = lambda network: TorchBackend(network, precision="fp32", max_batch=64)
    network = network or lively_network("gardner", "geometric")
    return BackendEvaluator(network, makers, parity_positions(get_variant("gardner")))


@pytest.mark.parametrize("spoil", [stronger_draws, other_moves, no_numbers])
def test_a_broken_backend_is_refused(spoil: Callable[[Batch], None]) -> None:
    with pytest.raises(BackendError, match=r"refused openvino fp32: it differs from fp32 torch"):
        evaluator_with(spoil)
    evaluator = evaluator_with(spoil, ("torch", "fp32"))
    assert evaluator.backend == "torch"
    assert len(evaluator.notes) == 1
    assert evaluator.notes[0].startswith("refused openvino fp32: it differs")


def test_a_backend_that_breaks_with_new_weights_is_left() -> None:
    spoilt: list[Batch] = []

    def later(batch: Batch) -> None:
        if spoilt:
            stronger_draws(batch)

    asked = played("gardner")
    alone = evaluator_with(later)
    evaluator = evaluator_with(later, ("torch", "fp32"))
    spoilt.append(evaluator._backend.batch(1))
    new = lively_network("gardner", "geometric", seed=1)
    evaluator.update(new)
    assert evaluator.backend == "torch"
    expected = NetworkEvaluator(new).evaluate(*asked)
    np.testing.assert_allclose(evaluator.evaluate(*asked).wdl, expected.wdl, atol=1e-5)
    with pytest.raises(BackendError, match="refused openvino fp32"):
        alone.update(new)


def test_the_fastest_that_agrees_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for fastest in ("openvino", "torch"):
        monkeypatch.setattr(
            backend_evaluator, "_seconds", lambda b, name=fastest: float(b.name != name)
        )
        assert evaluator_with(correct, ("torch", "fp32")).backend == fastest


def test_auto_takes_only_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows = lively_network("hexapawn", "plain"), played("hexapawn")[0]
    monkeypatch.setattr(backend_evaluator, "_seconds", lambda b: float(b.precision != "int8"))
    for allowed, calibration, expected in (
        (("fp32",), rows, "fp32"),
        (("fp32", "int8"), rows, "int8"),
        (("fp32", "int8"), None, "fp32"),
    ):
        monkeypatch.setattr(inference, "DEFAULT_PRECISIONS", allowed)
        assert make_evaluator(network, calibration=calibration).precision == expected


def test_torch_serves_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    network = lively_network("hexapawn", "plain")
    assert make_evaluator(network).backend == "torch"
    with pytest.raises(BackendError, match=r"openvino is not installed .*'pawnscope\[openvino\]'"):
        make_evaluator(network, backend="openvino")
    with pytest.raises(BackendError, match="with auto in int8"):
        make_evaluator(network, precision="int8", calibration=played("hexapawn")[0])


def test_nothing_else_needs_openvino() -> None:
    code = "import sys; sys.modules['openvino'] = None; import engine.network.inference.evaluator"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


CONNECTIONS_TOLD = """
import os, pathlib, sys
def hear(event, arguments):
    if event.startswith("socket."):
        os.write(2, f"{event} {arguments}".encode())
sys.addaudithook(hear)
from engine.network.inference.export import save_openvino
from engine.network.inference.evaluator import make_evaluator
from tests.support.network_cases import lively_network
network = lively_network("hexapawn", "plain")
make_evaluator(network, backend="openvino")
save_openvino(network, pathlib.Path(sys.argv[1]) / "net.xml")
"""


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """Its import alone would ask for the address of a server, and leave files at home."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    # Where continuous integration says who it is OpenVINO is silent by itself.
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    variables |= {"PYTHONPATH": str(ROOT), "HOME": str(home), "XDG_CACHE_HOME": caches}
    done = subprocess.run(
        [sys.executable, "-c", CONNECTIONS_TOLD, str(out)],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "socket." not in done.stderr
    assert not list(home.iterdir())
    assert (out / "net.xml").exists()


FREED_IN_THE_ORDER_MADE = """
import signal
from engine.network.inference.evaluator import make_evaluator
from tests.support.network_cases import lively_network, random_moves, random_rows
from engine.rules.variant import get_variant
variant = get_variant("hexapawn")
rows, moves = random_rows(variant, 1), random_moves(variant, 1)
def used():
    evaluator = make_evaluator(lively_network("hexapawn", "plain"), backend="openvino")
    evaluator.evaluate(rows, *moves)
    return evaluator
first, second = used(), used()
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_finds_a_stack_when_openvinos_networks_are_gone() -> None:
    """Two of its Cores would leave the main thread with an alternate signal stack that is freed."""
    done = subprocess.run(
        [sys.executable, "-c", FREED_IN_THE_ORDER_MADE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "onnx"}, "backend 'onnx' is not one of auto, torch, openvino, native"),
        ({"precision": "fp16"}, "precision 'fp16' is not one of auto, fp32, bf16, int8"),
        (
            {"backend": "torch", "precision": "int8"},
            "no backend here computes this network with torch in int8",
        ),
        ({"precision": "int8"}, "int8 needs positions to calibrate it"),
        ({"max_batch": 0}, "max_batch = 0"),
        ({"device": "tpu"}, "device 'tpu' is not one of auto, cpu, cuda"),
        ({"calibration": np.zeros((3, 30), np.float32)}, r"float32\[3, 30\], not uint8\[N, 14\]"),
        ({"calibration": np.zeros((3, 30), np.uint8)}, r"uint8\[3, 30\], not uint8\[N, 14\]"),
        ({"calibration": np.zeros((0, 14), np.uint8)}, "holds no position"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        make_evaluator(lively_network("hexapawn", "plain"), **arguments)  # type: ignore[arg-type]


def test_another_configuration_is_no_update() -> None:
    evaluator = make_evaluator(lively_network("hexapawn", "plain"), backend="torch")
    with pytest.raises(InputError, match="another configuration"):
        evaluator.update(lively_network("hexapawn", "residual"))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_promotion_of_another_game_is_refused(backend: str) -> None:
    evaluator = make_evaluator(lively_network("losalamos", "geometric"), backend=backend)
    to_bishop = np.array([make_move(24, 30, 3)], np.uint16)
    with pytest.raises(IndexError):
        evaluator.evaluate(random_rows(get_variant("losalamos"), 1), to_bishop, np.array([0, 1]))


def test_disagreement_is_what_it_says() -> None:
    offsets = np.array([0, 1, 3], np.int64)
    exact = NetworkEvaluation(
        np.array([5, 0, 0], np.float32), np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    )
    # Any offset of a position's logits is the same policy.
    same = NetworkEvaluation(np.array([-1, 7, 7], np.float32), exact.wdl)
    assert disagreement(exact, same, offsets) == Disagreement(wdl=0, wdl_mean=0, policy=0)
    # Halves against 3/4 and 1/4: (ln(2/3) + ln 2) / 2 nats, at one of two positions.
    other = NetworkEvaluation(
        np.array([5, np.log(3), 0], np.float32), np.array([[0.9, 0.1, 0], [0, 1, 0]], np.float32)
    )
    found = disagreement(exact, other, offsets)
    assert found.wdl == pytest.approx(0.1)
    assert found.wdl_mean == pytest.approx(0.1 / 3)
    assert found.policy == pytest.approx(np.log(4 / 3) / 4)
    limit = Disagreement(wdl=0.11, wdl_mean=0.04, policy=0.08)
    assert found.within(limit)
    for tighter in ({"wdl": 0.09}, {"wdl_mean": 0.03}, {"policy": 0.07}):
        assert not found.within(replace(limit, **tighter))
    for name in ("wdl", "wdl_mean", "policy"):
        assert not replace(limit, **{name: float("nan")}).within(TOLERANCES["int8"])


@pytest.mark.parametrize("name", variant_names())
def test_probe_positions_have_moves(name: str) -> None:
    variant = get_variant(name)
    for rows in (None, played(name)[0], np.zeros((5, variant.row_size), np.uint8)):
        probe = parity_positions(variant, rows)
        assert 0 < len(probe.positions) <= 64
        assert np.diff(probe.offsets).min() > 0
        assert len(probe.moves) == probe.offsets[-1]


def test_fixed_sizes_waste_little_and_take_few_batches() -> None:
    config = small_config("hexapawn", "plain")
    sizes = FixedSizes((1, 4, 16, 64), 1 / 8, lambda size: empty_batch(config, size))
    for count in range(1, 300):
        left, computed, batches = count, 0, 0
        while left > 0:
            size = len(sizes.batch(left).wdl)
            left, computed, batches = left - size, computed + size, batches + 1
        assert count <= computed <= count + 8
        assert batches <= 2 + count // 16 + 3


def test_an_older_configuration_is_what_it_was() -> None:
    config = small_config("gardner", "residual")
    values = config.to_dict()
    del values["norm"], values["excitation"]
    assert NetworkConfig.from_dict(values) == config
    for name, value in (("norm", "batch"), ("excitation", 1)):
        with pytest.raises(InputError, match=f"{name} = "):
            NetworkConfig.from_dict(values | {name: value})
