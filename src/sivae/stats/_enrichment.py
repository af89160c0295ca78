"""Are the genes of a set chosen, or ranked, unlike other genes? Arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2, hypergeom, norm, rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    Array = NDArray[np.float64]


def over_representation(
    overlap_s: NDArray[np.integer], size_s: NDArray[np.integer], *, n_chosen: int, n_background: int
) -> tuple[Array, Array]:
    """Odds ratios and one-sided p-values of drawing at least so many genes of a set without replacement, (sets,) each.

    The p-value is that of Fisher's exact test (alternative "greater"): P(X >= overlap), X hypergeometric. The odds
    ratio is that of the 2 x 2 table, inf where every chosen gene or every gene of the set is in the overlap.

    Parameters
    ----------
    overlap_s
        Chosen genes in each set.
    size_s
        Genes of each set in the background.
    n_chosen, n_background
        Genes chosen, and genes that could have been.
    """
    overlap_s, size_s = np.asarray(overlap_s, np.int64), np.asarray(size_s, np.int64)
    p_s = hypergeom.sf(overlap_s - 1, n_background, size_s, n_chosen)
    others_s = (n_chosen - overlap_s) * (size_s - overlap_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds_s = overlap_s * (n_background - n_chosen - size_s + overlap_s) / others_s
    return odds_s, np.clip(np.asarray(p_s, np.float64), 0.0, 1.0)


def rank_sums(value_g: NDArray[np.floating], member_sg: sparse.csr_matrix) -> tuple[Array, Array]:
    """Chance that a gene of the set has a larger value than one outside, and two-sided p-values, (sets,) each.

    Mann-Whitney's U by the normal approximation, with the corrections for ties and for continuity. The chance is
    U / (n m), ties counted half; 0.5 is no effect. Genes count as independent draws, as in every test that permutes
    genes.

    Parameters
    ----------
    value_g
        One finite value per gene.
    member_sg
        1 for each gene of each set, (sets, genes).
    """
    g = len(value_g)
    rank_g = rankdata(value_g)
    _, tie = np.unique(value_g, return_counts=True)
    n_s = np.asarray(member_sg.sum(axis=1), np.float64).ravel()
    m_s = g - n_s
    u_s = np.asarray(member_sg @ rank_g, np.float64).ravel() - n_s * (n_s + 1) / 2
    spread = (g + 1) - (tie.astype(np.float64) ** 3 - tie).sum() / max(g * (g - 1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z_s = (np.abs(u_s - n_s * m_s / 2) - 0.5) / np.sqrt(n_s * m_s * spread / 12)
        chance_s = u_s / (n_s * m_s)
    p_s = np.where(np.isfinite(z_s), 2 * norm.sf(z_s), 1.0)
    return chance_s, np.clip(p_s, 0.0, 1.0)


def origin_pvalues(v_gk: Array, variance_gk: Array, variance_k: Array) -> Array:
    """p-values that a gene lies at the origin, from its loadings and their variances alone, (genes,).

    sum_k v_gk^2 / variance_gk against chi-squared, over the axes along which cells vary. A weaker witness than a
    prediction on held-out cells: it trusts the variances, and the genes themselves made the axes.

    Parameters
    ----------
    v_gk, variance_gk
        Loadings and their variances.
    variance_k
        Variance of the cells' positions along each axis; axes with next to none are left out.
    """
    used = variance_k > 1e-9 * max(float(variance_k.max(initial=0.0)), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_gk = np.where(v_gk == 0, 0.0, v_gk**2 / variance_gk)[:, used]
    return np.asarray(chi2.sf(ratio_gk.sum(axis=1), max(int(used.sum()), 1)), np.float64)
