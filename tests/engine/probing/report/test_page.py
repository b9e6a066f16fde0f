"""The page stands alone, is well formed, says what its cells say and has them for its script."""

import dataclasses
import json
import re
import textwrap
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from engine.probing.analyses.entanglement import Association, Entanglement
from engine.probing.report import page as layout
from engine.probing.report.page import page_environment, percent, render_page
from engine.probing.report.results import Report
from engine.probing.report.words import joined
from tests.support.network.report_cases import (
    LAYERS,
    STEPS,
    Made,
    made_up_report,
    with_sections,
)

MADE = {
    "material": Made(),
    "mobility": Made(family="space", gain=0.2, since=2, kind="binary", majority=0.5),
    "plain": Made(gain=-0.2, raw_input=0.97),
    "noisy": Made(gain=0.03, half=0.05),
    "rare": Made(refused="refused: 3 distinct training positions with 'yes', 10 are needed"),
    "hash": Made(family="control", gain=0.0, raw_input=0.0, untrained=0.0),
    "dragons": Made(absent="there are no dragons"),
}
HOSTILE = "<script>alert('&\"\x00\ud800</script><!--"


class Page(HTMLParser):
    """Elements must close in the order in which they opened; texts by the id they are in."""

    VOID = frozenset({"meta", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, str] = {}
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in self.VOID:
            self.open.append((tag, found.get("id", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def words(self, name: str) -> str:
        """The text in the element of this id, with single spaces."""
        return " ".join(self.texts[name].split())


@pytest.fixture(scope="module", params=[1, 3], ids=["one run", "three runs"])
def report(request: pytest.FixtureRequest) -> Report:
    return made_up_report(MADE, runs=[f"runs/{index}" for index in range(request.param)])


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render_page(report))


def test_nothing_is_loaded(report: Report) -> None:
    text = render_page(report)
    for outside in ("http:", "https:", "//cdn", "url(", "@import", "<link", "<img", "<iframe"):
        assert outside not in text, outside
    for tag, name, value in Page(text).attributes:
        assert name != "src", tag
        assert name != "href" or value.startswith("#"), value
        assert not name.startswith("on"), name
    assert "default-src 'none'" in text


def test_links_lead_to_what_is_there(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    for _, name, value in page.attributes:
        if name == "href":
            assert value[1:] in page.ids, value


def test_the_page_says_what_is_supported_and_what_is_not(page: Page, report: Report) -> None:
    found = page.words("findings")
    assert "2 of 5 concepts are supported" in found
    assert "Material (1 of 4): material." in found
    assert "Raw input shows as much (1): plain." in found
    assert "The interval spans zero (1): noisy." in found
    assert "Too few data (1): rare." in found
    assert "Not measured (1): there are no dragons (dragons); by name." in found
    assert "0 of 1 control concepts" in found
    assert "at most 5 % of such reports" in found
    assert "First to appear: material." in found
    assert "A census" in found
    assert "Decodable does not mean used. No intervention was made." in found
    cells = len(LAYERS) * len(STEPS) * 5
    assert f"correction for all {cells} cells" in found
    if len(report.runs) == 1:
        assert "One training run." in found
    else:
        assert "3 training runs of different seeds" in found


def test_used_is_never_claimed(page: Page) -> None:
    for name in ("findings", "table", "maps", "order", "concepts", "methods"):
        for sentence in re.split(r"[.:]", page.words(name)):
            if re.search(r"\b(used|uses|relies)\b", sentence):
                assert re.search(r"\b(not|Nothing|no)\b", sentence), sentence


def test_a_report_without_support_says_so() -> None:
    found = Page(render_page(made_up_report({"plain": Made(gain=-0.2, raw_input=0.97)})))
    words = found.words("findings")
    assert "0 of 1 concepts are supported" in words
    assert "largest gain" not in words
    assert "order" not in found.ids


def test_control_concepts_that_come_out_are_a_warning() -> None:
    text = Page(render_page(made_up_report({"hash": Made(family="control")}))).words("findings")
    assert "1 of 1 control concepts" in text
    assert "came out as supported: hash. Gains up to +0.300, the largest of theirs" in text


def test_a_sample_is_not_called_a_census() -> None:
    report = made_up_report({"material": Made()})
    counts = dataclasses.replace(report.counts, census=False, source="20,000 positions of games")
    words = Page(render_page(dataclasses.replace(report, counts=counts))).words("findings")
    assert "A sample: 20,000 positions of games" in words
    assert "census" not in words


def test_runs_with_other_steps_are_told() -> None:
    report = made_up_report({"material": Made()}, runs=("runs/a", "runs/b"))
    assert "Steps are those of" not in Page(render_page(report)).words("maps")
    later = tuple(
        dataclasses.replace(each, step=None if each.step is None else each.step + 1)
        for each in report.runs[1].checkpoints
    )
    other = dataclasses.replace(report.runs[1], checkpoints=later)
    report = dataclasses.replace(report, runs=(report.runs[0], other))
    words = Page(render_page(report)).words("maps")
    assert "Steps are those of a. The other runs' checkpoints at the same places: b 1, 25," in words


def test_a_harder_split_is_told() -> None:
    made = {"kept": Made(harder=0.2), "lost": Made(harder=0.01), "unknown": Made(harder=None)}
    words = Page(render_page(made_up_report(made))).words("findings")
    assert "1 of 2 supported concepts keep a gain" in words
    assert "Not: lost. Too few data for: unknown." in words


def test_the_main_table_has_each_concept_with_its_figures(page: Page, report: Report) -> None:
    words = page.words("main")
    gain = "+0.300" if len(report.runs) == 1 else "+0.303"
    assert f"material material supported {gain}" in words
    assert "3 distinct training positions with 'yes'" in words
    assert "dragons" not in words


def test_concepts_have_a_card_each(page: Page) -> None:
    assert sum(re.fullmatch(r"c\d+", name) is not None for name in page.ids) == len(MADE) - 1
    assert "Supported: gain +0.3" in page.words("c0")
    assert "First clear of zero at step 24" in page.words("c0")
    assert re.search(r"label (yes|no), probe 0\.\d\d", page.words("c4")), "a binary concept"
    boards = [value for tag, name, value in page.attributes if tag == "use" and name == "href"]
    assert {"#wP", "#bP", "#wK"} <= set(boards)
    assert "There are no dragons (1): dragons." in page.words("concepts")


def test_methods_have_the_counts(page: Page) -> None:
    words = page.words("methods")
    for figure in ("4,942 rows", "3,500 rows", "1,000 bootstrap", "seeds 1, 2, 3, 4, 5", "numpy"):
        assert figure in words


def test_the_script_gets_every_cell(page: Page, report: Report) -> None:
    data = json.loads(page.texts["data"])
    shape = (len(report.runs), len(data["concepts"]), len(STEPS), len(LAYERS))

    def number(
        column: list[int | None], run: int, concept: int, layer: int, place: int
    ) -> int | None:
        """As the script finds it."""
        if len(column) == shape[1]:
            return column[concept]
        if len(column) == shape[1] * shape[3]:
            return column[concept * shape[3] + layer]
        return column[((run * shape[1] + concept) * shape[2] + place) * shape[3] + layer]

    assert len(report.cells) == shape[0] * shape[1] * shape[2] * shape[3]
    for cell in report.cells:
        place = (
            [run.name for run in report.runs].index(cell.run),
            data["concepts"].index(cell.concept),
            data["layers"].index(cell.layer),
            int(cell.checkpoint),
        )
        found = {name: number(column, *place) for name, column in data["columns"].items()}
        it = cell.measurement
        if it is None:
            assert set(found.values()) == {None}
            reason = number(data["refused"], *place)
            assert reason is not None
            assert data["reasons"][reason] == cell.refused
            continue
        assert number(data["refused"], *place) is None
        for name in ("score", "gain", "corrected_low", "raw_input", "bits", "control_task"):
            # A half may go either way: figures have been rounded to six digits.
            assert found[name] == pytest.approx(1000 * getattr(it, name), abs=0.501), name
        assert found["untrained4"] == pytest.approx(1000 * it.random_init[4], abs=0.501)
        assert it.harder is not None
        assert found["harder_gain"] == pytest.approx(1000 * it.harder.gain, abs=0.501)
    assert len(data["columns"]["raw_input"]) == shape[1], "one number a concept"
    assert ("combined" in data) == (shape[0] > 1)


def test_the_script_asks_only_for_what_the_page_has(page: Page) -> None:
    script = (Path(layout.__file__).parent / "layout" / "page.js").read_text()
    data = json.loads(page.texts["data"])
    asked = set(re.findall(r"\bdata\.([a-z_]+)", script)) - {"combined"}
    assert asked <= set(data)
    columns = set(re.findall(r"\b(?:get|value)\(\"([a-z_]+)\"", script))
    assert {"gain", "harder_gain", "control_task"} <= columns <= set(data["columns"])
    assert set(re.findall(r"byId\(\"([a-z]+)\"\)", script)) <= set(page.ids)
    maps = {value for _, name, value in page.attributes if name == "data-map"}
    assert maps == {"layers", "steps", "concept"}


def test_hostile_names_are_escaped_everywhere() -> None:
    made = {HOSTILE: Made(family=HOSTILE, definition=HOSTILE), "b": Made(absent=HOSTILE)}
    report = made_up_report(made, runs=[HOSTILE, "b"], layers=[HOSTILE, "final"])
    counts = dataclasses.replace(report.counts, source=HOSTILE, harder_by=HOSTILE)
    report = dataclasses.replace(
        report, counts=counts, variant=HOSTILE, network=HOSTILE, command=HOSTILE
    )
    text = render_page(with_sections(report, unknown={}))
    text.encode()
    assert "\x00" not in text
    assert text.count("<script") == 2
    assert "<!--" not in text
    Page(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": (7,)},
        {"steps": (None,)},
        {"steps": (None, None)},
        {"steps": (5, 5)},
        {"layers": ("final",)},
        {"layers": ("final",), "steps": (7,)},
        {"examples": 0},
        {"size": (8, 8)},
    ],
    ids=str,
)
def test_small_and_odd_reports_have_a_page(changes: dict[str, Any]) -> None:
    page = Page(render_page(made_up_report(MADE, **changes)))
    assert "concepts are supported" in page.words("findings")


def test_a_report_of_nothing_has_a_page() -> None:
    page = Page(render_page(made_up_report({"dragons": Made(absent="there are no dragons")})))
    assert "Nothing could be measured" in page.words("findings")


def test_an_analysis_without_a_template_says_where_its_numbers_are(report: Report) -> None:
    page = Page(render_page(with_sections(report, new_analysis={"a": 1})))
    assert "New analysis" in page.words("new_analysis")
    assert "sections.new_analysis" in page.words("new_analysis")
    assert ("a", "href", "#new_analysis") in page.attributes


def test_the_section_that_the_readme_shows_is_one(report: Report) -> None:
    readme = (Path(layout.__file__).parent.parent / "README.md").read_text()
    (lines,) = re.findall(r"^    {% set title.*?endmacro %}$", readme, re.DOTALL | re.MULTILINE)
    template = page_environment(report).from_string(textwrap.dedent(lines))
    module: Any = template.make_module()
    assert module.title == "Piece values"
    body = module.body({"positions": 70, "pieces": ["pawn"], "means": [0.25]}, report)
    assert "<p>70 positions.</p>" in body
    assert "pawn: 0.25" in body


def test_the_entanglement_of_concepts_is_a_map_with_its_groups() -> None:
    names_of = ("material", HOSTILE, "mobility")
    found = Entanglement(
        variant="hexapawn4x4",
        positions=4942,
        names=names_of,
        kinds=("real", "real", "binary"),
        matrix=((1.0, 0.95, None), (0.95, 1.0, -0.25), (None, -0.25, 1.0)),
        threshold=0.9,
        pairs=(Association(one="material", other=HOSTILE, value=0.95),),
        groups=(("material", HOSTILE),),
        absent=(("dragons", "there are none"),),
    )
    report = with_sections(made_up_report(MADE), entanglement=dataclasses.asdict(found))
    page = Page(render_page(report))
    words = page.words("entanglement")
    assert "4,942 positions" in words
    assert "strength 0.90 or more" in words
    assert "dragons (there are none)" in words
    (held,) = (value for _, name, value in page.attributes if name == "data-values")
    values = json.loads(held)["values"]
    assert values == [[1000, 950, None], [950, 1000, -250], [None, -250, 1000]]


def test_a_large_surface_stays_small() -> None:
    made = {f"concept {index}": Made(since=index % 5) for index in range(30)}
    layers = [f"block.{index}.residual" for index in range(8)]
    text = render_page(made_up_report(made, layers=layers, steps=range(0, 200, 10), size=(8, 8)))
    # A third of 90 concepts.
    assert len(text.encode()) < 8_000_000 / 3


def test_numbers_as_words() -> None:
    assert [percent(each) for each in (0, 0.001, 0.5, 0.999, 1)] == [
        "0 %",
        "under 1 %",
        "50 %",
        "99 %",
        "100 %",
    ]
    assert [joined(each) for each in ([], ["a"], ["a", "b"], ["a, less b", "c"])] == [
        "",
        "a",
        "a, b",
        "a, less b; c",
    ]
