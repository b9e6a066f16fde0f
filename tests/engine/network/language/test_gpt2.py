"""GPT-2: transformers' folders in and out, equal logits, equal texts, and the command's text."""

import itertools
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from engine.network.checkpoint import CheckpointError
from engine.network.language.gpt2 import (
    GPT2_SIZES,
    end_of_text,
    load_gpt2,
    parameter_counts,
    save_gpt2,
    start_of_text,
)
from engine.network.language.sampling import Sampling
from engine.rules.errors import InputError
from tests.support.network.language_cases import lively_model, random_tokens

ROOT = Path(__file__).resolve().parents[4]
# Read when transformers is first imported, which is below.
os.environ["HF_HUB_OFFLINE"] = "1"

SMALL: dict[str, Any] = {
    "vocab_size": 53,
    "n_positions": 96,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "bos_token_id": 52,
    "eos_token_id": 52,
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one head": {"n_head": 1, "n_layer": 1},
    "four heads, narrow MLP": {"n_head": 4, "n_inner": 24},
    "relu": {"activation_function": "relu"},
    "gelu by another name": {"activation_function": "gelu_pytorch_tanh"},
    "untied": {"tie_word_embeddings": False},
    "upcast": {"reorder_and_upcast_attn": True, "attn_implementation": "eager"},
    "other settings that bear on training alone": {"resid_pdrop": 0.0, "initializer_range": 0.5},
}


def theirs(seed: int = 0, **settings: Any) -> Any:
    """A GPT-2 of transformers without zeros and ones among its parameters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**SMALL | settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def close(ours: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it."""
    folder = tmp_path_factory.mktemp("published")
    theirs().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, published: Path) -> Path:
    """A copy to damage."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    return tmp_path


def reset(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def reweigh(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_gpt2(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_those_of_transformers(kind: str, tmp_path: Path) -> None:
    reference = theirs(**KINDS[kind])
    reference.save_pretrained(tmp_path)
    model = load_gpt2(tmp_path)
    assert not model.training
    assert model.parameter_count == reference.num_parameters()
    for length in (1, 7, 96):
        tokens = random_tokens(3, length)
        with torch.no_grad():
            close(model(tokens), reference(tokens).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    reference = theirs().to(dtype)
    reference.save_pretrained(tmp_path)
    model, tokens = load_gpt2(tmp_path), random_tokens(2, 20)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with torch.no_grad():
        close(model(tokens), reference.float()(tokens).logits)


def test_several_files_are_one_model(tmp_path: Path) -> None:
    reference = theirs()
    reference.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    model, tokens = load_gpt2(tmp_path), random_tokens(2, 20)
    with torch.no_grad():
        close(model(tokens), reference(tokens).logits)
    last = max(tmp_path.glob("model-*.safetensors"))
    last.unlink()
    with pytest.raises(FileNotFoundError, match=last.name):
        load_gpt2(tmp_path)


def test_the_first_published_layout_is_read(folder: Path) -> None:
    tokens, expected = random_tokens(2, 20), load_gpt2(folder)(random_tokens(2, 20))

    def as_published(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        for i in range(2):
            tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 96, 96).tril()
            tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)

    reweigh(folder, as_published)
    settings = json.loads((folder / "config.json").read_text())
    settings["n_ctx"] = settings.pop("n_positions")
    (folder / "config.json").write_text(json.dumps(settings))
    assert torch.equal(load_gpt2(folder)(tokens), expected)


def test_a_head_may_equal_the_token_table_or_not(folder: Path) -> None:
    tokens, expected = random_tokens(2, 20), load_gpt2(folder)(random_tokens(2, 20))
    table = "transformer.wte.weight"
    reweigh(folder, lambda tensors: tensors.update({"lm_head.weight": tensors[table].clone()}))
    model = load_gpt2(folder)
    assert model.config.tied
    assert torch.equal(model(tokens), expected)
    reweigh(folder, lambda tensors: tensors.pop(table))
    assert torch.equal(load_gpt2(folder)(tokens), expected)
    head = torch.randn(53, 16)
    reweigh(folder, lambda tensors: tensors.update({table: tensors["lm_head.weight"] + head}))
    model = load_gpt2(folder)
    assert not model.config.tied
    from transformers import GPT2LMHeadModel

    with torch.no_grad():
        close(model(tokens), GPT2LMHeadModel.from_pretrained(folder)(tokens).logits)


@pytest.mark.parametrize(
    "settings",
    [{}, {"tied": False}, {"activation": "relu", "heads": 4, "hidden": 24}, {"dropout": 0.0}],
)
def test_a_saved_model_loads_here_and_in_transformers(
    settings: dict[str, object], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, GPT2LMHeadModel

    model, tokens = lively_model(**settings), random_tokens(2, 80)
    save_gpt2(model, tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["config.json", "model.safetensors"]
    os.umask(mask := os.umask(0))
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~mask}
    loaded = load_gpt2(tmp_path / "new" / "folder")
    assert loaded.config == model.config
    assert torch.equal(loaded(tokens), model(tokens))
    ours, back = model.state_dict(), loaded.state_dict()
    assert ours.keys() == back.keys()
    assert all(torch.equal(ours[name], back[name]) for name in ours)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "new" / "folder")
    assert isinstance(opened, GPT2LMHeadModel)
    with torch.no_grad():
        close(model(tokens), opened(tokens).logits)
    opened.save_pretrained(tmp_path / "again")
    assert torch.equal(load_gpt2(tmp_path / "again")(tokens), model(tokens))


def test_a_model_is_saved_in_its_dtype(tmp_path: Path) -> None:
    model, tokens = lively_model().bfloat16(), random_tokens(2, 20)
    save_gpt2(model, tmp_path)
    tensors = safetensors.torch.load((tmp_path / "model.safetensors").read_bytes())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert torch.equal(load_gpt2(tmp_path)(tokens), model.float()(tokens))


@pytest.mark.parametrize("settings", [{"hidden": 0}, {"position": "none"}])
def test_what_the_layout_cannot_hold_is_refused(
    settings: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        save_gpt2(lively_model(**settings), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_old_model(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors: cannot be written"):
            save_gpt2(lively_model(), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("moment", ["unlink", "replace weights", "replace configuration", "never"])
def test_a_kill_never_mixes_two_models(
    moment: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two have equal shapes and differ in the number of heads: no check of shapes helps."""
    old, new = load_gpt2(folder), lively_model(heads=4)
    replaced = itertools.count()
    replace, unlink = os.replace, Path.unlink

    class Killed(BaseException):
        pass

    def killed_replace(source: Path, target: Path) -> None:
        if moment == ("replace weights", "replace configuration", "")[next(replaced)]:
            raise Killed
        replace(source, target)

    def killed_unlink(path: Path, missing_ok: bool = False) -> None:
        if moment == "unlink" and path.name == "config.json":
            raise Killed
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "replace", killed_replace)
    monkeypatch.setattr(Path, "unlink", killed_unlink)
    try:
        save_gpt2(new, folder)
    except Killed:
        assert moment != "never"
    tokens = random_tokens(2, 20)
    if moment == "unlink":
        assert torch.equal(load_gpt2(folder)(tokens), old(tokens))
    elif moment == "never":
        assert torch.equal(load_gpt2(folder)(tokens), new(tokens))
    else:
        assert "holds no config.json" in refusal(folder)


def setting(field: str, value: object) -> Callable[[Path], None]:
    return lambda folder: reset(folder, **{field: value})


def tensor(name: str, change: Callable[[Tensor], Tensor] | None) -> Callable[[Path], None]:
    """Changes a tensor, or deletes it."""

    def reshape(tensors: dict[str, Tensor]) -> None:
        old = tensors.pop(name, torch.ones(16))
        if change is not None:
            tensors[name] = change(old).contiguous()

    return lambda folder: reweigh(folder, reshape)


def cut(end: int | None) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2 if end is None else end])

    return spoil


def config_text(text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.json").write_bytes(text)


def index(text: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(text)

    return spoil


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


TRUNCATED = "model.safetensors: truncated or not a safetensors file"
REFUSALS: list[tuple[Callable[[Path], object], str]] = [
    (setting("model_type", "llama"), 'model_type = "llama": only "gpt2"'),
    (setting("n_embd", "16"), "n_embd = '16'"),
    (setting("n_embd", True), "n_embd = True"),
    (setting("n_embd", 1 << 20), "n_embd = 1048576"),
    (setting("n_embd", 4096), "as the configuration says"),
    (setting("n_head", 3), "n_head = 3 does not divide n_embd 16"),
    (setting("n_layer", 0), "n_layer = 0"),
    (setting("n_layer", 1 << 40), "n_layer = 1099511627776"),
    (setting("n_layer", 9), "missing tensor 'h.2.ln_1.weight'"),
    (setting("n_inner", 0), "n_inner = 0"),
    (setting("n_inner", 1.5), "n_inner = 1.5"),
    (setting("n_positions", -1), "n_positions = -1"),
    (setting("vocab_size", None), "vocab_size = None"),
    (setting("activation_function", "silu"), 'activation_function = "silu"'),
    (setting("activation_function", ["relu"]), 'activation_function = ["relu"]'),
    (setting("layer_norm_epsilon", 1e-6), "layer_norm_epsilon = 1e-06"),
    (setting("scale_attn_weights", False), "scale_attn_weights = false"),
    (setting("scale_attn_by_inverse_layer_idx", True), "scale_attn_by_inverse_layer_idx = true"),
    (setting("add_cross_attention", True), "add_cross_attention = true"),
    (setting("resid_pdrop", 1.5), "resid_pdrop = 1.5"),
    (setting("initializer_range", "wide"), "initializer_range = 'wide'"),
    (setting("tie_word_embeddings", None), "tie_word_embeddings = None"),
    (setting("tie_word_embeddings", False), "missing tensor 'lm_head.weight'"),
    (tensor("transformer.wpe.weight", None), "missing tensor 'wpe.weight'"),
    (tensor("transformer.h.1.mlp.c_fc.bias", None), "missing tensor 'h.1.mlp.c_fc.bias'"),
    (tensor("score.weight", lambda old: old), "unknown tensor 'score.weight'"),
    (tensor("transformer.h.2.ln_1.bias", lambda old: old), "unknown tensor 'h.2.ln_1.bias'"),
    (
        tensor("transformer.h.1.attn.c_attn.weight", lambda old: old.T),
        "tensor 'h.1.attn.c_attn.weight' is float32[48, 16], not float32[16, 48]",
    ),
    (
        tensor("transformer.ln_f.bias", lambda old: old.to(torch.int8)),
        "tensor 'ln_f.bias' is int8[16], not float32[16]",
    ),
    *((cut(end), TRUNCATED) for end in (0, 5, 100, None, -1)),
    *((config_text(text), "config.json: not JSON") for text in (b"{", b"\xff\xfe", b"[" * 100_000)),
    (config_text(b"[]"), "config.json: not a JSON object"),
    (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    (lambda folder: (folder / "model.safetensors").unlink(), "holds no model.safetensors"),
    (pickled, "holds no model.safetensors; pytorch_model.bin is a pickle"),
    (index("{"), "index.json: not JSON"),
    (index('{"weight_map": {"wte.weight": "../model.safetensors"}}'), "weight_map"),
    (lambda folder: folder.rename(folder.with_name("elsewhere")), "no such folder"),
]


@pytest.mark.parametrize(
    ("spoil", "complaint"), REFUSALS, ids=[complaint for _, complaint in REFUSALS]
)
def test_what_cannot_be_loaded_is_refused_by_name(
    spoil: Callable[[Path], object], complaint: str, folder: Path
) -> None:
    spoil(folder)
    assert complaint in refusal(folder)


def test_the_residual_dropout_counts_where_the_three_differ(folder: Path) -> None:
    tokens, expected = random_tokens(2, 20), load_gpt2(folder)(random_tokens(2, 20))
    reset(folder, resid_pdrop=0.2, attn_pdrop=0.0, embd_pdrop=0.0)
    model = load_gpt2(folder)
    assert model.config.dropout == 0.2
    assert torch.equal(model(tokens), expected)


@pytest.mark.parametrize(
    ("token", "expected"), [(7, (7,)), (53, ()), (None, ()), ([7, 8], (7, 8)), ([8, 53, -1], (8,))]
)
def test_the_end_of_text_is_a_token_of_the_vocabulary(
    token: object, expected: tuple[int, ...], folder: Path
) -> None:
    reset(folder, eos_token_id=token, bos_token_id=token)
    assert end_of_text(folder) == expected
    assert start_of_text(folder) == (expected[0] if expected else None)


@pytest.mark.parametrize("token", [3, [3]])
def test_the_settings_of_generation_count_before_those_of_the_model(
    token: object, folder: Path
) -> None:
    reset(folder, eos_token_id=7, bos_token_id=7)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": token}))
    assert end_of_text(folder) == (3,)
    assert start_of_text(folder) == 7


@pytest.mark.parametrize("token", ["7", True, 7.0, [7, "8"], {"a": 7}])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_an_end_of_text_that_is_no_number_is_refused(
    name: str, token: object, folder: Path
) -> None:
    path = folder / name
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | {"eos_token_id": token}))
    with pytest.raises(CheckpointError, match=rf"{name}: eos_token_id = .*neither") as caught:
        end_of_text(folder)
    assert json.dumps(token) in str(caught.value)


def test_the_four_sizes_have_the_published_parameter_counts() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    counts = parameter_counts()
    assert counts == {
        "small": 124_439_808,
        "medium": 354_823_168,
        "large": 774_030_080,
        "xl": 1_557_611_200,
    }
    for name, config in GPT2_SIZES.items():
        settings = GPT2Config(n_embd=config.channels, n_layer=config.blocks, n_head=config.heads)
        with torch.device("meta"):
            assert GPT2LMHeadModel(settings).num_parameters() == counts[name]


def test_greedy_text_equals_that_of_transformers(published: Path) -> None:
    from transformers import GPT2LMHeadModel

    reference = GPT2LMHeadModel.from_pretrained(published)
    prompt = random_tokens(3, 10)
    expected = reference.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=60,
        eos_token_id=None,
        pad_token_id=0,
    )
    tokens = load_gpt2(published).generate(
        prompt, Sampling(temperature=0.0), torch.Generator().manual_seed(0)
    )
    drawn = torch.stack(list(itertools.islice(tokens, 60)), 1)
    assert torch.equal(torch.cat([prompt, drawn], 1), expected)
