"""Reads the typed values of a variant's section, and collects what is wrong with them.

A value that cannot be read is replaced by one that can, so that reading goes on to the next
mistake. What follows from a mistake alone is none: a region is not off a board whose size is
unknown.
"""

import re
from typing import Final

from engine.rules.betza import Movement, parse_betza
from engine.rules.errors import InputError
from engine.rules.tables import BISHOP, FIRST_CUSTOM, KING, KNIGHT, LARGEST_SIDE, PAWN, QUEEN, ROOK
from engine.rules.variant_file.sections import CUSTOM_KEYS, PIECE_KEYS, Section, Setting

_STANDARD: Final = {PAWN: "fmWfcF", KNIGHT: "N", BISHOP: "B", ROOK: "R", QUEEN: "Q", KING: "K"}
_VALUES: Final = {"win": 1, "draw": 0, "loss": -1}


class SectionReader:
    """Reads the typed values of one section; each entry of `mistakes` names the place and the key.

    The keys of the entries are in `wrong`.
    """

    def __init__(self, section: Section, inherited: dict[str, Setting]) -> None:
        self.name, self.place, self.own = section.name, section.place, set(section.settings)
        self.settings = {**inherited, **section.settings}
        self.unread = section.unread
        self.mistakes: list[str] = []
        self.wrong: list[str] = []
        self.width = self._side("maxFile")
        self.height = self._side("maxRank")

    def mistake(self, key: str, problem: str) -> None:
        """Note that a key's value is wrong."""
        setting = self.settings.get(key)
        place = setting.place if setting else self.place
        written = f"{key} = {setting.text}" if setting else key
        self.mistakes.append(f"{place}: [{self.name}] {written}: {problem}")
        self.wrong.append(key)

    @property
    def knows_board(self) -> bool:
        """Whether the sides of the board could be read."""
        return not {"maxFile", "maxRank"} & set(self.wrong)

    @property
    def knows_pieces(self) -> bool:
        """Whether the pieces could be read."""
        return not self.unread and not {*PIECE_KEYS, *CUSTOM_KEYS} & set(self.wrong)

    def text(self, key: str, default: str) -> str:
        setting = self.settings.get(key)
        return setting.text if setting else default

    def _side(self, key: str) -> int:
        text = self.text(key, "8")
        if re.fullmatch("[a-z]", text):
            text = str(ord(text) - ord("a") + 1)
        return self._in_range(key, text, 1, LARGEST_SIDE, LARGEST_SIDE)

    def _in_range(self, key: str, text: str, low: int, high: int, otherwise: int) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text):
            self.mistake(key, f"expected a whole number from {low} to {high}")
        elif not low <= int(text) <= high:
            self.mistake(key, f"out of range, expected {low} to {high}")
        else:
            return int(text)
        return otherwise

    def number(self, key: str, default: int, high: int) -> int:
        return self._in_range(key, self.text(key, str(default)), 0, high, default)

    def flag(self, key: str, default: bool) -> bool:
        text = self.text(key, str(default)).lower()
        if text not in ("true", "false"):
            self.mistake(key, "expected true or false")
            return default
        return text == "true"

    def value(self, key: str, default: str) -> int | None:
        text = self.text(key, default)
        if text == "none" and key == "extinctionValue":
            return None
        if text not in _VALUES:
            self.mistake(key, "expected win, draw or loss")
            return _VALUES["draw"]
        return _VALUES[text]

    def file(self, key: str, default: str) -> int:
        text = self.text(key, default)
        if re.fullmatch("[1-8]", text):
            text = chr(ord("a") + int(text) - 1)
        if not re.fullmatch("[a-h]", text) or ord(text) - ord("a") >= self.width:
            if self.knows_board:
                last = chr(ord("a") + self.width - 1)
                self.mistake(key, f"expected a file from a to {last}")
            return 0
        return ord(text) - ord("a")

    def region(self, key: str, default: str) -> int:
        """A bitmap from `*3`, `c*`, `c3` and `-`; what an inherited value names off the board is
        left out."""
        bitmap = 0
        for part in self.text(key, default).split():
            if part == "-":
                continue
            match = re.fullmatch(r"([a-z]|\*)([0-9]{1,2}|\*)", part)
            if not match or part == "**":
                self.mistake(key, f"'{part}' is not a square, a file like c* or a rank like *3")
                continue
            file, rank = match[1], match[2]
            off = file != "*" and ord(file) - ord("a") >= self.width
            off |= rank != "*" and not 1 <= int(rank) <= self.height
            if off and key in self.own and self.knows_board:
                self.mistake(key, f"'{part}' lies off the {self.width}x{self.height} board")
            for square in range(self.width * self.height):
                on_file = file in ("*", chr(ord("a") + square % self.width))
                on_rank = rank in ("*", str(square // self.width + 1))
                bitmap |= (on_file and on_rank) << square
        return bitmap

    def pieces(self) -> tuple[dict[int, str], dict[int, Movement]]:
        letters: dict[int, str] = {}
        movements: dict[int, Movement] = {}
        keys = [*zip(PIECE_KEYS, _STANDARD, strict=True)]
        keys += [(key, FIRST_CUSTOM + index) for index, key in enumerate(CUSTOM_KEYS)]
        for key, piece_type in keys:
            text = self.text(key, "-")
            if text == "-":
                continue
            letter, colon, betza = (part.strip() for part in text.partition(":"))
            if not re.fullmatch("[A-Za-z]", letter) or bool(colon) != (key in CUSTOM_KEYS):
                form = "letter:Betza" if key in CUSTOM_KEYS else "a letter or -"
                self.mistake(key, f"expected {form}")
                continue
            if letter.lower() in letters.values():
                self.mistake(key, f"the letter '{letter}' is taken by another piece")
                continue
            letters[piece_type] = letter.lower()
            try:
                movements[piece_type] = parse_betza(betza if colon else _STANDARD[piece_type])
            except InputError as problem:
                self.mistake(key, str(problem))
        if not letters and self.knows_pieces:
            self.mistake("pawn", "the variant has no pieces")
        return letters, movements

    def piece_set(self, key: str, default: str, letters: dict[int, str]) -> int:
        """Set of piece types (bit t) named by letters; `*` is every piece."""
        types = {letter: piece_type for piece_type, letter in letters.items()}
        text = self.text(key, default).lower()
        if text == "*":
            return sum(1 << piece_type for piece_type in letters)
        result = 0
        for letter in dict.fromkeys(text.replace(" ", "")):
            if letter in types:
                result |= 1 << types[letter]
            elif key in self.settings and letter != "-" and self.knows_pieces:
                self.mistake(key, f"'{letter}' is not a piece of this variant")
        return result
