"""What remains of a ranking once other quantities are known. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def rank_residual(values: NDArray[np.floating], given_gc: NDArray[np.floating]) -> Array:
    """Rank of each value (0 to 1) less what a line on the ranks of the columns says of it, (g,).

    Its correlation with another residual of this kind is their partial Spearman correlation. NaN stays NaN.
    """
    values, given_gc = np.asarray(values, np.float64), np.asarray(given_gc, np.float64)
    known = np.isfinite(values) & np.isfinite(given_gc).all(axis=1)
    result = np.full(len(values), np.nan)
    if known.any():
        n = int(known.sum())
        rank = rankdata(values[known]) / n
        design = np.column_stack([np.ones(n), *(rankdata(column) / n for column in given_gc[known].T)])
        result[known] = rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0]
    return result
