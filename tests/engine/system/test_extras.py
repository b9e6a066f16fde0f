"""What is missing of an extra, and the command that installs it where this Python finds it."""

import sys
import sysconfig
from pathlib import Path

import pytest

from engine.system.extras import how_to_install, is_externally_managed, missing_extra


def test_what_is_there_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_extra("text", "json") is None
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    problem = missing_extra("text", "json", "tokenizers", "no_such_package")
    assert problem is not None
    assert problem.startswith("tokenizers and no_such_package are not installed (")


def test_the_advice_names_the_environment_of_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    python = how_to_install("export")
    assert python == f"{sys.executable} -m pip install 'pawnscope[export]'"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/pip").touch()
    assert how_to_install("export") == f"{tmp_path}/.venv/bin/pip install 'pawnscope[export]'"
    monkeypatch.chdir(tmp_path)
    assert how_to_install("export") == ".venv/bin/pip install 'pawnscope[export]'"


def test_a_python_of_the_system_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert is_externally_managed()
    assert "python3 -m venv" in how_to_install("export")
    # An environment made from it is the person's own.
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert not is_externally_managed()
