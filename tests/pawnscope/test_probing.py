"""Probing from Python: every example runs, and what is given wrongly is named."""

import doctest
import inspect
from pathlib import Path

import pytest

import pawnscope as ps
from pawnscope import probing
from tests.support.network.network_cases import lively_network
from tests.support.network.universal_cases import lively_universal

FUNCTIONS = ("attention_scores", "capture", "fit_probe", "lens", "surface")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    text = inspect.getdoc(getattr(probing, name)) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert len(test.examples) >= 5
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append)
    assert result.failed == 0, "".join(told)


def test_every_public_name_is_described() -> None:
    for name in probing.__all__:
        assert inspect.getdoc(getattr(probing, name)), name


def test_what_is_given_wrongly_is_named() -> None:
    net = ps.Network(lively_network("hexapawn", "geometric"))
    start = ps.Position("hexapawn")
    with pytest.raises(ps.InputError, match=r"unknown concept 'mobilty' \(did you mean mobility"):
        probing.fit_probe(net, start, "mobilty", "final")
    with pytest.raises(ps.InputError, match="is of gardner, the network of hexapawn"):
        probing.lens(net, ps.Position("gardner"))
    with pytest.raises(ps.InputError, match="no network to probe"):
        probing.surface({}, start, ["mobility"])
    several = ps.Network(lively_universal("geometric"))
    with pytest.raises(ps.InputError, match="a network for several variants"):
        probing.capture(several, start, ["final"])


def test_a_torch_module_and_a_network_for_several_variants_have_a_lens() -> None:
    module = lively_network("hexapawn", "geometric")
    start = ps.Position("hexapawn")
    assert probing.lens(module, start) == probing.lens(ps.Network(module), [start])
    several = ps.Network(lively_universal("geometric"))
    assert probing.lens(several, start).variant == "hexapawn"
