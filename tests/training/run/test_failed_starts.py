"""A start that fails before the first round leaves nothing that hinders the next one."""

from pathlib import Path
from typing import Any

import pytest

from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.training.run_cases import SETTINGS, StopHere, Watch, refused, train
from training.config import merge
from training.data.run_directory import read_metrics

HEXAPAWN = get_variant("hexapawn")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"self_play": {"tablebases": "nope"}}, "nope"),
        ({"warm_start": "nowhere"}, "nowhere"),
        ({"learning": {"learning_rate": 1e30}}, "learning_rate = 1e"),
    ],
)
def test_settings_that_fail_are_mended_and_tried_again(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "runs" / "mine"
    with pytest.raises((InputError, OSError), match=message):
        train(path, Watch(), HEXAPAWN, **merge(SETTINGS, settings))
    assert not (tmp_path / "runs").exists()
    train(path, Watch(after=1))
    assert read_metrics(path)[-1]["round"] == 1


def test_what_is_not_a_run_s_stays(tmp_path: Path) -> None:
    """A failing start empties a folder that was there before, and removes no foreign file."""
    path = tmp_path / "mine"
    path.mkdir()

    class Visitor(Watch):
        def task(self, name: str, total: int) -> None:
            (path / "notes.txt").write_text("mine")
            raise InputError("bad luck")

    with pytest.raises(InputError, match="bad luck"):
        train(path, Visitor())
    assert [file.name for file in path.iterdir()] == ["notes.txt"]
    (path / "notes.txt").unlink()
    with pytest.raises(FileNotFoundError, match="nope"):
        train(path, Watch(), HEXAPAWN, **merge(SETTINGS, {"self_play": {"tablebases": "nope"}}))
    assert list(path.iterdir()) == []


def test_a_run_with_a_round_is_kept(tmp_path: Path) -> None:
    class Fails(Watch):
        def metrics(self, values: dict[str, Any]) -> None:
            if values["round"] == 1:
                raise InputError("bad luck")

    with pytest.raises(InputError, match="bad luck"):
        train(tmp_path / "run", Fails())
    train(tmp_path / "run", Watch(after=2))
    assert [line["round"] for line in read_metrics(tmp_path / "run")] == [0, 1, 2]


def test_a_start_that_is_killed_continues(tmp_path: Path) -> None:
    class Killed(Watch):
        def task(self, name: str, total: int) -> None:
            raise StopHere

    train(tmp_path / "run", Killed())
    assert (tmp_path / "run" / "config.toml").exists()
    train(tmp_path / "run", Watch(after=1))


def test_a_checkpoint_that_cannot_be_read_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"half")
    words = ("hexapawn", "--from", str(tmp_path / "half.safetensors"))
    assert "half.safetensors" in refused(capsys, tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()
