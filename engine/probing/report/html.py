"""A report as one HTML file that a person reads: no script, no address, nothing to load."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Final

from engine.probing.report.cells import (
    SMALLEST_GAIN,
    Cell,
    ConceptSummary,
    Counts,
    Measurement,
    Report,
)
from engine.probing.report.score_chart import axis_svg, shared_axis, strip_svg

_FULL_COLOUR: Final = 0.2
"""A gain from here on has the strongest colour."""
_CEILING: Final = 0.99
"""Controls from here on leave nothing to gain."""
_ABOVE, _BELOW = (24, 119, 126), (186, 92, 38)
"""Colours of gains above and below zero: teal and rust, apart for colour-blind readers too."""


def render_page(report: Report) -> str:
    """The HTML of a report."""
    style = files("engine.probing.report").joinpath("page.css").read_text(encoding="utf-8")
    measured = [concept for concept in report.concepts if concept.absent is None]
    absent = [concept for concept in report.concepts if concept.absent is not None]
    title = f"Probe report: {report.variant}"
    body = [
        _header(report),
        _glance(report, measured),
        _how_to_read(report),
        *(_concept(report, concept) for concept in measured),
        _absent(absent),
        _method(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _header(report: Report) -> str:
    counts = report.counts
    tiles = [
        (f"{counts.distinct:,}", "distinct positions", f"{counts.rows:,} with their twins"),
        (f"{counts.train_distinct:,}", "to fit to", f"{counts.train_rows:,} rows"),
        (f"{counts.test_distinct:,}", "held out", f"{counts.test_rows:,} rows"),
        (str(len(report.random_seeds)), "untrained networks", "of the same build"),
    ]
    tile_text = "".join(
        f'<div class="tile"><b>{number}</b><span>{name}</span><small>{note}</small></div>'
        for number, name, note in tiles
    )
    networks = " and ".join(
        escape(each.name) + ("" if each.step is None else f" ({escape(each.label)})")
        for each in report.checkpoints
    )
    return (
        f"<header><p class='brand'>Pawnscope probe report</p><h1>{escape(report.variant)}</h1>"
        f"<p>Run <b>{escape(report.run)}</b>: {networks}.<br>{escape(report.network)}.<br>"
        f"Positions: {escape(counts.source)}; split by {escape(counts.split_by)}.</p>"
        f"<div class='tiles'>{tile_text}</div></header>"
    )


def _glance(report: Report, concepts: Sequence[ConceptSummary]) -> str:
    """Gains of all concepts, layers and checkpoints as one coloured table."""
    layers = report.layers
    groups = "".join(
        f'<th colspan="{len(layers)}" class="group">{escape(checkpoint.label)}</th>'
        for checkpoint in report.checkpoints
    )
    names = "".join(
        f'<th class="layer{_edge(index)}">{_short(layer)}</th>'
        for _ in report.checkpoints
        for index, layer in enumerate(layers)
    )
    rows = []
    for concept in concepts:
        cells = [
            _glance_cell(report.cell(concept.name, layer, checkpoint.name), index)
            for checkpoint in report.checkpoints
            for index, layer in enumerate(layers)
        ]
        name = f'<th class="concept">{escape(concept.name)}<small>{concept.metric}</small></th>'
        rows.append(f"<tr>{name}{''.join(cells)}</tr>")
    return (
        "<section><h2>Gain over the controls</h2><p>Score of the probe minus the better of raw "
        "input and untrained networks. Coloured where its whole interval is on one side of zero "
        f"and it is at least {SMALLEST_GAIN:g}.</p><table class='glance'><thead><tr><th></th>"
        f"{groups}</tr><tr><th></th>{names}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _glance_cell(cell: Cell, index: int) -> str:
    if cell.measurement is None:
        reason = escape(cell.refused or "")
        return f'<td class="refused{_edge(index)}" title="{reason}">refused</td>'
    measurement = cell.measurement
    return (
        f'<td class="gain{_edge(index)}" style="{_colour(measurement)}" '
        f'title="{escape(_interval(measurement))}">{_signed(measurement.gain)}</td>'
    )


def _edge(index: int) -> str:
    return " edge" if index == 0 else ""


def _short(layer: str) -> str:
    return escape(layer.replace("block.", "b").replace(".residual", "").replace(".hidden", ""))


def _how_to_read(report: Report) -> str:
    measured = sum(cell.measurement is not None for cell in report.cells)
    by_chance = (
        f" Of {measured} intervals about {measured * (1 - report.confidence):.0f} miss by chance "
        "alone, and the best layer of many looks better than it is."
        if measured
        else ""
    )
    return f"""<section class="reading"><h2>What may be concluded, and what may not</h2>
<div class="columns"><div class="may"><h3>May</h3><ul>
<li><b>A gain above zero, interval and all:</b> a linear probe reads the concept from this layer
better than from the bare board and from untrained networks of the same build. Training has made
it easier to read.</li>
<li><b>A gain below zero:</b> the layer shows less of it than the bare board or an untrained network
does, or has it in another form. Layers near the heads often let go of what the heads do not
need.</li>
<li><b>First beside last:</b> a first checkpoint at step 0 is untrained too, so that it should gain
nothing.</li></ul></div>
<div class="may-not"><h3>May not</h3><ul>
<li><b>Decodable is not used.</b> No intervention was made in this report. Nothing here says that
the network consults a concept when it judges a position or picks a move.</li>
<li><b>No gain is not absence.</b> The concept may be there in a form that this probe does not
read, and where the controls are near 1 there is nothing to gain.</li>
<li><b>One run is one run.</b> Intervals ({report.confidence:.0%}) are over held-out positions and
untrained networks, for this split; another training run may differ.{by_chance}</li>
</ul></div></div></section>"""


def _concept(report: Report, concept: ConceptSummary) -> str:
    cells = [cell for cell in report.cells if cell.concept == concept.name]
    measurements = [cell.measurement for cell in cells if cell.measurement is not None]
    head = (
        f'<section class="card"><h2>{escape(concept.name)} <span class="chip">{concept.kind}, '
        f"{concept.metric}</span></h2><p>{escape(concept.definition)}</p>"
        f"{_balance(concept, report.counts)}"
    )
    if not measurements:
        return f'{head}<p class="refused wide">{escape(cells[0].refused or "")}</p></section>'
    return (
        f"{head}<p class='finding'>{_finding(report, cells)}</p>{_chart(report, concept)}"
        f"{_all_numbers(report, cells)}</section>"
    )


def _balance(concept: ConceptSummary, counts: Counts) -> str:
    """How often each label occurs."""
    if concept.mean is not None and concept.spread is not None:
        return (
            f'<p class="balance">Mean {_plain(concept.mean)}, standard deviation '
            f"{_plain(concept.spread)}; {counts.train_rows:,} rows to fit to, "
            f"{counts.test_rows:,} held out.</p>"
        )
    total = sum(each.train + each.test for each in concept.classes)
    parts = "".join(
        f'<span style="flex-grow:{each.train + each.test}"></span>' for each in concept.classes
    )
    words = "; ".join(
        f"{escape(each.name)} {(each.train + each.test) / total:.0%} ({each.train:,} rows to fit "
        f"to, {each.test:,} held out)"
        for each in concept.classes
    )
    return f'<div class="bar">{parts}</div><p class="balance">{words}.</p>'


def _finding(report: Report, cells: Sequence[Cell]) -> str:
    last = report.checkpoints[-1]
    final = [(cell, cell.measurement) for cell in cells if cell.checkpoint == last.name]
    measured = [(cell, each) for cell, each in final if each is not None]
    if not measured:
        return f"No result for {escape(last.label)}."
    above = sum(each.is_above_controls for _, each in measured)
    cell, best = max(measured, key=lambda pair: pair[1].gain)
    place = escape(last.name) if last.step is None else f"Step {last.step:,}"
    text = (
        f"{place}: {above} of {len(measured)} layers are above the controls; the largest gain is "
        f"{escape(_interval(best))} at {escape(cell.layer)}."
    )
    if min(each.baseline for _, each in measured) > _CEILING:
        text += " The controls alone read it almost perfectly: there is nothing to gain."
    return text


def _chart(report: Report, concept: ConceptSummary) -> str:
    """One row a layer: the strip, then gains and controls in figures."""
    rows = [
        [report.cell(concept.name, layer, checkpoint.name) for checkpoint in report.checkpoints]
        for layer in report.layers
    ]
    axis = shared_axis([cell.measurement for row in rows for cell in row if cell.measurement])
    checkpoints = "".join(
        f"<th>gain<small>{escape(each.label)}</small></th>" for each in report.checkpoints
    )
    body = []
    for layer, row in zip(report.layers, rows, strict=True):
        name = f'<th class="layer">{escape(layer)}<small>width {row[0].width}</small></th>'
        gains = "".join(_gain_cell(cell) for cell in row)
        last = row[-1].measurement
        controls = '<td colspan="3"></td>' if last is None else _control_cells(last)
        body.append(f"<tr>{name}<td>{strip_svg(axis, row)}</td>{gains}{controls}</tr>")
    key = (
        "<p class='key'><i class='k-last'></i>last checkpoint with the interval of its gain "
        "<i class='k-first'></i>first <i class='k-untrained'></i>untrained networks, all and mean "
        "<i class='k-raw'></i>raw input <i class='k-chance'></i>majority</p>"
    )
    return (
        f"<table class='chart'><thead><tr><th>layer</th><th>{axis_svg(axis)}</th>{checkpoints}"
        "<th>untrained<small>mean</small></th><th>shuffled<small>labels</small></th>"
        "<th>control task<small>memorised / held out</small></th></tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>{key}"
    )


def _gain_cell(cell: Cell) -> str:
    if cell.measurement is None:
        return f'<td class="refused">{escape(cell.refused or "")}</td>'
    measurement = cell.measurement
    low, high = _signed(measurement.gain_low, 3), _signed(measurement.gain_high, 3)
    return (
        f'<td class="gain" style="{_colour(measurement)}">{_signed(measurement.gain, 3)}'
        f"<small>{low} to {high}</small></td>"
    )


def _control_cells(measurement: Measurement) -> str:
    mean = sum(measurement.random_init) / len(measurement.random_init)
    return (
        f"<td>{_plain(mean)}</td><td>{_plain(measurement.shuffled_labels)}</td>"
        f"<td>{_plain(measurement.control_task_training)} / {_plain(measurement.control_task)}</td>"
    )


def _all_numbers(report: Report, cells: Sequence[Cell]) -> str:
    rows = []
    for cell in cells:
        names = f"<td>{escape(cell.checkpoint)}</td><th>{escape(cell.layer)}</th>"
        each = cell.measurement
        if each is None:
            rows.append(f'<tr>{names}<td colspan="9">{escape(cell.refused or "")}</td></tr>')
            continue
        numbers = [
            _plain(each.score),
            "" if each.auc is None else _plain(each.auc),
            _plain(each.training_score),
            _plain(each.majority),
            _plain(each.raw_input),
            " ".join(map(_plain, each.random_init)),
            _plain(each.shuffled_labels),
            f"{_plain(each.control_task_training)} / {_plain(each.control_task)}",
            f"{each.penalty:g}",
        ]
        rows.append(f"<tr>{names}{''.join(f'<td>{number}</td>' for number in numbers)}</tr>")
    return (
        "<details><summary>All numbers</summary><table class='numbers'><thead><tr>"
        "<th>checkpoint</th><th>layer</th><th>score</th><th>AUC</th><th>on training rows</th>"
        "<th>majority</th><th>raw input</th><th>untrained</th><th>shuffled</th>"
        f"<th>control task</th><th>penalty</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</details>"
    )


def _absent(concepts: Sequence[ConceptSummary]) -> str:
    if not concepts:
        return ""
    items = "".join(
        f"<li><b>{escape(each.name)}</b>: {escape(each.absent or '')}.</li>" for each in concepts
    )
    return f"<section><h2>Not measured</h2><ul>{items}</ul></section>"


def _method(report: Report) -> str:
    games = report.counts.test_games
    drawn = "held-out canonical positions" if games is None else f"{games:,} held-out games"
    return f"""<section class="method"><h2>How it was measured</h2>
<p><b>Probes</b> are linear: ridge regression (R²) for scalars, logistic regression with classes
weighted alike (balanced accuracy, chance is 1 / classes) otherwise, on activations read as
“{escape(report.readout)}” over the squares. Their penalty is chosen inside the training rows.
<b>Splits</b> keep a position, its mirror image and its colour-swapped twin together
({escape(report.counts.split_by)}). A probe that is wider than the number of distinct training
positions is refused: it could fit anything.</p>
<p><b>Controls.</b> <i>Majority</i> knows no features. <i>Raw input</i> is the same probe on one-hot
squares. <i>Untrained</i> networks are {len(report.random_seeds)} fresh ones of the same build.
<i>Shuffled labels</i> are the concept's own, dealt anew over the positions: chance, unless the
split leaks. The <i>control task</i> (Hewitt and Liang 2019) has labels that a hash of the board
decides; there is nothing to learn, so its score on training rows is what the probe memorises.</p>
<p><b>Intervals</b> come from {report.resamples:,} bootstrap resamples of the {drawn}, each
against the same controls as the gain itself, with the luck that one more untrained network would
have. Seed {report.seed}.</p></section>"""


def _colour(measurement: Measurement) -> str:
    """Background and text of a gain; plain where it is none."""
    if not (measurement.is_above_controls or measurement.is_below_controls):
        return "color:#6b7280"
    red, green, blue = _ABOVE if measurement.is_above_controls else _BELOW
    strength = min(abs(measurement.gain) / _FULL_COLOUR, 1.0)
    opacity = 0.14 + 0.76 * strength
    text = "#fff" if opacity > 0.55 else "#111827"
    return f"background:rgba({red},{green},{blue},{opacity:.2f});color:{text};font-weight:600"


def _interval(measurement: Measurement) -> str:
    low, high = _signed(measurement.gain_low, 3), _signed(measurement.gain_high, 3)
    return f"{_signed(measurement.gain, 3)} ({low} to {high})"


def _signed(number: float, digits: int = 2) -> str:
    if round(number, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{number:+.{digits}f}".replace("-", "−")


def _plain(number: float) -> str:
    return _signed(number).removeprefix("+")
