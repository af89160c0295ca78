"""Which cells and genes a step sees: a function of the seed and of the number of the step alone."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from sivae._rng import numpy_generator

Rows = NDArray[np.intp]


def n_blocks_of(n: int, size: int, *, shares: int = 1) -> int:
    """Blocks in which n items, dealt out to so many processes, are passed over: the same number for every process."""
    return max(1, min(math.ceil(math.ceil(n / shares) / size), n // shares))


def partition(n: int, size: int, rng: np.random.Generator, *, n_blocks: int | None = None) -> list[Rows]:
    """A random partition of n items into the fewest near-equal blocks of at most `size`, or into so many."""
    return np.array_split(rng.permutation(n), n_blocks or max(1, math.ceil(n / size)))


@final
class Order:
    """Blocks of n items, a fresh random partition in every pass.

    Nothing but the number of the step is needed to go on from it, so a continued training sees the same blocks.

    Parameters
    ----------
    n
        Items.
    size
        Items of a block at most (one more where a share of the items would otherwise have an empty block).
    seed, purpose
        Of the stream of random numbers.
    n_blocks
        Blocks of a pass; as few as `size` allows if None.
    out_of
        Items for which those of a block stand; n if None. A process that has n_r of n items, and whose gradient is
        averaged with those of W others, stands for n / W of them: the mean over processes of
        sum(block) * n_blocks / (n / W) is an unbiased estimate of the sum over all items divided by n, whatever n_r.
    """

    def __init__(
        self, n: int, size: int, *, seed: int, purpose: str, n_blocks: int | None = None, out_of: float | None = None
    ) -> None:
        self.n, self.size, self.seed, self.purpose = n, size, seed, purpose
        self.n_blocks = n_blocks or n_blocks_of(n, size)
        self.out_of = n if out_of is None else out_of
        self._pass, self._blocks = -1, [np.empty(0, np.intp)]

    def block(self, step: int) -> tuple[Rows, float]:
        """Items of a step (the first is 1), ascending, and the weight of each (number of blocks / `out_of`)."""
        number, place = divmod(step - 1, self.n_blocks)
        if number != self._pass:
            rng = numpy_generator(self.seed, self.purpose, index=number)
            self._pass, self._blocks = number, partition(self.n, self.size, rng, n_blocks=self.n_blocks)
        return np.sort(self._blocks[place]), self.n_blocks / self.out_of
