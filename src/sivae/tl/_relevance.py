"""Gene Relevance: loadings of genes on any embedding of cells, from nearest neighbors."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._values import values_of
from sivae.graph._attribution import attribution_loading
from sivae.graph._relevance import nearest_cells, partial_derivatives
from sivae.tl._sample import sample_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@door
def gene_relevance(
    adata: AnnData,
    *,
    basis: str = _keys.CELLS,
    layer: str | None = None,
    n_neighbors: int = 20,
    n_cells: int | None = 1000,
    groupby: str | None = None,
    estimator: Literal["median", "least_squares"] = "median",
    center: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Loadings of genes on an embedding of cells, from partial derivatives of expression between nearest neighbors.

    In a cell c, the derivative of gene g along axis a is the median over the nearest neighbors j of
    (e_jg - e_cg) / (y_ja - y_ca) (Angerer et al. 2020, Bioinformatics 36:4291, doi 10.1093/bioinformatics/btaa198;
    there neighbors are those in expression and derivatives are smoothed along the axis, here they are those on the map
    and nothing is smoothed). Derivatives in cells become one number per gene as in `attributions`.

    Parameters
    ----------
    adata
        Cells with an embedding and their values; any embedding, no model.
    basis
        Array of `obsm`.
    layer
        Layer that holds the values; `X` if None. They are read as they are: what depth does to counts is in them.
    n_neighbors
        Neighbors of a cell on the map.
    n_cells
        Cells in which to differentiate, chosen by hash of their names; all if None. Neighbors are among all cells. The
        values of these cells and their neighbors are held in memory.
    groupby
        Column of `obs`; each of its groups has its share of these cells.
    estimator
        "median", or "least_squares": the slope on all axes at once over the neighbors.
    center
        As in `attributions`.
    seed
        Seed of the choice of cells.

    Returns
    -------
    Frame genes x axes. `attrs` has "method", "n_cells" and "seconds".

    Raises
    ------
    SetupError
        If the embedding or the values are not there, or the embedding is not finite.
    OptionError
        If there are no more cells than `n_neighbors`, or an option is not one of those named.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50, n_factors=3)
    >>> sivae.tl.gene_relevance(adata, basis="planted_z").shape
    (50, 3)
    """
    y_nk = _embedding(adata, basis)
    if estimator not in ("median", "least_squares"):
        raise OptionError(f"estimator is {estimator!r}; expected 'median' or 'least_squares'.")
    if not 2 <= n_neighbors < adata.n_obs:
        raise OptionError(
            f"n_neighbors is {n_neighbors}; expected at least 2 and less than the number of cells ({adata.n_obs})."
        )
    started = time.perf_counter()
    rows = sample_cells(adata, n_cells, groupby=groupby, seed=seed)
    neighbors_cj = nearest_cells(y_nk, rows, n_neighbors)
    needed = np.unique(np.concatenate([rows, neighbors_cj.ravel()]))
    e_ng, y_nk = _read(adata, layer, needed), y_nk[needed]
    at, at_neighbors = np.searchsorted(needed, rows), np.searchsorted(needed, neighbors_cj)
    columns = {
        f"axis{axis + 1}": attribution_loading(
            partial_derivatives(e_ng, y_nk, at, at_neighbors, axis=axis, estimator=estimator), center=center
        )
        for axis in range(y_nk.shape[1])
    }
    found = pd.DataFrame(columns, index=pd.Index(adata.var_names, name="gene"))
    found.attrs = {"method": "gene_relevance", "n_cells": len(rows), "seconds": time.perf_counter() - started}
    return found


def _embedding(adata: AnnData, basis: str) -> NDArray[np.float64]:
    check_adata(adata)
    if basis not in adata.obsm:
        raise SetupError(
            f"Found no obsm[{basis!r}], expected an embedding of cells; obsm has: "
            f"{some(adata.obsm.keys()) or 'nothing'}. Name one of these as basis."
        )
    try:
        y_nk = np.asarray(adata.obsm[basis], dtype=np.float64)
    except (TypeError, ValueError):
        y_nk = np.empty(0)
    if y_nk.ndim != 2 or not np.isfinite(y_nk).all():
        raise SetupError(
            f"obsm[{basis!r}] is not a table of finite numbers, cells x axes. Drop the cells that have no position."
        )
    return y_nk


def _read(adata: AnnData, layer: str | None, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Values of some cells, dense, (cells, genes)."""
    values = values_of(adata, layer)
    values = replace(values, rows=values.rows[rows])
    result = np.zeros(values.shape, np.float32)
    for at_rows, at_columns, tile in values.pieces():
        result[np.ix_(at_rows, at_columns)] = tile.toarray() if hasattr(tile, "toarray") else tile
    return result
