"""Which cells train and which validate, by a hash of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from sivae._errors import SetupError, some
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
    refuse_few(len(names))
    draw = np.sort(name_fractions(names, HASH_KEY))
    least = max(1, round(0.5 * fraction * len(names))) if fraction > 0 else 0
    if (draw < fraction).sum() >= least:
        return fraction
    return float(np.nextafter(draw[least - 1], 1.0))


@final
@dataclass(frozen=True)
class Split:
    """Which cells validate: those whose hash is below the threshold, or those named, by their hashes."""

    threshold: float
    named_m: NDArray[np.float64] | None = None
    """Sorted hashes of the names given; None where the threshold decides."""

    @classmethod
    def of(cls, names: Sequence[str], *, fraction: float, validation: Sequence[str] | None) -> Split:
        """The split of these cells.

        Raises
        ------
        SetupError
            If there are too few cells on either side, or a cell named is not there.
        """
        if validation is None:
            return cls(validation_threshold(names, fraction=fraction))
        known, wanted = {str(name) for name in names}, {str(name) for name in validation}
        gone = sorted(wanted - known)
        if gone:
            raise SetupError(
                f"{len(gone)} of the {len(wanted)} validation cells are not in the AnnData ({some(gone)}); expected "
                "obs_names. Leave them out, or check that names are of the same kind."
            )
        refuse_few(len(known) - len(wanted))
        return cls(0.0, np.sort(name_fractions(sorted(wanted), HASH_KEY)))

    def held(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Which cells validate, one boolean per cell."""
        if self.named_m is None:
            return is_validation(names, self.threshold)
        return np.isin(name_fractions(names, HASH_KEY), self.named_m)


def refuse_few(n_cells: int) -> None:
    """Refuse too few cells to train on.

    Raises
    ------
    SetupError
        If there are fewer than ten.
    """
    if n_cells < LEAST_CELLS:
        many = "1 cell is" if n_cells == 1 else f"{n_cells} cells are"
        raise SetupError(
            f"{many} too few to train on; expected at least {LEAST_CELLS}. "
            "Check that cells are in rows, and the filters before."
        )


def is_validation(names: Sequence[str], threshold: float) -> NDArray[np.bool_]:
    """Which cells validate, one boolean per cell; depends on the cell's name alone, not on the other cells."""
    return name_fractions(names, HASH_KEY) < threshold
