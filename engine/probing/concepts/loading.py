"""A person's own concepts: a Python file whose functions are decorated with `@concept`.

    from engine.probing.concepts.positions import Positions
    from engine.probing.concepts.registry import Labels, concept

    @concept("a pawn on an edge file", kind="binary", source="Wikipedia, Rook pawn")
    def edge_pawn(positions: Positions) -> Labels:
        \"\"\"The side to move has a pawn on the left or the right edge of the board.\"\"\"
        edges = positions.me.files(0, positions.variant.width - 1)
        return positions.me.pawns & edges != 0

The file runs as a program does: load only what you trust. It registers nothing outside of what
`load_concepts` returns, so that it can be loaded again.
"""

import contextlib
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType

from engine.probing.concepts.registry import Concept, line_in, registering, told
from engine.rules.errors import InputError


def load_concepts(path: str | Path, *, taken: Collection[str] = ()) -> tuple[Concept, ...]:
    """The concepts of a file, in the order of their definition.

    `taken` are names, beside those of the built-in concepts, that it may not use: those of other
    files. Errors in a concept's function show when it is first used. Raises OSError, and InputError
    that begins with the file and the line for whatever else is wrong with it.
    """
    file = str(path)
    code = Path(path).read_bytes()
    with registering(file, taken) as found, _module(file) as module:
        try:
            exec(compile(code, file, "exec", dont_inherit=True), module.__dict__)
        except SyntaxError as problem:
            if problem.filename not in (file, None):
                # Of a module that it imports.
                raise InputError(f"{line_in(problem, file) or file}: {told(problem)}") from problem
            quoted = f": {problem.text.strip()}" if problem.text else ""
            raise InputError(f"{file}:{problem.lineno or 1}: {problem.msg}{quoted}") from problem
        except (Exception, SystemExit) as problem:
            raise InputError(f"{line_in(problem, file) or file}: {told(problem)}") from problem
    # What a module registers that the file imports belongs to the file's first run alone.
    own = tuple(each for each in found.values() if each.file == file)
    if not own:
        raise InputError(
            f"{file}: no concept in it: a concept is a function decorated with @concept"
        )
    return own


@contextlib.contextmanager
def _module(file: str) -> Iterator[ModuleType]:
    """A fresh module for a file, among the imported ones as long as the file runs: dataclasses
    look there."""
    module = ModuleType(f"concepts_from.{Path(file).stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]
