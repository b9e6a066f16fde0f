"""`pawnscope export CHECKPOINT FILE`: a network for other runtimes, compared with torch."""

import contextlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.network.checkpoint import load_checkpoint, variant_of
from engine.network.finite import require_finite_tensors
from engine.network.inference.export import (
    ONNX_SUFFIX,
    OPENVINO_SUFFIX,
    WRITERS,
    output_names,
    save_onnx,
    save_openvino,
)
from engine.network.inference.parity import parity_positions
from engine.network.model.config import NetworkConfig
from engine.rules.errors import InputError
from engine.rules.tables import STATE_SIZE
from scripts.extras import require_extra
from scripts.options import FigureOptions, parse_options, print_json, require_writable
from scripts.terminal.texts import size_text
from training.data.run_directory import checkpoint_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ExportOptions(FigureOptions):
    """Write a network as ONNX or OpenVINO; any number of positions goes through it at once.

    Needs the packages of the extra "export"; where they are missing, it offers to install them.
    """

    # A file, or a run directory (its last network).
    checkpoint: Path
    # The file to write: FILE.onnx, or FILE.xml for OpenVINO's own format (with FILE.bin beside it).
    file: Path
    # The game, for a network that was trained on several.
    variant: str | None = None


def main(arguments: list[str]) -> int:
    """Write the file, run it if a runtime is installed, and print its inputs and outputs."""
    options = parse_options(ExportOptions, "export", arguments)
    if options.file.suffix not in (ONNX_SUFFIX, OPENVINO_SUFFIX):
        raise InputError(f"{options.file}: a file is named FILE.onnx or FILE.xml")
    require_writable(options.file)
    path = checkpoint_of(options.checkpoint)
    variant = variant_of(path, options.variant)
    network = load_checkpoint(path, variant=variant).network
    require_extra("export", "export", *WRITERS)
    if options.file.suffix == OPENVINO_SUFFIX:
        require_extra("export", "openvino", "openvino")
    positions = parity_positions(variant).positions
    with torch.inference_mode():
        torch_outputs = network.eval()(torch.from_numpy(positions))
    require_finite_tensors(torch_outputs._asdict(), f"{options.checkpoint}: its output")
    expected = [getattr(torch_outputs, name).numpy() for name in output_names(network)]
    save = save_onnx if options.file.suffix == ONNX_SUFFIX else save_openvino
    save(network, options.file)
    runtime, computed = _run(options.file, positions)
    # Of ONNX and OpenVINO, with the files of weights beside it.
    parts = options.file, options.file.with_suffix(".bin"), Path(f"{options.file}.data")
    figures: dict[str, Any] = {
        "file": str(options.file),
        "bytes": sum(part.stat().st_size for part in parts if part.exists()),
        **_shapes(network.config, output_names(network)),
        "positions": len(positions),
        "difference": _difference(expected, computed) if runtime else None,
        "runtime": runtime,
    }
    if options.json:
        print_json(figures)
    else:
        _show(figures)
    return 0


def _shapes(config: NetworkConfig, outputs: list[str]) -> dict[str, list[dict[str, str]]]:
    """Inputs and outputs of the file, such as "uint8[batch, 30]"."""
    S, P = config.squares, len(config.promotion_types)
    shapes = {"policy": f", {S}, {S}", "promotion": f", {S}, {P}", "wdl": ", 3", "moves_left": ""}
    return {
        "inputs": [{"name": "positions", "shape": f"uint8[batch, {S + STATE_SIZE}]"}],
        "outputs": [{"name": name, "shape": f"float32[batch{shapes[name]}]"} for name in outputs],
    }


def _run(path: Path, positions: Array) -> tuple[str | None, list[Array]]:
    """The runtime that is installed, None without one, and its outputs in float32."""
    if path.suffix == ONNX_SUFFIX and importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return "ONNX Runtime", session.run(None, {"positions": positions})
    with contextlib.suppress(ImportError):
        from engine.network.inference.openvino.core import compile_for_cpu

        compiled = compile_for_cpu(path, {"INFERENCE_PRECISION_HINT": "f32"})
        return "OpenVINO", [np.asarray(output) for output in compiled(positions).values()]
    return None, []


def _difference(expected: list[Array], computed: list[Array]) -> float:
    """The largest difference of any output, as a share of the output's largest number."""
    return max(
        float(np.abs(one - other).max() / max(1.0, np.abs(one).max()))
        for one, other in zip(expected, computed, strict=True)
        if one.size
    )


def _show(figures: dict[str, Any]) -> None:
    print(f"{figures['file']}: {size_text(figures['bytes'])}")
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
