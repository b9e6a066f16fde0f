"""Material: drawn boards, the worth of a variant's own pieces, what a variant lacks."""

import pytest

from engine.probing.concepts.board.variant_facts import piece_values
from engine.probing.concepts.material import bishop_pair, material, opposite_bishops, phase
from engine.probing.concepts.registry import ConceptUndefinedError
from engine.rules.variant import get_variant
from tests.support.concepts.boards import answers
from tests.support.training.training_cases import child_of


@pytest.mark.parametrize(
    ("name", "fen", "difference"),
    [
        ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w", 0),
        ("gardner", "1nb1k/5/5/4P/R1B1K w", 9 - 6),
        ("gardner", "1nb1k/5/5/4P/R1B1K b", 6 - 9),
        ("gardner", "3qk/5/5/5/4K w", -9),
        ("hexapawn4x4", "pppp/4/1P2/P2P b", 1),
        ("breakthrough5", "ppppp/5/5/5/PP3 w", -3),
    ],
)
def test_material_is_counted_from_the_side_to_move(name: str, fen: str, difference: int) -> None:
    assert answers(material, name, fen) == difference


def test_own_pieces_are_worth_what_they_move() -> None:
    """An archbishop (bishop and knight), a commoner, a piece that only steps back and forth, and a
    pawn of another letter: between a rook and a queen, about a knight, little, 1."""
    variant = child_of(
        "chess",
        "worth",
        customPiece1="a:BN",
        customPiece2="c:K",
        customPiece3="s:fW",
        customPiece4="o:fmWfcF",
        startFen="rnbqkbnr/acsopppp/8/8/8/8/ACSOPPPP/RNBQKBNR w - - 0 1",
    )
    values = {letter: piece_values(variant)[t] for t, letter in variant.piece_letters.items()}
    assert [values[letter] for letter in "pnbrqk"] == [1, 3, 3, 5, 9, 0]
    assert 5 < values["a"] < 9
    assert 3 <= values["c"] <= 4
    assert values["s"] == values["o"] == 1


def test_a_rider_is_worth_more_than_a_leaper_of_its_first_step() -> None:
    variant = child_of(
        "breakthrough5",
        "riders",
        customPiece2="w:W",
        customPiece3="r:R",
        customPiece4="m:mR",
        startFen="pwrmp/5/5/5/PWRMP w - - 0 1",
    )
    values = {letter: piece_values(variant)[t] for t, letter in variant.piece_letters.items()}
    assert 0.5 <= values["w"] < values["r"]
    # Without captures it is worth half.
    assert abs(values["m"] - values["r"] / 2) <= 0.25


@pytest.mark.parametrize(
    ("fen", "mine", "theirs"),
    [
        # Light b1 and dark c1: a pair. Of two on one colour there is none.
        ("4k/5/5/5/KBB2 w", 1, 0),
        ("4k/5/5/5/KB1B1 w", 0, 0),
        ("2bbk/5/5/5/KB3 w", 0, 1),
    ],
)
def test_a_bishop_pair_stands_on_both_colours(fen: str, mine: int, theirs: int) -> None:
    assert answers(bishop_pair.mine, "gardner", fen) == mine
    assert answers(bishop_pair.theirs, "gardner", fen) == theirs


@pytest.mark.parametrize("name", ["gardner", "5x6chess"])
def test_bishops_of_opposite_colours(name: str) -> None:
    """On five ranks as on six, where the colours are others from the opponent's end."""
    empty = "5/" * (get_variant(name).height - 2)
    top = {"gardner": ("1b2k", "b3k"), "5x6chess": ("b3k", "1b2k")}[name]
    # White's bishop is on b1; of Black's the first has its colour, the second has not.
    assert answers(opposite_bishops, name, f"{top[0]}/{empty}KB3 w") == 0
    assert answers(opposite_bishops, name, f"{top[1]}/{empty}KB3 w") == 1
    assert answers(opposite_bishops, name, f"{top[1]}/{empty}KBB2 w") == 0


def test_the_phase_falls_from_one_to_nought() -> None:
    assert answers(phase, "gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w") == 1
    assert answers(phase, "gardner", "4k/ppppp/5/PPPPP/4K w") == 0
    assert answers(phase, "gardner", "r3k/ppppp/5/PPPPP/1N2K w") == pytest.approx(8 / 40)
    with pytest.raises(ConceptUndefinedError, match="breakthrough5 begins without pieces"):
        answers(phase, "breakthrough5", "ppppp/5/5/5/PP3 w")
