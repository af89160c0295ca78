"""Copies of matrices into an open HDF5 file, of which a part at a time is in memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from sivae import _damage, _memory
from sivae._stored import DenseOnDisk, FromDask, Runs, is_on_disk, open_stored, reads
from sivae._values import Values
from sivae.io._growing import Growing
from sivae.io._types import fitting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Positions = NDArray[np.intp]

CHUNK: Final = 2**22
"""Values copied at a time."""
SHARE: Final = 0.25
"""Share of the available memory that a turned part may take."""
BYTES: Final = 32
"""Memory of a value while it is turned: itself, its row and column, and both as sorted."""


def copy_matrix(
    matrix: Any, target: Any, name: str, rows: Positions | None = None, columns: Positions | None = None,
    *, names: tuple[Any, Any] | None = None, as_csr: bool = False,
) -> None:  # fmt: skip
    """Copy a matrix, or rows and columns of it in any order, to a name in an open HDF5 file.

    Parameters
    ----------
    rows, columns
        Both, or none for all.
    names
        Of the stored rows and columns, for what is said of damage; their numbers if None.
    as_csr
        Write CSC as CSR.
    """
    from anndata.io import write_elem

    turned = as_csr and getattr(matrix, "format", None) == "csc"
    if reads(matrix) and not _in_memory(matrix) and not (rows is None and is_on_disk(matrix) and not turned):
        _copy_values(_shown(matrix, name, rows, columns, names), target, name, as_csr=as_csr)
    elif is_on_disk(matrix):
        _copy_handle(matrix, target, name)
    else:
        part = matrix if rows is None or columns is None else matrix[rows][:, columns]
        write_elem(target, name, part.tocsr() if turned else part)


def copy_raw(raw: Any, target: Any, rows: Positions | None = None) -> None:
    """Copy the `raw` of an open file or store, or rows of it."""
    from anndata.io import read_elem, write_elem

    if rows is None and hasattr(raw, "file"):
        with _unchanged(raw):
            target.copy(raw, target, name="raw")
        return
    group = target.create_group("raw")
    group.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
    matrix = element(raw["X"])
    columns = None if rows is None else np.arange(matrix.shape[1])
    copy_matrix(matrix, group, "X", rows, columns)
    for name in ("var", "varm"):
        if name in raw:
            write_elem(group, name, read_elem(raw[name]))


def element(stored: Any) -> Any:
    """What anndata takes for a matrix that stays in its file; anything but a matrix is read."""
    from anndata.io import read_elem, sparse_dataset

    kind = stored.attrs.get("encoding-type", "")
    if kind in ("csr_matrix", "csc_matrix"):
        return sparse_dataset(stored)
    is_dense = kind in ("array", "") and len(getattr(stored, "shape", ())) == 2
    return stored if is_dense else read_elem(stored)


def _in_memory(matrix: Any) -> bool:
    return isinstance(matrix, np.ndarray) or sparse.issparse(matrix)


def _shown(
    matrix: Any, name: str, rows: Positions | None, columns: Positions | None, names: tuple[Any, Any] | None
) -> Values:
    stored = open_stored(matrix, name)
    every = range(stored.shape[0]), range(stored.shape[1])
    rows, columns = (
        np.arange(len(all_)) if wanted is None else wanted for wanted, all_ in zip((rows, columns), every, strict=True)
    )
    return Values(stored, rows, columns, name, names or every)


@contextmanager
def _unchanged(handle: Any) -> Iterator[None]:
    """Refuse what was copied from a file or store that was written to, cut or removed meanwhile."""
    before = _damage.state(handle)
    yield
    if _damage.state(handle) != before:
        raise _damage.Damaged(f"{_damage.place_of(handle)} was written to while it was copied")


# ------------------------------------------------------------------------------------------------- whole, as it lies


def _copy_handle(matrix: Any, target: Any, name: str) -> None:
    handle = getattr(matrix, "group", matrix)
    if hasattr(handle, "file"):
        with _unchanged(handle):
            target.copy(handle, target, name=name)
    elif handle is matrix:
        _copy_dense(matrix, target, name)
    else:
        group = target.create_group(name)
        group.attrs.update({"encoding-type": f"{matrix.format}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = matrix.shape
        for part in ("data", "indices", "indptr"):
            _copy_dense(handle[part], group, part)


def _copy_dense(array: Any, target: Any, name: str) -> None:
    made = target.create_dataset(name, shape=array.shape, dtype=array.dtype)
    with _unchanged(array):
        if array.ndim == 1:
            for start in range(0, array.shape[0], CHUNK):
                made[start : start + CHUNK] = array[start : start + CHUNK]
            return
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        stored = DenseOnDisk(array)
        every_row, every_column = (np.arange(length) for length in stored.shape)
        for rows, columns in stored.plan.tiles(every_row, every_column, stored.shape):
            made[rows, columns] = stored.read(rows, columns)


# ------------------------------------------------------------------------------------------- bands of rows or columns


def _copy_values(values: Values, target: Any, name: str, *, as_csr: bool) -> None:
    """Copy what a view shows, or what is computed, in the form in which it is stored."""
    form = _form(values.stored)
    if form == "dense":
        _write_dense(values, target, name)
        return
    by_column, n, g = form == "csc" and not as_csr, *values.shape
    written = Growing(
        target, name, width=n if by_column else g, dtype=values.stored.dtype, form="csc" if by_column else "csr"
    )
    for band in _bands(values, by_column=by_column, turned=form == "csc" and as_csr):
        part = values.take(band) if by_column else values.take_rows(band)
        written.add(_assembled(part, by_column=by_column))
    written.finish()


def _form(stored: Any) -> str:
    form = str(getattr(stored.array._meta if isinstance(stored, FromDask) else stored, "format", "dense"))
    return form if form in ("dense", "csc") else "csr"


def _write_dense(values: Values, target: Any, name: str) -> None:
    made = target.create_dataset(name, shape=values.shape, dtype=values.stored.dtype)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    edges = values.windows(max(1, CHUNK // max(1, values.shape[1])))
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        band = np.empty((stop - start, values.shape[1]), values.stored.dtype)
        for rows, columns, block in values.take_rows(np.arange(start, stop)).pieces():
            dense = block if isinstance(block, np.ndarray) else block.toarray()
            band[np.ix_(rows, columns)] = _as_said(dense, values)
        made[start:stop] = band


def _as_said(data: NDArray[Any], values: Values) -> NDArray[Any]:
    """The values in the type of the matrix; chunks of a Dask array can be of another."""
    hint = "Give the array the type that its chunks have, astype(...)."
    return fitting(data, values.stored.dtype, what=values.where, where="the type that it is said to have", hint=hint)


def _bands(values: Values, *, by_column: bool, turned: bool) -> Iterator[Positions]:
    """Rows (columns) to write at a time, from first to last."""
    n = values.shape[1] if by_column else values.shape[0]
    plan = values.stored.plan
    if turned:  # every band is a pass over all: as few as memory allows
        edges = _edges(_lengths(values), max(CHUNK, int(SHARE * _memory.available()) // BYTES))
    elif isinstance(plan, Runs):
        shown = values.columns if by_column else values.rows
        edges = _edges(plan.offsets[shown + 1] - plan.offsets[shown], CHUNK)
    else:
        size = max(1, CHUNK // max(1, values.shape[0 if by_column else 1]))
        edges = values.windows(size, by_column=by_column)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield np.arange(min(start, n), min(stop, n))


def _edges(lengths: NDArray[np.int64], most: int) -> Positions:
    """Edges of bands that hold at most so many values each, or one row."""
    ends, edges = np.cumsum(lengths), [0]
    while edges[-1] < len(ends):
        before = ends[edges[-1] - 1] if edges[-1] else 0
        edges.append(max(edges[-1] + 1, int(np.searchsorted(ends, before + most, side="right"))))
    return np.array(edges)


def _lengths(values: Values) -> NDArray[np.int64]:
    """Values of each row, from one pass over all."""
    found = np.zeros(values.shape[0], np.int64)
    for rows, _, block in values.pieces():
        found[rows] += np.bincount(sparse.coo_matrix(block).row, minlength=len(rows))
    return found


def _assembled(values: Values, *, by_column: bool) -> Any:
    """What a view shows, in memory: CSR, or CSC."""
    parts: list[tuple[Any, Any, Any]] = [(np.empty(0, values.stored.dtype), np.empty(0, int), np.empty(0, int))]
    for rows, columns, block in values.pieces():
        coo = sparse.coo_matrix(block)
        parts.append((_as_said(coo.data, values), rows[coo.row].astype(np.int32), columns[coo.col].astype(np.int32)))
    data, row, column = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    whole = sparse.coo_matrix((data, (row, column)), shape=values.shape)
    band = whole.tocsc() if by_column else whole.tocsr()
    band.sort_indices()
    return band
