"""What a richer form adds in the network is told from what it adds in the controls, too."""

from engine.probing.probes.forms.compare import FormComparison, FormScore
from engine.probing.report.forms import LookAhead, forms_section
from engine.probing.report.page import render_page
from tests.support.network.report_cases import Made, made_up_report, with_sections


def scored(
    form: str, score: float, raw: float, linear_gain: float | None = None, half: float = 0.1
) -> FormScore:
    """With one control; bounds are so far from the estimates."""
    gain = score - raw
    added = None if linear_gain is None else gain - linear_gain
    return FormScore(
        form=form,
        score=score,
        controls=(("raw input", raw),),
        gain=gain,
        control_task=0.0,
        selectivity=score,
        gain_interval=(gain - half, gain + half),
        added=added,
        added_interval=None if added is None else (added - half, added + half),
    )


def compared(
    name: str, linear: float, mlp: float, raw_linear: float, raw_mlp: float
) -> FormComparison:
    """Two forms with one control each."""
    forms = (
        scored("linear", linear, raw_linear),
        scored("mlp", mlp, raw_mlp, linear - raw_linear),
    )
    return FormComparison(name, "real", forms, train=1_400, test=600)


FOUND = (
    compared("plain", 0.9, 0.905, 0.5, 0.6),
    compared("in the network", 0.5, 0.9, 0.4, 0.45),
    compared("in the input", 0.5, 0.9, 0.4, 0.85),
    compared("chance", 0.5, 0.59, 0.4, 0.4),
)


def test_what_only_the_controls_gain_is_not_called_the_networks() -> None:
    found = [*FOUND, compared("random", 0.5, 0.9, 0.4, 0.4)]
    section = forms_section(found, layer="final", checkpoint="step 1,551", random={"random"})
    assert section["words"] == [
        "For 1 of 4 concepts a linear probe scores as well as any form, to within 0.01.",
        (
            "Supported: a hidden layer (mlp) adds to the gain over the controls for 1 concept: in "
            "the network (+0.35)."
        ),
        (
            "Not supported: a hidden layer (mlp) scores better for 2 more, but so it does on the "
            "controls, or by no more than chance may do: in the input, chance."
        ),
    ]
    sparse = FormComparison(
        *("few features", "real"),
        (scored("linear", 0.5, 0.4), scored("sparse", 0.7, 0.6, 0.1), scored("mlp", 0.7, 0.6, 0.1)),
        *(1_400, 600),
    )
    words = forms_section([sparse, FOUND[3]], layer="final", checkpoint="")["words"]
    assert words[0] == (
        "For 0 of 2 concepts a linear probe scores as well as any form, to within 0.01; for 1 more "
        "a sparse one does, which is linear as well."
    )
    assert "(mlp) scores better for 1 concept, but so" in words[-1]
    alone = forms_section(FOUND[:1], layer="final", checkpoint="", left_out=["rare"])
    assert alone["words"][-1] == (
        "Not compared, since too few of these positions have a label, or one of the classes: "
        "1 concept: rare."
    )
    many = forms_section((), layer="final", checkpoint="", left_out=["a, b", *"cdefghijklmn"])
    assert many["words"][0].endswith(
        "13 concepts: a, b; c; d; e; f; g; h; i; j; k; l; m and 1 more."
    )
    # Where most is added first, random concepts last.
    names = ["in the network", "chance", "in the input", "plain", "random"]
    assert [row["name"] for row in section["rows"]] == names
    assert section["first"] == 4
    (without,) = forms_section(FOUND[:1], layer="final", checkpoint="")["words"][1:]
    assert without == (
        "Not supported: that a hidden layer (mlp) adds to the gain over the controls of any "
        "concept."
    )


def look_ahead(gain: float, added: float) -> LookAhead:
    """Of a bilinear probe, with bounds 0.1 from its gain and from what it adds."""
    forms = (scored("linear", 0.3, 0.3), scored("bilinear", 0.3 + gain, 0.3, gain - added))
    return LookAhead(
        name="square of the best move in two plies",
        ply=2,
        positions=500,
        distinct=180,
        needed=200,
        comparison=FormComparison("later", "categorical", forms, train=350, test=150),
    )


def test_links_of_squares_are_supported_by_their_gain_over_the_controls() -> None:
    found = [look_ahead(0.2, 0.2), look_ahead(0.2, 0.05), look_ahead(0.05, 0.05)]
    section = forms_section((), found, layer="final", checkpoint="")
    both, linked, none = [each["words"].split("finds 0.30. ")[1] for each in section["look_ahead"]]
    supported = "Supported: the network links the two squares more than the controls do"
    assert both == f"{supported} (+0.20, +0.10 to +0.30), and more than a linear probe reads."
    assert linked == (
        f"{supported} (+0.20, +0.10 to +0.30), but not that it takes a bilinear probe to read."
    )
    assert none == (
        "Not supported: that the network links the two squares; its gain is +0.05, −0.05 to +0.15."
    )


def test_the_section_has_every_figure() -> None:
    section = forms_section(FOUND, [look_ahead(0.2, 0.2)], layer="final", checkpoint="step 1,551")
    page = " ".join(
        render_page(with_sections(made_up_report({"plain": Made()}), forms=section)).split()
    )
    assert "at final, step 1,551" in page
    assert (
        'in the network</th><td>0.500 <span class="soft">(+0.100)</span></td>'
        '<td>0.900 <span class="soft">(+0.450)</span> *</td><td>mlp</td>'
    ) in page
    assert "in the input: 0.90; linear 0.50" in page
    assert "up to 1,400 positions that are fitted to and 600 held out" in page
    assert "no exact results are known" not in page
    assert '<td>350 + 150</td><td>0.300 <span class="soft">(0.000)</span></td>' in page
    unsolved = forms_section(FOUND, layer="final", checkpoint="")
    page = render_page(with_sections(made_up_report({"plain": Made()}), forms=unsolved))
    assert "Looking ahead is not compared: no exact results are known" in page
