"""`pawnscope language --gpt2 FOLDER --prompt TEXT` and `--gpt2-sizes`: GPT-2 and its text."""

import io
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from engine.network.checkpoint import CheckpointError
from engine.network.language import gpt2
from engine.network.language.sampling import Sampling
from engine.rules.errors import InputError
from scripts.options import FigureOptions, parse_options, print_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT: Final = "<|endoftext|>"
"""Stands between two texts, so it ends one and begins the next."""


@dataclass(frozen=True, kw_only=True)
class TextOptions(FigureOptions):
    """Go on with a text by any GPT-2 in a local folder, with its tokenizer's files beside it.

    The folder holds config.json and model.safetensors in the Hugging Face layout, and
    tokenizer.json or vocab.json and merges.txt.
    """

    # The folder of the model.
    gpt2: Path | None = None
    # The text to go on with; by itself the model begins a text of its own.
    prompt: str = ""
    # The most tokens to write; an end of text comes before.
    tokens: int = 100
    # How freely to draw: 0 always takes the most likely token, 1 draws as the model says.
    temperature: float = 1.0
    # Draw only from so many of the most likely tokens; 0 for all.
    top_k: int = 0
    # Draw only from the fewest most likely tokens that hold this share together.
    top_p: float = 1.0
    # Where the random numbers begin.
    seed: int = 1
    # Print the number of parameters of GPT-2's four sizes instead.
    gpt2_sizes: bool = False


def main(arguments: list[str]) -> int:
    """Print the sizes, or the text as it comes."""
    options = parse_options(TextOptions, "language", arguments)
    if options.gpt2_sizes and options.gpt2 is not None:
        raise InputError("--gpt2-sizes and --gpt2: only one of them at a time")
    if options.gpt2_sizes:
        _print_sizes(options.json)
    elif options.gpt2 is not None:
        _complete(options, options.gpt2)
    else:
        raise InputError(
            "missing: train, continue, --gpt2 or --gpt2-sizes; see pawnscope language --help"
        )
    return 0


def _print_sizes(as_json: bool) -> None:
    counts = gpt2.parameter_counts()
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        print(f"{name:6} {count:13,} parameters")


def _complete(options: TextOptions, folder: Path) -> None:
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    if options.tokens < 0:
        raise InputError(f"--tokens {options.tokens}: not a whole number from 0")
    configured = gpt2.end_of_text(folder)
    tokenizer = load_tokenizer(folder)
    end = tokenizer.token_to_id(END_OF_TEXT)
    end = configured if end is None else end
    prompt = encode(tokenizer, options.prompt, end)
    model = gpt2.load_gpt2(folder)
    size, vocabulary = largest_token(tokenizer) + 1, model.config.vocabulary
    if size > vocabulary:
        raise CheckpointError(f"{folder}: a tokenizer of {size} tokens, a model of {vocabulary}")
    if len(prompt) > model.config.context:
        sys.stderr.write(
            f"of the prompt's {len(prompt)} tokens the model reads the last"
            f" {model.config.context}\n"
        )
    generator = torch.Generator().manual_seed(options.seed)
    drawn = model.generate(torch.tensor([prompt]), sampling, generator)
    tokens = until(end, itertools.islice(drawn, options.tokens))
    if options.json:
        _print_figures(options, tokenizer, tokens)
    else:
        _stream(options.prompt, pieces(tokenizer, tokens))


def _print_figures(options: TextOptions, tokenizer: "Tokenizer", tokens: Iterator[int]) -> None:
    start = time.perf_counter()
    drawn = list(tokens)
    seconds = time.perf_counter() - start
    figures = {
        "prompt": options.prompt,
        "text": "".join(pieces(tokenizer, drawn)),
        "tokens": len(drawn),
        # Whether the model ended its text by itself.
        "ended": len(drawn) < options.tokens,
        "seconds": seconds,
        "tokens_per_second": len(drawn) / seconds,
    }
    print_json(figures)


def _stream(prompt: str, text: Iterator[str]) -> None:
    """Print a text as it comes; ^C ends the line, too."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal knows every character
    try:
        for piece in itertools.chain([prompt], text):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(flush=True)
        raise
    print()


def load_tokenizer(folder: Path) -> "Tokenizer":
    """Of `tokenizer.json`, or where there is none of `vocab.json` and `merges.txt`.

    Raises CheckpointError, naming the folder and what is missing or damaged.
    """
    from tokenizers import Tokenizer

    whole, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    try:
        if whole.is_file():
            tokenizer: Tokenizer = Tokenizer.from_file(str(whole))
        elif vocabulary.is_file() and merges.is_file():
            tokenizer = _byte_pairs(vocabulary, merges)
        else:
            raise CheckpointError(
                f"{folder}: holds no {whole.name}, nor {vocabulary.name} with {merges.name}"
            )
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing more exact
        read = whole if whole.is_file() else f"{vocabulary} or {merges.name}"
        raise CheckpointError(f"{read}: not a tokenizer's ({error})") from None
    # A prompt is read whole, and as it is.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _byte_pairs(vocabulary: Path, merges: Path) -> "Tokenizer":
    """GPT-2's own kind: pairs of bytes, each byte written as one character (Radford et al. 2019,
    section 2.2)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if tokenizer.token_to_id(END_OF_TEXT) is not None:
        tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def largest_token(tokenizer: "Tokenizer") -> int:
    """-1 where there is none."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def encode(tokenizer: "Tokenizer", prompt: str, end: int | None) -> list[int]:
    """The tokens of a prompt; of none, the end of the text before.

    Raises InputError for a prompt that is not Unicode, and where there is nothing to begin from.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(f"--prompt {prompt!r}: not UTF-8") from None
    tokens: list[int] = tokenizer.encode(prompt, add_special_tokens=False).ids
    if tokens:
        return tokens
    if end is None:
        raise InputError(
            f"--prompt {prompt!r}: has no tokens, and the tokenizer no {END_OF_TEXT} to begin from"
        )
    return [end]


def until(end: int | None, drawn: Iterable[torch.Tensor]) -> Iterator[int]:
    """The tokens, int64[1] each, before the end of the text."""
    for token in drawn:
        if token.item() == end:
            return
        yield int(token)


def pieces(tokenizer: "Tokenizer", tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come, in whole characters: a token may be part of one.

    Bytes that are no character become U+FFFD. Together the pieces are what the tokenizer makes of
    all tokens at once.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        piece = stream.step(tokenizer, token)
        if piece is not None:
            pending.clear()
            yield piece
    yield tokenizer.decode(pending)  # a character that was begun and not ended
