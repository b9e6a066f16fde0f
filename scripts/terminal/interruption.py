"""What a command says when ^C or SIGTERM ends it: what is kept, and what is lost."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scripts.terminal.progress import write_line


@contextmanager
def telling(kept: str | Callable[[], str]) -> Iterator[None]:
    """Where the block is interrupted, say on standard error what is kept; also with --quiet.

    To be entered before bars are: they are removed by then.
    """
    try:
        yield
    except KeyboardInterrupt:
        write_line(kept if isinstance(kept, str) else kept(), sys.stderr)
        raise
