"""Stored values of cells x modelled genes, of which any rows can be had: held in memory, or read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final, final

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._memory import available
from sivae._stored import InMemory, Runs
from sivae._values import Values, values_of
from sivae.data._kind import refuse_values
from sivae.data._matrix import Matrix, as_matrix, matrix_of
from sivae.data._setup import Setup

ROWS: Final = 1024
"""Rows of a block. Sums over cells are made block by block, so that they are the same wherever the values lie."""
WIDE: Final = 8192
"""With more genes dense blocks have fewer cells, and what is made gene by gene is made of some genes at a time."""
DENSE: Final = 2**23
"""Cells times genes of such a block."""
WINDOW: Final = 2**24
"""Cells times genes that are read at a time from where values are stored."""
SHARE: Final = 0.25
"""Share of the available memory that values may take before they are left on disk."""
BYTES: Final = 12
"""Memory of a value that is held: itself, its gene, and itself as transformed."""

Cells = NDArray[np.intp] | slice


class Rows(ABC):
    """Abstract. Stored values of cells x genes."""

    shape: tuple[int, int]

    @property
    def waits(self) -> bool:
        """Whether reading waits for a disk rather than for a processor."""
        return False

    @abstractmethod
    def read(self, cells: Cells) -> Matrix:
        """Some of the rows, in the order asked."""

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """All rows from first to last, a block at a time, and where they are."""
        for start in range(0, self.shape[0], ROWS):
            cells = slice(start, min(start + ROWS, self.shape[0]))
            yield cells, self.read(cells)


@final
class Held(Rows):
    """Rows of a matrix in memory."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix, self.shape = matrix, (int(matrix.shape[0]), int(matrix.shape[1]))

    def read(self, cells: Cells) -> Matrix:
        return self.matrix if isinstance(cells, slice) and cells == slice(None) else self.matrix[cells]


@final
class Columns:
    """Genes of some cells, a few at a time: a sparse matrix is turned once, not searched again for each."""

    def __init__(self, values_cg: Matrix) -> None:
        self._by_gene: Any = values_cg.tocsc() if sparse.issparse(values_cg) else values_cg

    def take(self, genes: slice) -> Matrix:
        """Their values, as a matrix of the same kind as that of the cells."""
        values_cf: Any = self._by_gene[:, genes]
        found: Matrix = values_cf if isinstance(values_cf, np.ndarray) else values_cf.tocsr()
        return found

    def dense(self, genes: slice) -> NDArray[np.float32]:
        """Their values, (cells, genes)."""
        values_cf: Any = self._by_gene[:, genes]
        dense_cf = values_cf if isinstance(values_cf, np.ndarray) else values_cf.toarray()
        return np.ascontiguousarray(dense_cf, np.float32)


@final
class Streamed(Rows):
    """Rows that are read where they are stored, a window of consecutive rows at a time.

    Windows are the same for every pass, and end where chunks of the storage end, so that no chunk is read for two.

    Parameters
    ----------
    values
        The cells, opened.
    read
        The values of the genes wanted in some cells, which are given by position.
    n_genes
        How many genes that are.
    """

    def __init__(self, values: Values, read: Callable[[NDArray[np.intp]], Matrix], n_genes: int) -> None:
        self.shape, self._values = (values.shape[0], n_genes), read
        self._size = ROWS * max(1, WINDOW // (ROWS * max(1, n_genes)))
        self._edges = values.windows(self._size)
        self._window: tuple[int, Any] = (-1, None)

    def read(self, cells: Cells) -> Matrix:
        at = _slice_of(cells, self.shape[0])
        if at is None:
            return self._values(np.arange(self.shape[0])[cells])
        if at.start >= at.stop or at.stop - at.start > self._size:
            return self._values(np.arange(at.start, at.stop))
        first = int(np.searchsorted(self._edges, at.start, side="right")) - 1
        parts = []
        while first < len(self._edges) - 1 and self._edges[first] < at.stop:
            start, window = int(self._edges[first]), self._read_window(first)
            parts.append(window[max(0, at.start - start) : at.stop - start])
            first += 1
        return _stacked(parts)

    def _read_window(self, number: int) -> Any:
        held, window = self._window
        if number != held:
            self._window = -1, None  # the one before goes first
            window = self._values(np.arange(self._edges[number], self._edges[number + 1]))
            self._window = number, window
        return window


def _slice_of(cells: Cells, n: int) -> slice | None:
    """Consecutive cells from one to another; None where they are not."""
    if isinstance(cells, slice):
        start, stop, step = cells.indices(n)
        return slice(start, max(start, stop)) if step == 1 else None
    at = np.arange(n)[cells] if cells.dtype == bool else np.where(cells < 0, cells + n, cells)
    if len(at) == 0 or (np.diff(at) != 1).any():
        return None
    return slice(int(at[0]), int(at[-1]) + 1)


def _stacked(parts: list[Any]) -> Matrix:
    if len(parts) == 1:
        return parts[0]  # type: ignore[no-any-return]
    if all(sparse.issparse(part) for part in parts):
        stack: Any = sparse.vstack(parts, format="csr")
    else:  # chunks of a Dask array can be of both kinds
        stack = np.concatenate([part if isinstance(part, np.ndarray) else part.toarray() for part in parts])
    return stack  # type: ignore[no-any-return]


def slices(n_cells: int, n_genes: int, *, most: int = ROWS) -> Iterator[slice]:
    """Cells from first to last, at most so many at a time, fewer where dense rows of them are wide."""
    size = most if n_genes <= WIDE else min(most, max(1, DENSE // n_genes))
    for start in range(0, n_cells, size):
        yield slice(start, min(start + size, n_cells))


def gene_slices(n_cells: int, n_genes: int, *, most: int | None = None) -> Iterator[slice]:
    """Genes from first to last: all at once (or at most so many), fewer where there are many."""
    size = most or n_genes
    if n_genes > WIDE:
        size = min(size, max(1, DENSE // max(1, n_cells)))
    for start in range(0, n_genes, size):
        yield slice(start, min(start + size, n_genes))


def as_rows(values: Matrix | Rows) -> Rows:
    """The rows of a matrix, or those given."""
    return values if isinstance(values, Rows) else Held(values)


def is_large(adata: AnnData, layer: str | None, n_genes: int) -> bool:
    """Whether values lie outside memory, and those of so many genes would take much of what is available of it."""
    return takes_much(values_of(adata, layer), n_genes)


def takes_much(values: Values, n_genes: int) -> bool:
    """The same of values that were opened."""
    stored, n = values.stored, values.shape[0]
    if isinstance(stored, InMemory):
        return False
    room, share = SHARE * available() / BYTES, n / max(1, stored.shape[0])
    if min(stored.size * share, n * n_genes) <= room:
        return False
    return min(values.estimate() * share, n * n_genes) > room


def by_gene(adata: AnnData, layer: str | None) -> bool:
    """Whether values are stored gene by gene, so that some cells take as long to read as all."""
    return is_by_gene(values_of(adata, layer))


def is_by_gene(values: Values) -> bool:
    """The same of values that were opened."""
    plan = values.stored.plan
    return isinstance(plan, Runs) and plan.by_column


def read_matrix(adata: AnnData, setup: Setup, at: NDArray[np.intp], *, binary: bool) -> Matrix:
    """Stored values of the genes at these positions; where `binary`, 1 for every positive value."""
    return checked(as_matrix(adata, setup.layer or None, at), adata, setup, at, binary=binary)


def streamed(adata: AnnData, values: Values, setup: Setup, at: NDArray[np.intp], *, binary: bool) -> Streamed:
    """Rows of values that were opened, read when they are asked for."""

    def read(rows: NDArray[np.intp]) -> Matrix:
        found = matrix_of(values.take_rows(rows), at)
        return checked(found, adata, setup, at, binary=binary, rows=rows)

    return Streamed(values, read, len(at))


def checked(
    values_ng: Matrix,
    adata: AnnData,
    setup: Setup,
    at: NDArray[np.intp],
    *,
    binary: bool,
    rows: NDArray[np.intp] | None = None,
) -> Matrix:
    """The values, if they are of the kind that set-up found; `rows` are theirs in `adata` where they are not all."""
    refuse_values(
        values_ng, adata, at, layer=setup.layer or None, counts=setup.counts, positive=setup.normalize == "log1p",
        rows=rows,
    )  # fmt: skip
    if not binary:
        return values_ng
    if sparse.issparse(values_ng):
        values_ng.data = (values_ng.data > 0).astype(np.float32)
        return values_ng
    return (values_ng > 0).astype(np.float32)
