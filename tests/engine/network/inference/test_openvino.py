"""OpenVINO as part of this process: it opens no connection, and ^C survives its networks."""

import os
from pathlib import Path

from tests.support.network.programs import run_python

CONNECTIONS_TOLD = """
import os, pathlib, sys
def hear(event, arguments):
    if event.startswith("socket."):
        os.write(2, f"{event} {arguments}".encode())
sys.addaudithook(hear)
from engine.network.inference.export import save_openvino
from engine.network.inference.evaluator import make_evaluator
from tests.support.network.network_cases import lively_network
network = lively_network("hexapawn", "plain")
make_evaluator(network, backend="openvino")
save_openvino(network, pathlib.Path(sys.argv[1]) / "net.xml")
"""
FREED_IN_THE_ORDER_MADE = """
import signal
from engine.network.inference.evaluator import make_evaluator
from tests.support.network.network_cases import lively_network, random_moves, random_rows
from engine.rules.variant import get_variant
variant = get_variant("hexapawn")
rows, moves = random_rows(variant, 1), random_moves(variant, 1)
def used():
    evaluator = make_evaluator(lively_network("hexapawn", "plain"), backend="openvino")
    evaluator.evaluate(rows, *moves)
    return evaluator
first, second = used(), used()
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_nothing_else_needs_openvino() -> None:
    done = run_python(
        "import sys; sys.modules['openvino'] = None; import engine.network.inference.evaluator"
    )
    assert done.returncode == 0, done.stderr


def test_openvino_opens_no_connection(tmp_path: Path) -> None:
    """Its import alone would ask for the address of a server, and leave files at home."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    # Where CI is set, OpenVINO is silent by itself.
    variables = {"HOME": str(home), "XDG_CACHE_HOME": caches, "CI": ""}
    done = run_python(CONNECTIONS_TOLD, str(out), **variables)
    assert done.returncode == 0, done.stderr
    assert "socket." not in done.stderr
    assert not list(home.iterdir())
    assert (out / "net.xml").exists()


def test_an_interrupt_finds_a_stack_after_the_last_network_is_freed() -> None:
    """With two Cores, the main thread would keep an alternate signal stack that is freed."""
    done = run_python(FREED_IN_THE_ORDER_MADE)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
