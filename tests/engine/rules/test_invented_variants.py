"""All rule keys at once: games invented at random, judged by two referees."""

import pyffish
import pytest

from engine.rules.errors import VariantError
from engine.rules.variant import Registry, Variant
from tests.engine.rules.test_naive_rules import (
    assert_agrees,
    assert_agrees_along,
    random_placements,
)
from tests.engine.rules.test_referees import Referee, assert_same_end, texts_of
from tests.support.rules.invented_variants import invented_ini
from tests.support.rules.naive_rules import start
from tests.support.rules.naive_variant import rules_of
from tests.support.rules.random_games import random_games, replayed

SEEDS = range(30)


def invented(seed: int) -> tuple[Variant, str] | None:
    """The variant and its text, None where the start position would be a check."""
    name = f"invented{seed}"
    text = invented_ini(name, seed)
    registry = Registry()
    try:
        registry.add_text(text, name)
    except VariantError as error:
        if "stands in check" in str(error):
            return None
        raise
    return registry.get(name), text


VARIANTS = {seed: found for seed in SEEDS if (found := invented(seed))}


def test_most_invented_games_can_be_played() -> None:
    assert len(VARIANTS) > 0.8 * len(SEEDS)


@pytest.mark.parametrize("seed", VARIANTS)
def test_invented_games_agree_with_the_naive_rules(seed: int) -> None:
    variant, text = VARIANTS[seed]
    rules = rules_of(text, variant.name)
    for finished in random_games(variant, 1, 40, seed=seed):
        assert_agrees_along(finished, rules)
    for position in random_placements(variant, 8):
        assert_agrees(position, start(rules, position.fen()))


@pytest.mark.parametrize("seed", VARIANTS)
def test_invented_games_agree_with_fairy_stockfish(seed: int) -> None:
    variant, text = VARIANTS[seed]
    pyffish.load_variant_config(text)
    referee = Referee(variant.name, prefix="")
    for finished in random_games(variant, 3, 40, seed=seed):
        walked = list(replayed(finished))
        fen, ucis, _ = texts_of(walked)
        assert len(referee.sans(fen, ucis)) == len(ucis)
        assert_same_end(referee, finished, fen, ucis)
        for position in walked[::6]:
            moves = sorted(position.uci(move) for move in position.legal_moves)
            if moves:
                assert referee.legal_moves(position.fen()) == moves, position.fen()
