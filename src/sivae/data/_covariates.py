"""What covariates do to each gene, apart from what the kinds of cells in them do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from sivae.data._expression import Expression
from sivae.data._products import SparseRows
from sivae.stats._contingency import cross_counts
from sivae.stats._krylov import Product
from sivae.stats._spectrum import principal_axes

Array = NDArray[np.float32]
N_GROUPS = 10
"""Groups of cells within which covariates are compared (docs/defaults.md)."""
N_AXES = 10
ROUNDS = 10
"""Of finding groups and comparing covariates within them, at most."""
SETTLED = 1e-3
"""Relative change of the shift, squared, at which the rounds end."""
GAIN_ROUNDS = 3
APART = 0.03
"""Starts that leave so little more apart, as a share of the cells, are as good (docs/defaults.md)."""
ABSENT = 0.1
"""A batch is absent from a group where it has less than this share of the cells to be expected."""
LEAST_CELLS = 30
"""Cells per group at least, on average."""
MOST_CELLS = 5_000
"""Cells on which groups and axes are found; with more, a sample."""
GAIN_SD = 0.3
"""Prior sd of a gene's gain in a batch around 1 (docs/defaults.md)."""
GAIN_RANGE = (0.3, 3.0)


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
            for cells in expression.cells():
                yield self.remove(expression.standardised(cells), expression.design_nb[cells])

        return rows

    def product(self, expression: Expression) -> Product | None:
        """X'X times a matrix, X those rows, where what is stored gives it more quickly than they do; else None."""
        found = SparseRows.of(expression, self.shift_bg, self.log_gain_bg)
        return None if found is None else found.product


def covariate_effect(expression: Expression, n_batches: int, *, seed: int = 0) -> CovariateEffect:
    """Shift of every covariate column and gain of every batch, from training cells.

    Where batches hold different shares of the kinds of cells, their means differ for that reason too, and centring
    would move a kind of cell that is common in one batch away from the same kind elsewhere. So the regression is made
    within groups of alike cells,

        x_n = design_n shift + group(n) + rest,

    the groups being k-means clusters along the leading principal axes of the data without the shift; they are found
    again with each new shift. A group seen in one batch alone says nothing of the batches; where that is so for every
    group, the batches' means are all there is, and the shift is close to them.

    The first shift decides which cells come together. Batch means can bring together what differs, where the most
    common kind of one batch is not that of another; the data as they are can leave apart what is alike. So there are
    two starts, and the one taken is that which leaves fewer cells in groups from which a batch is absent, or if both
    do about the same, that with the smaller shift.

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
    few = expression
    if n > MOST_CELLS:
        few = expression.take(np.sort(np.random.default_rng(seed).permutation(n)[:MOST_CELLS]))
    if (n_groups := min(N_GROUPS, n // LEAST_CELLS)) > 1:
        group_n = _alike(few, n_groups, n_batches, seed).of(expression)
        effect = CovariateEffect(_shift(expression, np.eye(n_groups)[group_n]), nothing, group_n)
    else:
        effect = CovariateEffect(_shift(expression, np.zeros((n, 0))), nothing)
    for _ in range(GAIN_ROUNDS if n_batches > 1 else 0):
        effect = replace(effect, log_gain_bg=_log_gain(expression, few, effect, n_batches))
    return effect


def _alike(cells: Expression, n_groups: int, n_batches: int, seed: int) -> _Groups:
    """Groups within which to compare covariates, from the better of two starts."""
    means_bg = _shift(cells, np.zeros((cells.shape[0], 0)))
    starts = [
        _settle(cells, CovariateEffect(shift_bg, np.zeros_like(means_bg)), n_groups, n_batches, seed)
        for shift_bg in ([means_bg, np.zeros_like(means_bg)] if n_batches > 1 else [means_bg])
    ]
    least = min(start.apart for start in starts)
    return min((start for start in starts if start.apart <= least + APART), key=lambda start: start.size).groups


@dataclass(frozen=True)
class _Groups:
    """Groups of alike cells: k-means clusters along principal axes of data without an effect."""

    effect: CovariateEffect
    axes_gk: Array
    kmeans: KMeans

    @classmethod
    def find(cls, cells: Expression, effect: CovariateEffect, n_groups: int, seed: int) -> _Groups:
        axes_gk = _axes(cells, effect)
        score_nk = np.concatenate([rows @ axes_gk for rows in effect.blocks(cells)()])
        return cls(effect, axes_gk, KMeans(n_groups, n_init=3, random_state=seed).fit(score_nk))

    def of(self, cells: Expression) -> NDArray[np.intp]:
        """Group of each cell, (cells,)."""
        parts = [self.kmeans.predict(rows @ self.axes_gk) for rows in self.effect.blocks(cells)()]
        return np.concatenate(parts).astype(np.intp)


@dataclass(frozen=True)
class _Settled:
    groups: _Groups
    apart: float
    """What the shift leaves apart."""
    size: float
    """Sum of squares of the shift."""


def _settle(cells: Expression, effect: CovariateEffect, n_groups: int, n_batches: int, seed: int) -> _Settled:
    """Find groups and compare covariates within them, until the shift no longer changes."""
    for _ in range(ROUNDS):
        groups, before_bg = _Groups.find(cells, effect, n_groups, seed), effect.shift_bg
        group_n = groups.of(cells)
        effect = CovariateEffect(_shift(cells, np.eye(n_groups)[group_n]), np.zeros_like(before_bg))
        size = float((effect.shift_bg**2).sum())
        if ((effect.shift_bg - before_bg) ** 2).sum() <= SETTLED * size:
            break
    left = apart(group_n, batch_of(cells.design_nb, n_batches)) if n_batches > 1 else 0.0
    return _Settled(groups, left, size)


def apart(group_n: NDArray[np.intp], batch_n: NDArray[np.intp]) -> float:
    """Share of the cells to be expected in pairs of a group and a batch from which nearly all of them are absent."""
    counts = cross_counts(group_n, batch_n)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return float(expected[counts < ABSENT * expected].sum() / counts.sum())


def gain(blocks: Iterable[tuple[Array, Array, NDArray[np.intp]]], n_batches: int) -> Array:
    """Slope of each gene on its prediction within each batch, shrunk to 1, (batches, g).

    With residual variance s^2 and a prior 1 + N(0, tau^2), the posterior mean of the slope is
    (sum x p + s^2 / tau^2) / (sum p^2 + s^2 / tau^2).

    Parameters
    ----------
    blocks
        Values (c, g), their predictions (c, g) and the batch of each cell (c,), block by block.
    n_batches
        Number of batches; one without cells has gain 1.
    """
    sums, cells_b = np.zeros((0,)), np.zeros(n_batches)
    for x_cg, predicted_cg, batch_c in blocks:
        sums = sums if sums.size else np.zeros((3, n_batches, x_cg.shape[1]))
        for b in np.unique(batch_c):
            x, p = (values[batch_c == b].astype(np.float64) for values in (x_cg, predicted_cg))
            sums[:, b] += [(x * p).sum(axis=0), (p * p).sum(axis=0), ((x - p) ** 2).sum(axis=0)]
            cells_b[b] += len(x)
    cross_bg, square_bg, error_bg = sums
    prior_bg = error_bg / np.maximum(cells_b, 1)[:, None] / GAIN_SD**2 + 1e-6
    return np.clip((cross_bg + prior_bg) / (square_bg + prior_bg), *GAIN_RANGE).astype(np.float32)


def batch_of(design_cb: Array, n_batches: int) -> NDArray[np.intp]:
    """Number of each cell's batch, from its centred dummy columns."""
    return np.asarray(design_cb[:, :n_batches].argmax(axis=1), np.intp)


def _log_gain(expression: Expression, few: Expression, effect: CovariateEffect, n_batches: int) -> Array:
    """Gain of every gene in every batch against its prediction from the leading principal axes of a few cells."""
    axes_gk = _axes(few, effect)
    without_gain = CovariateEffect(effect.shift_bg, np.zeros_like(effect.shift_bg))
    batch_n = batch_of(expression.design_nb, n_batches)

    def blocks() -> Iterator[tuple[Array, Array, NDArray[np.intp]]]:
        pairs = zip(without_gain.blocks(expression)(), effect.blocks(expression)(), strict=True)
        for cells, (x_cg, rows_cg) in zip(expression.cells(), pairs, strict=True):
            predicted_cg = np.asarray((rows_cg @ axes_gk) @ axes_gk.T, np.float32)
            yield x_cg, predicted_cg, batch_n[cells]

    result = np.zeros_like(effect.shift_bg)
    result[:n_batches] = np.log(gain(blocks(), n_batches))
    return result


def _shift(expression: Expression, groups_nm: NDArray[np.float64]) -> Array:
    """Least squares by pseudo-inverse, because centred dummy columns of one factor add up to zero."""
    n_design = expression.design_nb.shape[1]
    columns = np.concatenate([expression.design_nb.astype(np.float64), groups_nm], axis=1)
    columns -= columns.mean(axis=0)
    cross = np.zeros((columns.shape[1], expression.shape[1]))
    for cells in expression.cells():
        cross += columns[cells].T @ expression.standardised(cells)
    coefficients = np.linalg.pinv(columns.T @ columns, rcond=1e-6, hermitian=True) @ cross
    return coefficients[:n_design].astype(np.float32)


def _axes(expression: Expression, effect: CovariateEffect) -> Array:
    n, g = expression.shape
    found = principal_axes(effect.blocks(expression), (n, g), min(N_AXES, n, g), product=effect.product(expression))
    return found.vectors_gq.astype(np.float32)
