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


def noise_variance(signal_gm: Array, noise_g: Array | None) -> Array:
    """What a gene's values have beside its signal, on the standardised scale, (g,).

    The model's noise, or 1 - S_gg where that is more: 1 is the variance of a standardised value, and what clipping took
    away from it (rare genes) counts as noise. Where no noise is known, every gene is taken to vary as much as the one
    with the most signal: loadings of principal components, times the standard deviation of the component, are such.
    """
    signal_g = (signal_gm**2).sum(axis=1)
    if noise_g is None:
        return np.asarray(signal_g.max(initial=0.0) - signal_g, np.float64)
    return np.asarray(np.maximum(noise_g, 1.0 - signal_g), np.float64)


def correlation_factors(signal_gm: Array, noise_g: Array, *, alike: float = 1.0) -> Array:
    """Vectors whose inner products are the implied correlations C_gh of two different genes, (g, m).

    Observed values add noise that genes do not share::

        C_gh = S_gh / sqrt((S_gg + noise_g / m)(S_hh + noise_h / m))

    so that a gene at the origin is correlated with nothing, however well two directions agree. With m = 1 it is the
    correlation of two genes, with more that of the averages of m genes alike each of them, whose noise cancels out
    in part (Spearman 1910, British Journal of Psychology 3:271; Brown 1910, 3:296); as m grows, that of their
    predictions. The squared length of a vector is the share of that average's variance that is signal.

    Parameters
    ----------
    signal_gm
        As of `signal_factors`.
    noise_g
        As of `noise_variance`.
    alike
        The m of the equation.
    """
    total_g = (signal_gm**2).sum(axis=1) + noise_g / alike
    return np.asarray(signal_gm / np.sqrt(np.where(total_g > 0, total_g, 1.0))[:, None], np.float64)


def unit_factors(points_gm: Array) -> Array:
    """Vectors of length 1, (g, m); a vector of length 0 stays 0, similar to nothing."""
    length_g = np.sqrt((points_gm**2).sum(axis=1))
    return np.asarray(points_gm / np.where(length_g > LEAST, length_g, np.inf)[:, None], np.float64)
