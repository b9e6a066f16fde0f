"""What a piece is worth to the value head, beside what it is worth in truth.

A regression of the value on differences of piece counts, mine less theirs, with an intercept for
the right to move (McGrath et al. 2022, section 5, who regress on the counts alone). Two responses:

    log-odds  log((1 + v) / (1 - v)) of the expected score v, which a head that adds up pieces
              makes linear; an exact value of 1 or -1 has no log-odds
    score     v itself, -1 to 1: the network's, and the exact one where it is known

Either is also told with the pawn as 1. Pawns are further told apart by the rank on which they
stand, counted from their own side. Intervals are of a bootstrap over canonical positions.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.positions.evaluations import Evaluations, evaluate, variant_of
from engine.probing.analyses.positions.move_table import Flags, MoveTable, MoveTruth, move_table
from engine.probing.analyses.positions.resampling import Array, Estimate, Resamples, counted
from engine.probing.data.canonical import (
    Rows,
    canonical_boards,
    canonical_groups,
    seen_boards,
)
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, KING, PAWN
from engine.rules.variant import Variant

_RIDGE: Final = 1e-6
"""Penalty as a share of a count's own square: counts that always differ alike share their value."""
_MOST_MATERIALS: Final = 24
"""Piece differences that are listed, the most frequent ones."""
_NAMES: Final = {1: "pawn", 2: "knight", 3: "bishop", 4: "rook", 5: "queen", 6: "king"}


@dataclass(frozen=True, kw_only=True)
class PieceValue:
    """What one piece more is worth."""

    # Name of the kind, or "pawn on rank 2".
    piece: str
    # In the response's own unit.
    value: Estimate
    # With the pawn as 1; None where the pawn's own interval holds zero, and without pawns.
    in_pawns: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Regression:
    """One response on the differences of piece counts."""

    # "log-odds" or "score", and whose: "network" or "exact".
    response: str
    of: str
    positions: int
    # Worth of the right to move.
    intercept: Estimate
    pieces: tuple[PieceValue, ...]
    # Pawns by rank from their own side, in place of the pawn; empty without pawns.
    pawns_by_rank: tuple[PieceValue, ...]
    # Share of the response's variance that the counts explain.
    explained: float
    # Kinds, the most valuable first, and the share of resamples that have exactly this order.
    order: tuple[str, ...]
    order_certainty: float
    # For each neighbours in the order, the share of resamples in which they stand so.
    order_pairs: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MaterialValue:
    """Positions of one difference of material."""

    # As "+1 pawn, -1 knight"; "equal".
    difference: str
    positions: int
    # Mean expected score of the network, -1 to 1.
    network: float
    # Mean exact value; None where it is not known.
    exact: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class PieceValues:
    """Piece values of one network, beside the exact ones."""

    variant: str
    positions: int
    log_odds: Regression
    score: Regression
    # Of positions whose exact value is known; None where there are none.
    exact: Regression | None
    # The network's score on the same positions; None likewise.
    score_where_exact: Regression | None
    by_material: tuple[MaterialValue, ...]
    # Kinds that no position tells apart, with the reason.
    absent: tuple[tuple[str, str], ...]
    confidence: float

    def __repr__(self) -> str:
        return _table(self)


def piece_values(
    network: VariantNetwork,
    rows: Rows,
    truth: MoveTruth | None = None,
    *,
    variant: Variant | None = None,
    resamples: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PieceValues:
    """The piece values of a network on unfinished positions uint8[N, R].

    `truth` gives exact values, where the game is solved; `variant` is the network's unless given.
    Raises InputError for rows of another variant, for finished positions, and where no kind of
    piece ever differs in number.
    """
    variant = variant_of(network, variant)
    legal = move_table(rows, variant, truth)
    groups = canonical_groups(canonical_boards(rows, variant))
    return values_of(
        evaluate(network, legal), legal, Resamples(groups, resamples, seed, confidence)
    )


def values_of(evaluations: Evaluations, legal: MoveTable, resamples: Resamples) -> PieceValues:
    """The same of evaluations, legal moves and resamples that other analyses share."""
    counts = Counts.of(legal.rows, legal.variant)
    everywhere = np.ones(len(legal), bool)
    score = evaluations.expected_score
    exact = network_there = None
    if legal.exact is not None and legal.exact.known.any():
        known, values = legal.exact.known, legal.exact.values.astype(np.float64)
        exact = regress("score", "exact", values, counts, known, resamples)
        network_there = regress("score", "network", score, counts, known, resamples)
    return PieceValues(
        variant=legal.variant.name,
        positions=len(legal),
        log_odds=regress(
            "log-odds", "network", evaluations.score_logit, counts, everywhere, resamples
        ),
        score=regress("score", "network", score, counts, everywhere, resamples),
        exact=exact,
        score_where_exact=network_there,
        by_material=_by_material(counts, score, legal),
        absent=counts.absent,
        confidence=resamples.confidence,
    )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Differences of piece counts of N positions, mine less theirs."""

    # Kinds that differ somewhere, and float64[N, K].
    kinds: tuple[str, ...]
    differences: Array
    # Ranks from the pawn's own side that have pawns in some position, and float64[N, P].
    ranks: tuple[str, ...]
    by_rank: Array
    # Kinds that never differ, with the reason.
    absent: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, rows: Rows, variant: Variant) -> "Counts":
        """Of rows uint8[N, R]; raises InputError where no kind ever differs."""
        boards = seen_boards(rows, variant)
        kinds, columns, absent = [], [], []
        for piece in variant.piece_types:
            name = piece_name(variant, piece)
            column = (boards == piece).sum(axis=1) - (boards == piece | BLACK_BIT).sum(axis=1)
            if column.any():
                kinds.append(name)
                columns.append(column)
            elif not (piece == KING and variant.has_king):
                absent.append((name, "both sides have equally many in every position"))
        if not kinds:
            raise InputError(f"{len(rows)} positions of {variant.name}: no kind of piece differs")
        ranks, by_rank = _pawns_by_rank(boards, variant)
        return cls(
            kinds=tuple(kinds),
            differences=np.stack(columns, axis=1).astype(np.float64),
            ranks=ranks,
            by_rank=by_rank,
            absent=tuple(absent),
        )


def piece_name(variant: Variant, piece: int) -> str:
    """The name of a piece type: that of chess, else its letter."""
    if piece == pawn_type(variant):
        return "pawn"
    known = _NAMES.get(piece)
    return known if known is not None else f"piece {variant.piece_letters[piece].upper()}"


def pawn_type(variant: Variant) -> int | None:
    """The piece that counts as a pawn: of games without one the only piece, or that written p."""
    types = variant.piece_types
    if PAWN in types:
        return PAWN
    lettered = [piece for piece in types if variant.piece_letters[piece] == "p"]
    return types[0] if len(types) == 1 else lettered[0] if lettered else None


def _pawns_by_rank(
    boards: npt.NDArray[np.uint8], variant: Variant
) -> tuple[tuple[str, ...], Array]:
    pawn = pawn_type(variant)
    if pawn is None:
        return (), np.empty((len(boards), 0))
    squares = boards.reshape(len(boards), variant.height, variant.width)
    mine = (squares == pawn).sum(axis=2)
    theirs = (squares == pawn | BLACK_BIT).sum(axis=2)[:, ::-1]
    differences = (mine - theirs).astype(np.float64)
    ranks = np.flatnonzero(differences.any(axis=0))
    return tuple(f"pawn on rank {rank + 1}" for rank in ranks), differences[:, ranks]


def regress(
    response: str,
    of: str,
    values: Array,
    counts: Counts,
    among: Flags,
    resamples: Resamples,
) -> Regression:
    """Values [N] on the counts, `among` some positions bool[N]."""
    coefficients = _solve(counts.differences, values, among, resamples)
    pawn = counts.kinds.index("pawn") if "pawn" in counts.kinds else None
    number = int(among.sum())

    def estimate(column: Array) -> Estimate:
        return resamples.estimate(column, number)

    unit: Array | None = None
    if pawn is not None:
        own = coefficients[:, pawn]
        worth = estimate(own)
        # Of few positions a resample may have no pawn that tells.
        if (worth.is_above_zero or worth.is_below_zero) and own.all():
            unit = own

    def piece(name: str, column: Array) -> PieceValue:
        in_pawns = None if unit is None else estimate(column / unit)
        return PieceValue(piece=name, value=estimate(column), in_pawns=in_pawns)

    by_rank: tuple[PieceValue, ...] = ()
    if counts.ranks and pawn is not None:
        others = np.delete(counts.differences, pawn, axis=1)
        apart = _solve(np.hstack([counts.by_rank, others]), values, among, resamples)
        by_rank = tuple(piece(name, apart[:, i]) for i, name in enumerate(counts.ranks))
    kinds = coefficients[:, : len(counts.kinds)]
    order = np.argsort(-kinds[0], kind="stable")
    above = kinds[:, order[:-1]] > kinds[:, order[1:]]
    return Regression(
        response=response,
        of=of,
        positions=number,
        intercept=estimate(coefficients[:, -1]),
        pieces=tuple(piece(name, kinds[:, i]) for i, name in enumerate(counts.kinds)),
        pawns_by_rank=by_rank,
        explained=_explained(counts.differences, coefficients[0], values, among),
        order=tuple(counts.kinds[i] for i in order),
        order_certainty=float(above[1:].all(axis=1).mean()),
        order_pairs=tuple(above[1:].mean(axis=0).tolist()),
    )


def _solve(columns: Array, values: Array, among: Flags, resamples: Resamples) -> Array:
    """[1 + B, K + 1] coefficients of columns [N, K] and an intercept, by least squares."""
    design = np.hstack([columns, np.ones((len(columns), 1))]) * among[:, None]
    width = design.shape[1]
    upper = np.triu_indices(width)
    products = np.hstack([design[:, upper[0]] * design[:, upper[1]], design * values[:, None]])
    sums = resamples.weights @ resamples.unit_sums(products)
    squares = np.empty((len(sums), width, width))
    squares[:, upper[0], upper[1]] = squares[:, upper[1], upper[0]] = sums[:, : len(upper[0])]
    diagonal = np.arange(width)
    # The floor is for a kind that a resample does not tell apart: it gets the value 0.
    squares[:, diagonal, diagonal] += _RIDGE * (1.0 + squares[:, diagonal, diagonal])
    solved = np.linalg.solve(squares, sums[:, len(upper[0]) :, None])[:, :, 0]
    return np.asarray(solved, np.float64)


def _explained(columns: Array, coefficients: Array, values: Array, among: Flags) -> float:
    fitted = columns[among] @ coefficients[:-1] + coefficients[-1]
    spread = float(np.var(values[among]))
    error = float(np.mean((values[among] - fitted) ** 2))
    return 1.0 - error / spread if spread > 1e-12 else 0.0


def _by_material(counts: Counts, score: Array, legal: MoveTable) -> tuple[MaterialValue, ...]:
    different, member = np.unique(counts.differences, axis=0, return_inverse=True)
    member = member.ravel()
    sizes = np.bincount(member)
    found = []
    for place in np.argsort(-sizes, kind="stable")[:_MOST_MATERIALS]:
        rows = member == place
        known = rows & legal.exact.known if legal.exact is not None else np.zeros_like(rows)
        words = [
            f"{int(number):+d} {kind}"
            for number, kind in zip(different[place], counts.kinds, strict=True)
            if number
        ]
        found.append(
            (
                tuple(different[place]),
                MaterialValue(
                    difference=", ".join(words) or "equal",
                    positions=int(sizes[place]),
                    network=float(score[rows].mean()),
                    exact=(
                        float(legal.exact.values[known].mean())
                        if legal.exact is not None and known.any()
                        else None
                    ),
                ),
            )
        )
    return tuple(value for _, value in sorted(found, key=lambda each: each[0]))


def _table(found: PieceValues) -> str:
    lines = [f"piece values on {counted(found.positions, 'position')} of {found.variant}"]
    regressions = [found.log_odds, found.score, found.exact]
    lines.append(
        f"{'':18}" + "".join(f"{f'{each.of}, {each.response}':>26}" for each in regressions if each)
    )
    for group in ("pieces", "pawns_by_rank"):
        for index, first in enumerate(getattr(found.log_odds, group)):
            line = f"{first.piece:18}"
            for each in regressions:
                if each is not None:
                    value: PieceValue = getattr(each, group)[index]
                    shown = value.in_pawns or value.value
                    unit = " " if value.in_pawns else "-"
                    line += f"{value.value.value:9.3f} "
                    bounds = f"({shown.low:.2f} to {shown.high:.2f})"
                    line += f"{unit}{shown.value:6.2f} {bounds:>16}"
            lines.append(line)
    order = " > ".join(found.log_odds.order)
    if len(found.log_odds.order) > 1:
        lines.append(f"order {order} in {100 * found.log_odds.order_certainty:.0f} % of resamples")
    return "\n".join(lines)
