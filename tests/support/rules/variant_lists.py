"""The variants that conformance tests run over: built-in ones, sizes of Hexapawn, strange ones."""

from pathlib import Path

from engine.rules.variant import load_variants, variant_names

STRANGE_FILE = Path(__file__).parents[2] / "golden" / "strange.ini"

BUILT_IN = variant_names()
HEXAPAWNS = ["hexapawn4x3", "hexapawn3x5", "hexapawn4x4", "hexapawn5x5", "hexapawn6x8"]
STRANGE = load_variants(STRANGE_FILE)
EVERY = [*BUILT_IN, *HEXAPAWNS, *STRANGE]
