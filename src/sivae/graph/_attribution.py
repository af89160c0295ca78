"""From attributions per cell to loadings per gene, and how well two sets of loadings agree."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array: TypeAlias = NDArray[np.float64]
SAME = 1e-5
"""Spread over cells, relative to the size of the attributions, below which all cells agree."""


def attribution_loading(attribution_cg: NDArray[np.floating], *, center: bool = True) -> Array:
    """Loadings of genes on one axis from their attributions in cells: the first principal component, (g,).

    Parameters
    ----------
    attribution_cg
        Attribution of each gene in each cell, (c, g).
    center
        Take the mean over cells off first, as principal components do: what is left is how cells differ, times the
        square root of the explained variance. If all cells agree, the result is their common row. Without it, the
        first singular vector times the root mean square of its scores: for cells that nearly agree, nearly their
        common row, so that nothing jumps.

    Returns
    -------
    The component times the root of the variance that it explains; its sign is that of the mean over cells.

    Notes
    -----
    Centered: the rule of siVAE's published analyses (Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y, code).
    """
    rows_cg = np.asarray(attribution_cg, np.float64)
    mean_g: Array = rows_cg.mean(axis=0)
    centred_cg = rows_cg - mean_g
    spread, size = np.sqrt(np.mean(centred_cg**2)), np.sqrt(np.mean(rows_cg**2))
    if len(rows_cg) == 1 or spread <= SAME * size:
        return mean_g
    source_cg, divisor = (centred_cg, len(rows_cg) - 1) if center else (rows_cg, len(rows_cg))
    component_g: Array = _first_component(source_cg) / np.sqrt(divisor)
    return -component_g if component_g @ mean_g < 0 else component_g


def _first_component(rows_cg: Array) -> Array:
    """First right singular vector times its singular value, (g,)."""
    if len(rows_cg) > rows_cg.shape[1]:
        values, vectors_gg = np.linalg.eigh(rows_cg.T @ rows_cg)
        return np.asarray(vectors_gg[:, -1] * np.sqrt(max(values[-1], 0.0)))
    return np.asarray(rows_cg.T @ np.linalg.eigh(rows_cg @ rows_cg.T)[1][:, -1])


def axis_agreement(first_gk: NDArray[np.floating], second_gk: NDArray[np.floating]) -> Array:
    """Absolute rank correlation (Spearman) of two sets of loadings, axis by axis, (k,); NaN where one is constant."""
    ranks = [stats.rankdata(np.asarray(a, np.float64), axis=0) for a in (first_gk, second_gk)]
    first, second = (r - r.mean(axis=0) for r in ranks)
    size_k = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement: Array = np.where(size_k > 0, np.abs((first * second).sum(axis=0)) / size_k, np.nan)
    return agreement
