"""A sound file of every kind, and the way past our own writer."""

import json
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.checkpoint import save_checkpoint
from engine.network.language.checkpoint import save_language
from engine.network.language.move_tokens import MoveTokenizer
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.rules.variant import get_variant
from tests.support.network.language_cases import lively_model
from tests.support.network.network_cases import SMALL, small_config
from tests.support.training.training_cases import played_rows
from training.data.shards import save_games

GARDNER: Final = get_variant("gardner")
KEY: Final = "pawnscope"

Header = dict[str, Any]
Tensors = dict[str, Tensor]


def read(path: Path) -> tuple[Tensors, Header]:
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()[KEY])


def write(path: Path, tensors: Tensors, header: object) -> None:
    """Past our own writer, which would refuse some of it."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(safetensors.torch.save(tensors, {KEY: text}))


def network_file(path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(
        path, PolicyValueNet(small_config("gardner", "geometric")), metadata={"step": 3}
    )


def universal_file(path: Path) -> None:
    torch.manual_seed(0)
    settings = {name: value for name, value in SMALL.items() if name != "trunk"}
    network = UniversalNet(UniversalConfig.from_dict(UniversalConfig().to_dict() | settings))
    digests = {"gardner": GARDNER.digest}
    save_checkpoint(path, network, metadata={}, trained_on=["gardner"], digests=digests)


def language_file(path: Path) -> None:
    tokenizer = MoveTokenizer.of(GARDNER)
    model = lively_model(vocabulary=len(tokenizer))
    save_language(path, model, tokenizer, GARDNER, metadata={"round": 1, "seconds": 2.5})


def games_file(path: Path) -> None:
    source = {"round": 3, "actor": 1, "checkpoint": "00000000.safetensors"}
    save_games(path, played_rows(GARDNER, 12), GARDNER, source)
