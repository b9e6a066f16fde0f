"""Which form of probe each concept needs, as a section of the report: plain values and words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.probing.probes.forms.compare import ENOUGH, FormComparison, FormScore
from engine.probing.report.drawing.svg import signed
from engine.probing.report.words import joined

_NAMES: Final = {"mlp": "a hidden layer (mlp)"}
_LINEAR: Final = ("linear", "sparse")
_SHOWN: Final = 12
"""Names in a sentence, at most."""
_FIRST: Final = 15
"""Rows of the table that are not folded."""


@dataclass(frozen=True, kw_only=True)
class LookAhead:
    """Whether a layer links the square of the best move to that of a later one, in forced lines."""

    name: str
    # Plies from the first move to the later one.
    ply: int
    # Positions with such a line, how many of them are distinct, and how many are needed.
    positions: int
    distinct: int
    needed: int
    # The linear and the bilinear form; None where they are not compared.
    comparison: FormComparison | None = None
    # Why not.
    refused: str | None = None


def forms_section(
    comparisons: Sequence[FormComparison],
    look_ahead: Sequence[LookAhead] = (),
    *,
    layer: str,
    checkpoint: str,
    random: Collection[str] = (),
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """`report.sections["forms"]` for the comparisons of one layer of one checkpoint.

    `random` are names of control concepts, of which no claim is made; `left_out` of those of which
    too few positions have a label.
    """
    real = [each for each in comparisons if each.task not in random]
    # Where richer forms add most comes first, random concepts last.
    ranked = sorted(comparisons, key=lambda each: (each.task in random, -_most_added(each)))
    forms = list(dict.fromkeys(each.form for found in comparisons for each in found.forms))
    return {
        "layer": layer,
        "checkpoint": checkpoint,
        "enough": ENOUGH,
        "forms": forms,
        "rows": [_row(found) for found in ranked],
        "first": min(_FIRST, len(real)),
        "train": max((each.train for each in comparisons), default=0),
        "test": max((each.test for each in comparisons), default=0),
        "words": [*(_words(real) if real else ()), *_left_out_words(left_out)],
        "left_out": list(left_out),
        "look_ahead": [
            {
                "name": each.name,
                "ply": each.ply,
                "positions": each.positions,
                "distinct": each.distinct,
                "needed": each.needed,
                "refused": each.refused,
                "row": None if each.comparison is None else _row(each.comparison),
                "words": _look_ahead_words(each),
            }
            for each in look_ahead
        ],
    }


def _most_added(found: FormComparison) -> float:
    """By forms that are not linear."""
    richer = [each for each in found.forms if each.form not in _LINEAR]
    return max((each.added for each in richer if each.added is not None), default=0.0)


def _row(found: FormComparison) -> dict[str, Any]:
    return {
        "name": found.task,
        "kind": found.kind,
        "train": found.train,
        "test": found.test,
        "sufficient": found.sufficient,
        "best": max(each.score for each in found.forms),
        "scores": {each.form: _figures(each) for each in found.forms},
    }


def _figures(found: FormScore) -> dict[str, Any]:
    return {
        "score": found.score,
        "gain": found.gain,
        "gain_interval": _listed(found.gain_interval),
        "added": found.added,
        "added_interval": _listed(found.added_interval),
        "is_added": found.is_added,
        "controls": [list(control) for control in found.controls],
        "control_task": found.control_task,
        "selectivity": found.selectivity,
    }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _words(comparisons: Sequence[FormComparison]) -> list[str]:
    """What suffices, and what richer forms add in the network and not in the controls alone."""
    linear, sparse = (sum(each.sufficient == form for each in comparisons) for form in _LINEAR)
    of = f"{linear} of {len(comparisons)} concepts"
    words = [f"For {of} a linear probe scores as well as any form, to within {ENOUGH:g}."]
    if sparse:
        words[0] = f"{words[0][:-1]}; for {sparse} more a sparse one does, which is linear as well."
    for form in dict.fromkeys(each.form for found in comparisons for each in found.forms):
        if form not in _LINEAR:
            words += _words_of_form(form, comparisons)
    return words


def _left_out_words(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    few = "too few of these positions have a label, or one of the classes"
    concepts = "1 concept" if len(names) == 1 else f"{len(names)} concepts"
    return [f"Not compared, since {few}: {concepts}{_named(names)}."]


def _words_of_form(form: str, comparisons: Sequence[FormComparison]) -> list[str]:
    name = _NAMES.get(form, form)
    pairs = [(each, _of(each, form)) for each in comparisons]
    added = [(each, own) for each, own in pairs if own is not None and own.is_added]
    added.sort(key=lambda pair: -(pair[1].added or 0.0))
    named = _named([f"{each.task} ({_signed(own.added)})" for each, own in added])
    concepts = "1 concept" if len(added) == 1 else f"{len(added)} concepts"
    words = [f"Supported: {name} adds to the gain over the controls for {concepts}{named}."]
    if not added:
        words = [f"Not supported: that {name} adds to the gain over the controls of any concept."]
    clear = {each.task for each, _ in added}
    rest = [each.task for each, _ in pairs if each.sufficient == form and each.task not in clear]
    if rest:
        concepts = "concept" if len(rest) == 1 else "concepts"
        words.append(
            f"Not supported: {name} scores better for {len(rest)} "
            f"{'more' if added else concepts}, but so it does on the "
            f"controls, or by no more than chance may do{_named(rest)}."
        )
    return words


def _look_ahead_words(found: LookAhead) -> str:
    """One sentence or two about the lines of one length."""
    asked = f"The {found.name}"
    if found.comparison is None:
        return f"{asked} is not compared: {found.refused}."
    bilinear, linear = (_of(found.comparison, form) for form in ("bilinear", "linear"))
    assert bilinear is not None
    assert linear is not None
    control = max(bilinear.controls, key=lambda each: each[1])
    said = (
        f"{asked}: a bilinear probe finds {bilinear.score:.2f} (balanced accuracy), in the better "
        f"control ({control[0]}) {control[1]:.2f}; a linear probe finds {linear.score:.2f}."
    )
    if bilinear.gain_interval is None:
        return said
    low, high = bilinear.gain_interval
    gain = f"{_signed(bilinear.gain)}, {_signed(low)} to {_signed(high)}"
    if low > 0.0:
        said += f" Supported: the network links the two squares more than the controls do ({gain})"
        more = (
            "and more than a linear probe reads"
            if bilinear.is_added
            else ("but not that it takes a bilinear probe to read")
        )
        return f"{said}, {more}."
    return f"{said} Not supported: that the network links the two squares; its gain is {gain}."


def _of(found: FormComparison, form: str) -> FormScore | None:
    return next((each for each in found.forms if each.form == form), None)


def _signed(number: float | None) -> str:
    return "–" if number is None else signed(number)


def _named(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f": {joined(names[:_SHOWN])}{more}"
