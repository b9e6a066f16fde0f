"""A command's options: a frozen keyword-only dataclass, filled from the command line by tyro.

A field without a default is a positional argument, in the order of the fields; the comment over a
field is its help, and the docstring of the class that of the command. Bounds stand on the fields
(`engine/settings.py`).
"""

import contextlib
import difflib
import io
import itertools
import json
import math
import os
import re
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro
from tyro import conf

from engine.rules.errors import InputError
from engine.settings import (
    Natural,
    NonNegative,
    Range,
    Seed,
    SettingError,
    check,
    shortened,
    wanted,
)
from scripts.terminal.colour import is_coloured

ONE_OR_MORE: Final = conf.arg(help_behavior_hint="(one or more)")
"""Annotates a positional argument that is a tuple: help would name an empty default."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    # A file with variants of your own, written as Fairy-Stockfish's variants.ini.
    variants: Path | None = None
    # Say nothing but results and errors.
    quiet: Annotated[bool, conf.arg(aliases=("-q",))] = False
    # Say more: every round, what was chosen and why, where files are kept.
    verbose: Annotated[bool, conf.arg(aliases=("-v",))] = False


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
    temperature: NonNegative = 1.0
    # Sample only from this number of most likely tokens; 0 for all.
    top_k: Natural = 0
    # Sample only from the fewest most likely tokens whose probabilities sum to this.
    top_p: Annotated[float, Range(0, 1, above_low=True)] = 1.0
    # Seed of the sampling.
    seed: Seed = 1


@dataclass(frozen=True, kw_only=True)
class EndgameOptions(Options):
    """What every command takes in which players search."""

    # A folder of endgame tables, made by solve --men; alphabeta, mcts and gumbel look them up.
    tablebases: Path | None = None


def require_writable(path: Path, option: str = "") -> None:
    """Raises InputError where the file could not be written, before minutes of work for it."""
    named = f"{option} {path}" if option else str(path)
    if path.is_dir():
        raise InputError(f"{named}: that is a folder")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{named}: there is no folder {path.parent}")
    try:
        # Tried, since permissions do not tell: some file systems take no files.
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as problem:
        raise InputError(
            f"{named}: nothing can be written to the folder {path.parent}: {problem.strerror}"
        ) from problem


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
    # Of tyro, which knows nothing of NO_COLOR; its complaints are rewritten below.
    asks = any(word in ("-h", "--help") for word in arguments)
    tyro._experimental_options["ansi_codes"] = asks and is_coloured(sys.stdout)
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
        problem = _unexpected(odd[0], kind) if odd else _mistake(box.getvalue(), kind, arguments)
    else:
        problem = _unexpected(unknown[0], kind) if unknown else ""
        problem = problem or _out_of_bounds(options, arguments) or _unreadable_name(options)
    if problem:
        raise OptionError(f"{problem}; see pawnscope {command} --help")
    if options.variants is not None:
        from engine.rules.variant import load_variants
        from scripts.terminal.progress import say

        load_variants(options.variants, say)
    return options


def _out_of_bounds(options: Options, arguments: Sequence[str]) -> str:
    """What is wrong with the values, with the option's name as it is written; "" for nothing."""
    if options.quiet and options.verbose:
        return "--quiet and --verbose: only one of them at a time"
    try:
        check(options)
    except SettingError as error:
        name, _, problem = str(error).partition(" = ")
        hints = get_type_hints(type(options), include_extras=True)
        written = next(word for word, own in _written(type(options)).items() if own == name)
        typed = _typed(written, arguments)
        return _not_wanted(written, typed, hints[name]) if typed else f"{written} {problem}"
    return ""


def _written(kind: type[Options]) -> dict[str, str]:
    """The fields by what stands for them on the command line: `--option`, or ARGUMENT."""
    words = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        notes = getattr(hints[field.name], "__metadata__", ())
        if field.default is field.default_factory is MISSING:
            words[field.name.upper()] = field.name
        else:
            given = [note.name for note in notes if getattr(note, "name", None)]
            words["--" + (given or [field.name])[0].replace("_", "-")] = field.name
            for note in notes:
                aliases = getattr(note, "aliases", None) or ()
                words |= {word: field.name for word in aliases if word.startswith("--")}
    return words


def _typed(written: str, arguments: Sequence[str]) -> list[str]:
    """The words that were typed for an option, the last time it stands there."""
    found: list[str] = []
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if written.startswith("--") and name.replace("_", "-") == written:
            after = itertools.takewhile(lambda each: each[:2] != "--", arguments[place + 1 :])
            found = [value] if equals else list(after)
    return found


def _not_wanted(written: str, typed: Sequence[str], hint: Any) -> str:
    """That what was typed for a number is none, or one out of bounds, with what it should be."""
    inner = _inner(hint)
    if get_origin(inner) is tuple:
        kinds = get_args(inner)
        texts = ", ".join(map(repr, typed[: len(kinds)])) or "nothing"
        return f"{written} takes {len(kinds)} numbers, not {texts}"
    text = typed[0] if typed else ""
    number = _number(text)
    shown = shortened(text if number is not None else repr(text))
    what = wanted(hint)
    if inner is float and number is not None and math.isinf(number):
        what = what.replace("a number", "a finite number")
    return f"{written} {shown} is not {what}{_meant(text, whole=inner is int)}"


def _inner(hint: Any) -> Any:
    """The type of a field without notes and without None."""
    if get_origin(hint) is Annotated:
        return _inner(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return _inner(next(each for each in get_args(hint) if each is not type(None)))
    return hint


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _meant(text: str, *, whole: bool) -> str:
    """A question about what may have been meant: 1.5 by `1,5`, 1000 by `1e3` or `1,000`; else
    ""."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return f"; did you mean {text.replace(',', '')}?"
    number = _number(text.replace(",", "."))
    if number is None or not math.isfinite(number):
        return ""
    if whole and number == int(number) and "e" in text.lower():
        return f"; did you mean {int(number)}?"
    if not whole and "," in text:
        return f"; did you mean {text.replace(',', '.')}?"
    return ""


def _mistake(box: str, kind: type[Options], arguments: Sequence[str]) -> str:
    """What tyro's complaint says, in one line; of a number that is none, in words of our own."""
    line = _one_line(box)
    known, hints = _written(kind), get_type_hints(kind, include_extras=True)
    complained = _UNREADABLE.match(line)
    # An option with another name stands there with both.
    names = re.split(r"[/,|]", complained[1].rstrip(":")) if complained else []
    for name in names:
        hint = hints.get(known.get(name, ""))
        inner = _inner(hint)
        if complained and (inner in (int, float) or get_origin(inner) is tuple):
            typed = _typed(name, arguments) or re.findall(r"'(.*?)'", complained[2])[-1:]
            return _not_wanted(name, typed, hint)
    for pattern, words in _IN_PLAIN_WORDS.items():
        line = re.sub(pattern, words, line)
    return line


_UNREADABLE: Final = re.compile(r"^Error parsing (\S+?):? (.*)$")


def _unreadable_name(options: Options) -> str:
    """What is wrong with the name of a file or folder; "" for nothing. Networks are read and
    written by a library that takes names in UTF-8 alone."""
    for value in vars(options).values():
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                try:
                    os.fsencode(path).decode()
                except UnicodeDecodeError:
                    return f"'{path}': not a name in UTF-8"
    return ""


_IN_PLAIN_WORDS: Final = {
    r"^Error parsing (\S+): no type matching \{?(.+?)\}? could be instantiated from \[(.*)\]\.?$": (
        r"\1 takes \2, not \3"
    ),
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
        named = choice[2] if choice[2].startswith("-") else choice[2].upper()
        near = difflib.get_close_matches(choice[1].strip("'"), choices, n=1)
        advice = f" (did you mean {near[0]}?)" if near else ""
        return f"{named} is {choice[1]}, not one of {', '.join(choices)}{advice}"
    return line


def _unexpected(word: str, kind: type[Options]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    # The dashes, which all have, make no two words alike.
    names = {name.lstrip("-"): name for name in _option_names(kind)}
    near = difflib.get_close_matches(word.lstrip("-"), names, n=1)
    return f"unknown option {word!r}" + (f" (did you mean {names[near[0]]}?)" if near else "")


def _option_names(kind: type[Options]) -> list[str]:
    """All words that begin an option; a field may have another name by `conf.arg`."""
    return ["--help", *(word for word in _written(kind) if word.startswith("--"))]
