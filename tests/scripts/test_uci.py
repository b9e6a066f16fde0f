"""The UCI session: through streams with planted players, and as a process with python-chess."""

import io
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import chess
import chess.engine
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.player import Choice, Limits, Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import Variant, get_variant, variant_names
from engine.uci import (
    UciSession,
    centipawns,
    clock_share,
    info_line,
    parse_go,
)
from search.minimax.material import score_to_value

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
_START = Position(get_variant("chess"))
BEST = f"bestmove {_START.uci(_START.legal_moves[0])}"
AFTER_E4 = "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"


class FirstMove(Player):
    """Plays the first legal move; searches without end until it is stopped."""

    name = "first"

    def __init__(self) -> None:
        self.limits: list[Limits] = []
        self.positions: list[Position] = []
        self.searching = threading.Event()

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        assert limits is not None
        assert limits.stop is not None
        self.limits.append(limits)
        self.positions.append(position)
        self.searching.set()
        # What `go infinite` asks for in place of no limit.
        if limits == Limits(nodes=256, stop=limits.stop):
            limits.stop.wait()
        return self.think(position)

    def think(self, position: Position) -> Choice:
        return Choice(move=position.legal_moves[0], nodes=7, value=0.5)


class Broken(FirstMove):
    def think(self, position: Position) -> Choice:
        raise RuntimeError("two\nlines")


class Conversation(io.TextIOBase):
    """A session in its own thread: say something, hear the answers."""

    def __init__(self, player: FirstMove, refuse: str = "") -> None:
        self.player = player
        self._refuse = refuse
        self._inbox: queue.Queue[str | None] = queue.Queue()
        self._outbox: queue.Queue[str] = queue.Queue()
        self.made: list[str] = []
        session = UciSession(self._make, "Planted", self)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=session.run, args=(self._lines(),), daemon=True)
        self._thread.start()

    def _make(self, variant: Variant) -> FirstMove:
        if self._refuse:
            raise InputError(self._refuse)
        self.made.append(variant.name)
        return self.player

    def _lines(self) -> Iterator[str]:
        while (line := self._inbox.get(timeout=PATIENCE)) is not None:
            yield line + "\n"

    def write(self, text: str) -> int:
        for line in text.splitlines():
            self._outbox.put(line)
        return len(text)

    def say(self, *lines: str) -> None:
        for line in lines:
            self._inbox.put(line)

    def hear(self) -> str:
        return self._outbox.get(timeout=PATIENCE)

    def hear_until(self, start: str) -> list[str]:
        heard = [self.hear()]
        while not heard[-1].startswith(start):
            heard.append(self.hear())
        return heard

    def answers(self, *lines: str) -> list[str]:
        """All that is said until the session is ready again."""
        self.say(*lines, "isready")
        return self.hear_until("readyok")[:-1]

    def end(self) -> list[str]:
        """End the input; what is still said."""
        self._inbox.put(None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return list(self._outbox.queue)


@pytest.fixture
def talk() -> Iterator[Conversation]:
    conversation = Conversation(FirstMove())
    yield conversation
    conversation.end()


def test_the_handshake_offers_every_variant(talk: Conversation) -> None:
    talk.say("uci")
    heard = talk.hear_until("uciok")
    assert heard[0] == "id name Planted"
    combo = next(line for line in heard if line.startswith("option name UCI_Variant type combo"))
    offered = combo.split(" var ")[1:]
    assert "default chess" in combo
    assert set(variant_names()) < set(offered)
    assert {"hexapawn3x3", "hexapawn5x4"} < set(offered)
    assert any(line.startswith("option name VariantPath type string") for line in heard)


def test_isready_makes_the_player_and_a_failure_is_one_line() -> None:
    talk = Conversation(FirstMove(), refuse="no network")
    assert talk.answers() == ["info string no network"]
    talk.say("go nodes 1")
    assert talk.hear_until("bestmove") == ["info string no network", "bestmove (none)"]
    talk.end()


def test_a_search_gets_position_and_limits_and_answers_once(talk: Conversation) -> None:
    talk.say("setoption name UCI_Variant value hexapawn", "position startpos moves b1b2 a3b2")
    talk.say("go nodes 50 depth 3")
    heard = talk.hear_until("bestmove")
    position = Position(get_variant("hexapawn"))
    position.push_uci("b1b2")
    position.push_uci("a3b2")
    assert talk.player.positions[0].fen() == position.fen()
    [limits] = talk.player.limits
    assert limits == Limits(nodes=50, depth=3, stop=limits.stop)
    first = position.uci(position.legal_moves[0])
    assert heard[0].startswith("info string variant hexapawn files 3 ranks 3 ")
    assert heard[1].startswith("info depth 1 score cp 191 nodes 7 nps ")
    assert heard[1].endswith(f" pv {first}")
    assert heard[2] == f"bestmove {first}"
    assert talk.end() == []


@pytest.mark.parametrize("go", ["go infinite", "go"])
def test_an_endless_search_answers_when_stopped(talk: Conversation, go: str) -> None:
    talk.say(go)
    assert talk.player.searching.wait(PATIENCE)
    assert talk.answers() == []
    talk.say("stop")
    assert talk.hear_until("bestmove")[-1].startswith(BEST)


def test_an_answer_to_infinite_waits_for_the_stop() -> None:
    class Quick(FirstMove):
        def choose(self, position: Position, limits: Limits | None = None) -> Choice:
            return self.think(position)

    talk = Conversation(Quick())
    talk.say("go infinite")
    assert talk.hear().startswith("info depth")
    assert talk.answers() == []
    talk.say("stop")
    assert talk.hear().startswith("bestmove")
    assert talk.end() == []


def test_every_go_is_answered_once_however_soon_the_stop(talk: Conversation) -> None:
    for _ in range(20):
        talk.say("go infinite", "stop")
    assert talk.end().count(BEST) == 20


@pytest.mark.parametrize(
    ("variant", "fen"),
    [
        ("hexapawn", "3/p2/P2 w - - 0 1"),
        ("hexapawn", "P2/2p/3 b - - 0 1"),
        ("chess", "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"),
    ],
)
def test_there_is_no_move_after_the_end(talk: Conversation, variant: str, fen: str) -> None:
    talk.say(f"setoption name UCI_Variant value {variant}", f"position fen {fen}")
    for go in ("go nodes 10", "go infinite"):
        talk.say(go)
        assert talk.hear_until("bestmove")[-1] == "bestmove (none)"


def test_a_draw_by_repetition_is_for_the_gui_to_claim(talk: Conversation) -> None:
    shuffle = " g1f3 g8f6 f3g1 f6g8" * 3
    talk.say(f"position startpos moves{shuffle}", "go nodes 1")
    assert talk.hear_until("bestmove")[-1] != "bestmove (none)"
    talk.say(f"position startpos moves{shuffle} e2e4 e7e5 d2d4", "go nodes 1")
    assert talk.hear_until("bestmove")[-1] != "bestmove (none)"
    assert talk.player.positions[-1].fen().startswith("rnbqkbnr/pppp1ppp/8/4p3/3PP3/8/")


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("castle", "'castle'"),
        ("position", "position ''"),
        ("position startpos moves e2e4 e2e4", "'e2e4'"),
        ("position fen 8/8 w", "'8/8 w'"),
        ("position start moves e2e4", "'start'"),
        ("setoption", "''"),
        ("setoption name Hash value 3", "'Hash'"),
        ("setoption name UCI_Variant value ches", "chess"),
        ("setoption name UCI_ShowWDL value maybe", "'maybe'"),
        ("setoption name VariantPath value no/such/file.ini", "no/such/file.ini"),
    ],
)
def test_what_cannot_be_done_is_answered_in_one_line(
    talk: Conversation, line: str, quoted: str
) -> None:
    assert talk.answers("position startpos moves e2e4") == []
    heard = talk.answers(line)
    assert len(heard) == 1
    assert heard[0].startswith("info string ")
    assert quoted in heard[0]
    # The position is still the one before.
    assert f"Fen: {AFTER_E4}" in talk.answers("d")


@pytest.mark.parametrize("go", ["go nodes x", "go depth", "go movetime 0", "go home"])
def test_a_bad_go_is_answered_too(talk: Conversation, go: str) -> None:
    problem, answer = talk.answers(go)
    assert problem.startswith("info string go: ")
    assert answer == "bestmove (none)"


def test_what_the_protocol_knows_and_we_do_not_need_is_silent(talk: Conversation) -> None:
    assert talk.answers("debug on", "", "ucinewgame", "stop", "ponderhit") == []


def test_a_player_that_breaks_is_reported_in_one_line() -> None:
    talk = Conversation(Broken())
    talk.say("go nodes 1")
    heard = talk.hear_until("bestmove")
    assert heard == ["info string RuntimeError: two lines", "bestmove (none)"]
    assert talk.answers() == []
    talk.end()


def test_wdl_is_shown_when_it_is_asked_for() -> None:
    class Sure(FirstMove):
        def think(self, position: Position) -> Choice:
            move = position.legal_moves[0]
            return Choice(move=move, nodes=1, wdl=(0.5, 0.3, 0.2), value=0.3)

    talk = Conversation(Sure())
    talk.say("go nodes 1")
    assert " wdl " not in talk.hear_until("bestmove")[0]
    talk.say("setoption name UCI_ShowWDL value true", "go nodes 1")
    assert " wdl 500 300 200 " in talk.hear_until("bestmove")[0]
    talk.end()


def test_a_win_seen_to_its_end_is_a_mate(talk: Conversation) -> None:
    position = Position(get_variant("hexapawn"), "2p/P2/3 w - - 0 1")
    line = Choice(move=position.parse_uci("a2a3"), nodes=1, value=1.0)
    assert " score mate 1 " in info_line(position, line, 1.0, wdl=False)
    position = Position(get_variant("hexapawn"), "3/P1p/P2 b - - 0 1")
    move = position.parse_uci("c2c1")
    line = Choice(move=move, nodes=1, value=1.0)
    assert " score mate 1 " in info_line(position, line, 1.0, wdl=False)
    open_line = Choice(move=move, nodes=1, value=0.9)
    assert " score cp " in info_line(position, open_line, 1.0, wdl=False)


def test_a_variant_of_ones_own_is_played(talk: Conversation, tmp_path: Path) -> None:
    path = tmp_path / "mine.ini"
    path.write_text("[wide-hexapawn:hexapawn]\nmaxFile = 4\nstartFen = pppp/4/PPPP w - - 0 1\n")
    heard = talk.answers(
        f"setoption name VariantPath value {path}",
        "setoption name uci_variant value wide-hexapawn",
    )
    assert heard[0] == "info string loaded wide-hexapawn"
    assert heard[1].startswith("info string variant wide-hexapawn files 4 ranks 3 ")
    assert talk.made[-1] == "wide-hexapawn"


def test_the_end_of_the_input_lets_a_short_search_answer() -> None:
    talk = Conversation(FirstMove())
    talk.say("go nodes 1")
    assert talk.end()[-1].startswith(BEST)
    talk = Conversation(FirstMove())
    talk.say("go infinite")
    assert talk.end()[-1].startswith(BEST)
    talk = Conversation(FirstMove())
    talk.say("go infinite", "quit", "uci")
    assert talk.end()[-1].startswith(BEST)


@given(
    st.floats(0.01, 10_000.0),
    st.floats(0.0, 100.0),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_the_clock_never_runs_out_in_one_move(
    remaining: float, increment: float, moves: int | None
) -> None:
    assert 0.0 < clock_share(remaining, increment, moves) <= 0.5 * remaining


def test_each_side_looks_at_its_own_clock() -> None:
    words = ["wtime", "60000", "btime", "30000", "winc", "0", "binc", "1000"]
    white, black = parse_go(words, WHITE).movetime, parse_go(words, BLACK).movetime
    assert white == pytest.approx(clock_share(60.0, 0.0, None))
    assert black == pytest.approx(clock_share(30.0, 1.0, None))
    assert parse_go([*words, "movetime", "250"], WHITE).movetime == 0.25
    assert parse_go(["wtime", "-5", "btime", "-5"], WHITE).movetime == pytest.approx(0.001)


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_scores_rise_with_the_value(one: float, other: float) -> None:
    assert (centipawns(one) <= centipawns(other)) or one > other
    assert centipawns(-one) == -centipawns(one)
    assert abs(centipawns(one)) <= 10_000


@given(st.integers(-2000, 2000))
def test_material_comes_out_as_it_was(score: int) -> None:
    assert centipawns(score_to_value(score)) == score


def test_python_chess_drives_the_program() -> None:
    command = [sys.executable, "-m", "scripts.cli", "uci", "--player", "alphabeta:2"]
    with chess.engine.SimpleEngine.popen_uci(command, timeout=60.0, cwd=ROOT) as engine:
        assert engine.id["name"] == "Pawnscope"
        board = chess.Board()
        for limit in (
            chess.engine.Limit(depth=2),
            chess.engine.Limit(nodes=500),
            chess.engine.Limit(time=0.05),
            chess.engine.Limit(white_clock=1.0, black_clock=1.0),
        ):
            played = engine.play(board, limit)
            assert played.move is not None
            assert played.move in board.legal_moves
            board.push(played.move)
        with engine.analysis(board) as analysis:
            info = next(found for found in analysis if "pv" in found and "score" in found)
            assert info["pv"][0] in board.legal_moves
        mate_in_one = chess.Board("7k/8/6K1/8/8/8/8/5Q2 w - - 0 1")
        played = engine.play(mate_in_one, chess.engine.Limit(depth=3), info=chess.engine.INFO_SCORE)
        assert played.info["score"].relative == chess.engine.Mate(1)


def test_a_request_to_terminate_ends_the_engine_at_once() -> None:
    """Nothing is kept that would have to be saved."""
    command = [sys.executable, "-m", "scripts.cli", "uci", "--player", "random"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write("uci\n")
        engine.stdin.flush()
        assert "uciok\n" in iter(engine.stdout.readline, "")
        engine.terminate()
    assert engine.returncode == -signal.SIGTERM
