"""A person's own concepts: loaded, used, loaded again, and every mistake with its file and line."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.probing.concepts.loading import load_concepts
from engine.probing.concepts.registry import label, registered_concepts
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.concepts.boards import answers
from tests.support.network.probing_cases import solved_rows

README = Path(__file__).parents[4] / "engine/probing/README.md"
HEAD = """from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, both_sides, concept
import numpy as np
"""
"""Three lines, so that what follows begins on the fourth."""
GOOD = """@concept("good", kind="binary")
def good(p):
    \"\"\"Good.\"\"\"
    return np.ones(len(p))
"""


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def readme_example() -> str:
    """The indented block of the README that begins with an import and decorates a concept."""
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n)+", README.read_text(encoding="utf-8"))
    (found,) = (text for text in blocks if "import" in text and "@concept" in text)
    return re.sub(r"(?m)^    ", "", found).strip() + "\n"


def test_the_example_of_the_readme_works(tmp_path: Path) -> None:
    text = readme_example()
    assert len(text.splitlines()) <= 10
    path = tmp_path / "edge.py"
    path.write_text(text, encoding="utf-8")
    (edge,) = load_concepts(path)
    assert (edge.name, edge.kind, edge.family) == ("a pawn on an edge file", "binary", "edge")
    assert edge.definition == (
        "The side to move has a pawn on the left or the right edge of the board."
    )
    assert answers(edge, "gardner", "4k/1p3/P4/5/4K w") == 1
    assert answers(edge, "gardner", "4k/p4/1PP2/5/4K w") == 0
    assert answers(edge, "gardner", "4k/p4/1PP2/5/4K b") == 1
    # The pawns of Hexapawn are a type of their own.
    assert answers(edge, "hexapawn4x4", "1p2/4/P3/4 w") == 1
    assert answers(edge, "hexapawn4x4", "3p/4/1P2/4 w") == 0


def test_a_file_loads_twice_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '@both_sides("width", kind="count")\ndef width(side):\n    """Files that {side} sees."""\n'
        "    return np.full(len(side), side.width)\n",
    )
    before = registered_concepts()
    first, again = load_concepts(path), load_concepts(path)
    assert [each.name for each in first] == [each.name for each in again]
    assert [each.name for each in first] == ["my width", "their width"]
    assert registered_concepts() == before
    variant, rows = get_variant("hexapawn"), solved_rows("hexapawn")
    for found in label((*first, *before[:1]), rows, variant).values():
        assert len(found) == len(rows)
    assert first[0].source == "mine.py"


def test_two_files_may_not_name_one_concept_twice(tmp_path: Path) -> None:
    text = (
        '@concept("few", kind="count")\ndef few(p):\n    """Few."""\n    return np.ones(len(p))\n'
    )
    one, other = write(tmp_path, text, "one.py"), write(tmp_path, text, "other.py")
    names = [each.name for each in load_concepts(one)]
    assert load_concepts(other)
    with pytest.raises(InputError) as problem:
        load_concepts(other, taken=names)
    assert str(problem.value) == f"{other}:4: the concept 'few' exists already"


GOOD = (
    '@concept("good", kind="binary")\ndef good(p):\n    """Good."""\n    return np.ones(len(p))\n'
)
MISTAKES = [
    pytest.param("def f(:\n", ":4: invalid syntax: def f(:", id="syntax"),
    pytest.param("x = '\\ud800'.encode()\n", ":4: UnicodeEncodeError: ", id="any exception"),
    pytest.param("import nowhere_at_all\n", ":4: ModuleNotFoundError: No module", id="import"),
    pytest.param("import sys\nsys.exit(3)\n", ":5: SystemExit: 3", id="it ends the program"),
    pytest.param("", ": no concept in it: a concept is a function decorated", id="nothing in it"),
    pytest.param(GOOD + GOOD, ":8: the concept 'good' exists already", id="twice"),
    pytest.param(
        GOOD.replace('"good"', '"material"'),
        ":4: the concept 'material' exists already",
        id="taken",
    ),
    pytest.param(
        GOOD.replace('"binary"', '"bool"'),
        ":4: the concept 'good': kind is 'bool', not one of binary, categorical, count, real",
        id="kind",
    ),
    pytest.param(
        GOOD.replace('    """Good."""\n', ""), ":4: the concept 'good' has no docstring", id="words"
    ),
    pytest.param(
        GOOD.replace('("good", kind="binary")', ""), ":4: TypeError: concept() missing", id="bare"
    ),
    pytest.param(GOOD.replace('"good"', "7"), ":4: the name of a concept is a text, not 7", id="7"),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES)
def test_a_mistake_is_told_in_one_line_with_its_place(
    text: str, complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    before = registered_concepts()
    with pytest.raises(InputError) as problem:
        load_concepts(path)
    assert str(problem.value).startswith(f"{path}{complaint}")
    assert "\n" not in str(problem.value)
    assert registered_concepts() == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"x = '\xff'\n", ":1: "), (b"x = 1\0\n", ":1: "), (b"", ": no concept in it")],
)
def test_what_is_no_python_file(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    with pytest.raises(InputError) as problem:
        load_concepts(path)
    assert str(problem.value).startswith(f"{path}{complaint}")
    assert "\n" not in str(problem.value)


def test_a_missing_file_and_a_folder_are_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_concepts(tmp_path / "nowhere.py")
    with pytest.raises(IsADirectoryError):
        load_concepts(tmp_path)


RETURNS = [
    ("1 / 0", ":7: the concept 'good': ZeroDivisionError: division by zero"),
    (
        "np.ones(3)",
        ":4: the concept 'good': labels of shape [3], not [70], for 70 pos",
    ),
    ("np.ones((len(p), 9))", ":4: the concept 'good': labels of shape [70, 9], not [70], for 70"),
    ("None", ":4: the concept 'good': labels of type object, not numbers"),
    ("np.full(len(p), 'yes')", ":4: the concept 'good': labels of type <U3, not numbers"),
    ("np.full(len(p), 2)", ":4: the concept 'good': the label 2, which is not one of kind 'bin"),
    ("np.full(len(p), np.inf)", ":4: the concept 'good': the label inf, which is not one of kind"),
    ("p.my()", ":4: the concept 'good': labels of shape [70, 3, 3], not [70], for 70 positions"),
    ("len(p.mine.nowhere)", ":7: the concept 'good': AttributeError: "),
]


@pytest.mark.parametrize(("expression", "complaint"), RETURNS)
def test_wrong_labels_name_the_concept_and_its_line(
    expression: str, complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, GOOD.replace("np.ones(len(p))", expression))
    (good,) = load_concepts(path)
    with pytest.raises(InputError) as problem:
        good.labels(solved_rows("hexapawn"), get_variant("hexapawn"))
    assert str(problem.value).startswith(f"{path}{complaint}")
    assert "\n" not in str(problem.value)


def test_what_makes_no_sense_there_stays_undefined(tmp_path: Path) -> None:
    text = GOOD.replace("return np.ones(len(p))", "return p.me.own(99)")
    undefined = text.replace(
        "return p.me.own(99)",
        "from engine.probing.concepts.registry import ConceptUndefinedError\n"
        '    raise ConceptUndefinedError("no such thing here")',
    )
    (good,) = load_concepts(write(tmp_path, undefined))
    assert good.undefined_in(get_variant("hexapawn")) == "no such thing here"


def test_a_file_may_define_what_a_module_may(tmp_path: Path) -> None:
    """Dataclasses with postponed annotations look their module up; wrappers hide a function."""
    path = tmp_path / "whole.py"
    path.write_text(
        """from __future__ import annotations
import functools
from dataclasses import dataclass
from engine.probing.concepts.registry import concept

@dataclass
class Limit:
    least: int

def twice(function):
    @functools.wraps(function)
    def doubled(positions):
        return 2 * function(positions)
    return doubled

for limit in (Limit(1), Limit(3)):
    @concept(f"at least {limit.least} pieces", kind="binary")
    def enough(positions, limit=limit):
        \"\"\"Enough pieces.\"\"\"
        return positions.mine.sum(axis=(1, 2)) >= limit.least

@concept("twice the pieces", kind="count")
@twice
def pieces(positions):
    \"\"\"Twice.\"\"\"
    return positions.mine.sum(axis=(1, 2))
""",
        encoding="utf-8",
    )
    before = set(sys.modules)
    one, three, doubled = load_concepts(path)
    assert set(sys.modules) == before
    fen = "3/p2/P1P w"
    assert [answers(each, "hexapawn", fen) for each in (one, three, doubled)] == [1, 0, 4]
    assert doubled.place == f"{path}:22"


def test_nan_and_labels_a_square_are_welcome(tmp_path: Path) -> None:
    text = GOOD.replace('kind="binary"', 'kind="real", per_square=True').replace(
        "np.ones(len(p))", "np.where(p.mine, np.nan, 0.5)"
    )
    (good,) = load_concepts(write(tmp_path, text))
    found = good.labels(solved_rows("hexapawn"), get_variant("hexapawn"))
    assert found.shape == (70, 9)
    assert np.isnan(found).any()


def test_concepts_of_an_imported_module_are_not_the_file_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be there the first time only."""
    write(tmp_path, GOOD, "helper_of_a_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path, "import helper_of_a_test\n" + GOOD.replace("good", "own"))
    for _ in range(2):
        assert [each.name for each in load_concepts(path)] == ["own"]
