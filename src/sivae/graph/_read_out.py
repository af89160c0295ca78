"""A gene's position in one individual, read from the covariances within that individual's cells. Arrays only.

With r_cg the residual of gene g in cell c and e_g the (k,) weight that a trained cell encoder gives to the gene, the
reading of a cell is z_c = sum_g r_cg e_g and the position of a gene is its covariance with it, its own share left out::

    position_g = sum_{f != g} Cov(r_g, r_f) e_f
               = 1/n sum_c r_cg (z_c - r_cg e_g)

Residuals are taken within cell types, so that a shift in composition is not a covariance. Counts are divided by the
cell's depth and by how much more the individual expresses the gene than expected::

    r_cg = (y_cg / l_c - mean_tg) / (fold_g sd_g)

Counting noise is independent between genes given the rates, so Cov(y_f / l, y_g / l) is that of the rates at any depth
(Wang et al. 2019, doi 10.1073/pnas.1919003116), and a gene that is expressed twice as much, all cells alike, keeps its
covariances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.intp]
PRIOR_COUNTS = 5.0
"""Counts by which an individual's expression of a gene is drawn towards the cohort's."""


@dataclass(frozen=True)
class Cells:
    """The cells of one individual."""

    rate_cg: Any
    """Counts divided by depth, or values that are not counts; CSR or dense."""
    type_c: Labels
    """Cell type, 0 to T - 1."""
    depth_c: Array | None
    """What counts were divided by, about 1; None where values are not counts."""

    def take(self, cells: Labels) -> Cells:
        """Some of the cells."""
        depth_c = None if self.depth_c is None else self.depth_c[cells]
        return Cells(self.rate_cg[cells], self.type_c[cells], depth_c)


@dataclass(frozen=True)
class Scale:
    """What residuals are divided by, the same in every individual."""

    mean_tg: Array
    """Mean rate of each cell type over the cohort."""
    sd_g: Array
    """Standard deviation within individuals and cell types; 0 for genes that are constant there."""


@dataclass(frozen=True)
class Sums:
    """Sums of products within cell types, over parts of an individual's cells (folds, or cell types)."""

    product_pgk: Array
    """Gene times reading without the gene's own share, not yet divided by the degrees of freedom."""
    freedom_p: Array
    """Degrees of freedom: cells, less one for each mean that was taken off."""
    square_g: Array
    """Squared residuals over all parts."""
    reading_kk: Array
    """Products of readings over all parts."""


def type_totals(cells: Cells, n_types: int) -> tuple[Array, Array]:
    """Sum of counts (or values) of each cell type, (t, g), and of depths (or cells), (t,)."""
    weight_c = np.ones(len(cells.type_c)) if cells.depth_c is None else cells.depth_c
    weighted_ct = _indicator(cells.type_c, n_types) * weight_c[:, None]
    return _transposed_product(cells.rate_cg, weighted_ct).T, weighted_ct.sum(axis=0)


def inverse_fold(cells: Cells, mean_tg: Array) -> Array:
    """1 / (how much more the individual expresses each gene than its cell types let expect), (g,).

    With expected counts m and `PRIOR_COUNTS` a: n / (observed + a), near 1 / fold for many counts and near 1 for few.
    E[1 / (y + a)] of a Poisson law is 1 / (m + a) + m / (m + a)^3 to second order; n is one over that, so that few
    counts do not raise the mean as they do that of a plain inverse. 1 for values that are not counts.
    """
    if cells.depth_c is None:
        return np.ones(mean_tg.shape[1])
    total_tg, depth_t = type_totals(cells, len(mean_tg))
    expected_g = depth_t @ mean_tg
    prior_g = expected_g + PRIOR_COUNTS
    return np.asarray(prior_g / (1.0 + expected_g / prior_g**2) / (total_tg.sum(axis=0) + PRIOR_COUNTS), np.float64)


def squares(cells: Cells, n_types: int) -> tuple[Array, float]:
    """Squared deviations of the rates from the individual's mean of the cell type, (g,), and their freedom."""
    mean_tg, count_t = _means(cells, n_types)
    square_g = np.asarray(_squared(cells.rate_cg).sum(axis=0), np.float64).ravel() - count_t @ mean_tg**2
    return np.maximum(square_g, 0.0), float(np.maximum(count_t - 1, 0).sum())


def sums(cells: Cells, scale: Scale, encoder_gk: Array, *, part_c: Labels, n_parts: int) -> Sums:
    """Sums over each part of the individual's cells; parts add up to the whole.

    Parameters
    ----------
    cells
        Of one individual.
    scale
        Of the cohort.
    encoder_gk
        Weight of a standardised gene in each axis of the reading.
    part_c
        Part of each cell, 0 to `n_parts` - 1.
    n_parts
        Number of parts.
    """
    k = encoder_gk.shape[1]
    n_types = len(scale.mean_tg)
    factor_g = inverse_fold(cells, scale.mean_tg) * np.divide(
        1.0, scale.sd_g, out=np.zeros_like(scale.sd_g), where=scale.sd_g > 0
    )
    mean_tg, count_t = _means(cells, n_types)
    type_ct = _indicator(cells.type_c, n_types)
    part_cp = _indicator(part_c, n_parts)
    reading_ck = np.asarray(cells.rate_cg @ (encoder_gk * factor_g[:, None]), np.float64)
    reading_ck -= type_ct @ (type_ct.T @ reading_ck / np.maximum(count_t, 1.0)[:, None])
    masked_cq = (part_cp[:, :, None] * reading_ck[:, None, :]).reshape(len(reading_ck), -1)
    product_gq = _transposed_product(cells.rate_cg, masked_cq) - mean_tg.T @ (type_ct.T @ masked_cq)
    square_pg = _part_squares(cells, part_cp, mean_tg, type_ct) * factor_g**2
    product_pgk = product_gq.reshape(len(factor_g), n_parts, k).transpose(1, 0, 2) * factor_g[:, None]
    product_pgk -= square_pg[:, :, None] * encoder_gk
    freedom_t = np.maximum(count_t - 1, 0) / np.maximum(count_t, 1.0)
    return Sums(product_pgk, (type_ct.T @ part_cp).T @ freedom_t, square_pg.sum(axis=0), reading_ck.T @ reading_ck)


def _part_squares(cells: Cells, part_cp: Array, mean_tg: Array, type_ct: Array) -> Array:
    """Squared deviations from the means of cell types, summed over each part, (p, g)."""
    n_types, n_parts = type_ct.shape[1], part_cp.shape[1]
    both_cq = (type_ct[:, :, None] * part_cp[:, None, :]).reshape(len(type_ct), -1)
    total_tpg = _transposed_product(cells.rate_cg, both_cq).T.reshape(n_types, n_parts, -1)
    count_tp = both_cq.sum(axis=0).reshape(n_types, n_parts)
    square_pg = _transposed_product(_squared(cells.rate_cg), part_cp).T
    square_pg = square_pg - 2 * np.einsum("tg,tpg->pg", mean_tg, total_tpg) + count_tp.T @ mean_tg**2
    return np.asarray(np.maximum(square_pg, 0.0), np.float64)


def _means(cells: Cells, n_types: int) -> tuple[Array, Array]:
    type_ct = _indicator(cells.type_c, n_types)
    count_t = type_ct.sum(axis=0)
    total_tg = _transposed_product(cells.rate_cg, type_ct).T
    return np.asarray(total_tg / np.maximum(count_t, 1.0)[:, None]), np.asarray(count_t)


def _indicator(label_c: Labels, n: int) -> Array:
    return np.asarray(label_c[:, None] == np.arange(n), np.float64)


def _transposed_product(matrix_cg: Any, weight_cq: Array) -> Array:
    return np.asarray(matrix_cg.T @ weight_cq, np.float64)


def _squared(matrix_cg: Any) -> Any:
    if isinstance(matrix_cg, np.ndarray):
        return np.square(matrix_cg)
    result = matrix_cg.copy()
    result.data = result.data**2
    return result
