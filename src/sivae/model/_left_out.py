"""A cell without one of its genes: its depth, and how its other values would look, for every gene in turn.

Values are divided by a total that a gene is part of, so a gene that is counted often lowers all others in its cell, and
their encoding tells of it although it is hidden itself. And a total of a few abundant, overdispersed genes is a poor
measure of depth: genes that follow nothing go together through what it leaves. So evidence looks at each gene with a
depth made of the other genes alone, each weighted by what it tells,

    s_c(-g) = sum_{h != g} w_h y_ch,    w_h = 1 / (1 + phi_h mu_h)    (mean over variance of a negative binomial)

with mu the mean and phi the overdispersion beyond that of depth, by moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.data._scaling import CLIP, Scaling

Array = NDArray[np.float64]
Values = NDArray[np.float32]
LARGEST_SHIFT = 3.0
"""Largest change of a log library that is followed; a cell with one gene alone has no other values."""
LEAST = 1e-12


@dataclass(frozen=True)
class Depth:
    """Weighted totals of cells, on the scale of their library."""

    total_c: Array
    weight_g: Array
    counted: bool
    """Made from the counts of the modelled genes; or else given, the same for every gene."""

    def without(self, values_cf: Values, genes: NDArray[np.intp]) -> Array:
        """Depth of each cell without each of some genes of the model, mean as with them, (c, f)."""
        if not self.counted:
            return np.repeat(self.total_c[:, None], values_cf.shape[1], axis=1)
        left_cf = np.maximum(self.total_c[:, None] - self.weight_g[genes] * values_cf, LEAST)
        return np.asarray(left_cf * (self.total_c.mean() / left_cf.mean(axis=0)), np.float64)


def depth_of(cells: Expression) -> Depth:
    """Depth of cells from the modelled genes; the size factor where one was given, ones where nothing is counted."""
    n, g = cells.shape
    total_c, sum_g, square_g = np.zeros(n), np.zeros(g), np.zeros(g)
    for rows, values_cg in cells.rows.blocks():
        total_c[rows] = np.asarray(values_cg.sum(axis=1, dtype=np.float64)).ravel()
        sum_g += np.asarray(values_cg.sum(axis=0, dtype=np.float64)).ravel()
        values: Any = values_cg
        square = np.square(values, dtype=np.float64) if isinstance(values, np.ndarray) else values.multiply(values)
        square_g += np.asarray(square.sum(axis=0, dtype=np.float64)).ravel()
    library_c = cells.library_n.astype(np.float64)
    if not np.allclose(library_c, total_c, rtol=1e-4):
        return Depth(library_c, np.zeros(g), counted=False)
    mean_g = sum_g / n
    variance_g = square_g / n - mean_g**2
    spread = library_c.var() / library_c.mean() ** 2
    relative_g = (variance_g - mean_g) / np.maximum(mean_g, LEAST) ** 2
    weight_g = 1 / (1 + np.maximum((relative_g - spread) / (1 + spread), 0.0) * mean_g)
    weighted_c = np.concatenate([np.asarray(values_cg @ weight_g).ravel() for _, values_cg in cells.rows.blocks()])
    weighted_c = np.maximum(weighted_c, LEAST)
    return Depth(
        weighted_c * (library_c.mean() / weighted_c.mean()),
        weight_g * (library_c.mean() / weighted_c.mean()),
        counted=True,
    )


def observed_without(cells: Expression, values_cf: Values, depth_cf: Array, genes: NDArray[np.intp]) -> Values:
    """Standardised values of some genes, (c, f), divided by the depth that the other genes tell."""
    scaling = cells.scaling.take(genes)
    if not scaling.log:
        return scaling.standardise(values_cf)
    return scaling.standardise(np.log1p(scaling.target * values_cf / np.maximum(depth_cf, LEAST)).astype(np.float32))


def library_slope(transformed_cf: Values, scaling: Scaling) -> Values:
    """Derivative of standardised values by minus the log library, (c, f): r / (1 + r) / sd with r = T y / library."""
    sd_f = scaling.sd_g
    slope_cf = -np.expm1(-transformed_cf) * np.divide(1.0, sd_f, out=np.zeros_like(sd_f), where=sd_f > 0)
    slope_cf[np.abs(scaling.standardise(transformed_cf)) >= CLIP] = 0.0
    return np.asarray(slope_cf, np.float32)


def library_shift(cells: Expression, values_cf: Values, genes: NDArray[np.intp]) -> Values:
    """How much smaller the log library is without each of some genes, less what is usual for the gene, (f, c)."""
    library_c1 = cells.library_n[:, None].astype(np.float64)
    usual_f = 1.0 - cells.scaling.share_g[genes].astype(np.float64)
    shift_cf = np.log(np.maximum(usual_f, LEAST)) - np.log(np.maximum(1 - values_cf / library_c1, LEAST))
    return np.ascontiguousarray(np.clip(shift_cf, -LARGEST_SHIFT, LARGEST_SHIFT).T, np.float32)
