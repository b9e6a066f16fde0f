"""Exact concepts against a dull solver that plays every game to its end on the naive rules."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from engine.probing.concepts.beyond_rules import exact
from engine.probing.concepts.facts.forced_lines import NOT_FORCED, best_squares, forced_lines
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels, label
from engine.probing.data.canonical import Rows
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from search.exact.solver import solve
from tests.support.network.probing_cases import mirrored
from tests.support.rules.naive_rules import Game, other, start
from tests.support.rules.naive_variant import rules_of
from tests.support.search.solver_cases import Known, explore, known_positions, row_of, strange_game
from training.evaluation.labels.exact import SolutionTruth

SMALL = ["hexapawn", "hexapawn4x3", "hexapawn2x5", "passing", "kinds", "giveaway", "promoting"]
STRANGE = ("passing", "kinds", "giveaway", "promoting")


@cache
def variant_of(name: str) -> Variant:
    return strange_game(name) if name in STRANGE else get_variant(name)


@cache
def truth_of(name: str) -> SolutionTruth:
    return SolutionTruth(solve(variant_of(name)))


@cache
def unfinished(name: str) -> dict[str, Known]:
    """By the first four fields of the FEN."""
    return {text: at for text, at in known_positions(variant_of(name)).items() if at.moves}


def rows_of(name: str) -> Rows:
    return np.stack([row_of(variant_of(name), text) for text in unfinished(name)])


def labels_of(concept: Concept, name: str) -> Labels:
    return concept.labels(rows_of(name), variant_of(name), truth=truth_of(name))


def keeping(at: Known) -> list[str]:
    return [move for move, (value, _) in at.moves.items() if value == at.value]


# The definitions once more, in plain words about one position.
DEFINITIONS: dict[Concept, Callable[[Known], float]] = {
    exact.game_value: lambda at: at.value,
    exact.distance: lambda at: at.distance,
    exact.moves_to_win: lambda at: -(-at.distance // 2) if at.value == 1 else np.nan,
    exact.winning_moves: lambda at: sum(value == 1 for value, _ in at.moves.values()),
    exact.keeping_moves: lambda at: len(keeping(at)),
    exact.difficulty: lambda at: 1 - len(keeping(at)) / len(at.moves),
    exact.only_move: lambda at: len(keeping(at)) == 1 < len(at.moves),
}


@pytest.mark.parametrize("name", SMALL)
def test_results_and_counts_of_moves_are_those_of_a_dull_solver(name: str) -> None:
    for concept, definition in DEFINITIONS.items():
        wanted = [float(definition(at)) for at in unfinished(name).values()]
        np.testing.assert_array_equal(labels_of(concept, name), wanted, concept.name)


def passed(name: str, text: str) -> Game:
    """The position with the other side to move."""
    variant = variant_of(name)
    game = start(rules_of(variant.ini(), variant.name), f"{text} 0 1")
    return replace(game, side=other(game.side), passed=None)


@pytest.mark.parametrize("name", SMALL)
def test_null_moves_are_solved_however_unreachable_what_follows_is(name: str) -> None:
    known: dict[str, Known] = dict(known_positions(variant_of(name)))
    replies = [explore(passed(name, text), known) for text in unfinished(name)]
    values = [at.value for at in unfinished(name).values()]
    gains = [-reply.value - value for reply, value in zip(replies, values, strict=True)]
    assert len(known) > len(known_positions(variant_of(name)))
    for concept, sign in ((exact.zugzwang, 1), (exact.threat, -1)):
        wanted = [float(sign * gain > 0) for gain in gains]
        assert labels_of(concept, name).tolist() == wanted, concept.name
    found = truth_of(name).null_moves(rows_of(name))
    assert found.values.tolist() == [-reply.value for reply in replies]
    assert found.distances.tolist() == [reply.distance + 1 for reply in replies]


def test_the_start_of_3x3_is_its_only_zugzwang() -> None:
    """Whoever moves first loses: for White, who does, the start is zugzwang.

    3 |  p  p  p
    2 |  .  .  .
    1 |  P  P  P
         a  b  c
    """
    labels = labels_of(exact.zugzwang, "hexapawn")
    found = [text for text, label in zip(unfinished("hexapawn"), labels, strict=True) if label]
    assert found == ["ppp/3/PPP w - -"]


def forced(name: str, text: str, at: Known) -> Iterator[str]:
    """The moves of the forced line from a position, as UCI text."""
    variant = variant_of(name)
    for ply in range(5):
        best = (at.value, at.distance)
        moves = keeping(at) if ply % 2 == 0 else [m for m, v in at.moves.items() if v == best]
        if len(moves) != 1:
            return
        yield moves[0]
        position = Position(variant, f"{text} 0 1")
        position.push_uci(moves[0])
        text = " ".join(position.fen().split()[:4])
        at = known_positions(variant)[text]


def seen_square(text: str, variant: Variant, black: bool) -> int:
    file, rank = "abcdefgh".index(text[0]), int(text[1]) - 1
    return (variant.height - 1 - rank if black else rank) * variant.width + file


@pytest.mark.parametrize("name", SMALL)
def test_forced_lines_are_followed_move_by_move(name: str) -> None:
    variant = variant_of(name)
    positions = Positions(rows_of(name), variant, truth_of(name))
    lines = forced_lines(positions)
    longest = 0
    for index, (text, at) in enumerate(unfinished(name).items()):
        moves = list(forced(name, text, at))
        longest = max(longest, len(moves))
        black = text.split()[1] == "b"
        for found, place in ((lines.from_squares, 0), (lines.to_squares, 2)):
            wanted = [seen_square(move[place : place + 2], variant, black) for move in moves]
            wanted += [NOT_FORCED] * (5 - len(moves))
            assert found[index].tolist() == wanted, text
    assert longest >= 3


def test_a_forced_line_on_the_board() -> None:
    """Black has one move that wins, White one reply, and then Black arrives.

    3 |  .  p  p          3 |  .  p  .          3 |  .  p  .
    2 |  .  P  .   c3-c2  2 |  .  P  p   a1-a2  2 |  P  P  p   c2-c1
    1 |  P  .  .          1 |  P  .  .          1 |  .  .  .
         a  b  c               a  b  c               a  b  c

    Black sees the board from the other side: c3 is the last square of its first rank, number 2.
    """
    variant = get_variant("hexapawn")
    row = Position(variant, "1pp/1P1/P2 b - - 0 1").row
    lines = forced_lines(Positions(row[None], variant, truth_of("hexapawn")))
    assert lines.from_squares[0].tolist() == [2, 6, 5, NOT_FORCED, NOT_FORCED]
    assert lines.to_squares[0].tolist() == [5, 3, 8, NOT_FORCED, NOT_FORCED]


@pytest.mark.parametrize("name", ["hexapawn4x3", "hexapawn2x5", "passing"])
def test_squares_of_best_moves_are_marked_where_the_line_is_forced(name: str) -> None:
    variant = variant_of(name)
    positions = Positions(rows_of(name), variant, truth_of(name))
    for concept, ply in (
        (exact.best_target, 0),
        (exact.target_in_two, 2),
        (exact.target_in_four, 4),
    ):
        squares, mask = best_squares(positions, ply)
        labels = labels_of(concept, name)
        assert np.isnan(labels[~mask]).all()
        assert (labels[mask].sum(axis=1) == 1).all()
        assert (labels[mask].argmax(axis=1) == squares[mask]).all()
    sources, mask = best_squares(positions, 0, part="from")
    labels = labels_of(exact.best_source, name)
    assert (labels[mask].argmax(axis=1) == sources[mask]).all()
    assert positions.mine.reshape(len(positions), -1)[mask, sources[mask]].all()


@pytest.mark.parametrize("name", ["hexapawn4x3", "hexapawn2x5"])
def test_symmetric_positions_have_the_labels_of_their_images(name: str) -> None:
    variant, rows = variant_of(name), rows_of(name)
    concepts = tuple(value for value in vars(exact).values() if isinstance(value, Concept))
    assert len(concepts) >= 13
    labels = label(concepts, rows, variant, truth=truth_of(name))
    sides = np.stack([mirrored(row, variant) for row in rows])
    images = label(concepts, sides, variant, truth=truth_of(name))
    for concept in concepts:
        wanted = labels[concept.name]
        if concept.per_square:
            board = wanted.reshape(-1, variant.height, variant.width)
            wanted = board[:, :, ::-1].reshape(len(rows), -1)
        np.testing.assert_array_equal(images[concept.name], wanted, concept.name)


def test_whoever_moves_first_loses_on_3x3() -> None:
    variant = get_variant("hexapawn")
    starts = ("ppp/3/PPP w - - 0 1", "ppp/1P1/P1P b - - 0 1")
    rows = np.stack([Position(variant, fen).row for fen in starts])
    value = exact.game_value
    assert value.labels(rows, variant, truth=truth_of("hexapawn")).tolist() == [-1, 1]
    assert [value.class_name(label) for label in (1.0, 0.0, -1.0)] == ["win", "draw", "loss"]


def test_labels_do_not_depend_on_how_many_are_found_at_once() -> None:
    rows, variant = rows_of("hexapawn4x3"), get_variant("hexapawn4x3")
    concepts = (exact.zugzwang, exact.target_in_two, exact.only_move)
    truth = truth_of("hexapawn4x3")
    whole = label(concepts, rows, variant, truth=truth)
    for name, labels in label(concepts, rows, variant, truth=truth, chunk=17).items():
        np.testing.assert_array_equal(labels, whole[name])


def test_without_exact_results_the_reason_is_given() -> None:
    variant = get_variant("gardner")
    for concept in (value for value in vars(exact).values() if isinstance(value, Concept)):
        with pytest.raises(ConceptUndefinedError, match="gardner is not solved"):
            concept.labels(variant.start_row[None], variant)
