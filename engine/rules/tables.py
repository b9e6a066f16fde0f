"""A variant compiled to small integer tables, the first argument of every kernel.

Squares are numbered from a1, file fastest (here on 4 files by 3 ranks):

    3 |  8  9 10 11
    2 |  4  5  6  7
    1 |  0  1  2  3
        a  b  c  d

A piece's moves from a square are *lines*: a leap is a line of one square, a ride a line to the
edge. All lines of (piece, square) are stored one after the other. An entry, a *step*, holds its
square, whether the piece may move or capture there, and how many entries to skip when something
stands on it, so that one loop walks leapers, riders, pawns and double steps alike.

Threats are the same lines seen from the target: from a king's square outward, each entry with
the set of piece codes that would strike back along the line from there.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.betza import CAPTURE_ONLY, LEAPS, MOVE_ONLY, RIDES, Movement, Vector
from engine.rules.compilation.signatures import Array2D

EMPTY: Final = 0
PAWN: Final = 1
KNIGHT: Final = 2
BISHOP: Final = 3
ROOK: Final = 4
QUEEN: Final = 5
KING: Final = 6
FIRST_CUSTOM: Final = 7
PIECE_TYPES: Final = 16
"""Type 0 is the empty square; 7 to 15 are a variant's custom pieces."""
BLACK_BIT: Final = 16
PIECE_CODES: Final = 32
"""White pieces are their type, black pieces their type plus BLACK_BIT."""

WHITE: Final = 0
BLACK: Final = 1
NO_SQUARE: Final = 255
NO_RANK: Final = -1

SIDE: Final = 0
CASTLING: Final = 1
EN_PASSANT: Final = 2
CLOCK: Final = 3
REPETITION: Final = 4
STATE_SIZE: Final = 5
"""A row is the squares followed by these five bytes."""

LARGEST_CLOCK: Final = 255
"""The half-move clock stays there: it is one byte."""
LARGEST_REPETITION: Final = 255
"""So does the count of repetitions."""

MAX_MOVES: Final = 1536
"""No position has more: 16 lines reach a square, and 24 promotion steps by 14 types at most."""

CASTLING_RIGHTS: Final = 4
"""Rights in the order of the bits: white king's side, white queen's side, black, black."""

STEP_MODE_SHIFT: Final = 6
STEP_SKIP_SHIFT: Final = 8
THREAT_SKIP_SHIFT: Final = 6
THREAT_CODES_SHIFT: Final = 16

LARGEST_SIDE: Final = 8
"""Files or ranks of the largest board."""
BOARD: Final = LARGEST_SIDE * LARGEST_SIDE
"""Stride of everything that is indexed by square, whatever the size of the board."""

Tables = npt.NDArray[np.int64]
Row = npt.NDArray[np.uint8]
Rows = Array2D[np.uint8]
Moves = npt.NDArray[np.uint16]
Int = int | np.int64
"""A whole number inside a kernel; bytes of a row are widened to int64 before arithmetic."""
"""One flat array int64[T] holds the compiled rules, at the places named below.

One plain array, since a kernel pays for every array that it is handed (reference counts), and since
constant places cost no look-up. Bitmaps are int64 too: bit s for square s, and shifts of a negative
number are harmless under `& 1`.
"""

SQUARES: Final = 0
"""S = width * height."""
WIDTH: Final = 1
HAS_KING: Final = 2
"""1 where the king is royal: moves must not leave it attacked."""
PROMOTION_REGION: Final = 3
"""[2] bitmaps of the squares on which a pawn of that colour must promote."""
FLAG_REGION: Final = 5
"""[2] bitmaps of the squares that the colour's flag piece must reach, 0 for none."""
FLAG_TYPES: Final = 7
"""Set of piece types that count as flag pieces."""
EXTINCTION_SETS: Final = 8
"""How many of EXTINCTION_TYPES count."""
EXTINCTION_COUNT: Final = 9
EXTINCTION_VALUE: Final = 10
"""For the side that is extinct: -1, 0 or 1."""
STALEMATE_VALUE: Final = 11
CHECKMATE_VALUE: Final = 12
"""For the side to move: -1, 0 or 1."""
FOLD_RULE: Final = 13
"""Occurrences that draw, 0 for never."""
CLOCK_RULE: Final = 14
"""Half-moves without progress that draw, 0 for never."""
MATING_TYPES: Final = 15
"""Set of piece types that can force mate alone; custom pieces are taken to."""
PROMOTES_TO_MATING: Final = 16
"""1 where a pawn may become one of MATING_TYPES."""
LIGHT_SQUARES: Final = 17
"""Bitmap of the squares of one colour (a bishop is bound to one)."""
PROMOTION_COUNT: Final = 18
"""How many of PROMOTION_TYPES count."""
PROMOTION_TYPES: Final = 19
"""[16] what a pawn may become."""
EXTINCTION_TYPES: Final = PROMOTION_TYPES + PIECE_TYPES
"""[16] sets of piece types, each counted as a whole."""
CASTLING_SQUARES: Final = EXTINCTION_TYPES + PIECE_TYPES
"""[4, 4] for each right: king from, rook from, king to, rook to (NO_SQUARE: never)."""
CASTLING_KEEP: Final = CASTLING_SQUARES + 4 * CASTLING_RIGHTS
"""[64] the rights that survive a move from or to the square."""
STEP_START: Final = CASTLING_KEEP + BOARD
"""[32 * 64 + 1] where in the array the steps of (piece code, square) begin; the next entry ends
them. A step is square | mode << 6 | entries to skip when occupied << 8."""
THREAT_START: Final = STEP_START + PIECE_CODES * BOARD + 1
"""[64 + 1] where the threats to a square begin. A threat is square | entries to skip when occupied
<< 6 | set of striking piece codes << 16."""
LINES: Final = THREAT_START + BOARD + 1
"""[64 * 64] bitmap of the whole straight or diagonal line through two squares, 0 for none."""
ZOBRIST: Final = LINES + BOARD * BOARD
"""[32 * 64] keys of (piece code, square)."""
ZOBRIST_SIDE: Final = ZOBRIST + PIECE_CODES * BOARD
"""The key of Black to move."""
ZOBRIST_CASTLING: Final = ZOBRIST_SIDE + 1
"""[16] keys of the castling rights."""
ZOBRIST_EN_PASSANT: Final = ZOBRIST_CASTLING + 16
"""[64] keys of the en-passant square."""
ENDGAMES: Final = ZOBRIST_EN_PASSANT + BOARD
"""Where in the array endgame tables begin (search/exact/tablebase/index.py); 0 for none."""
FIRST_LINE: Final = ENDGAMES + 1
"""Steps and threats follow from here."""


def _line(square: int, vector: Vector, width: int, height: int, longest: int) -> list[int]:
    file, rank = square % width + vector[0], square // width + vector[1]
    reached: list[int] = []
    while 0 <= file < width and 0 <= rank < height and len(reached) < longest:
        reached.append(rank * width + file)
        file, rank = file + vector[0], rank + vector[1]
    return reached


def _piece_lines(
    movement: Movement, code: int, square: int, width: int, height: int
) -> list[list[tuple[int, int]]]:
    """The lines of a piece from a square, each a list of (square, mode)."""
    forward = -1 if code & BLACK_BIT else 1
    lines = []
    for vector in dict.fromkeys((*movement.leaps, *movement.rides)):
        leap, ride = movement.leaps.get(vector, 0), movement.rides.get(vector, 0)
        turned = (vector[0], vector[1] * forward)
        longest = max(width, height) if ride else 1
        reached = _line(square, turned, width, height, longest)
        modes = [leap | ride] + [ride] * (len(reached) - 1)
        if reached:
            lines.append(list(zip(reached, modes, strict=True)))
    return lines


PieceLines = dict[tuple[int, int], list[list[tuple[int, int]]]]


def piece_lines(
    movements: dict[int, Movement], width: int, height: int, double_step: tuple[int, int]
) -> PieceLines:
    """All lines by (piece code, square); `double_step` is the region of each colour as a bitmap."""
    result: PieceLines = {}
    for piece_type, movement in movements.items():
        for colour in (WHITE, BLACK):
            code = piece_type | colour * BLACK_BIT
            for square in range(width * height):
                lines = _piece_lines(movement, code, square, width, height)
                forward = -width if colour else width
                beyond = square + 2 * forward
                may_double = piece_type == PAWN and double_step[colour] >> square & 1
                if may_double and 0 <= beyond < width * height:
                    # The pawn's plain step is longer by one square.
                    for line in lines:
                        if line[0] == (square + forward, MOVE_ONLY):
                            line.append((beyond, MOVE_ONLY))
                result[code, square] = lines
    return result


def write_steps(tables: Tables, lines: PieceLines, squares: int, first: int) -> list[int]:
    """Fill STEP_START and return the steps, which will stand at `first`."""
    steps: list[int] = []
    for code in range(PIECE_CODES):
        for square in range(BOARD):
            tables[STEP_START + code * BOARD + square] = first + len(steps)
            for line in lines.get((code, square), ()) if square < squares else ():
                for index, (target, mode) in enumerate(line):
                    skip = len(line) - index
                    steps.append(target | mode << STEP_MODE_SHIFT | skip << STEP_SKIP_SHIFT)
    tables[STEP_START + PIECE_CODES * BOARD] = first + len(steps)
    return steps


def write_threats(
    tables: Tables, lines: PieceLines, width: int, height: int, first: int
) -> list[int]:
    """Fill THREAT_START and return the threats, which will stand at `first`."""
    strikers: dict[tuple[int, int], int] = {}
    for (code, source), piece in lines.items():
        for line in piece:
            for target, mode in line:
                if mode & CAPTURE_ONLY:
                    strikers[target, source] = strikers.get((target, source), 0) | 1 << code
    threats: list[int] = []
    for target in range(width * height):
        tables[THREAT_START + target] = first + len(threats)
        for vector in (*RIDES, *LEAPS):
            longest = max(width, height) if vector in RIDES else 1
            sources = _line(target, vector, width, height, longest)
            codes = [strikers.get((target, source), 0) for source in sources]
            while codes and not codes[-1]:
                codes.pop()
            for index, striking in enumerate(codes):
                skip = len(codes) - index
                threats.append(
                    sources[index] | skip << THREAT_SKIP_SHIFT | striking << THREAT_CODES_SHIFT
                )
    tables[THREAT_START + width * height : THREAT_START + BOARD + 1] = first + len(threats)
    return threats


def write_lines(tables: Tables, width: int, height: int) -> None:
    """Fill LINES."""
    longest = max(width, height)
    for square in range(width * height):
        for files, ranks in RIDES:
            ahead = _line(square, (files, ranks), width, height, longest)
            behind = _line(square, (-files, -ranks), width, height, longest)
            mask = bitmap([square, *ahead, *behind])
            for other in ahead:
                tables[LINES + square * BOARD + other] = mask


def write_zobrist(tables: Tables) -> None:
    """Fill ZOBRIST with fixed keys, the same in every process, so that hashes may be stored."""
    generator = np.random.Generator(np.random.PCG64(0x50415753))
    tables[ZOBRIST:ENDGAMES] = generator.integers(
        -(2**63), 2**63, size=ENDGAMES - ZOBRIST, dtype=np.int64
    )


def bitmap(squares: Iterable[int]) -> int:
    """The squares as a signed 64-bit number."""
    mask = sum(1 << square for square in squares)
    return signed(mask)


def signed(mask: int) -> int:
    """A bitmap of up to 64 bits as the int64 that has the same bits."""
    return mask - (1 << 64) if mask >> 63 else mask
