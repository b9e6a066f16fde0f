"""`pawnscope language …`: the subcommands, and the module of each."""

import importlib
from collections.abc import Sequence
from typing import Final

from scripts.commands.language import text as language_text

_SUBCOMMANDS: Final = {
    "train": (
        "scripts.commands.language.train",
        "language train VARIANT …",
        "train a model on the moves of games",
    ),
    "continue": (
        "scripts.commands.language.continuation",
        "language continue VARIANT --moves MOVES …",
        "continue a game, with the probability of each move",
    ),
}
_GPT2: Final = (
    ("language --gpt2 FOLDER --prompt TEXT …", "continue a text with GPT-2"),
    ("language --gpt2-sizes", "the number of parameters of GPT-2's four sizes"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand that the first word names, or else GPT-2's; returns the exit status."""
    if arguments and arguments[0] in _SUBCOMMANDS:
        run = importlib.import_module(_SUBCOMMANDS[arguments[0]][0]).main
        status: int = run(list(arguments[1:]))
        return status
    if arguments and arguments[0] in ("-h", "--help"):
        print(_subcommands())
    return language_text.main(list(arguments))


def _subcommands() -> str:
    """The list of subcommands, printed above the options of GPT-2."""
    uses = [(words, help) for _, words, help in _SUBCOMMANDS.values()] + list(_GPT2)
    width = max(len(words) for words, _ in uses)
    lines = [f"  pawnscope {words:{width}}  {help}" for words, help in uses]
    return "\n".join(["language models of moves and of text:", "", *lines, ""])
