"""The commands of move language models, and the player."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.network.language.checkpoint import save_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_predictor import MovePredictor
from engine.network.language.move_tokens import START, MoveTokenizer
from engine.network.model.config import LanguageConfig
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.variant import BUILT_IN, get_variant
from engine.system.termination import Terminated
from scripts import players
from scripts.commands.language import continuation as language_continue
from scripts.commands.language import train as language_train
from scripts.commands.match import main as match
from scripts.players import player_of
from search.evaluator import UniformEvaluator
from search.players.language import LanguagePlayer
from search.players.make import make_player
from tests.support.rules.random_games import random_games
from tests.support.training.move_language_cases import QuietMonitor
from training.language.config import LanguageTrainingConfig
from training.language.learner import fresh_model
from training.language.setup import LanguageDirectory, open_language_run

TINY = ("--channels", "16", "--blocks", "1", "--heads", "2")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of Hexapawn after some rounds."""
    path = tmp_path_factory.mktemp("language") / "run"
    words = ["hexapawn", "--run", str(path), *TINY, "--rounds", "4", "--json"]
    assert language_train.main(words) == 0
    return path


def untrained(name: str, *, seed: int = 1) -> MovePredictor:
    """A predictor before training."""
    variant = get_variant(name)
    settings = {"channels": 16, "blocks": 1, "heads": 2, "context": 48, "seed": seed}
    config = LanguageTrainingConfig.resolve(variant, settings)
    tokenizer = MoveTokenizer.of(variant)
    return MovePredictor(fresh_model(config, tokenizer), tokenizer, variant)


def test_training_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["hexapawn", *TINY, "--rounds", "2"]
    assert language_train.main([*words, "--json"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert figures["checkpoint"] == "runs/language-hexapawn/checkpoints/00000002.safetensors"
    assert Path(figures["checkpoint"]).exists()
    assert figures["held_out"]["everywhere"]["floor"] > 1
    for name in ("best_legal", "legal_mass", "drawn_legal"):
        assert 0 <= figures["held_out"][name]["low"] <= figures["held_out"][name]["high"] <= 1
    assert set(figures["own"]) == {"games", "legal_moves", "wholly_legal", "mean_plies"}
    assert language_train.main(words) == 0
    text = capsys.readouterr().out
    assert "none of which training saw" in text
    assert "games without an illegal move" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["hexapawn", "--games", "good"], "--games good"),
        (["hexapawn", "--games", "policy:nowhere.safetensors"], "nowhere.safetensors"),
        (["hexapawn", "--heads", "3", "--channels", "16"], "heads = 3"),
        (["hexpawn"], "unknown variant 'hexpawn'"),
        (["hexapawn", "--minutes", "-1"], "--minutes -1 is not"),
    ],
)
def test_training_refuses_and_leaves_nothing(words: list[str], complaint: str) -> None:
    with pytest.raises((InputError, OSError)) as caught:
        language_train.main(words)
    assert complaint in str(caught.value)
    left = [path for path in Path("runs").rglob("*") if path.suffix == ".safetensors"]
    assert not left


def continued(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert language_continue.main([*words, "--json"]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    return figures


def test_a_game_is_continued_with_probabilities(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["hexapawn", "--checkpoint", str(trained), "--moves", "b1b2"]
    figures = continued(capsys, *words, "--seed", "5")
    position = Position(get_variant("hexapawn"))
    position.push_uci("b1b2")
    legal = {position.uci(move) for move in position.legal_moves}
    shown = {item["word"]: item for item in figures["next"]}
    assert all(item["legal"] == (word in legal) for word, item in shown.items())
    assert 0 < figures["legal_mass"] <= 1
    mass = sum(item["probability"] for item in figures["next"] if item["legal"])
    assert mass <= figures["legal_mass"] + 1e-5
    for item in figures["moves"]:
        legal = {position.uci(move) for move in position.legal_moves}
        outcome = position.outcome()
        wanted = item["word"] in legal or (outcome is not None and outcome.result == item["word"])
        assert item["legal"] == wanted
        if item["word"] in legal:
            position.push_uci(item["word"])
    assert all(item["legal"] for item in figures["moves"][:-1])
    assert continued(capsys, *words, "--seed", "5") == figures


def test_temperature_0_takes_the_most_likely_token(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["hexapawn", "--checkpoint", str(trained), "--temperature", "0", "--plies", "1"]
    figures = continued(capsys, *words)
    assert figures["moves"][0]["word"] == figures["next"][0]["word"]
    assert figures["moves"][0]["chance"] == 1.0
    several = continued(
        capsys, "hexapawn", "--checkpoint", str(trained), "--top-k", "2", "--plies", "1"
    )
    assert several["moves"][0]["word"] in {item["word"] for item in several["next"][:2]}


def test_the_printed_text_shows_predictions_and_the_end(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert language_continue.main(["hexapawn", "--checkpoint", str(trained)]) == 0
    text = capsys.readouterr().out
    assert "most likely next tokens" in text
    assert "legal moves: " in text
    assert "stopped: " in text


@pytest.mark.parametrize("moves", ["a1a3", "b1b2 b1b2", "b1b2 hello", "b1b2 a3b2 xx"])
def test_illegal_moves_are_refused_by_name(trained: Path, moves: str) -> None:
    bad = moves.split()[-1]
    with pytest.raises(IllegalMoveError, match=f"'{bad}'"):
        language_continue.main(["hexapawn", "--checkpoint", str(trained), "--moves", moves])


def test_a_second_start_token_has_its_own_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = untrained("hexapawn")
    expected = predictor.predict([Position(predictor.variant)])[0]
    words = np.zeros_like(expected.token_probabilities)
    words[START] = 1.0
    certain = dataclasses.replace(expected, token_probabilities=words)
    monkeypatch.setattr(predictor, "predict", lambda _: [certain])
    monkeypatch.setattr(language_continue, "load_language", lambda *_: predictor)
    assert (
        continued(capsys, "hexapawn")["ending"] == "start is wrong: it can only be the first token"
    )


def test_a_context_of_one_token_holds_the_start() -> None:
    variant = get_variant("hexapawn")
    tokenizer = MoveTokenizer.of(variant)
    config = LanguageConfig(
        vocabulary=len(tokenizer), context=1, channels=16, blocks=1, heads=2, hidden=16
    )
    predictor = MovePredictor(LanguageModel(config), tokenizer, variant)
    position = Position(variant)
    position.push_uci("b1b2")
    assert predictor.tokens(position) == [START]
    assert len(predictor.predict([position])[0].moves) == len(position.legal_moves)


def test_a_run_on_policy_games_resumes_when_its_network_was_trained_further(
    capsys: pytest.CaptureFixture[str],
) -> None:
    variant = get_variant("hexapawn")
    first = Path("runs/net/checkpoints/00000001.safetensors")
    first.parent.mkdir(parents=True)
    first.touch()
    settings: dict[str, Any] = {"channels": 16, "blocks": 1, "heads": 2, "rounds": 1}
    settings |= {"corpus": 300}
    settings |= {"games": "policy", "checkpoint": str(first)}
    with LanguageDirectory(Path("runs/read"), variant, settings) as directory:
        run = open_language_run(directory, variant, QuietMonitor(), lambda *_: UniformEvaluator())
        run.learn()
    second = first.with_name("00000002.safetensors")
    second.touch()
    words = ["hexapawn", "--run", "runs/read", "--rounds", "1", "--json"]
    for named in ("policy", "policy:runs/net", f"policy:{first}"):
        assert language_train.main([*words, "--games", named]) == 0
        assert json.loads(capsys.readouterr().out)["games"] > 0
    with pytest.raises(InputError, match=r"checkpoint = .*00000002\.safetensors, the run has"):
        language_train.main([*words, "--games", f"policy:{second}"])


def test_what_cannot_be_continued_is_refused(trained: Path) -> None:
    with pytest.raises(InputError, match="--temperature -1 is not"):
        language_continue.main(["hexapawn", "--checkpoint", str(trained), "--temperature", "-1"])
    with pytest.raises(InputError, match="not of 'gardner'"):
        language_continue.main(["gardner", "--checkpoint", str(trained)])
    with pytest.raises(InputError, match="no language model for gardner"):
        language_continue.main(["gardner"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_player_plays_legal_moves_of_every_variant(name: str) -> None:
    player = LanguagePlayer(untrained(name))
    positions = [
        game for plies in (0, 5, 70) for game in random_games(get_variant(name), 2, plies, seed=1)
    ]
    positions = [position for position in positions if position.outcome() is None]
    for position, choice in zip(positions, player.choose_batch(positions), strict=True):
        assert choice.move in position.legal_moves
        assert player.choose(position) == choice, "games in one batch are independent"
    assert player.asked == 2 * len(positions)
    assert player.illegal > 0, "an untrained model predicts illegal moves"


def test_the_player_plays_the_most_likely_legal_move() -> None:
    predictor = untrained("gardner", seed=3)
    position = next(random_games(get_variant("gardner"), 1, 9, seed=2))
    expected = predictor.predict([position])[0]
    wanted = {
        move: float(expected.token_probabilities[predictor.tokenizer.token(position.uci(move))])
        for move in position.legal_moves
    }
    assert (
        dict(zip(expected.moves.tolist(), expected.probabilities.tolist(), strict=True)) == wanted
    )
    assert LanguagePlayer(predictor).choose(position).move == max(wanted, key=lambda m: wanted[m])
    assert expected.allowed_probability == pytest.approx(sum(wanted.values()))


def test_a_game_from_another_position_is_refused() -> None:
    variant = get_variant("gardner")
    fen = "3k1/5/5/5/K3R w - - 0 1"
    player = LanguagePlayer(untrained("gardner"))
    with pytest.raises(InputError, match="from their start"):
        player.choose(Position(variant, fen))
    # The start written out is the start.
    assert player.choose(Position(variant, variant.start_fen)).move


def test_a_language_model_enters_a_match(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"language:{trained}", "random", "hexapawn", "--games", "6"]
    assert match.main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["games"] == 6
    assert figures["illegal"] == 0
    asked = figures["language"]["a"]
    assert 0 <= asked["illegal"] <= asked["asked"]
    assert asked["asked"] >= 6
    assert match.main(words) == 0
    assert "its first choice was against the rules" in capsys.readouterr().out


def test_the_newest_language_run_is_the_default(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(players, "RUNS", trained.parent)
    variant = get_variant("hexapawn")
    player = player_of("language", variant, np.random.default_rng(0))
    assert player.name == "language"
    assert player.choose(Position(variant)).move in Position(variant).legal_moves
    # A language run is not a self-play run.
    assert players.strongest_checkpoint(variant) is None


def test_a_language_player_needs_a_loader() -> None:
    with pytest.raises(InputError, match="no language model can be loaded here"):
        make_player("language", get_variant("gardner"), rng=np.random.default_rng(0))


def test_a_checkpoint_with_the_whole_vocabulary_plays_its_variant(tmp_path: Path) -> None:
    variant = get_variant("hexapawn")
    tokenizer = MoveTokenizer.of_all()
    settings = {"channels": 16, "blocks": 1, "heads": 2, "context": 8}
    model = fresh_model(LanguageTrainingConfig.resolve(variant, settings), tokenizer)
    path = tmp_path / "all.safetensors"
    save_language(path, model, tokenizer, variant, metadata={})
    player = player_of(f"language:{path}", variant, np.random.default_rng(0))
    assert player.choose(Position(variant)).move in Position(variant).legal_moves


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
@pytest.mark.parametrize("signals", [1, 2])
def test_the_first_signal_waits_for_the_round_and_the_second_does_not(
    number: signal.Signals, raised: type[KeyboardInterrupt], signals: int
) -> None:
    heard = []

    def session() -> None:
        with language_train._after_the_round() as came:
            for _ in range(signals):
                signal.raise_signal(number)
                heard.append(came())
            # As `run_rounds` does after the round.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        session()
    assert caught.type is raised
    # The second one interrupts at once.
    assert heard == [True]
