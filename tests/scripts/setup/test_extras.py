"""An extra is installed on demand after a question; where nobody can answer, the error says how."""

import io
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from engine.rules.errors import InputError
from engine.system.extras import how_to_install
from scripts import extras
from scripts.setup.environment import Environment, SetupError


class Terminal(io.StringIO):
    """A stream that a person sits at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The package `planted` can be imported once the extra "planted" was installed."""
    names: list[str] = []

    def install(extra: str) -> None:
        names.append(extra)
        monkeypatch.setitem(sys.modules, "planted", sys)

    monkeypatch.setattr(extras, "_install", install)
    return names


def answer(text: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let a person at a terminal answer; returns what they see."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


@pytest.mark.parametrize("text", ["y\n", "\n", "YES\n"])
def test_what_a_person_agrees_to_is_installed(
    text: str, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = answer(text, monkeypatch)
    extras.require_extra("export", "planted", "planted")
    assert installed == ["planted"]
    assert "export needs planted. Install with " in screen.getvalue()
    # It is there now: no further question.
    screen = answer("", monkeypatch)
    extras.require_extra("export", "planted", "planted")
    assert screen.getvalue() == ""


@pytest.mark.parametrize("text", ["n\n", "what\n", ""])
def test_without_consent_nothing_is_installed(
    text: str, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(text, monkeypatch)
    with pytest.raises(InputError, match=r"^export: planted is not installed .*\[planted\]"):
        extras.require_extra("export", "planted", "planted")
    assert not installed


@pytest.mark.parametrize("name", ["stdin", "stderr"])
def test_nobody_is_asked_without_a_terminal(
    name: str, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = answer("y\n", monkeypatch)
    monkeypatch.setattr(sys, name, io.StringIO("y\n"))
    with pytest.raises(InputError, match=r"pip install 'pawnscope\[planted\]'"):
        extras.require_extra("export", "planted", "planted")
    assert not installed
    assert screen.getvalue() == ""


def test_what_can_be_left_out_is_said_to_be(
    installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    assert not extras.offer_extra("a peer", "planted", "planted")
    assert screen.getvalue().startswith("pawnscope: a peer: planted is not installed (")
    assert screen.getvalue().endswith("; left out\n")
    answer("y\n", monkeypatch)
    assert extras.offer_extra("a peer", "planted", "planted")
    assert installed == ["planted"]


def test_a_failed_installation_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(extra: str) -> None:
        raise SetupError("no network")

    monkeypatch.setattr(extras, "_install", fail)
    answer("y\n", monkeypatch)
    with pytest.raises(InputError, match="export: no network"):
        extras.require_extra("export", "planted", "planted")


def test_an_environment_of_the_set_up_remembers_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, ...]] = []

    def step(command: Sequence[str], folder: Path, lock: int | None = None) -> None:
        steps.append(tuple(command[-3:]))

    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    monkeypatch.setattr(extras, "run_quietly", step)
    extras._install("export")
    assert steps == [("-c", f"{tmp_path}/constraints.txt", "pawnscope[export]")]
    prepared: list[Sequence[str]] = []
    # Through a link it is the same environment.
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(Environment, "prepare", lambda self, names: prepared.append(names))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "link" / ".venv"))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/pawnscope-stamp").touch()
    extras._install("export")
    assert prepared == [("export",)]
    assert len(steps) == 1


def test_sources_that_are_not_installed_are_not_taken_from_an_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    assert how_to_install("export").endswith("pip install 'pawnscope[export]'")
    monkeypatch.setattr(metadata, "distribution", unknown)
    steps: list[Sequence[str]] = []
    monkeypatch.setattr(extras, "run_quietly", lambda command, _: steps.append(command))
    # An environment of the user's own.
    monkeypatch.setattr(sys, "prefix", "/")
    extras._install("export")
    assert steps[0][-2:] == ["-e", f"{extras.ROOT}[export]"]
    assert how_to_install("export").endswith(f"install -e '{extras.ROOT}[export]'")
