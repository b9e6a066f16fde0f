"""Sections of the report: every run, plain values, and words that follow the numbers."""

import dataclasses
import functools
import html.parser
import json
from functools import partial

import numpy as np
import pytest

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.analyse import Analyses, AnalysisConfig, Subject, analyse
from engine.probing.analyses.positions.resampling import Estimate, over_seeds
from engine.probing.analyses.sections import pieces, sections
from engine.probing.report.page import render_page
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import HEXAPAWN, Solved
from tests.support.network.network_cases import lively_network, small_config
from tests.support.network.report_cases import Made, made_up_report, with_sections

CONFIG = AnalysisConfig(untrained=2, resamples=50, plies=4)
NAMES = ("lens", "attention", "piece_values", "openings", "play")


class Words(html.parser.HTMLParser):
    """What a person reads of a page, and that its elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.headings, self._open = "", list[str](), list[str]()
        self.feed(page)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open[-1:] == ["h3"]:
            self.headings.append(data)


@functools.cache
def found(trunk: str = "geometric", seeds: tuple[int, ...] = (1, 2)) -> Analyses:
    solved = Solved("hexapawn")
    loads = {seed: partial(lively_network, "hexapawn", trunk, seed) for seed in seeds}
    networks = [
        Subject(name=f"{seed:08}", step=10 * seed, load=load) for seed, load in loads.items()
    ]
    concepts = {"always": np.ones(len(solved.rows)), "never": np.zeros(len(solved.rows))}
    return analyse(networks, solved.rows, HEXAPAWN, truth=solved, concepts=concepts, config=CONFIG)


def page_of(**runs: Analyses) -> Words:
    made = sections(runs)
    assert tuple(made) == NAMES
    json.dumps(made, allow_nan=False)
    report = made_up_report({"a": Made()}, runs=tuple(runs))
    return Words(render_page(with_sections(report, **made)))


def test_a_lens_of_more_positions_says_so() -> None:
    analyses = found()
    assert "The last checkpoint is measured on" not in page_of(one=analyses).text
    fewer = dataclasses.replace(analyses, positions=9)
    count = analyses.positions
    assert f"measured on {count} positions, the others on 9 of them" in page_of(one=fewer).text


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_a_solved_run_fills_every_section(trunk: str) -> None:
    analyses = found(trunk)
    text = page_of(one=analyses).text
    for title in ("Logit lens", "Attention by head", "Piece values", "Openings", "Network, search"):
        assert title in text
    assert ("which has no attention" in text) == (trunk == "residual")
    lens = analyses.checkpoints[-1].lens
    assert lens.best_move is not None
    assert lens.best_move.forgotten.percent() in text
    assert "a2/c2" in text
    assert "never (0 distinct decisions in which it holds)" in text
    assert "training seeds" not in "".join(sections({"one": analyses})["lens"]["words"])


def test_several_runs_stand_one_after_another_with_their_seeds_interval() -> None:
    names = ("old/run", "new/run", "far/away/other")
    runs = {name: found(seeds=(seed,)) for seed, name in enumerate(names, start=3)}
    page = page_of(**runs)
    # Folders stand only where they tell runs apart.
    headings = [each for each in page.headings if each.split("/")[-1] in ("run", "other")]
    assert headings == len(NAMES) * ["old/run", "new/run", "other"]
    values = []
    for each in runs.values():
        best = each.checkpoints[-1].lens.best_move
        assert best is not None
        values.append(best.forgotten.value)
    estimate = over_seeds(values)
    assert estimate is not None
    assert f"Over 3 training seeds, forgotten best moves: {estimate.percent()}." in page.text
    common = set.intersection(
        *(
            {head.relation for head in each.checkpoints[-1].attention.scores if head.stands_out}
            for each in runs.values()
        )
    )
    first = page.text.index("stands out in all 3 training seeds along: ")
    named = page.text[first:].split(": ", 1)[1].split(".", 1)[0]
    assert set(named.split(", ")) == (common or {"none"})


def test_a_game_that_is_not_solved_says_what_is_missing() -> None:
    gardner = get_variant("gardner")
    rows = np.stack([Position("gardner").row, Position("gardner", "k4/5/5/4P/4K w").row])
    network = Subject(name="a", step=None, load=partial(lively_network, "gardner", "geometric"))
    text = page_of(one=analyse([network], rows, gardner, config=CONFIG)).text
    assert "No exact values are known" in text
    assert "play cannot be judged" in text
    assert "equally many in every position" in text


def test_words_say_more_fewer_or_neither_by_the_interval() -> None:
    analyses = found()
    last = analyses.checkpoints[-1]
    best = last.lens.best_move
    assert best is not None

    def words(low: float, high: float) -> str:
        excess = Estimate(value=(low + high) / 2, low=low, high=high, positions=9)
        wrong = Estimate(value=0.5, low=0.4, high=0.6, positions=9)
        lens = dataclasses.replace(
            last.lens, best_move=dataclasses.replace(best, excess=excess, wrong=wrong)
        )
        changed = dataclasses.replace(analyses, checkpoints=(dataclasses.replace(last, lens=lens),))
        return "".join(sections({"a": changed})["lens"]["runs"][0]["words"])

    assert "is right: more than independent layers" in words(0.01, 0.2)
    assert "is right: fewer than independent layers" in words(-0.2, -0.01)
    assert "is right: not told apart from what independent layers" in words(-0.1, 0.1)


def test_words_name_the_first_layer_that_is_not_clearly_worse() -> None:
    analyses = found()
    last = analyses.checkpoints[-1]

    def words(*lows: float) -> str:
        layers = tuple(
            dataclasses.replace(each, behind=Estimate(value=0.5, low=low, high=0.6, positions=9))
            for each, low in zip(last.lens.layers, lows, strict=True)
        )
        lens = dataclasses.replace(last.lens, layers=layers)
        changed = dataclasses.replace(analyses, checkpoints=(dataclasses.replace(last, lens=lens),))
        return "".join(sections({"a": changed})["lens"]["runs"][0]["words"])

    assert "The first layer that is not clearly worse is block.0." in words(0.1, -0.1, 0.0)
    assert "Every earlier layer is clearly worse." in words(0.1, 0.1, 0.0)


def test_a_network_that_has_learned_nothing_has_a_page_too() -> None:
    solved = Solved("hexapawn")
    fresh = Subject(
        name="0", step=0, load=lambda: PolicyValueNet(small_config("hexapawn", "geometric"))
    )
    analyses = analyse([fresh], solved.rows, HEXAPAWN, truth=solved, config=CONFIG)
    assert "no head is told apart" in page_of(one=analyses).text


def test_pieces_are_read_from_the_first_square_on() -> None:
    assert pieces("p1p/1P1/P2 w - - 0 1") == ["P", "", "", "", "P", "", "p", "", "p"]


def test_no_run_is_refused() -> None:
    with pytest.raises(InputError, match="no run"):
        sections({})


def test_the_head_that_is_told_of_is_one_that_stands_out() -> None:
    analyses = found()
    last = analyses.checkpoints[-1]
    loud, sure = last.attention.of("file")[:2]
    heads = (
        dataclasses.replace(loud, gain=0.9, corrected_low=-0.1, corrected_high=1.9),
        dataclasses.replace(sure, gain=0.2, corrected_low=0.1, corrected_high=0.3),
    )
    attention = dataclasses.replace(last.attention, scores=heads)
    changed = dataclasses.replace(
        analyses, checkpoints=(dataclasses.replace(last, attention=attention),)
    )
    words = sections({"a": changed})["attention"]["runs"][0]["words"]
    assert words[0].startswith(f"File: head {sure.block}.{sure.head} stands out")
    assert "a gain of +0.20 (+0.10 to +0.30)" in words[0]
