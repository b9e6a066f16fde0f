"""What a position shows: one module a family, one decorated function a concept.

Importing this package registers every family below.
"""

from engine.probing.concepts import (
    control,
    exact,
    king,
    material,
    mobility,
    pawns,
    space,
    squares,
    threats,
)

__all__ = [
    "control",
    "exact",
    "king",
    "material",
    "mobility",
    "pawns",
    "space",
    "squares",
    "threats",
]
