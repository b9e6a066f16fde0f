"""What a report says in words follows from its cells: supported, refused, below controls."""

import dataclasses

import pytest

from engine.probing.report.grid import Grid, short_runs
from engine.probing.report.pictures import in_families
from engine.probing.report.results import FamilyEmergence, Report
from engine.probing.report.verdicts import Status, verdicts
from engine.probing.report.words import (
    findings,
    longer_codes,
    lost_elsewhere,
    order_words,
    summary,
    supported,
)
from tests.support.network.report_cases import Made, made_up_report

FATES: dict[str, tuple[Made, Status]] = {
    "learned": (Made(), "supported"),
    "plain on the board": (Made(gain=-0.2, raw_input=0.98), "raw input"),
    "tiny": (Made(gain=0.004, raw_input=0.9, half=0.0001), "raw input"),
    "random features": (Made(gain=-0.1, untrained=0.8), "untrained"),
    "noisy": (Made(gain=0.03, half=0.05), "spans"),
    "one of many": (Made(gain=0.03, half=0.02), "corrected"),
    "absent": (Made(gain=0.001, raw_input=0.01, untrained=0.0), "chance"),
    "uncertain": (Made(gain=0.001, raw_input=0.03, untrained=0.0, half=0.05), "chance"),
    "rare": (
        Made(refused="refused: 3 distinct training positions with 'yes', 10 are needed"),
        "refused",
    ),
}


@pytest.fixture(scope="module", params=[1, 3], ids=["one run", "three runs"])
def report(request: pytest.FixtureRequest) -> Report:
    runs = tuple(f"runs/{index}" for index in range(request.param))
    made = {name: fate for name, (fate, _) in FATES.items()}
    made["dragons"] = Made(absent="there are no dragons")
    made["knights"] = Made(absent="hexapawn4x4 has no knights")
    made["bishop and knight"] = Made(absent="hexapawn4x4 has no knights")
    made["knights' moves"] = Made(absent="hexapawn4x4 has no knights")
    made["hash"] = Made(family="control", gain=0.0, raw_input=0.0, untrained=0.0)
    return made_up_report(made, runs=runs)


@pytest.mark.parametrize("name", list(FATES))
def test_each_fate_has_its_reason(report: Report, name: str) -> None:
    (found,) = (each for each in verdicts(Grid(report)) if each.concept.name == name)
    assert found.status == FATES[name][1]
    assert found.is_supported == (name == "learned")
    assert (found.first is None) == (name != "learned")


def test_only_the_supported_are_named(report: Report) -> None:
    assert supported(report) == ("learned",)


def test_figures_of_a_verdict_are_those_of_its_best_cell(report: Report) -> None:
    learned, plain, *_ = verdicts(Grid(report))
    gain = 0.3 if len(report.runs) == 1 else 0.303
    assert learned.best is not None
    assert learned.best.gain == pytest.approx(gain)
    assert (learned.best.layer, learned.best.place) == ("final", 4)
    assert learned.first is not None
    assert learned.first.place == 1
    low, high = f"+{gain - 0.04:.3f}", f"+{gain + 0.04:.3f}"
    assert learned.words == (
        f"gain +{gain:.3f} ({low} to {high}) at final, step 1,551: R² 0.70, raw input 0.40, "
        "untrained networks 0.30"
    )
    assert "raw input 0.98" in plain.words


def test_refusals_say_why(report: Report) -> None:
    (found,) = (each for each in verdicts(Grid(report)) if each.concept.name == "rare")
    assert found.words == "3 distinct training positions with 'yes', 10 are needed"
    assert found.best is None


def test_a_supported_concept_that_is_lost_again_is_not_at_the_last() -> None:
    """Its gain is there in the middle of training alone."""
    report = made_up_report({"brief": Made()})
    cells = tuple(
        dataclasses.replace(
            cell,
            measurement=dataclasses.replace(cell.measurement, gain=-0.1, corrected_low=-0.2),
        )
        if cell.measurement and cell.checkpoint == "00000004"
        else cell
        for cell in report.cells
    )
    (found,) = verdicts(Grid(dataclasses.replace(report, cells=cells)))
    assert found.is_supported
    assert found.best is not None
    assert found.best.place == 3
    assert not found.holds_at_last


def test_the_largest_gain_does_not_hide_one_that_is_clear() -> None:
    """A wide interval at the largest gain, a narrow one at a smaller gain."""
    report = made_up_report({"a": Made()})
    cells = tuple(
        dataclasses.replace(
            cell, measurement=dataclasses.replace(cell.measurement, corrected_low=-0.5)
        )
        if cell.measurement and cell.layer == "final"
        else cell
        for cell in report.cells
    )
    (found,) = verdicts(Grid(dataclasses.replace(report, cells=cells)))
    assert found.is_supported
    assert found.best is not None
    assert found.best.layer != "final"


def test_control_concepts_are_counted_apart() -> None:
    report = made_up_report(
        {"hash 1": Made(family="control"), "hash 2": Made(family="control", gain=0), "a": Made()}
    )
    found = findings(Grid(report))
    assert [each.concept.name for each in found.false_controls] == ["hash 1"]
    assert len(found.controls) == 2
    assert supported(report) == ("a",)
    assert "control concepts, which are random: 1 of 2 supported" in summary(report)
    none = made_up_report({"hash": Made(family="control", refused="refused: few"), "a": Made()})
    assert "control concepts" not in summary(none)


def test_what_a_harder_split_takes_away_is_named() -> None:
    report = made_up_report(
        {"kept": Made(harder=0.2), "lost": Made(harder=0.02), "unknown": Made(harder=None)}
    )
    grid = Grid(report)
    assert lost_elsewhere(grid, findings(grid), "harder") == (["lost"], ["unknown"], 2)
    assert lost_elsewhere(grid, findings(grid), "self_play") == ([], [], 3)


def test_a_code_that_is_no_shorter_is_named() -> None:
    grid = Grid(made_up_report({"a": Made()}))
    assert not longer_codes(grid, findings(grid))
    grid = Grid(made_up_report({"a": Made(gain=-0.2), "b": Made()}))
    cells = tuple(
        dataclasses.replace(cell, measurement=dataclasses.replace(cell.measurement, bits=0.65))
        for cell in grid.report.cells
        if cell.measurement is not None
    )
    grid = Grid(dataclasses.replace(grid.report, cells=cells))
    assert longer_codes(grid, findings(grid)) == ["b"]


def family(name: str, rank: float, low: float, high: float, appearing: int = 2) -> FamilyEmergence:
    return FamilyEmergence(
        family=name, appearing=appearing, concepts=3, rank=rank, rank_low=low, rank_high=high
    )


def test_families_are_ordered_only_where_their_intervals_are_apart() -> None:
    families = [
        family("c", 5.0, 4.0, 6.0),
        family("few", 9.0, 8.0, 10.0, appearing=1),
        family("a", 1.5, 1.0, 2.0),
        family("control", 1.0, 1.0, 1.0),
        family("b", 4.0, 3.0, 6.0),
    ]
    assert order_words(families) == [
        "a before b",
        "a before c",
        "not told apart, because the intervals overlap: b and c",
        "without a place, because no more than half appear: few (1 of 3)",
    ]


def test_the_summary_names_every_concept_that_is_measured_once(report: Report) -> None:
    text = summary(report)
    assert text.endswith("\n")
    assert "supported: 1 of 9 concepts" in text
    assert "raw input shows as much (2): plain on the board, tiny" in text
    assert "not measured (4): no knights (3), there are no dragons (dragons)" in text
    for name in FATES:
        assert text.count(name) == 1, name
    assert max(map(len, text.splitlines())) <= 120


def test_what_is_supported_most_comes_first_and_controls_last() -> None:
    made = {
        "plain": Made(family="material", gain=0.0, raw_input=0.99),
        "small": Made(family="pawns", gain=0.2),
        "noisy": Made(family="threats", gain=0.5, half=0.6),
        "large": Made(family="threats", gain=0.4),
        "hash": Made(family="control", gain=0.45),
        "clear": Made(family="pawns", gain=0.35),
    }
    found = in_families(verdicts(Grid(made_up_report(made))))
    names = [each.concept.name for each in found]
    assert names == ["large", "noisy", "clear", "small", "plain", "hash"]


def test_the_summary_of_nothing() -> None:
    text = summary(made_up_report({"dragons": Made(absent="there are no dragons")}))
    assert "supported: 0 of 0 concepts\n  nothing could be measured" in text
    assert "not measured (1): there are no dragons (dragons)" in text


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["a"], ["a"]),
        (["/x/seed1/run", "/x/seed2/run", "/y/z"], ["seed1/run", "seed2/run", "z"]),
        (["p/a/run", "q/a/run", "p/b/run"], ["p/a/run", "q/a/run", "b/run"]),
        (["run", "old/run"], ["run", "old/run"]),
        (["."], ["."]),
        (["one.safetensors"], ["one.safetensors"]),
    ],
    ids=str,
)
def test_names_of_runs_have_the_folders_that_tell_them_apart(
    names: list[str], short: list[str]
) -> None:
    assert short_runs(names) == dict(zip(names, short, strict=True))
