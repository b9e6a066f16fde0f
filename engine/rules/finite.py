"""The one refusal of NaN and infinities: weights, losses, gradients, judgements, stored tensors.

Whoever takes floating-point numbers from outside, or is about to keep them, asks here first. An
array is read once, so that the check may stand in front of everything that trusts its numbers.
"""

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError


class NotFiniteError(InputError):
    """A NaN or an infinity where a number is needed; the message names what holds it."""


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
