"""Feature awareness: how much better than its mean a layer reconstructs a gene, averaged over cells. Arrays only.

For a layer s with gene loadings f, and values and layer taken without what an intercept and the covariates say of
them (x, s),

    awareness_g = mean_c [ x_cg^2 - (x_cg - s_c.f_g)^2 ] = 2 mean_c(x_cg s_c).f_g - f_g' mean_c(s_c s_c') f_g,

so that cross products of values and layer, summed in one pass, are all that is needed.
Source: Choi, Li, Quon 2023 (doi 10.1186/s13059-023-02850-y), feature awareness; the intercept and the covariates are
this package's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
LEAST_SD = 1e-9
"""A unit that varies less is constant."""


@dataclass(frozen=True)
class Layer:
    """Coordinates of cells, (n, k), and loadings of genes, (g, k)."""

    cells_nk: Array
    loadings_gk: Array


def awareness(
    blocks: Iterable[tuple[slice, Array]],
    layers: dict[str, Layer],
    design_nb: Array,
    *,
    group_n: Positions,
    n_groups: int,
) -> tuple[dict[str, Array], Array]:
    """Awareness by layer, (m, g) each, and variance of the values without covariates, (m, g).

    Parameters
    ----------
    blocks
        Values of cells, rows (a slice of the cells) and (c, g), each cell once.
    layers
        Layers by name.
    design_nb
        Covariates of the cells; an intercept is added.
    group_n, n_groups
        Group of each cell, 0 to n_groups - 1, or -1 for none; groups without cells are NaN.
    """
    basis_nb = basis(design_nb)
    residual = {name: _residual(layer.cells_nk, basis_nb) for name, layer in layers.items()}
    column_np = np.concatenate([*residual.values(), basis_nb], axis=1)
    member_mn = np.arange(n_groups + 1)[:, None] == np.where(group_n < 0, n_groups, group_n)
    square_mg, cross_mpg = _sums(blocks, column_np, member_mn)
    n_basis = basis_nb.shape[1]
    slope_bg = cross_mpg[:, -n_basis:].sum(axis=0)  # the basis is orthonormal
    gram_mbb = np.einsum("mn,nb,na->mba", member_mn, basis_nb, basis_nb, optimize=True)
    on_basis_mg = np.einsum("mbg,bg->mg", cross_mpg[:, -n_basis:], slope_bg)
    square_mg = square_mg - 2 * on_basis_mg + np.einsum("bg,mba,ag->mg", slope_bg, gram_mbb, slope_bg, optimize=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_m1 = 1.0 / member_mn.sum(axis=1)[:, None].astype(np.float64)
        share_m1[~np.isfinite(share_m1)] = np.nan
    result, first = {}, 0
    for name, layer in layers.items():
        cells_nk, last = residual[name], first + layer.cells_nk.shape[1]
        mixed_mbk = np.einsum("mn,nb,nk->mbk", member_mn, basis_nb, cells_nk, optimize=True)
        cross_mkg = cross_mpg[:, first:last] - np.einsum("mbk,bg->mkg", mixed_mbk, slope_bg)
        gram_mkk = np.einsum("mn,nk,nl->mkl", member_mn, cells_nk, cells_nk, optimize=True)
        f_gk, first = layer.loadings_gk, last
        gain_mg = 2 * np.einsum("mkg,gk->mg", cross_mkg, f_gk, optimize=True)
        result[name] = share_m1 * (gain_mg - np.einsum("gk,mkl,gl->mg", f_gk, gram_mkk, f_gk, optimize=True))
    return {name: value_mg[:n_groups] for name, value_mg in result.items()}, (share_m1 * square_mg)[:n_groups]


def regressed(
    blocks: Iterable[tuple[slice, Array]],
    cells_nd: Array,
    design_nb: Array,
    *,
    training_n: NDArray[np.bool_],
    ridge: float,
) -> Layer:
    """A layer of the cells with the loadings that predict genes best from it, by ridge regression on training cells.

    With S the units of the layer, each divided by its standard deviation (a constant one by 1), and X the values, both
    without what an intercept and the covariates say of them,

        f = (S'S + ridge 1)^-1 S'X.

    Parameters
    ----------
    blocks
        Values of the training cells, in order: rows (a slice of them) and (c, g).
    cells_nd, design_nb
        Layer and covariates of all cells.
    training_n
        The training cells.
    ridge
        Penalty, in cells.
    """
    train_nd, basis_nb = cells_nd[training_n], basis(design_nb[training_n])
    centre_d, train_nd = train_nd.mean(axis=0), _residual(train_nd, basis_nb)
    sd_d = train_nd.std(axis=0)
    sd_d = np.where(sd_d > LEAST_SD, sd_d, 1.0)
    train_nd /= sd_d
    cross_dg = sum((train_nd[rows].T @ x_cg for rows, x_cg in blocks), np.zeros((train_nd.shape[1], 1)))
    loading_dg = np.linalg.solve(train_nd.T @ train_nd + ridge * np.eye(len(cross_dg)), cross_dg)
    return Layer((cells_nd - centre_d) / sd_d, np.asarray(loading_dg).T)


def basis(design_nb: Array) -> Array:
    """Orthonormal basis of an intercept and the covariates, (n, b)."""
    columns = np.concatenate([np.ones((len(design_nb), 1)), design_nb], axis=1)
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > 1e-8 * values[0]])


def _residual(cells_nk: Array, basis_nb: Array) -> Array:
    return np.asarray(cells_nk - basis_nb @ (basis_nb.T @ cells_nk))


def _sums(blocks: Iterable[tuple[slice, Array]], column_np: Array, member_mn: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Sums over the cells of each group of squared values, (m, g), and of columns times values, (m, p, g)."""
    square_mg, cross_mpg = None, None
    for rows, x_cg in blocks:
        if square_mg is None or cross_mpg is None:
            square_mg = np.zeros((len(member_mn), x_cg.shape[1]))
            cross_mpg = np.zeros((len(member_mn), column_np.shape[1], x_cg.shape[1]))
        for m, member_n in enumerate(member_mn):
            mine = member_n[rows]
            if mine.any():
                x, column = x_cg[mine], column_np[rows][mine]
                square_mg[m] += np.einsum("cg,cg->g", x, x)
                cross_mpg[m] += column.T @ x
    if square_mg is None or cross_mpg is None:
        raise ValueError("There are no cells.")
    return square_mg, cross_mpg
