"""A variant as numbers, for a universal network: how its pieces move, its regions, its rules.

Names and numbers do not matter: a variant under another name, or a custom piece under another
number, has the same features. Everything is relative to the side to move (`tokens.py`).

A piece (`PIECE_FEATURES` numbers, first those of my types, then those of the opponent's):

     0 .. 31   steps: for each of the 16 vectors of king and knight, may move, may capture there
    32 .. 47   rides: for each of the king's 8, may move on, may capture further on
    48 .. 52   the king that must not be lost; a pawn that promotes; a pawn that may step twice;
               a piece that wins on the goal; a piece whose type must not die out

The 48 numbers of its moves are scaled to length 1, so that a pawn weighs as much as a queen. Its
`kind` is its identity: each of chess's six types has its own. The custom types 7 to 15, whose
meaning depends on the variant, share one kind and differ only by their moves.

A rank, and a file (`REGIONS` numbers each): the share of its squares in my regions of promotion,
goal and double step, and in the opponent's three. Where White's and Black's regions are not mirror
images, the mean of both: a network relative to the side to move cannot tell colours apart.

The rules (`RULES` numbers): see `rules_of`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.tokens import EN_PASSANT_TOKEN, TOKENS
from engine.rules import tables
from engine.rules.betza import CAPTURE_ONLY, LEAPS, MOVE_ONLY, RIDES, Movement
from engine.rules.variant import Variant

Floats = npt.NDArray[np.float32]

_STEPS: Final = (*RIDES, *LEAPS)
_MODES: Final = (MOVE_ONLY, CAPTURE_ONLY)
MOVEMENT: Final = len(_MODES) * (len(_STEPS) + len(RIDES))
"""Numbers for how a piece moves."""
_TRAITS: Final = 5
_OF_A_TYPE: Final = MOVEMENT + _TRAITS
PIECE_FEATURES: Final = 2 * _OF_A_TYPE
REGIONS: Final = 6
STANDARD_TYPES: Final = tables.FIRST_CUSTOM - 1
"""Chess's own: types 1 to 6."""
KINDS: Final = 2 * (2 + STANDARD_TYPES)
"""Empty, my chess types, my custom pieces; then en passant, their chess types, their custom
pieces."""
RULES: Final = 105
"""Numbers in `rules_of`, in all."""
_HALF_MOVES: Final = 100
"""Unit of the clock rule: chess's own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VariantFeatures:
    """A variant as the input of a universal network."""

    kinds: npt.NDArray[np.int64]
    """[32] the kind of each token, below KINDS."""
    pieces: Floats
    """[32, PIECE_FEATURES] the moves and traits of each token's piece; zeros for no piece."""
    ranks: Floats
    """[8, REGIONS] by rank, from the side to move's edge."""
    files: Floats
    """[8, REGIONS] by file from the left."""
    rules: Floats
    """[RULES]."""

    @classmethod
    def of(cls, variant: Variant) -> "VariantFeatures":
        """The features of a variant."""
        ranks, files = _regions(variant)
        return cls(
            kinds=_kinds(),
            pieces=_pieces(variant),
            ranks=ranks,
            files=files,
            rules=np.concatenate([*rules_of(variant).values()]),
        )


def movement_features(movement: Movement) -> Floats:
    """[MOVEMENT] zeros and ones; equal for two movements exactly where they move alike."""
    modes = [movement.leaps.get(v, 0) | movement.rides.get(v, 0) for v in _STEPS]
    modes += [movement.rides.get(v, 0) for v in RIDES]
    return np.array([mode & bit > 0 for mode in modes for bit in _MODES], np.float32)


def _kinds() -> npt.NDArray[np.int64]:
    half = KINDS // 2
    code = np.arange(TOKENS)
    kinds: npt.NDArray[np.int64] = np.minimum(code % tables.BLACK_BIT, half - 1)
    return kinds + half * (code >= EN_PASSANT_TOKEN)


def _pieces(variant: Variant) -> Floats:
    pieces = np.zeros((TOKENS, PIECE_FEATURES), np.float32)
    for piece_type, movement in variant.movements.items():
        moves = movement_features(movement)
        pawn = piece_type == tables.PAWN
        traits = [
            piece_type == tables.KING,
            pawn and bool(variant.promotion_types) and any(variant.promotion_region),
            pawn and any(variant.double_step_region),
            variant.flag_types >> piece_type & 1 and any(variant.flag_region),
            any(types >> piece_type & 1 for types in variant.extinction_types),
        ]
        features = [*moves / max(1.0, float(np.linalg.norm(moves))), *map(float, traits)]
        pieces[piece_type, :_OF_A_TYPE] = features
        pieces[piece_type | tables.BLACK_BIT, _OF_A_TYPE:] = features
    return pieces


def _regions(variant: Variant) -> tuple[Floats, Floats]:
    has_pawns = tables.PAWN in variant.movements
    nowhere = (0, 0)
    pairs = (
        variant.promotion_region if has_pawns else nowhere,
        variant.flag_region if variant.flag_types else nowhere,
        variant.double_step_region if has_pawns else nowhere,
    )
    boards = [[_board(variant, mask) for mask in pair] for pair in pairs]
    mine = [(own[tables.WHITE] + own[tables.BLACK][::-1]) / 2 for own in boards]
    theirs = [board[::-1] for board in mine]
    shares = np.stack([*mine, *theirs], axis=-1)
    ranks = np.zeros((tables.LARGEST_SIDE, REGIONS), np.float32)
    files = np.zeros((tables.LARGEST_SIDE, REGIONS), np.float32)
    ranks[: variant.height] = shares.mean(1)
    files[: variant.width] = shares.mean(0)
    return ranks, files


def _board(variant: Variant, mask: int) -> Floats:
    """[height, width] of a bitmap."""
    bits = [mask >> square & 1 for square in range(variant.squares)]
    return np.array(bits, np.float32).reshape(variant.height, variant.width)


def rules_of(variant: Variant) -> dict[str, Floats]:
    """Rules by name, each as a few numbers, in the order of a universal network's input."""
    promotes = tables.PAWN in variant.movements and bool(variant.promotion_types)
    into = variant.promotion_types if promotes else ()
    moves = [movement_features(variant.movements[t]) for t in into]
    flagged = any(variant.flag_region) and bool(variant.flag_types)
    sets = variant.extinction_types
    return {
        "width": _one_of(variant.width, range(1, tables.LARGEST_SIDE + 1)),
        "height": _one_of(variant.height, range(1, tables.LARGEST_SIDE + 1)),
        "promotion to": _numbers(*(t in into for t in range(1, tables.FIRST_CUSTOM))),
        "moves of promoted pieces": np.max([np.zeros(MOVEMENT, np.float32), *moves], axis=0),
        "double step": _numbers(
            tables.PAWN in variant.movements and any(variant.double_step_region)
        ),
        "castling": _castling(variant),
        "stalemate": _one_of(variant.stalemate_value, _VALUES),
        "checkmate": _one_of(variant.checkmate_value if variant.has_king else None, _VALUES),
        "goal": _numbers(flagged),
        "extinction": _one_of(variant.extinction_value if sets else None, _VALUES),
        "extinction at": _numbers(variant.extinction_count / tables.LARGEST_SIDE if sets else 0),
        "extinction of all": _numbers(any(kinds & kinds - 1 for kinds in sets)),
        "repetition": _numbers(variant.fold_rule > 0, 1 / max(1, variant.fold_rule)),
        "clock": _numbers(variant.clock_rule > 0, variant.clock_rule / _HALF_MOVES),
    }


_VALUES: Final = (-1, 0, 1)
"""For the side to move: loss, draw, win."""


def _castling(variant: Variant) -> Floats:
    """For the king's side and the queen's: whether, and the king's file afterwards."""
    numbers: list[Floats] = []
    for king, _, target, _ in variant.castling[:2]:
        never = king == tables.NO_SQUARE
        numbers += [
            _numbers(not never),
            _one_of(None if never else target % variant.width, range(tables.LARGEST_SIDE)),
        ]
    return np.concatenate(numbers)


def _numbers(*values: float) -> Floats:
    return np.array(values, np.float32)


def _one_of(value: int | None, choices: Sequence[int]) -> Floats:
    return _numbers(*(value == choice for choice in choices))
