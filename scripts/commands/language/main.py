"""`pawnscope language …`: the subcommands, and the module of each."""

import importlib
from collections.abc import Sequence
from typing import Final

from scripts.commands.language import text as language_text

_MODULES: Final = {
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
    """Run the subcommand that the first word names, or else GPT-2's; returns the exit status."""
    first = arguments[0] if arguments else ""
    if first in _MODULES:
        status: int = importlib.import_module(_MODULES[first]).main(list(arguments[1:]))
        return status
    if first in ("-h", "--help"):
        print(_USES)
    return language_text.main(list(arguments))
