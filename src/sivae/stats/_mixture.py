"""Density of a mixture of Gaussians, one for each item. Arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import logsumexp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BLOCK: Final = 2**22
"""Pairs of items of one block: bounds the memory."""


def mixture_log_density(mean_nk: Array, variance_nk: Array) -> tuple[Array, Array]:
    """Log density at each item's mean of the mixture of all items, and of that of all others, (n,) each.

    With a Gaussian of diagonal covariance for each of the n items, all of one weight,

        p(x) = 1/n sum_j prod_k N(x_k | m_jk, s_jk^2);        of the others 1/(n - 1) sum over j other than i.

    Parameters
    ----------
    mean_nk
        Means.
    variance_nk
        Variances, above 0.
    """
    n, k = mean_nk.shape
    mean_nk = mean_nk - mean_nk.mean(axis=0)
    precision_nk = 1.0 / variance_nk
    constant_n = -0.5 * (np.log(variance_nk).sum(axis=1) + k * np.log(2 * np.pi))
    constant_n = constant_n - 0.5 * (mean_nk**2 * precision_nk).sum(axis=1)
    whole_n, others_n = np.empty(n), np.full(n, -np.inf)
    for start in range(0, n, max(1, BLOCK // n)):
        rows = np.arange(start, min(start + max(1, BLOCK // n), n))
        x_mk = mean_nk[rows]
        log_mn = constant_n + x_mk @ (mean_nk * precision_nk).T - 0.5 * (x_mk**2) @ precision_nk.T
        whole_n[rows] = logsumexp(log_mn, axis=1) - np.log(n)
        if n > 1:
            log_mn[np.arange(len(rows)), rows] = -np.inf
            others_n[rows] = logsumexp(log_mn, axis=1) - np.log(n - 1)
    return whole_n, others_n
