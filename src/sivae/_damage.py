"""Whether stored values are whole: what HDF5, zarr and SciPy take silently is found here.

SciPy makes a CSR or CSC matrix of parts that cannot be one, and reads beyond them later. zarr reads a chunk that is
gone, and a whole array that is gone after it was opened, as zeros. HDF5 reads what was cut off a file after it was
opened as zeros.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    State: TypeAlias = tuple[Any, ...] | None


class Damaged(Exception):
    """What is wrong with stored values, in words; `axis` and `number` say at which cell (0) or gene (1), if known."""

    def __init__(self, words: str, *, axis: int = 0, number: int | None = None) -> None:
        super().__init__(words)
        self.axis, self.number = axis, number


# ------------------------------------------------------------------------------------------------ parts of CSR and CSC


def check_offsets(indptr: NDArray[Any], length: int, *, axis: int, stored: int | None = None) -> None:
    """Refuse an `indptr` that does not divide the stored values into `length` rows (`axis` 0) or columns (1).

    Raises
    ------
    Damaged
        If it has another length, does not begin at 0, falls, or does not end at `stored`.
    """
    if indptr.dtype.kind not in "iu" or indptr.shape != (length + 1,):
        raise Damaged(
            f"indptr holds {indptr.size:,} values of type {indptr.dtype}, expected {length + 1:,} whole numbers"
        )
    if indptr[0] != 0:
        raise Damaged(f"indptr begins at {indptr[0]}, expected 0")
    falling = indptr[1:] < indptr[:-1]
    if falling.any():
        at = int(np.argmax(falling))
        raise Damaged(f"indptr falls from {indptr[at]} to {indptr[at + 1]}", axis=axis, number=at)
    if stored is not None and int(indptr[-1]) != stored:
        raise Damaged(f"indptr ends at {indptr[-1]:,}, expected {stored:,}, as many as there are values")


def check_indices(indices: NDArray[Any], indptr: NDArray[Any], *, limit: int, axis: int, first: int = 0) -> None:
    """Refuse indices beyond the matrix; the rows (`axis` 0) or columns (1) of these begin with number `first`.

    Raises
    ------
    Damaged
        If one is negative, or not below `limit`.
    """
    if indices.size == 0 or (indices.min() >= 0 and indices.max() < limit):
        return
    at = int(np.argmax((indices < 0) | (indices >= limit)))
    number = first + int(np.searchsorted(indptr, at, side="right")) - 1
    other = ("gene", "cell")[axis]
    raise Damaged(f"{other} number {indices[at]} of {limit:,}", axis=axis, number=number)


def check_matrix(matrix: Any, *, first: int = 0) -> None:
    """Refuse a SciPy CSR or CSC matrix whose indices lie beyond it; `first` is the number of its first row or column.

    Raises
    ------
    Damaged
        If so.
    """
    axis = int(matrix.format == "csc")
    check_indices(matrix.indices, matrix.indptr, limit=int(matrix.shape[1 - axis]), axis=axis, first=first)


def check_chunks(group: Any, name: str, values: NDArray[Any], indptr: NDArray[Any] | None = None) -> None:
    """Refuse zeros in a part of a sparse matrix which are those that zarr reads where a chunk is gone.

    Zeros are hardly ever stored, a row (between two entries of `indptr`) holds no gene twice, and few cells are empty:
    the store itself is asked only where it looks otherwise.

    Raises
    ------
    Damaged
        If there are such zeros, and not every chunk of the part is stored.
    """
    if not _is_loaded(group, "zarr", "Group"):
        return
    odd = values == 0 if name == "data" else (values[1:] == 0) & (values[:-1] == 0)
    if indptr is not None:
        inside = indptr[(indptr > 0) & (indptr < len(values))]
        odd[inside - 1] = False  # one row ends with 0 and the next begins with it
    if not odd.any():
        return
    chunks, there = group[name].nchunks, group[name].nchunks_initialized
    if there < chunks:
        raise Damaged(
            f"{chunks - there} of the {chunks} chunks of {name} are gone from the store, or hold nothing but zeros "
            "(eliminate_zeros, before it is written, rules that out)"
        )


# ------------------------------------------------------------------------------------------------------ where they lie


def place_of(handle: Any) -> str:
    """File or store, and the place in it, of what h5py or zarr opened."""
    if hasattr(handle, "file"):
        return f"{handle.file.filename}, {handle.name}"
    return f"{str(handle.store).removeprefix('file://')}, /{handle.path}"


def state(handle: Any) -> State:
    """What stays the same as long as nobody writes to the file or store behind a data set of h5py or zarr.

    Raises
    ------
    Damaged
        If a part of the file is gone, or the array from the store.
    """
    return _state_of_file(handle) if hasattr(handle, "file") else _state_of_array(handle)


def _state_of_file(handle: Any) -> State:
    file = handle.file
    if file.mode != "r":  # h5py itself may write
        return None
    try:
        found = os.fstat(file.id.get_vfd_handle())
    except (OSError, ValueError, TypeError, NotImplementedError):  # not every driver of HDF5 has a file
        return None
    expected = file.id.get_filesize()
    if found.st_size < expected:
        raise Damaged(f"the file ends after {found.st_size:,} bytes, expected {expected:,}")
    return found.st_mtime_ns, found.st_size


def _state_of_array(array: Any) -> State:
    import zarr

    try:
        found = zarr.open_array(array.store, path=array.path, mode="r")
    except Exception as error:  # each kind of store has its own
        raise Damaged(f"the array is gone from the store ({type(error).__name__})") from error
    return tuple(found.shape), str(found.dtype), tuple(found.chunks)


def _is_loaded(thing: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(thing, getattr(loaded, name))
