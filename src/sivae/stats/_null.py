"""Permutation null of a correlation, within strata. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearson3

Array = NDArray[np.float64]


def permutation_pvalues(
    observed_ng: NDArray[np.floating],
    predicted_ng: NDArray[np.floating],
    strata_n: NDArray[np.intp],
    *,
    n_draws: int = 1000,
    n_known: int = 0,
    seed: int = 0,
) -> Array:
    """One-sided p-values of column-wise association, permuting observed values over cells within strata.

    The statistic is the sum over cells of the products of values centred within strata. Its null mean (zero) and
    variance under permutation are exact; the skewness is estimated from `n_draws` permutations, and the tail is that
    of a Pearson type III distribution, so that p-values below 1 / n_draws exist. Where the empirical p-value is above
    0.1 it is reported as is. Without draws the skewness is exact too: a stratum of m cells adds

        m / ((m - 1)(m - 2)) sum x^3 sum y^3

    to the third moment (Pitman 1937, J. R. Stat. Soc. Suppl. 4:225), and every p-value is that of the tail.

    Parameters
    ----------
    observed_ng, predicted_ng
        Cells x genes.
    strata_n
        Stratum of each cell.
    n_draws
        Permutations; 0 for none, which is many times quicker.
    n_known
        Columns that were regressed out of both sides. What is left of d degrees of freedom (cells less strata) agrees
        by chance as d - n_known values do, and permuted as d do: the statistic is shortened by
        sqrt((d - n_known) / d).
    seed
        Of the permutations.

    Returns
    -------
    p-values, (genes,); 1 where either column is constant within strata.
    """
    x_ng, y_ng = centred(observed_ng, strata_n), centred(predicted_ng, strata_n)
    freedom = max(len(strata_n) - len(np.unique(strata_n)), 1)
    statistic = (x_ng * y_ng).sum(axis=0) * np.sqrt(max(freedom - n_known, 0) / freedom)
    variance = np.zeros_like(statistic)
    for stratum in np.unique(strata_n):
        rows = strata_n == stratum
        if rows.sum() > 1:
            variance += (x_ng[rows] ** 2).sum(axis=0) * (y_ng[rows] ** 2).sum(axis=0) / (rows.sum() - 1)
    sd = np.sqrt(variance)
    valid = sd > 1e-9 * (1 + np.abs(statistic))
    z_score = np.where(valid, statistic / np.where(valid, sd, 1.0), 0.0)
    if n_draws == 0:
        skew = _third_moment(x_ng, y_ng, strata_n) / np.where(valid, sd, 1.0) ** 3
        return np.where(valid, _tail(z_score, skew), 1.0)
    rng = np.random.default_rng(seed)
    draws = np.empty((n_draws, len(statistic)), np.float32)
    order = np.argsort(strata_n, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(strata_n[order]) > 0, True])
    for draw in range(n_draws):
        permuted = np.concatenate([rng.permutation(order[a:b]) for a, b in zip(starts, starts[1:], strict=False)])
        draws[draw] = np.einsum("ng,ng->g", x_ng[permuted], y_ng[order])
    draws /= np.where(valid, sd, 1.0)
    empirical = (1 + (draws >= z_score - 1e-6).sum(axis=0)) / (n_draws + 1)
    tail = _tail(z_score, (draws.astype(np.float64) ** 3).mean(axis=0))
    return np.where(valid, np.where(empirical > 0.1, empirical, tail), 1.0)


def _tail(z_score: Array, skew: Array) -> Array:
    return np.asarray(np.clip(pearson3.sf(z_score, np.clip(skew, -4.0, 4.0)), 1e-300, 1.0), np.float64)


def _third_moment(x_ng: Array, y_ng: Array, strata_n: NDArray[np.intp]) -> Array:
    """Third moment of the statistic under permutation, (g,); columns are centred within strata."""
    result = np.zeros(x_ng.shape[1])
    for stratum in np.unique(strata_n):
        rows = strata_n == stratum
        if (m := int(rows.sum())) > 2:
            result += m / ((m - 1) * (m - 2)) * (x_ng[rows] ** 3).sum(axis=0) * (y_ng[rows] ** 3).sum(axis=0)
    return result


def centred(values_ng: NDArray[np.floating], strata_n: NDArray[np.intp]) -> Array:
    """Values less their mean in each stratum, (n, g)."""
    result = np.asarray(values_ng, dtype=np.float64).copy()
    for stratum in np.unique(strata_n):
        rows = strata_n == stratum
        result[rows] -= result[rows].mean(axis=0)
    return result


def quantile_strata(values_n: NDArray[np.floating], groups_n: NDArray[np.intp], size: int = 20) -> NDArray[np.intp]:
    """Strata of about `size` cells of like value within each group, (cells,)."""
    result = np.zeros(len(values_n), np.intp)
    following = 0
    for group in np.unique(groups_n):
        rows = np.flatnonzero(groups_n == group)
        rank = np.argsort(np.argsort(values_n[rows], kind="stable"), kind="stable")
        bins = max(1, len(rows) // size)
        result[rows] = following + rank * bins // len(rows)
        following += bins
    return result


def sorted_strata(
    values_ng: NDArray[np.floating], groups_n: NDArray[np.intp], size: int = 20
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Strata of about `size` cells of like value within each group, for every gene by values of its own.

    Returns
    -------
    The order of the cells of each gene, by group and then by value, (cells, genes), and the stratum of each place in
    that order, which is the same for all genes, (cells,).
    """
    order_ng = np.lexsort((values_ng, np.broadcast_to(groups_n[:, None], values_ng.shape)), axis=0)
    return order_ng, quantile_strata(np.arange(len(groups_n), dtype=np.float64), np.sort(groups_n), size)


def without_line(values_ng: Array, known_ng: Array) -> Array:
    """Residual of each column on a column of its own, both without their means, (n, g)."""
    square_g = (known_ng**2).sum(axis=0)
    slope_g = (values_ng * known_ng).sum(axis=0) / np.where(square_g > 1e-12, square_g, np.inf)
    return np.asarray(values_ng - slope_g * known_ng, np.float64)
