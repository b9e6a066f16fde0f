"""Which form of probe each concept needs, as a section of the report: plain values and words."""

from collections.abc import Sequence
from typing import Any, Final

from engine.probing.probes.forms.compare import ENOUGH, FormComparison
from engine.probing.report.words import joined

_LINEAR: Final = ("linear", "sparse")


def forms_section(
    comparisons: Sequence[FormComparison], *, layer: str, checkpoint: str
) -> dict[str, Any]:
    """`report.sections["forms"]` for the comparisons of one layer of one checkpoint."""
    forms = list(dict.fromkeys(each.form for found in comparisons for each in found.forms))
    rows = [
        {
            "name": found.task,
            "kind": found.kind,
            "sufficient": found.sufficient,
            "best": max(each.score for each in found.forms),
            "scores": {
                each.form: {
                    "score": each.score,
                    "gain": each.gain,
                    "controls": [list(control) for control in each.controls],
                    "control_task": each.control_task,
                    "selectivity": each.selectivity,
                }
                for each in found.forms
            },
        }
        for found in comparisons
    ]
    return {
        "layer": layer,
        "checkpoint": checkpoint,
        "enough": ENOUGH,
        "forms": forms,
        "rows": rows,
        "words": _words(comparisons),
    }


def _words(comparisons: Sequence[FormComparison]) -> list[str]:
    """What suffices, and what richer forms add in the network and not in the controls alone."""
    enough = [each.task for each in comparisons if each.sufficient in _LINEAR]
    share = f"{len(enough)} of {len(comparisons)} concepts"
    words = [f"A linear probe suffices, to within {ENOUGH:g}, for {share}{_named(enough)}."]
    for form in dict.fromkeys(each.sufficient for each in comparisons):
        if form in _LINEAR:
            continue
        richer = [each for each in comparisons if each.sufficient == form]
        real = [each.task for each in richer if _added(each, form) > ENOUGH]
        rest = [each.task for each in richer if each.task not in real]
        words.append(f"{form} adds to the gain over the controls for {len(real)}{_named(real)}.")
        if rest:
            shared = f"{len(rest)}{_named(rest)}"
            words[-1] += f" It scores better, but in the controls as well, for {shared}."
    return words


def _named(names: Sequence[str]) -> str:
    return f": {joined(names)}" if names else ""


def _added(found: FormComparison, form: str) -> float:
    """By how much the gain of a form exceeds that of the linear probe; 0 without controls."""
    gains = {each.form: each.gain for each in found.forms}
    richer, linear = gains.get(form), gains.get("linear")
    return 0.0 if richer is None or linear is None else richer - linear
