"""The ablation: every variation is a configuration, and what is done is not done again."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.rules.variant import define_variants, get_variant
from scripts import cli
from training.config import merge, resolve
from training.studies.ablation import (
    BASE,
    RESULTS,
    VARIATIONS,
    Trial,
    missing_trials,
    prepare,
    read_results,
    run_ablation,
    run_trial,
    settings_of,
    table,
)

HEXAPAWN = get_variant("hexapawn")


def trial(folder: Path, variation: str, seconds: float = 0.3) -> Trial:
    return Trial(
        variant="hexapawn",
        ini=HEXAPAWN.ini(),
        variation=variation,
        seed=2,
        seconds=seconds,
        folder=folder,
    )


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_variation_is_a_configuration_of_its_own(name: str, tmp_path: Path) -> None:
    config = resolve(HEXAPAWN, settings_of(trial(tmp_path, name, 30.0)))
    assert config.minutes == 0.5
    assert config.seed == 2
    config.network_config(HEXAPAWN)
    # It changes something, and nothing but what it names.
    same = resolve(HEXAPAWN, settings_of(trial(tmp_path, "base", 30.0)))
    assert (config == same) == (name == "base")
    for section, values in VARIATIONS[name].items():
        if isinstance(values, dict):
            assert merge(BASE[section], values) != BASE[section]


@pytest.mark.parametrize("name", ["base", "warm start", "solver as teacher"])
def test_a_trial_trains_and_is_measured(name: str, tmp_path: Path) -> None:
    prepare(HEXAPAWN, tmp_path)
    line = run_trial(trial(tmp_path, name))
    assert line["variation"] == name
    assert line["took"] >= 0.3
    assert 0 <= line["raw"] <= 1
    assert 0.5 <= line["search"] <= 1
    assert json.loads(json.dumps(line)) == line


def line(variation: str, seed: int, raw: float = 0.5, **more: Any) -> dict[str, Any]:
    fields = {"variant": "hexapawn", "seconds": 1.0, "search": 0.9, "positions": 1000}
    return {**fields, "variation": variation, "seed": seed, "raw": raw, **more}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    names = ["base", "no mirror"]
    trials = missing_trials(HEXAPAWN, tmp_path, names, 2, 1.0)
    # Every variation has a seed before one has two.
    order = [(one.variation, one.seed) for one in trials]
    assert order == [("base", 1), ("no mirror", 1), ("base", 2), ("no mirror", 2)]
    done = [line("base", 1), line("no mirror", 1, seconds=9.0), line("base", 2, variant="other")]
    text = "".join(json.dumps(one) + "\n" for one in done)
    (tmp_path / RESULTS).write_text(text + '{"variation": "no mir')
    assert read_results(tmp_path) == done
    left = missing_trials(HEXAPAWN, tmp_path, names, 2, 1.0)
    assert [(one.variation, one.seed) for one in left] == order[1:]
    # Nothing is written behind half a line.
    run_ablation([], tmp_path, print)
    assert (tmp_path / RESULTS).read_text() == text


def test_what_was_done_with_other_settings_is_done_again(tmp_path: Path) -> None:
    same, other = (
        line("base", seed, settings=merge(BASE, {"learning": {"batch": batch}}))
        for seed, batch in ((1, BASE["learning"]["batch"]), (2, 7))
    )
    (tmp_path / RESULTS).write_text(json.dumps(same) + "\n" + json.dumps(other) + "\n")
    assert read_results(tmp_path) == [same]
    assert [one.seed for one in missing_trials(HEXAPAWN, tmp_path, ["base"], 2, 1.0)] == [2]


def test_the_table_has_means_and_ranges_and_the_best_first() -> None:
    lines = [
        line("base", 1, 0.9, search=0.8),
        line("no mirror", 1, 0.8),
        line("base", 2, 1.0, search=0.9),
    ]
    assert table(lines).splitlines()[2:] == [
        "| no mirror | 80.0% (80.0% to 80.0%) | 90.0% (90.0% to 90.0%) | 1,000 | 1 |",
        "| base | 95.0% (90.0% to 100.0%) | 85.0% (80.0% to 90.0%) | 1,000 | 2 |",
    ]


def test_the_command_runs_two_at_a_time_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablation", "hexapawn", "--seconds", "0.2", "--seeds", "1", "--json"]
    words += ["--only", "base,one pass", "--out", str(tmp_path)]
    (tmp_path / RESULTS).write_text(json.dumps(line("base", 1, seconds=0.2)) + "\n")
    assert cli.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [one["variation"] for one in printed["results"]] == ["base", "one pass"]
    assert printed["results"][0] == line("base", 1, seconds=0.2)
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out) == printed


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("hexapawn --only nonsense", "no variation 'nonsense'"),
        ("hexapawn --seconds 0", "--seconds 0.0"),
        ("hexapawn --seeds 0", "--seeds 0"),
        ("gardner", "gardner: only games in which no move can be taken back"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: str, quoted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ablation", *words.split(), "--out", str(tmp_path / "out")]) == 2
    assert quoted in capsys.readouterr().err


def test_a_persons_own_game_can_be_compared(tmp_path: Path) -> None:
    (name,) = define_variants("[ablated:hexapawn]\nstartFen = ppp/3/PPP b - - 0 1\n", "")
    variant = get_variant(name)
    prepare(variant, tmp_path)
    (one,) = missing_trials(variant, tmp_path, ["base"], 1, 0.2)
    assert run_trial(one)["variant"] == name
