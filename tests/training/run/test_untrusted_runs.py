"""The files of a run, written by a stranger: refused in one line or used."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.network_cases import small_config
from tests.support.training.training_cases import played_rows
from tests.support.training.untrusted_cases import games_file, network_file, read, write
from training.config import LearningConfig
from training.data.index import Index
from training.data.replay import ReplayWindow
from training.data.run_directory import RunDirectory
from training.learner.learner import Learner
from training.run.monitor import Monitor
from training.run.setup import open_run

LEARNING: Final = LearningConfig(batch=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound network and sound games."""
    made = tmp_path / "files"
    made.mkdir()
    network_file(made / "network")
    games_file(made / "games")
    return made


def test_an_index_passes_over_shards_that_do_not_say_where_they_are_from(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "games").mkdir()
    (tmp_path / "checkpoints").mkdir()
    tensors, header = read(folder / "games")
    for number, source in enumerate(
        [
            {"round": 3, "actor": 1},
            {"round": "3", "actor": 1},
            {"round": 3, "actor": 1} | {"simulations": 2},
        ]
    ):
        write(tmp_path / "games" / f"{number}.safetensors", tensors, header | {"source": source})
    network, about = read(folder / "network")
    write(
        tmp_path / "checkpoints" / "00000001.safetensors",
        network,
        about | {"metadata": {"round": "1"}},
    )
    index = Index(tmp_path)
    assert [shard.name for shard in index.shards()] == ["0.safetensors"]
    index.restore_checkpoints(9)
    assert not index.checkpoints()
    index.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at round 0."""
    path = tmp_path_factory.mktemp("runs") / "run"
    resume(path)
    return path


def resume(path: Path) -> None:
    network = {"blocks": 1, "channels": 16, "heads": 2, "hidden": 16}
    settings = {"network": network, "self_play": {"actors": 0, "backend": "torch"}}
    variant = get_variant("hexapawn")
    with RunDirectory(path, variant, settings) as directory:
        open_run(directory, variant, Monitor()).close()


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("round",), "1"),
        (("steps",), -1),
        (("seconds",), None),
        (("games",), []),
        (("games", "hexapawn"), {"positions": 1}),
        (("digests",), {}),
        (("learned",), {"hexapawn": 3}),
        (("learned",), []),
        (("acting",), "../../elsewhere"),
        (("network",), 5),
        (("line",), "x"),
        (("line",), {"seconds": 1.0}),
        (("line",), {"round": True}),
    ],
    ids=str,
)
def test_a_learner_s_header_that_cannot_be_is_refused(
    way: tuple[str, ...], value: object, begun: Path
) -> None:
    state = begun / "learner.safetensors"
    sound = state.read_bytes()
    tensors, header = read(state)
    inner = header
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    write(state, tensors, header)
    try:
        with pytest.raises(InputError) as caught:
            resume(begun)
        assert str(caught.value).startswith(str(state))
    finally:
        state.write_bytes(sound)
    resume(begun)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("optimiser.exp_avg", torch.zeros(3)),
        ("optimiser.exp_avg_sq", None),
        ("optimiser.step", torch.zeros(2)),
        ("optimiser.unheard", torch.zeros(1)),
        ("network.value.wdl.bias", torch.zeros(2)),
        ("ema.value.wdl.bias", None),
    ],
)
def test_a_learner_s_tensors_that_do_not_fit_are_refused(
    name: str, tensor: torch.Tensor | None
) -> None:
    """Each may come with a header that is sound: `TrainingRun` turns these into one line."""
    variant = get_variant("hexapawn")
    learner = Learner([variant], PolicyValueNet(small_config("hexapawn", "residual")), LEARNING)
    window = ReplayWindow(LEARNING)
    window.add(played_rows(variant, 20), 100)
    learner.learn([window], 1, np.random.default_rng(0))
    tensors = learner.state()
    learner.restore(dict(tensors), 1)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        learner.restore(tensors, 1)
