"""Which men stand on the board, and how many: the materials of endgame tables, and their names."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, KING, PAWN
from engine.rules.variant import Variant

MOST_MEN: Final = 6
"""More men than this on a board: not even a small one fits in memory."""


@dataclass(frozen=True)
class Material:
    """The men of both sides, without their squares."""

    white: tuple[int, ...]
    """Piece types, kings first, then the largest number first."""
    black: tuple[int, ...]

    @property
    def men(self) -> int:
        """How many men there are."""
        return len(self.white) + len(self.black)

    @property
    def turned(self) -> "Material":
        """The same with the colours exchanged."""
        return Material(self.black, self.white)

    @property
    def has_passing(self) -> bool:
        """Whether a pawn could take another one in passing."""
        return PAWN in self.white and PAWN in self.black

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(piece code, how many such men): a single man, a king at best, before several."""
        codes = [*self.white, *(piece_type | BLACK_BIT for piece_type in self.black)]
        counted = Counter(codes)
        return tuple(sorted(counted.items(), key=lambda item: item[1] > 1))

    def name(self, variant: Variant) -> str:
        """`KQvK`: White's letters, then Black's."""
        sides = (
            "".join(variant.piece_letters[piece_type].upper() for piece_type in side)
            for side in (self.white, self.black)
        )
        return "v".join(sides)


def _ordered(types: list[int]) -> tuple[int, ...]:
    return tuple(sorted(types, key=lambda piece_type: (piece_type != KING, -piece_type)))


def _regions(variant: Variant) -> list[tuple[int, int]]:
    """The regions that matter, as bitmaps for White and Black."""
    pawns = [variant.promotion_region, variant.double_step_region]
    return [variant.flag_region, *(pawns if PAWN in variant.piece_letters else [])]


def square_images(variant: Variant) -> npt.NDArray[np.int64]:
    """int64[4, squares]: the squares as they are, turned over, mirrored, and both."""
    board = np.arange(variant.squares).reshape(variant.height, variant.width)
    images = (board, board[::-1], board[:, ::-1], board[::-1, ::-1])
    return np.stack(images).reshape(4, variant.squares)


def _moved(region: int, image: npt.NDArray[np.int64]) -> int:
    return sum(1 << to for square, to in enumerate(image.tolist()) if region >> square & 1)


def is_colour_symmetric(variant: Variant) -> bool:
    """Whether exchanging the colours and turning the board over leaves the rules as they are."""
    _, over, _, _ = square_images(variant)
    return all(_moved(white, over) == black for white, black in _regions(variant))


def is_mirror_symmetric(variant: Variant) -> bool:
    """Whether left and right may be exchanged where nobody can castle."""
    _, _, mirrored, _ = square_images(variant)
    return all(_moved(region, mirrored) == region for pair in _regions(variant) for region in pair)


def materials(variant: Variant, men: int) -> tuple[Material, ...]:
    """All materials of up to `men` men, each after those that its captures and promotions lead to.

    Of two that differ in the colours only, the one in which White has more stands for both, where
    the rules do not tell the colours apart. Raises InputError where no table could be right.
    """
    least = 2 if variant.has_king else 1
    if not least <= men <= MOST_MEN:
        raise InputError(f"--men {men}: expected {least} to {MOST_MEN} for {variant.name}")
    if variant.has_king and KING in variant.promotion_types:
        raise InputError(f"{variant.name}: tables cannot tell the kings apart that pawns become")
    kings = [KING] if variant.has_king else []
    others = [piece_type for piece_type in variant.piece_types if piece_type not in kings]
    codes = [piece_type | colour for colour in (0, BLACK_BIT) for piece_type in others]
    symmetric = is_colour_symmetric(variant)
    found = []
    for count in range(men - 2 * len(kings) + 1):
        for chosen in combinations_with_replacement(codes, count):
            white = kings + [code for code in chosen if not code & BLACK_BIT]
            black = kings + [code & ~BLACK_BIT for code in chosen if code & BLACK_BIT]
            material = Material(_ordered(white), _ordered(black))
            if material.men and (not symmetric or is_standard(material)):
                found.append(material)
    return tuple(sorted(found, key=stage))


def parse_material(name: str, variant: Variant) -> Material:
    """The material of that name; raises InputError where `materials` has none such."""
    types = {letter.upper(): piece_type for piece_type, letter in variant.piece_letters.items()}
    white, _, black = name.partition("v")
    material = Material(
        *(_ordered([types[sign] for sign in side if sign in types]) for side in (white, black))
    )
    kings = (material.white.count(KING), material.black.count(KING))
    if (
        material.name(variant) != name
        or not 0 < material.men <= MOST_MEN
        or (variant.has_king and kings != (1, 1))
        or (is_colour_symmetric(variant) and not is_standard(material))
    ):
        raise InputError(f"'{name}' is no material of {variant.name}")
    return material


def is_standard(material: Material) -> bool:
    """Whether the material stands for itself and its turned twin."""
    return (len(material.white), material.white) >= (len(material.black), material.black)


def stage(material: Material) -> tuple[int, int]:
    """Smaller for what captures and promotions lead to: fewer men, or fewer pawns."""
    pawns = material.white.count(PAWN) + material.black.count(PAWN)
    return material.men, pawns
