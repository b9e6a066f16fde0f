"""The compiled rules against the dull ones of `naive_rules`, move by move."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from engine.rules.errors import FenError
from engine.rules.position import Position, Termination
from engine.rules.variant import Variant, get_variant
from tests.support.rules.naive_rules import Game, start
from tests.support.rules.naive_variant import Rules, rules_of
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY

ENDS = {
    "checkmate": Termination.CHECKMATE,
    "stalemate": Termination.STALEMATE,
    "flag": Termination.FLAG,
    "extinction": Termination.EXTINCTION,
    "insufficient material": Termination.INSUFFICIENT_MATERIAL,
    "move rule": Termination.MOVE_RULE,
    "repetition": Termination.REPETITION,
}


@cache
def naive(name: str) -> Rules:
    return rules_of(get_variant(name).ini(), name)


def assert_agrees(position: Position, game: Game) -> None:
    end, outcome = game.end(), position.outcome()
    assert position.fen() == game.fen()
    moves = sorted(position.uci(move) for move in position.legal_moves)
    assert moves == ([] if end else sorted(game.legal)), position
    assert position.is_check() == game.in_check(game.board, game.side), position
    ours = (outcome.termination, outcome.value(position.turn)) if outcome else None
    assert ours == ((ENDS[end[0]], end[1]) if end else None), position


def assert_agrees_along(finished: Position, rules: Rules) -> None:
    game: Game | None = None
    for position, move in zip(replayed(finished), [*finished.move_stack, None], strict=True):
        game = game or start(rules, position.fen())
        assert_agrees(position, game)
        if move is not None:
            game = game.play(position.uci(move))


@pytest.mark.parametrize("name", EVERY)
def test_random_games(name: str) -> None:
    variant = get_variant(name)
    for finished in random_games(variant, max(2, 200 // variant.squares), 60):
        assert_agrees_along(finished, naive(name))


def random_placements(variant: Variant, count: int) -> Iterator[Position]:
    """Legal positions with pieces at random, so that pins and double checks are common."""
    generator = np.random.default_rng(1)
    letters = [letter for letter in variant.piece_letters.values() if letter != "k"]
    kings = "Kk" if "k" in variant.piece_letters.values() else ""
    while count:
        board = np.full(variant.squares, "1", dtype="<U1")
        pieces = generator.integers(2, variant.squares // 2 + 1)
        where = generator.permutation(variant.squares)[: len(kings) + pieces]
        drawn = generator.choice([*letters, *(letter.upper() for letter in letters)], pieces)
        board[where] = [*kings, *drawn]
        ranks = ["".join(rank) for rank in board.reshape(variant.height, variant.width)]
        rights = generator.choice(["-", "KQkq", "K", "q"])
        file = chr(ord("a") + generator.integers(variant.width))
        passed = generator.choice(["-", f"{file}3", f"{file}{variant.height - 2}"])
        fen = f"{'/'.join(ranks)} {generator.choice(['w', 'b'])} {rights} {passed} 0 1"
        try:
            position = Position(variant, fen)
        except FenError:
            continue
        count -= 1
        yield position


@pytest.mark.parametrize("name", EVERY)
def test_random_placements(name: str) -> None:
    generator = np.random.default_rng(2)
    for position in random_placements(get_variant(name), 25):
        game = start(naive(name), position.fen())
        assert_agrees(position, game)
        if position.legal_moves:
            move = int(generator.choice(position.legal_moves))
            after = game.play(position.uci(move))
            position.push(move)
            assert_agrees(position, after)


@pytest.mark.nojit
@pytest.mark.parametrize("name", ["hexapawn", "gardner", "silverman4x5", "diana", "menagerie"])
def test_a_few_random_games(name: str) -> None:
    for finished in random_games(get_variant(name), 1, 12, seed=3):
        assert_agrees_along(finished, naive(name))


# Small endings, played at random for long, so that the move rule and repetition come up.
ENDINGS = [
    ("gardner", "4k/5/5/1R3/K4 w - - 0 1"),
    ("gardner", "4k/5/5/1R3/K4 w - - 80 60"),
    ("silverman4x4", "2k1/4/4/K2Q w - - 90 1"),
    ("hasty", "rqkr/4/4/4/RQKR w - - 0 1"),
    ("chess", "4k3/8/8/8/8/8/8/R3K2R w KQ - 85 60"),
    ("diana", "2k3/6/6/6/6/R2K1R w KQ - 90 60"),
]


@pytest.mark.parametrize(("name", "fen"), ENDINGS)
def test_endings_where_the_clock_and_repetition_matter(name: str, fen: str) -> None:
    for finished in random_games(get_variant(name), 6, 120, fen=fen):
        assert_agrees_along(finished, naive(name))
