"""Files and runs of another kind than a command takes: it says what they are."""

import re
from pathlib import Path

import pytest
import torch

from engine.network.checkpoint import save_checkpoint
from engine.network.language.checkpoint import save_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import MoveTokenizer
from engine.network.model.config import LanguageConfig
from engine.rules.variant import get_variant
from scripts import cli
from search.players.make import PLAYER_FORMS
from tests.support.network.network_cases import lively_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both kinds, with a checkpoint each, and files that are none."""
    folder = tmp_path_factory.mktemp("kinds")
    variant = get_variant("hexapawn")
    for name, config in (
        ("play", "stop_at_raw = 1.0\n"),
        ("text", "vocabulary = 'game'\ncorpus = ''\n"),
    ):
        (folder / name / "checkpoints").mkdir(parents=True)
        (folder / name / "config.toml").write_text(config)
    network = lively_network("hexapawn", "residual")
    save_checkpoint(folder / "play/checkpoints/00000001.safetensors", network, metadata={})
    tokenizer = MoveTokenizer.of(variant)
    torch.manual_seed(0)
    model = LanguageModel(
        LanguageConfig(
            vocabulary=len(tokenizer), context=16, channels=8, blocks=1, heads=1, hidden=8
        )
    )
    path = folder / "text/checkpoints/00000001.safetensors"
    save_language(path, model, tokenizer, variant, metadata={})
    (folder / "empty.safetensors").touch()
    return folder


LANGUAGE = (
    "text/checkpoints/00000001.safetensors: a move language model, and a policy/value network"
)
NETWORK = "play/checkpoints/00000001.safetensors: a policy/value network, and a move language model"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("probe text", LANGUAGE),
        ("probe text/checkpoints/00000001.safetensors", LANGUAGE),
        ("evaluate text", LANGUAGE),
        ("export text net.onnx", LANGUAGE),
        ("match random policy:text hexapawn", LANGUAGE),
        ("train hexapawn --from text --run new", LANGUAGE),
        ("match random language:play hexapawn", NETWORK),
        ("language continue hexapawn --checkpoint play", NETWORK),
        ("train hexapawn --run text", "text: a language run, not a training run"),
        ("language train hexapawn --run play", "play: a training run, not a language run"),
        (
            "evaluate play/checkpoints/00000001.safetensors",
            "a file, and a run's directory is needed, as play",
        ),
        (
            "probe empty.safetensors",
            "empty.safetensors: truncated or not a safetensors file (it is",
        ),
    ],
)
def test_the_message_says_what_it_is(
    words: str,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert cli.main(words.split()) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    left = {path.name for path in set(folder.rglob("*")) - set(before)}
    assert left <= {".lock"}


def test_every_kind_of_player_is_known_as_one() -> None:
    assert {re.split(r"\W", form)[0] for form in PLAYER_FORMS} == set(cli._PLAYERS)
