"""The choice among backends: the fastest of those that agree with torch."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.network.inference import backend_evaluator
from engine.network.inference import evaluator as inference
from engine.network.inference.backend_evaluator import BackendEvaluator, Candidate, Maker
from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.inference.backends.protocol import BackendError, Batch
from engine.network.inference.backends.torch_cpu import TorchBackend
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.network_evaluator import (
    NetworkEvaluation,
    NetworkEvaluator,
    fastest_precision,
)
from engine.network.inference.parity import (
    MOST_POSITIONS,
    TOLERANCES,
    Disagreement,
    disagreement,
    parity_positions,
    random_positions,
)
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import get_variant, variant_names
from tests.support.network.network_cases import (
    SpoiltBackend,
    lively_network,
    random_moves,
    random_rows,
    small_config,
)

HEXAPAWN = get_variant("hexapawn")


def stronger_draws(batch: Batch) -> None:
    batch.wdl[:, 1] += 1.0


def other_moves(batch: Batch) -> None:
    batch.policy[:] = batch.policy[:, ::-1].copy()


def no_numbers(batch: Batch) -> None:
    batch.wdl[3] = np.nan


def correct(batch: Batch) -> None:
    """Nothing is spoilt."""


def torch_in_float32(network: PolicyValueNet) -> TorchBackend:
    return TorchBackend(network, precision="fp32", max_batch=64)


def fail(_: PolicyValueNet) -> TorchBackend:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")


def evaluator_with(spoil: Callable[[Batch], None], *others: Candidate) -> BackendEvaluator:
    makers: dict[Candidate, Maker] = {
        ("openvino", "fp32"): lambda network: SpoiltBackend(network, spoil, "openvino"),
    }
    makers |= dict.fromkeys(others, torch_in_float32)
    return BackendEvaluator(lively_network("hexapawn", "plain"), makers, parity_positions(HEXAPAWN))


@pytest.mark.parametrize("spoil", [stronger_draws, other_moves, no_numbers])
def test_a_broken_backend_is_refused(spoil: Callable[[Batch], None]) -> None:
    with pytest.raises(BackendError, match=r"refused openvino fp32: it differs from fp32 torch"):
        evaluator_with(spoil)
    evaluator = evaluator_with(spoil, ("torch", "fp32"))
    assert evaluator.backend == "torch"
    assert len(evaluator.notes) == 1
    assert evaluator.notes[0].startswith("refused openvino fp32: it differs")


def test_a_backend_that_fails_is_refused() -> None:
    """When a GPU is full or its driver too old, the CPU serves."""
    network, parity = lively_network("hexapawn", "plain"), parity_positions(HEXAPAWN)
    makers: dict[Candidate, Maker] = {("torch", "bf16"): fail, ("torch", "fp32"): torch_in_float32}
    evaluator = BackendEvaluator(network, makers, parity)
    note = "refused torch bf16: it failed (CUDA out of memory. Tried to allocate 2.00 GiB.)"
    assert evaluator.notes == (note,)
    assert evaluator.precision == "fp32"
    with pytest.raises(BackendError, match="it failed"):
        BackendEvaluator(network, {("torch", "bf16"): fail}, parity)


def test_a_backend_that_breaks_with_new_weights_is_left() -> None:
    spoilt: list[Batch] = []

    def later(batch: Batch) -> None:
        if spoilt:
            stronger_draws(batch)

    alone = evaluator_with(later)
    evaluator = evaluator_with(later, ("torch", "fp32"))
    spoilt.append(evaluator._backend.batch(1))
    new = lively_network("hexapawn", "plain", seed=1)
    evaluator.update(new)
    assert evaluator.backend == "torch"
    asked = random_rows(HEXAPAWN, 9), *random_moves(HEXAPAWN, 9)
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
    network, rows = lively_network("hexapawn", "plain"), random_positions(HEXAPAWN, 20)
    monkeypatch.setattr(backend_evaluator, "_seconds", lambda b: float(b.precision != "int8"))
    for allowed, calibration, expected in (
        (("fp32",), rows, "fp32"),
        (("fp32", "int8"), rows, "int8"),
        (("fp32", "int8"), None, "fp32"),
    ):
        monkeypatch.setattr(inference, "DEFAULT_PRECISIONS", allowed)
        assert make_evaluator(network, calibration=calibration).precision == expected


def test_torch_serves_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    network = lively_network("hexapawn", "plain")
    assert make_evaluator(network).backend == "torch"
    with pytest.raises(BackendError, match=r"openvino is not installed .*'pawnscope\[openvino\]'"):
        make_evaluator(network, backend="openvino")
    with pytest.raises(BackendError, match="with auto in int8"):
        make_evaluator(network, precision="int8", calibration=random_positions(HEXAPAWN, 9))


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
        (
            {"backend": "native", "device": "cuda"},
            "device 'cuda': the backend 'native' computes on the CPU",
        ),
        (
            {"backend": "openvino", "device": "cuda"},
            "device 'cuda': the backend 'openvino' computes on the CPU",
        ),
        ({"calibration": np.zeros((3, 30), np.float32)}, r"float32\[3, 30\], not uint8\[N, 14\]"),
        ({"calibration": np.zeros((3, 30), np.uint8)}, r"uint8\[3, 30\], not uint8\[N, 14\]"),
        ({"calibration": np.zeros((0, 14), np.uint8)}, "holds no position"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        make_evaluator(lively_network("hexapawn", "plain"), **arguments)  # type: ignore[arg-type]


def test_disagreement_is_calculated_by_hand() -> None:
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
def test_parity_positions_have_moves(name: str) -> None:
    variant = get_variant(name)
    for rows in (None, random_positions(variant, 200), np.zeros((5, variant.row_size), np.uint8)):
        parity = parity_positions(variant, rows)
        assert 0 < len(parity.positions) <= MOST_POSITIONS
        assert np.diff(parity.offsets).min() > 0
        assert len(parity.moves) == parity.offsets[-1]


def test_an_older_configuration_is_read() -> None:
    config = small_config("gardner", "residual")
    values = config.to_dict()
    del values["norm"], values["excitation"]
    assert NetworkConfig.from_dict(values) == config
    for name, value in (("norm", "batch"), ("excitation", 1)):
        with pytest.raises(InputError, match=f"{name} = "):
            NetworkConfig.from_dict(values | {name: value})


def test_the_fastest_precision_is_one_of_torch() -> None:
    assert fastest_precision() in ("float32", "bfloat16")


def test_the_allocator_is_set_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
