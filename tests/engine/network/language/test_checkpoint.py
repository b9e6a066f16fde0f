"""Checkpoints of move language models: complete, and refused by field where they are damaged."""

from pathlib import Path

import pytest
import torch

from engine.network.checkpoint import CheckpointError, load_tensors, save_tensors
from engine.network.language.checkpoint import load_language, read_language, save_language
from engine.network.language.move_tokens import MoveTokenizer
from engine.rules.variant import get_variant
from tests.support.network.language_cases import lively_model

ROOT = Path(__file__).resolve().parents[4]
HEXAPAWN = get_variant("hexapawn")
TOKENIZER = MoveTokenizer.of(HEXAPAWN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound checkpoint."""
    model = lively_model(vocabulary=len(TOKENIZER))
    save_language(tmp_path / "model", model, TOKENIZER, HEXAPAWN, metadata={"round": 0})
    return tmp_path / "model"


def test_a_checkpoint_holds_model_vocabulary_rules_and_metadata(path: Path) -> None:
    model = lively_model(vocabulary=len(TOKENIZER))
    found = read_language(path)
    assert found.config == model.config
    assert found.tokenizer.texts == TOKENIZER.texts
    assert (found.variant_name, found.variant_digest) == ("hexapawn", HEXAPAWN.digest)
    loaded = load_language(path, variant=HEXAPAWN)
    assert loaded.metadata == {"round": 0}
    tokens = torch.tensor([[0, 4, 9]])
    assert torch.equal(loaded.model.eval()(tokens), model(tokens))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"language": {"channels": 16}}, "the field 'vocabulary' is missing"),
        ({"tokenizer": {"digest": "00", "words": "start 1-0 1/2-1/2 0-1 a1a2"}}, "digest = '00'"),
        ({"tokenizer": {"digest": "00", "words": "start 1-0 1/2-1/2 0-1 a1a9"}}, "'a1a9'"),
        ({"tokenizer": {"digest": "00"}}, "missing field 'tokenizer.words'"),
        ({"format": 99}, "checkpoint format 99"),
        ({"variant": {"name": "hexapawn"}}, "missing field 'variant.digest'"),
    ],
)
def test_damaged_headers_are_refused_by_field(
    path: Path, change: dict[str, object], complaint: str
) -> None:
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | change)
    with pytest.raises(CheckpointError) as caught:
        load_language(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_not_the_wanted_model_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a language model of 'hexapawn'.*not of 'gardner'"):
        load_language(path, variant=get_variant("gardner"))
    with pytest.raises(CheckpointError, match="a move language model is needed"):
        load_language(next((ROOT / "engine" / "weights").glob("*.safetensors")))
    tensors, header = load_tensors(path)
    tensors.pop("backbone.norm.bias")
    save_tensors(path, tensors, header)
    with pytest.raises(CheckpointError, match=r"missing tensor 'backbone\.norm\.bias'"):
        load_language(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_language(path)
