"""Pairs of games: openings that cover all there are, repeats told apart, the sequential test."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import chisquare

from engine.player import Choice, Limits, Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from search.players.make import make_player
from tests.support.training.training_cases import play_game
from training.evaluation import openings
from training.evaluation.arena import summarise
from training.evaluation.elo import elo_difference, elo_of_score, expected_score
from training.evaluation.openings import random_openings
from training.evaluation.pentanomial import PAIR_SCORES, PairTally
from training.evaluation.sprt import Sprt, Verdict

Shares = npt.NDArray[np.float64]


def test_all_openings_come_once_before_any_comes_again() -> None:
    variant = get_variant("gardner")
    every = set()
    for first in Position(variant).legal_moves:
        after = Position(variant)
        after.push(first)
        every |= {(first, second) for second in after.legal_moves}
    openings = random_openings(variant, 2, np.random.default_rng(3))
    one, two = list(islice(openings, len(every))), list(islice(openings, len(every)))
    assert set(one) == set(two) == every
    assert len(one) == len(every) == 53
    assert one != two
    assert one == list(islice(random_openings(variant, 2, np.random.default_rng(3)), 53))


def test_openings_too_many_to_list_are_drawn() -> None:
    variant = get_variant("chess")
    drawn = list(islice(random_openings(variant, 4, np.random.default_rng(0)), 20))
    assert len(set(drawn)) == 20
    assert {len(opening) for opening in drawn} == {4}


def test_pairs_are_counted_in_any_order() -> None:
    points = [1, 1, 1, 0.5, 0.5, 0.5, 0, 1, 0.5, 0, 0, 0, 1]
    for order in (range(13), range(12, -1, -1), np.random.default_rng(0).permutation(13)):
        tally = PairTally(games_repeat=True)
        for number in order:
            tally.add(int(number), points[number], [int(number)])
        assert tally.counts == tally.ordered == (1, 1, 2, 1, 1)
        assert tally.distinct == 6


def test_quick_games_do_not_count_before_slow_ones() -> None:
    tally = PairTally(games_repeat=True)
    for number in (0, 1, 4, 5, 6, 7):
        tally.add(number, 1.0, [number])
    assert tally.counts == (0, 0, 0, 0, 3)
    assert tally.ordered == (0, 0, 0, 0, 1)
    tally.add(3, 0.0, [3])
    tally.add(2, 0.5, [2])
    assert tally.ordered == tally.counts == (0, 1, 0, 0, 3)


@pytest.mark.parametrize("games_repeat", [True, False])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_game_that_was_played_before_is_new_where_chance_played(
    games_repeat: bool, backwards: bool
) -> None:
    """The third pair repeats the first, and so does a game of the fourth; the fifth has the moves
    of the second with the colours changed."""
    games = [([1, 2], [1, 3]), ([4], [5]), ([1, 2], [1, 3]), ([1, 2], [1, 4]), ([5], [4])]
    tally = PairTally(games_repeat=games_repeat)
    numbers = range(10)
    for number in reversed(numbers) if backwards else numbers:
        tally.add(number, 1.0, games[number // 2][number % 2])
    independent = 3 if games_repeat else 5
    assert tally.counts == (0, 0, 0, 0, 5)
    assert tally.ordered == (0, 0, 0, 0, independent)
    assert tally.independent == independent
    assert tally.distinct == 4


class Dumb(Player):
    """Loses by a move that there is not."""

    name = "dumb"

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        return Choice(move=0)


def test_a_game_that_comes_to_a_position_of_an_earlier_one_is_played_already() -> None:
    """Two ways to one position: the players, who see the position alone, play the same rest."""
    variant = get_variant("hexapawn4x4")
    a, b = (
        make_player(name, variant, rng=np.random.default_rng(0))
        for name in ("alphabeta:2", "minimax:2")
    )
    pairs = [(play_game(a, b, variant), play_game(b, a, variant))]
    line = pairs[0][0].record.moves
    opening = transposed(variant, line[:3])
    assert opening != line[:3]
    pairs.append((play_game(a, b, variant, opening), play_game(b, a, variant, opening)))
    again = pairs[1][0]
    assert again.record.moves[3:] == line[3:]
    # From a position that no game has come to.
    fresh = next(
        first
        for first in Position(variant).legal_moves
        if first not in (pairs[0][0].record.moves[0], pairs[0][1].record.moves[0])
    )
    pairs.append((play_game(a, b, variant, (fresh,)), play_game(b, a, variant, (fresh,))))
    tally = PairTally(games_repeat=True)
    for number, game in enumerate(game for pair in pairs for game in pair):
        tally.add(number, game.points, game.record.moves, game.continuations())
    assert sum(tally.counts) == tally.distinct == 3
    assert tally.independent == sum(tally.ordered) == 2
    numbered = [
        replace(game, number=number, colour=number % 2)
        for number, game in enumerate(game for pair in pairs for game in pair)
    ]
    assert summarise(numbered, games_repeat=True).independent_pairs == 2
    assert summarise(numbered, games_repeat=False).independent_pairs == 3


def transposed(variant: Variant, moves: Sequence[int]) -> tuple[int, ...]:
    """The moves in another order, to the same position."""

    def after(order: Sequence[int]) -> bytes:
        position = Position(variant)
        for move in order:
            if move not in position.legal_moves:
                return b""
            position.push(move)
        return position.row.tobytes()

    ways = (order for order in permutations(moves) if after(order) == after(moves))
    return next(order for order in ways if order != tuple(moves))


def test_a_position_with_another_clock_has_the_same_continuation() -> None:
    variant = get_variant("gardner")

    def played(text: str) -> list[int]:
        position = Position(variant)
        for word in text.split():
            position.push_uci(word)
        game = play_game(Dumb(), Dumb(), variant, tuple(position.move_stack))
        return replace(game, opening_plies=0).continuations()

    once, back = played("a2a3"), played("b1c3 b5a3 c3b1 a3b5 a2a3")
    assert (len(once), len(back)) == (2, 6)
    assert back[4:] == once
    assert back[0] not in once
    # Another way on from there is another game.
    assert not set(once) & set(played("c2c3"))


def depths(openings: list[tuple[int, ...]]) -> dict[int, int]:
    return dict(Counter(map(len, openings)))


def open_positions(name: str, plies: int) -> int:
    """How many unfinished positions there are after so many plies, counted from all sequences."""
    level: dict[tuple[int, ...], Position] = {(): Position(get_variant(name))}
    for _ in range(plies):
        after = {}
        for position in level.values():
            for move in position.legal_moves:
                child = position.copy()
                child.push(move)
                after[tuple(child.move_stack)] = child
        level = after
    return len({each.row.tobytes() for each in level.values() if each.legal_moves})


def test_openings_that_do_not_repeat_grow_longer_until_none_are_left() -> None:
    variant = get_variant("hexapawn")
    found = list(random_openings(variant, 0, np.random.default_rng(1), repeat=False))
    assert depths(found) == {plies: open_positions("hexapawn", plies) for plies in range(7)}
    rows = set()
    for opening in found:
        position = Position(variant)
        for move in opening:
            position.push(move)
        assert position.legal_moves
        rows.add(position.row.tobytes())
    assert len(rows) == len(found)
    assert [len(opening) for opening in found] == sorted(map(len, found))


def test_longer_openings_follow_those_of_the_same_seed() -> None:
    gardner, seed = get_variant("gardner"), 3
    repeating = islice(random_openings(gardner, 2, np.random.default_rng(seed)), 53)
    openings = random_openings(gardner, 2, np.random.default_rng(seed), repeat=False)
    assert list(islice(openings, 53)) == list(repeating)
    longer = list(islice(openings, 458))
    assert depths(longer) == {3: open_positions("gardner", 3)} == {3: 458}


def test_a_long_opening_is_no_likelier_for_the_ways_that_lead_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After three plies of Hexapawn 4x4 there are 42 positions at the end of 66 sequences; of those
    that two sequences lead to no more are drawn."""
    monkeypatch.setattr(openings, "_MOST_LISTED", 20)
    variant, drawn = get_variant("hexapawn4x4"), Counter[bytes]()
    for seed in range(300):
        source = random_openings(variant, 2, np.random.default_rng(seed), repeat=False)
        for opening in islice(source, 16, 36):
            assert len(opening) == 3
            position = Position(variant)
            for move in opening:
                position.push(move)
            drawn[position.row.tobytes()] += 1
    assert len(drawn) == 42
    assert chisquare(list(drawn.values())).pvalue > 0.01


def test_a_sample_of_openings_without_repeats_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first depth of a large game, which is not listed."""
    monkeypatch.setattr(openings, "_MOST_LISTED", 5)
    variant = get_variant("hexapawn")
    found = list(random_openings(variant, 3, np.random.default_rng(0), repeat=False))
    assert len(set(found)) == len(found)
    counted = depths(found)
    # The three positions after six plies are rare, and a sample may miss one.
    assert 1 <= counted.pop(6) <= 3
    assert counted == {plies: open_positions("hexapawn", plies) for plies in range(3, 6)}


def test_repeated_pairs_widen_the_interval() -> None:
    pairs = [5, 10, 30, 35, 20]
    wins, draws, losses = 20 * 2 + 35 + 15, 10 + 30 + 35, 200 - 90 - 75
    once = elo_difference(wins, draws, losses, pairs)
    assert elo_difference(wins, draws, losses, pairs, 100) == once
    quarter = elo_difference(wins, draws, losses, pairs, 25)
    assert quarter.elo == once.elo
    assert (quarter.high - quarter.low) / (once.high - once.low) == pytest.approx(2.0, rel=0.05)


def pair_shares(advantage: float, bias: float, drawn: float) -> Shares:
    """Chances [5] of the pair scores whose mean is that of so much Elo.

    The openings favour one side by `bias` Elo; `drawn` is the share of games drawn, as far as the
    scores allow it.
    """
    score = expected_score(advantage)
    reach = min(score, 1 - score)
    tilt = reach * 2 * abs(expected_score(bias) - 0.5)
    halves = []
    for mean in (score + tilt, score - tilt):
        draw = drawn * 2 * min(mean, 1 - mean)
        halves.append([1 - mean - draw / 2, draw, mean - draw / 2])
    return np.convolve(halves[0], halves[1])


def test_the_planted_pairs_have_the_planted_mean() -> None:
    for advantage in (-100.0, 0.0, 40.0):
        shares = pair_shares(advantage, 200.0, 0.5)
        assert shares.sum() == pytest.approx(1)
        assert elo_of_score(float(shares @ PAIR_SCORES)) == pytest.approx(advantage)


@pytest.mark.parametrize("pairs", [(3, 10, 20, 12, 5), (0, 0, 10, 0, 0), (1, 2, 3, 40, 50)])
@pytest.mark.parametrize(("elo0", "elo1"), [(0.0, 10.0), (-30.0, 60.0)])
def test_the_ratio_is_that_of_the_best_fits(
    pairs: tuple[int, ...], elo0: float, elo1: float
) -> None:
    """Against a general optimiser under the constraint on the mean."""
    counts = np.maximum(np.array(pairs, dtype=np.float64), 1e-3)

    def best_fit(elo: float) -> float:
        def misfit(logits: Shares) -> float:
            return -float(counts @ (logits - np.logaddexp.reduce(logits)))

        def miss(logits: Shares) -> float:
            shares = np.exp(logits - np.logaddexp.reduce(logits))
            return float(shares @ PAIR_SCORES) - expected_score(elo)

        start = np.log(counts / counts.sum())
        found = minimize(
            misfit,
            start,
            constraints={"type": "eq", "fun": miss},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-13},
        )
        return -float(found.fun)

    expected = best_fit(elo1) - best_fit(elo0)
    assert Sprt(elo0=elo0, elo1=elo1).ratio(pairs) == pytest.approx(expected, abs=2e-3, rel=2e-3)


def test_the_ratio_turns_with_the_sides() -> None:
    test = Sprt(elo0=-10, elo1=10)
    assert test.ratio((0, 0, 0, 0, 0)) == 0.0
    assert test.ratio((2, 5, 9, 5, 2)) == pytest.approx(0, abs=1e-9)
    assert test.ratio((1, 2, 3, 4, 5)) == pytest.approx(-test.ratio((5, 4, 3, 2, 1)))
    assert test.ratio((1, 2, 3, 4, 5)) > 0


def test_many_pairs_agree_with_the_normal_approximation() -> None:
    """Van den Bergh's formula for bounds that lie close: N (s1 - s0)(2 s - s0 - s1) / (2 σ²)."""
    pairs = (500, 2000, 4100, 2200, 600)
    total = sum(pairs)
    mean = float(np.dot(pairs, PAIR_SCORES)) / total
    variance = float(np.dot(pairs, (np.array(PAIR_SCORES) - mean) ** 2)) / total
    score0, score1 = expected_score(2.0), expected_score(6.0)
    expected = total * (score1 - score0) * (2 * mean - score0 - score1) / (2 * variance)
    assert Sprt(elo0=2, elo1=6).ratio(pairs) == pytest.approx(expected, rel=0.01)


def test_wald_s_bounds() -> None:
    test = Sprt(elo0=0, elo1=5)
    assert (test.lower, test.upper) == pytest.approx((-2.944, 2.944), abs=1e-3)
    uneven = Sprt(elo0=0, elo1=5, alpha=0.01, beta=0.2)
    assert uneven.upper == pytest.approx(math.log(80))
    assert uneven.lower == pytest.approx(math.log(0.2 / 0.99))


elos = st.floats(-1e308, 1e308) | st.floats(-2000, 2000) | st.sampled_from([1e4, -1e4, 0.0])


@given(st.lists(st.integers(0, 20_000), min_size=5, max_size=5), elos, elos, st.floats(1e-9, 0.4))
def test_the_test_mirrors_where_the_players_change_places(
    pairs: list[int], one: float, other: float, alpha: float
) -> None:
    """SPRT(A, B, e0, e1) and SPRT(B, A, -e1, -e0), for any differences and results."""
    elo0, elo1 = sorted((one, other))
    assume(elo0 < elo1)
    test = Sprt(elo0=elo0, elo1=elo1, alpha=alpha)
    turned = Sprt(elo0=-elo1, elo1=-elo0, beta=alpha)
    ratio = test.ratio(pairs)
    assert math.isfinite(ratio)
    assert turned.ratio(pairs[::-1]) == pytest.approx(-ratio, rel=1e-6, abs=1e-6)
    assert turned.upper == pytest.approx(-test.lower)


def test_differences_that_round_to_certainty() -> None:
    """10,000 Elo expect a score whose distance to 1 is below the rounding of 1."""
    drawn = (0, 0, 1, 0, 0)
    assert Sprt(elo0=0, elo1=10_000).verdict(drawn) == Verdict.H0
    assert Sprt(elo0=-10_000, elo1=0).verdict(drawn) == Verdict.H1
    assert Sprt(elo0=-1e308, elo1=1e308).ratio(drawn) == pytest.approx(0, abs=1e-6)
    # The likelihood falls by 10 for each 400 Elo: all games are won and lost beyond doubt.
    ratios = [Sprt(elo0=0, elo1=elo).ratio(drawn) for elo in (8000.0, 8400.0)]
    assert ratios[0] - ratios[1] == pytest.approx(math.log(10), rel=1e-2)
    assert Sprt(elo0=0, elo1=10, alpha=1e-320, beta=1e-320).upper < math.inf


@pytest.mark.parametrize(
    ("numbers", "quoted"),
    [
        ({"elo0": 5, "elo1": 5}, "--sprt 5 5"),
        ({"elo0": 5, "elo1": -5}, "--sprt 5 -5"),
        ({"elo0": math.nan, "elo1": 5}, "--sprt nan 5"),
        ({"elo0": 0, "elo1": math.inf}, "--sprt 0 inf"),
        ({"elo0": 0, "elo1": 5, "alpha": 0.0}, "--alpha 0"),
        ({"elo0": 0, "elo1": 5, "beta": 0.5}, "--beta 0.5"),
    ],
)
def test_what_is_no_test_is_refused(numbers: dict[str, float], quoted: str) -> None:
    with pytest.raises(InputError, match=quoted):
        Sprt(**numbers)


@pytest.mark.parametrize(("bias", "drawn"), [(0.0, 0.0), (200.0, 0.4)])
@pytest.mark.parametrize(("advantage", "wrong"), [(0.0, Verdict.H1), (60.0, Verdict.H0)])
def test_the_test_errs_as_seldom_as_it_says(
    advantage: float, wrong: Verdict, bias: float, drawn: float
) -> None:
    """200 matches of planted strength: 5 % may end with the wrong verdict."""
    rng, test = np.random.default_rng(1), Sprt(elo0=0, elo1=60)
    shares = pair_shares(advantage, bias, drawn)
    verdicts = []
    for _ in range(200):
        counts = [0] * 5
        for played, outcome in enumerate(rng.choice(5, size=2000, p=shares), start=1):
            counts[outcome] += 1
            # Looking at every fourth pair is quicker and changes little.
            if played % 4 == 0 and test.verdict(counts) != Verdict.UNDECIDED:
                break
        verdicts.append(test.verdict(counts))
    assert Verdict.UNDECIDED not in verdicts
    # Two standard errors above five per cent.
    assert verdicts.count(wrong) / len(verdicts) <= 0.082


@pytest.mark.parametrize(("advantage", "wrong"), [(0.0, Verdict.H1), (100.0, Verdict.H0)])
def test_players_of_chance_who_repeat_themselves_are_judged_by_all_their_pairs(
    advantage: float, wrong: Verdict
) -> None:
    """200 matches on a board so small that each game is one of a few: likely scores come in few
    games, unlikely ones in many, so that the games that differ are not as the games are."""
    rng, test = np.random.default_rng(4), Sprt(elo0=0, elo1=100)
    shares = pair_shares(advantage, 0.0, 0.0)
    verdicts = []
    for _ in range(200):
        tally = PairTally(games_repeat=False)
        for pair, outcome in enumerate(rng.choice(5, size=400, p=shares)):
            game = [int(outcome), int(rng.integers(1 + 50 * (outcome == 4)))]
            for half in (0, 1):
                tally.add(2 * pair + half, PAIR_SCORES[outcome], [half, *game])
            if pair % 4 == 0 and test.verdict(tally.ordered) != Verdict.UNDECIDED:
                break
        verdicts.append(test.verdict(tally.ordered))
    assert Verdict.UNDECIDED not in verdicts
    assert verdicts.count(wrong) / len(verdicts) <= 0.082
