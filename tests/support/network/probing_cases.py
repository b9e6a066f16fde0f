"""Symmetric positions made the slow way; samples and networks for the tests of engine/probing."""

import functools

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.registry import Concept
from engine.probing.data.samples import Sample
from engine.probing.report.results import CheckpointSummary, Report
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.measure import Subject, surface
from engine.rules.tables import BLACK_BIT, EMPTY, EN_PASSANT, NO_SQUARE, SIDE
from engine.rules.variant import Variant, get_variant
from search.exact.solution import Solution
from search.exact.solver import solve
from tests.support.network.network_cases import lively_network
from tests.support.rules.random_games import random_games, replayed

Rows = npt.NDArray[np.uint8]
Row = npt.NDArray[np.uint8]

QUICK = ProbeConfig(random_networks=5, resamples=300, details=False)


def mirrored(row: Row, variant: Variant) -> Row:
    """Left and right changed, square by square."""
    changed = row.copy()
    for rank in range(variant.height):
        for file in range(variant.width):
            other = rank * variant.width + variant.width - 1 - file
            changed[other] = row[rank * variant.width + file]
    return changed


def recoloured(row: Row, variant: Variant) -> Row:
    """The same position with the colours changed: ranks turned, the other side to move."""
    changed = row.copy()
    for rank in range(variant.height):
        for file in range(variant.width):
            code = int(row[rank * variant.width + file])
            place = (variant.height - 1 - rank) * variant.width + file
            changed[place] = EMPTY if code == EMPTY else code ^ BLACK_BIT
    changed[variant.squares + SIDE] = 1 - row[variant.squares + SIDE]
    return changed


def symmetric_positions(row: Row, variant: Variant) -> list[Row]:
    """All four that count as one canonical position."""
    other = recoloured(row, variant)
    return [row, mirrored(row, variant), other, mirrored(other, variant)]


def identity(row: Row, variant: Variant) -> bytes:
    """The same for symmetric positions, and for no others."""
    kept = variant.squares + SIDE + 1
    return min(each[:kept].tobytes() for each in symmetric_positions(row, variant))


@functools.cache
def solution(name: str) -> Solution:
    """The solved game."""
    return solve(get_variant(name))


def solved_rows(name: str, count: int | None = None) -> Rows:
    """Its unfinished positions, or so many of them."""
    rows = solution(name).unfinished_positions()
    if count is None:
        return rows
    return rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:count])]


def game_rows(name: str, games: int, plies: int = 60) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Unfinished positions of random games, and the number of the game of each."""
    rows, numbers = [], []
    for number, game in enumerate(random_games(get_variant(name), games, plies)):
        for position in replayed(game):
            if position.outcome() is None:
                row = position.row.copy()
                row[get_variant(name).squares + EN_PASSANT] = NO_SQUARE
                rows.append(row)
                numbers.append(number)
    return np.stack(rows), np.array(numbers)


def subject(network: PolicyValueNet, name: str = "planted") -> Subject:
    """A network as a checkpoint of a run."""
    summary = CheckpointSummary(name=name, role="only", step=7)
    return Subject(summary=summary, load=lambda: network, digest=name)


def planted_report(
    concepts: tuple[Concept, ...],
    *,
    name: str = "hexapawn4x4",
    network: PolicyValueNet | None = None,
    rows: Rows | None = None,
    config: ProbeConfig = QUICK,
) -> Report:
    """A report on a small network and some positions of a solved game."""
    torch.set_num_threads(1)
    variant = get_variant(name)
    return surface(
        [("planted", [subject(network or lively_network(name, "geometric"))])],
        Sample.from_rows(
            solved_rows(name, 2500) if rows is None else rows, variant, source="some positions"
        ),
        concepts,
        variant,
        config=config,
    )
