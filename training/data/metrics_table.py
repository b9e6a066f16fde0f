"""The lines of `metrics.jsonl` as a flat table: a column a figure, a row a round."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The figures of a line; those within others are named as "losses.policy"."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def metrics_table(lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns, in the order in which they first occur, and the rows; None where a
    line lacks a figure."""
    rows = [dict(flat(values)) for values in lines]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]


def metrics_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV, empty where a line lacks a figure."""
    names, rows = metrics_table(lines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()
