"""The study of planted networks: small surfaces find what is there, and the shares are right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import registered_concepts
from engine.probing.data.samples import Sample
from engine.probing.surface.config import ProbeConfig
from engine.rules.variant import get_variant
from scripts.experiments import planted
from scripts.plots.curve import draw_panels
from tests.support.network.probing_cases import solved_rows
from training.studies.study import Line

SMALL: dict[str, Any] = {"positions": 800, "resamples": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the solution of the game is kept."""
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(autouse=True)
def few_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "NUMBERS", 2)
    monkeypatch.setattr(planted, "CLASSES", 0)


@pytest.mark.parametrize(("kind", "number"), [("direction", 0), ("layer", 1), ("unused", 2)])
def test_what_is_planted_is_found_where_it_is_and_its_permuted_labels_are_not(
    kind: str, number: int, folder: Path
) -> None:
    line = planted.measure_surface(planted.Task(kind=kind, number=number, folder=folder, **SMALL))
    json.dumps(line)
    clear = [tuple(each) for each in line["clear"]]
    assert (line["pattern"], line["layers"][0]) in clear
    assert not [name for name, _ in clear if name == planted.PERMUTED]
    assert not [each for each in clear if each[0] == line["pattern"] and each[1] in line["without"]]
    assert line["build"] == list(planted.BUILDS)[number]
    # Room is what the controls of the surface leave, as other networks of their kind say.
    left = 1.0 - max(line["raw_input"], line["random_init"])
    assert line["room"] == pytest.approx(left, abs=0.2)
    found = planted.shares([line])
    assert found[f"found where it is: {kind}"]["share"] == 1.0
    assert found["permuted labels found"]["share"] == 0.0


def test_where_nothing_is_planted_nothing_is_found(folder: Path) -> None:
    task = planted.Task(kind="absent", number=0, folder=folder, **SMALL)
    line = planted.measure_surface(task)
    assert line["clear"] == []
    assert line["layers"] == []
    # As many concepts as were asked about: the pattern, its permuted labels, two hashes, two more.
    assert line["cells"] == 6 * 5


def made_up(
    kind: str, clear: list[list[str]], noise: float | None = None, room: float = 0.5
) -> Line:
    return {
        "kind": kind,
        "signal_to_noise": noise,
        "pattern": "it",
        "layers": ["b"] if kind in (*planted.PRESENT, "noise") else [],
        "without": ["a"],
        "room": room if kind in (*planted.PRESENT, "noise") else None,
        "clear": clear,
        "hashes": ["hash 1"],
        "seconds": 1.0,
    }


def test_shares_count_what_the_lines_say(tmp_path: Path) -> None:
    lines = [
        made_up("direction", [["it", "b"], ["it", "a"]]),
        made_up("direction", [["it", "c"]]),
        made_up("layer", [["it", "b"], ["hash 1", "a"]]),
        made_up("layer", [["it", "c"]], room=0.1),
        made_up("absent", []),
        made_up("absent", [["material", "b"]]),
        made_up("re-initialised", [[planted.PERMUTED, "a"]]),
        made_up("noise", [["it", "b"]], 2.0),
        made_up("noise", [], 2.0),
    ]
    found = planted.shares(lines)
    assert found["found where it is: direction"]["share"] == 0.5
    assert found["found where it is: all"]["count"] == 2
    assert found["found where it is not: all"]["count"] == 1
    assert found["any cell clear: absent"]["share"] == 0.5
    assert found["any cell clear: all"]["share"] == pytest.approx(2 / 3)
    assert found["permuted labels found"]["count"] == found["a hash found"]["count"] == 1
    assert found["a hash found"]["of"] == 9
    nearly = found["found where it is, though controls nearly read it"]
    assert (nearly["count"], nearly["of"]) == (0, 1)
    assert found["found where it is: layer"]["of"] == 1
    assert found["found where it is not: layer"]["of"] == 2
    assert found["found under noise: 2"]["share"] == 0.5
    assert found["found where it is: unused"]["share"] is None
    # Clopper and Pearson's table: 1 of 2.
    bounds = found["found where it is: direction"]
    assert (bounds["low"], bounds["high"]) == pytest.approx((0.0126, 0.9874), abs=1e-4)
    result = {"lines": lines, "shares": found}
    rows = planted.table(result)
    assert "| any cell clear: absent | 1 of 2 | 50.0% | 1.3% to 98.7% |" in rows
    assert not [row for row in rows if "unused" in row]
    draw_panels(planted.panels(result), planted.TITLE, tmp_path / "planted.svg")
    assert "spread of the pattern" in (tmp_path / "planted.svg").read_text()


def test_surfaces_are_measured_once(tmp_path: Path) -> None:
    wanted = planted.tasks(tmp_path, surfaces=1, noises=0)
    measured: list[planted.Task] = []

    def run(function: Any, missing: list[planted.Task]) -> Any:
        for task in missing:
            measured.append(task)
            yield made_up(task.kind, []) | {"key": list(task.key)}

    for _ in range(2):
        found = planted.measure_tasks(wanted, tmp_path, lambda text: None, run)
        assert len(found["lines"]) == len(wanted) == len(measured) == 5


def test_no_two_surfaces_share_an_untrained_network() -> None:
    every = planted.tasks(Path())
    untrained = [seed for task in every for seed in ProbeConfig(seed=task.seed).random_seeds]
    networks = [task.seed + 5_000 for task in every]
    assert len({*untrained, *networks}) == 6 * len(every)


def test_the_library_is_drawn_from_what_varies() -> None:
    variant = get_variant(planted.VARIANT)
    sample = Sample.from_rows(solved_rows(planted.VARIANT, 300), variant)
    rng = np.random.default_rng(0)
    drawn = planted._library(sample, rng)
    assert len(drawn) == 2
    assert all(each in registered_concepts() and each.is_number for each in drawn)
    for each in drawn:
        assert np.ptp(each.label(Positions(sample.rows, variant))) > 0
