"""A command's options: a frozen keyword-only dataclass, filled from the command line by tyro.

A field without a default is a positional argument, in the order of the fields; the comment over a
field is its help, and the docstring of the class that of the command.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro import _errors, conf
from tyro._arguments import ArgumentDefinition

from engine.rules.errors import InputError


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

    def refuse(event: _errors.ParseErrorEvent) -> None:
        raise OptionError(f"{_complaint(event, kind)}; see pawnscope {command} --help")

    # tyro prints a box of many lines; its hook for that is private, so tyro's minor version is
    # pinned in pyproject.toml.
    with _errors.on_parse_error(refuse):
        options = tyro.cli(
            kind,
            prog=f"pawnscope {command}",
            args=arguments,
            config=(
                conf.DisallowNone,
                conf.FlagCreatePairsOff,
                conf.PositionalMetavarFromFieldName,
                conf.PositionalRequiredArgs,
            ),
        )
    seed = getattr(options, "seed", None)
    if seed is not None and seed < 0:
        raise OptionError(f"--seed {seed}: a seed is 0 or more")
    if options.variants is not None:
        from engine.rules.variant import load_variants

        load_variants(options.variants)
    return options


def _complaint(event: _errors.ParseErrorEvent, kind: type[Options]) -> str:
    match event:
        case _errors.UnrecognizedArgs(tokens=[word, *_]):
            return _unexpected(word, kind)
        case _errors.MissingArgs(unrecognized_tokens=[word, *_]):
            return _unexpected(word, kind)
        case _errors.MissingArgs(missing_arguments=missing):
            return f"missing: {', '.join(_name(item.arg) for item in missing)}"
        case _errors.BadValue(argument=argument):
            return f"{_name(argument)} needs a value"
        case _errors.InvalidChoice(argument=argument, value=value, choices=choices):
            return f"{_name(argument)} is {value!r}, not one of {', '.join(choices)}"
        case _errors.InstantiationFailure(message=message, argument=argument):
            plain = re.sub(r"\[/?bold\]", "", " ".join(message.split()))
            return plain if argument is None else f"{_name(argument)}{_misfit(argument, plain)}"
    return "the options contradict each other"


def _misfit(argument: ArgumentDefinition, message: str) -> str:
    """Why words are no value of an option: of several words tyro's own text is about types."""
    form = str(argument.lowered.metavar or "").strip("{}")
    given = re.search(r"instantiated from \[([^\]]*)\]", message)
    return f" takes {form}, not {given[1]}" if " " in form and given else f": {message}"


def _name(argument: ArgumentDefinition) -> str:
    """As the help writes it."""
    name = argument.display_name()
    return name.upper() if argument.is_positional() else name


def _unexpected(word: str, kind: type[Options]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    known = ["--" + field.name.replace("_", "-") for field in fields(kind)]
    near = difflib.get_close_matches(word, known, n=1)
    return f"unknown option {word!r}" + (f" (did you mean {near[0]}?)" if near else "")
