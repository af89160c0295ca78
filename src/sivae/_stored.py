"""Stored values wherever they lie: in memory, in an h5ad file, in a zarr store, in a Dask array; read tile by tile.

Nothing here brings a whole matrix into memory, and nothing writes.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, final

import numpy as np
from scipy import sparse

from sivae import _damage
from sivae._errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Positions: TypeAlias = NDArray[np.intp]

BLOCK: Final = 2**21
"""Values of a tile: what is in memory at a time, beside what was asked for."""
GAP: Final = 2**14
"""Values between two that are wanted which are read and dropped, because that is faster than to read twice."""


# --------------------------------------------------------------------------------------------- which tiles to read


@final
@dataclass(frozen=True)
class Runs:
    """Runs of whole rows, or of whole columns: for matrices that are stored one row (column) after the other."""

    offsets: NDArray[np.int64]
    """Values stored before each row (column), and of all."""
    by_column: bool = False
    gap: int = GAP

    def tiles(self, rows: Positions, columns: Positions, shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
        """Rectangles that hold the rows and columns given (sorted, each once)."""
        for part in self._parts(columns if self.by_column else rows):
            yield (slice(0, shape[0]), part) if self.by_column else (part, slice(0, shape[1]))

    def _parts(self, wanted: Positions) -> Iterator[slice]:
        begin, end, breaks = self._places(wanted)
        first = 0
        while first < len(wanted):
            fits = int(np.searchsorted(end, begin[first] + BLOCK, side="right"))
            unbroken = int(breaks[np.searchsorted(breaks, first, side="right")])
            last = min(max(fits, first + 1), unbroken)
            yield slice(int(wanted[first]), int(wanted[last - 1]) + 1)
            first = last

    def _places(self, wanted: Positions) -> tuple[NDArray[np.int64], NDArray[np.int64], Positions]:
        """Where each of the wanted begins and ends, and where too much lies between two of them."""
        if len(wanted) and wanted[-1] - wanted[0] + 1 == len(wanted):  # most often, and then nothing is copied
            first, last = int(wanted[0]), int(wanted[-1])
            return self.offsets[first : last + 1], self.offsets[first + 1 : last + 2], np.array([len(wanted)])
        begin, end = self.offsets[wanted], self.offsets[wanted + 1]
        return begin, end, np.append(np.flatnonzero(begin[1:] - end[:-1] > self.gap) + 1, len(wanted))


@final
@dataclass(frozen=True)
class Grid:
    """Whole chunks: for matrices that are stored in rectangles, each of which is slow to open twice."""

    row_edges: Positions
    column_edges: Positions

    def tiles(self, rows: Positions, columns: Positions, shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
        """Rectangles that hold the rows and columns given (sorted, each once)."""
        height, width = (max(1, int(np.diff(edges).max())) for edges in (self.row_edges, self.column_edges))
        strip = height * max(1, shape[1])
        deep, wide = max(1, BLOCK // strip), len(self.column_edges)
        if strip > BLOCK:
            wide = max(1, BLOCK // (height * width))
        across = list(_groups(columns, self.column_edges, wide))
        for part in _groups(rows, self.row_edges, deep):
            for columns_part in across:
                yield part, columns_part


def _groups(wanted: Positions, edges: Positions, n_chunks: int) -> Iterator[slice]:
    """From the first to the last of the wanted positions in each group of consecutive chunks."""
    bounds = np.append(edges[:-1][::n_chunks], edges[-1])
    cuts = np.searchsorted(wanted, bounds)
    for first, last in zip(cuts[:-1], cuts[1:], strict=True):
        if last > first:
            yield slice(int(wanted[first]), int(wanted[last - 1]) + 1)


def _regular(length: int, chunk: int) -> Positions:
    return np.append(np.arange(0, max(length, 1), max(1, chunk)), length)


# ---------------------------------------------------------------------------------------------------- the storages


class Stored(ABC):
    """Abstract. A matrix as it is stored, cells x genes."""

    on_disk: ClassVar[bool] = True
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    plan: Runs | Grid
    size: int
    """Values stored, or an upper bound of them."""

    def estimate(self) -> float:
        """Values stored, nearly; something may be read to find out."""
        return self.size

    @abstractmethod
    def read(self, rows: slice, columns: slice) -> Any:
        """One rectangle as a NumPy array or a SciPy CSR or CSC matrix.

        Raises
        ------
        Damaged
            If it is none. What h5py, zarr or Dask raise comes as it is.
        """

    def handles(self) -> tuple[Any, ...]:
        """The data sets of a file or store that are read."""
        return ()


@final
class InMemory(Stored):
    """A NumPy array, or a SciPy matrix or array."""

    on_disk = False

    def __init__(self, matrix: Any) -> None:
        self.format = "dense" if isinstance(matrix, np.ndarray) else str(matrix.format)
        self.matrix = matrix if self.format in ("dense", "csr", "csc") else matrix.tocsr()
        self.shape, self.dtype = _shape(matrix), matrix.dtype
        if self.format != "dense":
            axis = int(self.format == "csc")
            _damage.check_offsets(self.matrix.indptr, self.shape[axis], axis=axis)
        runs = _rows(self.shape) if self.format == "dense" else _compressed(self.matrix, self.matrix.indptr)
        self.plan: Runs = runs
        self.size = int(runs.offsets[-1])

    def read(self, rows: slice, columns: slice) -> Any:
        if self.format == "dense":
            return np.asarray(self.matrix[rows, columns])
        along = columns if self.format == "csc" else rows
        indptr = self.plan.offsets[along.start : along.stop + 1]  # SciPy leaves out of a slice what lies beyond it
        _damage.check_indices(
            self.matrix.indices[indptr[0] : indptr[-1]], indptr - indptr[0],
            limit=self.shape[0] if self.format == "csc" else self.shape[1],
            axis=int(self.format == "csc"), first=along.start,
        )  # fmt: skip
        return self.matrix[:, columns] if self.format == "csc" else self.matrix[rows]


@final
class SparseOnDisk(Stored):
    """CSR or CSC in an h5ad file or a zarr store, as anndata opens it."""

    def __init__(self, dataset: Any) -> None:
        self.group, self.format = dataset.group, dataset.format
        self.shape, self.dtype = _shape(dataset), dataset.dtype
        self.axis = int(self.format == "csc")
        indptr = np.asarray(self.group["indptr"][...])
        stored = [int(self.group[part].shape[0]) for part in ("data", "indices")]
        if stored[0] != stored[1]:
            raise _damage.Damaged(f"there are {stored[0]:,} values and {stored[1]:,} indices, expected as many")
        if stored[0] > 0:
            _damage.check_chunks(self.group, "indptr", indptr)
        _damage.check_offsets(indptr, self.shape[self.axis], axis=self.axis, stored=stored[0])
        runs = _compressed(dataset, indptr, _chunk(self.group["data"]))
        self.plan, self.offsets, self.size = runs, runs.offsets, int(runs.offsets[-1])

    def read(self, rows: slice, columns: slice) -> Any:
        along, limit = (columns, self.shape[0]) if self.axis else (rows, self.shape[1])
        indptr = self.offsets[along.start : along.stop + 1]
        at, indptr = slice(int(indptr[0]), int(indptr[-1])), indptr - indptr[0]
        data, indices = self.group["data"][at], self.group["indices"][at]
        _damage.check_chunks(self.group, "data", data)
        _damage.check_chunks(self.group, "indices", indices, indptr)
        _damage.check_indices(indices, indptr, limit=limit, axis=self.axis, first=along.start)
        length = along.stop - along.start
        if self.axis:
            return sparse.csc_matrix((data, indices, indptr), shape=(limit, length))
        return sparse.csr_matrix((data, indices, indptr), shape=(length, limit))

    def handles(self) -> tuple[Any, ...]:
        return self.group["data"], self.group["indices"]


@final
class DenseOnDisk(Stored):
    """A dense data set of an h5ad file or a zarr store."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype = _shape(array), array.dtype
        self.size = self.shape[0] * self.shape[1]
        self.plan = _rows(self.shape)
        if array.chunks is not None:
            edges = [_regular(length, chunk) for length, chunk in zip(self.shape, array.chunks, strict=True)]
            self.plan = Grid(*edges)

    def read(self, rows: slice, columns: slice) -> Any:
        return np.asarray(self.array[rows, columns])

    def handles(self) -> tuple[Any, ...]:
        return (self.array,)


@final
class FromDask(Stored):
    """A Dask array whose chunks are NumPy arrays or SciPy matrices.

    How many values sparse chunks hold is not known before they are computed: `size` counts all, zeros too.
    """

    on_disk = False

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype = _shape(array), array.dtype
        self.size = self.shape[0] * self.shape[1]
        self.plan = Grid(*(np.concatenate([[0], np.cumsum(chunks)]).astype(np.intp) for chunks in array.chunks))

    def estimate(self) -> float:
        """Of sparse chunks, as many as there would be if all were like the one in the middle."""
        if not sparse.issparse(getattr(self.array, "_meta", None)) or self.size == 0:
            return self.size
        block = self.array.blocks[tuple(number // 2 for number in self.array.numblocks)].compute()
        found = block.size if isinstance(block, np.ndarray) else block.nnz
        return float(self.size * found / max(1, block.shape[0] * block.shape[1]))

    def read(self, rows: slice, columns: slice) -> Any:
        block = self.array[rows, columns].compute()
        if isinstance(block, np.ndarray):
            return block
        block = block if getattr(block, "format", None) in ("csr", "csc") else block.tocsr()
        _damage.check_matrix(block, first=columns.start if block.format == "csc" else rows.start)
        return block


def _shape(matrix: Any) -> tuple[int, int]:
    return int(matrix.shape[0]), int(matrix.shape[1])


def _rows(shape: tuple[int, int]) -> Runs:
    return Runs(np.arange(shape[0] + 1, dtype=np.int64) * shape[1])


def _compressed(matrix: Any, indptr: Any, gap: int = GAP) -> Runs:
    return Runs(np.asarray(indptr, dtype=np.int64), matrix.format == "csc", gap)


def _chunk(array: Any) -> int:
    """Values between two reads that would open the same chunk twice."""
    return GAP if array.chunks is None else min(BLOCK, max(GAP, int(array.chunks[0])))


# ---------------------------------------------------------------------------------------------------- which is which


def open_stored(matrix: Any, where: str) -> Stored:
    """Open a matrix by its kind; nothing but its shape is read.

    Raises
    ------
    SetupError
        If nothing here can read it, or its file was closed.
    Damaged
        If its parts do not make a matrix.
    """
    kind = _kind(matrix)
    if kind is None:
        found = f"{type(matrix).__module__.split('.')[0]} {type(matrix).__name__}"
        raise SetupError(
            f"{where} is stored as {found}, expected a NumPy array, a SciPy CSR or CSC matrix, a Dask array, or one of "
            f"these in an h5ad file or zarr store. Convert it first: docs/storage.md lists what can be read."
        )
    if kind in (SparseOnDisk, DenseOnDisk) and _is_closed(matrix):
        raise SetupError(
            f"{where} lies in a file that is closed. Open the file again and make the AnnData anew, for example "
            "with anndata.read_h5ad(path, backed='r')."
        )
    stored: Stored = kind(matrix)
    return stored


def _kind(matrix: Any) -> Any:
    """The class that reads a matrix, None if there is none. Loads no library that the user has not."""
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        return InMemory
    if _is_a(matrix, "dask.array", "Array"):
        return FromDask
    if _is_a(matrix, "anndata.abc", "CSRDataset") or _is_a(matrix, "anndata.abc", "CSCDataset"):
        return SparseOnDisk
    if _is_a(matrix, "h5py", "Dataset") or _is_a(matrix, "zarr", "Array"):
        return DenseOnDisk
    return None


def reads(matrix: Any) -> bool:
    """Whether a matrix can be opened."""
    return _kind(matrix) is not None


def path_of(matrix: Any) -> Path | None:
    """The HDF5 file that a matrix lies in, None where it lies in none."""
    handle = getattr(matrix, "group", matrix)
    if not is_on_disk(matrix) or not hasattr(handle, "file") or _is_closed(matrix):
        return None
    return Path(str(handle.file.filename))


def _is_a(thing: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(thing, getattr(loaded, name))


def _is_closed(matrix: Any) -> bool:
    """Whether an HDF5 file was closed: its handles are then False."""
    handle = getattr(matrix, "group", matrix)
    return (_is_a(handle, "h5py", "Group") or _is_a(handle, "h5py", "Dataset")) and not handle


def is_on_disk(matrix: Any) -> bool:
    """Whether a matrix is anndata's, h5py's or zarr's handle of something in a file."""
    return _kind(matrix) in (SparseOnDisk, DenseOnDisk)
