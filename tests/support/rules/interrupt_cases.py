"""Long work in the main thread of a process of its own, each piece interrupted: for tests.

Writes the name of each piece that raised KeyboardInterrupt, one a line.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable

import numpy as np

from engine.rules.perft import perft
from engine.rules.position import Position
from engine.rules.variant import get_variant
from engine.system.interrupts import interruptible
from search.mcts.roots import Roots
from search.mcts.uct import UctConfig, UctSearch
from search.minimax.alphabeta import AlphaBetaConfig, alphabeta
from search.minimax.minimax import minimax

CHESS = get_variant("chess")
START = Position(CHESS)


def _simulate() -> None:
    root = Roots.from_positions([START])
    search = UctSearch(CHESS, root, UctConfig(simulations=1), np.random.default_rng(0))
    search.run(2_000_000)


def _late_signals() -> None:
    """A signal that ends one block is not heard in the next."""
    for _ in range(100):
        try:
            with interruptible():
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("not heard")
        with interruptible() as stop:
            for _ in range(50):
                assert not stop[0]
    raise KeyboardInterrupt


ENDLESS: dict[str, Callable[[], object]] = {
    "perft": lambda: perft(CHESS.tables, CHESS.start_row, 60),
    "minimax": lambda: minimax(START, 60),
    "alphabeta": lambda: alphabeta(START, AlphaBetaConfig(depth=60)),
    "uct": _simulate,
}
LOADED: dict[str, Callable[[], object]] = {
    "perft": lambda: perft(CHESS.tables, CHESS.start_row, 1),
    "minimax": lambda: minimax(START, 1),
    "alphabeta": lambda: alphabeta(START, AlphaBetaConfig(depth=1)),
    "uct": lambda: UctSearch(
        CHESS,
        Roots.from_positions([START]),
        UctConfig(simulations=1),
        np.random.default_rng(0),
    ).run(2),
}


def main() -> None:
    """Interrupt each of them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, work in ENDLESS.items():
        LOADED[name]()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            work()
        except KeyboardInterrupt:
            sys.stdout.write(f"{name}\n")
    try:
        _late_signals()
    except KeyboardInterrupt:
        sys.stdout.write("late\n")


if __name__ == "__main__":
    main()
