"""What moves do, and wins in one and two moves, against the naive rules in many variants."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.probing.concepts.facts.moves import moves_to_win
from engine.probing.data.samples import play_random_games
from engine.rules.errors import InputError
from engine.rules.notation.fen import write_fen
from engine.rules.position import Position
from engine.rules.tables import EN_PASSANT, NO_SQUARE, SIDE
from tests.support.concepts.threat_cases import NAMES, labelled, sample, sampled, variant_of
from tests.support.rules.naive_rules import start
from tests.support.rules.naive_variant import rules_of
from tests.support.training.training_cases import child_of

KINGS = "4k/5/5/5/K4 w - - 0 1"


def test_games_that_are_over_at_the_start_have_no_positions() -> None:
    """Without knights from the beginning, and who has none has lost."""
    over = child_of(
        "gardner", "over", extinctionValue="loss", extinctionPieceTypes="n", startFen=KINGS
    )
    with pytest.raises(InputError, match="over: its games are over at the start"):
        play_random_games(over, 10, np.random.default_rng(0))


@pytest.mark.parametrize("name", NAMES)
def test_moves_and_their_ends_are_those_of_the_naive_rules(name: str) -> None:
    found, variant = labelled(name), variant_of(name)
    rules = rules_of(variant.ini(), variant.name)
    # Every other position: the naive rules take long.
    for index in range(0, len(sample(name)), 2):
        row = sample(name)[index]
        own = start(rules, write_fen(variant, row))
        turned = row.copy()
        turned[variant.squares + SIDE] ^= 1
        turned[variant.squares + EN_PASSANT] = NO_SQUARE
        checked = own.in_check(own.board, own.side)
        for whose, game in (("my", own), ("their", start(rules, write_fen(variant, turned)))):
            after = [game.play(text) for text in game.legal]
            ends = [(each.end(), each) for each in after]
            # A draw by the rules does not hide a win, and none is looked for.
            mates = sum(end is not None and end[0] == "checkmate" for end, _ in ends)
            wins = sum(end is not None and end[1] == -1 for end, _ in ends)
            checks = sum(each.in_check(each.board, each.side) for each in after)
            captures = sum(len(each.board) < len(game.board) for each in after)
            promotions = sum(len(text) > 4 for text in game.legal)
            prefix = "" if whose == "my" else "their "
            wanted = {
                f"{whose} captures": captures,
                f"{whose} checks": checks,
                f"{prefix}mate in one": mates > 0,
                f"{prefix}win in one move": wins > 0,
                f"{prefix}promotion available": promotions > 0,
            }
            for concept, value in wanted.items():
                if concept in found:
                    number = found[concept][index]
                    if whose == "their" and checked:
                        assert np.isnan(number)
                    else:
                        assert number == value, (concept, game.fen())
        if "in check" in found:
            assert found["in check"][index] == checked


def forces(position: Position, moves: int, won: Callable[[Position], bool]) -> bool:
    """Whether the side to move can end the game by its move of that number, by looking at all."""
    for move in position.legal_moves:
        position.push(move)
        good = won(position)
        if not good and moves > 1 and position.outcome() is None:
            good = True
            for reply in position.legal_moves:
                position.push(reply)
                good = position.outcome() is None and forces(position, moves - 1, won)
                position.pop()
                if not good:
                    break
        position.pop()
        if good:
            return True
    return False


def is_mate(position: Position) -> bool:
    outcome = position.outcome()
    return outcome is not None and outcome.termination.name == "CHECKMATE"


def is_win(position: Position) -> bool:
    outcome = position.outcome()
    return outcome is not None and outcome.value(position.turn) == -1


@pytest.mark.parametrize(
    ("name", "mates_only", "count"),
    [
        ("gardner", True, 60),
        ("losalamos", True, 30),
        ("own", True, 30),
        ("ends", False, 50),
        ("hexapawn4x4", False, 300),
        ("breakthrough5", False, 60),
    ],
)
def test_wins_in_two_are_those_of_a_naive_search(name: str, mates_only: bool, count: int) -> None:
    variant = variant_of(name)
    rows = sampled(variant, 40, 80, 1, seed=3)
    every = moves_to_win(variant, rows, mates_only=mates_only)
    kinds = [np.flatnonzero(every == answer) for answer in (0, 1, 2)]
    chosen = np.concatenate([kind[:: max(1, 3 * len(kind) // count)] for kind in kinds])
    rows, found = rows[chosen], every[chosen]
    won = is_mate if mates_only else is_win
    for row, moves in zip(rows, found.tolist(), strict=True):
        position = Position.from_row(row, variant)
        wanted = 1 if forces(position, 1, won) else 2 if forces(position, 2, won) else 0
        assert moves == wanted, position.fen()
    assert {0, 1, 2} == set(found.tolist())
