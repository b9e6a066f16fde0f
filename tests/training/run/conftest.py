"""The run that most tests here copy, played once."""

import shutil
from pathlib import Path

import pytest

from tests.support.training.run_cases import PLAYED_ROUNDS, Watch, train


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hexapawn run of PLAYED_ROUNDS rounds; to be copied, never changed."""
    path = tmp_path_factory.mktemp("played") / "run"
    train(path, Watch(after=PLAYED_ROUNDS))
    return path


@pytest.fixture
def run(played: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(played, tmp_path / "run"))
