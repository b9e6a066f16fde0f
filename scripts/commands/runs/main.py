"""`pawnscope runs …`: the runs that there are, and what can be done with their files."""

import importlib
from collections.abc import Sequence
from typing import Final

SUBCOMMANDS: Final = {
    "rm": "scripts.commands.runs.removal",
    "csv": "scripts.commands.runs.metrics_csv",
    "tensorboard": "scripts.commands.runs.metrics_tensorboard",
}
_USES: Final = """the training runs:

  pawnscope runs                      list them
  pawnscope runs rm RUN …             remove runs, after asking
  pawnscope runs csv RUN              print a run's figures, a row a round
  pawnscope runs tensorboard RUN      write a run's figures for TensorBoard
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand that the first word names, or else list the runs; returns the status."""
    first = arguments[0] if arguments else ""
    if first in SUBCOMMANDS:
        status: int = importlib.import_module(SUBCOMMANDS[first]).main(list(arguments[1:]))
        return status
    if first in ("-h", "--help"):
        print(_USES)
    from scripts.commands.runs import listing

    return listing.main(list(arguments))
