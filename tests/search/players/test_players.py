"""Players: legal moves from all, perfect ones from those that know, and one line for bad input."""

import re
import shlex
import sys
import threading
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from engine.player import Limits, Player, games_repeat
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from search.evaluator import Evaluator, UniformEvaluator
from search.exact.solution import Solution
from search.exact.solver import solve
from search.exact.tablebase.tables import Tablebases
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.players import external
from search.players.builtin import RandomPlayer
from search.players.external import EngineError, ExternalPlayer
from search.players.language import LanguagePlayer
from search.players.make import PLAYER_FORMS, is_deterministic, make_player
from search.players.network import TreePlayer
from search.players.tablebase import with_tablebases
from tests.support.search.search_cases import (
    TrueOrFalse,
    decisions,
    exact_value,
    keeping_moves,
    reachable,
)

SPECS = [
    "random",
    "perfect",
    "minimax:3",
    "alphabeta:3",
    "uct:50",
    "mcts:30",
    "mcts:30:runs/one",
    "gumbel:30",
    "gumbel:30:runs/one",
    "policy",
]
SEARCHERS = ["minimax:64", "alphabeta:3", "uct:50", "mcts:30", "gumbel:30"]
FAKE_ENGINE = Path(__file__).resolve().parents[2] / "support" / "search" / "fake_uci_engine.py"


def no_network(checkpoint: str | None, variant: Variant) -> Evaluator:
    assert checkpoint in (None, "runs/one")
    return UniformEvaluator()


def solved(variant: Variant) -> Solution:
    return solve(variant, limit_bytes=10**8)


def player_of(spec: str, variant: Variant) -> Player:
    return make_player(
        spec,
        variant,
        rng=np.random.default_rng(1),
        load_evaluator=no_network,
        load_solution=solved,
    )


def game_of(player: Player, start: str) -> list[int]:
    """The player against itself."""
    position = Position(get_variant("hexapawn5x5"))
    position.push_uci(start)
    while position.outcome() is None:
        position.push(player.choose(position).move)
    return position.move_stack


CHANCE = ("random", "perfect", "uct:50")


@pytest.mark.parametrize("spec", SPECS)
def test_who_is_deterministic_says_so(spec: str) -> None:
    player = player_of(spec, get_variant("hexapawn"))
    assert player.deterministic == is_deterministic(spec) == (spec not in CHANCE)


@pytest.mark.parametrize("spec", ["random", "minimax:2", "alphabeta:3", "uct:8", "mcts:30"])
def test_what_is_deterministic_plays_the_same_whatever_it_played_before(spec: str) -> None:
    """Two players, of whom one has other random numbers and has just played another game."""
    variant = get_variant("hexapawn5x5")
    fresh = player_of(spec, variant)
    used = make_player(
        spec, variant, rng=np.random.default_rng(2), load_evaluator=no_network, load_solution=solved
    )
    game_of(used, "b1b2")
    same = game_of(used, "a1a2") == game_of(fresh, "a1a2")
    assert same == fresh.deterministic


def test_noise_and_what_is_not_known_are_not_deterministic() -> None:
    rng, uniform = np.random.default_rng(0), UniformEvaluator()
    assert not TreePlayer(uniform, PuctConfig(noise_fraction=0.25), rng).deterministic
    assert not TreePlayer(uniform, GumbelConfig(), rng).deterministic
    assert not ExternalPlayer.deterministic
    assert LanguagePlayer.deterministic
    assert is_deterministic("language:runs/one")
    # As a ladder names a run's checkpoints.
    assert is_deterministic("gumbel:64@00000012")
    assert not is_deterministic("uci:engine:nodes=100")
    assert not is_deterministic("nobody")
    # Wrapping looks nothing up.
    tables = cast(Tablebases, None)
    for spec in ("alphabeta:2", "mcts:8", "uct:8"):
        player = player_of(spec, get_variant("gardner"))
        assert with_tablebases(player, tables).deterministic == player.deterministic
    sure, chance = player_of("minimax:1", get_variant("hexapawn")), RandomPlayer(rng)
    assert games_repeat(sure, sure)
    assert not games_repeat(sure, chance)
    assert not games_repeat(chance, sure)


@pytest.mark.parametrize("spec", SPECS)
def test_a_game_of_legal_moves(spec: str) -> None:
    position = Position(get_variant("hexapawn"))
    player = player_of(spec, position.variant)
    assert player.name == spec
    while position.outcome() is None:
        before = position.row.copy()
        choice = player.choose(position)
        np.testing.assert_array_equal(position.row, before)
        assert choice.move in position.legal_moves
        assert choice.principal_variation[:1] == (choice.move,)
        assert choice.value is None or -1 <= choice.value <= 1
        assert choice.wdl is None or sum(choice.wdl) == pytest.approx(1)
        position.push(choice.move)
    with pytest.raises(InputError, match=re.escape(position.fen())):
        player.choose(position)


@pytest.mark.parametrize(
    "spec", ["perfect", "alphabeta:9", "minimax:9", "mcts:2000", "gumbel:2000"]
)
def test_those_who_see_the_end_are_perfect(spec: str) -> None:
    positions = decisions("hexapawn")
    player = player_of(spec, positions[0].variant)
    for position in positions:
        choice = player.choose(position)
        assert choice.move in keeping_moves(position)
        assert choice.value == exact_value(position)


def test_the_raw_policy_takes_the_largest_logit() -> None:
    for position in decisions("hexapawn"):
        player = make_player(
            "policy",
            position.variant,
            rng=np.random.default_rng(1),
            load_evaluator=lambda _, variant: TrueOrFalse(variant, 1, 1.0),
        )
        assert player.choose(position).move in keeping_moves(position)


@pytest.mark.parametrize("spec", SEARCHERS)
def test_a_search_that_must_stop_at_once_still_moves(spec: str) -> None:
    position = Position(get_variant("gardner"))
    stop = threading.Event()
    stop.set()
    choice = player_of(spec, position.variant).choose(position, Limits(stop=stop))
    assert choice.move in position.legal_moves


@pytest.mark.parametrize("spec", SEARCHERS)
@pytest.mark.parametrize("limits", [Limits(movetime=0.05), Limits(nodes=200)])
def test_limits_replace_the_own_effort(spec: str, limits: Limits) -> None:
    position = Position(get_variant("gardner"))
    choice = player_of(spec, position.variant).choose(position, limits)
    assert choice.move in position.legal_moves
    assert limits.nodes is None or choice.nodes == limits.nodes


def test_a_limit_of_depth() -> None:
    position = Position(get_variant("gardner"))
    deep = player_of("alphabeta:5", position.variant).choose(position)
    flat = player_of("alphabeta:5", position.variant).choose(position, Limits(depth=2))
    assert flat.nodes < deep.nodes


@pytest.mark.parametrize(
    "spec",
    [
        "grandmaster",
        "",
        "alphabeta",
        "alphabeta:",
        "alphabeta:x",
        "alphabeta:0",
        "alphabeta:65",
        "minimax:-1",
        "uct:1.5",
        "mcts",
        "mcts:0",
        "mcts::file",
        "random:3",
        "perfect:3",
        "policy:",
        "uci",
        "uci:",
        "uci:engine:nodes=0",
    ],
)
def test_a_bad_player_is_one_line_that_quotes_it_and_lists_the_forms(spec: str) -> None:
    with pytest.raises(InputError) as problem:
        player_of(spec, get_variant("hexapawn"))
    text = str(problem.value)
    assert f"'{spec}'" in text
    assert "\n" not in text
    assert all(form in text for form in PLAYER_FORMS)


@pytest.mark.parametrize("spec", ["perfect", "policy", "mcts:10:file"])
def test_without_a_loader_there_is_no_such_player(spec: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"'{spec}'")):
        make_player(spec, get_variant("hexapawn"), rng=np.random.default_rng(1))


def engine_command(tmp_path: Path, mode: str) -> str:
    return shlex.join([sys.executable, "-S", str(FAKE_ENGINE), str(tmp_path / "heard"), mode])


def test_an_external_engine_plays(tmp_path: Path) -> None:
    variant = get_variant("gardner")
    position = Position(variant)
    position.push_uci("b1c3")
    position.push_uci("b5a3")
    player = player_of(f"uci:{engine_command(tmp_path, 'b2a3')}:nodes=123", variant)
    choice = player.choose(position)
    player.choose(position, Limits(movetime=0.25))
    player.close()
    assert position.uci(choice.move) == "b2a3"
    assert [position.uci(choice.principal_variation[0])] == ["b2a3"]
    assert choice.wdl == (0.3, 0.6, 0.1)
    assert choice.nodes == 77
    assert choice.value is not None
    assert 0 < choice.value < 1
    heard = (tmp_path / "heard").read_text().splitlines()
    assert "setoption name UCI_Variant value gardner" in heard
    assert f"position fen {variant.start_fen} moves b1c3 b5a3" in heard
    asked = [line for line in heard if line.startswith(("go", "quit"))]
    assert asked == ["go nodes 123", "go movetime 250", "quit"]


def test_a_variant_that_the_engine_lacks_is_given_as_a_file(tmp_path: Path) -> None:
    variant = get_variant("baby")
    player = ExternalPlayer(engine_command(tmp_path, "a2a3"), variant)
    heard = (tmp_path / "heard").read_text()
    path = Path(re.findall("VariantPath value (.*)", heard)[0])
    assert path.read_text().startswith(variant.ini())
    assert "UCI_Variant value baby" in heard
    player.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("mode", "error", "text"),
    [
        ("e1e5", IllegalMoveError, "'e1e5'"),
        ("none", EngineError, "finds no move"),
        ("die", EngineError, "has ended"),
    ],
)
def test_an_engine_that_fails_is_one_line(
    tmp_path: Path, mode: str, error: type[InputError], text: str
) -> None:
    variant = get_variant("gardner")
    player = ExternalPlayer(engine_command(tmp_path, mode), variant)
    with pytest.raises(error, match=text) as problem:
        player.choose(Position(variant))
    assert "\n" not in str(problem.value)
    player.close()


def test_engines_that_do_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_START_SECONDS", 0.2)
    monkeypatch.setattr(external, "_QUIT_SECONDS", 0.2)
    variant = get_variant("gardner")
    with pytest.raises(EngineError, match="does not answer"):
        ExternalPlayer(engine_command(tmp_path, "silent"), variant)
    with pytest.raises(EngineError, match="has ended"):
        ExternalPlayer(shlex.join([sys.executable, "-c", ""]), variant)
    with pytest.raises(OSError, match="no-such-engine"):
        ExternalPlayer("no-such-engine", variant)


def test_every_position_of_the_smallest_game_has_a_perfect_reply() -> None:
    positions = [position for position in reachable("hexapawn") if position.legal_moves]
    player = player_of("perfect", positions[0].variant)
    for position in positions:
        line = player.choose(position).principal_variation
        walk = position.copy()
        for move in line:
            walk.push(move)
        outcome = walk.outcome()
        assert outcome is not None
        assert outcome.value(position.turn) == exact_value(position)
