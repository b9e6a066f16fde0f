"""`pawnscope language …`: which module serves which use of language models."""

import importlib
from collections.abc import Sequence
from typing import Final

from scripts.commands.language import text as language_text

_USES: Final = {
    "train": (
        "scripts.commands.language.train",
        "language train VARIANT …",
        "teach a model a game's moves",
    ),
    "continue": (
        "scripts.commands.language.continuation",
        "language continue VARIANT --moves MOVES …",
        "go on with a game, with the chances of each move",
    ),
}
_TEXT: Final = (
    ("language --gpt2 FOLDER --prompt TEXT …", "go on with a text, by GPT-2"),
    ("language --gpt2-sizes", "the parameters of GPT-2's four sizes"),
)


def main(arguments: Sequence[str]) -> int:
    """Hand over to the use that the first word names, or to that of text; the exit status."""
    if arguments and arguments[0] in _USES:
        serve = importlib.import_module(_USES[arguments[0]][0]).main
        status: int = serve(list(arguments[1:]))
        return status
    if arguments and arguments[0] in ("-h", "--help"):
        print(_uses())
    return language_text.main(list(arguments))


def _uses() -> str:
    """What stands over the help of the options of text."""
    uses = [(words, help) for _, words, help in _USES.values()] + list(_TEXT)
    width = max(len(words) for words, _ in uses)
    lines = [f"  pawnscope {words:{width}}  {help}" for words, help in uses]
    return "\n".join(["language models of moves and of text:", "", *lines, ""])
