"""Errors about what a person gave, which quote it in one line; and the one check for NaN."""

import numpy as np
import numpy.typing as npt


class InputError(ValueError):
    """Input that cannot be used; the message is one line and quotes the offending text.

    >>> import pawnscope as ps
    >>> try:
    ...     ps.Position("gardener")
    ... except ps.InputError as problem:
    ...     print(problem)
    unknown variant 'gardener' (did you mean gardner?)
    """


class VariantError(InputError):
    """A variant file that breaks its own grammar: one line for each mistake in it, which names the
    file, the line and the key."""

    @property
    def mistakes(self) -> list[str]:
        """The lines of the message."""
        return str(self).split("\n")


class UnknownVariantError(InputError):
    """A variant name that nobody has defined; the message offers the nearest names."""


class FenError(InputError):
    """A position text that does not describe a position of the variant."""


class IllegalMoveError(InputError):
    """A move that the rules do not allow; the message quotes the move and the FEN."""


class NotFiniteError(InputError):
    """A NaN or an infinity where a number is needed; the message names what holds it."""


def require_text(value: object, what: str) -> None:
    """Raises InputError, "`what` is a text, not …", for anything else."""
    if not isinstance(value, str):
        raise InputError(f"{what} is a text, not {value!r}")


def first_fault(values: npt.NDArray[np.floating] | float) -> str | None:
    """The first number of an array that is not finite, as "nan (number 3 of 8)"; None for none."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    place = int(np.argmin(finite))
    wrong = np.ravel(values)[place]
    return f"{wrong} (number {place + 1} of {finite.size})" if finite.ndim else str(wrong)


def require_finite(values: npt.NDArray[np.floating] | float, name: str) -> None:
    """Raises NotFiniteError, "`name` is nan …", for an array or a number that is not all finite."""
    fault = first_fault(values)
    if fault is not None:
        raise NotFiniteError(f"{name} is {fault}")
