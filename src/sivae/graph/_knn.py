"""Graphs of genes made again from resampled positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from sivae.graph._implied import correlation_factors, signal_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BLOCK_VALUES: Final = 2**22
"""Correlations held at a time: 32 MB."""


def correlation_vectors(loadings_gm: Array, covariance_mm: Array, noise_g: Array) -> Array:
    """Vectors whose inner products are the correlations of genes that the decoder implies, (genes, m).

    `loadings_gm` is [v, w], or v alone, `covariance_mm` that of (z, h); see `correlation_factors`.
    """
    return correlation_factors(signal_factors(loadings_gm, None, covariance_mm), noise_g)


def knn_graph(vectors_gm: Array, n_neighbors: int, *, signed: bool = False) -> sparse.csr_matrix:
    """Symmetric graph: a gene is tied to its nearest genes and to those whose nearest it is, CSR (genes, genes).

    The weight is the implied correlation's size (`signed`: the correlation where it is positive, else nothing).

    Parameters
    ----------
    vectors_gm
        As from `correlation_vectors`.
    n_neighbors
        Nearest genes of each gene, itself not counted; at most all others.
    signed
        Opposite genes are far from each other.
    """
    g = len(vectors_gm)
    n = min(n_neighbors, g - 1)
    if n < 1:
        return sparse.csr_matrix((g, g))
    index_gn, weight_gn = np.empty((g, n), np.int64), np.empty((g, n))
    step = max(1, BLOCK_VALUES // g)
    for start in range(0, g, step):
        rows = np.arange(start, min(start + step, g))
        product_bg = vectors_gm[rows] @ vectors_gm.T
        product_bg = product_bg if signed else np.abs(product_bg)
        product_bg[np.arange(len(rows)), rows] = -np.inf
        index_gn[rows] = np.argpartition(product_bg, g - n, axis=1)[:, g - n :]
        weight_gn[rows] = np.take_along_axis(product_bg, index_gn[rows], axis=1)
    pointers = np.arange(0, g * n + 1, n)
    one_way = sparse.csr_matrix((np.clip(weight_gn, 0.0, 1.0).ravel(), index_gn.ravel(), pointers), shape=(g, g))
    both = sparse.csr_matrix(one_way.maximum(one_way.T))
    both.eliminate_zeros()
    both.sort_indices()
    return both
