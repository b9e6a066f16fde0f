"""`pawnscope language continue VARIANT --moves "a2a3 …"`: a model's predictions for a game."""

from dataclasses import dataclass
from typing import Any, Final

import torch

from engine.network.language.move_predictor import MovePrediction, MovePredictor
from engine.network.language.move_tokens import FIRST_MOVE, START
from engine.network.language.sampling import Sampling, draw, probabilities
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.position import Position
from engine.rules.tables import SIDE
from engine.rules.variant import Variant, get_variant
from engine.settings import Natural
from scripts.options import SamplingOptions, parse_options, print_json
from scripts.players import load_language

_SHOWN: Final = 8
_BAR: Final = 30


@dataclass(frozen=True, kw_only=True)
class LanguageContinueOptions(SamplingOptions):
    """Show a move language model's predictions for the next move, and let it continue the game."""

    # The game.
    variant: str
    # The moves so far in UCI notation, from the start.
    moves: str = ""
    # The model: a file or a run directory; by default the newest language run of the game.
    checkpoint: str | None = None
    # The largest number of plies to add; 0 only shows the predictions.
    plies: Natural = 20


def main(arguments: list[str]) -> int:
    """Print the most likely next tokens, then the game as the model continues it."""
    options = parse_options(LanguageContinueOptions, "language continue", arguments)
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    variant = get_variant(options.variant)
    position = Position(variant)
    for text in options.moves.split():
        position.push_uci(text)
    predictor = load_language(options.checkpoint, variant)
    longest = predictor.model.config.context - 1
    if len(position.move_stack) > longest:
        raise InputError(f"{len(position.move_stack)} moves: the model reads at most {longest}")
    first = predictor.predict([position])[0]
    order = (-first.token_probabilities).argsort(kind="stable")[:_SHOWN]
    likely = [_token(predictor, first, int(token)) for token in order]
    if not options.json:
        _show_prediction(position, first, likely)
    begun = len(position.move_stack)
    added, ending = _continue(position, predictor, options.plies, sampling, options.seed)
    if options.json:
        mass = first.allowed_probability
        print_json({"next": likely, "legal_mass": mass, "moves": added, "ending": ending})
    elif options.plies:
        _show_game(variant, begun, added, ending)
    return 0


def _token(predictor: MovePredictor, prediction: MovePrediction, token: int) -> dict[str, Any]:
    """A token as JSON shows it, with its probability according to the model."""
    return {
        "word": predictor.tokenizer.texts[token],
        "probability": float(prediction.token_probabilities[token]),
        "legal": token in prediction.allowed_tokens,
    }


def _continue(
    position: Position, predictor: MovePredictor, plies: int, sampling: Sampling, seed: int
) -> tuple[list[dict[str, Any]], str]:
    """Continue the game in `position` with tokens drawn from the model. Returns the tokens, with
    the "chance" of each after temperature, top-k and nucleus, and why it stopped, as a text."""
    generator = torch.Generator().manual_seed(seed)
    added: list[dict[str, Any]] = []
    while True:
        over = position.outcome() is not None
        if len(added) >= plies and not (over and plies):
            return added, "the number of plies asked for"
        if len(position.move_stack) >= predictor.model.config.context:
            return added, "the game fills the model's context"
        prediction = predictor.predict([position])[0]
        logits = torch.from_numpy(prediction.token_probabilities).log()[None]
        token = int(draw(logits, sampling, generator))
        item = _token(predictor, prediction, token)
        added.append(item | {"chance": float(probabilities(logits, sampling)[0, token])})
        if not item["legal"]:
            return added, _fault(position, item["word"], token)
        if token < FIRST_MOVE:
            return added, f"{item['word']}, which is correct"
        position.push_uci(item["word"])


def _fault(position: Position, text: str, token: int) -> str:
    """Why the rules do not allow a token."""
    outcome = position.outcome()
    if outcome is not None:
        reason = outcome.termination.name.lower().replace("_", " ")
        return f"{text} is wrong: the game is over by {reason}, {outcome.result}"
    if token == START:
        return f"{text} is wrong: it can only be the first token"
    if token < FIRST_MOVE:
        return f"{text} is wrong: the game is not over in '{position.fen()}'"
    try:
        position.parse_uci(text)
    except IllegalMoveError as problem:
        return str(problem)
    raise AssertionError(f"{text} is legal")


def _show_prediction(
    position: Position, prediction: MovePrediction, likely: list[dict[str, Any]]
) -> None:
    print(position)
    print(position.fen())
    print()
    print("the most likely next tokens:")
    for item in likely:
        bar = "#" * round(item["probability"] * _BAR)
        note = "" if item["legal"] else "  not legal"
        print(f"  {item['word']:8}{item['probability']:7.2%}  {bar:{_BAR}}{note}".rstrip())
    what = f"{len(prediction.moves)} legal moves" if len(prediction.moves) else "the result"
    print(f"probability of {what}: {prediction.allowed_probability:.2%}")


def _show_game(variant: Variant, begun: int, added: list[dict[str, Any]], ending: str) -> None:
    """What was added after `begun` plies."""
    print()
    for ply, item in enumerate(added, start=begun):
        white = ply % 2 == variant.start_row[variant.squares + SIDE]
        number = f"{ply // 2 + 1}." if white else ""
        note = "" if item["legal"] else "  not legal"
        changed = abs(item["chance"] - item["probability"]) > 5e-4
        drawn = f"  sampled with {item['chance']:.1%}" if changed else ""
        print(f"  {number:>4} {item['word']:8}{item['probability']:7.2%}{drawn}{note}")
    print(f"stopped: {ending}")
