"""A command's options: a frozen keyword-only dataclass, filled from the command line by tyro.

A field without a default is a positional argument, in the order of the fields; the comment over a
field is its help, and the docstring of the class that of the command. Bounds stand on the fields
(`engine/settings.py`).
"""

import contextlib
import difflib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

import tyro
from tyro import conf

from engine.rules.errors import InputError
from engine.settings import Natural, SettingError, check


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    # A file with variants of your own, written as Fairy-Stockfish's variants.ini.
    variants: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Options):
    """What every command takes that prints figures."""

    # Print one JSON object, and nothing else, on standard output.
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(FigureOptions):
    """What every command takes in which a language model draws tokens."""

    # Divides the logits: 0 always takes the most likely token, 1 samples from the model's
    # probabilities.
    temperature: float = 1.0
    # Sample only from this number of most likely tokens; 0 for all.
    top_k: int = 0
    # Sample only from the fewest most likely tokens whose probabilities sum to this.
    top_p: float = 1.0
    # Seed of the sampling.
    seed: Natural = 1


@dataclass(frozen=True, kw_only=True)
class EndgameOptions(Options):
    """What every command takes in which players search."""

    # A folder of endgame tables, made by solve --men; alphabeta, mcts and gumbel look them up.
    tablebases: Path | None = None


def require_writable(path: Path, option: str = "") -> None:
    """Raises InputError where the file could not be written, before minutes of work for it."""
    named = f"{option} {path}" if option else str(path)
    if not path.absolute().parent.is_dir():
        raise InputError(f"{named}: there is no folder {path.parent}")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{named}: nothing can be written to the folder {path.parent}")


def print_json(figures: Mapping[str, Any]) -> None:
    """Print one JSON object, null in the place of what is not finite: JSON has no such numbers."""
    print(json.dumps(_finite(figures), allow_nan=False), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


class OptionError(InputError):
    """Words on the command line that the command does not take, or lacks."""


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(kind: type[OptionsT], command: str, arguments: Sequence[str]) -> OptionsT:
    """The options of `pawnscope command`, with the person's own variants loaded.

    Prints the help and exits where that is asked for; raises InputError.
    """
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            options, unknown = tyro.cli(
                kind,
                prog=f"pawnscope {command}",
                args=arguments,
                return_unknown_args=True,
                config=(
                    conf.DisallowNone,
                    conf.FlagCreatePairsOff,
                    conf.PositionalMetavarFromFieldName,
                    conf.PositionalRequiredArgs,
                ),
            )
    except SystemExit as end:
        if not end.code:
            raise
        known = _option_names(kind)
        odd = [word for word in arguments if word[:2] == "--" and word.split("=")[0] not in known]
        problem = _unexpected(odd[0], kind) if odd else _one_line(box.getvalue())
    else:
        problem = _unexpected(unknown[0], kind) if unknown else _out_of_bounds(options)
    if problem:
        raise OptionError(f"{problem}; see pawnscope {command} --help")
    if options.variants is not None:
        from engine.rules.variant import load_variants

        load_variants(options.variants)
    return options


def _out_of_bounds(options: Options) -> str:
    """What is wrong with the values, with the option's name as it is written; "" for nothing."""
    try:
        check(options)
    except SettingError as error:
        name, _, problem = str(error).partition(" = ")
        (field,) = (field for field in fields(options) if field.name == name)
        written = name.upper() if field.default is MISSING else f"--{name.replace('_', '-')}"
        return f"{written} {problem}"
    return ""


_IN_PLAIN_WORDS: Final = {
    r"^Error parsing (\S+): no type matching \{?(.+?)\}? could be instantiated from \[(.*)\]\.?$": (
        r"\1 takes \2, not \3"
    ),
    r"^Error parsing (\S+): invalid literal for int.*: (.*)$": r"\1 takes INT, not \2",
    r"^Error parsing ": "",
    r"^Missing value for argument '(.+?)'.*$": r"\1 needs a value",
}
"""Patterns in tyro's messages."""


def _one_line(box: str) -> str:
    """What tyro says of a mistake: a title, then a box of text with rules between its parts."""
    plain = re.sub(r"[\u2500-\u257f]+|-{9,}", "", box)
    _title, _, rest = "\n".join(line.strip() for line in plain.strip().splitlines()).partition("\n")
    body = rest.strip().partition("\n\n")[0]
    if body.startswith("Missing from"):
        # Each name stands alone in its line, with its help below.
        return f"missing: {', '.join(re.findall(r'^[A-Z_]+$|^--[a-z-]+', body, re.MULTILINE))}"
    line = " ".join(body.split())
    if choice := re.match(r"invalid choice (.+) for argument '(.+)'\. Expected one of (.*)$", line):
        choices = sorted(set(re.findall(r"'(.+?)'", choice[3])) - {"None"})
        return f"{choice[2]} is {choice[1]}, not one of {', '.join(choices)}"
    for pattern, words in _IN_PLAIN_WORDS.items():
        line = re.sub(pattern, words, line)
    return line


def _unexpected(word: str, kind: type[Options]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    near = difflib.get_close_matches(word, _option_names(kind), n=1)
    return f"unknown option {word!r}" + (f" (did you mean {near[0]}?)" if near else "")


def _option_names(kind: type[Options]) -> list[str]:
    """All words that begin an option; a field may have another name by `conf.arg`."""
    names = ["help"]
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if field.default is field.default_factory is MISSING:
            # A positional argument.
            continue
        notes = getattr(hints[field.name], "__metadata__", ())
        names.append(next((note.name for note in notes if getattr(note, "name", None)), field.name))
    return ["--" + name.replace("_", "-") for name in names]
