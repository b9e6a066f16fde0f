"""Pictures hold the numbers that they were given, in their places, as valid XML with a title."""

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.probing.report import drawing
from engine.probing.report.drawing.bars import bars
from engine.probing.report.drawing.board import Arrow, board
from engine.probing.report.drawing.heat_map import heat_map, small_map
from engine.probing.report.drawing.line_chart import Line, line_chart
from engine.probing.report.drawing.positions import piece_symbols, small_board
from engine.probing.report.drawing.scales import Scale, labelled, places, ticks
from engine.probing.report.drawing.svg import element, faint, shade, short, signed

HOSTILE = '<script>alert("&\x00\ud800\x1b]]>'
SIGNS: list[list[float | None]] = [[0.2, -0.1, 0.0], [None, 0.05, None]]
REASONS: list[list[str | None]] = [[None, None, None], ["too few positions", None, None]]
CLEAR = [[True, True, False], [False, True, False]]


def parsed(text: str) -> ElementTree.Element:
    """The picture; fails where it is no XML, has no title or cannot be written."""
    text.encode()
    root = ElementTree.fromstring(text)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root[0].tag == "title"
    assert root[0].text
    return root


def cells(root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element]]:
    """What a person reads who points at it, and the group that it is in."""
    for group in root.iter("g"):
        if group.get("class") == "cell":
            yield group.findtext("title") or "", group


def rect(group: ElementTree.Element, index: int = 0) -> ElementTree.Element:
    return group.findall("rect")[index]


def pictures(name: str) -> dict[str, str]:
    """One of each kind, with this name wherever one is given."""
    line = Line(name=name, values=[0.1, None, 0.3], low=[0.0, None, 0.2], high=[0.2, None, 0.4])
    return {
        "heat map": heat_map(
            name,
            [name, "b"],
            [name, "d", "e"],
            SIGNS,
            refused=[[None, None, None], [name, None, None]],
            clear=CLEAR,
            groups=[(name, 2)],
            unit=name,
        ),
        "small map": small_map(name, SIGNS),
        "line chart": line_chart(
            name, [0, 10, 100], [line], levels=[(name, 0.5)], x_name=name, y_name=name
        ),
        "board": board(
            name,
            2,
            2,
            numbers=[name, None, 1, 0.5],
            arrows=[Arrow(from_square=0, to_square=3, name=name)],
        ),
        "bars": bars(name, [name, "b"], [1.0, None], marks={name: [0.5, None]}, x_name=name),
    }


@pytest.mark.parametrize("name", ["plain", HOSTILE, "ö" * 500])
@pytest.mark.parametrize("kind", list(pictures("plain")))
def test_pictures_are_xml_whatever_a_name_is(kind: str, name: str) -> None:
    root = parsed(pictures(name)[kind])
    assert not list(root.iter("script"))
    whole = "".join(root.itertext())
    assert name.replace("\x00", "�").replace("\ud800", "�").replace("\x1b", "�") in whole
    for each in root.iter():
        for attribute in ("x", "y", "width", "height", "x1", "y1", "cx"):
            float(each.get(attribute) or 0)


def test_a_heat_map_says_and_shows_each_cell() -> None:
    root = parsed(
        heat_map(
            "gains",
            ["material", "mobility"],
            ["embed", "b0", "b1"],
            SIGNS,
            low=[[0.1, -0.2, -0.1], [None, 0.01, None]],
            high=[[0.3, -0.05, 0.1], [None, 0.09, None]],
            clear=CLEAR,
            refused=REASONS,
        )
    )
    found = dict(cells(root))
    assert list(found) == [
        "material, embed: 0.200 (0.100 to 0.300)",
        "material, b0: −0.100 (−0.200 to −0.050)",
        "material, b1: 0.000 (−0.100 to 0.100), not clear of zero",
        "mobility, embed: too few positions",
        "mobility, b0: 0.050 (0.010 to 0.090)",
        "mobility, b1: not measured",
    ]
    classes = [rect(group).get("class") for group in found.values()]
    assert classes == ["up l8", "down l4", "unclear", "refused", "up l2", "empty"]
    corners = [(float(rect(g).get("x") or 0), float(rect(g).get("y") or 0)) for g in found.values()]
    assert corners[0][0] == corners[3][0] < corners[1][0] == corners[4][0] < corners[2][0]
    assert corners[0][1] == corners[2][1] < corners[3][1] == corners[5][1]
    marked = [words for words, group in found.items() if group.find("path") is not None]
    assert marked == [list(found)[2], list(found)[3]]
    written = [group.findtext("text") for group in found.values()]
    assert written == ["+.20", "−.10", ".00", None, "+.05", None]
    assert {"not clear of zero", "refused"} <= {each.text for each in root.iter("text")}


def test_the_key_of_a_heat_map_names_only_what_is_there() -> None:
    root = parsed(heat_map("all clear", ["a"], ["b"], [[0.5]], unit="points"))
    words = {each.text for each in root.iter("text")}
    assert "0.5 points" in words
    assert not {"not clear of zero", "refused", "−0.5"} & words


def test_headings_stand_above_their_rows() -> None:
    names = ["a", "b", "c"]
    root = parsed(
        heat_map("t", names, ["x"], [[1.0]] * 3, groups=[("first", 1), ("none", 0), ("second", 2)])
    )
    heights = {each.text: float(each.get("y") or 0) for each in root.iter("text")}
    order = sorted((heights[name], name) for name in ("first", "a", "second", "b", "c"))
    assert [name for _, name in order] == ["first", "a", "second", "b", "c"]
    assert "none" not in heights


def test_a_small_map_has_one_path_for_a_colour_and_every_cell() -> None:
    values = [[0.2 if column % 2 else -0.2 for column in range(20)] for _ in range(8)]
    values[3][4] = 0.01
    clear = [[abs(value) > 0.1 for value in row] for row in values]
    text = small_map("gains", values, clear=clear, cell=(10, 12))
    paths = {each.get("class"): each.get("d") or "" for each in parsed(text).iter("path")}
    assert set(paths) == {"up l8", "down l8", "unclear", "mark"}
    assert paths["up l8"].count("z") == 80
    assert paths["down l8"].count("z") == 79
    assert paths["unclear"].startswith("M40 36h9v11")
    assert len(text) < 25 * 160


def test_a_line_chart_has_points_bands_and_gaps() -> None:
    lines = [
        Line(name="material", values=[0.0, 0.2, 0.4], low=[-0.1, 0.1, 0.3], high=[0.1, 0.3, 0.5]),
        Line(name="mobility", values=[0.1, None, 0.3]),
    ]
    root = parsed(line_chart("order", [0, 1_000, 10_000], lines, levels=[("truth", 0.45)]))
    assert [words for words, _ in cells(root)] == [
        "material, training step 0: 0.000 (−0.100 to 0.100)",
        "material, training step 1,000: 0.200 (0.100 to 0.300)",
        "material, training step 10,000: 0.400 (0.300 to 0.500)",
        "mobility, training step 0: 0.100",
        "mobility, training step 10,000: 0.300",
    ]
    classes = [each.get("class") for each in root.iter("path")]
    assert classes.count("band c1") == 1
    assert "band c2" not in classes
    assert classes.count("line c1") == 1
    assert "line c2" not in classes, "no line is drawn over the gap"
    names = {each.text: float(each.get("y") or 0) for each in root.iter("text")}
    assert names["truth"] < names["material"] < names["mobility"]
    assert {"0", "1,000", "10,000"} <= set(names)


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    lines = [Line(name=f"line {index}", values=[0.0, 0.5 + index / 1000]) for index in range(8)]
    root = parsed(line_chart("many", [1, 2], lines))
    heights = sorted(
        float(each.get("y") or 0) for each in root.iter("text") if each.get("class") == "name"
    )
    assert len(heights) == 8
    assert min(high - low for low, high in itertools.pairwise(heights)) > 11
    assert 0 < heights[0] < heights[-1] < 260


def test_a_board_has_its_first_square_below_left() -> None:
    pieces = ["P", "", "k", "", "", "q"]
    root = parsed(board("a position", 3, 2, pieces=pieces, shades=[0.5, None, -1, 0, None, 1]))
    found = dict(cells(root))
    assert list(found) == [
        "a1: White P, +.500",
        "b1",
        "c1: Black K, −1.000",
        "a2: .000",
        "b2",
        "c2: Black Q, 1.000",
    ]
    corner = {words[:2]: rect(group) for words, group in found.items()}
    assert float(corner["a1"].get("x") or 0) == float(corner["a2"].get("x") or 0)
    assert float(corner["a1"].get("y") or 0) > float(corner["a2"].get("y") or 0)
    assert float(corner["c1"].get("x") or 0) > float(corner["b1"].get("x") or 0)
    assert corner["a1"].get("class") == "dark"
    letters = [each.text for each in root.iter("text") if "letter" in (each.get("class") or "")]
    assert letters == ["P", "K", "Q"]
    assert rect(found["c1: Black K, −1.000"], 1).get("class") == "down l8"


def test_an_arrow_points_from_square_to_square() -> None:
    arrows = [Arrow(from_square=0, to_square=2, kind="right"), Arrow(from_square=1, to_square=1)]
    root = parsed(board("a move", 3, 1, arrows=arrows, square=30, coordinates=False))
    (path,) = (each for each in root.iter("path") if each.get("class") == "arrow right")
    points = [tuple(map(float, each.split())) for each in (path.get("d") or "")[1:-1].split("L")]
    assert 15 < min(x for x, _ in points) < 30, "it begins in the first square"
    assert max(points) == (75.0, 16.0), "its tip is in the middle of the third"


def test_a_board_refuses_another_number_of_squares() -> None:
    with pytest.raises(ValueError, match="3 pieces for 2x2 squares"):
        board("", 2, 2, pieces=["P", "", ""])


def test_a_small_board_uses_the_pieces_of_its_page() -> None:
    pieces = ["P", "", "k", "", "", "n"]
    root = parsed(small_board("highest", pieces, 3, 2, marked=4))
    assert root[0].text == "highest: 2n/P1k"
    used = [(each.get("href"), each.get("x"), each.get("y")) for each in root.iter("use")]
    assert used == [("#wP", None, "20"), ("#bK", "40", "20"), ("#bN", "40", None)]
    (asked,) = (each for each in root.iter("rect") if each.get("class") == "asked")
    assert (asked.get("x"), asked.get("y")) == ("21", "1")
    symbols = ElementTree.fromstring(piece_symbols(["P", "K", "N"]))
    ids = {f"#{each.get('id')}" for each in symbols.iter("g")}
    assert {href for href, _, _ in used} < ids
    assert len(ids) == 6


def test_bars_begin_at_zero_and_carry_their_intervals() -> None:
    root = parsed(
        bars(
            "piece values",
            ["pawn", "queen", "none"],
            [-0.5, 1.0, None],
            low=[-0.6, 0.8, None],
            high=[-0.4, 1.2, None],
            marks={"exact": [-0.4, 0.9, None]},
        )
    )
    found = dict(cells(root))
    assert list(found) == [
        "pawn: −0.50 (−0.60 to −0.40); exact −0.40",
        "queen: 1.00 (0.80 to 1.20); exact 0.90",
    ]
    below, above = (rect(group) for group in found.values())
    assert (below.get("class"), above.get("class")) == ("bar down", "bar up")
    end = float(below.get("x") or 0) + float(below.get("width") or 0)
    assert end == pytest.approx(float(above.get("x") or 0), abs=0.2), "both touch zero"
    ratio = float(above.get("width") or 0) / float(below.get("width") or 0)
    assert ratio == pytest.approx(2, abs=0.05)
    assert "no result" in "".join(root.itertext())


def test_scales() -> None:
    scale = Scale(low=0, high=2, start=100, end=0)
    assert [scale(number) for number in (-1, 0, 1, 3)] == [100, 100, 50, 0]
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-0.3, 0.2, 5) == [-0.2, 0, 0.2]
    assert places([0, 10, 20], "ordinal") == places([0, 10, 20], "linear") == [0, 0.5, 1]
    at = places([0, 10, 100, 1000], "log")
    assert at[0] == 0
    assert at[3] == 1
    assert at[2] - at[1] == pytest.approx(at[3] - at[2])
    assert places([5], "log") == [0.5]
    assert labelled([0, 0.1, 0.5, 0.95, 1], 0.2) == [0, 2, 4]


def test_numbers_as_text() -> None:
    assert [signed(each) for each in (0.001, -0.001, 0.5, -0.5)] == [
        "0.00",
        "0.00",
        "+0.50",
        "−0.50",
    ]
    assert [short(each) for each in (-0.04, 1.0, 2.25, -3.5, 1234.56)] == [
        "0",
        "1",
        "2.2",
        "-3.5",
        "1234.6",
    ]
    with pytest.raises(ValueError, match="nan"):
        short(float("nan"))
    assert [shade(each, 0.2) for each in (0.0, 0.2, -5.0)] == ["up l1", "up l8", "down l8"]
    assert [faint(each, 0.2) for each in (0.001, 0.02, -5.0)] == ["unclear", "up l1", "down l2"]
    assert element("a", "<", element("b"), class_='"') == '<a class="&#34;">&lt;<b/></a>'


def test_every_class_of_a_picture_has_a_style() -> None:
    style = (Path(drawing.__file__).parent.parent / "drawing.css").read_text()
    names = set()
    for text in pictures("plain").values():
        for each in ElementTree.fromstring(text).iter():
            names |= set((each.get("class") or "").split())
    assert not {
        name
        for name in names - {"cell", "axes", "lines", "plain", "row", "small-map"}
        if f".{name}" not in style
    }
