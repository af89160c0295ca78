"""Values of an AnnData as one CSR or dense float32 matrix, whatever it stores them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import SetupError
from sivae._values import Values, first, values_of

LARGEST: Final = float(np.finfo(np.float32).max)
Matrix: TypeAlias = NDArray[np.float32] | sparse.csr_matrix
"""Cells x genes, float32; CSR has sorted indices and no stored zeros."""


@dataclass(frozen=True)
class Survey:
    """What kind of numbers a matrix holds."""

    smallest: float
    """The smallest value that is stored; zeros that a sparse matrix does not store are left out."""
    largest: float
    """The largest, likewise."""
    whole: bool

    @property
    def counts(self) -> bool:
        """The values are whole numbers, not negative."""
        return self.whole and self.smallest >= 0


def survey(adata: AnnData, layer: str | None) -> Survey:
    """Look once at every stored value of X or a layer.

    Raises
    ------
    SetupError
        If a value is not finite, or beyond what 32 bits hold; names cell and gene.
    """
    smallest, largest, whole = np.inf, -np.inf, True
    values = values_of(adata, layer)
    for _, _, block in values.pieces():
        found: Any = block if isinstance(block, np.ndarray) else block.data
        if found.dtype.kind == "f" and not (np.abs(found) <= LARGEST).all():
            raise SetupError(
                f"{first(adata, values, lambda part: ~(np.abs(part) <= LARGEST))}; expected finite numbers"
                f"{' of at most 3.4e38' if np.isfinite(found).all() else ''}. Mend or drop it first."
            )
        smallest = min(smallest, float(found.min()) if found.size else np.inf)
        largest = max(largest, float(found.max()) if found.size else -np.inf)
        whole = whole and (found.dtype.kind != "f" or bool((found == np.rint(found)).all()))
    return Survey(smallest, largest, whole)


def as_matrix(adata: AnnData, layer: str | None, genes: NDArray[np.intp]) -> Matrix:
    """Chosen columns of every cell; see `matrix_of`."""
    return matrix_of(values_of(adata, layer), genes)


def matrix_of(values: Values, genes: NDArray[np.intp]) -> Matrix:
    """Chosen columns, in the order asked, as float32: CSR if stored sparse, else dense.

    Stored values are read tile by tile: beside the result, one tile is in memory.

    Parameters
    ----------
    genes
        Positions among the columns; -1 gives a column of zeros (a gene that the data lack).
    """
    place = np.flatnonzero(genes >= 0)
    shape = values.shape[0], len(genes)
    parts: list[_Part] = []
    dense_ng: NDArray[np.float32] | None = None
    for rows, columns, block in values.take(genes[place]).pieces():
        if dense_ng is None and not isinstance(block, np.ndarray):
            parts.append(_part(rows, place[columns], block))
            continue
        if dense_ng is None:  # chunks of a Dask array can be of both kinds
            dense_ng = _join(parts, shape).toarray() if parts else np.zeros(shape, np.float32)
        with np.errstate(over="ignore"):
            dense_ng[np.ix_(rows, place[columns])] = block if isinstance(block, np.ndarray) else block.toarray()
    return _join(parts, shape) if dense_ng is None else dense_ng


def strips(adata: AnnData, layer: str | None, genes: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Matrix]]:
    """Rows with the chosen columns, as `as_matrix` would hold them, in the order in which they are stored.

    Each row comes once, with all of its columns: what is stored gene by gene comes as a single strip.
    """
    seen: tuple[NDArray[np.intp], list[tuple[NDArray[np.intp], Any]]] | None = None
    for rows, columns, block in values_of(adata, layer).take(genes).pieces():
        if seen is not None and np.array_equal(seen[0], rows):
            seen[1].append((columns, block))
            continue
        if seen is not None:
            yield _strip(*seen, len(genes))
        seen = rows, [(columns, block)]
    if seen is not None:
        yield _strip(*seen, len(genes))


def _strip(
    rows: NDArray[np.intp], found: list[tuple[NDArray[np.intp], Any]], n_genes: int
) -> tuple[NDArray[np.intp], Matrix]:
    if all(isinstance(block, np.ndarray) for _, block in found):
        dense = np.zeros((len(rows), n_genes), np.float32)
        for columns, block in found:
            with np.errstate(over="ignore"):  # what is beyond 32 bits is refused as infinite
                dense[:, columns] = block
        return rows, dense
    parts = [_part(np.arange(len(rows)), columns, block) for columns, block in found]
    return rows, _join(parts, (len(rows), n_genes))


@dataclass(frozen=True)
class _Part:
    """Some values of a CSR matrix that is to be made."""

    rows: NDArray[np.intp]
    lengths: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]


def _part(rows: NDArray[np.intp], columns: NDArray[np.intp], block: Any) -> _Part:
    with np.errstate(over="ignore"):  # what is beyond 32 bits is refused as infinite
        csr = sparse.csr_matrix(block, dtype=np.float32, copy=True)  # a slice of the user's matrix shares its memory
    csr.sum_duplicates()
    csr.eliminate_zeros()
    return _Part(rows, np.diff(csr.indptr).astype(np.int64), columns[csr.indices].astype(np.int32), csr.data)


def _join(parts: list[_Part], shape: tuple[int, int]) -> sparse.csr_matrix:
    """The CSR matrix of the parts, each of which is dropped when it has been copied."""
    free = np.zeros(shape[0] + 1, np.int64)
    for part in parts:
        free[part.rows + 1] += part.lengths
    indptr = np.cumsum(free)
    free = indptr[:-1].copy()
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    for part in _emptying(parts):
        before = np.cumsum(part.lengths) - part.lengths
        at = np.repeat(free[part.rows] - before, part.lengths) + np.arange(len(part.data))
        indices[at], data[at] = part.indices, part.data
        free[part.rows] += part.lengths
    csr = sparse.csr_matrix((data, indices, indptr), shape=shape)
    csr.sort_indices()
    return csr


def _emptying(parts: list[_Part]) -> Iterator[_Part]:
    parts.reverse()
    while parts:
        yield parts.pop()
