"""One folder for the examples and tests that work in a directory: a trained network lies there."""

from pathlib import Path

import pytest

import pawnscope as ps


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a run of Hexapawn of some rounds in `runs/hexapawn`."""
    path = tmp_path_factory.mktemp("face")
    ps.train("hexapawn", run=path / "runs" / "hexapawn", minutes=0.01)
    return path
