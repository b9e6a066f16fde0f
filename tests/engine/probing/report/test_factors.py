"""Factors are shown with their matches, and only what beats both controls is said to."""

import dataclasses

from engine.probing.analyses.factors import Factor, FactorBoard, FactorMatch, Factors
from engine.probing.report.factors import factors_section, words
from engine.probing.report.page import render_page
from tests.support.network.report_cases import Made, made_up_report, with_sections


def factor(number: int, correlation: float, permuted: float, untrained: float) -> Factor:
    """One that is most like `mobility`."""
    match = FactorMatch(
        concept="mobility",
        how="mean",
        correlation=correlation,
        permuted=permuted,
        untrained=(untrained, 0.0),
    )
    board = FactorBoard(pieces=("P", "", "", "p"), weights=(1.0, 0.0, -0.5, 0.25))
    return Factor(number=number, share=0.125, match=match, boards=(board,))


FOUND = Factors(
    variant="hexapawn4x4",
    layer="block.1.residual",
    method="nmf",
    width=2,
    height=2,
    positions=600,
    explained=0.5,
    untrained_explained=(0.25, 0.4),
    factors=(factor(0, -0.8, 0.3, 0.5), factor(1, 0.8, 0.9, 0.5), factor(2, 0.8, 0.3, 0.85)),
)


def test_a_match_counts_only_above_both_controls() -> None:
    assert words(FOUND) == (
        "3 factors explain 50 % of the variance; those of untrained networks explain up to 40 % of "
        "theirs. 1 match a concept better than permuted positions and untrained networks do: "
        "0 (mobility, −0.80)."
    )
    none = dataclasses.replace(FOUND, factors=FOUND.factors[1:])
    assert words(none).endswith(
        "0 match a concept better than permuted positions and untrained networks do."
    )


def test_the_section_has_every_factor_and_board() -> None:
    report = with_sections(made_up_report({"a": Made()}), factors=factors_section([FOUND]))
    page = " ".join(render_page(report).split())
    assert page.count('<b class="yes">mobility</b>') == 1
    assert "NMF of block.1.residual" in page
    assert page.count("a1: White P, 1.000") == 3
    assert page.count("a2: −.500") == 3
