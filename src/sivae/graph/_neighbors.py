"""Nearest genes, exactly, in blocks of rows. Arrays only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
BLOCK_VALUES = 2**23
"""Distances held at a time: 64 MB."""
TIE = 1e-12
"""Distances closer than this are ties."""
DECIMALS = 12


def nearest(
    points_gm: Array, n_neighbors: int, *, order_g: Positions, inner: bool = True, signed: bool = False
) -> tuple[Positions, Array]:
    """The nearest other genes of each gene, nearest first, and their distances, (g, n) each.

    Parameters
    ----------
    points_gm
        One vector per gene; with `inner`, of length 1 at most.
    n_neighbors
        How many, at most g - 1.
    order_g
        The genes in order of their names: who comes first wins a tie, and permuting genes permutes the result.
    inner
        Distance 1 - |a . b|, in which only what is shared counts; or else the Euclidean distance |a - b|.
    signed
        With `inner`, distance 1 - a . b: vectors that point against each other are far apart.

    Notes
    -----
    Paper, C.6: similarity -|v_g - v_h| (doi 10.1186/s13059-023-02850-y).
    """
    sorted_gm = points_gm[order_g]
    g = len(sorted_gm)
    index_gn, distance_gn = np.empty((g, n_neighbors), np.intp), np.empty((g, n_neighbors))
    tolerance = TIE * (1.0 if inner else max(float((sorted_gm**2).sum(axis=1).max(initial=0.0)), 1e-300))
    for rows, distance_bg in distance_blocks(sorted_gm, inner=inner, signed=signed):
        distance_bg[np.arange(len(rows)), rows] = np.inf
        index_bn = smallest(distance_bg, n_neighbors, tolerance=tolerance)
        exact_bn = _exact(sorted_gm, rows, index_bn, inner=inner, signed=signed)
        best_bn = np.argsort(exact_bn, axis=1, kind="stable")
        index_gn[rows] = np.take_along_axis(index_bn, best_bn, axis=1)
        distance_gn[rows] = np.take_along_axis(exact_bn, best_bn, axis=1)
    result = np.empty_like(index_gn), np.empty_like(distance_gn)
    result[0][order_g], result[1][order_g] = order_g[index_gn], distance_gn
    return result


def knn_graph(factor_gm: Array, n_neighbors: int, *, signed: bool = False) -> sparse.csr_matrix:
    """The graph of `connectivity_matrix` for vectors compared by inner products, CSR (g, g); quicker than `nearest`.

    Ties are not settled by name: for graphs of resampled positions, which have none.

    Parameters
    ----------
    factor_gm
        As of `correlation_factors`.
    n_neighbors
        Nearest genes of each gene, itself not counted; at most all others.
    signed
        Opposite genes are far from each other.
    """
    g = len(factor_gm)
    n = min(n_neighbors, g - 1)
    if n < 1:
        return sparse.csr_matrix((g, g))
    index_gn, distance_gn = np.empty((g, n), np.intp), np.empty((g, n))
    for rows, distance_bg in distance_blocks(factor_gm, inner=True, signed=signed):
        distance_bg[np.arange(len(rows)), rows] = np.inf
        index_gn[rows] = np.argpartition(distance_bg, n - 1, axis=1)[:, :n]
        distance_gn[rows] = np.take_along_axis(distance_bg, index_gn[rows], axis=1)
    return connectivity_matrix(index_gn, distance_gn, inner=True)


def distance_blocks(points_gm: Array, *, inner: bool, signed: bool) -> Iterator[tuple[Positions, Array]]:
    """Rows, and their distances (squared if Euclidean) to every gene, (rows, g); never the whole matrix."""
    g = len(points_gm)
    square_g = (points_gm**2).sum(axis=1)
    step = max(1, BLOCK_VALUES // max(g, 1))
    for start in range(0, g, step):
        rows = np.arange(start, min(start + step, g))
        value_bg = points_gm[rows] @ points_gm.T
        if inner:
            if not signed:
                np.abs(value_bg, out=value_bg)
            np.subtract(1.0, value_bg, out=value_bg)
        else:
            value_bg *= -2.0
            value_bg += square_g
            value_bg += square_g[rows, None]
        yield rows, value_bg


def smallest(values_bg: Array, n: int, *, tolerance: float = 0.0) -> Positions:
    """Columns of the n smallest values of each row, ascending, the first ones among ties, (b, n)."""
    index_bn = np.argpartition(values_bg, n - 1, axis=1)[:, :n]
    cut_b = np.take_along_axis(values_bg, index_bn, axis=1).max(axis=1)
    tied_b = np.count_nonzero(values_bg <= (cut_b + tolerance)[:, None], axis=1) > n
    for row in np.flatnonzero(tied_b):
        below = np.flatnonzero(values_bg[row] < cut_b[row] - tolerance)
        level = np.flatnonzero(np.abs(values_bg[row] - cut_b[row]) <= tolerance)
        index_bn[row] = np.concatenate([below, level[: n - len(below)]])
    return np.sort(index_bn, axis=1)


def _exact(points_gm: Array, rows: Positions, index_bn: Positions, *, inner: bool, signed: bool) -> Array:
    """Distances of chosen pairs, free of the rounding of large products: equal vectors are at 0."""
    result = np.empty(index_bn.shape)
    for column in range(index_bn.shape[1]):
        own_bm, other_bm = points_gm[rows], points_gm[index_bn[:, column]]
        if inner:
            product_b = (own_bm * other_bm).sum(axis=1)
            result[:, column] = np.maximum(np.round(1 - (product_b if signed else np.abs(product_b)), DECIMALS), 0.0)
        else:
            result[:, column] = np.sqrt(((own_bm - other_bm) ** 2).sum(axis=1))
    return result


def distance_matrix(index_gn: Positions, distance_gn: Array) -> sparse.csr_matrix:
    """Distances to the neighbors, CSR (g, g), zeros stored."""
    g, n = index_gn.shape
    order = np.argsort(index_gn, axis=1)
    columns, values = (np.take_along_axis(array, order, axis=1).ravel() for array in (index_gn, distance_gn))
    return sparse.csr_matrix((values, columns, np.arange(0, g * n + 1, n)), shape=(g, g))


def connectivity_matrix(index_gn: Positions, distance_gn: Array, *, inner: bool) -> sparse.csr_matrix:
    """Symmetric weights 0 to 1 of the graph in which a gene is tied to its neighbors and to whose neighbor it is, CSR.

    With `inner` the weight is the similarity 1 - distance, 0 where it is negative. Otherwise it is
    exp(-d_gh^2 / (r_g r_h)), with r the distance to a gene's last neighbor (Zelnik-Manor and Perona 2004, Advances in
    Neural Information Processing Systems 17).
    """
    if inner:
        weight_gn = np.clip(1 - distance_gn, 0.0, 1.0)
    else:
        reach_g = distance_gn.max(axis=1)
        width_gn = np.maximum(reach_g[:, None] * reach_g[index_gn], 1e-300)
        weight_gn = np.exp(-np.minimum(distance_gn**2 / width_gn, 700.0))
    one_way = distance_matrix(index_gn, weight_gn)
    both = sparse.csr_matrix(one_way.maximum(one_way.T))
    both.eliminate_zeros()
    return both
