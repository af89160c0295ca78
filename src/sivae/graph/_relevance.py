"""Partial derivatives of expression along an embedding, from nearest neighbors (Gene Relevance)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.intp]
ENTRIES = 2**22
"""Difference quotients held at a time."""


def nearest_cells(y_nk: NDArray[np.floating], rows_c: Positions, n_neighbors: int) -> Positions:
    """Exactly `n_neighbors` nearest others of some rows of an embedding, never the row itself, (c, n_neighbors)."""
    found_cj = np.asarray(cKDTree(y_nk).query(y_nk[rows_c], k=n_neighbors + 1)[1], np.intp)
    other_cj = found_cj != rows_c[:, None]
    other_cj[other_cj.all(axis=1), -1] = False  # so many at the same place that the row itself is not among them
    return np.asarray(found_cj[other_cj].reshape(len(rows_c), n_neighbors), np.intp)


def partial_derivatives(
    e_ng: NDArray[np.floating],
    y_nk: NDArray[np.floating],
    rows_c: Positions,
    neighbors_cj: Positions,
    *,
    axis: int,
    estimator: Literal["median", "least_squares"] = "median",
) -> Array:
    """Change of each gene per unit of one axis, at some cells, (c, g).

    Parameters
    ----------
    e_ng
        Expression, cells x genes.
    y_nk
        Embedding, cells x axes.
    rows_c
        Cells at which to differentiate.
    neighbors_cj
        Rows of their neighbors.
    axis
        Axis of the embedding, counted from 0.
    estimator
        "median": median over neighbors j of (e_jg - e_cg) / (y_ja - y_ca), neighbors with no difference in either left
        out; 0 with fewer than two (Angerer et al. 2020, doi 10.1093/bioinformatics/btaa198). "least_squares": slope of
        e on all axes at once over the neighbors, exact where expression is linear in the embedding.
    """
    if estimator == "least_squares":
        step_cjk = y_nk[neighbors_cj].astype(np.float64) - y_nk[rows_c][:, None, :]
        weight_cj = np.linalg.pinv(step_cjk)[:, axis]
        result = -weight_cj.sum(axis=1)[:, None] * e_ng[rows_c]
        for j in range(neighbors_cj.shape[1]):
            result += weight_cj[:, j, None] * e_ng[neighbors_cj[:, j]]
        return np.asarray(result, np.float64)
    step_cj = y_nk[neighbors_cj, axis].astype(np.float64) - y_nk[rows_c, axis][:, None]
    step_cj[step_cj == 0] = np.nan
    result = np.empty((len(rows_c), e_ng.shape[1]))
    size = max(1, ENTRIES // neighbors_cj.size)
    for start in range(0, e_ng.shape[1], size):
        genes = slice(start, start + size)
        result[:, genes] = _median_quotient(e_ng[:, genes], step_cj, rows_c, neighbors_cj)
    return result


def _median_quotient(e_nf: NDArray[np.floating], step_cj: Array, rows_c: Positions, neighbors_cj: Positions) -> Array:
    change_cjf = e_nf[neighbors_cj].astype(np.float64) - e_nf[rows_c][:, None, :]
    change_cjf[change_cjf == 0] = np.nan
    change_cjf /= step_cj[:, :, None]
    change_cjf.sort(axis=1)  # not a number comes last
    known_cf = np.isfinite(change_cjf).sum(axis=1)
    middle = [
        np.take_along_axis(change_cjf, at[:, None], axis=1)[:, 0]
        for at in (np.maximum(known_cf - 1, 0) // 2, known_cf // 2 % change_cjf.shape[1])
    ]
    return np.where(known_cf >= 2, (middle[0] + middle[1]) / 2, 0.0)
