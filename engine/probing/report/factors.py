"""Factors of activations as a section of the report: plain values, and words by rule."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from engine.probing.analyses.factors import Factor, Factors
from engine.probing.report.drawing.svg import plain
from engine.probing.report.words import joined


def factors_section(found: Sequence[Factors]) -> dict[str, Any]:
    """`report.sections["factors"]` for the factors of layers, by one method or several."""
    return {
        "found": [
            dataclasses.asdict(each)
            | {"stands_out": [_stands_out(factor) for factor in each.factors], "words": words(each)}
            for each in found
        ]
    }


def words(found: Factors) -> str:
    """How many factors match a concept better than both controls do, and which."""
    better = [each for each in found.factors if _stands_out(each)]
    named = joined(
        f"{each.number} ({each.match.concept}, {plain(each.match.correlation)})"
        for each in better
        if each.match is not None
    )
    untrained = max(found.untrained_explained, default=0.0)
    explained, others = (f"{100 * share:.0f} %" for share in (found.explained, untrained))
    text = (
        f"{len(found.factors)} factors explain {explained} of the variance; those of untrained "
        f"networks explain up to {others} of theirs. {len(better)} match a concept better than "
        "permuted positions and untrained networks do"
    )
    return f"{text}{f': {named}' if better else ''}."


def _stands_out(factor: Factor) -> bool:
    return factor.match is not None and factor.match.stands_out
