"""False discovery rates. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

Array = NDArray[np.float64]


def adjust(pvalues: NDArray[np.floating]) -> Array:
    """Benjamini-Hochberg q-values: the smallest false discovery rate at which each test is called.

    NaN (not tested) stays NaN and does not count as a test.
    Source: Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289 (doi 10.1111/j.2517-6161.1995.tb02031.x).
    """
    p = np.asarray(pvalues, np.float64)
    result, tested = np.full(p.shape, np.nan), np.isfinite(p)
    if tested.any():
        result[tested] = false_discovery_control(p[tested], method="bh")
    return result
