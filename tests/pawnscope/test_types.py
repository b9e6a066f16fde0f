"""Types reach users: a project outside the source tree is checked against the installed package."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.setup.checks import ROOT

PROJECT = """
from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt
import pawnscope as ps

net = ps.load("gardner")
assert_type(net, ps.Network)
position = ps.Position("gardner")
found = net.evaluate(position)
assert_type(found, ps.Evaluation)
assert_type(found.wdl.win, float)
assert_type(found.policy, Mapping[str, float])
several = net.evaluate([position, position])
assert_type(several, ps.Evaluations)
assert_type(several.wdl, npt.NDArray[np.float32])
assert_type(net.evaluate(several.rows), ps.Evaluations)
assert_type(several[0], ps.Evaluation)
assert_type(net.activations(position, "final"), npt.NDArray[np.float32])
assert_type(net.activations(several.rows, ["final"]), dict[str, npt.NDArray[np.float32]])
assert_type(ps.search(net, position, simulations=400), ps.SearchResult)
assert_type(ps.search(None, [position]), ps.SearchResults)
assert_type(ps.search(net, position).principal_variation, tuple[str, ...])
solution = ps.solve("hexapawn")
assert_type(solution.value(position), int)
assert_type(solution.value([position]), npt.NDArray[np.int8])
run = ps.train("hexapawn", minutes=1)
assert_type(run, ps.Run)
assert_type(run.checkpoints, tuple[Path, ...])
assert_type(run.network(), ps.Network)
assert_type(ps.probe(run).to_json(), str)
assert_type(ps.match("perfect", net, "hexapawn").elo, float)
"""
CONFIG = """
[mypy]
strict = true

# To read these takes most of the time, and nothing here is of their types.
[mypy-jinja2.*,matplotlib.*,torch.*,tqdm.*,tyro.*]
follow_imports = skip
"""
WRONG = """
import pawnscope as ps

ps.search(ps.Position("gardner"), ps.load("gardner"))
ps.solve("hexapawn").value("hexapawn")
ps.load("gardner").evaluate(position="gardner")
"""


@pytest.mark.timeout(600)
def test_a_users_project_is_checked(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    cache = request.config.cache.mkdir("types_of_a_project")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", cache, "project.py", "wrong.py"],
        cwd=tmp_path,
        # Found as an installed package is: by Python's own path.
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    places = {":".join(line.split(":")[:2]) for line in errors}
    assert places == {f"wrong.py:{line}" for line in (4, 5, 6)}, done.stdout + done.stderr


def test_the_marks_of_typed_packages_are_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in settings["package-data"]["*"]
    for name in ("engine", "pawnscope", "scripts", "search", "training"):
        assert (ROOT / name / "py.typed").is_file()
        assert any(each.rstrip("*") == name for each in settings["packages"]["find"]["include"])
