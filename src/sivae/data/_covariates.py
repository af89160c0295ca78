"""What covariates do to each gene, apart from what the kinds of cells in them do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from sivae.data._expression import Expression
from sivae.stats._spectrum import principal_axes

Array = NDArray[np.float32]
N_GROUPS = 10
"""Groups of cells within which covariates are compared (docs/defaults.md)."""
N_AXES = 10
ROUNDS = 3
LEAST_CELLS = 30
"""Cells per group at least, on average."""
MOST_CELLS = 20_000
"""Cells on which the groups are found; with more, a sample."""
GAIN_SD = 0.3
"""Prior sd of a gene's gain in a batch around 1 (docs/defaults.md)."""
GAIN_RANGE = (0.3, 3.0)
ROWS = 1024


@dataclass(frozen=True)
class CovariateEffect:
    """Additive effect of each covariate column, and logarithm of the gain of each batch, on the standardised scale.

    A cell without its covariates is (x - design shift) / exp(design log_gain).
    """

    shift_bg: Array
    log_gain_bg: Array
    group_n: NDArray[np.intp] | None = None
    """Groups of alike cells within which the covariates were compared, (n,); None where they were not."""

    def remove(self, x_cg: Array, design_cb: Array) -> Array:
        """Rows without the effect of their covariates, (c, g)."""
        if design_cb.shape[1] == 0:
            return x_cg
        return np.asarray((x_cg - design_cb @ self.shift_bg) * np.exp(-design_cb @ self.log_gain_bg), np.float32)

    def blocks(self, expression: Expression) -> Callable[[], Iterator[Array]]:
        """Rows of the expression without the effect, block by block, as often as asked."""

        def rows() -> Iterator[Array]:
            for start in range(0, expression.shape[0], ROWS):
                cells = slice(start, start + ROWS)
                yield self.remove(expression.standardised(cells), expression.design_nb[cells])

        return rows


def covariate_effect(expression: Expression, n_batches: int, *, seed: int = 0) -> CovariateEffect:
    """Shift of every covariate column and gain of every batch, from training cells.

    Where batches hold different shares of the kinds of cells, their means differ for that reason too, and centring
    would move a kind of cell that is common in one batch away from the same kind elsewhere. So the regression is made
    within groups of alike cells,

        x_n = design_n shift + group(n) + rest,

    the groups being k-means clusters along the leading principal axes of the data without the shift; they are found
    again with each new shift. A group seen in one batch alone says nothing of the batches.

    Parameters
    ----------
    expression
        Training cells.
    n_batches
        Levels of the batch, whose columns come first in the design; 0 without a batch.
    """
    n, g = expression.shape
    nothing = np.zeros((expression.design_nb.shape[1], g), np.float32)
    if len(nothing) == 0:
        return CovariateEffect(nothing, nothing)
    effect = CovariateEffect(_shift(expression, np.zeros((n, 0))), nothing)
    n_groups = min(N_GROUPS, n // LEAST_CELLS)
    for _ in range(ROUNDS if n_groups > 1 else 0):
        group_n = _groups(expression, effect, n_groups, seed)
        effect = CovariateEffect(_shift(expression, np.eye(n_groups)[group_n]), nothing, group_n)
    for _ in range(ROUNDS if n_batches > 1 else 0):
        effect = replace(effect, log_gain_bg=_log_gain(expression, effect, n_batches))
    return effect


def gain(x_cg: Array, predicted_cg: Array, batch_c: NDArray[np.intp], n_batches: int) -> Array:
    """Slope of each gene on its prediction within each batch, shrunk to 1, (batches, g).

    With residual variance s^2 and a prior 1 + N(0, tau^2), the posterior mean of the slope is
    (sum x p + s^2 / tau^2) / (sum p^2 + s^2 / tau^2).
    """
    result = np.ones((n_batches, x_cg.shape[1]), np.float32)
    for b in range(n_batches):
        x, p = x_cg[batch_c == b], predicted_cg[batch_c == b]
        if len(x) == 0:
            continue
        prior_g = ((x - p) ** 2).mean(axis=0) / GAIN_SD**2 + 1e-6
        result[b] = ((x * p).sum(axis=0) + prior_g) / ((p * p).sum(axis=0) + prior_g)
    return np.clip(result, *GAIN_RANGE)


def batch_of(design_cb: Array, n_batches: int) -> NDArray[np.intp]:
    """Number of each cell's batch, from its centred dummy columns."""
    return np.asarray(design_cb[:, :n_batches].argmax(axis=1), np.intp)


def _log_gain(expression: Expression, effect: CovariateEffect, n_batches: int) -> Array:
    """Gain of every gene in every batch against its prediction from the leading principal axes."""
    axes_gk = _axes(expression, effect)
    without_gain = CovariateEffect(effect.shift_bg, np.zeros_like(effect.shift_bg))
    x_ng = np.concatenate(list(without_gain.blocks(expression)()))
    predicted_ng = np.concatenate([(rows @ axes_gk) @ axes_gk.T for rows in effect.blocks(expression)()])
    result = np.zeros_like(effect.shift_bg)
    batch_n = batch_of(expression.design_nb, n_batches)
    result[:n_batches] = np.log(gain(x_ng, predicted_ng, batch_n, n_batches))
    return result


def _shift(expression: Expression, groups_nm: NDArray[np.float64]) -> Array:
    """Least squares by pseudo-inverse, because centred dummy columns of one factor add up to zero."""
    n_design = expression.design_nb.shape[1]
    columns = np.concatenate([expression.design_nb.astype(np.float64), groups_nm - groups_nm.mean(axis=0)], axis=1)
    cross = np.zeros((columns.shape[1], expression.shape[1]))
    for start in range(0, len(columns), ROWS):
        cells = slice(start, start + ROWS)
        cross += columns[cells].T @ expression.standardised(cells)
    coefficients = np.linalg.pinv(columns.T @ columns, rcond=1e-6, hermitian=True) @ cross
    return coefficients[:n_design].astype(np.float32)


def _axes(expression: Expression, effect: CovariateEffect) -> Array:
    n, g = expression.shape
    return principal_axes(effect.blocks(expression), (n, g), min(N_AXES, n, g)).vectors_gq.astype(np.float32)


def _groups(expression: Expression, effect: CovariateEffect, n_groups: int, seed: int) -> NDArray[np.intp]:
    """Groups of alike cells once the effect is taken off, (n,)."""
    axes_gk = _axes(expression, effect)
    score_nk = np.concatenate([rows @ axes_gk for rows in effect.blocks(expression)()])
    step = max(1, len(score_nk) // MOST_CELLS)
    kmeans = KMeans(n_groups, n_init=3, random_state=seed).fit(score_nk[::step])
    return np.asarray(kmeans.predict(score_nk), np.intp)
