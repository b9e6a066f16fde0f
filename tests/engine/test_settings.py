"""One validator for all settings: types and bounds stand on the field."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from engine.settings import LATER, Count, Range, SettingError, Settings, build, check


@dataclass(frozen=True, kw_only=True)
class Inner(Settings):
    size: Count = 1


@dataclass(frozen=True, kw_only=True)
class Planted(Settings):
    count: Annotated[int, Range(1, 8)] = 1
    rate: Annotated[float, Range(0, 1, above_low=True, below_high=True)] = 0.5
    endless: Annotated[float, Range(0, infinite=True)] = 1.0
    free: float = 0.0
    word: Literal["a", "b"] = "a"
    text: Annotated[str, Range(1, 3)] = "x"
    switch: bool = False
    types: tuple[Annotated[int, Range(1, 15)], ...] = ()
    pair: tuple[int, int] | None = None
    table: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    newest: Annotated[int, LATER] = 0


GOOD: dict[str, list[Any]] = {
    "count": [1, 8],
    "rate": [0.1, 0.9],
    "endless": [0.0, math.inf],
    "free": [-3.5, 0.0],
    "word": ["b"],
    "text": ["a", "abc"],
    "switch": [True],
    "types": [(), (1, 15)],
    "pair": [None, (-1, 2)],
    "table": [{"a": 1}],
}
BAD: dict[str, list[Any]] = {
    "count": [0, 9, 1.0, True, "1", None, 1 << 5000],
    "rate": [0.0, 1.0, math.nan, "0.5", 1 << 5000],
    "endless": [-1.0, -math.inf],
    "free": [math.inf, False],
    "word": ["c", 1, None],
    "text": ["", "abcd", 1],
    "switch": [0, 1, "true"],
    "types": [(0,), 1, ["x"], {}],
    "pair": [(1,), (1, 2, 3), (1, "x")],
    "table": [1, [("a", 1)]],
    "inner": [3, None],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_is_kept(name: str) -> None:
    for value in GOOD[name]:
        assert getattr(Planted(**{name: value}), name) == value


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named_and_quoted(name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(SettingError) as caught:
            build(Planted, {name: value}, "own.toml")
        text = f"own.toml: {name} = {value!r}"
        assert str(caught.value).startswith(text[:60])
        assert " is not " in str(caught.value)
        assert len(str(caught.value)) < 200
        with pytest.raises(SettingError):
            dataclasses.replace(Planted(), **{name: value})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("count", "a whole number from 1 to 8"),
        ("rate", "a number above 0 and below 1"),
        ("endless", "a number of at least 0"),
        ("free", "a number"),
        ("word", "one of a, b"),
        ("text", "a text of 1 to 3 characters"),
        ("switch", "true or false"),
        ("types", "a list, each item a whole number from 1 to 15"),
        ("table", "a table"),
    ],
)
def test_messages_say_what_is_wanted(name: str, wanted: str) -> None:
    with pytest.raises(SettingError) as caught:
        build(Planted, {name: None}, "x")
    assert str(caught.value) == f"x: {name} = None is not {wanted}"


def test_files_give_lists_whole_numbers_and_tables() -> None:
    made = build(Planted, {"types": [1, 2], "free": 3, "inner": {"size": 2}}, "own.toml")
    assert made == Planted(types=(1, 2), free=3.0, inner=Inner(size=2))
    assert isinstance(made.free, float)
    assert check(made)["types"] == (1, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"odd": 1}, r"own\.toml: unknown field 'odd' \(fields: count, "),
        ({"inner": {"odd": 1}}, r"own\.toml \[inner\]: unknown field 'odd'"),
        ({"inner": {"size": 0}}, r"own\.toml \[inner\]: size = 0 is not"),
    ],
)
def test_the_place_of_a_mistake_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build(Planted, values, "own.toml")


def test_a_complete_file_lacks_only_what_came_later() -> None:
    whole = dataclasses.asdict(Planted())
    del whole["newest"]
    assert build(Planted, whole, "x", complete=True) == Planted()
    del whole["count"]
    with pytest.raises(SettingError, match="x: the field 'count' is missing"):
        build(Planted, whole, "x", complete=True)
