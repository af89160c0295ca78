"""What a trained model does with some cells, taken apart: parts of its predictor, and genes' parts in a position.

Decoder side, with gain t of the cell's batch and h without its linear part:

    eta_cg = bias_g + design_c.offset_g + sum_k s_g t_cg z_ck v_gk + s_g t_cg h_c.w_g

Encoder side, x being the standardised values without the effect of covariates, A the linear map and f the perceptron:

    z_ck = f_k(0) + sum_g [ x_cg A_gk + x_cg integral_0^1 df_k/dx_g (t x_c) dt ]         (`_path.py`)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sivae._errors import OptionError, warn
from sivae.data._expression import Expression
from sivae.model._layers import cell_layer, check_layer, gene_layer, widths
from sivae.model._path import MOST_STEPS, PathEncoder
from sivae.model._predict import GeneTable, encode, joint
from sivae.model._trained import Trained
from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
CELLS = 512
"""Cells of a block."""


@final
@dataclass(frozen=True)
class Explanation:
    """What a trained model does with some cells; made by `SiVAE.explain`.

    Parameters
    ----------
    module, state
        The model.
    expression
        The cells.
    genes
        Modelled genes, in the order of the training AnnData; every array of genes is in this order.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> explanation = model.explain()
    >>> explanation.axes, explanation.n_cells
    (('axis1', 'axis2', 'axis3'), 200)
    >>> z, h, v, w = explanation.layer()
    >>> explanation.decode(z[:4]).shape
    (4, 50)
    """

    module: TwoTowers
    state: Trained
    expression: Expression
    genes: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(f"axis{axis + 1}" for axis in range(len(self.state.rotation_kk)))

    @property
    def n_cells(self) -> int:
        """Cells."""
        return self.expression.shape[0]

    def layer(self) -> tuple[Array, Array, Array, Array]:
        """Positions z (n, k), joint layer h without its linear part (n, d), loadings v (g, k), joint layer w (g, d)."""
        z_nk, h_nd = self._cells()
        table = self._table(np.arange(len(self.genes)))
        rotation_kk = self.state.rotation_kk
        return z_nk @ rotation_kk, h_nd, table.loading_gk @ rotation_kk, table.joint_gd.astype(np.float64)

    @property
    def widths(self) -> dict[str, tuple[int, ...]]:
        """Widths of the layers of each decoder, "cells" and "genes"; the last is the joint layer."""
        return widths(self.module)

    def cell_layer(self, number: int) -> Array:
        """A layer of the cell decoder, counted from 1, at each cell's position and covariates, (n, .)."""
        check_layer(self.module, "cells", number)
        z_nk, _ = encode(self.module, self.expression)
        return cell_layer(self.module, z_nk, self.expression.design_nb, number).astype(np.float64)

    def gene_layer(self, number: int) -> Array:
        """A layer of the gene decoder, counted from 1, at each gene's posterior mean, (g, .)."""
        check_layer(self.module, "genes", number)
        return gene_layer(self.module, number)[self._at(np.arange(len(self.genes)))].astype(np.float64)

    def decode(self, z_mk: Array) -> Array:
        """Prediction z.v + h.w at given positions and the average covariates, on the scale of the loadings, (m, g)."""
        z = (z_mk @ self.state.rotation_kk.T).astype(np.float32)
        design = np.zeros((len(z), self.expression.design_nb.shape[1]), np.float32)
        h = self.state.linear.remainder(z, joint(self.module, z, design), design)
        table = self._table(np.arange(len(self.genes)))
        return np.asarray(z.astype(np.float64) @ table.loading_gk.T + h @ table.joint_gd.T)

    def decoder(self, unit_n: Positions, n_units: int, genes: Positions) -> dict[str, Array]:
        """Mean of each part of the predictor over the cells of a unit: bias, covariates, axes, remainder, (u, f) each.

        `unit_n` is the unit of each cell, -1 for none.
        """
        table, mean_un = self._table(genes), _averaging(unit_n, n_units)
        z_nk, h_nd = self._cells()
        z_nk, v_fk = z_nk @ self.state.rotation_kk, table.loading_gk @ self.state.rotation_kk
        design_nb = self.expression.design_nb.astype(np.float64)
        parts = {
            "bias": np.tile(table.bias_g.astype(np.float64), (n_units, 1)),
            "covariates": (mean_un @ design_nb) @ table.offset_gb.T.astype(np.float64),
        }
        parts |= {axis: np.zeros((n_units, len(genes))) for axis in (*self.axes, "remainder")}
        for cells, gain_f in self._by_gain(table):
            some_un, scale_f = mean_un[:, cells], table.scale_g * gain_f
            z_uk, h_ud = some_un @ z_nk[cells], some_un @ h_nd[cells]
            for axis, name in enumerate(self.axes):
                parts[name] += z_uk[:, [axis]] * (scale_f * v_fk[:, axis])
            parts["remainder"] += (h_ud @ table.joint_gd.T) * scale_f
        return parts

    def encoder(
        self, unit_n: Positions, n_units: int, genes: Positions, axes: Positions, *, tolerance: float
    ) -> dict[str, Array]:
        """Mean contribution of genes to z over the cells of a unit.

        Returns
        -------
        "linear" and "nonlinear" (u, f, a); the same summed over all other genes, "other_linear" and "other_nonlinear"
        (u, a); "baseline" (u, a), the position of a cell whose values are all 0.
        """
        at, mean_un = self._at(genes), _averaging(unit_n, n_units)
        encoder = PathEncoder(self.module, self.state.rotation_kk[:, axes])
        shape = (n_units, len(genes), len(axes))
        found = {"linear": np.zeros(shape), "nonlinear": np.zeros(shape)}
        found |= {name: np.zeros(shape[::2]) for name in ("other_linear", "other_nonlinear", "baseline")}
        worst = 0.0
        for start in range(0, self.n_cells, CELLS):
            cells = slice(start, min(start + CELLS, self.n_cells))
            mean_uc = mean_un[:, cells]
            x_cg, design_cb = self._encoded(cells)
            baseline_ca, slope_cad, missed = encoder.slopes(x_cg, design_cb, tolerance)
            x_cf, worst = x_cg[:, at], max(worst, missed)
            found["baseline"] += mean_uc @ baseline_ca
            found["linear"] += (mean_uc @ x_cf)[:, :, None] * encoder.linear_ga[at]
            found["other_linear"] += mean_uc @ (x_cg @ encoder.linear_ga)
            for axis in range(len(axes)):
                part_cf = x_cf * (slope_cad[:, axis] @ encoder.first_dg[:, at])
                found["nonlinear"][:, :, axis] += mean_uc @ part_cf
            whole_ca = np.einsum("cd,cad->ca", x_cg @ encoder.first_dg.T, slope_cad)
            found["other_nonlinear"] += mean_uc @ whole_ca
        found["other_linear"] -= found["linear"].sum(axis=1)
        found["other_nonlinear"] -= found["nonlinear"].sum(axis=1)
        if worst > tolerance:
            warn(f"With {MOST_STEPS} steps contributions are known within {worst:.2g}, not tolerance={tolerance:g}.")
        return found

    # ------------------------------------------------------------------------------------------------- inside

    def _at(self, genes: Positions) -> Positions:
        place = {name: position for position, name in enumerate(self.state.reader.genes)}
        return np.array([place[self.genes[g]] for g in genes], dtype=np.intp)

    def _table(self, genes: Positions) -> GeneTable:
        return self.state.table.take(self._at(genes))

    def _cells(self) -> tuple[Array, Array]:
        """Positions on the axes of training, (n, k), and joint layer without its linear part, (n, d)."""
        design_nb = self.expression.design_nb
        z_nk, _ = encode(self.module, self.expression)
        h_nd = self.state.linear.remainder(z_nk, joint(self.module, z_nk, design_nb), design_nb)
        return z_nk.astype(np.float64), h_nd

    def _by_gain(self, table: GeneTable) -> Iterator[tuple[Positions, Array]]:
        """Cells that share a gain, and the gain of each gene there."""
        log_gain_fb = table.log_gain_gb.astype(np.float64)
        columns = np.flatnonzero(log_gain_fb.any(axis=0))
        rows, row_n = np.unique(self.expression.design_nb[:, columns], axis=0, return_inverse=True)
        for number, row in enumerate(rows.astype(np.float64)):
            yield np.flatnonzero(row_n.ravel() == number), np.exp(log_gain_fb[:, columns] @ row)

    def _encoded(self, cells: slice) -> tuple[Array, Tensor]:
        """Values that the encoder reads, without the effect of covariates, (c, g), and covariates."""
        design_cb = torch.from_numpy(self.expression.design_nb[cells])
        x_cg = self.module.without_covariates(torch.from_numpy(self.expression.standardised(cells)), design_cb)
        return x_cg.double().numpy(), design_cb.double()


def _averaging(unit_n: Positions, n_units: int) -> sparse.csr_array:
    """Matrix whose product with cells is the mean over the cells of each unit, (u, n)."""
    inside = np.flatnonzero(unit_n >= 0)
    size_u = np.bincount(unit_n[inside], minlength=n_units)
    if (size_u == 0).any():
        raise OptionError(f"{int((size_u == 0).sum())} of {n_units} groups have no cell. Leave them out.")
    weight = 1.0 / size_u[unit_n[inside]]
    return sparse.csr_array((weight, (unit_n[inside], inside)), shape=(n_units, len(unit_n)))
