"""What a richer form adds in the network is told from what it adds in the controls, too."""

from engine.probing.probes.forms.compare import FormComparison, FormScore
from engine.probing.report.forms import forms_section
from engine.probing.report.page import render_page
from tests.support.network.report_cases import Made, made_up_report, with_sections


def compared(
    name: str, linear: float, mlp: float, raw_linear: float, raw_mlp: float
) -> FormComparison:
    """Two forms with one control each."""
    scores = [("linear", linear, raw_linear), ("mlp", mlp, raw_mlp)]
    return FormComparison(
        name,
        "real",
        tuple(
            FormScore(form, score, (("raw input", raw),), score - raw, 0.0, score)
            for form, score, raw in scores
        ),
    )


FOUND = (
    compared("plain", 0.9, 0.905, 0.5, 0.6),
    compared("in the network", 0.5, 0.9, 0.4, 0.45),
    compared("in the input", 0.5, 0.9, 0.4, 0.85),
)


def test_what_only_the_controls_gain_is_not_called_the_networks() -> None:
    section = forms_section(FOUND, layer="final", checkpoint="step 1,551")
    linear, mlp = section["words"]
    assert linear == "A linear probe suffices, to within 0.01, for 1 of 3 concepts: plain."
    assert mlp == (
        "mlp adds to the gain over the controls for 1: in the network. It scores better, but in "
        "the controls as well, for 1: in the input."
    )


def test_the_section_has_every_figure() -> None:
    section = forms_section(FOUND, layer="final", checkpoint="step 1,551")
    page = " ".join(
        render_page(with_sections(made_up_report({"plain": Made()}), forms=section)).split()
    )
    assert "at final, step 1,551" in page
    assert 'in the network</th><td>0.500 <span class="soft">(+0.100)</span></td>' in page
    assert '<td>0.900 <span class="soft">(+0.450)</span></td><td>mlp</td>' in page
    assert "in the input: 0.90; linear 0.50" in page
