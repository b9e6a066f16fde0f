"""The benchmark of labelling measures every rule-based family, and all concepts together."""

import re

import pytest

import engine.probing.concepts  # noqa: F401 (registers them)
from engine.probing.concepts.registry import registered_concepts
from engine.rules.variant import get_variant
from scripts.benchmarks import concepts, rows


def test_rows_are_of_all_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concepts, "_POSITIONS", 64)
    monkeypatch.setattr(rows, "REPEATS", 1)
    found = {
        name: int(count)
        for row in concepts.concepts()
        for name, count in re.findall(r"concepts/gardner/(.*) \((\d+)\)", row.name)
        if row.value > 0
    }
    whole, quick = found.pop("all"), found.pop("all but two moves ahead")
    assert whole - quick == 4
    variant = get_variant("gardner")
    rule_based = [each for each in registered_concepts() if each.needs == "rules"]
    defined = [each for each in rule_based if each.undefined_in(variant) is None]
    assert whole == sum(found.values()) == len(defined) > 80
    assert set(found) == {each.family for each in rule_based}
