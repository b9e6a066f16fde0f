"""What the commands that train a network have in common."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.progress import Bars
from training.run.state import saved_round


@contextmanager
def training_session(path: Path, bars: Bars) -> Iterator[None]:
    """Close the bars when the block ends; after ^C say which round of the run is saved."""
    try:
        yield
    except KeyboardInterrupt:
        bars.close()
        number = saved_round(path)
        if number is not None:
            print(
                f"{path}: round {number} is saved, the same command continues the run",
                file=sys.stderr,
            )
        raise
    finally:
        bars.close()
