"""The reference of commands, `scripts/commands/README.md`, written from what `--help` prints.

`python -m scripts.reference` writes it anew; a test compares it with the program.
"""

import contextlib
import importlib
import io
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from engine.system.files import write_whole
from scripts import cli

REFERENCE: Final = Path(__file__).with_name("commands") / "README.md"
_COLUMNS: Final = 96
_BEGINNING: Final = """\
# The commands

What `pawnscope COMMAND --help` prints, written by `python -m scripts.reference`.
"""


def reference() -> str:
    """The text of the file."""
    parts = [_BEGINNING]
    for words in _commands():
        parts.append(f"\n## pawnscope {' '.join(words)}\n\n```text\n{help_text(words)}\n```\n")
    return "".join(parts)


def _commands() -> Iterator[list[str]]:
    """The words of every command, each with its subcommands behind it."""
    for name, command in cli.COMMANDS.items():
        yield [name]
        module = importlib.import_module(command.module or f"scripts.commands.{name}")
        for subcommand in getattr(module, "SUBCOMMANDS", ()):
            yield [name, subcommand]


def help_text(words: list[str]) -> str:
    """What a command prints for `--help`, in lines of at most 96 columns."""
    printed = io.StringIO()
    # The width of this terminal is not to matter, nor whether it has colours.
    plain = {"COLUMNS": str(_COLUMNS), "NO_COLOR": "1"}
    with (
        mock.patch.dict(os.environ, plain),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        cli.main([*words, "--help"])
    # Into a stream without an encoding, each part is a title above a rule.
    text = re.sub(r"^ (\S.*?) *\n -{9,} *$", r"\1:", printed.getvalue(), flags=re.MULTILINE)
    lines = (textwrap.fill(line, _COLUMNS) for line in text.strip("\n").splitlines())
    return "\n".join(lines)


if __name__ == "__main__":
    write_whole(REFERENCE, reference())
