"""A dull second opinion: concepts by plain loops over a dictionary, for either side.

Nothing here comes from `engine/probing`. A `View` is the board as one side sees it, playing up the
board: its own pieces are capital letters, the other's small ones, squares are (file, rank) from its
left corner. A pawn is the letter p. `SINGLE` are concepts of the position, `BOTH` those of a side.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.tables import BLACK_BIT, SIDE
from engine.rules.variant import Variant

Square = tuple[int, int]
VALUES: Final = {"p": 1, "n": 3, "b": 3, "r": 5, "q": 9, "k": 0}


@dataclass(frozen=True)
class View:
    """The board as a side sees it."""

    width: int
    height: int
    pieces: dict[Square, str]
    # Pawns go two squares at once from the second rank.
    double: bool

    def own(self, letters: str = "pnbrqk") -> list[Square]:
        return [s for s, piece in self.pieces.items() if piece in letters.upper()]

    def enemy(self, letters: str = "pnbrqk") -> list[Square]:
        return [s for s, piece in self.pieces.items() if piece in letters]

    def squares(self) -> Iterator[Square]:
        for rank in range(self.height):
            for file in range(self.width):
                yield file, rank

    def turned(self) -> "View":
        pieces = {(f, self.height - 1 - r): p.swapcase() for (f, r), p in self.pieces.items()}
        return View(self.width, self.height, pieces, self.double)

    def attacks(self) -> set[Square]:
        """Squares that own pawns attack."""
        return {(f + d, r + 1) for f, r in self.own("p") for d in (-1, 1)}

    def enemy_attacks(self) -> set[Square]:
        return {(f + d, r - 1) for f, r in self.enemy("p") for d in (-1, 1)}

    def files_of(self, squares: list[Square]) -> set[int]:
        return {f for f, _ in squares}


def view_of(row: npt.NDArray[np.uint8], variant: Variant) -> View:
    """The board of a row as its side to move sees it."""
    pieces = {}
    black = int(row[variant.squares + SIDE]) == 1
    for rank in range(variant.height):
        for file in range(variant.width):
            code = int(row[rank * variant.width + file])
            if code:
                letter = variant.piece_letters[code % BLACK_BIT]
                is_own = (code >= BLACK_BIT) == black
                seen = variant.height - 1 - rank if black else rank
                pieces[file, seen] = letter.upper() if is_own else letter
    return View(variant.width, variant.height, pieces, any(variant.double_step_region))


# Material


def material(view: View) -> float:
    return sum(VALUES[view.pieces[s].lower()] for s in view.own())


def difference_of_material(view: View) -> float:
    return material(view) - material(view.turned())


def bishop_colours(view: View) -> list[int]:
    return [(f + r) % 2 for f, r in view.own("b")]


def bishop_pair(view: View) -> bool:
    return len(set(bishop_colours(view))) == 2


def opposite_bishops(view: View) -> bool:
    others = [(f + r) % 2 for f, r in view.enemy("b")]
    own = bishop_colours(view)
    return len(own) == len(others) == 1 and own != others


# Pawns


def passed(view: View) -> int:
    return sum(
        not any(abs(ef - f) <= 1 and er > r for ef, er in view.enemy("p")) for f, r in view.own("p")
    )


def is_isolated(view: View, pawn: Square) -> bool:
    return not any(abs(f - pawn[0]) == 1 for f, _ in view.own("p"))


def isolated(view: View) -> int:
    return sum(is_isolated(view, pawn) for pawn in view.own("p"))


def doubled(view: View) -> int:
    return sum(any(f == of and r > of_r for f, r in view.own("p")) for of, of_r in view.own("p"))


def blocked(view: View) -> int:
    return sum((f, r + 1) in view.pieces for f, r in view.own("p"))


def backward(view: View) -> int:
    count = 0
    for f, r in view.own("p"):
        neighbours = [other for other in view.own("p") if abs(other[0] - f) == 1]
        behind = neighbours and all(rank > r for _, rank in neighbours)
        count += bool(behind) and (f, r + 1) in view.enemy_attacks()
    return count


def connected(view: View) -> int:
    own = view.own("p")
    return sum((f - 1, r) in own or (f + 1, r) in own or (f, r) in view.attacks() for f, r in own)


def islands(view: View) -> int:
    files = view.files_of(view.own("p"))
    return sum(file in files and file - 1 not in files for file in range(view.width))


def levers(view: View) -> int:
    enemies = view.enemy("p")
    return sum((f - 1, r + 1) in enemies or (f + 1, r + 1) in enemies for f, r in view.own("p"))


def advancement(view: View) -> int:
    return sum(r for _, r in view.own("p"))


def majority(view: View) -> bool:
    def counts(squares: list[Square]) -> tuple[int, int]:
        """On the left and on the right wing."""
        left = sum(2 * f + 1 < view.width for f, _ in squares)
        return left, sum(2 * f + 1 > view.width for f, _ in squares)

    own, enemy = counts(view.own("p")), counts(view.enemy("p"))
    return own[0] > enemy[0] or own[1] > enemy[1]


def runners(view: View, late: bool) -> list[Square]:
    """Pawns that no enemy pawn stops; `late`: the enemy moves first."""
    found = []
    for f, r in view.own("p"):
        for ef, er in view.enemy("p"):
            aside, ahead = abs(ef - f), er - r
            if ahead >= 1 and ahead >= 2 * aside - late:
                break
        else:
            found.append((f, r))
    return found


def steps(view: View, pawn: Square) -> int:
    ranks = view.height - 1 - pawn[1]
    return ranks - 1 if view.double and pawn[1] == 1 and ranks >= 2 else ranks


def leader(view: View) -> float:
    return min((steps(view, pawn) for pawn in view.own("p")), default=math.nan)


def fastest(view: View, late: bool) -> float:
    return min((steps(view, pawn) for pawn in runners(view, late)), default=math.inf)


def race_won(view: View) -> bool:
    mine, theirs = fastest(view, False), fastest(view.turned(), True)
    return mine < math.inf and mine <= theirs


def race_lost(view: View) -> bool:
    return fastest(view.turned(), True) < fastest(view, False)


def spare(view: View) -> int:
    count = 0
    for f, r in view.own("p"):
        rank = r + 1
        while rank < view.height and (f, rank) not in view.pieces:
            if (f, rank) in view.enemy_attacks():
                break
            count, rank = count + 1, rank + 1
    return count


def opposition(view: View) -> bool:
    ((f, r),), ((ef, er),) = view.own("k"), view.enemy("k")
    return {abs(f - ef), abs(r - er)} == {0, 2}


# Space


def open_files(view: View) -> int:
    return view.width - len(view.files_of(view.own("p")) | view.files_of(view.enemy("p")))


def half_open(view: View) -> int:
    return len(view.files_of(view.enemy("p")) - view.files_of(view.own("p")))


def rooks_on_files(view: View) -> int:
    return sum(f not in view.files_of(view.own("p")) for f, _ in view.own("r"))


def connected_rooks(view: View) -> bool:
    rooks = view.own("r")
    for f, r in rooks:
        for of, of_r in rooks:
            if (f == of) == (r == of_r):
                continue
            between = [
                s
                for s in view.pieces
                if min(f, of) <= s[0] <= max(f, of) and min(r, of_r) <= s[1] <= max(r, of_r)
            ]
            if len(between) == 2:
                return True
    return False


def is_central(view: View, square: Square) -> bool:
    f, r = square
    return abs(2 * f + 1 - view.width) <= 1 and abs(2 * r + 1 - view.height) <= 1


def centre(view: View) -> int:
    return sum(is_central(view, s) for s in view.own())


def is_beyond(view: View, square: Square) -> bool:
    return 2 * square[1] + 1 > view.height


def beyond(view: View) -> int:
    return sum(is_beyond(view, s) for s in view.own())


def space(view: View) -> int:
    return sum(
        view.width // 4 <= f < view.width - view.width // 4
        and r >= 1
        and 2 * r + 1 < view.height + (view.height % 2)
        and (f, r) not in view.own("p")
        and (f, r) not in view.enemy_attacks()
        for f, r in view.squares()
    )


def outposts(view: View) -> int:
    return sum(
        is_beyond(view, (f, r))
        and (f, r) in view.attacks()
        and not any(abs(ef - f) == 1 and er > r for ef, er in view.enemy("p"))
        for f, r in view.own("nb")
    )


def shield(view: View) -> int:
    ((kf, kr),) = view.own("k")
    return sum(abs(f - kf) <= 1 and 1 <= r - kr <= 2 for f, r in view.own("p"))


def apart(one: Square, other: Square) -> int:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def king_off_centre(view: View) -> int:
    (king,) = view.own("k")
    return min(apart(king, s) for s in view.squares() if is_central(view, s))


def nearest_enemy(view: View) -> int:
    (king,) = view.own("k")
    return min(apart(king, s) for s in view.enemy())


def kings_apart(view: View) -> int:
    (own,), (enemy,) = view.own("k"), view.enemy("k")
    return apart(own, enemy)


SINGLE: Final[dict[str, Callable[[View], float]]] = {
    "material": difference_of_material,
    "total material": lambda view: material(view) + material(view.turned()),
    "opposite-coloured bishops": opposite_bishops,
    "a pawn can break through": lambda view: bool(runners(view, False)),
    "their pawn will break through": lambda view: bool(runners(view.turned(), True)),
    "pawn race won": race_won,
    "pawn race lost": race_lost,
    "odd number of spare pawn moves": lambda view: (spare(view) + spare(view.turned())) % 2,
    "kings in opposition": opposition,
    "open files": open_files,
    "distance between the kings": kings_apart,
}
BOTH: Final[dict[str, Callable[[View], float]]] = {
    "material": material,
    "pieces": lambda view: len(view.own()),
    "pawns": lambda view: len(view.own("p")),
    "knights": lambda view: len(view.own("n")),
    "bishops": lambda view: len(view.own("b")),
    "rooks": lambda view: len(view.own("r")),
    "queens": lambda view: len(view.own("q")),
    "bishop pair": bishop_pair,
    "passed pawns": passed,
    "isolated pawns": isolated,
    "doubled pawns": doubled,
    "blocked pawns": blocked,
    "backward pawns": backward,
    "connected pawns": connected,
    "pawn islands": islands,
    "pawn levers": levers,
    "pawn advancement": advancement,
    "pawn majority on a wing": majority,
    "distance of the leading pawn": leader,
    "spare pawn moves": spare,
    "half-open files": half_open,
    "rooks on open or half-open files": rooks_on_files,
    "connected rooks": connected_rooks,
    "pieces in the centre": centre,
    "pieces in the other half": beyond,
    "space": space,
    "outposts": outposts,
    "pawn shield": shield,
    "distance of the king from the centre": king_off_centre,
    "distance of the nearest enemy to the king": nearest_enemy,
}


def naive_label(view: View, name: str) -> float:
    """The label of a concept by its name."""
    if name in SINGLE:
        return SINGLE[name](view)
    if name.endswith(" (mine minus theirs)"):
        function = BOTH[name.removesuffix(" (mine minus theirs)")]
        return function(view) - function(view.turned())
    whose, _, rest = name.partition(" ")
    return BOTH[rest](view if whose == "my" else view.turned())
