"""Networks as files for other runtimes: ONNX, and OpenVINO's own format.

    policy/value   positions uint8[batch, S + 5]  ->  policy, promotion, wdl, moves_left
    language       tokens int64[batch, tokens]    ->  logits [batch, tokens, V]

`batch` is any number, and `tokens` any up to the context; names and meaning of the outputs are
those of `Outputs` and `LanguageModel`. Positions go in as the program itself has them: the side to
move's encoder is part of the graph. A language model goes without its cache.

Computed in float32, the files say what torch says to 1e-5 of the logits' own size (measured at
batches of 1, 7 and 64: 4e-6 by ONNX Runtime as by OpenVINO). OpenVINO left to itself computes in
bfloat16 where the processor has it: `INFERENCE_PRECISION_HINT` decides.

Writing needs the packages onnx and onnxscript (and OpenVINO for its own format); reading does not.
"""

import contextlib
import copy
import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from engine.network.language.model import LanguageModel
from engine.network.model.policy_value import Outputs, PolicyValueNet
from engine.rules.errors import InputError

ONNX_SUFFIX: Final = ".onnx"
OPENVINO_SUFFIX: Final = ".xml"
"""The structure; the weights go beside it into a file of the same name with .bin."""

_WRITERS: Final = ("onnx", "onnxscript")
_PLACES: Final = 5
"""Bytes of a row behind its squares."""


class ExportError(InputError):
    """A network that cannot be written as was asked; names the package or the file."""


class _Signature(NamedTuple):
    """How a kind of network is called."""

    example: Tensor
    inputs: list[str]
    outputs: list[str]
    axes: dict[int, Any]
    """Names of the axes of the input that may have any length."""


def save_onnx(network: PolicyValueNet | LanguageModel, path: str | Path) -> None:
    """Write a network as an ONNX file, whole or not at all.

    One of more than 2 GB, ONNX's own limit, has its weights in a second file beside it. Raises
    ExportError where a package is missing, and OSError.
    """
    _require(*_WRITERS)
    _write_whole(Path(path), lambda place: _write_onnx(network, place))


def save_openvino(network: PolicyValueNet | LanguageModel, path: str | Path) -> None:
    """Write a network as OpenVINO's pair of files, FILE.xml and FILE.bin.

    Raises ExportError where a package is missing or the name does not end in .xml, and OSError.
    """
    if Path(path).suffix != OPENVINO_SUFFIX:
        raise ExportError(f"{path}: OpenVINO's own files are named FILE{OPENVINO_SUFFIX}")
    _require(*_WRITERS, "openvino")
    from engine.network.inference.openvino.core import ov

    def write(place: Path) -> None:
        onnx = place.with_suffix(ONNX_SUFFIX)
        _write_onnx(network, onnx)
        ov.save_model(ov.convert_model(onnx), place, compress_to_fp16=False)
        for part in place.parent.glob(f"{onnx.name}*"):
            part.unlink()

    _write_whole(Path(path), write)


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        # By this Python, which a person's own `pip` need not belong to.
        install = f"{sys.executable} -m pip install {' '.join(missing)}"
        raise ExportError(f"export needs what is not installed: {install}")


def _write_onnx(network: PolicyValueNet | LanguageModel, path: Path) -> None:
    signature = _signature(network)
    # A copy has its points closed and its gradients off; dropout is for training.
    twin = copy.deepcopy(network).to("cpu", torch.float32).eval().requires_grad_(False)
    with _quiet(), _any_length(twin):
        program = torch.onnx.export(
            twin,
            (signature.example,),
            input_names=signature.inputs,
            output_names=signature.outputs,
            dynamic_shapes=(signature.axes,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path)


def _signature(network: nn.Module) -> _Signature:
    batch = torch.export.Dim("batch")
    if isinstance(network, LanguageModel):
        context = network.config.context
        # An axis whose example is 1 long is taken for one that always is.
        example = torch.zeros(2, min(2, context), dtype=torch.int64)
        axes = {0: batch}
        if context > 2:
            axes[1] = torch.export.Dim("tokens", max=context)
        return _Signature(example, ["tokens"], ["logits"], axes)
    assert isinstance(network, PolicyValueNet)
    example = torch.zeros(2, network.config.squares + _PLACES, dtype=torch.uint8)
    return _Signature(example, ["positions"], list(Outputs._fields), {0: batch})


@contextlib.contextmanager
def _any_length(network: nn.Module) -> Iterator[None]:
    """Attention without a choice that depends on the number of tokens.

    Who looks at a pattern has it computed; a graph of any length cannot have two ways.
    """
    assert isinstance(network, (PolicyValueNet, LanguageModel))
    patterns = [name for name in network.hook_points.names if name.endswith("attention.pattern")]
    with network.hook_points.read(*patterns):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter tells of packages that nobody needs here."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file of this name elsewhere, perhaps with others beside it, then move all
    into place; the file that was asked for comes last, so that what it needs is there."""
    folder = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    folder.mkdir()
    try:
        write(folder / path.name)
        parts = sorted(folder.iterdir(), key=lambda part: part.name == path.name)
        for part in parts:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        for part in parts:
            os.replace(part, path.with_name(part.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
