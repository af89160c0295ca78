"""Which cells train and which validate, by a hash of their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sivae._errors import SetupError
from sivae._rng import name_fractions

LEAST_CELLS = 10
HASH_KEY = 0
"""One key for every seed: trainings from different seeds see the same cells, so their axes can be compared."""


def validation_threshold(names: Sequence[str], *, fraction: float) -> float:
    """The hash value below which a cell validates: `fraction`, or what leaves a small data set with some.

    Raises
    ------
    SetupError
        If there are too few cells to leave both sides with some.
    """
    if len(names) < LEAST_CELLS:
        raise SetupError(f"{len(names)} cells are too few to train on; at least {LEAST_CELLS} are needed.")
    draw = np.sort(name_fractions(names, HASH_KEY))
    least = max(1, round(0.5 * fraction * len(names))) if fraction > 0 else 0
    if (draw < fraction).sum() >= least:
        return fraction
    return float(np.nextafter(draw[least - 1], 1.0))


def is_validation(names: Sequence[str], threshold: float) -> NDArray[np.bool_]:
    """Which cells validate, one boolean per cell; depends on the cell's name alone, not on the other cells."""
    return name_fractions(names, HASH_KEY) < threshold
