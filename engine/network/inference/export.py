"""Networks as files for other runtimes: ONNX, and OpenVINO's own format.

    policy/value   positions uint8[batch, S + 5]  ->  policy, promotion, wdl, moves_left
                   (no promotion where the variant has none)
    language       tokens int64[batch, tokens]    ->  logits [batch, tokens, V]

`batch` is any number, and `tokens` any up to the context. Names and meaning of the outputs are
those of `Outputs` and `LanguageModel`. Positions are rows as the program has them: the encoder of
the side to move's view is part of the graph. A language model is exported without its cache.

Computed in float32, the files agree with torch to 1e-5 of the largest logit (measured at batches of
1, 7 and 64: 4e-6 by ONNX Runtime and by OpenVINO). By default OpenVINO computes in bfloat16 if the
processor has it; `INFERENCE_PRECISION_HINT` decides.

Writing needs the extra "export" (and OpenVINO for its own format); reading does not.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.network.language.model import LanguageModel
from engine.network.model.policy_value import Outputs, PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.tables import STATE_SIZE
from engine.system.extras import missing_extra
from engine.system.files import replacing

ONNX_SUFFIX: Final = ".onnx"
OPENVINO_SUFFIX: Final = ".xml"
"""The structure; the weights are in a file beside it with the ending .bin."""

WRITERS: Final = ("onnx", "onnxscript")
"""Packages of the extra "export" that writing needs."""


class ExportError(InputError):
    """A network that cannot be exported; names the missing package or the file."""


def save_onnx(network: PolicyValueNet | LanguageModel, path: str | Path) -> None:
    """Write a network as an ONNX file, whole or not at all.

    Above 2 GB, ONNX's own limit, the weights are in a second file beside it. Raises ExportError if
    a package is missing, and OSError.
    """
    _require("export", *WRITERS)
    _write_whole(Path(path), lambda place: _write_onnx(network, place))


def output_names(network: PolicyValueNet) -> list[str]:
    """Names of the outputs in a file: those of `Outputs` that hold numbers. A variant without
    promotions has no `promotion`, of which runtimes would refuse the size zero."""
    has_promotions = bool(network.config.promotion_types)
    return [name for name in Outputs._fields if has_promotions or name != "promotion"]


def save_openvino(network: PolicyValueNet | LanguageModel, path: str | Path) -> None:
    """Write a network as OpenVINO's pair of files, FILE.xml and FILE.bin.

    Raises ExportError if a package is missing or the name does not end in .xml, and OSError.
    """
    if Path(path).suffix != OPENVINO_SUFFIX:
        raise ExportError(f"{path}: OpenVINO's own files are named FILE{OPENVINO_SUFFIX}")
    _require("export", *WRITERS)
    _require("openvino", "openvino")
    from engine.network.inference.openvino.core import ov

    def write(place: Path) -> None:
        onnx = place.with_suffix(ONNX_SUFFIX)
        _write_onnx(network, onnx)
        ov.save_model(ov.convert_model(onnx), place, compress_to_fp16=False)
        for part in place.parent.glob(f"{onnx.name}*"):
            part.unlink()

    _write_whole(Path(path), write)


def _require(extra: str, *packages: str) -> None:
    problem = missing_extra(extra, *packages)
    if problem is not None:
        raise ExportError(f"export: {problem}")


def _write_onnx(network: PolicyValueNet | LanguageModel, path: Path) -> None:
    example, name, outputs, axes = _signature(network)
    frozen = network.frozen()
    traced = _NamedOutputs(frozen, outputs) if isinstance(network, PolicyValueNet) else frozen
    # Attention with open patterns always computes them; otherwise it chooses by the number of
    # tokens, and a graph of any length cannot hold the choice.
    patterns = [name for name in frozen.hook_points.names if name.endswith("attention.pattern")]
    with _quiet(), frozen.hook_points.read(*patterns):
        program = torch.onnx.export(
            traced,
            (example,),
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path)


class _NamedOutputs(nn.Module):
    """A policy/value network that returns only outputs of these names."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network = network
        self._names = names

    def forward(self, positions: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(positions)._asdict()
        return tuple(outputs[name] for name in self._names)


def _signature(
    network: PolicyValueNet | LanguageModel,
) -> tuple[Tensor, str, list[str], dict[int, Any]]:
    """An example of the input, its name, those of the outputs, and the axes of the input that may
    have any length, by number."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if isinstance(network, PolicyValueNet):
        example = torch.zeros(2, network.config.squares + STATE_SIZE, dtype=torch.uint8)
        return example, "positions", output_names(network), axes
    context = network.config.context
    # The exporter takes an axis of length 1 in the example for a constant.
    example = torch.zeros(2, min(2, context), dtype=torch.int64)
    if context > 2:
        axes[1] = torch.export.Dim("tokens", max=context)
    return example, "tokens", ["logits"], axes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns of packages that are not needed here."""
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
    """Let `write` make a file of this name in a temporary folder, perhaps with others beside it,
    and move all into place. The file itself comes last, when those that it needs are there."""
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / path.name
        write(made)
        for part in sorted(made.parent.iterdir(), key=lambda part: part == made):
            with replacing(path.with_name(part.name)) as temporary:
                part.rename(temporary)
