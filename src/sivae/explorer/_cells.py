"""Cells of the page: positions, labels and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.explorer._blobs import Blobs

    Positions = NDArray[np.intp]

MAX_CATEGORIES: Final = 200
"""A column of text with more of them names cells rather than groups; it is left out and named."""
MISSING: Final = 65_535
"""Code of a cell without a category."""


def labels(adata: AnnData, cells: Positions, *, label: str | None, blobs: Blobs) -> dict[str, Any]:
    """Columns of `obs` for some cells: the label first, then the others; and those left out."""
    obs = frame(adata.obs)
    names = [name for name in obs.columns if name != label]
    names = names if label is None else [label, *names]
    columns, left_out = [], []
    for name in names:
        column = _column(obs[name], cells, blobs, must=name == label)
        if column is None:
            left_out.append(str(name))
        else:
            columns.append({"name": str(name), **column})
    return {"columns": columns, "left_out": left_out, "label": None if label is None else 0}


def _column(column: pd.Series[Any], cells: Positions, blobs: Blobs, *, must: bool) -> dict[str, Any] | None:
    is_number = column.dtype.kind in "fiu"
    if is_number and not must:
        return {"kind": "number", "blob": blobs.numbers(column.to_numpy(np.float64, na_value=np.nan)[cells])}
    if not isinstance(column.dtype, pd.CategoricalDtype):
        named = column if is_number else column.astype(str).where(column.notna())
        column = named.astype("category")
    if len(column.cat.categories) > (MISSING if must else MAX_CATEGORIES):
        return None
    codes = column.cat.codes.to_numpy()[cells].astype(np.int64)
    codes[codes < 0] = MISSING
    categories = [str(name) for name in column.cat.categories]
    return {"kind": "category", "categories": categories, "blob": blobs.numbers(codes.astype(np.uint16))}


def scores(adata: AnnData, cells: Positions, blobs: Blobs) -> list[dict[str, str]]:
    """Scores of modules and of gene sets in some cells, where there are any."""
    found = []
    for key, group in ((_keys.MODULE_SCORES, "Modules"), (_keys.GENE_SET_SCORES, "Gene sets")):
        table = adata.obsm.get(key)
        if isinstance(table, pd.DataFrame):
            for name in table.columns:
                values = table[name].to_numpy(np.float64)[cells]
                found.append({"name": str(name), "group": group, "blob": blobs.numbers(values)})
    return found
