"""The method's own error rates stand in every report, as the study of planted networks has them."""

import json
from pathlib import Path

from engine.probing.report.page import render_page
from engine.probing.report.trust import planted_figures, planted_words
from scripts.experiments.planted import NULLS, PRESENT, shares
from tests.support.network.report_cases import Made, made_up_report


def line(kind: str, *clear: tuple[str, str], room: float = 0.5) -> dict[str, object]:
    """A surface as the study keeps it; its pattern is written in block 1."""
    return {
        "kind": kind,
        "clear": [list(each) for each in clear],
        "pattern": "pattern",
        "layers": ["block.1.residual"],
        "without": ["block.0.residual"],
        "room": room,
        "hashes": ["hash"],
        "signal_to_noise": None,
    }


def test_the_studys_figures_are_told() -> None:
    present = [line(kind, ("pattern", "block.1.residual")) for kind in PRESENT]
    missed = line(PRESENT[0], ("hash", "final"))
    nulls = [line(kind) for kind in NULLS] + [line(NULLS[0], ("material", "final"))]
    found = shares([*present, missed, line(PRESENT[1], room=0.2), *nulls])
    words = planted_words({"variant": "hexapawn4x4", "shares": found})
    assert "3 of 4 (75.0 %, 19.4 to 99.4) planted concepts that controls leave room for" in words
    assert "and 0 of 1 (0.0 %, 0.0 to 97.5) of others, which" in words
    assert "1 of 3 (33.3 %, 0.8 to 90.6) surfaces of networks without any" in words
    assert "a random hash of the position was found in 1 of 8" in words


def test_without_figures_the_study_is_named(tmp_path: Path) -> None:
    assert planted_figures(tmp_path / "planted.json") is None
    assert "pawnscope study planted" in planted_words(None)


def test_figures_are_read(tmp_path: Path) -> None:
    path = tmp_path / "planted.json"
    path.write_text(json.dumps({"variant": "hexapawn4x4", "shares": shares([])}))
    assert "0 of 0 planted concepts" in planted_words(planted_figures(path))


def test_every_page_states_them() -> None:
    page = " ".join(render_page(made_up_report({"a": Made()})).split())
    assert "study of planted networks" in page or "pawnscope study planted" in page
