"""Units are shown with their maps, beside those of untrained networks."""

import dataclasses

from engine.probing.analyses.units import PieceMap, Unit, Units, UnitSummary
from engine.probing.report.page import render_page
from tests.support.network.report_cases import Made, made_up_report, with_sections


def unit(number: int) -> Unit:
    """One that goes with my pawn on square 1."""
    maps = (PieceMap(piece="my P", letter="P", covariances=(0.25, -0.5, None, 0.0)),)
    return Unit(number=number, correlation=-0.75, piece="my P", square=1, linear=0.5, maps=maps)


def test_the_section_has_summaries_and_maps() -> None:
    summary = UnitSummary(units=64, correlations=(0.1, 0.2, 0.4), linear=(0.3, 0.5, 0.9))
    without = UnitSummary(units=60, correlations=(0.1, 0.3, 0.4), linear=())
    found = Units(
        variant="hexapawn4x4",
        layer="final",
        width=2,
        height=2,
        positions=600,
        trained=summary,
        untrained=(without,),
        top=(unit(7),),
        untrained_top=(unit(3),),
    )
    report = with_sections(made_up_report({"a": Made()}), units=dataclasses.asdict(found))
    page = " ".join(render_page(report).split())
    assert "Trained, unit 7: −0.75 with my P on square 1" in page
    assert "Untrained, unit 3" in page
    assert '<td>64</td><td>0.20 <span class="soft">(0.10 to 0.40)</span></td>' in page
    assert '<td>60</td><td>0.30 <span class="soft">(0.10 to 0.40)</span></td><td>–</td>' in page
    assert page.count("<title>b1: −.500</title>") == 2
    assert page.count("<title>a2</title>") == 2, "a piece that never stands there has no figure"
