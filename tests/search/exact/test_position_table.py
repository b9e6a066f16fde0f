"""Keys are exact, and the table is a dictionary however crowded it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, EN_PASSANT, NO_SQUARE, PAWN, STATE_SIZE
from search.exact.position_table import (
    MAX_LOAD,
    Keys,
    PositionTable,
    find,
    insert,
    key_layout,
    pack,
    score_of,
    unpack,
)
from search.scores import LONGEST, WIN, score_before, split_scores


@st.composite
def rows_of_any_board(draw: st.DrawFn) -> tuple[int, tuple[int, ...], np.ndarray]:
    """Squares, piece types and a row."""
    squares = draw(st.sampled_from([1, 9, 20, 21, 30, 31, 32, 33, 62, 63, 64]))
    types = tuple(range(7, 7 + draw(st.integers(1, 9))))
    codes = [0, *types, *(piece | BLACK_BIT for piece in types)]
    board = draw(st.lists(st.sampled_from(codes), min_size=squares, max_size=squares))
    side = draw(st.integers(0, 1))
    row = np.array([*board, side, 0, NO_SQUARE, 0, 0], np.uint8)
    empty = [square for square, code in enumerate(board) if not code]
    row[squares + EN_PASSANT] = draw(st.sampled_from([NO_SQUARE, *empty]))
    return squares, types, row


@pytest.mark.nojit
@given(rows_of_any_board())
def test_a_key_is_the_position(case: tuple[int, tuple[int, ...], np.ndarray]) -> None:
    squares, types, row = case
    layout = key_layout(squares, types)
    key = np.zeros(layout.halves, np.uint32)
    pack(layout, row, key)
    back = np.full(squares + STATE_SIZE, 99, np.uint8)
    unpack(layout, key, back)
    np.testing.assert_array_equal(back, row)
    assert key[0] >> 31 == 1


def test_keys_of_one_kind_of_men_take_two_bits_a_square() -> None:
    words = {squares: key_layout(squares, (7,)).halves // 2 for squares in range(1, 65)}
    assert all(words[squares] == 1 for squares in range(1, 32))
    assert all(words[squares] == 2 for squares in range(32, 64))


def store(table: PositionTable, key: Keys, score: int) -> None:
    """As the solver does it."""
    while True:
        if table.count < table.room:
            slot = ~find(table.slots, table.capacity, key)
            assert slot >= 0
            if insert(table.slots, slot, key, score):
                table.count += 1
                return
        table.grow()


def scattered_keys(count: int, crowded: bool, rng: np.random.Generator) -> Keys:
    """Distinct keys; crowded ones share few first halves, as no mixed key ever would."""
    first = rng.integers(0, 40 if crowded else 1 << 31, count, dtype=np.uint32)
    if crowded:
        first *= np.uint32((1 << 31) // 40)
    keys = np.stack([first | np.uint32(1 << 31), np.arange(count, dtype=np.uint32)], axis=1)
    return keys[rng.permutation(count)]


@pytest.mark.parametrize("crowded", [False, True])
def test_table_is_a_dictionary(crowded: bool) -> None:
    rng = np.random.default_rng(5)
    keys = scattered_keys(600 if crowded else 5000, crowded, rng)
    absent = keys[len(keys) // 2 :] ^ np.array([0, 1 << 31], np.uint32)
    table = PositionTable(key_layout(9, (7,)))
    for number, key in enumerate(keys):
        store(table, key, number - 300)
    scores = [score_of(table.slots, find(table.slots, table.capacity, key)) for key in keys]
    assert scores == list(range(-300, len(keys) - 300))
    assert all(find(table.slots, table.capacity, key) < 0 for key in absent)
    assert table.count <= MAX_LOAD * table.capacity
    gathered, _ = table.gather()
    assert np.all(np.diff(gathered[:, 0].astype(np.int64)) >= 0)
    assert {tuple(key) for key in gathered.tolist()} == {tuple(key) for key in keys.tolist()}


def test_table_made_of_sorted_keys_is_the_same() -> None:
    rng = np.random.default_rng(6)
    table = PositionTable(key_layout(9, (7,)))
    for number, key in enumerate(scattered_keys(3000, False, rng)):
        store(table, key, number)
    again = PositionTable.from_sorted(table.layout, *table.gather())
    for ours, theirs in zip(again.gather(), table.gather(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for key, score in zip(*again.gather(), strict=True):
        assert score_of(again.slots, find(again.slots, again.capacity, key)) == score


def test_table_stays_full_while_it_grows() -> None:
    rng = np.random.default_rng(7)
    table = PositionTable(key_layout(9, (7,)))
    for number, key in enumerate(scattered_keys(20_000, False, rng)):
        store(table, key, 0)
        if number > 2000:
            assert table.slots.nbytes < 18 * table.count


@pytest.mark.nojit
def test_scores_order_outcomes() -> None:
    """From the best for the side to move to the worst, and the other way round a move earlier."""
    worth = {1: lambda d: WIN - d, 0: lambda d: -d, -1: lambda d: d - WIN}
    ordered = [(1, 0), (1, 1), (1, LONGEST), (0, 0), (0, 9), (-1, LONGEST), (-1, 1), (-1, 0)]
    scores = [worth[value](distance) for value, distance in ordered]
    assert scores == sorted(scores, reverse=True)
    values, distances = split_scores(np.array(scores, np.int16))
    assert list(zip(values.tolist(), distances.tolist(), strict=True)) == ordered
    for value, distance in ordered:
        if distance < LONGEST:
            assert score_before(worth[value](distance)) == worth[-value](distance + 1)


def test_keys_that_crowd_make_no_table() -> None:
    """Alike, or next to each other at the end, they would let the table grow without end."""
    layout = key_layout(9, (PAWN,))
    count = 300
    for firsts in (np.full(count, 0xFFFFFFFF), np.arange(0x100000000 - count, 0x100000000)):
        keys = np.stack([firsts, np.arange(count)], axis=1).astype(np.uint32)
        with pytest.raises(InputError, match="300 keys that are not spread"):
            PositionTable.from_sorted(layout, keys, np.zeros(count, np.int16))
    spread = np.linspace(1 << 31, 0xFFFFFFFF, count).astype(np.uint32)
    keys = np.stack([spread, spread], axis=1)
    table = PositionTable.from_sorted(layout, keys, np.arange(count, dtype=np.int16))
    assert np.array_equal(table.gather()[0], keys)
