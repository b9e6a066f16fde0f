"""What is kept on disk: a measurement that is interrupted goes on, and gives the same report."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from engine.network.model.policy_value import Outputs, PolicyValueNet
from engine.probing.activations.layers import LayerFeatures
from engine.probing.concepts.mobility import mobility
from engine.probing.data.samples import Sample
from engine.probing.report.results import Report
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.experiment import Experiment, prepare
from engine.probing.surface.layer_scores import LayerScores, Role, score_layer
from engine.probing.surface.measure import Subject, surface
from engine.probing.surface.parts import Parts, remove_parts
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network
from tests.support.network.probing_cases import solved_rows, subject

VARIANT = get_variant("hexapawn4x4")
NETWORKS = {f"net{seed}": lively_network("hexapawn4x4", "geometric", seed) for seed in range(2)}
SAMPLE = Sample.from_rows(solved_rows("hexapawn4x4", 500), VARIANT, source="some positions")
CONFIG = ProbeConfig(random_networks=2, resamples=50, layers=("embed", "final"), details=False)


class StopError(Exception):
    """In place of ^C."""


def report(
    folder: Path | None, *, stop_at: int | None = None, config: ProbeConfig = CONFIG
) -> Report:
    def progress(done: int, total: int) -> None:
        assert 0 <= done <= total == 1 + (2 + config.random_networks) * 2
        if done == stop_at:
            raise StopError

    subjects = [subject(network, name) for name, network in NETWORKS.items()]
    made = surface(
        [("run", subjects)],
        SAMPLE,
        (mobility,),
        VARIANT,
        config=config,
        folder=folder,
        progress=progress,
    )
    return dataclasses.replace(made, seconds=0.0)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that are scored from now on."""
    scored: list[str] = []

    def counted(experiment: Experiment, found: LayerFeatures, *, role: Role) -> LayerScores:
        scored.append(found.layer)
        return score_layer(experiment, found, role=role)

    monkeypatch.setattr("engine.probing.surface.measure.score_layer", counted)
    return scored


def test_an_interrupted_measurement_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report.parts"
    whole = report(None)
    with pytest.raises(StopError):
        report(folder, stop_at=6)
    kept = sorted(folder.rglob("*.npz"))
    # The next network had begun.
    assert 6 <= len(kept) <= 7
    # One was torn by a kill.
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    scored = counting(monkeypatch)
    assert report(folder).to_json() == whole.to_json()
    assert len(scored) == 9 - len(kept) + 1
    # Until the report is written: nothing is measured twice.
    scored.clear()
    assert report(folder).to_json() == whole.to_json()
    assert not scored
    remove_parts(folder)
    assert not folder.exists()


def test_more_untrained_networks_are_measured_beside_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, more = tmp_path / "report.parts", dataclasses.replace(CONFIG, random_networks=3)
    report(folder)
    scored = counting(monkeypatch)
    assert report(folder, config=more).to_json() == report(None, config=more).to_json()
    assert len(scored) == 2 + 11


def test_what_was_asked_otherwise_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report.parts"
    with pytest.raises(StopError):
        report(folder, stop_at=9)
    scored = counting(monkeypatch)
    report(folder, config=dataclasses.replace(CONFIG, seed=1))
    assert len(scored) == 9


def test_what_else_the_scores_depend_on_is_not_taken_either(tmp_path: Path) -> None:
    marks = np.zeros(len(SAMPLE), np.bool_)
    marks[::2] = True
    classes = dataclasses.replace(mobility, kind="categorical")
    samples = (SAMPLE, dataclasses.replace(SAMPLE, self_play=marks))
    asked = [(sample, concept) for sample in samples for concept in (mobility, classes)]
    for sample, concept in asked:
        Parts(tmp_path, prepare(sample, (concept,), VARIANT, CONFIG))
    assert len(list(tmp_path.iterdir())) == 4


def test_features_are_kept_where_asked_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, activations=tmp_path / "activations")
    first = report(None, config=config)
    assert first.to_json() == report(None).to_json()
    files = sorted((tmp_path / "activations").rglob("*.npz"))
    assert len(files) == 4 * 2
    files[3].write_bytes(b"torn")
    passes: list[int] = []
    real = PolicyValueNet.forward

    def counted(network: PolicyValueNet, rows: Tensor) -> Outputs:
        passes.append(len(rows))
        return real(network, rows)

    monkeypatch.setattr(PolicyValueNet, "forward", counted)
    assert report(None, config=config).to_json() == first.to_json()
    # Of nine layers one is computed again, after one row that tells its width.
    assert 500 <= sum(passes) < 2 * 500


def test_networks_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    nameless = Subject(summary=subject(NETWORKS["net0"]).summary, load=lambda: NETWORKS["net0"])
    with pytest.raises(InputError, match="a network without a digest"):
        surface([("run", [nameless])], SAMPLE, (), VARIANT, config=CONFIG, folder=tmp_path)


def test_one_network_of_two_runs_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = counting(monkeypatch)
    shared = [subject(NETWORKS["net0"], "net0")]
    made = surface([("a", shared), ("b", shared)], SAMPLE, (mobility,), VARIANT, config=CONFIG)
    assert len(scored) == 1 + 3 * 2
    gains = {cell.run: cell.measurement.gain for cell in made.cells if cell.measurement}
    assert gains["a"] == gains["b"]
    assert np.allclose(
        [each.gain for each in made.combined], [each.gains[0] for each in made.combined]
    )
