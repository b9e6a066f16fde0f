"""GPT-2: transformers' folders in and out, equal logits, equal texts, and the command's text."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F

from engine.network.checkpoint import CheckpointError
from engine.network.language.gpt2 import (
    GPT2_SIZES,
    end_of_text,
    load_gpt2,
    parameter_counts,
    save_gpt2,
)
from engine.network.language.model import LanguageModel
from engine.network.language.sampling import Sampling
from engine.rules.errors import InputError
from scripts import cli
from scripts.commands.language.text import END_OF_TEXT, pieces
from tests.support.language_cases import lively_model, random_tokens, small_config

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
    """A GPT-2 of transformers, every parameter of which matters."""
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
    """One of one's own to spoil."""
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
def test_logits_are_transformers_own(kind: str, tmp_path: Path) -> None:
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
def test_half_the_bits_are_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    reference = theirs().to(dtype)
    reference.save_pretrained(tmp_path)
    model, tokens = load_gpt2(tmp_path), random_tokens(2, 20)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with torch.no_grad():
        close(model(tokens), reference.float()(tokens).logits)


def test_parts_are_put_together(tmp_path: Path) -> None:
    reference = theirs()
    reference.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    model, tokens = load_gpt2(tmp_path), random_tokens(2, 20)
    with torch.no_grad():
        close(model(tokens), reference(tokens).logits)
    last = max(tmp_path.glob("model-*.safetensors"))
    last.rename(tmp_path / "elsewhere")
    assert f"holds no {last.name}" in refusal(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"wte.weight": "../model.safetensors"}}))
    assert "weight_map" in refusal(tmp_path)
    index.write_text("{")
    assert "not JSON" in refusal(tmp_path)


def test_names_without_prefix_and_masks_are_taken_as_first_published(folder: Path) -> None:
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


def test_a_head_of_its_own_and_one_that_is_the_table(folder: Path) -> None:
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
def test_what_is_saved_comes_back_and_opens_in_transformers(
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


def test_a_model_is_saved_in_its_own_numbers(tmp_path: Path) -> None:
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
    """Of equal shapes and other heads, so that nothing but their meaning tells them apart."""
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("n_embd", "16"),
        ("n_embd", True),
        ("n_embd", 1 << 20),
        ("n_head", 3),
        ("n_layer", 0),
        ("n_layer", 1 << 40),
        ("n_inner", 0),
        ("n_inner", 1.5),
        ("n_positions", -1),
        ("vocab_size", None),
        ("activation_function", "silu"),
        ("activation_function", ["relu"]),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("resid_pdrop", 1.5),
        ("initializer_range", "wide"),
        ("tie_word_embeddings", None),
    ],
)
def test_settings_beyond_the_backbone_are_refused_by_name(
    field: str, value: object, folder: Path
) -> None:
    reset(folder, **{field: value})
    message = refusal(folder)
    assert "config.json" in message
    if isinstance(value, int) and value > 1 << 10:
        assert str(value) in message
    else:
        assert f"{field} = {json.dumps(value)}" in message


def turned(tensors: dict[str, Tensor]) -> None:
    name = "transformer.h.1.attn.c_attn.weight"
    tensors[name] = tensors[name].T.contiguous()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("transformer.wpe.weight"), "missing tensor 'wpe.weight'"),
        (
            lambda tensors: tensors.pop("transformer.h.1.mlp.c_fc.bias"),
            "missing tensor 'h.1.mlp.c_fc.bias'",
        ),
        (
            lambda tensors: tensors.update({"score.weight": torch.ones(2, 16)}),
            "unknown tensor 'score.weight'",
        ),
        (
            lambda tensors: tensors.update({"transformer.h.2.ln_1.bias": torch.ones(16)}),
            "unknown tensor 'h.2.ln_1.bias'",
        ),
        (turned, "tensor 'h.1.attn.c_attn.weight' is float32[48, 16], not float[16, 48]"),
        (
            lambda tensors: tensors.update(
                {"transformer.ln_f.bias": torch.ones(16, dtype=torch.int8)}
            ),
            "tensor 'ln_f.bias' is int8[16], not float[16]",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(
    change: Callable[[dict[str, Tensor]], object], said: str, folder: Path
) -> None:
    reweigh(folder, change)
    message = refusal(folder)
    assert "model.safetensors" in message
    assert said in message


def test_an_untied_model_needs_its_head(folder: Path) -> None:
    reset(folder, tie_word_embeddings=False)
    assert "missing tensor 'lm_head.weight'" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_weights_are_refused(keep: float, folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    assert "model.safetensors: truncated or not a safetensors file" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_damaged_configuration_is_refused(text: bytes, said: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text)
    assert f"config.json: {said}" in refusal(folder)


def test_what_is_not_there_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "holds no model.safetensors" in message
    assert "pytorch_model.bin" in message
    (folder / "pytorch_model.bin").unlink()
    assert "pytorch_model.bin" not in refusal(folder)
    (folder / "config.json").unlink()
    assert "holds no config.json" in refusal(folder)
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        load_gpt2(folder / "nowhere")


def test_weights_are_not_read_for_a_configuration_of_another_size(folder: Path) -> None:
    reset(folder, n_embd=4096, n_layer=200)
    assert "tensor" in refusal(folder)


def test_of_three_dropouts_that_differ_the_streams_serves(folder: Path) -> None:
    tokens, expected = random_tokens(2, 20), load_gpt2(folder)(random_tokens(2, 20))
    reset(folder, resid_pdrop=0.2, attn_pdrop=0.0, embd_pdrop=0.0)
    model = load_gpt2(folder)
    assert model.config.dropout == 0.2
    assert torch.equal(model(tokens), expected)


@pytest.mark.parametrize(("token", "expected"), [(7, 7), (53, None), (None, None), ([7, 8], None)])
def test_the_end_of_text_is_one_that_the_vocabulary_has(
    token: object, expected: int | None, folder: Path
) -> None:
    reset(folder, eos_token_id=token)
    assert end_of_text(folder) == expected


def test_the_four_sizes_count_as_published() -> None:
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


def test_greedy_text_is_transformers_own(published: Path) -> None:
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


# The command, with a tokenizer and a model that know one text by heart.

TEXT = "The knight is größer than 𝄞, said the rook; naïve pawns — ♔ and ♟ — went on."


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the command needs."""
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["The knight is the rook and the pawns went on."] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)
    text = tokenizer.encode(TEXT).ids
    assert any("\ufffd" in tokenizer.decode([token]) for token in text)  # parts of characters
    # Twice, and with and without the end of a text before: in every place that the tests ask for.
    tokens = torch.tensor([([end, *text] * 3)[i : i + 2 * len(text) + 3] for i in range(2)])
    torch.manual_seed(0)
    model = LanguageModel(
        small_config(vocabulary=280, context=256, channels=32, heads=4, dropout=0.0)
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(120):
        loss = F.cross_entropy(model(tokens)[:, :-1].mT, tokens[:, 1:])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.1
    save_gpt2(model, folder)
    return folder


@pytest.fixture
def spoiled(tmp_path: Path, writer: Path) -> Path:
    for path in writer.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def say(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """What the command prints, without its last line's end; it must succeed."""
    assert cli.main(["language", "--gpt2", str(folder), *words]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.endswith("\n")
    return printed.out[:-1]


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["language", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    return printed.err


GREEDILY = ("--temperature", "0", "--prompt")


def test_the_command_goes_on_to_the_end_of_the_text(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for prompt in ("The knight", "The knight is größer than 𝄞", "", TEXT[:-1]):
        assert say(capsys, writer, *GREEDILY, prompt) == TEXT
    assert say(capsys, writer, "--tokens", "0", *GREEDILY, "The kn") == "The kn"
    assert say(capsys, writer, "--tokens", "1", *GREEDILY, "The knight is ") < TEXT


def test_the_command_stops_within_a_character(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, clef, _ = TEXT.partition("𝄞")
    assert say(capsys, writer, "--tokens", "2", *GREEDILY, before) == before + "\ufffd"
    assert say(capsys, writer, "--tokens", "4", *GREEDILY, before) == before + clef


def test_the_command_draws_by_its_seed(writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--temperature", "3", "--tokens", "30", "--prompt", "The")
    drawn = [say(capsys, writer, *words, "--seed", seed) for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]
    assert say(capsys, writer, *words, "--top-k", "1", "--tokens", "100") == TEXT
    assert say(capsys, writer, *words, "--top-p", "1e-9", "--tokens", "100") == TEXT


def test_the_command_prints_one_json_object(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = json.loads(say(capsys, writer, "--json", *GREEDILY, "The knight"))
    assert figures["prompt"] + figures["text"] == TEXT
    assert figures["ended"] is True
    tokenizer = Tokenizer.from_file(str(writer / "tokenizer.json"))
    assert figures["tokens"] == len(tokenizer.encode(figures["text"]).ids)
    assert figures["tokens_per_second"] == pytest.approx(figures["tokens"] / figures["seconds"])
    figures = json.loads(say(capsys, writer, "--json", "--tokens", "3", *GREEDILY, "The"))
    assert figures["tokens"] == 3
    assert figures["ended"] is False


def test_vocabulary_and_merges_serve_as_the_whole_tokenizer(
    spoiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(spoiled / "tokenizer.json"))
    tokenizer.model.save(str(spoiled))
    (spoiled / "tokenizer.json").unlink()
    assert say(capsys, spoiled, *GREEDILY, "The knight") == TEXT
    assert say(capsys, spoiled, *GREEDILY, "") == TEXT
    two = TEXT + END_OF_TEXT + "The"
    assert say(capsys, spoiled, *GREEDILY, two) == two + TEXT.removeprefix("The")
    (spoiled / "merges.txt").write_text("no merge at all, of three\n")
    line = complaint(capsys, "--gpt2", str(spoiled), "--prompt", "x")
    assert "merges.txt: not a tokenizer's" in line
    (spoiled / "merges.txt").unlink()
    line = complaint(capsys, "--gpt2", str(spoiled), "--prompt", "x")
    assert "holds no tokenizer.json, nor vocab.json with merges.txt" in line


def test_a_prompt_longer_than_the_context_is_read_from_its_end(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "The knight. " * 80
    assert cli.main(["language", "--gpt2", str(writer), "--tokens", "3", *GREEDILY, long]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(long)
    assert "reads the last 256" in printed.err


def spoil_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:500])


def forget_end(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace(END_OF_TEXT, "<|other|>"))


def grow_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["gambit"])
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("spoil", "prompt", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "x", "holds no tokenizer.json"),
        (spoil_tokenizer, "x", "tokenizer.json: not a tokenizer's"),
        (grow_tokenizer, "x", "a tokenizer of 281 tokens, a model of 280"),
        (forget_end, "", f"has no tokens, and the tokenizer no {END_OF_TEXT}"),
        (lambda folder: None, "a\udc80", "not UTF-8"),
        (lambda folder: (folder / "config.json").write_text("{"), "x", "config.json: not JSON"),
        (lambda folder: (folder / "model.safetensors").write_text("x"), "x", "truncated"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(
    spoil: Callable[[Path], object],
    prompt: str,
    said: str,
    spoiled: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(spoiled)
    assert said in complaint(capsys, "--gpt2", str(spoiled), "--prompt", prompt)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--gpt2-sizes"),
        ("--gpt2 x --gpt2-sizes", "only one of them"),
        ("--gpt2 no-such-folder --prompt x", "no-such-folder: no such folder"),
        ("--gpt2 x --temperature -1", "temperature = -1.0"),
        ("--gpt2 x --top-p 0", "top_p = 0.0"),
        ("--gpt2 x --tokens -1", "--tokens -1"),
        ("--gtp2 x", "did you mean --gpt2"),
        ("trian gardner", "'trian'"),
    ],
)
def test_bad_options_are_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, *words.split())


def test_the_end_of_text_may_be_the_configurations(
    spoiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(spoiled / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)
    forget_end(spoiled)
    reset(spoiled, eos_token_id=end)
    assert say(capsys, spoiled, *GREEDILY, "") == TEXT


def test_the_sizes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["language", "--gpt2-sizes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == parameter_counts()
    assert cli.main(["language", "--gpt2-sizes"]) == 0
    assert "small    124,439,808 parameters\n" in capsys.readouterr().out


@pytest.mark.parametrize(("use", "name"), [("train", "train"), ("continue", "continuation")])
def test_the_uses_for_moves_get_their_words(
    use: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def main(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    module = types.ModuleType(f"scripts.commands.language.{name}")
    module.__dict__["main"] = main
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["language", use, "gardner", "--json"]) == 7
    assert cli.main(["language", use, "--help"]) == 7
    assert seen == [["gardner", "--json"], ["--help"]]


def test_help_shows_every_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["language", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for use in ("language train VARIANT", "language continue VARIANT", "--gpt2 FOLDER --prompt"):
        assert use in printed


@given(tokens=st.lists(st.integers(0, 279), max_size=20))
def test_pieces_are_the_text_and_whole_characters(writer: Path, tokens: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(writer / "tokenizer.json"))
    assert "".join(pieces(tokenizer, tokens)) == tokenizer.decode(tokens)


def test_a_piece_comes_as_soon_as_its_character_is_whole(writer: Path) -> None:
    tokenizer = Tokenizer.from_file(str(writer / "tokenizer.json"))
    read: list[int] = []

    def reading() -> Iterator[int]:
        for token in tokenizer.encode("a𝄞b").ids:
            read.append(token)
            yield token

    found = [(piece, len(read)) for piece in pieces(tokenizer, reading()) if piece]
    assert found == [("a", 1), ("𝄞", 5), ("b", 6)]


def test_an_interrupted_text_ends_its_line(writer: Path) -> None:
    words = ["language", "--gpt2", str(writer), "--tokens", "1000000", "--temperature", "9"]
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", *words, "--prompt", "The knight"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        begun = process.stdout.read(60)
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert begun.startswith(b"The knight")
    assert rest.endswith(b"\n")
    assert errors == b"pawnscope: interrupted\n"
    assert process.returncode == 130
