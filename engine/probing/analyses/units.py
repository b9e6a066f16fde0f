"""What single units go with: each channel of a layer against what stands on each square.

A unit is a channel, read as its mean over the squares of a board (of a point without squares, as it
is), divided by its spread. Its map has for each piece and square the covariance with "this piece
stands there", as the side to move sees the board: by how many spreads, times the share of positions
with the piece there and without it, the two kinds of position differ.

Two figures sum a unit up: the strongest correlation with one piece on one square, and the share of
its variance that all squares explain linearly (adjusted for their number): near 1, the unit adds up
pieces. Both stand beside those of untrained networks, whose units are the yardstick: any unit goes
with some square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import capture
from engine.probing.analyses.correlations import Array, correlations
from engine.probing.analyses.positions.evaluations import single_thread
from engine.probing.analyses.seen_pieces import one_of_each, piece_letter, piece_name
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows, seen_boards
from engine.rules.errors import InputError
from engine.rules.tables import EMPTY
from engine.rules.variant import Variant

QUANTILES: Final = (0.1, 0.5, 0.9)
MOST_POSITIONS: Final = 4_000
_FLAT: Final = 1e-6
"""Units whose spread is below this share of the largest are constant."""


@dataclass(frozen=True, kw_only=True)
class PieceMap:
    """A unit's covariances with one piece."""

    # As "my P".
    piece: str
    # As in a FEN: upper case is the side to move's.
    letter: str
    # [S], in spreads of the unit; None where the piece never or always stands.
    covariances: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One channel."""

    number: int
    # The strongest correlation with one piece on one square, with its sign.
    correlation: float
    # That piece, as "my P", and its square.
    piece: str
    square: int
    # Share of the variance that all squares explain linearly, adjusted; None for too few positions.
    linear: float | None
    maps: tuple[PieceMap, ...]


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """All units of a network's layer: quantiles at 10, 50 and 90 %."""

    # Units that vary.
    units: int
    # Of the strongest correlations, without sign.
    correlations: tuple[float, ...]
    # Of the linear shares; () for too few positions.
    linear: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Units:
    """The units of a layer, and those of untrained networks."""

    variant: str
    layer: str
    # Files and ranks of the boards.
    width: int
    height: int
    # Canonical positions, one row each.
    positions: int
    trained: UnitSummary
    untrained: tuple[UnitSummary, ...]
    # The units with the strongest correlations, the strongest first; of the first untrained network
    # likewise.
    top: tuple[Unit, ...]
    untrained_top: tuple[Unit, ...]

    def __repr__(self) -> str:
        lines = [f"{self.layer}: {self.trained.units} units over {self.positions:,} positions"]
        for name, found in [
            ("trained", self.trained),
            *((f"untrained {number}", each) for number, each in enumerate(self.untrained, 1)),
        ]:
            strongest = " ".join(f"{each:.2f}" for each in found.correlations)
            linear = " ".join(f"{each:.2f}" for each in found.linear) or "–"
            lines.append(f"  {name:12} strongest correlation {strongest}  linear {linear}")
        lines += [
            f"  unit {each.number:3} {each.correlation:+.2f} with {each.piece} on square"
            f" {each.square}"
            for each in self.top
        ]
        return "\n".join(lines)


def units(
    network: PolicyValueNet,
    layer: str,
    rows: Rows,
    variant: Variant,
    *,
    untrained: int = 5,
    top: int = 6,
    positions: int = MOST_POSITIONS,
    seed: int = 0,
) -> Units:
    """Compare the units of a layer, [B, S, D] or [B, V], with the pieces on each square.

    `rows` uint8[N, R]: one row of each canonical position is used, at most `positions`. Raises
    InputError for an unknown layer, and where all positions are alike.
    """
    rng = np.random.default_rng(seed)
    rows = rows[one_of_each(rows, variant, positions, rng)]
    pieces = _Pieces(rows, variant)
    seeds = range(seed + 1, seed + 1 + untrained)
    with single_thread():
        own = _measured(network, layer, rows, pieces)
        others = [
            _measured(other, layer, rows, pieces)
            for other in untrained_networks(network.config, seeds)
        ]
    return Units(
        variant=variant.name,
        layer=layer,
        width=variant.width,
        height=variant.height,
        positions=len(rows),
        trained=_summary(own),
        untrained=tuple(_summary(each) for each in others),
        top=tuple(own[:top]),
        untrained_top=tuple(others[0][:top]) if others else (),
    )


class _Pieces:
    """Where each kind of piece stands."""

    def __init__(self, rows: Rows, variant: Variant) -> None:
        boards = seen_boards(rows, variant)
        self.squares = variant.squares
        self.codes = [int(code) for code in np.unique(boards) if code != EMPTY]
        self.names = [piece_name(code, variant) for code in self.codes]
        self.letters = [piece_letter(code, variant) for code in self.codes]
        stands = (boards[:, None, :] == np.array(self.codes)[:, None]).reshape(len(rows), -1)
        self.columns: Array = stands.astype(np.float64)
        """[N, P * S]."""
        self.spreads: Array = self.columns.std(axis=0)
        varied = self.columns[:, self.spreads > 0.0]
        if not varied.shape[1]:
            raise InputError(f"{len(rows)} positions of {variant.name} with the same pieces")
        centred = varied - varied.mean(axis=0)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        self.basis: Array = left[:, sizes > 1e-9 * sizes[0]]
        """[N, rank] orthonormal, of all that squares tell linearly."""


def _measured(network: PolicyValueNet, layer: str, rows: Rows, pieces: _Pieces) -> list[Unit]:
    """The units that vary, the strongest first."""
    values = capture(network, rows, [layer], readout="mean")[layer].astype(np.float64)
    spreads = values.std(axis=0)
    varied = np.flatnonzero(spreads > _FLAT * spreads.max(initial=0.0))
    standard = (values[:, varied] - values[:, varied].mean(axis=0)) / spreads[varied]
    correlated = correlations(standard, pieces.columns)
    linear = _linear_shares(standard, pieces.basis)
    covariances = correlated * pieces.spreads
    places = np.abs(np.nan_to_num(correlated)).argmax(axis=1)
    found = [
        Unit(
            number=int(number),
            correlation=float(np.nan_to_num(correlated[place, at])),
            piece=pieces.names[int(at) // pieces.squares],
            square=int(at) % pieces.squares,
            linear=None if linear is None else float(linear[place]),
            maps=_maps(covariances[place], pieces),
        )
        for place, (number, at) in enumerate(zip(varied, places, strict=True))
    ]
    return sorted(found, key=lambda each: -abs(each.correlation))


def _linear_shares(standard: Array, basis: Array) -> Array | None:
    """[D] R² of units [N, D] of spread one on an orthonormal basis, adjusted for its size."""
    count, rank = basis.shape
    if count <= rank + 1:
        return None
    explained = ((basis.T @ standard) ** 2).sum(axis=0) / count
    adjusted: Array = 1.0 - (1.0 - explained) * (count - 1) / (count - 1 - rank)
    return adjusted


def _maps(covariances: Array, pieces: _Pieces) -> tuple[PieceMap, ...]:
    by_piece = covariances.reshape(len(pieces.codes), -1)
    return tuple(
        PieceMap(
            piece=name,
            letter=letter,
            covariances=tuple(None if np.isnan(each) else float(each) for each in line),
        )
        for name, letter, line in zip(pieces.names, pieces.letters, by_piece, strict=True)
    )


def _summary(found: Sequence[Unit]) -> UnitSummary:
    strongest = [abs(each.correlation) for each in found]
    linear = [each.linear for each in found if each.linear is not None]
    return UnitSummary(
        units=len(found), correlations=_quantiles(strongest), linear=_quantiles(linear)
    )


def _quantiles(numbers: Sequence[float]) -> tuple[float, ...]:
    if not numbers:
        return ()
    return tuple(float(each) for each in np.quantile(numbers, QUANTILES))
