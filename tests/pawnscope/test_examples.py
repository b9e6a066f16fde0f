"""Every name of the face has an example in its docstring, and every example runs."""

import doctest
import inspect
from pathlib import Path

import pytest

import pawnscope
from pawnscope import runs

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def example(name: str, text: str) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(text, {}, name, None, None)


@pytest.mark.parametrize("name", [*pawnscope.__all__, "Curve"])
def test_the_examples_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = getattr(runs if name == "Curve" else pawnscope, name)
    test = example(name, inspect.getdoc(found) or "")
    assert test.examples, f"{name} has no example"
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append)
    assert result.failed == 0, "".join(told)


def test_a_planted_fault_is_found() -> None:
    told: list[str] = []
    wrong = example("wrong", ">>> 1 + 1\n3\n")
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(wrong, out=told.append).failed == 1


def test_every_public_method_is_described() -> None:
    classes = [getattr(pawnscope, name) for name in pawnscope.__all__]
    for found in (each for each in [*classes, runs.Curve] if inspect.isclass(each)):
        for name, member in vars(found).items():
            if name.startswith("_") or not (callable(member) or isinstance(member, property)):
                continue
            assert inspect.getdoc(member), f"{found.__name__}.{name}"


def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(pawnscope.__file__).with_name("README.md").read_text(encoding="utf-8")
    block = "".join(line[4:] + "\n" for line in text.splitlines() if line.startswith("    "))
    assert block.count("net.evaluate") == 2
    exec(block, {})
    assert capsys.readouterr() == ("", "")
