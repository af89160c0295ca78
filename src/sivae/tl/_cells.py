"""Cells of an AnnData: their positions, and groups of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._errors import OptionError, SetupError, some
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Names of groups, and the group of each cell (-1 for none)."""

    names: tuple[str, ...]
    group_n: NDArray[np.intp]

    def members(self, group: int) -> NDArray[np.intp]:
        """Cells of one group."""
        return np.flatnonzero(self.group_n == group)


def positions(adata: AnnData, cells_rep: str | None, n_axes: int) -> Array:
    """Positions of the cells, (n, k), with as many axes as the genes have.

    Raises
    ------
    SetupError
        If they are not there, or have other axes.
    """
    key = _keys.CELLS if cells_rep is None else cells_rep
    if key not in adata.obsm:
        hint = "Call model.annotate(adata)." if cells_rep is None else "Name one of these as cells_rep."
        raise SetupError(
            f"Found no obsm[{key!r}], expected positions of the cells; obsm has: "
            f"{some(adata.obsm.keys()) or 'nothing'}. {hint}"
        )
    try:
        z_nk = np.asarray(adata.obsm[key], dtype=np.float64)
    except (TypeError, ValueError):
        z_nk = np.empty(0)
    if z_nk.ndim != 2 or z_nk.shape[1] != n_axes:
        raise SetupError(
            f"obsm[{key!r}] has shape {z_nk.shape}, expected {n_axes} columns, as many as the genes have axes. "
            "Name arrays that belong together as use_rep and cells_rep."
        )
    return z_nk


def groups_of(adata: AnnData, groupby: str) -> Groups:
    """Groups of cells by a column of obs, in the order of their categories or names; missing values are in none.

    Raises
    ------
    OptionError
        If there is no such column.
    """
    obs = frame(adata.obs)
    if groupby not in obs:
        raise OptionError(f"Found groupby={groupby!r}, expected a column of obs: {some(obs, 20) or 'it has none'}.")
    column = obs[groupby]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.where(column.isna(), column.astype(str)).astype("category")
    column = column.cat.remove_unused_categories()
    return Groups(tuple(str(name) for name in column.cat.categories), column.cat.codes.to_numpy().astype(np.intp))
