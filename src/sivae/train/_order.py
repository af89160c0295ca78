"""Which cells and genes a step sees: a function of the seed and of the number of the step alone."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from sivae._rng import numpy_generator

Rows = NDArray[np.intp]


def partition(n: int, size: int, rng: np.random.Generator) -> list[Rows]:
    """A random partition of n items into the fewest near-equal blocks of at most `size`."""
    return np.array_split(rng.permutation(n), max(1, math.ceil(n / size)))


@final
class Order:
    """Blocks of n items, a fresh random partition in every pass.

    Nothing but the number of the step is needed to go on from it, so a continued training sees the same blocks.
    """

    def __init__(self, n: int, size: int, *, seed: int, purpose: str) -> None:
        self.n, self.size, self.seed, self.purpose = n, size, seed, purpose
        self.n_blocks = max(1, math.ceil(n / size))
        self._pass, self._blocks = -1, [np.empty(0, np.intp)]

    def block(self, step: int) -> tuple[Rows, float]:
        """Items of a step (the first is 1), ascending, and the weight of each (number of blocks / n)."""
        number, place = divmod(step - 1, self.n_blocks)
        if number != self._pass:
            rng = numpy_generator(self.seed, self.purpose, index=number)
            self._pass, self._blocks = number, partition(self.n, self.size, rng)
        return np.sort(self._blocks[place]), self.n_blocks / self.n
