"""A question that a person at the terminal answers with yes or no."""

import sys


def can_ask() -> bool:
    """Whether a person sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agrees(question: str, *, default: bool) -> bool:
    """Ask on standard error: standard output belongs to the command's results.

    An empty line stands for the default, the end of the input for no.
    """
    print(f"{question} [{'Y/n' if default else 'y/N'}] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        # The line of the question is still open.
        print(file=sys.stderr)
        return False
    word = answer.strip().lower()
    return word in ("y", "yes") or (default and not word)
