"""The correlation of genes that a trained decoder implies, in closed form. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAST = 1e-12
"""Directions with less variance than this share of the largest are left out."""


def signal_factors(v_gk: Array, w_gd: Array | None, covariance: Array) -> Array:
    """Vectors whose inner products are the covariance of the genes' predictions, (g, m).

    On the standardised scale the decoder says eta_g = z . v_g + h . w_g. With L = [v, w] and Cov the covariance of
    (z, h) over cells, the predictions have covariance S = L Cov L' = A A' with A = L Cov^(1/2).

    Parameters
    ----------
    v_gk
        Loadings.
    w_gd
        Joint layer of the genes; None for the linear part alone.
    covariance
        Covariance of (z, h), (k + d, k + d), or of z, (k, k), where there is no `w_gd`.
    """
    layer_gl = v_gk if w_gd is None else np.concatenate([v_gk, w_gd], axis=1)
    value_m, vector_lm = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = value_m > LEAST * max(float(value_m.max()), LEAST)
    return np.asarray(layer_gl @ (vector_lm[:, kept] * np.sqrt(value_m[kept])), np.float64)


def correlation_factors(signal_gm: Array, noise_g: Array) -> Array:
    """Vectors whose inner products are the implied correlations C_gh of two different genes, (g, m).

    Observed values add noise that genes do not share::

        C_gh = S_gh / sqrt(t_g t_h),    t_g = max(S_gg + noise_g, 1)

    so that a gene at the origin is correlated with nothing, however well two directions agree. 1 is the variance of a
    standardised value; signal and noise add up to less where values were clipped (rare genes), and what clipping took
    away counts as noise. The squared length of a vector is the share of the gene's variance that is signal.
    """
    total_g = np.maximum((signal_gm**2).sum(axis=1) + noise_g, 1.0)
    return np.asarray(signal_gm / np.sqrt(total_g)[:, None], np.float64)


def scaled_factors(points_gm: Array) -> Array:
    """Vectors over the length of the longest, (g, m): correlations if all genes varied as its signal does.

    For embeddings of which neither noise nor the covariance of the cells is known, such as loadings of principal
    components (times the standard deviation of the component).
    """
    longest = float(np.sqrt((points_gm**2).sum(axis=1).max(initial=0.0)))
    return np.asarray(points_gm / (longest if longest > 0 else 1.0), np.float64)


def unit_factors(points_gm: Array) -> Array:
    """Vectors of length 1, (g, m); a vector of length 0 stays 0, similar to nothing."""
    length_g = np.sqrt((points_gm**2).sum(axis=1))
    return np.asarray(points_gm / np.where(length_g > LEAST, length_g, np.inf)[:, None], np.float64)
