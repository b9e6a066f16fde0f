"""Exported networks say what torch says, whatever the batch, and appear whole or not at all."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from engine.network.checkpoint import save_checkpoint
from engine.network.inference import export
from engine.network.inference.export import ExportError, save_onnx
from engine.network.inference.openvino.core import compile_for_cpu
from engine.network.language.model import LanguageModel
from engine.network.model.config import LanguageConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.rules.variant import get_variant
from scripts import cli
from tests.support.network.network_cases import lively_network, random_rows

Array = npt.NDArray[np.generic]
BATCHES = (1, 7, 64)
NEAR = 1e-5
"""Of the largest number of an output; the docstring of `export` states it."""
CONTEXT = 80
"""More than the squares up to which attention is computed in another way."""


def by_onnx_runtime(path: Path, given: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(path)
    found: list[Array] = session.run(None, {session.get_inputs()[0].name: given})
    return found


def by_openvino(path: Path, given: Array) -> list[Array]:
    compiled = compile_for_cpu(path, {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(output) for output in compiled(given).values()]


RUNTIMES = {"onnxruntime": by_onnx_runtime, "openvino": by_openvino}


def lively_language_model() -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageConfig(
        vocabulary=50, context=CONTEXT, channels=16, blocks=2, heads=2, hidden=32, dropout=0.3
    )
    model = LanguageModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def check_near(expected: list[torch.Tensor], found: list[Array], what: object) -> None:
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        exact = one.detach().numpy()
        assert exact.shape == other.shape
        if exact.size:
            limit = NEAR * max(1.0, np.abs(exact).max())
            assert np.abs(exact - other).max() < limit, what


def check_at_any_batch(network: PolicyValueNet, path: Path) -> None:
    rows = random_rows(get_variant(network.config.variant), max(BATCHES))
    for name, run in RUNTIMES.items():
        for batch in BATCHES:
            outputs = network(torch.from_numpy(rows[:batch]))
            expected = [output for output in outputs if output.numel()]
            check_near(expected, run(path, rows[:batch]), (name, batch))


def test_a_policy_value_net_at_any_batch(tmp_path: Path) -> None:
    """Castling, en passant and promotions; without them, and a tower, as the command writes it."""
    network = lively_network("diana", "geometric")
    save_onnx(network, tmp_path / "net.onnx")
    check_at_any_batch(network, tmp_path / "net.onnx")


def test_an_output_without_numbers_is_left_out(tmp_path: Path) -> None:
    """Hexapawn has no promotions; a file with an output of size zero is refused by some runtimes,
    and its `promotion` would mislead."""
    network, path = lively_network("hexapawn", "learned"), tmp_path / "net.onnx"
    assert not network.config.promotion_types
    checkpoint = tmp_path / "net.safetensors"
    save_checkpoint(checkpoint, network, metadata={})
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["export", str(checkpoint), str(path), "--json"]) == 0
    figures = json.loads(out.getvalue())
    assert [port["name"] for port in figures["outputs"]] == ["policy", "wdl", "moves_left"]
    assert 0 < figures["difference"] < NEAR
    outputs = onnxruntime.InferenceSession(path).get_outputs()
    assert [output.name for output in outputs] == ["policy", "wdl", "moves_left"]
    check_at_any_batch(network, path)


def test_a_language_model_at_any_batch_and_length(tmp_path: Path) -> None:
    model = lively_language_model()
    save_onnx(model.train(), tmp_path / "lm.onnx")
    assert model.training
    model.eval()
    tokens = torch.randint(50, (max(BATCHES), CONTEXT))
    for name, run in RUNTIMES.items():
        for batch, length in zip(BATCHES, (CONTEXT, 1, 65), strict=True):
            part = tokens[:batch, :length]
            check_near([model(part)], run(tmp_path / "lm.onnx", part.numpy()), (name, batch))


def test_what_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively_network("hexapawn", "geometric")
    path = tmp_path / "net.onnx"
    path.write_text("an older file")

    def half(network: PolicyValueNet, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(export, "_write_onnx", half)
    with pytest.raises(OSError, match="No space"):
        save_onnx(network, path)
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [
        ("net.onnx", "an older file")
    ]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"{package} is not installed .*'pawnscope\[export\]'"):
        save_onnx(lively_network("hexapawn", "geometric"), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class Exported(NamedTuple):
    """A tower as the command has written it twice, and what it printed: tracing takes seconds."""

    network: PolicyValueNet
    onnx: Path
    figures: dict[str, Any]
    openvino: Path
    words: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    onnx, openvino = (folder / name / f"net.{name}" for name in ("onnx", "xml"))
    network, checkpoint = lively_network("gardner", "residual"), folder / "net.safetensors"
    save_checkpoint(checkpoint, network, metadata={})
    printed = []
    for path, *words in ((onnx, "--json"), (openvino,)):
        path.parent.mkdir()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert cli.main(["export", str(checkpoint), str(path), *words]) == 0
        printed.append(out.getvalue())
    return Exported(network, onnx, json.loads(printed[0]), openvino, printed[1])


def test_the_command_writes_compares_and_says_what_it_takes(exported: Exported) -> None:
    figures = exported.figures
    assert figures["inputs"] == [{"name": "positions", "shape": "uint8[batch, 30]"}]
    assert [port["name"] for port in figures["outputs"]] == [
        "policy",
        "promotion",
        "wdl",
        "moves_left",
    ]
    assert figures["runtime"] == "ONNX Runtime"
    assert 0 < figures["difference"] < NEAR
    assert figures["bytes"] == exported.onnx.stat().st_size
    assert "policy     float32[batch, 25, 25]" in exported.words
    assert "by OpenVINO at most" in exported.words


def test_what_the_command_writes_serves_any_batch(exported: Exported) -> None:
    check_at_any_batch(exported.network, exported.onnx)


def test_openvinos_own_files(exported: Exported) -> None:
    path = exported.openvino
    assert sorted(part.name for part in path.parent.iterdir()) == ["net.bin", "net.xml"]
    rows = random_rows(get_variant("gardner"), 7)
    check_near(list(exported.network(torch.from_numpy(rows))), by_openvino(path, rows), "")


def test_a_universal_network_is_exported_for_a_game(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for one that it was not trained on; the game must be named."""
    checkpoint, path = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    config = UniversalConfig(blocks=1, channels=16, heads=2, hidden=16)
    torch.manual_seed(0)
    trained_on = ("hexapawn", "gardner")
    save_checkpoint(checkpoint, UniversalNet(config), metadata={}, trained_on=trained_on)
    words = ["export", str(checkpoint), str(path), "--json"]
    assert cli.main(words) == 2
    assert "hexapawn, gardner" in capsys.readouterr().err
    assert cli.main([*words, "--variant", "petty"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["inputs"] == [{"name": "positions", "shape": "uint8[batch, 35]"}]
    assert figures["difference"] < NEAR


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        (["net.safetensors", "net.pt"], "net.pt: a file is named FILE.onnx or FILE.xml"),
        (["nothing.safetensors", "net.onnx"], "nothing.safetensors"),
        (["net.safetensors", "nowhere/net.onnx"], "nowhere/net.onnx"),
        (["net.safetensors", "net.onnx", "--variant", "petty"], "'gardner', not petty"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    words: list[str],
    quoted: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint("net.safetensors", lively_network("gardner", "residual"), metadata={})
    assert cli.main(["export", *words]) == 2
    error = capsys.readouterr().err
    assert quoted in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
