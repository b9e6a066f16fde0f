"""`import pawnscope` is light, and says so where a file of the caller's is in its way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pawnscope.own_packages import OWN_PACKAGES
from scripts.setup.checks import ROOT


def run(code: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        # What tests/conftest.py has set, an import has to set by itself.
        env={name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_every_name_is_there_and_none_loads_torch() -> None:
    done = run(
        "import sys, pawnscope as ps\n"
        "assert all(hasattr(ps, name) for name in ps.__all__)\n"
        "assert ps.search(None, ps.Position('hexapawn'), simulations=99).best == 'b2'\n"
        "assert ps.solve('hexapawn').value(ps.Position('hexapawn')) == -1\n"
        "heavy = {'torch', 'matplotlib', 'jinja2', 'tqdm', 'tyro', 'openvino'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import os; assert os.environ['OMP_WAIT_POLICY'] == 'passive'\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OWN_PACKAGES)
def test_a_file_in_the_way_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    code = f"import sys; sys.path.append({str(ROOT)!r}); import pawnscope"
    for done in (run(code, tmp_path), run(f"import {name}; {code}", tmp_path)):
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"ImportError: pawnscope needs its own package '{name}'"), last
        assert str(tmp_path / f"{name}.py") in last


def test_a_module_made_by_hand_is_in_the_way_too() -> None:
    done = run(
        "import sys, types; sys.modules['search'] = types.ModuleType('search'); import pawnscope"
    )
    assert "finds another module under that name" in done.stderr


def test_folders_that_are_no_packages_are_not_in_the_way(tmp_path: Path) -> None:
    for name in OWN_PACKAGES:
        (tmp_path / name).mkdir()
    code = f"import sys; sys.path.append({str(ROOT)!r}); import pawnscope"
    assert run(code, tmp_path).returncode == 0
