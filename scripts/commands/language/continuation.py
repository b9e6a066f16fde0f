"""`pawnscope language continue VARIANT --moves "a2a3 …"`: what a model expects of a game."""

from dataclasses import dataclass
from typing import Any, Final

import torch

from engine.network.language.move_predictor import Expectation, MoveReader
from engine.network.language.move_tokens import FIRST_MOVE, START
from engine.network.language.sampling import Sampling, draw, probabilities
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import load_language

_SHOWN: Final = 8
_BAR: Final = 30


@dataclass(frozen=True, kw_only=True)
class LanguageContinueOptions(FigureOptions):
    """Show what a move language model expects after a game so far, and let it go on."""

    # The game.
    variant: str
    # The moves so far in UCI notation, from the start.
    moves: str = ""
    # The model: a file or a run directory; the newest language run of the game if left out.
    checkpoint: str | None = None
    # How many plies to add at most; 0 only shows what is expected.
    plies: int = 20
    # Divides the logits; 0 always takes the likeliest word.
    temperature: float = 1.0
    # Draw only from so many of the likeliest words; 0 for all.
    top_k: int = 0
    # Draw only from the fewest likely words that hold this share together.
    top_p: float = 1.0
    # Where the draws come from.
    seed: int = 1


def main(arguments: list[str]) -> int:
    """Print the likeliest next words, then the game as the model goes on with it."""
    options = parse_options(LanguageContinueOptions, "language continue", arguments)
    if options.plies < 0:
        raise InputError(f"--plies {options.plies}: a game goes on by 0 plies or more")
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    variant = get_variant(options.variant)
    position = Position(variant)
    for text in options.moves.split():
        position.push_uci(text)
    reader = load_language(options.checkpoint, variant)
    room = reader.model.config.context - 1
    if len(position.move_stack) > room:
        raise InputError(
            f"{len(position.move_stack)} moves: the model reads {room} of a game at most"
        )
    first = reader.next_moves([position])[0]
    if not options.json:
        _show_expectation(position, reader, first)
    added, ending = _continue(position, reader, options.plies, sampling, options.seed)
    if options.json:
        print_json(_figures(reader, first, added, ending))
    else:
        _show_game(position, added, ending, options.plies)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Added:
    """A word that the model drew."""

    word: str
    # What it gave it, before temperature, top-k and nucleus.
    probability: float
    # What it was drawn with.
    chance: float
    legal: bool


def _continue(
    position: Position, reader: MoveReader, plies: int, sampling: Sampling, seed: int
) -> tuple[list[_Added], str]:
    """Play on in `position` by draws of the model; the words, and in words why it stopped."""
    generator = torch.Generator().manual_seed(seed)
    added: list[_Added] = []
    while True:
        over = position.outcome() is not None
        if len(added) >= plies and not (over and plies):
            return added, "as many plies as were asked for"
        if len(position.move_stack) >= reader.model.config.context:
            return added, "the model reads no longer games"
        expected = reader.next_moves([position])[0]
        logits = torch.from_numpy(expected.words).log()[None]
        token = int(draw(logits, sampling, generator))
        legal = token in expected.allowed
        word = reader.tokenizer.words[token]
        chance = float(probabilities(logits, sampling)[0, token])
        share = float(expected.words[token])
        added.append(_Added(word=word, probability=share, chance=chance, legal=legal))
        if not legal:
            return added, _fault(position, word, token)
        if token < FIRST_MOVE:
            return added, f"{word}, and that is right"
        position.push_uci(word)


def _fault(position: Position, word: str, token: int) -> str:
    """Why a word was against the rules."""
    outcome = position.outcome()
    if outcome is not None:
        reason = outcome.termination.name.lower().replace("_", " ")
        return f"{word} is wrong: the game is over by {reason}, {outcome.result}"
    if token == START:
        return f"{word} is wrong: a game begins only once"
    if token < FIRST_MOVE:
        return f"{word} is wrong: the game is not over in '{position.fen()}'"
    try:
        position.parse_uci(word)
    except IllegalMoveError as problem:
        return str(problem)
    raise AssertionError(f"{word} is legal")


def _show_expectation(position: Position, reader: MoveReader, expected: Expectation) -> None:
    print(position)
    print(position.fen())
    print()
    print("it expects")
    order = (-expected.words).argsort(kind="stable")[:_SHOWN]
    for token in order.tolist():
        share = float(expected.words[token])
        bar = "#" * round(share * _BAR)
        note = "" if token in expected.allowed else "  against the rules"
        print(f"  {reader.tokenizer.words[token]:8}{share:7.2%}  {bar:{_BAR}}{note}".rstrip())
    kind = "legal moves" if len(expected.moves) else "word, the result,"
    print(f"{len(expected.allowed)} {kind} have {expected.allowed_mass:.2%} together")


def _show_game(position: Position, added: list[_Added], ending: str, plies: int) -> None:
    if not plies:
        return
    print()
    ply = len(position.move_stack) - sum(item.legal and _is_move(item) for item in added)
    for item in added:
        white = ply % 2 == position.variant.start_row[position.variant.squares] % 2
        number = f"{ply // 2 + 1}." if white else ""
        note = "" if item.legal else "  against the rules"
        drawn = (
            f"  drawn by {item.chance:.1%}" if abs(item.chance - item.probability) > 5e-4 else ""
        )
        print(f"  {number:>4} {item.word:8}{item.probability:7.2%}{drawn}{note}")
        ply += 1
    print(f"it ends: {ending}")


def _is_move(item: _Added) -> bool:
    return item.word[0].isalpha()


def _figures(
    reader: MoveReader, first: Expectation, added: list[_Added], ending: str
) -> dict[str, Any]:
    order = (-first.words).argsort(kind="stable")[:_SHOWN].tolist()
    return {
        "next": [
            {
                "word": reader.tokenizer.words[token],
                "probability": float(first.words[token]),
                "legal": token in first.allowed,
            }
            for token in order
        ],
        "legal_mass": first.allowed_mass,
        "moves": [
            {
                "word": item.word,
                "probability": item.probability,
                "chance": item.chance,
                "legal": item.legal,
            }
            for item in added
        ],
        "ending": ending,
    }
