"""Leading eigenvectors of X'X / N in a few passes over X. Arrays only.

A randomised range finder that keeps every power: from a random block Q_1 the basis grows by the part of A Q_j that is
new to it, A = X'X / N, and the eigenvectors of A within the span of (Q_1, ..., Q_p) are taken (Rayleigh and Ritz). Each
block takes one pass over the rows. Against powers of one block (subspace iteration), which forget where they came from,
this is many times nearer in as many passes where values fall slowly, as those of noise do (docs/defaults.md).
Sources: Halko, Martinsson and Tropp 2011, SIAM Review 53:217 (doi 10.1137/090771806); Halko, Martinsson, Shkolnisky and
Tygert 2011, SIAM J. Sci. Comput. 33:2580 (doi 10.1137/100804139), who keep the powers of data outside memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Product = Callable[[Single], Array]
"""X'X times a matrix, (g, l) to (g, l), in one pass over the rows of X."""

PASSES: Final = 10
SHARE: Final = 0.5
"""Width of a block, as a share of the axes asked for. With 10 passes the basis has five times as many columns."""
LEAST_WIDTH: Final = 16


def leading(product: Product, shape: tuple[int, int], rank: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Largest eigenvalues of X'X / N in falling order, (q,), and their vectors, (g, q).

    Values are never above the exact ones. Products and basis are in single precision, sums over cells in double.

    Parameters
    ----------
    product
        Gives X'X times a matrix; called at most `PASSES` times.
    shape
        Cells and genes of X.
    rank
        Number of axes q, at most the smaller side.
    seed
        Of the first block.
    """
    n, g = shape
    widths = _widths(n, g, rank)
    basis_gm = np.empty((g, sum(widths)), np.float32)
    ritz_mm = np.zeros((sum(widths), sum(widths)))
    new_gl, filled = np.random.default_rng(seed).standard_normal((g, widths[0])), 0
    for width in widths:
        old_gm, new_gl = basis_gm[:, :filled], new_gl[:, :width]
        for _ in range(2):  # once leaves what rounding puts back
            new_gl = np.linalg.qr(new_gl - old_gm @ (old_gm.T @ new_gl.astype(np.float32)))[0]
        basis_gm[:, filled : filled + width] = new_gl
        new_gl = product(new_gl.astype(np.float32)) / n
        filled += width
        ritz_mm[:filled, filled - width : filled] = basis_gm[:, :filled].T @ new_gl.astype(np.float32)
    values, turn_mm = np.linalg.eigh(ritz_mm, UPLO="U")
    best = turn_mm[:, : -rank - 1 : -1].astype(np.float32)
    return values[: -rank - 1 : -1], (basis_gm @ best).astype(np.float64)


def _widths(n: int, g: int, rank: int) -> list[int]:
    """Columns of each block; fewer blocks than `PASSES` where these make the basis whole (the first is random)."""
    width = min(max(LEAST_WIDTH, int(np.ceil(SHARE * rank))), g)
    passes = min(PASSES, 1 + -(-min(n, g) // width))
    return [min(width, g - start) for start in range(0, passes * width, width) if start < g]
