"""What a position shows: one module a family, one decorated function a concept.

Importing this package registers every family below.
"""

from engine.probing.concepts import (
    control,
    king,
    material,
    mobility,
    pawns,
    space,
    squares,
    threats,
)
from engine.probing.concepts.beyond_rules import exact, search

__all__ = [
    "control",
    "exact",
    "king",
    "material",
    "mobility",
    "pawns",
    "search",
    "space",
    "squares",
    "threats",
]
