"""What a trained model writes into an AnnData, so that later tools need neither the model nor X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae import _keys
from sivae._errors import some, warn
from sivae._space import made_of_loadings
from sivae._values import frame
from sivae.data import _setup
from sivae.model._build import Options
from sivae.model._predict import GeneTable
from sivae.model._trained import Trained, options_to_config

SAME = 1e-4
"""Loadings whose lengths differ by less are the same, turned or not."""
SPLIT_KINDS = ["train", "validation", "unseen", "unknown"]
"""A model that was loaded without its training AnnData does not know whom it saw: "unknown"."""


def write_cells(adata: AnnData, z_nk: NDArray[np.float32], state: Trained, *, training_names: pd.Index | None) -> None:
    """Write the cell embedding, and which cells trained, validated, or were not seen."""
    adata.obsm[_keys.CELLS] = z_nk
    train, validation, unseen, unknown = range(len(SPLIT_KINDS))
    code_n = np.full(adata.n_obs, unknown, np.int8)
    if training_names is not None:
        held = state.split().held(adata.obs_names)
        code_n[:] = np.where(held, validation, train)
        if not adata.obs_names.equals(training_names):
            code_n[~adata.obs_names.isin(training_names)] = unseen
    adata.obs[_keys.SPLIT] = pd.Categorical.from_codes(code_n, pd.Index(SPLIT_KINDS))


def write_genes(
    adata: AnnData, genes: Sequence[str], table: GeneTable, state: Trained, modelled: NDArray[np.bool_]
) -> None:
    """Write one entry per gene of the table, matched by name; other genes get NaN."""
    rows = adata.var_names.get_indexer(pd.Index(genes))
    mean_gk, variance_gk = state.loadings(table)
    columns: dict[str, NDArray[Any]] = {
        _keys.R2: table.r2_g,
        _keys.NOISE: table.noise_g,
        _keys.NOISE_VARIANCE: table.noise_variance_g,
        _keys.SCALE: table.scale_g,
        _keys.BIAS: table.bias_g,
        _keys.CONNECTED_P: table.connected_p_g,
        _keys.MODELLED: modelled,
    }
    if np.isfinite(table.inflation_g).any():
        columns[_keys.INFLATION] = table.inflation_g
    for key, values in columns.items():
        adata.var[key] = spread(values, rows, adata.n_vars)
    arrays: dict[str, NDArray[Any]] = {
        _keys.GENES: mean_gk,
        _keys.GENES_VAR: variance_gk,
        _keys.JOINT: table.joint_gd,
        _keys.ENCODER: table.encoder_gk @ state.rotation_kk,
    }
    for key, array in arrays.items():
        adata.varm[key] = spread(array, rows, adata.n_vars)


def write_uns(adata: AnnData, state: Trained, options: Options, *, variance_nk: NDArray[np.float32]) -> None:
    """Update `uns["sivae"]`, keeping what else is in it."""
    _setup.write_record(adata, state.reader.setup)
    training_n = (frame(adata.obs)[_keys.SPLIT] == "train").to_numpy()
    spread_k = variance_nk[training_n if training_n.any() else slice(None)].mean(axis=0, dtype=np.float64)
    adata.uns[_keys.UNS] = {
        **dict(adata.uns[_keys.UNS]),
        "options": plain(options_to_config(options)),
        "joint_covariance": state.rotated_covariance(),
        "position_variance": spread_k,
        "rotation": {"kind": state.rotation, "matrix": state.rotation_kk},
        "history": {key: np.array(value) for key, value in state.history.items()},
        "facts": plain(state.facts),
    }


def lengths(adata: AnnData) -> NDArray[np.float64] | None:
    """Length of each gene's loading, which no rotation changes, (n_vars,); None if there are none."""
    if _keys.GENES not in adata.varm:
        return None
    return np.asarray(np.linalg.norm(np.asarray(adata.varm[_keys.GENES], np.float64), axis=1))


def warn_of_older(adata: AnnData, before_g: NDArray[np.float64] | None) -> None:
    """Say what was made of other loadings than those that are there now, with their lengths before."""
    after_g, made = lengths(adata), made_of_loadings(adata)
    if before_g is None or after_g is None or not made:
        return
    if not np.allclose(before_g, after_g, rtol=SAME, atol=SAME, equal_nan=True):
        names = some([f"{where}[{key!r}]" for where, key in made], 12)
        warn(
            f"{names} came from an earlier annotation of this AnnData and stay as they were. Call "
            "sivae.tl.gene_neighbors, hubs and modules again, or remove them."
        )


def spread(values: NDArray[Any], rows: NDArray[np.intp], n: int) -> NDArray[Any]:
    """Values at their rows of an array of `n` rows, NaN (False for booleans) elsewhere; row -1 is dropped."""
    values = np.asarray(values)
    is_flag = values.dtype == bool
    result = np.full((n, *values.shape[1:]), False if is_flag else np.nan, dtype=bool if is_flag else np.float64)
    result[rows[rows >= 0]] = values[rows >= 0]
    return result


def plain(value: Any) -> Any:
    """Values that h5ad can hold: tuples and lists become arrays, None an empty string."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return np.array(value)
    return "" if value is None else value
