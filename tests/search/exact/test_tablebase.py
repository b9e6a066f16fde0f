"""Endgame tables against a dull solver, python-chess, minimax, and the rules they must obey."""

from functools import cache

import chess
import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.errors import InputError
from engine.rules.notation.fen import parse_fen, write_fen
from engine.rules.position import Position
from engine.rules.tables import CLOCK, EN_PASSANT, NO_SQUARE, REPETITION
from engine.rules.variant import Registry, Variant, get_variant
from search.exact.tablebase.tables import Tablebases, TableReport, solve_endgames
from search.minimax.material import WIN_SCORE
from search.minimax.minimax import minimax
from search.scores import UNPROVEN
from tests.support.rules.invented_variants import invented_ini
from tests.support.search.search_cases import colour_swapped
from tests.support.search.tablebase_cases import has_unborn_pawn, known_endgames, small_endgame

CHESS = get_variant("chess")


@cache
def endgames(variant: Variant, men: int) -> tuple[Tablebases, dict[str, TableReport]]:
    tablebases, reports = solve_endgames(variant, men)
    return tablebases, {report.name: report for report in reports}


def known(tablebases: Tablebases, row: npt.NDArray[np.uint8]) -> tuple[int, int]:
    values, distances = tablebases.lookup(row[None])
    return int(values[0]), int(distances[0])


def sample(tablebases: Tablebases, count: int, *names: str) -> list[Position]:
    """Positions of the materials (of all where none is named), in equal shares."""
    rng = np.random.default_rng(1)
    names = names or tablebases.names
    found = []
    for name in names:
        rows = tablebases.positions(name)
        chosen = rng.choice(len(rows), min(len(rows), count // len(names) + 1), replace=False)
        found += [Position.from_row(row, tablebases.variant) for row in rows[chosen]]
    return found


def looked_ahead(tablebases: Tablebases, position: Position) -> tuple[int, int]:
    """What the position is worth by the table's words on the positions after it."""
    outcome = position.outcome()
    if outcome is not None:
        return outcome.value(position.turn), 0
    replies = []
    for move in position.legal_moves:
        position.push(move)
        replies.append(known(tablebases, position.row))
        position.pop()
    assert UNPROVEN not in {value for value, _ in replies}
    lost = [distance for value, distance in replies if value == -1]
    if lost:
        return 1, 1 + min(lost)
    if all(value == 1 for value, _ in replies):
        return -1, 1 + max(distance for _, distance in replies)
    return 0, 0


@pytest.mark.parametrize(
    ("name", "men"),
    [
        ("rooks", 3),
        ("narrow", 3),
        ("goals", 2),
        pytest.param("giving", 2, marks=pytest.mark.nojit),
    ],
)
def test_agrees_with_a_dull_solver(name: str, men: int) -> None:
    variant = small_endgame(name)
    truth = known_endgames(variant, men)
    tablebases, _ = solve_endgames(variant, men)
    values, distances = tablebases.lookup(np.stack([at.row for at in truth]))
    assert {at.value for at in truth} == {-1, 0, 1}
    for at, value, distance in zip(truth, values.tolist(), distances.tolist(), strict=True):
        if has_unborn_pawn(variant, at.row):
            assert value == UNPROVEN
        else:
            assert (value, distance) == (at.value, at.distance), write_fen(variant, at.row)


def test_en_passant_agrees_with_a_dull_solver() -> None:
    variant = small_endgame("passing")
    truth = known_endgames(variant, 4)
    tablebases, _ = endgames(variant, 4)
    values, distances = tablebases.lookup(np.stack([at.row for at in truth]))
    assert sum(at.row[variant.squares + EN_PASSANT] != NO_SQUARE for at in truth) > 20
    assert values.tolist() == [at.value for at in truth]
    assert distances.tolist() == [at.distance for at in truth]


@pytest.mark.parametrize(("name", "men"), [("gardner", 3), ("silverman4x5", 4), ("losalamos", 3)])
def test_every_value_follows_from_those_after_it(name: str, men: int) -> None:
    tablebases, _ = endgames(get_variant(name), men)
    for position in sample(tablebases, 400):
        assert looked_ahead(tablebases, position) == known(tablebases, position.row), position.fen()


def test_after_double_steps_too() -> None:
    tablebases, _ = endgames(get_variant("silverman4x5"), 4)
    rows = tablebases.positions("KPvKP")
    passing = rows[rows[:, tablebases.variant.squares + EN_PASSANT] != NO_SQUARE]
    assert len(passing) > 100
    for row in passing[:: len(passing) // 100]:
        position = Position.from_row(row, tablebases.variant)
        assert parse_fen(tablebases.variant, position.fen())[0].tobytes() == row.tobytes()
        assert looked_ahead(tablebases, position) == known(tablebases, row)


@pytest.mark.parametrize("seed", [1, 8, 11])
def test_invented_games(seed: int) -> None:
    registry = Registry()
    registry.add_text(invented_ini(f"invented{seed}", seed), "invented")
    tablebases, _ = solve_endgames(registry.get(f"invented{seed}"), 3)
    positions = sample(tablebases, 100)
    assert len({known(tablebases, position.row)[0] for position in positions}) > 1
    for position in positions:
        assert looked_ahead(tablebases, position) == known(tablebases, position.row), position.fen()


def test_chess_is_known() -> None:
    tablebases, reports = endgames(CHESS, 3)
    assert tablebases.men == 3
    assert tablebases.names == ("KvK", "KNvK", "KBvK", "KRvK", "KQvK", "KPvK")
    for name, moves in (("KQvK", 10), ("KRvK", 16)):
        values, distances = tablebases.lookup(tablebases.positions(name))
        assert distances[values == 1].max() == 2 * moves - 1
        assert reports[name].longest == 2 * moves
    # The longest way with a pawn ends in mate 28 moves later.
    values, distances = tablebases.lookup(tablebases.positions("KPvK"))
    assert distances[values == 1].max() == 2 * 28 - 1
    for name in ("KvK", "KNvK", "KBvK"):
        assert reports[name].wins == reports[name].losses == reports[name].longest == 0


def test_chess_mates_are_those_of_python_chess() -> None:
    tablebases, _ = endgames(CHESS, 3)
    mates = 0
    for name in ("KRvK", "KQvK"):
        rows = tablebases.positions(name)
        values, distances = tablebases.lookup(rows)
        for row in rows[(values == -1) & (distances == 0)]:
            assert chess.Board(write_fen(CHESS, row)).is_checkmate()
            mates += 1
    assert mates > 100
    seen = {"mate": 0, "stalemate": 0}
    for position in sample(tablebases, 6000, "KRvK", "KQvK", "KPvK", "KBvK"):
        board = chess.Board(position.fen())
        assert board.is_valid()
        value, distance = known(tablebases, position.row)
        assert board.is_checkmate() == ((value, distance) == (-1, 0))
        seen["mate"] += board.is_checkmate()
        seen["stalemate"] += board.is_stalemate()
        if board.is_stalemate() or board.is_insufficient_material():
            assert value == 0
    assert min(seen.values()) > 0


def test_minimax_finds_what_the_tables_say() -> None:
    tablebases, _ = endgames(get_variant("gardner"), 3)
    checked = 0
    for position in sample(tablebases, 300, "KQvK", "KRvK", "KPvK"):
        value, distance = known(tablebases, position.row)
        if value != 0 and 0 < distance <= 4:
            assert minimax(position, distance).score == value * (WIN_SCORE - distance)
            assert abs(minimax(position, distance - 1).score) < WIN_SCORE - 1000
            checked += 1
    assert checked > 20


def mirrored(position: Position) -> Position:
    variant = position.variant
    row = position.row.copy()
    board = row[: variant.squares].reshape(variant.height, variant.width)
    row[: variant.squares] = board[:, ::-1].reshape(-1)
    return Position.from_row(row, variant)


@pytest.mark.parametrize(("name", "men"), [("gardner", 3), ("silverman4x5", 4)])
def test_colours_and_sides_do_not_matter(name: str, men: int) -> None:
    tablebases, _ = endgames(get_variant(name), men)
    for position in sample(tablebases, 300):
        if position.row[position.variant.squares + EN_PASSANT] == NO_SQUARE:
            expected = known(tablebases, position.row)
            for image in (colour_swapped(position), mirrored(position)):
                assert known(tablebases, image.row) == expected
                assert known(tablebases, colour_swapped(image).row) == expected


@pytest.mark.nojit
def test_what_is_not_covered_is_unproven() -> None:
    variant = get_variant("silverman4x4")
    tablebases, _ = solve_endgames(variant, 2)
    bare, rook = (parse_fen(variant, f"k3/4/4/{rank} w - - 0 1")[0] for rank in ("3K", "2RK"))
    values, distances = tablebases.lookup(np.stack([variant.start_row, bare, rook]))
    assert values.tolist() == [UNPROVEN, 0, UNPROVEN]
    assert distances.tolist() == [0, 0, 0]
    values, _ = tablebases.lookup(np.empty((0, variant.row_size), dtype=np.uint8))
    assert len(values) == 0


def test_castling_rights_are_not_covered_clocks_do_not_matter() -> None:
    tablebases, _ = endgames(CHESS, 3)
    able, unable = (parse_fen(CHESS, f"4k3/8/8/8/8/8/8/R3K3 w {r} - 0 1")[0] for r in ("Q", "-"))
    assert known(tablebases, unable)[0] == 1
    assert known(tablebases, able) == (UNPROVEN, 0)
    worn = unable.copy()
    worn[CHESS.squares + CLOCK], worn[CHESS.squares + REPETITION] = 99, 1
    assert known(tablebases, worn) == known(tablebases, unable)


@pytest.mark.parametrize(("name", "men"), [("gardner", 1), ("gardner", 7), ("hexapawn", 0)])
def test_numbers_of_men_that_make_no_sense(name: str, men: int) -> None:
    with pytest.raises(InputError, match=f"^--men {men}: expected [12] to 6 for {name}$"):
        solve_endgames(get_variant(name), men)


def test_too_large_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"^chess: tables of 5 men take .* GiB .* raise the limit"):
        solve_endgames(CHESS, 5)


def test_pawns_that_become_kings_are_refused() -> None:
    registry = Registry()
    gardner = get_variant("gardner").ini().replace("[gardner]", "[royal]")
    assert "promotionPieceTypes = qrbn" in gardner
    text = gardner.replace("promotionPieceTypes = qrbn", "promotionPieceTypes = qk")
    registry.add_text(text, "royal")
    with pytest.raises(InputError, match=r"^royal: tables cannot tell the kings apart"):
        solve_endgames(registry.get("royal"), 3)
