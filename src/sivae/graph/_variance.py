"""How much of each gene's variance the model explains, in closed form from loadings and joint covariance. Arrays only.

With the covariance S of (z, h) over the training cells, on the scale of the loadings,

    linear_g    = v_g' S_zz v_g                                   what lies in the cells' positions
    remainder_g = w_g' S_hh w_g + 2 v_g' S_zh w_g                 what a straight line misses (S_zh is 0 after training)
    total_g     = linear_g + remainder_g + noise_g

Shares of several genes are ratios of sums, as in Choi, Li, Quon 2023 (doi 10.1186/s13059-023-02850-y): the share of
the total variance, not the mean of shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Explained:
    """Variance of every gene by what explains it, on the scale of the loadings."""

    axis_gk: Array
    """Of each axis; what two axes share is split in halves, so that the axes add up to `linear_g`."""
    alone_gk: Array
    """What a prediction from the axis alone takes off."""
    linear_g: Array
    remainder_g: Array
    noise_g: Array

    @property
    def total_g(self) -> Array:
        """Signal and noise."""
        return self.linear_g + self.remainder_g + self.noise_g

    def take(self, genes: NDArray[np.bool_]) -> Explained:
        """Some of the genes."""
        return Explained(*(getattr(self, name)[genes] for name in self.__dataclass_fields__))


def explained(v_gk: Array, w_gd: Array | None, covariance: Array, noise_g: Array) -> Explained:
    """Variance by what explains it; without a joint layer (w None) nothing remains beside the linear part.

    Axis k has v_gk (S_zz v_g)_k = v_gk^2 S_kk + sum_l v_gk S_kl v_gl: its own variance and half of 2 v_k S_kl v_l, the
    part that it shares with each other axis (which may be negative). Alone, predicting x from z_k v_gk, it takes off
    2 v_gk (S_zz v_g)_k - v_gk^2 S_kk.
    """
    k = v_gk.shape[1]
    s_kk = covariance[:k, :k]
    axis_gk = v_gk * (v_gk @ s_kk)
    remainder_g = np.zeros(len(v_gk))
    if w_gd is not None and covariance.shape[0] > k:
        remainder_g = _quadratic(w_gd, covariance[k:, k:]) + 2 * np.einsum(
            "gk,kd,gd->g", v_gk, covariance[:k, k:], w_gd, optimize=True
        )
    return Explained(axis_gk, 2 * axis_gk - v_gk**2 * np.diag(s_kk), axis_gk.sum(axis=1), remainder_g, noise_g)


def _quadratic(w_gd: Array, s_dd: Array) -> Array:
    return np.asarray(((w_gd @ s_dd) * w_gd).sum(axis=1))
