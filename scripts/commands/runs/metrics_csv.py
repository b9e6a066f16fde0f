"""`pawnscope runs csv RUN`: the figures of a run as a flat table."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro import conf

from engine.system.files import write_whole
from scripts.commands.runs.removal import find_run
from scripts.options import Options, parse_options, require_writable
from training.data.metrics_table import metrics_csv
from training.data.run_directory import read_metrics


@dataclass(frozen=True, kw_only=True)
class CsvOptions(Options):
    """Print the figures of a run's metrics.jsonl as CSV: a row a round, a column a figure."""

    # The run's directory, or its name in runs/.
    run: Annotated[Path, conf.Positional]
    # Write to this file instead.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Write the table."""
    options = parse_options(CsvOptions, "runs csv", arguments)
    if options.out is not None:
        require_writable(options.out, "--out")
    text = metrics_csv(read_metrics(find_run(options.run)))
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_whole(options.out, text)
    return 0
