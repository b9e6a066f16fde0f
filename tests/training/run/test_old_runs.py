"""A run of an older version continues (tests/golden/old_runs was written before names changed)."""

import shutil
from contextlib import suppress
from pathlib import Path

import torch

from engine.network.checkpoint import load_tensors
from engine.rules.variant import get_variant
from tests.support.training.run_cases import StopHere, Watch, state_of
from training.data.run_directory import read_metrics
from training.run.setup import open_directory, open_run

OLD = Path(__file__).resolve().parents[2] / "golden" / "old_runs" / "hexapawn"
HEXAPAWN = get_variant("hexapawn")


def test_an_old_run_continues_with_its_weights(tmp_path: Path) -> None:
    path = Path(shutil.copytree(OLD, tmp_path / "run"))
    stored, header = load_tensors(OLD / "learner.safetensors")
    watch = Watch(after=header["round"] + 1)
    with (
        open_directory(path, HEXAPAWN, {}) as directory,
        open_run(directory, HEXAPAWN, watch) as run,
    ):
        ema = run.network.state_dict()
        for name, tensor in stored.items():
            if name.startswith("average."):
                assert torch.equal(ema.pop(name.removeprefix("average.")), tensor)
        assert not ema
        with suppress(StopHere):
            run.train()
    assert [line["round"] for line in read_metrics(path)] == list(range(header["round"] + 2))
    assert {name.split(".")[0] for name in state_of(path)} == {"network", "ema", "optimiser"}
