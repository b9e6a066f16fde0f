"""Language runs: they learn the rules, resume bit for bit, and refuse what does not fit."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from engine.network.checkpoint import load_tensors
from engine.network.language.checkpoint import load_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import MoveTokenizer
from engine.rules.errors import InputError
from engine.rules.variant import Registry, get_variant
from scripts.commands.language import train as language_train
from search.evaluator import UniformEvaluator
from tests.support.training.move_language_cases import (
    SMALL,
    QuietMonitor,
    no_evaluator,
    opened_small,
    train_small,
)
from training.data.run_directory import read_metrics, run_checkpoints
from training.language import run as language_run
from training.language import setup
from training.language.run import LanguageRun, LanguageSummary
from training.language.setup import LanguageDirectory, open_language_run

ROOT = Path(__file__).resolve().parents[3]
OLD_RUN = ROOT / "tests" / "golden" / "old_runs" / "language_hexapawn"
PATIENCE = 120.0
HEXAPAWN = get_variant("hexapawn")
TINY: dict[str, Any] = {"round_games": 32, "blocks": 1, "channels": 16}
ROUNDS = TINY | {"rounds": 4}
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
"""Has a piece letter that no built-in variant has."""


def weights(model: LanguageModel) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def measured_rounds(path: Path) -> list[int]:
    return [line["round"] for line in read_metrics(path)]


def saved_round(path: Path) -> object:
    return load_tensors(path / "learner.safetensors")[1]["round"]


class Whole(NamedTuple):
    """A run that nothing interrupted."""

    path: Path
    summary: LanguageSummary
    model: LanguageModel


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of four rounds, each of them saved and measured."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        save_and_measure_every_round(patch)
        return Whole(path, *train_small(path, HEXAPAWN, **ROUNDS))


def save_and_measure_every_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(language_run, "SAVE_SECONDS", 0.0)
    patch.setattr(language_run, "MEASURE_SECONDS", 0.0)


def test_a_tiny_model_learns_the_rules_of_hexapawn_from_random_games(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"rounds": 100, "round_games": 512, "batch": 64, "blocks": 1}
    summary, _ = train_small(tmp_path, HEXAPAWN, **settings, learning_rate=1e-2)
    assert summary.own.legal_moves.share > 0.99
    assert summary.held_out.best_legal.share == 1.0
    assert summary.held_out.legal_mass.share > 0.95
    first, *_, last = read_metrics(tmp_path)
    assert first["loss"] is None, "nothing was learned yet"
    assert last["loss"] < 3.0
    assert first["legal_mass"] < 0.3 < 0.95 < last["legal_mass"]
    assert last["tokens"] == summary.tokens
    assert last["perplexity"] >= last["floor"]


def by_monitor(path: Path, patch: pytest.MonkeyPatch) -> None:
    """^C within a round, twice."""
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_small(path, HEXAPAWN, QuietMonitor(interrupt_after=1), **ROUNDS)


def after_a_round(path: Path, patch: pytest.MonkeyPatch) -> None:
    """The state is saved, though it is not due."""
    patch.setattr(language_run, "SAVE_SECONDS", 3600.0)
    answers = iter([False, True])
    with pytest.raises(KeyboardInterrupt), opened_small(path, HEXAPAWN, **ROUNDS) as run:
        run.learn(lambda: next(answers))
    assert saved_round(path) == 2


def in_the_third(method: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """Killed where a method would be called for the third time."""

    def kill(path: Path, patch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(LanguageRun, method), iter([False, False, True])

        def killed(run: LanguageRun) -> None:
            if next(calls):
                raise KeyboardInterrupt
            original(run)

        with patch.context() as inner:
            inner.setattr(LanguageRun, method, killed)
            with pytest.raises(KeyboardInterrupt):
                train_small(path, HEXAPAWN, **ROUNDS)

    return kill


@pytest.mark.parametrize(
    "interrupt",
    [by_monitor, after_a_round, *map(in_the_third, ("save", "_keep", "_report"))],
    ids=["within a round", "after a round", "save", "keep", "report"],
)
def test_an_interrupted_run_ends_as_one_that_was_not(
    interrupt: Callable[[Path, pytest.MonkeyPatch], None],
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the bit: weights, metrics and the seen prefixes; no line is lost or repeated."""
    save_and_measure_every_round(monkeypatch)
    interrupt(tmp_path, monkeypatch)
    summary, model = train_small(tmp_path, HEXAPAWN, **ROUNDS)
    assert torch.equal(weights(model), weights(whole.model))
    assert (summary.games, summary.tokens) == (whole.summary.games, whole.summary.tokens)
    assert (summary.held_out, summary.own) == (whole.summary.held_out, whole.summary.own)
    saved = load_language(summary.checkpoint, variant=HEXAPAWN)
    assert torch.equal(weights(saved.model), weights(model))
    assert saved.metadata["training"]["rounds"] == 4
    reference = {line["round"]: line for line in read_metrics(whole.path)}
    assert list(reference) == [0, 1, 2, 3, 4]
    found = read_metrics(tmp_path)
    assert interrupt is after_a_round or [line["round"] for line in found] == list(reference)
    for line in found:
        for name in ("loss", "perplexity", "tokens", "own_legal_moves"):
            assert line[name] == reference[line["round"]][name], name


def test_an_interrupt_after_the_last_round_leaves_the_measurement_to_the_next_session(
    whole: Whole, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), opened_small(tmp_path, HEXAPAWN, **ROUNDS) as run:
        run.learn(lambda: run.progress.round == 4)
    assert measured_rounds(tmp_path) == [0]
    summary, _ = train_small(tmp_path, HEXAPAWN, **ROUNDS)
    assert measured_rounds(tmp_path) == [0, 4]
    assert read_metrics(tmp_path)[-1]["loss"] == read_metrics(whole.path)[-1]["loss"]
    assert summary.tokens == whole.summary.tokens


def test_what_a_killed_session_wrote_after_its_last_save_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        # Killed before the first save after a round: there are only checkpoints.
        train_small(tmp_path, HEXAPAWN, QuietMonitor(interrupt_after=3), **TINY, rounds=6)
    assert saved_round(tmp_path) == 0
    assert len(run_checkpoints(tmp_path)) == 3
    train_small(tmp_path, HEXAPAWN, **TINY, rounds=2)
    # As if it had continued to round 8 and been killed before the next save.
    shutil.copy(run_checkpoints(tmp_path)[-1], tmp_path / "checkpoints" / "00000008.safetensors")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"round": 8}\n')
    with opened_small(tmp_path, HEXAPAWN, **TINY) as run:
        run.learn()
    assert [path.stem for path in run_checkpoints(tmp_path)] == ["00000001", "00000002"]
    assert measured_rounds(tmp_path) == [0, 2]


def test_checkpoints_without_a_state_are_refused_and_stay(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    (tmp_path / "run" / "learner.safetensors").unlink()
    before = run_checkpoints(tmp_path / "run")
    with pytest.raises(InputError, match=r"learner\.safetensors: missing, but there are check"):
        train_small(tmp_path / "run", HEXAPAWN, **ROUNDS)
    assert run_checkpoints(tmp_path / "run") == before


def test_a_run_of_an_older_version_resumes(tmp_path: Path) -> None:
    shutil.copytree(OLD_RUN, tmp_path / "run")
    old = load_language(run_checkpoints(OLD_RUN)[-1], variant=HEXAPAWN)
    with LanguageDirectory(tmp_path / "run", HEXAPAWN, {"rounds": 3}) as directory:
        run = open_language_run(directory, HEXAPAWN, QuietMonitor(), no_evaluator)
        assert torch.equal(weights(run.model), weights(old.model))
        run.learn()
        summary = run.conclude()
    assert measured_rounds(tmp_path / "run") == [0, 2, 3]
    new = load_language(summary.checkpoint, variant=HEXAPAWN)
    assert new.model.config == old.model.config
    assert new.metadata["round"] == 3
    assert not torch.equal(weights(new.model), weights(old.model))


@pytest.mark.parametrize("begun", ["bfloat16", "float32"])
def test_a_run_keeps_the_precision_that_it_began_with(
    begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"bfloat16": "float32", "float32": "bfloat16"}[begun]
    models = []
    for later in (begun, other):
        monkeypatch.setattr(setup, "fastest_precision", lambda: begun)
        train_small(tmp_path / later, HEXAPAWN, **TINY, rounds=1)
        monkeypatch.setattr(setup, "fastest_precision", lambda name=later: name)
        models.append(train_small(tmp_path / later, HEXAPAWN, **TINY, rounds=2)[1])
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_minutes_end_a_run_that_was_begun_with_rounds(tmp_path: Path) -> None:
    for given, wanted in (
        ({"rounds": 7}, (15.0, 7)),
        ({}, (15.0, 7)),
        ({"minutes": 2.0}, (2.0, 0)),
        ({"minutes": 3.0, "rounds": 9}, (3.0, 9)),
    ):
        with LanguageDirectory(tmp_path, HEXAPAWN, SMALL | TINY | given) as directory:
            assert (directory.config.minutes, directory.config.rounds) == wanted


def test_a_finished_run_can_be_given_more_rounds(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    again, _ = train_small(tmp_path / "run", HEXAPAWN, **ROUNDS)
    assert (again.tokens, again.held_out) == (whole.summary.tokens, whole.summary.held_out)
    more, _ = train_small(tmp_path / "run", HEXAPAWN, **TINY, rounds=5)
    assert more.tokens > again.tokens
    assert more.checkpoint.name == "00000005.safetensors"


def test_other_seeds_and_vocabularies(whole: Whole, tmp_path: Path) -> None:
    """Another seed learns other games and holds out the same."""
    other, model = train_small(tmp_path / "seed", HEXAPAWN, **ROUNDS, seed=2)
    assert not torch.equal(weights(model), weights(whole.model))
    assert other.held_out.everywhere.floor == whole.summary.held_out.everywhere.floor
    summary, model = train_small(tmp_path / "all", HEXAPAWN, **TINY, rounds=1, vocabulary="all")
    assert summary.vocabulary == model.config.vocabulary == len(MoveTokenizer.of_all())


def test_policy_games_are_played_once(tmp_path: Path) -> None:
    asked = []

    def load(checkpoint: str, wanted: object) -> UniformEvaluator:
        asked.append((checkpoint, wanted))
        return UniformEvaluator()

    settings = SMALL | TINY | {"games": "policy", "checkpoint": "net", "corpus": 600}
    for rounds in (1, 2):
        with LanguageDirectory(tmp_path, HEXAPAWN, settings | {"rounds": rounds}) as directory:
            run = open_language_run(directory, HEXAPAWN, QuietMonitor(), load)
            run.learn()
    assert asked == [("net", HEXAPAWN)]
    held_out, _ = run.measure()
    assert held_out.games > 0
    # A uniform policy plays at random.
    assert 2.0 < held_out.everywhere.floor < 3.0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"channels": 64}, "channels = 64, the run has 16"),
        ({"seed": 5}, "seed = 5, the run has 1"),
        ({"vocabulary": "all"}, "vocabulary = all, the run has variant"),
        ({"layers": 2}, "layers"),
    ],
)
def test_another_configuration_of_a_run_is_refused_by_field(
    whole: Whole, settings: dict[str, object], complaint: str
) -> None:
    before = (whole.path / "config.toml").read_text()
    with pytest.raises(InputError, match=re.escape(complaint)):
        LanguageDirectory(whole.path, HEXAPAWN, SMALL | TINY | settings)
    with pytest.raises(InputError, match="a run of hexapawn, not of gardner"):
        LanguageDirectory(whole.path, get_variant("gardner"), {})
    assert (whole.path / "config.toml").read_text() == before


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"channels": 30, "heads": 4}, "heads = 4 does not divide channels 30"),
        ({"batch": 0}, "batch = 0 is not a whole number"),
        ({"context": 1}, "context = 1: a model needs at least 2 tokens"),
        ({"decay": 2.0}, "decay = 2.0 is not a number from 0 to 1"),
        ({"games": "good"}, "games = 'good' is not one of random, policy"),
        ({"games": "policy"}, "games = 'policy' needs a network"),
        ({"learning_rat": 0.1}, "unknown field 'learning_rat'"),
    ],
)
def test_an_impossible_configuration_is_refused_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        LanguageDirectory(tmp_path / "run", HEXAPAWN, settings)
    registry = Registry()
    registry.add_text(ZEBRAS, "zebras.ini")
    with pytest.raises(InputError, match=r"the vocabulary lacks the move '.*z' of zebras"):
        LanguageDirectory(tmp_path / "run", registry.get("zebras"), {"vocabulary": "all"})
    assert not (tmp_path / "run").exists()


def test_a_changed_config_file_does_not_fit_the_state(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text().replace("learning_rate = 0.002", "learning_rate = 0.2"))
    with (
        pytest.raises(InputError, match=r"learning_rate = 0\.002, the run has 0\.2"),
        LanguageDirectory(tmp_path / "run", HEXAPAWN, {}) as directory,
    ):
        open_language_run(directory, HEXAPAWN, QuietMonitor(), no_evaluator)


def test_a_locked_run_and_other_folders_are_refused(tmp_path: Path) -> None:
    with (
        LanguageDirectory(tmp_path / "run", HEXAPAWN, SMALL | TINY),
        pytest.raises(InputError, match="another training"),
    ):
        LanguageDirectory(tmp_path / "run", HEXAPAWN, SMALL | TINY)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Ada")
    with pytest.raises(InputError, match="neither empty nor a language run"):
        LanguageDirectory(tmp_path / "letters", HEXAPAWN, {})


@pytest.mark.parametrize(
    ("how", "save_seconds", "written"),
    [
        # Killed after a save; ^C before the first save that is due.
        (signal.SIGKILL, 0.0, "checkpoints/00000002.safetensors"),
        (signal.SIGINT, 3600.0, "checkpoints/00000001.safetensors"),
    ],
)
def test_a_killed_command_resumes_with_the_same_arguments(
    tmp_path: Path,
    how: signal.Signals,
    save_seconds: float,
    written: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, path = tmp_path / "settings.toml", tmp_path / "run"
    settings.write_text("channels = 16\nblocks = 1\nround_games = 32\nheld_out_games = 8\n")
    code = (
        f"import sys; from training.language import run; run.SAVE_SECONDS = {save_seconds};"
        "from scripts.cli import main; sys.exit(main(['language', 'train', *sys.argv[1:]]))"
    )
    words = ["hexapawn", "--run", str(path), "--config", str(settings), "--heads", "2", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words, "--minutes", "60"], stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not (path / written).exists() and process.poll() is None:
                assert time.monotonic() < deadline, "it never wrote"
                time.sleep(0.05)
            process.send_signal(how)
            _, complaints = process.communicate()
        finally:
            process.kill()
    reached = saved_round(path)
    message = f"kept up to round {reached}; the same command continues"
    assert (message in complaints.decode()) == (how == signal.SIGINT)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert language_train.main([*words, "--minutes", "0"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens"] > 0
    assert saved_round(path) == reached != 0
    assert not list(path.rglob("*.tmp"))
