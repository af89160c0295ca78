"""What a trained model writes into an AnnData, so that later tools need neither the model nor X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from sivae import _keys


def spread(values: NDArray[Any], rows: NDArray[np.intp], n: int) -> NDArray[Any]:
    """Values at their rows of an array of `n` rows, NaN (False for booleans) elsewhere; row -1 is dropped."""
    values = np.asarray(values)
    empty = False if values.dtype == bool else np.nan
    result = np.full((n, *values.shape[1:]), empty, dtype=values.dtype if values.dtype == bool else np.float64)
    result[rows[rows >= 0]] = values[rows >= 0]
    return result


def write_genes(
    adata: AnnData, genes: Sequence[str], columns: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write one entry per gene of the model, matched by name; other genes get NaN."""
    rows = adata.var_names.get_indexer(list(genes))
    for key, values in columns.items():
        adata.var[key] = spread(values, rows, adata.n_vars)
    for key, values in arrays.items():
        adata.varm[key] = spread(values, rows, adata.n_vars)


def write_uns(adata: AnnData, entries: Mapping[str, Any]) -> None:
    """Update `uns["sivae"]`, keeping what else is in it."""
    adata.uns[_keys.UNS] = {**dict(adata.uns.get(_keys.UNS, {})), **entries}
