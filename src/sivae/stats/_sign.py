"""Is the sign of an effect known? Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]


def lfsr(mean: NDArray[np.floating], variance: NDArray[np.floating]) -> Array:
    """Local false sign rate: probability that an effect has the other sign than its estimate, 0 to 0.5.

    Under N(mean, variance) it is Phi(-|mean| / sd). An effect of variance 0 and mean 0 has 0.5. NaN stays NaN,
    and a variance below 0 gives NaN.
    Source: Stephens 2017, Biostatistics 18:275 (doi 10.1093/biostatistics/kxw041).
    """
    size, variance = np.abs(np.asarray(mean, np.float64)), np.asarray(variance, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = size / np.sqrt(variance)
    ratio = np.where((size == 0) & (variance >= 0), 0.0, ratio)
    return np.asarray(norm.cdf(-ratio), np.float64)
