"""The ladder: ratings that find planted strengths, and a pool that survives whatever happens."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.player import Player
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.players.make import make_player
from training.data.run_directory import RunError
from training.evaluation.elo import elo_difference, expected_score
from training.evaluation.ladder import (
    LadderGame,
    LadderGames,
    LadderPlan,
    ladder_ratings,
    missing_pairing,
    play_pairing,
)
from training.evaluation.pentanomial import PairCounts
from training.evaluation.ratings import Pairing, fit_ratings

HEXAPAWN = get_variant("hexapawn4x4")


def pairing(a: str, b: str, pairs: PairCounts, distinct: int | None = None) -> Pairing:
    """Pairs of games; a pair of one point is two draws."""
    return Pairing(
        a=a,
        b=b,
        wins=2 * pairs[4] + pairs[3],
        draws=pairs[1] + 2 * pairs[2] + pairs[3],
        losses=2 * pairs[0] + pairs[1],
        pairs=pairs,
        distinct_pairs=sum(pairs) if distinct is None else distinct,
        independent_pairs=sum(pairs) if distinct is None else distinct,
    )


def test_two_players_rate_as_in_a_match() -> None:
    pairs = (4, 11, 30, 25, 10)
    found = fit_ratings([pairing("b", "a", pairs)], "a")
    match = elo_difference(45, 96, 19, pairs)
    assert found["b"].elo == pytest.approx(match.elo)
    assert found["b"].low == pytest.approx(match.low, abs=2)
    assert found["b"].high == pytest.approx(match.high, abs=2)
    assert (found["a"].elo, found["a"].low, found["a"].high) == (0, 0, 0)
    assert found["a"].games == found["b"].games == 160
    turned = fit_ratings([pairing("b", "a", pairs)], "b")
    assert turned["a"].elo == pytest.approx(-found["b"].elo)


def test_consistent_scores_are_fitted_exactly() -> None:
    """Odds that multiply: 3 to 1 and 3 to 1 make 9 to 1."""
    games = [pairing("b", "a", (0, 0, 10, 0, 10)), pairing("c", "b", (0, 0, 10, 0, 10))]
    found = fit_ratings(games, "a")
    one = 400 * np.log10(3)
    assert found["b"].elo == pytest.approx(one)
    assert found["c"].elo == pytest.approx(2 * one)
    assert found["c"].high - found["c"].low > found["b"].high - found["b"].low
    agreed = [*games, pairing("c", "a", (2, 0, 0, 0, 18))]
    assert fit_ratings(agreed, "a")["c"].elo == pytest.approx(2 * one)
    # A third way to know it narrows the interval.
    width = found["c"].high - found["c"].low
    again = fit_ratings(agreed, "a")["c"]
    assert again.high - again.low < width


def test_whoever_wins_everything_has_a_rating() -> None:
    found = fit_ratings(
        [pairing("b", "a", (0, 0, 0, 0, 10)), pairing("c", "b", (9, 0, 0, 0, 0))], "a"
    )
    assert 300 < found["b"].elo < 1000
    assert found["b"].low < found["b"].elo < found["b"].high
    assert found["c"].elo < found["b"].elo
    assert np.isfinite([found["c"].low, found["c"].high]).all()


def test_who_never_met_the_others_is_not_rated() -> None:
    games = [pairing("b", "a", (1, 1, 1, 1, 1)), pairing("d", "c", (1, 1, 1, 1, 1))]
    assert set(fit_ratings(games, "a")) == {"a", "b"}
    assert set(fit_ratings([], "a")) == {"a"}


def test_repeated_pairs_widen_a_rating() -> None:
    once = fit_ratings([pairing("b", "a", (4, 11, 30, 25, 10))], "a")["b"]
    same = fit_ratings([pairing("b", "a", (4, 11, 30, 25, 10), distinct=20)], "a")["b"]
    assert same.elo == pytest.approx(once.elo)
    assert (same.high - same.low) / (once.high - once.low) == pytest.approx(2, rel=0.1)
    often, alone = (
        fit_ratings([pairing("b", "a", (0, 0, 0, 0, n), distinct=1)], "a")["b"] for n in (50, 1)
    )
    assert (often.low, often.elo, often.high) == pytest.approx((alone.low, alone.elo, alone.high))


@given(
    st.lists(
        st.tuples(*[st.integers(0, 10**5)] * 5, st.floats(0, 1)).filter(lambda p: sum(p[:5]) > 0),
        min_size=3,
        max_size=3,
    ),
)
def test_ratings_are_finite_and_turn_with_the_sides(
    played: list[tuple[int, int, int, int, int, float]],
) -> None:
    """Any results of three players who all meet, of which any number repeat others."""
    names, found = [("b", "a"), ("c", "b"), ("c", "a")], []
    for turned in (False, True):
        games = []
        for (one, other), (*counts, share) in zip(names, played, strict=True):
            distinct = max(1, round(share * sum(counts)))
            pairs: PairCounts = tuple(counts[::-1] if turned else counts)
            games.append(pairing(*((other, one) if turned else (one, other)), pairs, distinct))
        found.append(fit_ratings(games, "a"))
    for name in "abc":
        here, there = (ratings[name] for ratings in found)
        assert np.isfinite([here.low, here.elo, here.high]).all()
        assert here.low <= here.elo <= here.high
        assert (there.low, there.elo, there.high) == pytest.approx(
            (here.low, here.elo, here.high), rel=1e-4, abs=1e-3
        )


@pytest.mark.parametrize(
    ("one", "other", "independent"),
    [
        ("alphabeta:1", "minimax:2", 1),
        ("gumbel:64@00000012", "policy", 1),
        ("alphabeta:1", "uct:1000", 5),
        ("random", "perfect", 5),
        ("mcts:4@12", "uci:x:nodes=1", 5),
    ],
)
def test_games_count_once_between_those_who_have_no_chance(
    pool: LadderGames, one: str, other: str, independent: int
) -> None:
    """The same moves in five pairs of kept games."""
    for number in range(10):
        colour = "black" if number % 2 else "white"
        a, b = sorted((one, other))
        pool.add(
            LadderGame(
                a=a,
                b=b,
                number=number,
                colour=colour,
                points=float(colour == "white"),
                ending="normal",
                reason="",
                moves="a1a2" if colour == "white" else "c1c2",
            )
        )
    (found,) = pool.pairings()
    assert found.pairs == (0, 0, 5, 0, 0)
    assert (found.distinct_pairs, found.independent_pairs) == (1, independent)
    width = fit_ratings([found], found.a)[found.b]
    alone = fit_ratings([pairing(found.b, found.a, (0, 0, 5, 0, 0), independent)], found.a)
    assert width.high - width.low == pytest.approx(alone[found.b].high - alone[found.b].low)


def test_the_intervals_hold_planted_strengths() -> None:
    """Five players; each meets the next two in 20 pairs whose openings favour one side."""
    rng, matches = np.random.default_rng(2), 200
    planted = [0.0, 150.0, 300.0, 450.0, 700.0]
    held = np.zeros(5)
    for _ in range(matches):
        games = []
        for a in range(5):
            for b in range(a + 1, min(a + 3, 5)):
                score = expected_score(planted[a] - planted[b])
                tilt = 0.3 * min(score, 1 - score)
                wins = rng.random((20, 2)) < np.array([score + tilt, score - tilt])
                counts = np.bincount(wins.sum(axis=1), minlength=3)
                pairs = (int(counts[0]), 0, int(counts[1]), 0, int(counts[2]))
                # One point of a pair stands for two draws there: the score is the same.
                games.append(pairing(str(a), str(b), pairs))
        found = fit_ratings(games, "0")
        held += [found[str(i)].low <= elo <= found[str(i)].high for i, elo in enumerate(planted)]
    assert held[0] == matches
    assert (held / matches >= 0.915).all()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path


def make(name: str, rng: np.random.Generator) -> Player:
    """Checkpoints of these tests are alpha-beta at the depth behind their @."""
    spec = f"alphabeta:{name[-1]}" if "@" in name else name
    player = make_player(spec, HEXAPAWN, rng=rng)
    player.name = name
    return player


PLAN = LadderPlan(
    checkpoints=["c@1", "c@2", "c@4"],
    anchors=["random", "minimax:1", "alphabeta:3"],
    zero="random",
    games=4,
)


def climb(pool: LadderGames, plan: LadderPlan = PLAN, most: int | None = None) -> list[LadderGame]:
    """Play what is missing, or `most` games of it."""
    played: list[LadderGame] = []
    while found := missing_pairing(pool, plan):
        games = play_pairing(pool, *found, games=plan.games, make=make)
        for game in games:
            played.append(game)
            if len(played) == most:
                games.close()
                return played
    return played


@pytest.fixture
def pool(run: Path) -> Iterator[LadderGames]:
    opened = LadderGames(run, HEXAPAWN)
    yield opened
    opened.close()


def test_players_of_a_resumed_pairing_draw_anew(pool: LadderGames) -> None:
    drawn: list[float] = []

    def note(name: str, rng: np.random.Generator) -> Player:
        drawn.append(float(rng.random()))
        return make(name, rng)

    for most in (1, 2):
        games = play_pairing(pool, "a@1", "b@1", games=4, make=note)
        for _ in zip(range(most), games, strict=False):
            pass
        games.close()
    assert len(set(drawn)) == len(drawn) == 4


def test_a_ladder_is_climbed_once(pool: LadderGames, run: Path) -> None:
    played = climb(pool)
    met = {(game.a, game.b) for game in played}
    for one, other in [("minimax:1", "random"), ("alphabeta:3", "minimax:1"), ("c@2", "c@1")]:
        assert tuple(sorted((one, other))) in met
    # Every checkpoint met two anchors, the last all three.
    for name, least in (("c@1", 2), ("c@2", 2), ("c@4", 3)):
        assert sum(tuple(sorted((name, anchor))) in met for anchor in PLAN.anchors) == least
    assert len(played) == 4 * len(met) == len((run / "ladder.jsonl").read_text().splitlines())
    assert climb(pool) == []
    ratings = ladder_ratings(pool, PLAN)
    assert {rating.name for rating in ratings} == {*PLAN.checkpoints, *PLAN.anchors}
    assert [rating.elo for rating in ratings] == sorted(rating.elo for rating in ratings)
    assert sum(rating.games for rating in ratings) == 2 * len(played)


def test_the_games_are_games(pool: LadderGames) -> None:
    variant = HEXAPAWN
    for game in climb(pool):
        position = Position(variant)
        for word in game.moves.split():
            position.push_uci(word)
        outcome = position.outcome()
        assert outcome is not None
        own = 0 if game.colour == "white" else 1
        assert game.points == (outcome.value(own) + 1) / 2
        assert (game.colour == "white") == (game.number % 2 == 0)
    for one in pool.games():
        if one.number % 2 == 0:
            other = next(
                g
                for g in pool.games()
                if (g.a, g.b) == (one.a, one.b) and g.number == one.number + 1
            )
            assert one.moves.split()[:2] == other.moves.split()[:2]


def test_an_interrupted_ladder_goes_on(tmp_path: Path) -> None:
    """Broken off after each number of games, in the middle of a line too."""
    (tmp_path / "whole").mkdir()
    whole = LadderGames(tmp_path / "whole", HEXAPAWN)
    climb(whole)
    expected = {(game.a, game.b, game.number): game.moves[:9] for game in whole.games()}
    whole.close()
    for most in (3, 14):
        run = tmp_path / str(most)
        run.mkdir()
        first = LadderGames(run, HEXAPAWN)
        kept = climb(first, most=most)
        first.close()
        with (run / "ladder.jsonl").open("a") as file:
            file.write('{"a": "c@1", "b": "ran')
        second = LadderGames(run, HEXAPAWN)
        assert second.games() == kept
        later = climb(second)
        assert not {(g.a, g.b, g.number) for g in kept} & {(g.a, g.b, g.number) for g in later}
        # The opening of a game is that of the ladder which nobody interrupted.
        found = {(game.a, game.b, game.number): game.moves[:9] for game in second.games()}
        assert {key[2] for key in found} == {key[2] for key in expected}
        for key in found.keys() & expected.keys():
            assert found[key][:4] == expected[key][:4]
        assert missing_pairing(second, PLAN) is None
        second.close()


def test_a_run_that_goes_on_plays_its_new_checkpoint_alone(pool: LadderGames) -> None:
    climb(pool)
    longer = LadderPlan(
        checkpoints=[*PLAN.checkpoints, "c@5"], anchors=PLAN.anchors, zero="random", games=4
    )
    later = climb(pool, longer)
    assert later
    assert all("c@5" in (game.a, game.b) for game in later)
    more = LadderPlan(checkpoints=PLAN.checkpoints, anchors=PLAN.anchors, zero="random", games=6)
    assert {game.number for game in climb(pool, more)} == {4, 5}


def test_games_that_come_to_one_position_count_once(run: Path) -> None:
    """Deterministic players play on from there as before; random ones need not."""
    pool = LadderGames(run, get_variant("gardner"))
    # The first comes to the second's opening after four moves of its own.
    beginnings = ["b1a3 b5c3 a3b1 c3b5 a2a3 c4c3", "a2a3 c4c3"]
    for one, other, independent in [("alphabeta:2", "minimax:1", 1), ("alphabeta:2", "random", 2)]:
        for number in range(4):
            pool.add(
                LadderGame(
                    a=one, b=other, number=number, colour=("white", "black")[number % 2],
                    points=0.5, ending="normal", reason="", moves=beginnings[number // 2] + " b1c3",
                )
            )  # fmt: skip
        pairing = pool.pairings()[-1]
        assert (pairing.independent_pairs, pairing.distinct_pairs) == (independent, 2)
    pool.close()


def test_a_game_that_breaks_the_rules_is_named(run: Path) -> None:
    pool = LadderGames(run, HEXAPAWN)
    pool.add(
        LadderGame(
            a="alphabeta:2", b="minimax:1", number=0, colour="white", points=0.5, ending="normal",
            reason="", moves="a1c3",
        )
    )  # fmt: skip
    with pytest.raises(RunError, match=r"ladder\.jsonl: the move 'a1c3' is not legal"):
        pool.pairings()
    pool.close()


def test_two_at_once_are_refused(run: Path) -> None:
    first = LadderGames(run, HEXAPAWN)
    with pytest.raises(RunError, match=r"ladder\.jsonl: another"):
        LadderGames(run, HEXAPAWN)
    first.close()
    LadderGames(run, HEXAPAWN).close()


GOOD = LadderGame(
    a="a", b="b", number=0, colour="white", points=1.0, ending="normal", reason="", moves=""
)


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense", "[]", '{"a": "x"}', '{"a": 1, "what": 2}'),
        *(
            json.dumps(asdict(GOOD) | wrong)
            for wrong in ({"moves": None}, {"number": "0"}, {"points": 2}, {"colour": "red"})
        ),
    ],
)
def test_a_line_that_is_no_game_is_named(run: Path, line: str) -> None:
    pool = LadderGames(run, HEXAPAWN)
    pool.add(GOOD)
    pool.close()
    with (run / "ladder.jsonl").open("a") as file:
        file.write(line + "\n" + json.dumps({}) + "\n")
    with pytest.raises(RunError, match="line 2") as caught:
        LadderGames(run, HEXAPAWN)
    assert line[:40] in str(caught.value)
