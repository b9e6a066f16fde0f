"""A variant's ini text read anew for `naive_rules`; nothing here comes from `engine`."""

from dataclasses import dataclass

Square = tuple[int, int]
Sections = dict[str, tuple[str, dict[str, str]]]

DEFAULTS = {
    "maxRank": "8",
    "maxFile": "8",
    "promotionRegionWhite": "*8",
    "promotionRegionBlack": "*1",
    "promotionPieceTypes": "",
    "doubleStep": "true",
    "doubleStepRegionWhite": "*2",
    "doubleStepRegionBlack": "*7",
    "castling": "true",
    "castlingKingsideFile": "g",
    "castlingQueensideFile": "c",
    "nMoveRule": "50",
    "nFoldRule": "3",
    "stalemateValue": "draw",
    "checkmateValue": "loss",
    "extinctionValue": "none",
    "extinctionPieceTypes": "",
    "extinctionPieceCount": "0",
    "flagPiece": "*",
    "flagRegionWhite": "",
    "flagRegionBlack": "",
    "startFen": "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
}
CHESS_PIECES = {
    "pawn": "p",
    "knight": "n",
    "bishop": "b",
    "rook": "r",
    "queen": "q",
    "king": "k",
}
BETZA = {
    "pawn": "fmWfcF",
    "knight": "N",
    "bishop": "B",
    "rook": "R",
    "queen": "Q",
    "king": "K",
}
SIDEWAYS = {"W": [(1, 0)], "F": [(1, 1)], "N": [(1, 2), (2, 1)]}
COMPOUND = {"K": "WF", "R": "W", "B": "F", "Q": "WF"}
VALUES = {"win": 1, "draw": 0, "loss": -1, "none": None}


def read_sections(text: str) -> Sections:
    """Name -> (parent or '', keys), in the order of the file."""
    sections: Sections = {}
    name = ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            name, _, parent = line[1 : line.index("]")].partition(":")
            sections[name] = (parent, {})
        else:
            key, _, value = line.partition("=")
            sections[name][1][key.strip()] = value.strip()
    return sections


def resolve(sections: Sections, name: str) -> dict[str, str]:
    """All keys of a variant, its own before its parents'."""
    parent, own = sections[name]
    return (resolve(sections, parent) if parent else DEFAULTS) | own


def region(text: str, width: int, height: int) -> frozenset[Square]:
    """`*8` is a rank, `a*` a file, `e4` a square, `-` nothing."""
    everything = [(file, rank) for file in range(width) for rank in range(height)]
    squares: set[Square] = set()
    for word in text.replace("-", " ").split():
        for file, rank in everything:
            if word[0] in ("*", "abcdefgh"[file]) and word[1:] in ("*", str(rank + 1)):
                squares.add((file, rank))
    return frozenset(squares)


def movements(betza: str) -> list[tuple[int, int, bool, str]]:
    """(files, ranks forward, rides on?, modes out of 'mc') for every direction of a piece."""
    found = []
    modifiers = ""
    for sign in betza:
        if sign.islower():
            modifiers += sign
            continue
        modes = "".join(mode for mode in "mc" if mode in modifiers) or "mc"
        for atom in COMPOUND.get(sign, sign):
            turned = {
                (x * sx, y * sy)
                for files, ranks in SIDEWAYS[atom]
                for x, y in ((files, ranks), (ranks, files))
                for sx in (1, -1)
                for sy in (1, -1)
            }
            for x, y in sorted(turned):
                if "f" not in modifiers or (y == 2 if atom == "N" else y > 0):
                    found.append((x, y, sign in "RBQ", modes))
        modifiers = ""
    return found


@dataclass(frozen=True)
class Rules:
    """A variant, its ini keys turned into sets and dicts; letters are lower case."""

    width: int
    height: int
    pieces: dict[str, list[tuple[int, int, bool, str]]]
    pawn: str
    king: str
    rook: str
    promotes_to: str
    promotion_region: dict[str, frozenset[Square]]
    double_step: dict[str, frozenset[Square]]
    castling: bool
    castling_files: dict[str, int]
    home: dict[str, int]
    values: dict[str, int | None]
    extinct_types: str
    extinct_count: int
    flag_types: str
    flag_region: dict[str, frozenset[Square]]
    fold: int
    clock: int
    names: dict[str, str]
    start_fen: str


def file_number(text: str) -> int:
    return int(text) - 1 if text.isdigit() else "abcdefgh".index(text)


def rules_of(ini_text: str, name: str) -> Rules:
    keys = resolve(read_sections(ini_text), name)
    width, height = file_number(keys["maxFile"]) + 1, int(keys["maxRank"])
    pieces: dict[str, list[tuple[int, int, bool, str]]] = {}
    names: dict[str, str] = {}
    for key, value in keys.items():
        if (key in CHESS_PIECES or key.startswith("customPiece")) and value != "-":
            letter, _, betza = value.partition(":")
            pieces[letter.lower()] = movements(BETZA.get(key, betza))
            names[key] = letter.lower()
    sides = {"w": "White", "b": "Black"}

    def regions(key: str) -> dict[str, frozenset[Square]]:
        return {side: region(keys[key + word], width, height) for side, word in sides.items()}

    double_step = regions("doubleStepRegion")
    if keys["doubleStep"] != "true":
        double_step = {"w": frozenset(), "b": frozenset()}
    everyone = "".join(pieces)
    return Rules(
        width=width,
        height=height,
        pieces=pieces,
        pawn=names.get("pawn", ""),
        king=names.get("king", ""),
        rook=names.get("rook", ""),
        promotes_to="".join(p for p in keys["promotionPieceTypes"] if p in pieces),
        promotion_region=regions("promotionRegion"),
        double_step=double_step,
        castling=keys["castling"] == "true",
        castling_files={
            "k": file_number(keys["castlingKingsideFile"]),
            "q": file_number(keys["castlingQueensideFile"]),
        },
        home={"w": 0, "b": height - 1},
        values={
            key: VALUES[keys[key + "Value"]] for key in ("stalemate", "checkmate", "extinction")
        },
        extinct_types=keys["extinctionPieceTypes"],
        extinct_count=int(keys["extinctionPieceCount"]),
        flag_types=everyone if keys["flagPiece"] == "*" else keys["flagPiece"],
        flag_region=regions("flagRegion"),
        fold=int(keys["nFoldRule"]),
        clock=2 * int(keys["nMoveRule"]),
        names=names,
        start_fen=keys["startFen"],
    )
