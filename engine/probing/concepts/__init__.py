"""What a position shows: one module a family, one decorated function a concept.

Importing this package registers every family below.
"""

from engine.probing.concepts import exact, material, mobility, pawns, space, squares

__all__ = ["exact", "material", "mobility", "pawns", "space", "squares"]
