"""Training of move language models: it learns the rules, goes on to the bit, and refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from engine.network.checkpoint import CheckpointError, load_tensors, save_tensors
from engine.network.language.checkpoint import load_language, read_language, save_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import MoveTokenizer
from engine.network.model.config import LanguageConfig
from engine.rules.errors import InputError
from engine.rules.variant import Registry, get_variant
from search.evaluator import UniformEvaluator
from tests.support.move_language_cases import SMALL, Quiet, no_evaluator, train_small
from training.data.run_directory import RunError, read_metrics, run_checkpoints
from training.language import training as language_training
from training.language.config import LanguageTrainingConfig
from training.language.training import LanguageDirectory, LanguageRun, fresh_model

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 120.0
TINY: dict[str, Any] = {"round_games": 32, "blocks": 1, "channels": 16}
ZEBRAS = """
[zebras]
pawn = p
king = k
customPiece1 = z:N
maxFile = 3
maxRank = 4
startFen = zk1/p2/2P/1KZ w - - 0 1
promotionRegionWhite = *4
promotionRegionBlack = *1
promotionPieceTypes = z
castling = false
doubleStep = false
"""
"""A letter that no variant of the program has."""


def weights(model: LanguageModel) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_a_tiny_model_learns_the_rules_of_hexapawn_from_random_games(tmp_path: Path) -> None:
    summary, _ = train_small(
        tmp_path / "run",
        get_variant("hexapawn"),
        rounds=100,
        round_games=512,
        batch=64,
        blocks=1,
        learning_rate=1e-2,
    )
    assert summary.own.legal_moves.share > 0.99
    assert summary.held_out.best_legal.share == 1.0
    assert summary.held_out.legal_mass.share > 0.95
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[0]["loss"] is None, "nothing was learned yet"
    assert lines[-1]["loss"] < 3.0
    assert lines[0]["legal_mass"] < 0.3 < 0.95 < lines[-1]["legal_mass"]
    assert lines[-1]["tokens"] == summary.tokens
    assert lines[-1]["perplexity"] >= lines[-1]["floor"]


def test_an_interrupted_run_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = get_variant("hexapawn")
    settings = TINY | {"rounds": 6}
    whole, model = train_small(tmp_path / "whole", variant, **settings)
    monkeypatch.setattr(language_training, "SAVE_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_small(tmp_path / "parts", variant, Quiet(interrupt_after=2), **settings)
    resumed, twin = train_small(tmp_path / "parts", variant, **settings)
    assert torch.equal(weights(model), weights(twin))
    assert (resumed.games, resumed.tokens) == (whole.games, whole.tokens)
    assert resumed.held_out == whole.held_out, "which prefixes it has read is known as well"
    assert resumed.own == whole.own
    saved = load_language(resumed.checkpoint, variant=variant)
    assert torch.equal(weights(saved.model), weights(model))
    assert saved.metadata["training"]["rounds"] == 6


def rounds_told(path: Path) -> list[int]:
    return [json.loads(line)["round"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_what_a_killed_session_wrote_after_its_last_save_is_forgotten(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    with pytest.raises(KeyboardInterrupt):
        # Killed before the first save of a round: of them nothing is known but their checkpoints.
        train_small(tmp_path, variant, Quiet(interrupt_after=4), **TINY, rounds=6)
    assert load_tensors(tmp_path / "learner.safetensors")[1]["round"] == 0
    assert len(run_checkpoints(tmp_path)) == 4
    train_small(tmp_path, variant, **TINY, rounds=2)
    assert [path.stem for path in run_checkpoints(tmp_path)] == ["00000001", "00000002"]
    assert rounds_told(tmp_path) == [0, 2]
    # As if it had gone on to round 8 and been killed before the next save.
    shutil.copy(run_checkpoints(tmp_path)[-1], tmp_path / "checkpoints" / "00000008.safetensors")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"round": 8}\n')
    directory = LanguageDirectory(tmp_path, variant, {"rounds": 3})
    LanguageRun(directory, variant, Quiet(), no_evaluator)
    directory.close()
    assert [path.stem for path in run_checkpoints(tmp_path)] == ["00000001", "00000002"]
    assert rounds_told(tmp_path) == [0, 2]


def test_networks_whose_state_is_gone_are_refused_and_stay(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    train_small(tmp_path, variant, **TINY, rounds=2)
    (tmp_path / "learner.safetensors").unlink()
    before = run_checkpoints(tmp_path)
    with pytest.raises(RunError, match=r"learner\.safetensors: missing, but networks were kept"):
        train_small(tmp_path, variant, **TINY, rounds=3)
    assert run_checkpoints(tmp_path) == before
    assert rounds_told(tmp_path) == [0, 2]


@pytest.mark.parametrize("killed", ["save", "_keep", "_report"])
def test_a_killed_session_loses_no_measurement(
    killed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every round is measured and saved; the third time one of these is never reached."""
    variant = get_variant("hexapawn")
    monkeypatch.setattr(language_training, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(language_training, "_MEASURE_SECONDS", 0.0)
    whole, model = train_small(tmp_path / "whole", variant, **TINY, rounds=4)
    assert rounds_told(tmp_path / "whole") == [0, 1, 2, 3, 4]
    method, left = getattr(LanguageRun, killed), [3]

    def kill(self: LanguageRun) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        method(self)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageRun, killed, kill)
        with pytest.raises(KeyboardInterrupt):
            train_small(tmp_path / "parts", variant, **TINY, rounds=4)
    resumed, twin = train_small(tmp_path / "parts", variant, **TINY, rounds=4)
    assert torch.equal(weights(model), weights(twin))
    assert rounds_told(tmp_path / "parts") == [0, 1, 2, 3, 4]
    first, second = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    for name in ("loss", "perplexity", "tokens", "own_legal_moves"):
        assert [line[name] for line in first] == [line[name] for line in second], name
    assert resumed.held_out == whole.held_out


def test_who_stops_after_the_last_round_is_measured_when_he_comes_back(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    whole, _ = train_small(tmp_path / "whole", variant, **TINY, rounds=2)
    directory = LanguageDirectory(tmp_path / "parts", variant, SMALL | TINY | {"rounds": 2})
    answers = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        LanguageRun(directory, variant, Quiet(), no_evaluator).learn(lambda: next(answers))
    directory.close()
    assert rounds_told(tmp_path / "parts") == [0]
    resumed, _ = train_small(tmp_path / "parts", variant, **TINY, rounds=2)
    assert rounds_told(tmp_path / "parts") == [0, 2]
    ends = [read_metrics(tmp_path / name)[-1]["loss"] for name in ("whole", "parts")]
    assert ends[0] == ends[1]
    assert resumed.tokens == whole.tokens


@pytest.mark.parametrize("begun", ["bfloat16", "float32"])
def test_a_language_run_keeps_the_numbers_that_it_began_with(
    begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = get_variant("hexapawn")
    monkeypatch.setattr(language_training, "fastest_precision", lambda: begun)
    train_small(tmp_path / "whole", variant, **TINY, rounds=2)
    _, model = train_small(tmp_path / "whole", variant, **TINY, rounds=3)
    train_small(tmp_path / "moved", variant, **TINY, rounds=2)
    other = {"bfloat16": "float32", "float32": "bfloat16"}[begun]
    monkeypatch.setattr(language_training, "fastest_precision", lambda: other)
    _, twin = train_small(tmp_path / "moved", variant, **TINY, rounds=3)
    assert torch.equal(weights(model), weights(twin))


def test_who_stops_after_a_round_goes_on_from_it(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    settings = TINY | {"rounds": 4}
    whole, model = train_small(tmp_path / "whole", variant, **settings)
    directory = LanguageDirectory(tmp_path / "parts", variant, SMALL | settings)
    answers = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        LanguageRun(directory, variant, Quiet(), no_evaluator).learn(lambda: next(answers))
    assert load_tensors(directory.state)[1]["round"] == 2
    directory.close()
    resumed, twin = train_small(tmp_path / "parts", variant, **settings)
    assert torch.equal(weights(model), weights(twin))
    assert (resumed.tokens, resumed.held_out) == (whole.tokens, whole.held_out)


def test_minutes_given_anew_end_a_run_that_was_begun_with_rounds(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    for given, wanted in (
        ({"rounds": 7}, (15.0, 7)),
        ({}, (15.0, 7)),
        ({"minutes": 2.0}, (2.0, 0)),
        ({"minutes": 3.0, "rounds": 9}, (3.0, 9)),
    ):
        directory = LanguageDirectory(tmp_path, variant, SMALL | TINY | given)
        directory.close()
        assert (directory.config.minutes, directory.config.rounds) == wanted


def test_a_finished_run_is_given_more_and_goes_on(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    first, _ = train_small(tmp_path, variant, **TINY, rounds=1)
    second, _ = train_small(tmp_path, variant, **TINY, rounds=3)
    assert second.tokens > first.tokens
    assert second.checkpoint.name == "00000003.safetensors"
    again, _ = train_small(tmp_path, variant, **TINY, rounds=3)
    assert (again.tokens, again.held_out) == (second.tokens, second.held_out)


def test_two_seeds_learn_from_different_games_and_hold_out_the_same(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    runs = [
        train_small(tmp_path / str(seed), variant, **TINY, rounds=1, seed=seed) for seed in (1, 2)
    ]
    assert not torch.equal(weights(runs[0][1]), weights(runs[1][1]))
    floors = {summary.held_out.everywhere.floor for summary, _ in runs}
    assert len(floors) == 1


def test_a_run_may_speak_the_vocabulary_of_all_variants(tmp_path: Path) -> None:
    summary, model = train_small(
        tmp_path, get_variant("hexapawn"), **TINY, rounds=1, vocabulary="all"
    )
    assert summary.vocabulary == model.config.vocabulary == len(MoveTokenizer.of_all())


def test_policy_games_are_played_once_and_read_again(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    asked = []

    def load(checkpoint: str, wanted: object) -> UniformEvaluator:
        asked.append((checkpoint, wanted))
        return UniformEvaluator()

    settings = SMALL | TINY | {"games": "policy", "checkpoint": "net", "corpus": 600, "rounds": 2}
    for rounds in (2, 3):
        directory = LanguageDirectory(tmp_path, variant, settings | {"rounds": rounds})
        try:
            summary = LanguageRun(directory, variant, Quiet(), load).train()
        finally:
            directory.close()
    assert asked == [("net", variant)]
    assert summary.held_out.games > 0
    # Whoever plays by a policy without opinions plays at random.
    assert 2.0 < summary.held_out.everywhere.floor < 3.0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"channels": 64}, "channels = 64, the run has 16"),
        ({"seed": 5}, "seed = 5, the run has 1"),
        ({"vocabulary": "all"}, "vocabulary = all, the run has variant"),
        ({"layers": 2}, "layers"),
    ],
)
def test_a_run_of_another_configuration_is_refused_by_field(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    variant = get_variant("hexapawn")
    directory = LanguageDirectory(tmp_path, variant, SMALL | TINY)
    directory.close()
    before = (tmp_path / "config.toml").read_text()
    with pytest.raises(InputError, match=re.escape(complaint)):
        LanguageDirectory(tmp_path, variant, SMALL | TINY | settings)
    with pytest.raises(RunError, match="a run of hexapawn, not of gardner"):
        LanguageDirectory(tmp_path, get_variant("gardner"), {})
    assert (tmp_path / "config.toml").read_text() == before


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"channels": 30, "heads": 4}, "heads = 4 does not divide channels 30"),
        ({"batch": 0}, "batch = 0 is not 1 or more"),
        ({"context": 1}, "context = 1 is not 2 or more"),
        ({"decay": 2.0}, "decay = 2.0 is not from 0 to 1"),
        ({"games": "good"}, "games = 'good' is not one of random, policy"),
        ({"games": "policy"}, "policy games need a network"),
        ({"learning_rat": 0.1}, "unknown field 'learning_rat'"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        LanguageDirectory(tmp_path / "run", get_variant("hexapawn"), settings)
    assert not (tmp_path / "run").exists()


def test_words_that_the_vocabulary_lacks_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    registry = Registry()
    registry.add_text(ZEBRAS, "zebras.ini")
    with pytest.raises(InputError, match=r"the vocabulary lacks the move '.*z' of zebras"):
        LanguageDirectory(tmp_path / "run", registry.get("zebras"), {"vocabulary": "all"})
    assert not (tmp_path / "run").exists()


def test_a_changed_config_file_does_not_pass_for_the_run_s_own(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    train_small(tmp_path, variant, **TINY, rounds=1)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("learning_rate = 0.002", "learning_rate = 0.2"))
    directory = LanguageDirectory(tmp_path, variant, {})
    with pytest.raises(CheckpointError, match=r"learning_rate = 0\.002, the run has 0\.2"):
        LanguageRun(directory, variant, Quiet(), no_evaluator)
    directory.close()


def test_a_second_trainer_and_foreign_folders_are_kept_out(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    first = LanguageDirectory(tmp_path / "run", variant, SMALL | TINY)
    with pytest.raises(RunError, match="another training is at work there"):
        LanguageDirectory(tmp_path / "run", variant, SMALL | TINY)
    first.close()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Ada")
    with pytest.raises(RunError, match="neither empty nor a language run"):
        LanguageDirectory(tmp_path / "letters", variant, {})


def saved_model(path: Path, name: str = "hexapawn") -> LanguageConfig:
    variant = get_variant(name)
    tokenizer = MoveTokenizer.of(variant)
    config = LanguageTrainingConfig.resolve(variant, SMALL | TINY)
    model = fresh_model(config, tokenizer)
    save_language(path, model, tokenizer, variant, metadata={"round": 0})
    return model.config


def test_a_checkpoint_travels_with_all_that_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    variant = get_variant("hexapawn")
    config = saved_model(path)
    found = read_language(path)
    assert found.config == config
    assert found.tokenizer.texts == MoveTokenizer.of(variant).texts
    assert (found.variant_name, found.variant_digest) == ("hexapawn", variant.digest)
    loaded = load_language(path, variant=variant, config=config)
    assert loaded.metadata == {"round": 0}
    tokens = torch.tensor([[0, 4, 9]])
    again = load_language(path).model
    assert torch.equal(loaded.model(tokens), again(tokens))


def test_checkpoints_of_others_are_refused_by_field(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = saved_model(path)
    with pytest.raises(CheckpointError, match=r"a language model of 'hexapawn'.*not of 'gardner'"):
        load_language(path, variant=get_variant("gardner"))
    other = LanguageConfig.from_dict(config.to_dict() | {"blocks": 2})
    with pytest.raises(CheckpointError, match="blocks = 1, not 2"):
        load_language(path, config=other)
    network = ROOT / "engine" / "weights" / "gardner.safetensors"
    if not network.exists():
        network = next((ROOT / "engine" / "weights").glob("*.safetensors"))
    with pytest.raises(CheckpointError, match="no field 'language'"):
        load_language(network)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"language": {"channels": 16}}, "missing field 'vocabulary'"),
        ({"tokenizer": {"digest": "00", "words": "start 1-0 1/2-1/2 0-1 a1a2"}}, "vocabulary ="),
        ({"tokenizer": {"digest": "00"}}, "missing field 'tokenizer.words'"),
        ({"format": 99}, "checkpoint format 99"),
        ({"variant": {"name": "hexapawn"}}, "missing field 'variant.digest'"),
    ],
)
def test_damaged_headers_are_named(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "model.safetensors"
    saved_model(path)
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | change)
    with pytest.raises(CheckpointError) as caught:
        load_language(path)
    assert complaint in str(caught.value) or "tokenizer.digest" in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_tensors_and_half_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved_model(path)
    tensors, header = load_tensors(path)
    save_tensors(path, {k: v for k, v in tensors.items() if k != "backbone.norm.bias"}, header)
    with pytest.raises(CheckpointError, match=r"missing tensor 'backbone\.norm\.bias'"):
        load_language(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_language(path)


@pytest.mark.parametrize(
    ("how", "save_seconds", "written"),
    [
        # Killed after a save; ^C before any of its own accord.
        (signal.SIGKILL, 0.0, "checkpoints/00000002.safetensors"),
        (signal.SIGINT, 3600.0, "checkpoints/00000001.safetensors"),
    ],
)
def test_a_killed_command_resumes_with_the_same_words(
    tmp_path: Path, how: signal.Signals, save_seconds: float, written: str
) -> None:
    """Killed while it learns, begun again: one stream of rounds, and a finished run."""
    settings = tmp_path / "settings.toml"
    settings.write_text("channels = 16\nblocks = 1\nround_games = 32\nheld_out_games = 8\n")
    code = (
        f"import sys; from training.language import training as t; t.SAVE_SECONDS = {save_seconds};"
        "from scripts.cli import main; sys.exit(main(['language', 'train', *sys.argv[1:]]))"
    )
    words = [sys.executable, "-c", code, "hexapawn", "--run", str(tmp_path / "run")]
    words += ["--config", str(settings), "--heads", "2", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*words, "--minutes", "60"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + PATIENCE
        state = tmp_path / "run" / "learner.safetensors"
        while not (tmp_path / "run" / written).exists():
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline, "it never wrote"
            time.sleep(0.05)
        process.send_signal(how)
        _, complaints = process.communicate()
    kept = f"round {load_tensors(state)[1]['round']} is saved, the same command continues the run"
    assert (kept in complaints.decode()) == (how == signal.SIGINT)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    reached = load_tensors(state)[1]["round"]
    assert reached > 0
    finished = subprocess.run(
        [*words, "--minutes", "0"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    figures = json.loads(finished.stdout)
    assert figures["tokens"] > 0
    assert load_tensors(state)[1]["round"] >= reached
    assert safetensors.torch.load_file(state)["seen"].dtype == torch.uint8
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert np.isfinite(figures["held_out"]["everywhere"]["perplexity"])
