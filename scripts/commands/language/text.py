"""`pawnscope language --gpt2 FOLDER --prompt TEXT` and `--gpt2-sizes`: GPT-2 and its text."""

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine.network.checkpoint import CheckpointError
from engine.network.language import gpt2
from engine.network.language.sampling import Sampling
from engine.rules.errors import InputError
from engine.settings import Natural
from scripts.commands.language.tokenizer import encode, load_tokenizer, pieces
from scripts.options import SamplingOptions, parse_options, print_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TextOptions(SamplingOptions):
    """Continue a text with a GPT-2 model in a local folder.

    The folder holds config.json and model.safetensors in the Hugging Face layout, and the
    tokenizer: tokenizer.json, or vocab.json and merges.txt. Needs the package of the extra "text";
    where it is missing, the command offers to install it.
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
    # The model's files know which tokens it was taught; the tokenizer's only guess.
    ends, start = gpt2.end_of_text(folder), gpt2.start_of_text(folder)
    text_tokenizer = load_tokenizer(folder)
    tokenizer = text_tokenizer.tokenizer
    if not ends and text_tokenizer.end is not None:
        ends = (text_tokenizer.end,)
    if start is None and ends:
        start = ends[0]
    prompt = encode(text_tokenizer, options.prompt, start)
    model = gpt2.load_gpt2(folder)
    size, vocabulary = text_tokenizer.size, model.config.vocabulary
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
    tokens = itertools.takewhile(lambda token: token not in ends, numbers)
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
