"""Measurements of move language models: predictors with known answers have known figures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import FIRST_MOVE, MoveTokenizer
from engine.network.language.sampling import Sampling, draw
from engine.network.model.config import LanguageConfig
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from tests.support.training.move_language_cases import Perfect, Uniform, random_token_games
from training.language.measures import (
    HALF_TEMPERATURE,
    TEMPERATURE_1,
    Measures,
    Perplexity,
    Share,
    allowed_tokens,
)
from training.language.token_games import TokenGames


def measures_of(name: str, games: int, context: int) -> tuple[Variant, MoveTokenizer, Measures]:
    variant = get_variant(name)
    tokenizer, held = random_token_games(variant, games, context, seed=6)
    return variant, tokenizer, Measures(variant, tokenizer.codes(variant), len(tokenizer), held)


def nothing_shared(games: TokenGames) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.zeros((len(games), games.context), np.bool_)


def test_a_perfect_predictor_of_random_play_reaches_the_floor_and_is_legal() -> None:
    variant, tokenizer, measures = measures_of("gardner", 40, 120)
    shared = nothing_shared(measures.games)
    shared[:, :3] = True
    figures = measures.held_out(
        Perfect(variant, tokenizer, measures.games), shared, torch.Generator().manual_seed(1)
    )
    for part in (figures.everywhere, figures.new, figures.shared):
        assert part.perplexity == pytest.approx(part.floor, rel=1e-5)
    assert figures.shared.tokens == 3 * 40
    assert figures.new.tokens + 120 == figures.everywhere.tokens == measures.games.token_count
    assert figures.shared_by_place == [1.0, 1.0, 1.0]
    moves = int(measures.games.plies.sum())
    for share in (figures.best_legal, figures.legal_mass, figures.drawn_legal):
        assert share.count == pytest.approx(moves, rel=1e-5)
        assert share.total == moves
        assert share.low < 1.0 <= share.high + 1e-9
    ended = int((measures.games.lengths > measures.games.plies).sum())
    assert figures.result_named.count == figures.result_named.total == ended > 0


def test_a_uniform_predictor_has_the_perplexity_of_the_vocabulary() -> None:
    _, tokenizer, measures = measures_of("gardner", 20, 80)
    figures = measures.held_out(
        Uniform(len(tokenizer)), nothing_shared(measures.games), torch.Generator().manual_seed(1)
    )
    assert figures.everywhere.perplexity == pytest.approx(len(tokenizer), rel=1e-5)
    assert figures.everywhere.low == pytest.approx(figures.everywhere.high, rel=1e-5)
    # It gives each legal move the same probability.
    legal = [
        len(position.legal_moves)
        for game in measures.games.moves
        for position in positions_of(measures, game)
    ]
    assert figures.legal_mass.count == pytest.approx(sum(legal) / len(tokenizer), rel=1e-4)
    expected = figures.legal_mass.share
    assert figures.drawn_legal.share == pytest.approx(expected, abs=0.02)
    assert figures.best_legal.count == 0, "of equal tokens the first, the start, is the most likely"


def positions_of(
    measures: Measures, moves: np.ndarray[tuple[int], np.dtype[np.uint16]]
) -> list[Position]:
    """The positions before each move of a game."""
    position = Position(get_variant("gardner"))
    found = []
    for move in moves.tolist():
        if move == 0:
            break
        found.append(position.copy())
        position.push(move)
    return found


def test_allowed_tokens_are_the_legal_moves_and_then_the_result() -> None:
    variant = get_variant("losalamos")
    tokenizer, games = random_token_games(variant, 6, 400, seed=4)
    allowed = allowed_tokens(variant, tokenizer.codes(variant), games, len(tokenizer))
    for game in range(len(games)):
        position = Position(variant)
        for ply in range(int(games.plies[game])):
            words = {tokenizer.texts[token] for token in np.flatnonzero(allowed[game, ply])}
            assert words == {position.uci(move) for move in position.legal_moves}
            position.push(int(games.moves[game, ply]))
        outcome = position.outcome()
        if outcome is not None and games.plies[game] < games.context:
            last = np.flatnonzero(allowed[game, int(games.plies[game])])
            assert [tokenizer.texts[token] for token in last] == [outcome.result]
            assert not allowed[game, int(games.plies[game]) + 1 :].any()


class Fixed(LanguageModel):
    """A model with the same logits after every prefix."""

    def __init__(self, vocabulary: int, context: int, logits: Tensor) -> None:
        super().__init__(
            LanguageConfig(
                vocabulary=vocabulary, context=context, channels=4, blocks=0, heads=1, dropout=0.0
            )
        )
        self.logits = logits

    def forward(self, tokens: Tensor, cache: object = None) -> Tensor:
        """Logits [B, T, V]."""
        return self.logits.expand(*tokens.shape, len(self.logits))


def test_games_of_a_model_that_always_predicts_the_same_move() -> None:
    _, tokenizer, measures = measures_of("hexapawn", 4, 8)
    logits = torch.full((len(tokenizer),), -torch.inf)
    logits[tokenizer.token("a1a2")] = 0.0
    figures = measures.own_games(
        Fixed(len(tokenizer), 8, logits), 10, torch.Generator().manual_seed(0)
    )
    # The first is legal, the second is not: the pawn has moved, and it is Black's turn.
    assert figures.legal_moves.count == 10
    assert figures.legal_moves.total == 20
    assert figures.wholly_legal.count == 0
    assert figures.mean_plies == 1.0


def test_games_of_a_model_that_draws_from_all_tokens_are_counted_as_by_replay() -> None:
    """The kernel's count against a plain replay of the same draws."""
    variant, tokenizer, measures = measures_of("hexapawn", 4, 8)
    model = Fixed(len(tokenizer), 8, torch.zeros(len(tokenizer)))
    with torch.no_grad():
        model.logits[tokenizer.token("a1a2")] = 6.0
        for word in ("b3a2", "b3b2", "b1a2", "c3b2"):
            model.logits[tokenizer.token(word)] = 5.0
    figures = measures.own_games(model, 120, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    games = [Position(variant) for _ in range(120)]
    going, legal, faults = set(range(120)), 0, 0
    for _ in range(8):
        drawn = draw(model(torch.zeros(120, 1, dtype=torch.long))[:, -1], Sampling(), generator)
        for game in sorted(going):
            word = tokenizer.texts[int(drawn[game])]
            outcome = games[game].outcome()
            texts = {games[game].uci(move) for move in games[game].legal_moves}
            if word in texts:
                games[game].push_uci(word)
                legal += 1
                continue
            going.discard(game)
            faults += outcome is None or outcome.result != word
        if not going:
            break
    assert legal > 50
    assert faults > 30
    assert figures.legal_moves.count == legal
    assert figures.legal_moves.total == legal + faults
    assert figures.wholly_legal.count == 120 - faults
    assert len(tokenizer) > FIRST_MOVE


def test_half_the_temperature_squares_the_odds() -> None:
    """At half the temperature odds of 3 to 1 become 9 to 1."""
    _, tokenizer, measures = measures_of("hexapawn", 4, 1)
    logits = torch.full((len(tokenizer),), -torch.inf)
    logits[tokenizer.token("a1a2")], logits[tokenizer.token("a3a2")] = math.log(3.0), 0.0
    model = Fixed(len(tokenizer), 1, logits)
    for sampling, expected in (TEMPERATURE_1, 0.75), (HALF_TEMPERATURE, 0.9):
        figures = measures.own_games(model, 4000, torch.Generator().manual_seed(0), sampling)
        assert figures.legal_moves.share == pytest.approx(expected, abs=0.02)


def test_many_games_are_played_in_parts_and_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, tokenizer, measures = measures_of("hexapawn", 4, 8)
    logits = torch.full((len(tokenizer),), -torch.inf)
    logits[tokenizer.token("a1a2")] = 0.0
    model = Fixed(len(tokenizer), 8, logits)
    remembered: list[int] = []
    monkeypatch.setattr(model, "new_cache", remembered.append)
    figures = measures.own_games(model, 300, torch.Generator().manual_seed(0))
    assert sum(remembered) == 300
    assert max(remembered) <= 128
    assert figures.games == 300
    assert (figures.legal_moves.count, figures.legal_moves.total) == (300, 600)
    assert (figures.wholly_legal.count, figures.wholly_legal.total) == (0, 300)
    assert figures.mean_plies == 1.0


def test_a_share_of_independent_cases_has_wilsons_interval() -> None:
    # Wilson's interval of 8 in 10 (Brown, Cai and DasGupta 2001, equation 4): 0.490 to 0.943.
    share = Share.of(np.array([1] * 8 + [0] * 2), np.ones(10, np.int64))
    assert share.share == 0.8
    assert share.low == pytest.approx(0.4901, abs=1e-3)
    assert share.high == pytest.approx(0.9433, abs=1e-3)


def test_clustered_cases_are_less_certain() -> None:
    alone = Share.of(np.array([1] * 90 + [0] * 10), np.ones(100, np.int64))
    # The same hundred cases, but in ten games that are wholly right or wholly wrong.
    together = Share.of(np.array([10] * 9 + [0]), np.full(10, 10))
    assert together.share == alone.share
    assert together.high - together.low > 2 * (alone.high - alone.low)
    perfect = Share.of(np.full(10, 10), np.full(10, 10))
    assert perfect.high == pytest.approx(1.0)
    assert 0.6 < perfect.low < 0.9, "ten games without a fault are no proof"


def test_a_single_game_counts_as_one_case() -> None:
    """Its hundred positions say nothing about other games."""
    one = Share.of(np.array([50, 0]), np.array([100, 0]))
    case = Share.of(np.array([0.5]), np.array([1]))
    assert (one.low, one.high) == (case.low, case.high)
    assert one.low < 0.1
    assert one.high > 0.9
    which = np.array([[True, True], [False, False]])
    surprise = np.log(np.array([[2.0, 8.0], [4.0, 4.0]]))
    figures = Perplexity.of(surprise, surprise, which)
    assert figures.perplexity == pytest.approx(4.0)
    assert (figures.low, figures.high) == (1.0, math.inf)


def test_a_share_of_everything_is_one_despite_rounding() -> None:
    """Probabilities of all legal moves may sum to a little more than 1."""
    found = Share.of(np.array([2.0000002, 3.0000004]), np.array([2, 3]))
    assert found.share == found.high == 1.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8))
def test_the_interval_contains_the_share(games: list[tuple[int, int]]) -> None:
    found = Share.of(np.array([min(g) for g in games]), np.array([max(g) for g in games]))
    assert 0.0 <= found.low <= found.share <= found.high <= 1.0
    assert found.low < found.high


def test_a_perplexity_may_be_infinite() -> None:
    surprise = np.array([[800.0, 900.0], [2.0, 3.0]])
    found = Perplexity.of(surprise, surprise / 1000, np.ones((2, 2), np.bool_))
    assert found.perplexity == pytest.approx(math.exp(426.25))
    assert found.high == math.inf


def test_perplexity_by_hand() -> None:
    surprise = np.log(np.array([[2.0, 8.0], [4.0, 4.0]]))
    which = np.array([[True, True], [True, False]])
    figures = Perplexity.of(surprise, np.log(np.full((2, 2), 2.0)), which)
    assert figures.tokens == 3
    assert figures.perplexity == pytest.approx(4.0)
    assert figures.floor == pytest.approx(2.0)
    empty = Perplexity.of(surprise, surprise, np.zeros((2, 2), np.bool_))
    assert empty.tokens == 0
    assert empty.high == math.inf
