"""A sample of cells that depends on their names alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae._errors import OptionError, SetupError, some
from sivae._rng import name_fractions
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def sample_cells(adata: AnnData, n_cells: int | None, *, groupby: str | None, seed: int) -> NDArray[np.intp]:
    """Rows of at most `n_cells` cells in ascending order; each group (column of `obs`) has its share of them."""
    if n_cells is not None and n_cells < 1:
        raise OptionError(f"n_cells is {n_cells}; expected at least 1, or None for all.")
    if groupby is not None and groupby not in adata.obs:
        raise SetupError(f"obs has no column {groupby!r}, expected one of: {some(adata.obs, 20)}. Name one as groupby.")
    if n_cells is None or n_cells >= adata.n_obs:
        return np.arange(adata.n_obs)
    fraction_n = name_fractions(list(adata.obs_names), seed)
    group_n = np.zeros(adata.n_obs) if groupby is None else frame(adata.obs)[groupby].astype(str).to_numpy()
    place_n = np.empty(adata.n_obs)
    for group in np.unique(group_n):
        rows = np.flatnonzero(group_n == group)
        place_n[rows[np.argsort(fraction_n[rows])]] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.sort(np.lexsort((fraction_n, place_n))[:n_cells])
