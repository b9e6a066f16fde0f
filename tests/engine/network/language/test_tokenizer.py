"""Tokenizers in folders of GPT-2: the tokens are those of transformers, or the file is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.network.checkpoint import CheckpointError
from scripts.commands.language.tokenizer import END_OF_TEXT, encode, load_tokenizer

SIZE = 280
PROMPTS = (
    "The knight",
    " the rook and the pawns went on.",
    f"The knight{END_OF_TEXT} is",
    "a gambit here, <sep>gambits there",
    "naïve ♔",
)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["The knight is the rook and the pawns went on."] * 9, trainer)
    return tokenizer


@pytest.fixture
def parts(tmp_path: Path, trained: Tokenizer) -> Path:
    """A folder with vocab.json and merges.txt."""
    trained.model.save(str(tmp_path))
    return tmp_path


@pytest.fixture
def whole(tmp_path: Path, trained: Tokenizer) -> Path:
    """A folder with tokenizer.json."""
    trained.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def write(folder: Path, name: str, values: object) -> None:
    (folder / name).write_text(json.dumps(values))


def added(text: str, *, special: bool, **flags: bool) -> dict[str, Any]:
    off = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": not special}
    return {"content": text, "special": special} | off | flags


CASES: dict[str, dict[str, object]] = {
    "nothing beside": {},
    "added_tokens.json": {"added_tokens.json": {"gambit": SIZE, "<sep>": SIZE + 1}},
    "added and special": {
        "added_tokens.json": {"gambit": SIZE, "<sep>": SIZE + 1},
        "special_tokens_map.json": {
            "bos_token": END_OF_TEXT,
            "eos_token": added(END_OF_TEXT, special=True),
            "pad_token": "<sep>",
        },
    },
    "added_tokens_decoder": {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                "0": added(END_OF_TEXT, special=True),
                str(SIZE): added("gambit", special=False, single_word=True),
                str(SIZE + 1): added("<sep>", special=True, lstrip=True),
            }
        }
    },
    "add_prefix_space": {"tokenizer_config.json": {"add_prefix_space": True}},
    "add_bos_token": {"tokenizer_config.json": {"add_bos_token": True, "bos_token": END_OF_TEXT}},
}


@pytest.mark.parametrize("files", CASES.values(), ids=CASES)
def test_tokens_are_those_of_transformers(files: dict[str, object], parts: Path) -> None:
    from transformers import GPT2Tokenizer

    for name, values in files.items():
        write(parts, name, values)
    reference = GPT2Tokenizer.from_pretrained(parts)
    found = load_tokenizer(parts)
    for prompt in PROMPTS:
        tokens = encode(found, prompt, None)
        assert tokens == reference(prompt)["input_ids"], prompt
        text = found.tokenizer.decode(tokens)
        assert text == reference.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    assert found.size == len(reference)


def test_what_stands_beside_changes_the_tokens_of_a_whole_tokenizer(whole: Path) -> None:
    plain = encode(load_tokenizer(whole), "rook gambit", None)
    write(whole, "tokenizer_config.json", {"add_prefix_space": True})
    write(whole, "added_tokens.json", {"gambit": SIZE})
    found = load_tokenizer(whole)
    assert encode(found, "rook gambit", None)[-1] == SIZE
    assert encode(found, "rook", None) == encode(load_tokenizer(whole), " rook", None) != plain[:1]


def test_the_files_may_name_the_end_of_text(parts: Path) -> None:
    write(parts, "added_tokens.json", {"<end>": SIZE})
    write(parts, "special_tokens_map.json", {"eos_token": "<end>"})
    assert load_tokenizer(parts).end == SIZE
    assert load_tokenizer(parts).first is None


def vocabulary_of(path: Path) -> dict[str, int]:
    return dict(Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab())


REFUSALS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "taken number": (
        "added_tokens.json: 'gambit' = 5: beside the vocabulary it would be 280",
        lambda folder: write(folder, "added_tokens.json", {"gambit": 5}),
    ),
    "gap": (
        "added_tokens.json: 'gambit' = 300: beside",
        lambda folder: write(folder, "added_tokens.json", {"gambit": 300}),
    ),
    "no number": (
        "added_tokens.json: 'gambit' = \"280\": not a token's number",
        lambda folder: write(folder, "added_tokens.json", {"gambit": "280"}),
    ),
    "no object": (
        "added_tokens.json: not a JSON object",
        lambda folder: write(folder, "added_tokens.json", ["gambit"]),
    ),
    "decoder": (
        'tokenizer_config.json: added_tokens_decoder: {"280": 7}: not a token',
        lambda folder: write(folder, "tokenizer_config.json", {"added_tokens_decoder": {"280": 7}}),
    ),
    "flag": (
        "tokenizer_config.json: added_tokens_decoder: ",
        lambda folder: write(
            folder,
            "tokenizer_config.json",
            {"added_tokens_decoder": {"280": {"content": "a", "colour": 1}}},
        ),
    ),
    "unknown special": (
        "special_tokens_map.json: eos_token = '<end>': not in the vocabulary",
        lambda folder: write(folder, "special_tokens_map.json", {"eos_token": "<end>"}),
    ),
    "unknown special in a list": (
        "tokenizer_config.json: extra_special_tokens[1] = '<b>': not in the vocabulary",
        lambda folder: write(
            folder, "tokenizer_config.json", {"extra_special_tokens": [END_OF_TEXT, "<b>"]}
        ),
    ),
    "unknown special by name": (
        "tokenizer_config.json: extra_special_tokens[0] = '<b>': not in the vocabulary",
        lambda folder: write(
            folder, "tokenizer_config.json", {"extra_special_tokens": {"image_token": "<b>"}}
        ),
    ),
    "lower case": (
        "tokenizer_config.json: do_lower_case = true: not supported",
        lambda folder: write(folder, "tokenizer_config.json", {"do_lower_case": True}),
    ),
    "own code": (
        'tokenizer_config.json: auto_map = {"AutoTokenizer": "x.Y"}: not supported',
        lambda folder: write(
            folder, "tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.Y"}}
        ),
    ),
    "other vocabulary": (
        "vocab.json: ",
        lambda folder: write(
            folder, "vocab.json", vocabulary_of(folder) | {"t": 1, "h": 2, "zzz": 900}
        ),
    ),
    "broken": (
        "tokenizer_config.json: not JSON",
        lambda folder: (folder / "tokenizer_config.json").write_text("{"),
    ),
}


@pytest.mark.parametrize(("said", "spoil"), REFUSALS.values(), ids=REFUSALS)
def test_what_would_give_other_tokens_is_refused_by_name(
    said: str, spoil: Callable[[Path], object], whole: Path
) -> None:
    load_tokenizer(whole)
    spoil(whole)
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(whole)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.model", "vocab.bpe"])
def test_tokenizers_of_another_layout_are_refused_by_name(name: str, parts: Path) -> None:
    (parts / name).write_text("")
    with pytest.raises(CheckpointError, match=rf"{name}: not supported"):
        load_tokenizer(parts)
    (parts / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=rf"holds no tokenizer\.json.*{name}: not supported"):
        load_tokenizer(parts)


def test_another_kind_of_tokenizer_is_refused_by_name(parts: Path) -> None:
    write(parts, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    with pytest.raises(CheckpointError, match=r"tokenizer_class = .BertTokenizer.: not GPT2"):
        load_tokenizer(parts)
