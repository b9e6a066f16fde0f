"""The exact value of a position as a concept."""

from engine.probing.concepts.exact import game_value
from engine.probing.concepts.registry import Concept
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solution, solved_rows


def answer(asked: Concept, name: str, fen: str) -> float:
    variant = get_variant(name)
    return float(asked.labels(Position(variant, fen).row[None], variant)[0])


def test_the_game_value_is_the_exact_one_for_the_side_to_move() -> None:
    solved = solution("hexapawn")
    value = game_value(lambda rows: solved.lookup_batch(rows)[0])
    variant = get_variant("hexapawn")
    rows = solved_rows("hexapawn")
    assert value.labels(rows, variant).tolist() == [solved.value(row) for row in rows]
    # Black wins 3x3: White loses to move, and so Black wins after White's first move.
    assert answer(value, "hexapawn", "ppp/3/PPP w - - 0 1") == -1
    assert answer(value, "hexapawn", "ppp/1P1/P1P b - - 0 1") == 1
    assert [value.class_name(label) for label in (1.0, 0.0, -1.0)] == ["win", "draw", "loss"]
