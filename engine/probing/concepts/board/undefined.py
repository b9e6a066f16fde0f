"""The error of a concept that makes no sense in a variant."""

from engine.rules.errors import InputError


class ConceptUndefinedError(InputError):
    """A concept that is not defined in a variant, or lacks what it is read off; says why."""
