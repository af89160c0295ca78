"""The entries of a cells x genes matrix that are not zero, a block at a time, whatever holds the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
from scipy import sparse

from sivae._errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK: Final = 2**22
"""Cells times genes of one block: bounds the memory of a pass over the data."""


class Sliced(Protocol):
    """Cells x genes: a NumPy array, a SciPy matrix, or anything on disk that can be sliced into one of them."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Cells, genes."""

    def __getitem__(self, key: tuple[slice, slice], /) -> object:
        """Slice of cells and slice of genes."""


@runtime_checkable
class InPieces(Protocol):
    """Cells x genes that knows itself how it is best read."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Cells, genes."""

    def pieces(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], object]]:
        """Cells, genes and the values there, (cells, genes), a piece at a time; every pair once."""


Matrix: TypeAlias = Sliced | InPieces


def entries(x_cg: Matrix) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Pass over the entries that are not zero, with memory that grows with neither cells nor stored entries.

    Parameters
    ----------
    x_cg
        Values, (cells, genes): dense, CSR, CSC, a backed equivalent of these, or something that comes in pieces.
        Columns are read in blocks where the format is CSC, rows otherwise. Duplicates are summed, stored zeros
        dropped, NaN kept.

    Yields
    ------
    Cells, genes and values of one block, (entries,) each; every entry comes in exactly one block.
    """
    if len(x_cg.shape) != 2:
        raise OptionError(f"Found an array of shape {x_cg.shape}, expected (cells, genes). Pass a matrix.")
    if isinstance(x_cg, InPieces):
        for cells, genes, piece in x_cg.pieces():
            row, column, value = _coordinates(piece)
            yield cells[row], genes[column], value
        return
    matrix: Any = x_cg
    if sparse.issparse(x_cg) and matrix.format not in {"csr", "csc"}:
        matrix = matrix.tocsr()
    by_gene = getattr(matrix, "format", None) == "csc"
    n_along, n_across = matrix.shape[::-1] if by_gene else matrix.shape
    step = max(1, BLOCK // max(1, n_across))
    for start in range(0, n_along, step):
        part = slice(start, min(start + step, n_along))
        block = matrix[:, part] if by_gene else matrix[part, :]
        row, column, value = _coordinates(block)
        yield (row, column + start, value) if by_gene else (row + start, column, value)


def _coordinates(block: object) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows, columns and values, (entries,) each, of what is not zero in a block, (rows, columns)."""
    loaded: Any = block.compute() if hasattr(block, "compute") else block
    is_sparse: bool = sparse.issparse(loaded)
    if not is_sparse:
        dense = np.asarray(loaded)
        row, column = np.nonzero(dense)
        return row, column, dense[row, column].astype(np.float64)
    coo = loaded.tocoo(copy=True)
    coo.sum_duplicates()
    kept = coo.data != 0
    return coo.row[kept].astype(np.int64), coo.col[kept].astype(np.int64), coo.data[kept].astype(np.float64)
