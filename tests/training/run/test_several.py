"""One run for several variants: each has its share, its truth and its files; one network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pawnscope
from engine.network.checkpoint import (
    UniversalDescription,
    load_checkpoint,
    load_universal,
    read_description,
    save_checkpoint,
)
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from scripts import cli
from scripts.commands import evaluate
from search.exact.solver import solve
from tests.support.network.universal_cases import lively_universal
from tests.support.training.run_cases import SETTINGS, Watch, refused, state_of, train
from tests.support.training.training_cases import perfect_rows, self_play_config
from training.config import LearningConfig, joined_names, merge, parse_variants, preset, resolve
from training.data.index import Index
from training.data.run_directory import RunError, read_metrics, run_checkpoints
from training.data.shards import describe_games, files_of, load_games, save_games, select
from training.data.targets import make_batch
from training.evaluation.run_evaluation import of_variant
from training.learner.losses import Draw, LocalGradients, losses
from training.selfplay.actors.local import make_local_actors
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import SelfPlayRequest

ROOT = Path(__file__).resolve().parents[3]
SMALL, WIDE, BABY = (get_variant(name) for name in ("hexapawn", "hexapawn4x3", "baby"))
BOTH = (SMALL, WIDE)
NAME = "hexapawn+hexapawn4x3"
QUICK: dict[str, Any] = merge(
    SETTINGS, {"self_play": {"games": 32, "positions": 120}, "learning": {"learning_rate": 1e-2}}
)
PATIENCE = 120.0
"""Seconds for anything to happen; a machine that does ten things at once is slow to begin."""


def go(path: Path, watch: Watch, games: tuple[Variant, ...] = BOTH, **overrides: Any) -> Any:
    return train(path, watch, games, **merge(QUICK, overrides))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three rounds, to be copied."""
    path = tmp_path_factory.mktemp("several") / "run"
    go(path, Watch(after=3))
    return path


@pytest.fixture
def run(played: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(played, tmp_path / "run"))


def same_state(ours: Path, theirs: Path) -> bool:
    one, other = state_of(ours), state_of(theirs)
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_every_game_has_its_share(played: Path) -> None:
    rounds = read_metrics(played)
    assert [values["round"] for values in rounds] == [0, 1, 2, 3]
    for number in (1, 2, 3):
        names = sorted(file.name for file in (played / "games").glob(f"{number:06d}-*"))
        assert names == [f"{number:06d}-00-000-{game:02d}.safetensors" for game in (0, 1)]
        for variant, name in zip(BOTH, names, strict=True):
            rows = load_games(played / "games" / name, variant)
            assert 60 <= len(rows) < 60 + 40
    shards = [describe_games(file) for file in (played / "games").iterdir()]
    for name in ("positions", "games"):
        assert rounds[-1][name] == sum(shard[name] for shard in shards)
    assert rounds[-1]["window"] == rounds[-1]["positions"]
    for variant in BOTH:
        own = [shard for shard in shards if shard["variant"]["name"] == variant.name]
        as_one = of_variant(rounds, variant.name)[-1]
        for name in ("positions", "games"):
            assert as_one[name] == sum(shard[name] for shard in own)
    truth = rounds[0]["truth"]
    assert truth.keys() == {"games"}
    assert list(truth["games"]) == ["hexapawn", "hexapawn4x3"]
    assert truth["games"]["hexapawn"].keys() == {"raw", "search"}
    newest = run_checkpoints(played)[-1]
    description = read_description(newest)
    assert isinstance(description, UniversalDescription)
    assert description.trained_on == ("hexapawn", "hexapawn4x3")
    assert description.digests == {variant.name: variant.digest for variant in BOTH}
    last = {name: rounds[-1][name] for name in ("round", "step", "seconds")}
    assert description.metadata == last | {"seed": 1}
    state = state_of(played)
    for name, tensor in load_universal(newest).network.state_dict().items():
        assert torch.equal(tensor, state[f"ema.{name}"])


def test_one_network_learns_the_truth_of_both(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "learning": {"batch": 64, "replay_ratio": 6.0, "ema_steps": 10},
        "self_play": {"simulations": 8, "positions": 240},
    }
    go(tmp_path / "run", Watch(after=4), **settings)
    ended = go(tmp_path / "run", Watch(), **settings, minutes=0.0)
    begun = read_metrics(tmp_path / "run")[0]["truth"]["games"]
    for name in ("hexapawn", "hexapawn4x3"):
        # Indifferent between its moves, a fresh network keeps nothing for certain.
        assert begun[name]["raw"] == 0.0
        assert ended.truths[name].raw > 0.7


def test_the_same_seed_gives_the_same_run(played: Path, tmp_path: Path) -> None:
    go(tmp_path / "again", Watch(after=3))
    assert same_state(tmp_path / "again", played)
    go(tmp_path / "other", Watch(after=1), seed=2)
    assert not same_state(tmp_path / "other", played)


def test_of_a_round_that_is_there_in_part_each_game_plays_what_it_lacks(run: Path) -> None:
    unbroken = run.parent / "unbroken"
    go(unbroken, Watch(after=4))
    for number in (0, 1):
        (run / "games" / f"000004-00-000-{number:02d}.safetensors").unlink(missing_ok=True)
    # Of one game everything is there, of the other nothing.
    shutil.copy(unbroken / "games" / "000004-00-000-01.safetensors", run / "games")
    again = Watch(after=4)
    go(run, again)
    assert again.tasks[0] == ("play", 60)
    assert len(list((run / "games").glob("000004-*"))) == 2
    positions = [describe_games(file)["positions"] for file in (run / "games").iterdir()]
    assert read_metrics(run)[-1]["positions"] == sum(positions)


def test_the_index_is_rebuilt_and_the_windows_with_it(run: Path) -> None:
    def shards() -> list[Any]:
        index = Index(run)
        try:
            return index.shards()
        finally:
            index.close()

    before = shards()
    assert [(shard.round, shard.variant) for shard in before] == [
        (number, variant.name) for number in (1, 2, 3) for variant in BOTH
    ]
    (run / "index.sqlite").unlink()
    assert shards() == before
    unharmed = Path(shutil.copytree(run, run.parent / "unharmed"))
    (run / "index.sqlite").unlink()
    for path in (run, unharmed):
        go(path, Watch(after=4))
    assert same_state(run, unharmed)


def draws_of(rows: int, *, mirror: bool = False) -> list[Draw]:
    return [
        Draw(select(perfect_rows(variant, solve(variant)), np.arange(rows)), mirror)
        for variant in BOTH
    ]


LEARNING = LearningConfig(batch=64, reply_weight=0.1)


def test_the_gradient_is_the_sum_over_the_games() -> None:
    network, draws = lively_universal("geometric", reply=True).train(), draws_of(19, mirror=True)
    total: torch.Tensor = torch.zeros(())
    for variant, draw in zip(BOTH, draws, strict=True):
        batch = make_batch(variant, draw.rows, LEARNING, mirror=True)
        # Each game's mean over its half of the batch.
        terms = losses(network.for_variant(variant), batch)
        wanted = terms.policy + terms.wdl + 0.01 * terms.moves_left + 0.1 * terms.reply
        total = total + wanted / 2
    parts = torch.autograd.grad(total, list(network.parameters()), allow_unused=True)
    wanted = torch.cat(
        [
            (torch.zeros_like(parameter) if part is None else part).flatten()
            for part, parameter in zip(parts, network.parameters(), strict=True)
        ]
    )
    local = LocalGradients(network, BOTH, LEARNING)
    local.compute(draws)
    torch.testing.assert_close(local.vectors[1], wanted, rtol=1e-4, atol=1e-6)


def test_workers_serve_several_games(tmp_path: Path) -> None:
    network, draws = lively_universal("geometric", reply=True).train(), draws_of(19)
    path = tmp_path / "00000000.safetensors"
    save_checkpoint(path, network, metadata={}, trained_on=[variant.name for variant in BOTH])
    alone = LocalGradients(network, BOTH, LEARNING)
    wanted = alone.compute(draws)
    config = self_play_config(actors=2)
    fields: dict[str, Any] = {"seed": 1, "first_round": 0, "first_parts": [0, 2]}
    pool = WorkerPool(BOTH, config, LEARNING, network, **fields)
    requests = [
        SelfPlayRequest(
            variant=variant.name, checkpoint=path, folder=tmp_path, round=1, positions=positions
        )
        for variant, positions in zip(BOTH, (20, 40), strict=True)
    ]
    try:
        weights, gradient = pool.vectors
        weights.copy_(alone.vectors[0])
        np.testing.assert_allclose(pool.compute(draws), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, alone.vectors[1], rtol=1e-4, atol=1e-6)
        names = pool.play(requests, lambda _: None)
    finally:
        pool.close()
    # The second variant's part numbers continue those of an earlier session.
    assert names == [
        f"000001-{actor:02d}-{part:03d}-{game:02d}.safetensors"
        for actor in (0, 1)
        for part, game in ((0, 0), (2, 1))
    ]
    for variant, positions in zip(BOTH, (20, 40), strict=True):
        rows = [load_games(path, variant) for path in files_of(tmp_path, variant)]
        assert len(rows) == 2
        assert sum(map(len, rows)) >= positions
    # An actor in this process plays the same games as a worker of that number.
    local = make_local_actors(BOTH, config, number=1, **fields)
    folder = tmp_path / "own"
    folder.mkdir()
    for request in requests:
        own = replace(request, folder=folder, positions=request.positions // 2)
        (name,) = local.play([own], lambda _: None)
        variant = get_variant(request.variant)
        ours, theirs = load_games(folder / name, variant), load_games(tmp_path / name, variant)
        assert np.array_equal(ours.positions, theirs.positions)


def test_a_variant_that_is_not_solved_learns_with_the_others(tmp_path: Path) -> None:
    games = (SMALL, WIDE, BABY)
    settings: dict[str, Any] = {"self_play": {"positions": 90, "longest_game": 6, "games": 8}}
    go(tmp_path / "run", Watch(after=1), games, **settings)
    begun = read_metrics(tmp_path / "run")[0]["truth"]["games"]
    assert list(begun) == ["hexapawn", "hexapawn4x3"]
    assert len(files_of(tmp_path / "run" / "games", BABY)) == 1
    # It is never known to be played well enough: only its time ends the run.
    ended = go(tmp_path / "run", Watch(), games, **settings, stop_at_raw=0.0, minutes=0.0)
    assert ended.reason == "time"
    assert ended.truth is None
    assert {name: shares.searched for name, shares in ended.truths.items()} == {
        "hexapawn": 27,
        "hexapawn4x3": 235,
    }


def test_a_run_ends_when_all_its_games_are_good_enough(run: Path) -> None:
    shares = {name: game.raw for name, game in go(run, Watch(), minutes=0.0).truths.items()}
    assert go(run, Watch(), stop_at_raw=min(shares.values())).reason == "reached"
    assert go(run, Watch(), stop_at_raw=max(shares.values()) + 0.001, minutes=0).reason == "time"
    assert len(set(shares.values())) == 2
    assert go(run, Watch(), stop_at_raw=max(shares.values()), minutes=0).reason == "time"


def test_solvers_teach_several_games(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"teacher": "solver", "held_out": 0.2, "minutes": 10.0}
    go(tmp_path / "run", Watch(after=1), **settings)
    go(tmp_path / "run", Watch(after=2), **settings)
    whole = tmp_path / "whole"
    go(whole, Watch(after=2), **settings)
    assert same_state(tmp_path / "run", whole)
    for variant in BOTH:
        rows = [load_games(path, variant) for path in files_of(whole / "games", variant)]
        # Dealt without replacement.
        seen = [row.tobytes() for part in rows for row in part.positions]
        assert len(seen) == 120
        if variant is WIDE:
            assert len(set(seen)) == 120
        assert "held_out" in read_metrics(whole)[0]["truth"]["games"][variant.name]
    with pytest.raises(RunError, match="baby: too large to be solved, no teacher"):
        go(tmp_path / "other", Watch(), (SMALL, BABY), teacher="solver")


def test_a_gate_and_a_teachers_games_serve_several_games(tmp_path: Path) -> None:
    teacher_games = tmp_path / "teacher_games"
    teacher_games.mkdir()
    for variant in BOTH:
        if variant is WIDE:
            with pytest.raises(RunError, match="no games of hexapawn4x3 there"):
                go(tmp_path / "none", Watch(), warm_start=str(teacher_games))
        rows = perfect_rows(variant, solve(variant))
        save_games(teacher_games / f"{variant.name}.safetensors", rows, variant, {})
    settings: dict[str, Any] = {
        "warm_start": str(teacher_games),
        "warm_start_replay_ratio": 6.0,
        "gate_games": 2,
    }
    go(tmp_path / "run", Watch(after=1), **settings)
    begun, first = read_metrics(tmp_path / "run")
    assert begun["step"] > 50
    assert begun["positions"] == 0
    assert all(shares["raw"] > 0.5 for shares in begun["truth"]["games"].values())
    assert first["gate"]["score"] in (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)


def test_the_command_line_reports_each_variant(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", NAME, "--run", str(run), "--minutes", "0"]
    assert cli.main([*words, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary.keys() == {"seconds", "checkpoint", "reason", "reached", "truth"}
    assert summary["truth"]["games"].keys() == {"hexapawn", "hexapawn4x3"}
    assert summary["truth"]["games"]["hexapawn"]["decision_positions"] == 27
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "hexapawn4x3: of 235 positions in which the choice matters" in printed
    # Any game plays with it, those too that it was never trained on.
    match = ["match", f"policy:{run}", "random", "hexapawn3x4", "--games", "2", "--json"]
    assert cli.main(match) == 0
    assert json.loads(capsys.readouterr().out)["illegal"] == 0
    with pytest.raises(InputError, match=r"trained on hexapawn, hexapawn4x3: name the variant"):
        evaluate.main([str(run), "--only", "truth"])
    assert evaluate.main([str(run), "--only", "truth", "--game", "hexapawn4x3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["variant"] == "hexapawn4x3"
    assert found["checkpoints"][0]["raw"] == 0.0
    assert Path(found["picture"]) == run / "evaluation-hexapawn4x3" / "curve.svg"
    assert Path(found["picture"]).exists()


def test_several_games_have_settings() -> None:
    assert joined_names(parse_variants(NAME)) == NAME
    assert parse_variants("gardner") == (get_variant("gardner"),)
    assert preset(BOTH) == preset(WIDE)
    mixed = resolve(parse_variants("hexapawn4x4+gardner"), {})
    assert mixed.variant == "hexapawn4x4+gardner"
    assert mixed.self_play == resolve(get_variant("gardner"), {}).self_play
    assert mixed.universal_config().trunk == "transformer"


@pytest.mark.parametrize(
    ("table", "name", "value", "quoted"),
    [
        ("network", "nonsense", 1, "unknown field 'nonsense'"),
        ("self_play", "tablebases", "tables", "tablebases = 'tables': those of one variant"),
        ("learning", "batch", 1, "batch = 1: less than one for each of 2 variants"),
    ],
)
def test_settings_that_several_games_cannot_have_are_refused(
    table: str, name: str, value: object, quoted: str
) -> None:
    with pytest.raises(InputError, match=quoted):
        resolve(BOTH, {table: {name: value}})


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("hexapawn+", "'hexapawn+': a variant is missing beside the '+'"),
        ("+", "'+': a variant is missing"),
        ("hexapawn+gardnr", "unknown variant 'gardnr' (did you mean gardner"),
        ("hexapawn+baby+hexapawn", "the variant 'hexapawn' is named twice"),
        ("hexapawn+hexapawn3x3", "the variant 'hexapawn3x3' is named twice, also as 'hexapawn'"),
        ("+".join(["hexapawn"] * 33), "33 variants, a run has at most 32"),
    ],
)
def test_a_wrong_list_of_games_is_refused(
    words: str, quoted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quoted in refused(capsys, tmp_path / "run", words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([], "no variant is named, a run needs at least one"),
        (2 * [get_variant("hexapawn")], "the variant 'hexapawn' is named twice"),
        (33 * [get_variant("baby")], "33 variants, a run has at most 32"),
    ],
)
def test_the_library_refuses_a_wrong_list_too(
    variants: list[Variant], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        pawnscope.train(variants, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_games_only(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"a run of {NAME}, not of hexapawn" in refused(capsys, run, "hexapawn")
    assert "not of hexapawn4x3+hexapawn" in refused(capsys, run, "hexapawn4x3+hexapawn")
    # Its network is of all games, so that no single one's file is that of another.
    path = run_checkpoints(run)[-1]
    assert load_checkpoint(path, variant=WIDE).network.config.width == 4
