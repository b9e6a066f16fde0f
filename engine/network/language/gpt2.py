"""GPT-2 in a local folder, as Hugging Face lays it out, into a LanguageModel and back.

    config.json         sizes and settings
    model.safetensors   tensors; or parts of it, which model.safetensors.index.json lists

    theirs (i from 0; * is weight or bias)          ours
    transformer.wte.weight            [V, D]        token.weight
    transformer.wpe.weight            [T, D]        backbone.place
    transformer.h.i.ln_1.*            [D]           backbone.blocks.i.attention_norm.*
    transformer.h.i.attn.c_attn.*     [D, 3D]       backbone.blocks.i.attention.qkv.*    [3D, D]
    transformer.h.i.attn.c_proj.*     [D, D]        backbone.blocks.i.attention.out.*    [D, D]
    transformer.h.i.ln_2.*            [D]           backbone.blocks.i.mlp_norm.*
    transformer.h.i.mlp.c_fc.*        [D, M]        backbone.blocks.i.mlp.up.*           [M, D]
    transformer.h.i.mlp.c_proj.*      [M, D]        backbone.blocks.i.mlp.down.*         [D, M]
    transformer.ln_f.*                [D]           backbone.norm.*
    lm_head.weight                    [V, D]        head.weight, where it is not token.weight

Weights named c_ are of their "Conv1D", [in, out]: ours lie the other way round. The files first
published have no "transformer." before their names, and some hold the causal masks (`attn.bias`,
`attn.masked_bias`), which are no weights and are passed over.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.checkpoint import CheckpointError, opened, refuse_faults
from engine.network.language.model import LanguageModel
from engine.network.model.config import Activation, LanguageConfig, shortened
from engine.network.stored_json import parse_json
from engine.rules.errors import InputError
from engine.system.files import replacing

GPT2_SIZES: Final = {
    "small": LanguageConfig(),
    "medium": LanguageConfig(channels=1024, blocks=24, heads=16, hidden=4096),
    "large": LanguageConfig(channels=1280, blocks=36, heads=20, hidden=5120),
    "xl": LanguageConfig(channels=1600, blocks=48, heads=25, hidden=6400),
}
"""The four that were published (Radford et al. 2019, table 2, with the counts of the released
models: those of the table are wrong)."""

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_PREFIX: Final = "transformer."
_HEAD: Final = "lm_head.weight"
_TOKEN: Final = "wte.weight"
_MASK: Final = re.compile(r"h\.\d+\.attn\.(masked_)?bias")
_BLOCK: Final = {
    "ln_1": "attention_norm",
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "ln_2": "mlp_norm",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}
_SIZES: Final = {
    "vocab_size": "vocabulary",
    "n_positions": "context",
    "n_embd": "channels",
    "n_layer": "blocks",
    "n_head": "heads",
    "n_inner": "hidden",
}
_ACTIVATIONS: Final[dict[object, Activation]] = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
}
_FIXED: Final[dict[str, object]] = {
    "model_type": "gpt2",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""What our backbone cannot do otherwise. (`reorder_and_upcast_attn` asks for attention weights in
float32, which ours are.)"""

Settings = dict[str, Any]


def parameter_counts() -> dict[str, int]:
    """Parameters of each of GPT2_SIZES, counted on models that are built without memory."""
    return {
        name: LanguageModel.without_memory(config).parameter_count
        for name, config in GPT2_SIZES.items()
    }


def load_gpt2(folder: str | Path) -> LanguageModel:
    """The model of a folder, from tokens int64[B, T] to logits [B, T, V]: float32, on the CPU, set
    to evaluate.

    A `lm_head.weight` that differs from the table of tokens makes an untied model, whatever
    `tie_word_embeddings` says, as it does in `transformers`. Where the three dropouts differ, which
    only training would notice, that of the residual stream serves for all. Raises OSError, and
    CheckpointError, one line, naming the file and the field or tensor that is missing, damaged,
    unknown, of another shape, not finite, or beyond what our backbone does.
    """
    folder = Path(folder)
    config = _language_config(folder / _CONFIG, _settings(folder))
    tensors, source = _tensors(folder)
    config = _tie(config, tensors)
    model = LanguageModel.without_memory(config)
    names, shapes = _names(config), model.state_dict()
    _check(source, tensors, {theirs: shapes[ours].shape for theirs, ours in names.items()})
    ready: dict[str, Tensor] = {}
    for name, ours in names.items():
        # Taken out one by one: what has been turned need not be kept as it was.
        ready[ours] = _plain(_turned(name, tensors.pop(name)))
        refuse_faults(source, {name: ready[ours]})
    model.load_state_dict(ready, assign=True)
    return model.eval()


def save_gpt2(model: LanguageModel, folder: str | Path) -> None:
    """Write a model, in its own dtype, as `load_gpt2` and `transformers` read it.

    The folder is made where it is missing. Both files are written under other names first; then the
    old configuration goes, the weights take their place and the configuration follows. A kill at
    any moment leaves the old model, the new one, or a folder without configuration, and never one
    model's settings with another's weights. Raises OSError, and InputError for a model that GPT-2's
    layout cannot hold.
    """
    folder = Path(folder)
    settings = _gpt2_settings(model)
    state = model.state_dict()
    tensors = {
        (theirs if theirs == _HEAD else _PREFIX + theirs): _turned(theirs, state[ours])
        .cpu()
        .contiguous()
        for theirs, ours in _names(model.config).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / _CONFIG) as config, replacing(folder / _WEIGHTS) as weights:
        config.write_text(json.dumps(settings, indent=2) + "\n")
        try:
            safetensors.torch.save_file(tensors, weights, {"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(f"{folder / _WEIGHTS}: cannot be written ({error})") from None
        weights.chmod(config.stat().st_mode)  # safetensors lets nobody else read it
        (folder / _CONFIG).unlink(missing_ok=True)


def end_of_text(folder: str | Path) -> int | None:
    """The token that ends a text, as config.json of a folder says; None where it names none that
    the vocabulary has. Raises as `load_gpt2`."""
    path = Path(folder) / _CONFIG
    settings = _settings(Path(folder))
    vocabulary = _language_config(path, settings).vocabulary
    token = settings.get("eos_token_id")
    return token if type(token) is int and 0 <= token < vocabulary else None


def _settings(folder: Path) -> Settings:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    path = folder / _CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no {_CONFIG}")
    return _object(path)


def _object(path: Path) -> Settings:
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return values


def _language_config(path: Path, settings: Settings) -> LanguageConfig:
    """Fields that are not there are GPT-2 small's; fields that do not bear on logits are free."""
    for name, only in _FIXED.items():
        if settings.get(name, only) != only:
            raise _refusal(path, settings, name, f"only {json.dumps(only)} is supported")
    defaults = LanguageConfig()
    if "n_positions" not in settings and "n_ctx" in settings:
        settings = settings | {"n_positions": settings["n_ctx"]}
    if settings.get("n_inner") is None:
        channels = settings.get("n_embd", defaults.channels)
        settings = settings | {"n_inner": 4 * channels if isinstance(channels, int) else 1}
    values: dict[str, Any] = {}
    for theirs, ours in _SIZES.items():
        size = settings.get(theirs, getattr(defaults, ours))
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise _refusal(path, settings, theirs, "not a whole number above 0")
        values[ours] = size
    if values["channels"] % values["heads"]:
        raise _refusal(path, settings, "n_head", f"does not divide n_embd {values['channels']}")
    activation = settings.get("activation_function", "gelu_new")
    if activation not in list(_ACTIVATIONS):
        choices = ", ".join(str(name) for name in _ACTIVATIONS)
        raise _refusal(path, settings, "activation_function", f"not one of {choices}")
    tied = settings.get("tie_word_embeddings", True)
    if not isinstance(tied, bool):
        raise _refusal(path, settings, "tie_word_embeddings", "neither true nor false")
    try:
        return LanguageConfig(
            **values,
            activation=_ACTIVATIONS[activation],
            tied=tied,
            dropout=_share(path, settings, "resid_pdrop", defaults.dropout),
            spread=_share(path, settings, "initializer_range", defaults.spread),
        )
    except InputError as error:  # sizes beyond all reason
        raise CheckpointError(f"{path}: {error}") from None


def _share(path: Path, settings: Settings, name: str, default: float) -> float:
    value = settings.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise _refusal(path, settings, name, "not a number from 0 to below 1")
    return float(value)


def _refusal(path: Path, settings: Settings, name: str, problem: str) -> CheckpointError:
    value = shortened(json.dumps(settings.get(name)))
    return CheckpointError(f"{path}: {name} = {value}: {problem}")


def _gpt2_settings(model: LanguageModel) -> Settings:
    """The `config.json` of a model. Its end of text is GPT-2's where its vocabulary is."""
    config = model.config
    if config.position != "learned" or not config.hidden:
        field = "position" if config.position != "learned" else "hidden"
        raise InputError(
            f"{field} = {getattr(config, field)!r}: GPT-2's layout has no place for such a model"
        )
    end = config.vocabulary - 1 if config.vocabulary == LanguageConfig().vocabulary else None
    activation = next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        **_FIXED,
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        "activation_function": activation,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "initializer_range": config.spread,
        "tie_word_embeddings": config.tied,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": str(model.token.weight.dtype).removeprefix("torch."),
    }


def _names(config: LanguageConfig) -> dict[str, str]:
    """Our name of each of their tensors, those without the prefix."""
    names = {_TOKEN: "token.weight", "wpe.weight": "backbone.place"}
    for i in range(config.blocks):
        for theirs, ours in _BLOCK.items():
            for kind in ("weight", "bias"):
                names[f"h.{i}.{theirs}.{kind}"] = f"backbone.blocks.{i}.{ours}.{kind}"
    names |= {f"ln_f.{kind}": f"backbone.norm.{kind}" for kind in ("weight", "bias")}
    return names if config.tied else names | {_HEAD: "head.weight"}


def _tensors(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Their tensors, names without the prefix, masks left out; and the file that speaks for all.

    Tensors of safetensors lie in the file until they are touched.
    """
    whole, index = folder / _WEIGHTS, folder / _INDEX
    if whole.is_file():
        return dict(_read(whole)), whole
    if not index.is_file():
        other = ""
        if (folder / "pytorch_model.bin").exists():
            other = "; pytorch_model.bin is a pickle, which can run any program, and is not read"
        raise CheckpointError(f"{folder}: holds no {_WEIGHTS}{other}")
    places = _object(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(part, str) and part == Path(part).name for part in places.values()
    ):
        raise CheckpointError(f"{index}: weight_map does not name a file of the folder each")
    tensors: dict[str, Tensor] = {}
    for part in sorted(set(places.values())):
        if not (folder / part).is_file():
            raise CheckpointError(f"{folder}: holds no {part}, which {_INDEX} lists")
        tensors |= _read(folder / part)
    return tensors, index


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    with opened(path) as file:
        for name in file.keys():  # noqa: SIM118  # no dictionary, it has no other iteration
            bare = name.removeprefix(_PREFIX)
            if not _MASK.fullmatch(bare):
                yield bare, file.get_tensor(name)


def _tie(config: LanguageConfig, tensors: dict[str, Tensor]) -> LanguageConfig:
    """Drops a head that is the table of tokens; of a tied pair either may be left out."""
    if not config.tied or _HEAD not in tensors:
        return config
    head = tensors.pop(_HEAD)
    if torch.equal(head, tensors.setdefault(_TOKEN, head)):
        return config
    tensors[_HEAD] = head
    return LanguageConfig.from_dict(config.to_dict() | {"tied": False})


def _check(path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Raises CheckpointError for a tensor that is missing, unknown or of another shape."""
    for name in shapes:
        if name not in tensors:
            raise CheckpointError(f"{path}: missing tensor '{name}'")
    for name, tensor in tensors.items():
        if name not in shapes:
            raise CheckpointError(f"{path}: unknown tensor '{name}'")
        # A matrix that lies the other way round has the same shape turned.
        wanted = list(shapes[name])[:: -1 if _lies_turned(name) else 1]
        if list(tensor.shape) != wanted or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{path}: tensor '{name}' is {kind}{list(tensor.shape)}, not float{wanted} as"
                f" {_CONFIG} says"
            )


def _lies_turned(name: str) -> bool:
    return ".c_" in name and name.endswith(".weight")


def _turned(name: str, tensor: Tensor) -> Tensor:
    return tensor.T if _lies_turned(name) else tensor


def _plain(tensor: Tensor) -> Tensor:
    """In float32 and in memory of its own: the file may not outlive what it maps."""
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
