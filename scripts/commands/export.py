"""`pawnscope export CHECKPOINT FILE`: a network for other runtimes, compared with torch."""

import contextlib
import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.network.checkpoint import load_checkpoint, variant_of
from engine.network.finite import require_finite_tensors
from engine.network.inference.export import ONNX_SUFFIX, OPENVINO_SUFFIX, save_onnx, save_openvino
from engine.network.inference.parity import parity_positions
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from scripts.options import FigureOptions, parse_options, print_json
from training.data.run_directory import checkpoint_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ExportOptions(FigureOptions):
    """Write a network as ONNX or OpenVINO; any number of positions goes through it at once.

    Needs the extra "export": pip install 'pawnscope[export]'.
    """

    # A file, or a run directory (its last network).
    checkpoint: Path
    # The file to write: FILE.onnx, or FILE.xml for OpenVINO's own format (with FILE.bin beside it).
    file: Path
    # The game, for a network that was trained on several.
    variant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of the file."""

    name: str
    # As "uint8[batch, 30]".
    shape: str


def main(arguments: list[str]) -> int:
    """Write the file, run it if a runtime is installed, and print its inputs and outputs."""
    options = parse_options(ExportOptions, "export", arguments)
    if options.file.suffix not in (ONNX_SUFFIX, OPENVINO_SUFFIX):
        raise InputError(f"{options.file}: a file is named FILE.onnx or FILE.xml")
    network, variant = _load(options)
    positions = parity_positions(variant).positions
    with torch.inference_mode():
        torch_outputs = network.eval()(torch.from_numpy(positions))
    require_finite_tensors(torch_outputs._asdict(), f"{options.checkpoint}: its output")
    expected = [output.numpy() for output in torch_outputs]
    save = save_onnx if options.file.suffix == ONNX_SUFFIX else save_openvino
    save(network, options.file)
    inputs, outputs = _ports(network)
    figures: dict[str, Any] = {
        "file": str(options.file),
        "bytes": options.file.stat().st_size + _weights(options.file),
        "inputs": [asdict(port) for port in inputs],
        "outputs": [asdict(port) for port in outputs],
        "positions": len(positions),
        "difference": None,
        "runtime": None,
    }
    found = _run(options.file, positions)
    if found is not None:
        figures["runtime"], computed = found
        figures["difference"] = _difference(expected, computed)
    _show(figures, as_json=options.json)
    return 0


def _load(options: ExportOptions) -> tuple[PolicyValueNet, Variant]:
    path = checkpoint_of(options.checkpoint)
    variant = variant_of(path, options.variant)
    return load_checkpoint(path, variant=variant).network, variant


def _ports(network: PolicyValueNet) -> tuple[list[Port], list[Port]]:
    config = network.config
    S, P = config.squares, len(config.promotion_types)
    inputs = [Port(name="positions", shape=f"uint8[batch, {S + 5}]")]
    shapes = {"policy": f", {S}, {S}", "promotion": f", {S}, {P}", "wdl": ", 3", "moves_left": ""}
    return inputs, [
        Port(name=name, shape=f"float32[batch{shape}]") for name, shape in shapes.items()
    ]


def _weights(path: Path) -> int:
    """Bytes of the weights in files beside it."""
    sizes = [
        part.stat().st_size
        for part in (path.with_suffix(".bin"), path.with_name(f"{path.name}.data"))
        if part.exists()
    ]
    return sum(sizes)


def _run(path: Path, positions: Array) -> tuple[str, list[Array]] | None:
    """The runtime that is installed and its outputs in float32; None without one."""
    if path.suffix == ONNX_SUFFIX and importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return "ONNX Runtime", session.run(None, {"positions": positions})
    with contextlib.suppress(ImportError):
        from engine.network.inference.openvino.core import compile_for_cpu

        compiled = compile_for_cpu(path, {"INFERENCE_PRECISION_HINT": "f32"})
        return "OpenVINO", [np.asarray(output) for output in compiled(positions).values()]
    return None


def _difference(expected: list[Array], computed: list[Array]) -> float:
    """The largest difference of any output, as a share of the output's largest number."""
    shares = [
        float(np.abs(one - other).max() / max(1.0, np.abs(one).max()))
        for one, other in zip(expected, computed, strict=True)
        if one.size
    ]
    return max(shares)


def _show(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    print(f"{figures['file']}: {figures['bytes'] / 1e6:.1f} MB")
    for way in ("inputs", "outputs"):
        for port in figures[way]:
            print(f"  {way.removesuffix('s'):6} {port['name']:10} {port['shape']}")
    if figures["runtime"] is None:
        print("  not compared with torch: neither ONNX Runtime nor OpenVINO is installed")
    else:
        print(
            f"  by {figures['runtime']} at most {figures['difference']:.1e} from torch"
            f" on {figures['positions']} positions"
        )
