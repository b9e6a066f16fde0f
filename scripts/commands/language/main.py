"""`pawnscope language …`: the subcommands, and the module of each."""

import difflib
import importlib
from collections.abc import Sequence
from typing import Final

from engine.rules.errors import InputError
from scripts.commands.language import text as language_text

SUBCOMMANDS: Final = {
    "train": "scripts.commands.language.train",
    "continue": "scripts.commands.language.continuation",
}
_USES: Final = """language models of moves and of text:

  pawnscope language train VARIANT …                   train a model on the moves of games
  pawnscope language continue VARIANT --moves MOVES …  continue a game, with each move's probability
  pawnscope language --gpt2 FOLDER --prompt TEXT …     continue a text with GPT-2
  pawnscope language --gpt2-sizes                      parameters of GPT-2's four sizes
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand that the first word names, or else GPT-2's; returns the exit status.

    Raises InputError for a word that is none.
    """
    first = arguments[0] if arguments else ""
    if first in SUBCOMMANDS:
        status: int = importlib.import_module(SUBCOMMANDS[first]).main(list(arguments[1:]))
        return status
    if first and not first.startswith("-"):
        near = difflib.get_close_matches(first, SUBCOMMANDS, n=1)
        advice = f"did you mean {near[0]}?" if near else "there are train, continue and --gpt2"
        raise InputError(f"language: no command {first!r}; {advice}; see pawnscope language --help")
    if first in ("-h", "--help"):
        print(_USES)
    return language_text.main(list(arguments))
