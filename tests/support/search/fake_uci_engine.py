"""A UCI engine of few words, for tests: `fake_uci_engine.py LOG MODE`.

MODE is a move to answer every `go` with, or how to fail: none, die, silent. What it hears goes to
the file LOG.
"""

import sys
import time


def main(log: str, mode: str) -> None:
    """Answer until `quit` or the end of the input."""
    with open(log, "w", encoding="utf-8") as heard:
        for line in sys.stdin:
            heard.write(line)
            heard.flush()
            command = line.split()[0]
            if command == "quit" or (command == "go" and mode == "die"):
                return
            if command == "uci" and mode == "silent":
                time.sleep(60)
            for answer in answers(line.strip(), mode):
                sys.stdout.write(answer + "\n")
            sys.stdout.flush()


def answers(line: str, mode: str) -> list[str]:
    """What the engine says to a line."""
    if line == "uci":
        variants = "option name UCI_Variant type combo default chess var chess var gardner"
        return [variants, "option name VariantPath type string default <empty>", "uciok"]
    if line == "isready":
        return ["readyok"]
    if line.startswith("go"):
        if mode == "none":
            return ["bestmove (none)"]
        info = "info depth 3 score cp 40 wdl 300 600 100 nodes 77 pv"
        return [f"{info} {mode} a4a3", f"bestmove {mode} ponder a4a3"]
    return []


main(sys.argv[1], sys.argv[2])
