"""`pawnscope language --gpt2`: the text of a small model, and one line for each mistake."""

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F

from engine.network.language.gpt2 import parameter_counts, save_gpt2
from engine.network.language.model import LanguageModel
from scripts import cli
from scripts.commands import compile
from scripts.commands.language import continuation, train
from scripts.commands.language.tokenizer import END_OF_TEXT, pieces
from tests.support.network.language_cases import small_config

ROOT = Path(__file__).resolve().parents[4]
TEXT = "The knight is größer than 𝄞, said the rook; naïve pawns — ♔ and ♟ — went on."


@pytest.fixture(autouse=True)
def _without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text needs no compiled kernels."""
    monkeypatch.setattr(compile, "ensure_compiled", lambda: None)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has memorised TEXT."""
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
    # TEXT with and without the end of text before it, at the places where the tests begin.
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
def damaged(tmp_path: Path, writer: Path) -> Path:
    for path in writer.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def say(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """The output of the command, which must succeed, without the last newline."""
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


def test_the_command_continues_to_the_end_of_the_text(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for prompt in ("The knight", "The knight is größer than 𝄞", "", TEXT[:-1]):
        assert say(capsys, writer, *GREEDILY, prompt) == TEXT
    assert say(capsys, writer, "--tokens", "0", *GREEDILY, "The kn") == "The kn"
    assert say(capsys, writer, "--tokens", "1", *GREEDILY, "The knight is ") < TEXT


def test_the_command_may_stop_within_a_character(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, clef, _ = TEXT.partition("𝄞")
    assert say(capsys, writer, "--tokens", "2", *GREEDILY, before) == before + "\ufffd"
    assert say(capsys, writer, "--tokens", "4", *GREEDILY, before) == before + clef


def test_the_seed_determines_the_text(writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_vocabulary_and_merges_replace_the_tokenizer_file(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(damaged / "tokenizer.json"))
    tokenizer.model.save(str(damaged))
    (damaged / "tokenizer.json").unlink()
    assert say(capsys, damaged, *GREEDILY, "The knight") == TEXT
    assert say(capsys, damaged, *GREEDILY, "") == TEXT
    two = TEXT + END_OF_TEXT + "The"
    assert say(capsys, damaged, *GREEDILY, two) == two + TEXT.removeprefix("The")
    (damaged / "merges.txt").write_text("no merge at all, of three\n")
    line = complaint(capsys, "--gpt2", str(damaged), "--prompt", "x")
    assert "merges.txt: not a tokenizer" in line
    (damaged / "merges.txt").unlink()
    line = complaint(capsys, "--gpt2", str(damaged), "--prompt", "x")
    assert "holds no tokenizer.json, nor vocab.json with merges.txt" in line


def test_of_a_prompt_longer_than_the_context_the_end_is_read(
    writer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "The knight. " * 80
    assert cli.main(["language", "--gpt2", str(writer), "--tokens", "3", *GREEDILY, long]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(long)
    assert "reads only the last 256" in printed.err


def damage_tokenizer(folder: Path) -> None:
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
    ("damage", "prompt", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "x", "holds no tokenizer.json"),
        (damage_tokenizer, "x", "tokenizer.json: not a tokenizer"),
        (grow_tokenizer, "x", "a tokenizer of 281 tokens, a model of 280"),
        (forget_end, "", f"has no tokens, and the tokenizer no {END_OF_TEXT}"),
        (lambda folder: None, "a\udc80", "not UTF-8"),
        (lambda folder: (folder / "config.json").write_text("{"), "x", "config.json: not JSON"),
        (lambda folder: (folder / "model.safetensors").write_text("x"), "x", "truncated"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(
    damage: Callable[[Path], object],
    prompt: str,
    said: str,
    damaged: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(damaged)
    assert said in complaint(capsys, "--gpt2", str(damaged), "--prompt", prompt)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--gpt2-sizes"),
        ("--gpt2 x --gpt2-sizes", "only one of them"),
        ("--gpt2 no-such-folder --prompt x", "no-such-folder: no such folder"),
        ("--gpt2 x --temperature -1", "--temperature -1 is not"),
        ("--gpt2 x --top-p 0", "--top-p 0 is not"),
        ("--gpt2 x --tokens -1", "--tokens -1"),
        ("--gtp2 x", "did you mean --gpt2"),
        ("trian gardner", "no command 'trian'; did you mean train?"),
        ("evaluate --help", "no command 'evaluate'; there are train, continue and --gpt2"),
    ],
)
def test_bad_options_are_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, *words.split())


def test_the_configuration_may_name_the_end_of_text(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(damaged / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)
    forget_end(damaged)
    path = damaged / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": end}))
    assert say(capsys, damaged, *GREEDILY, "") == TEXT


def test_the_end_of_text_of_the_model_counts_before_the_tokenizers(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is told to end at the first tokens of ♔ and 𝄞, of which one comes first."""
    tokenizer = Tokenizer.from_file(str(damaged / "tokenizer.json"))
    ends = [
        tokenizer.encode(TEXT).ids[len(tokenizer.encode(TEXT.split(mark)[0]).ids)] for mark in "♔𝄞"
    ]
    before = tokenizer.decode(
        tokenizer.encode(TEXT).ids[: tokenizer.encode(TEXT).ids.index(ends[1])]
    )
    generation = damaged / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": ends, "bos_token_id": None}))
    assert say(capsys, damaged, *GREEDILY, "The knight") == before
    config = damaged / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": ends}))
    generation.unlink()
    assert say(capsys, damaged, *GREEDILY, "The knight") == before


def test_the_sizes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["language", "--gpt2-sizes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == parameter_counts()
    assert cli.main(["language", "--gpt2-sizes"]) == 0
    assert "small    124,439,808 parameters\n" in capsys.readouterr().out


@pytest.mark.parametrize(("use", "module"), [("train", train), ("continue", continuation)])
def test_the_commands_for_moves_get_their_arguments(
    use: str, module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    monkeypatch.setattr(module, "main", main)
    assert cli.main(["language", use, "gardner", "--json"]) == 7
    assert cli.main(["language", use, "--help"]) == 7
    assert seen == [["gardner", "--json"], ["--help"]]


def test_help_shows_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["language", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for use in ("language train VARIANT", "language continue VARIANT", "--gpt2 FOLDER --prompt"):
        assert use in printed


def test_without_the_library_the_extra_is_named(
    writer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "pip install 'pawnscope[text]'" in complaint(capsys, "--gpt2", str(writer))


@given(tokens=st.lists(st.integers(0, 279), max_size=20))
def test_pieces_make_up_the_text(writer: Path, tokens: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(writer / "tokenizer.json"))
    assert "".join(pieces(tokenizer, tokens)) == tokenizer.decode(tokens)


def test_a_piece_comes_once_its_character_is_complete(writer: Path) -> None:
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
