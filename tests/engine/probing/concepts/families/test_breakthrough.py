"""A pawn breaks through where it walks straight to the last rank whatever the enemy's pawns do."""

import functools

import numpy as np
import pytest

from engine.probing.concepts.pawns import breakthrough
from engine.probing.concepts.registry import ConceptUndefinedError
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, SIDE
from engine.rules.variant import Variant, get_variant
from tests.support.network.probing_cases import Row, mirrored, recoloured, solved_rows
from tests.support.training.training_cases import child_of

# A board, ranks from the top, with White to move: P mine, p theirs.
BREAKTHROUGHS = [
    pytest.param("hexapawn4x4", "4/P3/3p/4", 1, id="alone on its file"),
    pytest.param("hexapawn4x4", "1p2/P2p/4/4", 1, id="an attacker at its shoulder comes too late"),
    pytest.param("hexapawn4x4", "3p/4/P3/4", 1, id="an enemy three files away"),
    pytest.param("hexapawn5x5", "2p2/5/P4/5/5", 1, id="two files aside, too near to cross over"),
    pytest.param("breakthrough5", "5/P4/1p3/5/5", 1, id="past the guard"),
    pytest.param("gardner", "r1k2/P4/5/1p3/2K2", 1, id="pieces do not count, only pawns"),
    pytest.param("gardner", "2k2/5/P1p2/5/2K2", 1, id="a pawn beside it two files away"),
    pytest.param("hexapawn4x4", "pppp/4/4/PPPP", 0, id="the start"),
    pytest.param("hexapawn4x4", "p3/4/P3/4", 0, id="blocked on the last rank"),
    pytest.param("hexapawn4x4", "1p2/4/P3/4", 0, id="captured as it arrives beside"),
    pytest.param("hexapawn4x4", "p3/P3/4/4", 0, id="nose to nose"),
    pytest.param("hexapawn5x5", "2p2/5/5/5/P4", 0, id="two files aside and four ranks ahead"),
    pytest.param("hexapawn4x4", "4/4/4/pp2", 0, id="no pawn at all"),
    pytest.param("gardner", "2k2/1p3/5/P4/2K2", 0, id="a guard two ranks ahead on the next file"),
    pytest.param("chess", "4k3/8/1p6/8/P7/8/8/4K3", 0, id="so on a large board"),
]


@pytest.mark.parametrize(("name", "board", "wanted"), BREAKTHROUGHS)
def test_a_free_pawn_breaks_through_and_a_stopped_one_does_not(
    name: str, board: str, wanted: int
) -> None:
    """The board with White to move, its mirror image, and both with the colours changed."""
    variant = get_variant(name)
    row = Position(variant, f"{board} w - - 0 1").row
    turned = recoloured(row, variant)
    assert turned[variant.squares + SIDE] == 1
    for each in (row, mirrored(row, variant), turned, mirrored(turned, variant)):
        assert breakthrough.labels(each[None], variant)[0] == wanted


def walks_through(row: Row, variant: Variant) -> bool:
    """Whether some pawn of the side to move can walk straight to the last rank, come what may.

    The enemy may wait, step or capture with any pawn; the mover's other pawns stand still.
    """
    width, height = variant.width, variant.height
    black = bool(row[variant.squares + SIDE])

    def pawns(colour: int) -> frozenset[tuple[int, int]]:
        """(file, rank as the side to move counts it)."""
        found = [square for square in range(variant.squares) if row[square] == 7 | colour]
        ranks = [height - 1 - s // width if black else s // width for s in found]
        return frozenset(zip((s % width for s in found), ranks, strict=True))

    own, enemy = (BLACK_BIT, 0) if black else (0, BLACK_BIT)
    still = pawns(own)

    @functools.cache
    def arrives(
        file: int,
        rank: int,
        others: frozenset[tuple[int, int]],
        enemies: frozenset[tuple[int, int]],
    ) -> bool:
        step = (file, rank + 1)
        if step in enemies or step in others:
            return False
        if rank + 1 == height - 1:
            return True
        replies = [(others, enemies)]
        for pawn in enemies:
            f, r = pawn
            rest = enemies - {pawn}
            if (f, r - 1) not in enemies | others | {step} and r > 0:
                replies.append((others, rest | {(f, r - 1)}))
            for target in ((f - 1, r - 1), (f + 1, r - 1)):
                if target == step:
                    return False
                if target in others:
                    replies.append((others - {target}, rest | {target}))
        return all(arrives(*step, *reply) for reply in replies)

    return any(arrives(*pawn, still - {pawn}, pawns(enemy)) for pawn in still)


@pytest.mark.parametrize("name", ["hexapawn", "hexapawn4x3", "hexapawn3x4", "hexapawn4x4"])
def test_breaking_through_is_walking_straight_whatever_the_enemy_does(name: str) -> None:
    variant, rows = get_variant(name), solved_rows(name)
    walked = [walks_through(row, variant) for row in rows]
    assert breakthrough.labels(rows, variant).tolist() == walked


def test_on_five_ranks_who_breaks_through_does_walk() -> None:
    variant, rows = get_variant("hexapawn3x5"), solved_rows("hexapawn3x5")
    walked = np.array([walks_through(row, variant) for row in rows])
    said = breakthrough.labels(rows, variant) == 1
    assert not (said & ~walked).any()
    # An enemy that would have to capture its way across counts as able to.
    assert 0 < (walked & ~said).sum() < 0.02 * len(rows)


def test_games_without_pawns_have_no_breakthrough() -> None:
    variant = child_of("gardner", "knights", pawn="-", startFen="nn1k1/5/5/5/NN1K1 w - - 0 1")
    row = Position(variant).row
    with pytest.raises(ConceptUndefinedError, match="knights has no pawns"):
        breakthrough.labels(row[None], variant)
