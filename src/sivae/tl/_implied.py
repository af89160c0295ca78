"""What several tools need of a gene space: vectors whose inner products are correlations, and who is at the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae.graph._implied import noise_variance, signal_factors
from sivae.graph._knn import correlation_vectors
from sivae.stats._enrichment import origin_pvalues
from sivae.stats._fdr import adjust

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sivae._space import GeneSpace

    Array = NDArray[np.float64]


def decoder_arrays(space: GeneSpace) -> tuple[Array, Array, Array]:
    """Loadings [v, w], covariance of (z, h) and noise, for `correlation_vectors`; what is not known is left out.

    Without the covariance of (z, h) it is v alone with the identity; without noise there is none, so that correlations
    become cosines. Noise that is not known for a gene is 1, all of its standardised variance.
    """
    k = space.v_gk.shape[1]
    loadings_gm, covariance = space.v_gk, space.covariance_kk
    if space.w_gd is not None and space.covariance is not None and len(space.covariance) == k + space.w_gd.shape[1]:
        loadings_gm = np.concatenate([space.v_gk, np.nan_to_num(space.w_gd)], axis=1)
        covariance = space.covariance
    if space.noise_g is None:
        return loadings_gm, covariance, np.zeros(len(space.names))
    signal_gm = signal_factors(loadings_gm, None, covariance)
    return loadings_gm, covariance, noise_variance(signal_gm, np.nan_to_num(space.noise_g, nan=1.0))


def vectors(space: GeneSpace) -> Array:
    """Vectors of the genes whose inner products are their implied correlations, (genes, m)."""
    return correlation_vectors(*decoder_arrays(space))


def connected(space: GeneSpace, fdr: float) -> NDArray[np.bool_]:
    """Genes that follow anything, (genes,): evidence at the false discovery rate `fdr` (Benjamini-Hochberg).

    The evidence is `var["sivae_connected_pvalue"]`, from held-out cells. For a gene that has none it is weaker: its
    loadings against their variances. Where neither is known, a gene is connected unless it lies exactly at the origin.
    """
    p_g = np.full(len(space.names), np.nan) if space.pvalue_g is None else space.pvalue_g.copy()
    unknown = ~np.isfinite(p_g)
    if unknown.any() and space.variance_gk is not None:
        variance_k = np.diag(space.covariance_kk)
        p_g[unknown] = origin_pvalues(space.v_gk[unknown], space.variance_gk[unknown], variance_k)
        unknown = ~np.isfinite(p_g)
    result: NDArray[np.bool_] = (space.v_gk**2).sum(axis=1) > 0
    result[~unknown] = adjust(p_g)[~unknown] <= fdr
    return result


def by_name(space: GeneSpace) -> GeneSpace:
    """The same genes in the order of their names, so that results do not depend on theirs in the AnnData."""
    order = np.argsort(np.asarray(space.names, dtype=str), kind="stable")
    return space.take(order)
