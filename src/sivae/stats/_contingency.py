"""Whether two groupings of the same cells can be told apart. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from scipy.stats.contingency import association

SHARE = 0.95
"""Share of a row that lies in one column where it is said to lie in one alone."""
AS_EXPECTED = 0.2
"""Cells elsewhere, as a share of those to be expected there, at most."""
LEVEL = 1e-3
"""Probability of so few cells elsewhere by chance, at most."""


def cross_counts(row_n: NDArray[np.generic], column_n: NDArray[np.generic]) -> NDArray[np.int64]:
    """Cells of each pair of values, (rows, columns), values in sorted order."""
    rows, row = np.unique(row_n, return_inverse=True)
    columns, column = np.unique(column_n, return_inverse=True)
    flat = row.ravel() * len(columns) + column.ravel()
    return np.bincount(flat, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


def sole_column(counts_rc: NDArray[np.int64], *, least: int) -> NDArray[np.intp]:
    """The column that each row lies in where it lies in one alone, else -1, (rows,).

    A row does so if it has at least `least` cells, 95 % of them in that column, and elsewhere at most a fifth of what
    the sizes of the columns let expect, fewer than chance would give once in a thousand: where one column holds nearly
    all cells, every row lies nearly in it alone.
    """
    n_r, column_r = counts_rc.sum(axis=1), counts_rc.argmax(axis=1)
    elsewhere_r = n_r - counts_rc.max(axis=1)
    others_r = 1.0 - counts_rc.sum(axis=0)[column_r] / max(1, counts_rc.sum())
    alone_r = (n_r >= least) & (elsewhere_r <= (1 - SHARE) * n_r) & (elsewhere_r <= AS_EXPECTED * others_r * n_r)
    alone_r &= binom.cdf(elsewhere_r, n_r, others_r) < LEVEL
    return np.where(alone_r, column_r, -1)


def cramers_v(counts_rc: NDArray[np.int64]) -> float:
    """Cramér's V: 0 where rows and columns are independent, 1 where one follows from the other; 0 for a single row."""
    kept = counts_rc[counts_rc.sum(axis=1) > 0][:, counts_rc.sum(axis=0) > 0]
    return float(association(kept, method="cramer")) if min(kept.shape, default=0) > 1 else 0.0
