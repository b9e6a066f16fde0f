"""`pawnscope runs tensorboard RUN`: the figures of a run for TensorBoard."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro import conf

from engine.rules.errors import InputError
from scripts.commands.runs.removal import find_run
from scripts.options import Options, parse_options
from scripts.tensorboard import FOLDER, TensorBoardWriter
from training.data.run_directory import read_metrics


@dataclass(frozen=True, kw_only=True)
class TensorBoardOptions(Options):
    """Write the figures of a run's metrics.jsonl as TensorBoard's event files."""

    # The run's directory, or its name in runs/.
    run: Annotated[Path, conf.Positional]
    # A new folder for the files; RUN/tensorboard, written anew, if left out.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Write the files."""
    options = parse_options(TensorBoardOptions, "runs tensorboard", arguments)
    run = find_run(options.run)
    lines = read_metrics(run)
    if not lines:
        raise InputError(f"{run}: it has no figures yet")
    folder = options.out or run / FOLDER
    if options.out is not None and folder.exists():
        raise InputError(f"--out {folder}: exists already")
    with closing(TensorBoardWriter(run, folder)) as writer:
        for values in lines:
            writer.add(values)
    print(f"{folder}: {len(lines)} rounds; see them with: tensorboard --logdir {folder}")
    return 0
