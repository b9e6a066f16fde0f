"""A game is data: variants, built from sections of an ini file, and the registry of their names."""

import codecs
import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules import tables as layout
from engine.rules.betza import Movement
from engine.rules.errors import InputError, UnknownVariantError, VariantError, require_text
from engine.rules.geometry import Geometry
from engine.rules.notation import fen
from engine.rules.tables import (
    BLACK,
    CASTLING_RIGHTS,
    FIRST_CUSTOM,
    KING,
    LARGEST_SIDE,
    NO_SQUARE,
    PIECE_TYPES,
    QUEEN,
    ROOK,
    WHITE,
    Tables,
)
from engine.rules.variant_file.section_reader import SectionReader
from engine.rules.variant_file.sections import (
    CUSTOM_KEYS,
    PIECE_KEYS,
    PIECE_SET_KEYS,
    Section,
    Setting,
    parse_sections,
)

LARGEST_CLOCK_RULE: Final = 127
"""Full moves: twice as many half-moves still fit the row's clock byte."""

_LARGEST_FILE: Final = 1 << 22
"""Bytes of a variant file; Fairy-Stockfish's own has 52,000."""

_SIDES: Final = range(3, LARGEST_SIDE + 1)
_FILE: Final = Path(__file__).with_name("variants.ini")
_HEXAPAWN: Final = re.compile(r"hexapawn([1-8])x([3-8])$")
Note = Callable[[str], object]
"""Is told in one line what has been left out."""
HEXAPAWNS: Final = tuple(f"hexapawn{width}x{height}" for width in _SIDES for height in _SIDES)
"""Sizes of Hexapawn as they are offered; narrower boards exist as well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant(Geometry):
    """A set of rules. Bitmaps have bit s set for square s (S squares).

    >>> import pawnscope as ps
    >>> variant = ps.get_variant("gardner")
    >>> variant
    Variant('gardner', 5x5)
    >>> variant.width, variant.height, variant.start_fen
    (5, 5, 'rnbqk/ppppp/5/PPPPP/RNBQK w - - 0 1')
    """

    start_fen: str
    movements: dict[int, Movement]
    """Piece type to its moves."""
    promotion_types: tuple[int, ...]
    stalemate_value: int
    checkmate_value: int
    """For the side to move: -1, 0 or 1."""
    flag_types: int
    """Set of piece types (bit t for type t)."""
    flag_region: tuple[int, int]
    extinction_types: tuple[int, ...]
    """Sets of piece types, each counted as a whole; empty where extinction does not matter."""
    extinction_value: int
    extinction_count: int
    fold_rule: int
    """Occurrences of a position that draw, 0 for never."""
    clock_rule: int
    """Half-moves without a capture or pawn move that draw, 0 for never."""
    settings: dict[str, str]
    """The keys and values, inherited ones included, that define all of the above."""

    def __repr__(self) -> str:
        return f"Variant({self.name!r}, {self.width}x{self.height})"

    @property
    def irreversible(self) -> bool:
        """Whether every move goes forward, so that no position can come back."""
        return all(movement.forward_only for movement in self.movements.values())

    @cached_property
    def mirrorable(self) -> bool:
        """Whether swapping left and right turns every legal game into a legal game."""
        regions = (*self.promotion_region, *self.double_step_region, *self.flag_region)
        symmetric = all(_mirror(region, self.width, self.height) == region for region in regions)
        return symmetric and all(NO_SQUARE in squares for squares in self.castling)

    @cached_property
    def digest(self) -> str:
        """A short hash of the rules (not of the name): equal for equal rules."""
        text = "\n".join(f"{key}={value}" for key, value in sorted(self.settings.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def tables(self) -> Tables:
        """The first argument of every kernel."""
        return _compile(self)

    @cached_property
    def start_row(self) -> npt.NDArray[np.uint8]:
        """The start position, uint8[R]; copy it before you write to it."""
        return fen.parse_fen(self, self.start_fen)[0]

    def ini(self) -> str:
        """A section without a parent that defines the same game, for us and Fairy-Stockfish."""
        lines = [f"{key} = {value}" for key, value in self.settings.items()]
        return "\n".join([f"[{self.name}]", *lines, ""])


def _mirror(region: int, width: int, height: int) -> int:
    squares = [s for s in range(width * height) if region >> s & 1]
    return sum(1 << (s - s % width + width - 1 - s % width) for s in squares)


def _castling(reader: SectionReader, has_king: bool) -> tuple[tuple[int, int, int, int], ...]:
    never = (NO_SQUARE,) * 4
    if not reader.flag("castling", True) or not has_king or reader.width < 3:
        return (never,) * CASTLING_RIGHTS
    last_file = chr(ord("a") + reader.width - 1)
    king = _castling_king_file(reader)
    if king is None:
        return (never,) * CASTLING_RIGHTS
    result = []
    for colour in (WHITE, BLACK):
        base = colour * (reader.height - 1) * reader.width
        for side, rook_default, to_default in (
            ("Kingside", last_file, "g"),
            ("Queenside", "a", "c"),
        ):
            rook = reader.file(f"castlingRook{side}File", rook_default)
            king_to = reader.file(f"castling{side}File", to_default)
            rook_to = king_to - 1 if side == "Kingside" else king_to + 1
            result.append((base + king, base + rook, base + king_to, base + rook_to))
    return tuple(result)


def _castling_king_file(reader: SectionReader) -> int | None:
    """The king's file in the start position, or None where the start gives no right to castle.

    `castlingKingFile` chooses between several kings in Fairy-Stockfish; here there is one king, and
    the key must agree with it.
    """
    fields = reader.text("startFen", fen.CHESS_START).split()
    if len(fields) < 3 or not set(fields[2]) & set("KQkq"):
        return None
    king = reader.text("king", "k")
    rank = re.sub(r"\d", lambda digits: "." * int(digits[0]), fields[0].split("/")[-1])
    file = rank.lower().find(king.lower())
    if file < 0:
        reader.mistake("startFen", "castling needs the king on its first rank")
        return None
    if "castlingKingFile" in reader.settings:
        named = reader.file("castlingKingFile", "e")
        if named != file and "castlingKingFile" not in reader.wrong:
            reader.mistake("castlingKingFile", "the king starts on another file")
    return file


def _extinction(reader: SectionReader, letters: dict[int, str]) -> tuple[tuple[int, ...], int]:
    """The counted sets of piece types and the value for the side that lacks one of them."""
    value = reader.value("extinctionValue", "none")
    if value is None:
        return (), 0
    everything = sum(1 << piece_type for piece_type in letters)
    named = reader.piece_set("extinctionPieceTypes", "", letters)
    if reader.text("extinctionPieceTypes", "") == "*":
        return (everything,), value
    return tuple(1 << t for t in range(PIECE_TYPES) if named >> t & 1), value


def build_variant(section: Section, inherited: dict[str, Setting]) -> Variant:
    """Make a variant from a section and its parent's settings; raises VariantError with a line for
    each mistake."""
    reader = SectionReader(section, inherited)
    settings = reader.settings
    letters, movements = reader.pieces()
    promotions = reader.piece_set("promotionPieceTypes", "-", letters)
    if not re.fullmatch(r"[A-Za-z]|\*", reader.text("flagPiece", "*")):
        reader.mistake("flagPiece", "expected the letter of one piece, or *")
        reader.settings = reader.settings | {"flagPiece": Setting("*", section.place)}
    double_step = reader.flag("doubleStep", True)
    extinction_types, extinction_value = _extinction(reader, letters)
    variant = Variant(
        name=section.name,
        width=reader.width,
        height=reader.height,
        start_fen=reader.text("startFen", fen.CHESS_START),
        piece_letters=letters,
        movements=movements,
        promotion_types=tuple(t for t in reversed(range(PIECE_TYPES)) if promotions >> t & 1),
        promotion_region=(
            reader.region("promotionRegionWhite", "*8"),
            reader.region("promotionRegionBlack", "*1"),
        ),
        double_step_region=(
            reader.region("doubleStepRegionWhite", "*2") if double_step else 0,
            reader.region("doubleStepRegionBlack", "*7") if double_step else 0,
        ),
        castling=_castling(reader, KING in letters),
        stalemate_value=reader.value("stalemateValue", "draw") or 0,
        checkmate_value=reader.value("checkmateValue", "loss") or 0,
        flag_types=reader.piece_set("flagPiece", "*", letters),
        flag_region=(reader.region("flagRegionWhite", "-"), reader.region("flagRegionBlack", "-")),
        extinction_types=extinction_types,
        extinction_value=extinction_value,
        extinction_count=reader.number("extinctionPieceCount", 0, 64),
        fold_rule=reader.number("nFoldRule", 3, 255),
        clock_rule=2 * reader.number("nMoveRule", 50, LARGEST_CLOCK_RULE),
        settings={key: setting.text for key, setting in settings.items()},
    )
    castles = any(key.startswith("castling") for key in reader.wrong)
    if (
        reader.knows_board
        and reader.knows_pieces
        and not castles
        and "startFen" not in reader.wrong
    ):
        # Only then is the start position known to be wrong by itself.
        try:
            fen.parse_fen(variant, variant.start_fen)
        except InputError as problem:
            reader.mistake("startFen", str(problem))
    if reader.mistakes:
        raise VariantError("\n".join(reader.mistakes))
    return variant


def _compile(variant: Variant) -> Tables:
    width, height, squares = variant.width, variant.height, variant.squares
    head = np.zeros(layout.FIRST_LINE, dtype=np.int64)
    mating = sum(1 << t for t in variant.piece_letters if t in (ROOK, QUEEN) or t >= FIRST_CUSTOM)
    promoted = sum(1 << t for t in variant.promotion_types)
    light = (square for square in range(squares) if (square % width + square // width) % 2)
    fields: dict[int, int | Sequence[int]] = {
        layout.SQUARES: squares,
        layout.WIDTH: width,
        layout.HAS_KING: int(variant.has_king),
        layout.FLAG_TYPES: variant.flag_types,
        layout.EXTINCTION_SETS: len(variant.extinction_types),
        layout.EXTINCTION_COUNT: variant.extinction_count,
        layout.EXTINCTION_VALUE: variant.extinction_value,
        layout.STALEMATE_VALUE: variant.stalemate_value,
        layout.CHECKMATE_VALUE: variant.checkmate_value,
        layout.FOLD_RULE: variant.fold_rule,
        layout.CLOCK_RULE: variant.clock_rule,
        layout.MATING_TYPES: mating,
        layout.PROMOTES_TO_MATING: int(bool(mating & promoted)),
        layout.LIGHT_SQUARES: layout.bitmap(light),
        layout.PROMOTION_COUNT: len(variant.promotion_types),
        layout.PROMOTION_REGION: [layout.signed(mask) for mask in variant.promotion_region],
        layout.FLAG_REGION: [layout.signed(mask) for mask in variant.flag_region],
        layout.PROMOTION_TYPES: variant.promotion_types,
        layout.EXTINCTION_TYPES: variant.extinction_types,
        layout.CASTLING_SQUARES: [square for squares in variant.castling for square in squares],
        layout.CASTLING_KEEP: _castling_keep(variant),
    }
    for place, values in fields.items():
        numbers = np.atleast_1d(values)
        head[place : place + len(numbers)] = numbers
    lines = layout.piece_lines(variant.movements, width, height, variant.double_step_region)
    layout.write_lines(head, width, height)
    layout.write_zobrist(head)
    steps = layout.write_steps(head, lines, squares, len(head))
    threats = layout.write_threats(head, lines, width, height, len(head) + len(steps))
    return np.concatenate([head, np.array(steps + threats, dtype=np.int64)])


def _castling_keep(variant: Variant) -> list[int]:
    keep = [15] * layout.BOARD
    for right, (king, rook, _, _) in enumerate(variant.castling):
        if king != NO_SQUARE:
            keep[king] &= ~(1 << right)
            keep[rook] &= ~(1 << right)
    return keep


class Registry:
    """Variants by name: the built-in ones, sizes of Hexapawn on demand, and a person's own."""

    def __init__(self) -> None:
        self._variants: dict[str, Variant] = {}
        self._settings: dict[str, dict[str, Setting]] = {}

    def add_text(self, text: str, source: str, note: Note | None = None) -> list[str]:
        """Define every section of a variant file, all or none; returns their names.

        Errors call the text `source`. `note` is given a line about the keys that change no rule,
        if there are any. Raises VariantError with a line for each mistake in the file.
        """
        file = parse_sections(text, source)
        known, fresh = dict(self._settings), dict[str, Variant]()
        mistakes = list(file.mistakes)
        # Settings of sections with mistakes, which may be parents of others.
        broken: dict[str, dict[str, Setting]] = {}
        unread: dict[str, set[str]] = {}
        for section in file.sections:
            if section.name in known or section.name in broken:
                mistakes.append(f"{section.place}: the variant '{section.name}' exists already")
                continue
            section.unread.update(unread.get(section.parent or "", ()))
            unread[section.name] = section.unread
            understood = section.parent not in broken
            try:
                settings = self._inherited(section, known, broken)
            except VariantError as error:
                mistakes += error.mistakes
                # Its own values are judged nevertheless.
                settings, understood = {}, False
            try:
                fresh[section.name] = build_variant(section, settings)
            except VariantError as error:
                own = tuple(f"{setting.place}: " for setting in section.settings.values())
                mistakes += [text for text in error.mistakes if understood or text.startswith(own)]
                broken[section.name] = {**settings, **section.settings}
            else:
                known[section.name] = {**settings, **section.settings}
        if mistakes:
            once = dict.fromkeys(mistakes)
            raise VariantError("\n".join(sorted(once, key=_line_of)))
        if file.ignored and note is not None:
            note(f"{'; '.join(file.ignored)}: changes no rule, ignored")
        self._settings.update(known)
        self._variants.update(fresh)
        return list(fresh)

    def _inherited(
        self,
        section: Section,
        known: dict[str, dict[str, Setting]],
        broken: dict[str, dict[str, Setting]],
    ) -> dict[str, Setting]:
        """What a section inherits from one of those before it; raises VariantError."""
        inherited: dict[str, Setting] = {}
        parent = section.parent
        if parent in broken:
            # Pieces that it may have are not known.
            section.unread.add("?")
            inherited = broken[parent]
        elif parent is not None:
            if parent not in known and not self._is_hexapawn(parent):
                section.unread.add("?")
                raise VariantError(
                    f"{section.place}: [{section.name}:{parent}] has an unknown parent"
                    f" '{parent}'{_nearest(parent, list(known))}"
                )
            inherited = known.get(parent) or self._settings[parent]
        return _with_new_letters(inherited, section.settings)

    def _is_hexapawn(self, name: str) -> bool:
        """Whether it names a size of Hexapawn, which is then defined."""
        match = _HEXAPAWN.fullmatch(name)
        if match and name not in self._variants:
            width, height = int(match[1]), int(match[2])
            middle = "/".join([str(width)] * (height - 2))
            self.add_text(
                f"[{name}:hexapawn]\nmaxFile = {width}\nmaxRank = {height}\n"
                f"startFen = {'p' * width}/{middle}/{'P' * width} w - - 0 1\n"
                f"flagRegionWhite = *{height}\n",
                name,
            )
        return match is not None

    def get(self, name: str) -> Variant:
        """See `get_variant`."""
        require_text(name, "the name of a variant")
        if name not in self._variants and not self._is_hexapawn(name):
            raise UnknownVariantError(f"unknown variant '{name}'{_nearest(name, self.names())}")
        return self._variants[name]

    def names(self) -> list[str]:
        """See `variant_names`."""
        return [name for name in self._variants if not _HEXAPAWN.fullmatch(name)]


def _with_new_letters(inherited: dict[str, Setting], own: dict[str, Setting]) -> dict[str, Setting]:
    """Sets of pieces are inherited as pieces: rewrite them where the child renames or drops one."""
    new = {
        inherited[key].text[:1].lower(): own[key].text[:1].lower().replace("-", "")
        for key in (*PIECE_KEYS, *CUSTOM_KEYS)
        if key in inherited and key in own and inherited[key].text != "-"
    }
    result = dict(inherited)
    for key in PIECE_SET_KEYS:
        if key in inherited:
            text = "".join(new.get(letter, letter) for letter in inherited[key].text.lower())
            result[key] = Setting(text or "-", inherited[key].place)
    return result


def _line_of(mistake: str) -> int:
    """The number of the line that a mistake names."""
    place = re.match(r".*?:([0-9]+): ", mistake)
    return int(place[1]) if place else 0


def _nearest(name: str, names: list[str]) -> str:
    # Of a path the last part: that of a run may be its variant's name.
    word = name.lower().rstrip("/").rpartition("/")[2]
    near = difflib.get_close_matches(word, (*names, *HEXAPAWNS), n=3, cutoff=0.6)
    if word in near:
        near = [word]
    return f" (did you mean {', '.join(near)}?)" if near else "; no loaded file defines it"


_registry: Final = Registry()


def get_variant(name: str) -> Variant:
    """The variant of that name, `hexapawnWxH` included.

        >>> import pawnscope as ps
        >>> ps.get_variant("hexapawn5x4")
        Variant('hexapawn5x4', 5x4)

    Raises UnknownVariantError, with the nearest names.
    """
    return _registry.get(name)


def variant_names() -> list[str]:
    """The defined names, in the order of their files; `hexapawnWxH` exist besides.

    >>> import pawnscope as ps
    >>> ps.variant_names()[:2]
    ['chess', 'hexapawn']
    """
    return _registry.names()


define_variants: Final = _registry.add_text
BUILT_IN: Final = tuple(define_variants(_FILE.read_text(encoding="utf-8"), _FILE.name))
"""Names of the variants that come with the program; `hexapawnWxH` exist besides."""


def load_variants(path: str | Path, note: Note | None = None) -> list[str]:
    """Add a person's own variant file; returns the new names.

        >>> import pawnscope as ps
        >>> from pathlib import Path
        >>> rules = "[widehexapawn:hexapawn]\\nmaxFile = 4\\nstartFen = pppp/4/PPPP w - - 0 1\\n"
        >>> _ = Path("wide.ini").write_text(rules)
        >>> ps.load_variants("wide.ini")
        ['widehexapawn']

    `note` is given a line about keys in it that change no rule. Raises VariantError with a line for
    each mistake, and OSError.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise VariantError(f"{path}: more than {_LARGEST_FILE:,} bytes: not a variant file")
    text = _decoded(content, path)
    names = define_variants(text, str(path), note)
    if not names:
        raise VariantError(
            f"{path}: no variant in it: a section begins with [name] or [name:parent]"
        )
    return names


def _decoded(content: bytes, path: str | Path) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise VariantError(f"{path}: text in UTF-16; save it as UTF-8")
    if b"\0" in content:
        raise VariantError(f"{path}: not a text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise VariantError(
            f"{path}:{line}: the byte {byte:#04x} is no text in UTF-8; save the file as UTF-8"
        ) from None
