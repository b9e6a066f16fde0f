"""The one machine signature of a kernel, read off its annotations.

An annotation says the type and, where it is an array, its rank:

    int, np.int64, int | np.int64      int64          np.uint64, np.float32, …   as they are
    float, np.float64                  float64        bool, np.bool_             boolean
    npt.NDArray[np.uint8]              uint8[::1]     Array2D[np.uint8]          uint8[:, ::1]
    Annotated[npt.NDArray[np.void], NODE, 2]          records of the dtype NODE, two-dimensional
    a NamedTuple class                 the tuple of what its fields are annotated with

All arrays are C-contiguous, unless `Strided3D` says otherwise, and writable.
"""

import types as python_types
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from numba import from_dtype, types

_Number = TypeVar("_Number", bound=np.generic)

Array2D = Annotated[npt.NDArray[_Number], 2]
Array3D = Annotated[npt.NDArray[_Number], 3]
_STRIDED: Final = "strided"
Strided3D = Annotated[npt.NDArray[_Number], 3, _STRIDED]
"""Of any strides: a part of a larger array may be handed over."""

_PYTHON_NUMBERS: Final = {bool: types.boolean, int: types.int64, float: types.float64}


def contiguous(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values as kernels take arrays: of that type, C-contiguous and writable.

    A copy only where they are not, so it is for what a kernel reads and never for what it writes.
    """
    array = np.ascontiguousarray(values, dtype=dtype)
    return array if array.flags.writeable else array.copy()


def declared_types(function: Callable[..., Any]) -> tuple[types.Type, ...]:
    """The types of the parameters of a kernel; raises TypeError that names one without a type."""
    hints = get_type_hints(function, include_extras=True)
    code = function.__code__
    return tuple(
        _type_of(hints.get(name), f"{function.__module__}.{function.__qualname__}({name})")
        for name in code.co_varnames[: code.co_argcount]
    )


def _type_of(hint: Any, place: str) -> types.Type:
    notes: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
    if get_origin(hint) is np.ndarray:
        held = next((note for note in notes if isinstance(note, np.dtype)), None)
        rank = next((note for note in notes if isinstance(note, int)), 1)
        element: Any = from_dtype(_held(hint, place) if held is None else held)
        return types.Array(element, rank, "A" if _STRIDED in notes else "C")
    if get_origin(hint) in (Union, python_types.UnionType):
        choices = [_type_of(choice, place) for choice in get_args(hint)]
        if not all(isinstance(choice, types.Number | types.Boolean) for choice in choices):
            raise TypeError(f"{place}: no single machine type holds all of {hint!r}")
        # Of `int | np.uint16` the wider one, which holds both.
        return max(choices, key=lambda choice: getattr(choice, "bitwidth", 1))
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint, include_extras=True)
        fields = [_type_of(hints[name], f"{place}.{name}") for name in hint._fields]
        return types.NamedTuple(fields, hint)
    if hint in _PYTHON_NUMBERS:
        return _PYTHON_NUMBERS[hint]
    if isinstance(hint, type) and issubclass(hint, np.generic):
        return from_dtype(np.dtype(hint))
    raise TypeError(f"{place}: no machine type follows from the annotation {hint!r}")


def _held(hint: Any, place: str) -> np.dtype[Any]:
    """What an array holds by its annotation."""
    held = get_args(get_args(hint)[1])[0]
    if held in (Any, np.void, np.generic) or isinstance(held, TypeVar):
        raise TypeError(f"{place}: {hint!r} does not say what the array holds")
    dtype: np.dtype[Any] = np.dtype(held)
    return dtype
