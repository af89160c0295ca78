"""Types of values that a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sivae._errors import OptionError, SetupError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def as_type(given: DTypeLike) -> np.dtype[Any]:
    """The type asked for.

    Raises
    ------
    OptionError
        If it is none, or none that sparse matrices hold.
    """
    found: np.dtype[Any] | None
    try:
        found = np.dtype(given)
    except TypeError:
        found = None
    if found is None or storable(found) != found:
        raise OptionError(f"dtype is {given!r}; expected a type that sparse matrices hold, such as 'float32'.")
    return found


def storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or the nearest one that sparse matrices hold: of this machine's byte order, no short float."""
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return dtype.newbyteorder("=") if dtype.kind in "biuf" else np.dtype(np.float64)


def fitting(data: NDArray[Any], dtype: np.dtype[Any], *, what: str, where: str, hint: str) -> NDArray[Any]:
    """The values in another type.

    Raises
    ------
    SetupError
        If it does not hold one of them; a shorter fraction will do.
    """
    if data.dtype == dtype:
        return data
    with np.errstate(invalid="ignore", over="ignore"):
        cast = data.astype(dtype)
    if dtype.kind == "f" and data.dtype.kind == "f":
        wrong = np.isinf(cast) & ~np.isinf(data)
    else:
        wrong = cast != data
    if wrong.any():
        raise SetupError(f"{what} holds {data[wrong][0]:g}, which {where}, {dtype}, does not hold. {hint}")
    return cast
