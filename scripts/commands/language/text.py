"""`pawnscope language --gpt2 FOLDER --prompt TEXT` and `--gpt2-sizes`: GPT-2 and its text."""

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
from engine.settings import Natural
from engine.system.extras import missing_extra
from scripts.options import SamplingOptions, parse_options, print_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT: Final = "<|endoftext|>"
"""Stands between two texts: it ends one and begins the next."""


@dataclass(frozen=True, kw_only=True)
class TextOptions(SamplingOptions):
    """Continue a text with a GPT-2 model in a local folder.

    The folder holds config.json and model.safetensors in the Hugging Face layout, and the
    tokenizer: tokenizer.json, or vocab.json and merges.txt. Needs the extra "text":
    pip install 'pawnscope[text]'.
    """

    # The folder of the model.
    gpt2: Path | None = None
    # The text to continue; without one the model begins a new text.
    prompt: str = ""
    # The largest number of tokens to write; the model may end its text earlier.
    tokens: Natural = 100
    # Print the number of parameters of GPT-2's four sizes instead.
    gpt2_sizes: bool = False


def main(arguments: list[str]) -> int:
    """Print the sizes, or the text while it is generated."""
    options = parse_options(TextOptions, "language", arguments)
    if options.gpt2_sizes and options.gpt2 is not None:
        raise InputError("--gpt2-sizes and --gpt2: only one of them at a time")
    if options.gpt2_sizes:
        counts = gpt2.parameter_counts()
        if options.json:
            print_json(counts)
        else:
            print("\n".join(f"{name:6} {count:13,} parameters" for name, count in counts.items()))
    elif options.gpt2 is not None:
        _complete(options, options.gpt2)
    else:
        raise InputError(
            "missing: train, continue, --gpt2 or --gpt2-sizes; see pawnscope language --help"
        )
    return 0


def _complete(options: TextOptions, folder: Path) -> None:
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    configured = gpt2.end_of_text(folder)
    tokenizer = load_tokenizer(folder)
    end = tokenizer.token_to_id(END_OF_TEXT)
    end = configured if end is None else end
    prompt = encode(tokenizer, options.prompt, end)
    model = gpt2.load_gpt2(folder)
    size = max(tokenizer.get_vocab().values(), default=-1) + 1
    vocabulary = model.config.vocabulary
    if size > vocabulary:
        raise CheckpointError(f"{folder}: a tokenizer of {size} tokens, a model of {vocabulary}")
    if len(prompt) > model.config.context:
        sys.stderr.write(
            f"the prompt has {len(prompt)} tokens, the model reads only the last"
            f" {model.config.context}\n"
        )
    generator = torch.Generator().manual_seed(options.seed)
    drawn = model.generate(torch.tensor([prompt]), sampling, generator)
    numbers = (int(token) for token in itertools.islice(drawn, options.tokens))
    tokens = itertools.takewhile(lambda token: token != end, numbers)
    if options.json:
        _print_figures(options, tokenizer, tokens)
    else:
        _stream(options.prompt, pieces(tokenizer, tokens))


def _print_figures(options: TextOptions, tokenizer: "Tokenizer", tokens: Iterator[int]) -> None:
    start = time.perf_counter()
    drawn = list(tokens)
    seconds = time.perf_counter() - start
    print_json(
        {
            "prompt": options.prompt,
            "text": "".join(pieces(tokenizer, drawn)),
            "tokens": len(drawn),
            # Whether the model ended its text.
            "ended": len(drawn) < options.tokens,
            "seconds": seconds,
            "tokens_per_second": len(drawn) / seconds,
        }
    )


def _stream(prompt: str, text: Iterator[str]) -> None:
    """Print a text while it is generated; ^C ends the line, too."""
    try:
        for piece in itertools.chain([prompt], text):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(flush=True)
        raise
    print()


def load_tokenizer(folder: Path) -> "Tokenizer":
    """From `tokenizer.json`, or where that is missing from `vocab.json` and `merges.txt`.

    Raises CheckpointError, naming the file that is missing or damaged, and InputError where the
    package `tokenizers` is not installed.
    """
    problem = missing_extra("text", "tokenizers")
    if problem is not None:
        raise InputError(f"--gpt2: {problem}")
    import tokenizers

    whole, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if not whole.is_file() and not (vocabulary.is_file() and merges.is_file()):
        raise CheckpointError(
            f"{folder}: holds no {whole.name}, nor {vocabulary.name} with {merges.name}"
        )
    try:
        if whole.is_file():
            tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(whole))
        else:
            pairs = tokenizers.ByteLevelBPETokenizer.from_file(str(vocabulary), str(merges))
            if pairs.token_to_id(END_OF_TEXT) is not None:
                pairs.add_special_tokens([END_OF_TEXT])
            tokenizer = tokenizers.Tokenizer.from_str(pairs.to_str())
    except Exception as error:  # the library raises no narrower class
        read = whole if whole.is_file() else f"{vocabulary} or {merges.name}"
        raise CheckpointError(f"{read}: not a tokenizer ({error})") from None
    # The whole prompt is encoded, and nothing else.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: "Tokenizer", prompt: str, end: int | None) -> list[int]:
    """The tokens of a prompt; the end of text for a prompt without any.

    Raises InputError for a prompt that is not Unicode, or that has no tokens where there is no end
    of text to begin from.
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


def pieces(tokenizer: "Tokenizer", tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come, in whole characters: a token may be part of one.

    Bytes that are no character become U+FFFD. The pieces together equal the tokenizer's text of all
    tokens at once.
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
    yield tokenizer.decode(pending)  # the incomplete character at the end, if there is one
