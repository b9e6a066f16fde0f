"""GPT-2 in a local folder of Hugging Face's layout, read into a LanguageModel and written back.

    config.json              sizes and settings
    generation_config.json   the tokens that end and begin a text; where missing, config.json's
    model.safetensors        tensors; or several files, which model.safetensors.index.json lists

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
    lm_head.weight                    [V, D]        head.weight, unless it equals token.weight

Weights named c_ belong to transformers' "Conv1D", [in, out]: ours are their transposes. The files
that were published first lack the prefix "transformer.", and some of them hold the causal masks
(`attn.bias`, `attn.masked_bias`), which are not parameters and are skipped.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.checkpoint import CheckpointError, check_tensors, opened, refuse_faults
from engine.network.language.model import LanguageModel
from engine.network.model.config import LanguageConfig
from engine.network.stored_json import parse_json
from engine.rules.errors import InputError
from engine.settings import shortened
from engine.system.files import replacing

GPT2_SIZES: Final = {
    "small": LanguageConfig(),
    "medium": LanguageConfig(channels=1024, blocks=24, heads=16, hidden=4096),
    "large": LanguageConfig(channels=1280, blocks=36, heads=20, hidden=5120),
    "xl": LanguageConfig(channels=1600, blocks=48, heads=25, hidden=6400),
}
"""The four published models (Radford et al. 2019, table 2; the parameter counts in that table are
wrong, the released models have those of `parameter_counts`)."""

_CONFIG: Final = "config.json"
_GENERATION: Final = "generation_config.json"
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
_FIELDS: Final = {
    "vocab_size": "vocabulary",
    "n_positions": "context",
    "n_embd": "channels",
    "n_layer": "blocks",
    "n_head": "heads",
    "n_inner": "hidden",
    "activation_function": "activation",
    "resid_pdrop": "dropout",
    "initializer_range": "spread",
    "tie_word_embeddings": "tied",
}
"""Fields of config.json and of LanguageConfig."""
_ACTIVATIONS: Final = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}
_FIXED: Final[dict[str, object]] = {
    "model_type": "gpt2",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""The only values that our backbone supports. (`reorder_and_upcast_attn` asks for attention weights
in float32, which ours are.)"""

Settings = dict[str, Any]


def parameter_counts() -> dict[str, int]:
    """Parameters of each of GPT2_SIZES, counted on models without memory."""
    return {
        name: LanguageModel.without_memory(config).parameter_count
        for name, config in GPT2_SIZES.items()
    }


def load_gpt2(folder: str | Path) -> LanguageModel:
    """The model of a folder, from tokens int64[B, T] to logits [B, T, V]: float32, on the CPU, in
    evaluation mode.

    A `lm_head.weight` that differs from the token table makes an untied model, whatever
    `tie_word_embeddings` says, as in `transformers`. Of the three dropouts, which only training
    uses, `resid_pdrop` counts. Raises OSError, and CheckpointError, one line, naming the file and
    the field or tensor that is missing, damaged, unknown, of another shape, not finite, or
    unsupported.
    """
    folder = Path(folder)
    config = _language_config(folder / _CONFIG, _settings(folder))
    tensors, source = _tensors(folder)
    config = _tie(config, tensors)
    model = LanguageModel.without_memory(config)
    names, shapes = _names(config), model.state_dict()
    expected = {theirs: _turned(theirs, shapes[ours]) for theirs, ours in names.items()}
    check_tensors(source, tensors, expected)
    state: dict[str, Tensor] = {}
    for theirs, ours in names.items():
        # Each tensor is dropped once it is copied, so that the memory is not needed twice.
        tensor = _turned(theirs, tensors.pop(theirs))
        state[ours] = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        refuse_faults(source, {theirs: state[ours]})
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_gpt2(model: LanguageModel, folder: str | Path) -> None:
    """Write a model, in its own dtype, as `load_gpt2` and `transformers` read it.

    The folder is made where it is missing. Both files are written under temporary names; then the
    old configuration is deleted, the weights are renamed, and then the configuration. A kill at any
    moment leaves the old model, the new one, or a folder without a configuration: never the
    settings of one model with the weights of another. Raises OSError, and InputError for a model
    that GPT-2's layout cannot hold.
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
        config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        try:
            safetensors.torch.save_file(tensors, weights, {"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(f"{folder / _WEIGHTS}: cannot be written ({error})") from None
        weights.chmod(config.stat().st_mode)  # safetensors makes it readable by its owner alone
        (folder / _CONFIG).unlink(missing_ok=True)


def end_of_text(folder: str | Path) -> tuple[int, ...]:
    """The tokens that end a text, as generation_config.json says, else config.json; none where
    neither names any of the vocabulary. Raises as `load_gpt2`."""
    return _named_tokens(Path(folder), "eos_token_id")


def start_of_text(folder: str | Path) -> int | None:
    """The token that begins a text, from the same files as `end_of_text`; None where they name
    none."""
    return next(iter(_named_tokens(Path(folder), "bos_token_id")), None)


def _named_tokens(folder: Path, key: str) -> tuple[int, ...]:
    settings = _settings(folder)
    vocabulary = _language_config(folder / _CONFIG, settings).vocabulary
    places = [(folder / _CONFIG, settings)]
    generation = folder / _GENERATION
    if generation.exists():
        places.insert(0, (generation, _read_object(generation)))
    for path, values in places:
        value = values.get(key)
        tokens = value if isinstance(value, list) else [] if value is None else [value]
        if any(type(token) is not int for token in tokens):
            text = shortened(json.dumps(value))
            raise CheckpointError(f"{path}: {key} = {text}: neither a token's number nor a list")
        # Small models keep the number that GPT-2 has for it, which they cannot say.
        if found := tuple(token for token in tokens if 0 <= token < vocabulary):
            return found
    return ()


def _settings(folder: Path) -> Settings:
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "no such folder"
        raise CheckpointError(f"{folder}: {kind}")
    if not (folder / _CONFIG).is_file():
        raise CheckpointError(f"{folder}: holds no {_CONFIG}")
    return _read_object(folder / _CONFIG)


def _read_object(path: Path) -> Settings:
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return values


def _language_config(path: Path, settings: Settings) -> LanguageConfig:
    """Fields that are missing are those of GPT-2 small; fields that logits do not depend on are
    ignored. LanguageConfig checks the values."""

    def refusal(name: str, problem: str) -> CheckpointError:
        value = shortened(json.dumps(settings.get(name)))
        return CheckpointError(f"{path}: {name} = {value}: {problem}")

    for name, only in _FIXED.items():
        if settings.get(name, only) != only:
            raise refusal(name, f"only {json.dumps(only)} is supported")
    given = {"n_positions": settings["n_ctx"]} | settings if "n_ctx" in settings else settings
    values = {ours: given[theirs] for theirs, ours in _FIELDS.items() if theirs in given}
    for name in ("n_layer", "n_inner"):
        # LanguageConfig takes 0; the layout has no such models.
        if settings.get(name) == 0:
            raise refusal(name, "not a whole number above 0")
    if "activation" in values:
        if str(values["activation"]) not in _ACTIVATIONS:
            raise refusal("activation_function", f"not one of {', '.join(_ACTIVATIONS)}")
        values["activation"] = _ACTIVATIONS[values["activation"]]
    if values.get("hidden") is None:
        channels = values.get("channels", LanguageConfig().channels)
        values["hidden"] = 4 * channels if type(channels) is int else 1
    for name in ("dropout", "spread"):
        if type(values.get(name)) is int:
            values[name] = float(values[name])
    try:
        return LanguageConfig.from_dict(LanguageConfig().to_dict() | values)
    except InputError as error:
        # In the names of the file.
        text = str(error).removeprefix(f"{LanguageConfig.KIND} configuration: ")
        for theirs, ours in _FIELDS.items():
            text = re.sub(rf"\b{ours}\b", theirs, text)
        raise CheckpointError(f"{path}: {text}") from None


def _gpt2_settings(model: LanguageModel) -> Settings:
    """The `config.json` of a model. Its end of text is GPT-2's if its vocabulary is."""
    config = model.config
    for field, unsupported in ("position", "none"), ("hidden", 0):
        if getattr(config, field) == unsupported:
            raise InputError(f"{field} = {unsupported!r}: GPT-2's layout cannot hold such a model")
    end = config.vocabulary - 1 if config.vocabulary == LanguageConfig().vocabulary else None
    return {
        "architectures": ["GPT2LMHeadModel"],
        **_FIXED,
        **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
        "activation_function": {"gelu": "gelu_new", "relu": "relu"}[config.activation],
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": str(model.token.weight.dtype).removeprefix("torch."),
    }


def _names(config: LanguageConfig) -> dict[str, str]:
    """Our name of each of their tensors, theirs without the prefix."""
    names = {_TOKEN: "token.weight", "wpe.weight": "backbone.place"}
    for i in range(config.blocks):
        for theirs, ours in _BLOCK.items():
            for kind in ("weight", "bias"):
                names[f"h.{i}.{theirs}.{kind}"] = f"backbone.blocks.{i}.{ours}.{kind}"
    names |= {f"ln_f.{kind}": f"backbone.norm.{kind}" for kind in ("weight", "bias")}
    return names if config.tied else names | {_HEAD: "head.weight"}


def _tensors(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Their tensors without masks, by name without the prefix; and the file that errors name.

    Tensors of safetensors stay in the file until they are used.
    """
    whole, index = folder / _WEIGHTS, folder / _INDEX
    if whole.is_file():
        return dict(_read(whole)), whole
    if not index.is_file():
        pickled = (folder / "pytorch_model.bin").exists()
        reason = "; pytorch_model.bin is a pickle, which can run any program, and is not read"
        raise CheckpointError(f"{folder}: holds no {_WEIGHTS}{reason if pickled else ''}")
    places = _read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(part, str) and part == Path(part).name for part in places.values()
    ):
        raise CheckpointError(f"{index}: weight_map does not name a file of the folder each")
    parts = sorted(set(places.values()))
    return {name: tensor for part in parts for name, tensor in _read(folder / part)}, index


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    with opened(path) as file:
        for name in file.keys():  # noqa: SIM118  # not a dictionary: keys() is the only iteration
            bare = name.removeprefix(_PREFIX)
            if not _MASK.fullmatch(bare):
                yield bare, file.get_tensor(name)


def _tie(config: LanguageConfig, tensors: dict[str, Tensor]) -> LanguageConfig:
    """Drops a head that equals the token table; a tied model may lack either of the two."""
    if not config.tied or _HEAD not in tensors:
        return config
    head = tensors.pop(_HEAD)
    if torch.equal(head, tensors.setdefault(_TOKEN, head)):
        return config
    tensors[_HEAD] = head
    return LanguageConfig.from_dict(config.to_dict() | {"tied": False})


def _turned(name: str, tensor: Tensor) -> Tensor:
    """The transpose of a weight of Conv1D; other tensors as they are."""
    return tensor.T if ".c_" in name and name.endswith(".weight") else tensor
