"""What is known of a network's strength, read from a run's files."""

import json
from pathlib import Path

import pytest

from engine.rules.variant import get_variant
from scripts.players import SHIPPED
from training.evaluation.ladder import LadderGames
from training.evaluation.ratings import fit_ratings
from training.evaluation.strength import (
    Strength,
    read_strength,
    strength_of_run,
    write_ratings,
)


def row(name: str, elo: float) -> dict[str, object]:
    return {"name": name, "elo": elo, "low": elo - 50, "high": elo + 50, "games": 20}


def test_the_last_point_of_the_truth_counts(tmp_path: Path) -> None:
    lines = [
        {"round": 0, "truth": {"raw": 0.2, "search": 0.4}},
        {"round": 1, "truth": {"raw": 0.9, "search": 0.95}},
        {"round": 2},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = strength_of_run(tmp_path, "hexapawn")
    assert found == Strength(raw=0.9, search=0.95)
    assert str(found) == "keeps the exact value in 90.0 % of its decisions"


def test_each_variant_has_its_own_point(tmp_path: Path) -> None:
    point = {"games": {"one": {"raw": 0.5, "search": 0.6}, "two": {"raw": 0.7, "search": 0.8}}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"round": 1, "truth": point}) + "\n")
    assert strength_of_run(tmp_path, "two").raw == 0.7
    assert not strength_of_run(tmp_path, "three").known


def test_all_decisions_are_all_and_never_rounded_up() -> None:
    assert Strength(raw=0.9996).short() == "99.9 %"
    assert Strength(raw=26 / 27).short() == "96.3 %"
    assert Strength(raw=1.0).short() == "100.0 %"


def test_elo_is_that_of_the_last_rated_network_above_the_reference(tmp_path: Path) -> None:
    rows = [
        row("random", 0),
        row("gumbel:64@00000100", 900),
        row("gumbel:64@00000020", 1000),
        row("gumbel:800@00000200", 2000),
        row("alphabeta:4", 700),
    ]
    write_ratings(tmp_path, rows)
    found = strength_of_run(tmp_path, "gardner")
    assert (found.elo, found.step, found.below_reference) == (200, 100, False)
    assert str(found) == "+200 Elo against alphabeta:4, at step 100"
    write_ratings(tmp_path, [row("gumbel:64@00000100", 600), row("alphabeta:4", 700)])
    assert strength_of_run(tmp_path, "gardner").below_reference


def test_a_run_of_several_variants_has_a_ladder_for_each(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation-gardner"
    folder.mkdir()
    write_ratings(folder, [row("gumbel:64@00000007", 50), row("alphabeta:4", 0)])
    assert strength_of_run(tmp_path, "gardner").elo == 50
    assert not strength_of_run(tmp_path, "petty").known


@pytest.mark.parametrize(
    "text", [b"", b"[", b"{}", b"[1]", b'[{"name": "gumbel:64@x", "elo": 1}]', b"\xff", b"null"]
)
def test_damaged_files_tell_nothing(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "ratings.json").write_bytes(text)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"truth": 3}\n"truth"\n' + text)
    assert not strength_of_run(tmp_path, "hexapawn").known


def test_the_stronger_comes_last_in_order() -> None:
    ascending = [
        Strength(),
        Strength(elo=-20.0, step=1),
        Strength(elo=30.0, step=1),
        Strength(raw=0.8, search=1.0),
        Strength(raw=0.9, search=0.9),
        Strength(raw=0.9, search=0.95),
    ]
    assert sorted(ascending, key=Strength.order, reverse=True) == ascending[::-1]


def test_shipped_ratings_are_those_of_the_shipped_games(tmp_path: Path) -> None:
    for network in SHIPPED.glob("*.safetensors"):
        variant = get_variant(network.stem)
        ratings = network.with_suffix(".ratings.json")
        found = read_strength(network.with_suffix(".metrics.jsonl"), ratings, variant.name)
        assert found.known
        games = network.with_suffix(".ladder.jsonl").read_bytes()
        (tmp_path / "ladder.jsonl").write_bytes(games)
        fitted = fit_ratings(LadderGames(tmp_path, variant).pairings(), "random")
        elos = {each["name"]: each["elo"] for each in json.loads(ratings.read_bytes())}
        assert elos == pytest.approx({name: rating.elo for name, rating in fitted.items()})
