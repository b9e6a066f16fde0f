"""The reference of commands says what the commands say."""

import re

import pytest

from scripts.reference import REFERENCE, help_text, reference


def test_the_reference_is_what_help_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    written = REFERENCE.read_text(encoding="utf-8")
    assert written == reference(), "python -m scripts.reference writes it anew"
    headings = re.findall(r"^## pawnscope (\w+ \w+)$", written, re.MULTILINE)
    assert headings == [
        *("language train", "language continue"),
        *("runs rm", "runs csv", "runs tensorboard"),
    ]
    assert max(map(len, written.splitlines())) <= 96


def test_a_subcommand_has_its_own_options() -> None:
    assert "options:" in help_text(["runs", "rm"])
    assert "--yes" in help_text(["runs", "rm"])
