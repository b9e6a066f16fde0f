"""A report as it was before its JSON was written, but for digits that are not written."""

import dataclasses
import json
import types
import typing
from typing import Any

from engine.probing.report.results import FORMAT, Report


def read_back(text: str) -> Report:
    """The report of a JSON text."""
    found = json.loads(text)
    assert found.pop("format") == FORMAT
    report = _built(Report, found)
    assert isinstance(report, Report)
    return report


def _built(kind: Any, value: Any) -> Any:
    """A value of the declared kind from plain values."""
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return None if value is None else _built(arguments[0], value)
    if typing.get_origin(kind) is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(map(_built, kinds, value))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        assert set(value) == {each.name for each in dataclasses.fields(kind)}
        built: Any = kind
        return built(**{name: _built(hints[name], each) for name, each in value.items()})
    return value
