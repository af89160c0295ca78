"""Does a quantity differ between individuals that have something and those that lack it? Arrays only.

Axis letters: `s` individuals, `e` things had or lacked (edges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import rankdata

from sivae.stats._enrichment import rank_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    Array = NDArray[np.float64]

EXACT: Final = 100
"""Most individuals for which the distribution of rank sums is counted; more are approximated."""


def presence_tests(x_s: NDArray[np.floating], present_es: sparse.csr_matrix) -> tuple[Array, Array]:
    """Chance that an individual having e has the larger x than one lacking it, and two-sided p-values, (e,) each.

    Mann-Whitney's U: chance = U / (n m), ties counted half, 0.5 is no difference. Up to 100 individuals p is exact,
    ties included: the share of the choices of n of the individuals with a rank sum at least as far from its mean.
    Beyond, the normal approximation with corrections for ties and continuity.

    Parameters
    ----------
    x_s
        Finite values, (s,).
    present_es
        CSR of 0 and 1. What all have or none has gets NaN for both.
    """
    n_s, n_e = len(x_s), np.asarray(present_es.sum(axis=1)).ravel()
    chance_e, p_e = rank_sums(x_s, present_es)
    if n_s <= EXACT:
        # Midranks are halves: doubled they count in whole numbers.
        rank_s = np.round(2 * rankdata(x_s)).astype(np.int64)
        sum_e = np.round(np.asarray(present_es @ rank_s.astype(np.float64)).ravel()).astype(np.int64)
        p_e = _exact(rank_s, sum_e, n_e.astype(np.int64))
    one_sort = (n_e == 0) | (n_e == n_s)
    return np.where(one_sort, np.nan, chance_e), np.where(one_sort, np.nan, p_e)


def _exact(rank_s: NDArray[np.int64], sum_e: NDArray[np.int64], n_e: NDArray[np.int64]) -> Array:
    """Share of the choices of n_e ranks whose sum is at least as far from its mean as sum_e, (e,)."""
    ways_nw = subset_sums(rank_s, int(n_e.max(initial=0)))
    p_e = np.ones(len(sum_e))
    total, n_s = int(rank_s.sum()), len(rank_s)
    distance_e = np.abs(n_s * sum_e - n_e * total)  # whole numbers: n_s times the distance from the mean
    for n in np.unique(n_e):
        here = n_e == n
        distance_w = np.abs(n_s * np.arange(ways_nw.shape[1]) - n * total)
        order = np.argsort(-distance_w, kind="stable")
        share_w = np.cumsum(ways_nw[n][order]) / ways_nw[n].sum()
        reached = np.searchsorted(-distance_w[order], -distance_e[here], side="right")
        p_e[here] = share_w[reached - 1]
    return np.clip(p_e, 0.0, 1.0)


def subset_sums(rank_s: NDArray[np.int64], most: int) -> Array:
    """Number of ways to choose n of some whole numbers with the sum w, (most + 1, sum + 1)."""
    ways_nw = np.zeros((most + 1, int(rank_s.sum()) + 1))
    ways_nw[0, 0] = 1.0
    for rank in rank_s:
        ways_nw[1:, rank:] += ways_nw[:-1, : ways_nw.shape[1] - rank].copy()
    return ways_nw
