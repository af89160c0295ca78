"""What is known of pairs of genes: their covariance, their correlation, and evidence that they go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Positions = NDArray[np.intp]

BLOCK: Final = 2**15
"""Pairs handled at a time."""
SMALLEST: Final = 1e-300
"""p-values end here."""


def edge_pvalues(
    v_gk: Array, variance_gk: Array, covariance_kk: Array, *, rows: Positions, columns: Positions
) -> Array:
    """Two-sided p-values that the linear parts of two genes are uncorrelated.

    The covariance that the loadings imply is s = v_g' C v_h. With loading errors of variances V_g and V_h (diagonal,
    independent between genes) its variance is, to second order (delta method),

        var(s) = v_g' C V_h C v_g + v_h' C V_g C v_h + tr(C V_g C V_h),

    and s / sd(s) is compared with a standard normal. It is uniform where two genes with loadings are orthogonal, and
    conservative where one or both lie at the origin: there estimated loadings make the variance larger than it is.
    Only the sampling of cells is in it, not what another training would have found.

    Parameters
    ----------
    v_gk
        Loadings, (genes, axes).
    variance_gk
        Their variances over samples of cells, (genes, axes).
    covariance_kk
        Covariance C of the cells' positions, (axes, axes).
    rows, columns
        Positions of the two genes of each pair, (pairs,).

    Returns
    -------
    p-values, (pairs,); 1 where either gene lies exactly at the origin, NaN where a variance is not known.
    """
    p_e = np.empty(len(rows))
    projected_gk = v_gk @ covariance_kk
    squared_kk = covariance_kk**2
    for pairs in _blocks(len(rows)):
        g, h = rows[pairs], columns[pairs]
        product = (projected_gk[g] * v_gk[h]).sum(axis=1)
        variance = (projected_gk[g] ** 2 * variance_gk[h]).sum(axis=1)
        variance += (projected_gk[h] ** 2 * variance_gk[g]).sum(axis=1)
        variance += ((variance_gk[g] @ squared_kk) * variance_gk[h]).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(product) / np.sqrt(variance)
        p_e[pairs] = 2 * norm.sf(np.where((product == 0) & (variance >= 0), 0.0, size))
    return np.maximum(p_e, SMALLEST)


def pair_correlations(factor_gm: Array, *, rows: Positions, columns: Positions) -> Array:
    """Correlation of two genes that the decoder implies, for given pairs, (pairs,).

    Parameters
    ----------
    factor_gm
        As of `correlation_factors`.
    rows, columns
        Positions of the two genes of each pair, (pairs,).
    """
    result_e = np.empty(len(rows))
    for pairs in _blocks(len(rows)):
        result_e[pairs] = (factor_gm[rows[pairs]] * factor_gm[columns[pairs]]).sum(axis=1)
    return np.clip(result_e, -1.0, 1.0)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))
