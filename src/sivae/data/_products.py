"""Products with the standardised matrix of cells x genes, which is never made where values are stored sparse.

A gene's zeros all have one standardised value, clip(-mean / sd), so that without covariates

    X = 1 base' + D,        D_cg = clip((t_cg - mean_g) / sd_g) - base_g at the values that are stored, else 0,

exactly, clipped values too. Taking off what covariates do, (x - design shift) exp(-design log_gain), leaves a sparse
part D exp(-design log_gain), and for the rest a product of few columns: (1, design) (base, -shift), or where batches
have gains, one row for each kind of cell, who shares all of its covariates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sivae.data._expression import Expression
from sivae.data._rows import ROWS
from sivae.data._scaling import CLIP

Array = NDArray[np.float64]
Values = NDArray[np.float32]
MOST_KINDS: Final = 64
"""Kinds of cells; with more and with gains, rows are made dense."""
MOST_DENSITY: Final = 0.1
"""Share of values that are stored; with more, dense blocks are quicker (docs/defaults.md)."""


@final
@dataclass(frozen=True)
class SparseRows:
    """Standardised rows without the effect of covariates, as sparse + column_nr @ row_rg."""

    expression: Expression
    base_g: Values
    column_nr: Values
    row_rg: Array
    log_gain_bg: Values | None
    """None where no batch has gains."""

    @classmethod
    def of(cls, expression: Expression, shift_bg: Values, log_gain_bg: Values) -> SparseRows | None:
        """The rows in that form, or None where it does not pay."""
        first = expression.transformed(slice(0, ROWS))
        if not sparse.issparse(first) or first.nnz > MOST_DENSITY * first.shape[0] * first.shape[1]:
            return None
        base_g, design_nb = expression.scaling.zero_g, expression.design_nb
        if not log_gain_bg.any():
            column_nr = np.concatenate([np.ones((len(design_nb), 1), np.float32), design_nb], axis=1)
            row_rg = np.concatenate([base_g[None], -shift_bg]).astype(np.float64)
            return cls(expression, base_g, column_nr, row_rg, None)
        kinds, kind_n = np.unique(design_nb, axis=0, return_inverse=True)
        if len(kinds) > MOST_KINDS:
            return None
        column_nr = np.eye(len(kinds), dtype=np.float32)[kind_n.ravel()]
        row_rg = ((base_g - kinds @ shift_bg) * np.exp(-kinds @ log_gain_bg)).astype(np.float64)
        return cls(expression, base_g, column_nr, row_rg, log_gain_bg)

    def block(self, cells: slice) -> sparse.csc_matrix:
        """The sparse part of some cells; by gene, so that products read what is as long as genes in order."""
        rows: Any = self.expression.transformed(cells)
        scaling, gene = self.expression.scaling, rows.indices
        data = (rows.data - scaling.mean_g[gene]) * scaling.inverse_sd_g[gene]
        data = np.clip(data, -CLIP, CLIP, out=data) - self.base_g[gene]
        if self.log_gain_bg is not None:
            kinds, kind_c = np.unique(self.expression.design_nb[cells], axis=0, return_inverse=True)
            gain_mg = np.exp(-kinds @ self.log_gain_bg)
            data = data * gain_mg[np.repeat(kind_c.ravel(), np.diff(rows.indptr)), gene]
        return sparse.csr_matrix((data.astype(np.float32), gene, rows.indptr), shape=rows.shape).tocsc()

    def product(self, matrix_gl: Values) -> Array:
        """X'X times a matrix, in one pass over the cells, (g, l)."""
        matrix_gl = np.ascontiguousarray(matrix_gl, np.float32)
        low_rl = (self.row_rg @ matrix_gl).astype(np.float32)
        total_gl, total_rl = np.zeros(matrix_gl.shape), np.zeros(low_rl.shape)
        for start in range(0, self.expression.shape[0], ROWS):
            cells = slice(start, start + ROWS)
            sparse_cg, column_cr = self.block(cells), self.column_nr[cells]
            score_cl = np.ascontiguousarray(sparse_cg @ matrix_gl + column_cr @ low_rl)
            total_gl += sparse_cg.T @ score_cl
            total_rl += column_cr.T.astype(np.float64) @ score_cl
        return total_gl + self.row_rg.T @ total_rl
