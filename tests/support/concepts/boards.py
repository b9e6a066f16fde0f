"""Concepts asked about drawn boards."""

import itertools

import numpy as np

from engine.probing.concepts.registry import BothSides, Concept
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import symmetric_positions


def answers(asked: Concept, name: str, fen: str) -> float:
    """The label of a board ("BOARD SIDE"), which its three symmetric positions must share."""
    variant = get_variant(name)
    row = Position(variant, f"{fen} - - 0 1").row
    rows = np.stack(symmetric_positions(row, variant))
    labels = asked.labels(rows, variant)
    same = np.array_equal(labels, np.full(4, labels[0]), equal_nan=True)
    assert same, f"{asked.name} of symmetric positions: {labels}"
    return float(labels[0])


def drawn(diagram: str) -> str:
    """A drawn board as a FEN's board: ranks from the top, each on a line or up to a "/", points for
    empty squares. ". p . / . . . / P . P" is "1p1/3/P1P"."""
    ranks = [line.replace(" ", "") for line in diagram.strip().replace("/", "\n").splitlines()]
    return "/".join(
        "".join(
            str(len(list(group))) if is_empty else "".join(group)
            for is_empty, group in itertools.groupby(rank, lambda sign: sign == ".")
        )
        for rank in ranks
    )


def both(asked: BothSides, name: str, diagram: str, *, to_move: str = "w") -> tuple[float, float]:
    """The labels of a drawn board for the side to move and for the opponent."""
    fen = f"{drawn(diagram)} {to_move}"
    return answers(asked.mine, name, fen), answers(asked.theirs, name, fen)
