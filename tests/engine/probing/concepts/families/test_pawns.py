"""Pawn structure on drawn boards, each with its mirror image and with the colours changed."""

import functools

import pytest

from engine.probing.concepts.pawns import (
    advancement,
    backward,
    blocked,
    connected,
    doubled,
    islands,
    isolated,
    leader,
    levers,
    majority,
    opposition,
    parity,
    passed,
    race_lost,
    race_won,
    spare_moves,
    their_breakthrough,
)
from engine.probing.concepts.registry import BothSides, Concept, ConceptUndefinedError
from engine.rules.tables import BLACK_BIT, SIDE
from engine.rules.variant import Variant, get_variant
from tests.support.concepts.boards import answers, both, drawn
from tests.support.network.probing_cases import Row, solution, solved_rows
from tests.support.training.training_cases import child_of

STRUCTURE = """
    . . . . k . . .
    p . . . . . p .
    p . . p . . . .
    . . . P p . . .
    . . . . P . . .
    . . P . . P . .
    . P P . . . . .
    . . . . K . . .
"""


@pytest.mark.parametrize(
    ("asked", "mine", "theirs"),
    [
        # No enemy pawn is ahead of c2 and c3 on b, c, d but d6; all others have one, too.
        (passed, 0, 0),
        # a7 and a6 have no neighbour, neither has g7.
        (isolated, 0, 3),
        # c2 has c3 ahead, a7 has a6.
        (doubled, 1, 1),
        # c2 by c3, e4 by e5, d5 by d6; a7 by a6, d6 by d5, e5 by e4.
        (blocked, 3, 3),
        # f3 has e4 ahead of it on the next file and f4 is attacked by e5; d6 has e5 ahead of it,
        # and d5 is attacked by e4.
        (backward, 1, 1),
        # b2 and c2 side by side, c3 and d5, e4 protected, by b2, e4 and f3; e5 by d6.
        (connected, 5, 1),
        # b to f in one; a, d and e, g.
        (islands, 1, 3),
        # No pawn attacks another: d5 looks at c6 and e6, e4 at f5, e5 at d4 and f4.
        (levers, 0, 0),
    ],
)
def test_a_middlegame(asked: BothSides, mine: int, theirs: int) -> None:
    assert both(asked, "chess", STRUCTURE) == (mine, theirs)
    assert both(asked, "chess", STRUCTURE, to_move="b") == (theirs, mine)


PASSED = """
    . . . . k
    . p . . .
    P . . P p
    . P . . .
    . . . . K
"""


def test_a_pawn_is_passed_when_no_enemy_stands_ahead_on_three_files() -> None:
    """Not b2 behind b4, not a3 beside b4's file; d3 has e3 beside and not ahead. So has e3."""
    assert both(passed, "gardner", PASSED) == (1, 1)


BACKWARD = """
    . . . . k
    p . p . .
    . P . . .
    P . . . .
    . . . . K
"""


def test_a_backward_pawn_stays_behind_and_its_next_square_is_watched() -> None:
    """a2: b3 is farther ahead and a3 is not attacked; a4: its a3 is attacked by nobody's c, but b3
    holds neither. With Black's pawn on b4 a2 may not go to a3 safely."""
    assert both(backward, "gardner", BACKWARD) == (0, 0)
    watched = BACKWARD.replace("p . p", ". p p")
    assert both(backward, "gardner", watched)[0] == 1


LEVERS = """
    p p p p
    . . P .
    . P . .
    P . . P
"""


def test_levers_attack_each_other() -> None:
    """c3 attacks b4 and d4 and is one lever; b4 and d4 attack it and are two."""
    assert both(levers, "hexapawn4x4", LEVERS) == (1, 2)


@pytest.mark.parametrize(
    ("diagram", "mine", "theirs"),
    [
        # On five files the middle one belongs to neither wing.
        (". . . . k/p p . p p/. . . . ./P P P P P/. . . . K", 0, 0),
        (". . . . k/. p . p p/. . . . ./P P . . P/. . . . K", 1, 1),
        (". . . . k/. . . p p/. . . . ./. . P . ./. . . . K", 0, 1),
    ],
)
def test_a_majority_is_of_one_wing(diagram: str, mine: int, theirs: int) -> None:
    assert both(majority, "gardner", diagram) == (mine, theirs)


def test_a_single_file_has_no_wings() -> None:
    with pytest.raises(ConceptUndefinedError, match="single file"):
        answers(majority.mine, "hexapawn1x4", "p/1/1/P w")


RACE = """
    . . . . k
    P . . . .
    . . . . p
    . . . . .
    . . . . K
"""


@pytest.mark.parametrize(
    ("diagram", "won", "lost"),
    [
        (RACE, 1, 0),
        # Two moves against two: who moves first wins.
        (RACE.replace("P . . . .", ". . . . .").replace(". . . . p", "P . . . p"), 1, 0),
        # Three against two.
        (". . . . k/. . . . ./. . . . p/P . . . ./. . . . K", 0, 1),
        # Each stands in the other's way: nobody breaks through.
        (". . . . k/. . . . p/. . . . ./. . . . P/K . . . .", 0, 0),
        # Only the opponent has a pawn.
        (". . . . k/. p . . ./. . . . ./. . . . ./. . . . K", 0, 1),
    ],
)
def test_a_race_is_won_by_counting(diagram: str, won: int, lost: int) -> None:
    fen = f"{drawn(diagram)} w"
    assert answers(race_won, "gardner", fen) == won
    assert answers(race_lost, "gardner", fen) == lost


@pytest.mark.parametrize(
    ("name", "diagram", "mine", "theirs"),
    [
        ("gardner", RACE, 1, 2),
        # The double step saves a move on 8x8 and on 4x5, not elsewhere.
        ("chess", STRUCTURE, 3, 4),
        ("silverman4x5", "r . k r/. . p ./. . . ./P . . ./R . K R", 2, 2),
        ("gardner", ". . . . k/. . p . ./. . . . ./P . . . ./. . . . K", 3, 3),
        ("breakthrough5", "p . . . ./p p . . ./. . . P ./. . . . ./P . . . .", 2, 3),
    ],
)
def test_the_leader_counts_its_moves(name: str, diagram: str, mine: int, theirs: int) -> None:
    assert both(leader, name, diagram) == (mine, theirs)


def test_without_pawns_there_is_no_leader() -> None:
    found = both(leader, "gardner", ". . . . k\n. . . . .\n. . . . .\nP . . . .\n. . . . K")
    assert found[0] == 3
    assert found[1] != found[1]


def test_pawns_without_a_goal_have_no_leader() -> None:
    variant = child_of("gardner", "nogoal", promotionPieceTypes="-")
    assert leader.mine.undefined_in(variant) == "the pawns of nogoal have nothing to gain ahead"
    uneven = child_of("gardner", "uneven", promotionRegionWhite="*4")
    assert leader.mine.undefined_in(uneven) == "the pawns of both sides of uneven differ in goal"


SPARE = """
    p . . .
    . p . .
    . . . .
    P P . P
"""


def test_spare_moves_end_at_a_piece_and_where_a_pawn_attacks() -> None:
    """White: a2 is attacked by b3, so a1 has none; b1 may go to b2; d1 goes to d2, d3, d4. Black:
    a4 may go to a3 (attacked by nobody: b1 looks at a2); b3 cannot go to b2, which a1 attacks."""
    assert both(spare_moves, "hexapawn4x4", SPARE) == (4, 1)
    assert answers(parity, "hexapawn4x4", f"{drawn(SPARE)} w") == 1


@pytest.mark.parametrize(
    ("board", "opposed"),
    [
        ("2k2/5/2K2/5/5", 1),
        ("5/5/K1k2/5/5", 1),
        ("k4/5/2K2/5/5", 0),
        ("k4/5/5/K4/5", 0),
        ("k4/2K2/5/5/5", 0),
    ],
)
def test_kings_in_opposition_face_each_other(board: str, opposed: int) -> None:
    assert answers(opposition, "gardner", f"{board} w") == opposed


def test_advancement_counts_ranks() -> None:
    assert both(advancement, "gardner", PASSED) == (2 + 2 + 1, 1 + 2)


def walks_although_late(row: Row, variant: Variant) -> bool:
    """Whether some pawn of the opponent walks straight to its last rank, whatever the side to move
    does with its pawns, which moves first; the opponent's other pawns stand still."""
    width, height = variant.width, variant.height
    mover = BLACK_BIT if row[variant.squares + SIDE] else 0

    def pawns(colour: int) -> frozenset[tuple[int, int]]:
        """(file, rank as the opponent counts it)."""
        found = [square for square in range(variant.squares) if row[square] == 7 | colour]
        ranks = [s // width if mover else height - 1 - s // width for s in found]
        return frozenset(zip((s % width for s in found), ranks, strict=True))

    walkers, guards = pawns(mover ^ BLACK_BIT), pawns(mover)

    @functools.cache
    def arrives(
        walker: tuple[int, int],
        others: frozenset[tuple[int, int]],
        guards: frozenset[tuple[int, int]],
    ) -> bool:
        """With the guards to move."""
        if walker[1] == height - 1:
            return True
        replies = [(others, guards)]
        for f, r in guards:
            rest = guards - {(f, r)}
            if r > 0 and (f, r - 1) not in guards | others | {walker}:
                replies.append((others, rest | {(f, r - 1)}))
            for target in ((f - 1, r - 1), (f + 1, r - 1)):
                if target == walker:
                    return False
                if target in others:
                    replies.append((others - {target}, rest | {target}))
        step = (walker[0], walker[1] + 1)
        return all(
            step not in still | watching and arrives(step, still, watching)
            for still, watching in replies
        )

    return any(arrives(pawn, walkers - {pawn}, guards) for pawn in walkers)


@pytest.mark.parametrize("name", ["hexapawn", "hexapawn3x4", "hexapawn4x4"])
def test_their_pawn_breaks_through_whatever_the_mover_does(name: str) -> None:
    variant, rows = get_variant(name), solved_rows(name, 3_000)
    walked = [walks_although_late(row, variant) for row in rows]
    assert their_breakthrough.labels(rows, variant).tolist() == walked
    assert len(set(walked)) == 2


@pytest.mark.parametrize(("asked", "value"), [(race_won, 1), (race_lost, -1)])
def test_a_race_by_counting_is_nearly_always_decided(asked: Concept, value: int) -> None:
    """Not always: who races cannot also stop a pawn that could be stopped."""
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4")
    values = solution("hexapawn4x4").lookup_batch(rows)[0]
    told = asked.labels(rows, variant) == 1
    assert told.sum() > 1_000
    assert (values[told] == value).mean() > 0.97
    assert (values[~told] == value).mean() < 0.6
