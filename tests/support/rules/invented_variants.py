"""Variants that nobody designed: the rule keys of an ini file drawn at random."""

import numpy as np

FILES = "abcdefgh"
MODIFIERS = ("", "m", "c", "f", "mf", "cf", "fc")
STANDARD = {"pawn": "p", "knight": "n", "bishop": "b", "rook": "r", "queen": "q"}


def _betza(generator: np.random.Generator) -> str:
    atoms = generator.choice(list("WFKNRBQ"), int(generator.integers(1, 4)), replace=False)
    return "".join(str(generator.choice(MODIFIERS)) + str(atom) for atom in atoms)


def _pieces(generator: np.random.Generator) -> dict[str, str]:
    pieces = {key: letter for key, letter in STANDARD.items() if generator.random() < 0.6}
    pieces["rook"] = "r"
    for number in range(1, int(generator.integers(1, 5))):
        pieces[f"customPiece{number}"] = f"{'acde'[number - 1]}:{_betza(generator)}"
    return pieces


def _start(
    generator: np.random.Generator, letters: str, width: int, height: int, king: int, castling: bool
) -> str:
    """Two ranks of men on each side; `king` is its file, or -1."""
    officers = [letter for letter in letters if letter != "p"]
    back = [str(letter) for letter in generator.choice(officers, width)]
    front = "p" * width if "p" in letters else "".join(generator.choice(officers, width))
    if castling:
        back[0] = back[-1] = "r"
    if king >= 0:
        back[king] = "k"
    empty = [str(width)] * (height - 4)
    ranks = ["".join(back), front, *empty, front.upper(), "".join(back).upper()]
    return f"{'/'.join(ranks)} w {'KQkq' if castling else '-'} - 0 1"


def _ends(
    generator: np.random.Generator, letters: str, width: int, height: int, royal: bool
) -> dict[str, str]:
    keys = {
        "stalemateValue": str(generator.choice(["draw", "loss", "win"])),
        "checkmateValue": str(generator.choice(["loss", "loss", "draw", "win"])),
        "nFoldRule": str(generator.integers(2, 4)),
        "nMoveRule": str(generator.integers(3, 15)),
    }
    if generator.random() < 0.3:
        middle = f"{FILES[int(generator.integers(width))]}{height // 2 + 1}"
        keys["flagPiece"] = str(generator.choice([*letters, "*"]))
        keys |= {"flagRegionWhite": f"{middle} *{height}", "flagRegionBlack": "*1"}
    if not royal or generator.random() < 0.3:
        keys["extinctionValue"] = str(generator.choice(["loss", "win", "draw"]))
        keys["extinctionPieceTypes"] = str(generator.choice([*letters, "*"]))
        keys["extinctionPieceCount"] = str(generator.integers(0, 2))
    return keys


def invented_ini(name: str, seed: int) -> str:
    """A section that defines a playable game (its start may be refused for a check)."""
    generator = np.random.default_rng(seed)
    width, height = int(generator.integers(3, 9)), int(generator.integers(4, 9))
    pieces = _pieces(generator)
    letters = "".join(text[0] for text in pieces.values())
    royal = bool(generator.random() < 0.7)
    castling = bool(royal and width >= 4 and generator.random() < 0.5)
    king = int(generator.integers(1, width - 1)) if royal else -1
    keys = pieces | ({"king": "k"} if royal else {})
    keys |= {
        "maxFile": str(width),
        "maxRank": str(height),
        "startFen": _start(generator, letters, width, height, king, castling),
        "promotionRegionWhite": f"*{height}" + (f" *{height - 1}" if seed % 5 == 0 else ""),
        "promotionRegionBlack": "*1" + (" *2" if seed % 5 == 1 else ""),
        "promotionPieceTypes": letters.replace("p", "")[: int(generator.integers(0, 4))] or "-",
        "doubleStep": "true" if generator.random() < 0.6 else "false",
        "doubleStepRegionWhite": "*2" + (" *3" if seed % 3 == 0 else ""),
        "doubleStepRegionBlack": f"*{height - 1}",
        "castling": "true" if castling else "false",
    }
    if castling:
        kingside = int(generator.integers(1, width))
        keys["castlingKingsideFile"] = FILES[kingside]
        keys["castlingQueensideFile"] = FILES[int(generator.integers(0, kingside))]
    keys |= _ends(generator, letters, width, height, royal)
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in keys.items()), ""])
