"""External engines that misbehave: nothing hangs, nothing is left behind, nothing is misread."""

import gc
import select
import shlex
import sys
from pathlib import Path

import pytest

from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.minimax.material import score_to_value
from search.players import external
from search.players.external import (
    EngineError,
    EngineTimeoutError,
    ExternalPlayer,
    UciEngine,
    close_players,
)
from tests.support.training.process_cases import PATIENCE, assert_ends, is_running, process_in

GARDNER = get_variant("gardner")
STRANGE = Path(__file__).resolve().parents[2] / "support" / "search" / "strange_uci_engine.py"


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_QUIT_SECONDS", 0.1)


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """Where an engine leaves the number of a process."""
    return tmp_path / "noted"


def command(mode: str, noted: Path) -> str:
    return shlex.join([sys.executable, "-S", str(STRANGE), mode, str(noted)])


@pytest.mark.parametrize("mode", ["helper", "deaf helper"])
def test_who_holds_an_engine_s_output_ends_with_it(mode: str, noted: Path) -> None:
    player = ExternalPlayer(command(mode, noted), GARDNER)
    helper = process_in(noted)
    assert is_running(helper)
    player.close()
    assert_ends(helper)
    player.close()


def test_an_engine_that_ignores_quit_ends(noted: Path) -> None:
    engine = UciEngine(command("ignores quit", noted))
    engine.close()
    assert not is_running(engine._process.pid)


def test_an_engine_that_nobody_closes_ends(noted: Path) -> None:
    engine = UciEngine(command("helper", noted))
    helper, process = process_in(noted), engine._process
    del engine
    gc.collect()
    assert_ends(helper)
    process.wait()


def test_an_interrupt_while_an_engine_starts_ends_it(
    noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        process_in(noted)
        raise KeyboardInterrupt

    monkeypatch.setattr(UciEngine, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ExternalPlayer(command("mute", noted), GARDNER)
    assert_ends(process_in(noted))


def test_players_are_closed_together(noted: Path) -> None:
    players = [ExternalPlayer(command("ignores quit", noted), GARDNER) for _ in range(3)]
    close_players(players)
    assert not any(is_running(player._engine._process.pid) for player in players)


@pytest.mark.parametrize("mode", ["spam", "chatter", "endless line"])
def test_talk_without_an_answer_is_silence(
    mode: str, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = ExternalPlayer(command(mode, noted), GARDNER)
    monkeypatch.setattr(external, "_LONGEST_SECONDS", 0.3)
    with pytest.raises(EngineTimeoutError, match="does not answer"):
        player.choose(Position(GARDNER))
    assert len(player._engine._lines) <= external._CHUNK
    assert len(player._engine._rest) <= external._LONGEST_LINE
    player.close()


def test_an_engine_that_reads_nothing_is_silence(noted: Path) -> None:
    engine = UciEngine(command("hang", noted))
    engine.send("go")
    with pytest.raises(EngineTimeoutError, match="reads no input"):
        engine.send("x" * 1_000_000, 0.2)
    engine.close()
    assert_ends(process_in(noted))


def test_an_engine_that_closes_its_output_has_failed(noted: Path) -> None:
    player = ExternalPlayer(command("fall silent", noted), GARDNER)
    for _ in range(2):
        with pytest.raises(EngineError, match="has closed its input or output"):
            player.choose(Position(GARDNER))
    player.close()
    assert_ends(process_in(noted))


@pytest.mark.parametrize(
    "mode", ["multipv", "string", "bound", "shouting", "noise", "digits", "twice"]
)
def test_what_an_engine_means(mode: str, noted: Path) -> None:
    position = Position(GARDNER)
    position.push_uci("b1c3")
    position.push_uci("b5a3")
    player = ExternalPlayer(command(mode, noted), GARDNER)
    choice = player.choose(position)
    player.close()
    assert position.uci(choice.move) == "b2a3"
    assert choice.value == score_to_value(400)
    if mode == "multipv":
        assert choice.wdl == (0.9, 0.1, 0.0)
        assert choice.nodes == 5


@pytest.mark.parametrize("mode", ["twice", "late"])
def test_an_old_answer_is_none_to_a_new_question(mode: str, noted: Path) -> None:
    position = Position(GARDNER)
    position.push_uci("b1c3")
    position.push_uci("b5a3")
    player = ExternalPlayer(command(mode, noted), GARDNER)
    player.choose(position)
    # The second answer is read already, or will be there in a moment.
    assert player._engine._lines or select.select([player._engine._stdout], [], [], PATIENCE)[0]
    for _ in range(3):
        assert position.uci(player.choose(position).move) == "b2a3"
    player.close()


def test_a_promotion_may_be_a_capital(noted: Path) -> None:
    position = Position(GARDNER, "4k/P4/5/5/4K w - - 0 1")
    player = ExternalPlayer(command("capital", noted), GARDNER)
    assert position.uci(player.choose(position).move) == "a4a5q"
    player.close()


@pytest.mark.parametrize("mode", ["null", "empty"])
def test_no_move_is_told_as_such(mode: str, noted: Path) -> None:
    player = ExternalPlayer(command(mode, noted), GARDNER)
    with pytest.raises(EngineError, match="finds no move"):
        player.choose(Position(GARDNER))
    player.close()


def test_options_are_told_as_the_engine_writes_them(noted: Path) -> None:
    ExternalPlayer(command("shouting", noted), GARDNER).close()
    assert noted.read_text().splitlines() == [
        "setoption name uci_VARIANT value GARDNER",
        "setoption name uci_showwdl value true",
    ]
