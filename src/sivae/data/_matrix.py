"""Values of an AnnData as one CSR or dense float32 matrix, whatever it stores them in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import SetupError

Matrix: TypeAlias = NDArray[np.float32] | sparse.csr_matrix
"""Cells x genes, float32; CSR has sorted indices and no stored zeros."""
SAMPLE = 2_000_000
"""Values looked at to tell whether a matrix holds whole numbers."""


def read_values(adata: AnnData, layer: str | None) -> NDArray[np.generic]:
    """The stored values of X or a layer as a flat array (the non-zeros of a sparse matrix), checked to be finite."""
    raw = raw_matrix(adata, layer)
    stored: Any = raw
    values = np.asarray(stored.data if sparse.issparse(raw) else raw).ravel()
    if values.dtype.kind not in "biuf":
        raise SetupError(f"{_where(layer)} holds values of type {values.dtype}; expected numbers.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise SetupError(f"{_where(layer)} {_first_not_finite(adata, raw)}. Mend or drop it first.")
    return values


def whole_numbers(values: NDArray[np.generic]) -> bool:
    """Whether values are counts: whole and not negative (a regular sample of them where there are many)."""
    step = max(1, values.size // SAMPLE)
    sample = values[::step].astype(np.float64)
    return bool((sample >= 0).all() and (sample == np.round(sample)).all())


def raw_matrix(adata: AnnData, layer: str | None) -> Any:
    """X or the layer as stored."""
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise SetupError(f"The AnnData is empty: {adata.n_obs} cells x {adata.n_vars} genes.")
    if layer and layer not in adata.layers:
        raise SetupError(f"There is no layer {layer!r}; there are: {', '.join(adata.layers) or 'none'}.")
    matrix = adata.layers[layer] if layer else adata.X
    if matrix is None:
        raise SetupError("adata.X is empty (None). Name the layer that holds the counts: layer='counts'.")
    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
        raise SetupError(
            f"{_where(layer)} is stored as {type(matrix).__name__}; expected a NumPy array or a SciPy sparse matrix. "
            "If the AnnData is backed, call adata = adata.to_memory() first."
        )
    return matrix


def as_matrix(adata: AnnData, layer: str | None, genes: NDArray[np.intp]) -> Matrix:
    """Chosen columns, in the order asked, as float32: CSR if stored sparse, else dense.

    Parameters
    ----------
    genes
        Positions among `adata.var_names`; -1 gives a column of zeros (a gene that the data lack).
    """
    raw = raw_matrix(adata, layer)
    present = genes >= 0
    if sparse.issparse(raw):
        stored: Any = raw
        taken: Any = sparse.csr_matrix(stored, dtype=np.float32)[:, np.where(present, genes, 0)]
        if not present.all():
            taken = taken @ sparse.diags(present.astype(np.float32))
        csr = sparse.csr_matrix(taken, dtype=np.float32)
        csr.sum_duplicates()
        csr.eliminate_zeros()
        csr.sort_indices()
        return csr
    dense = np.asarray(raw)[:, np.where(present, genes, 0)].astype(np.float32)
    dense[:, ~present] = 0.0
    return dense


def _where(layer: str | None) -> str:
    return f"layers[{layer!r}]" if layer else "X"


def _first_not_finite(adata: AnnData, raw: Any) -> str:
    stored = raw
    if sparse.issparse(raw):
        coo = stored.tocoo()
        at = int(np.flatnonzero(~np.isfinite(coo.data))[0])
        cell, gene, value = coo.row[at], coo.col[at], coo.data[at]
    else:
        cell, gene = np.argwhere(~np.isfinite(np.asarray(raw)))[0]
        value = np.asarray(raw)[cell, gene]
    return f"holds {value} (cell {adata.obs_names[cell]!r}, gene {adata.var_names[gene]!r}); expected finite numbers"
