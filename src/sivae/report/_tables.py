"""The tables of a run, as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._spreadsheet import write_csv
from sivae.pl import _history, _loadings, _read

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

N_GENES: Final = 20
"""Genes at each end of an axis."""


def write(adata: AnnData, folder: Path, *, label: str | None) -> None:
    """Write cells.csv, genes.csv, axes.csv and history.csv into a new folder."""
    folder.mkdir()
    write_csv(cells(adata, label), folder / "cells.csv")
    write_csv(genes(adata), folder / "genes.csv")
    write_csv(axes(adata), folder / "axes.csv")
    write_csv(pd.DataFrame(_history.read_history(adata)), folder / "history.csv")


def cells(adata: AnnData, label: str | None) -> pd.DataFrame:
    """Return cell, split, the label column if there is one, and the position on each axis."""
    table = pd.DataFrame({"cell": adata.obs_names.astype(str)})
    for key, name in ((_keys.SPLIT, "split"), (label, f"label:{label}")):
        if key is not None and key in adata.obs:
            table[name] = adata.obs[key].astype(str).to_numpy()
    position_nk = _read.cell_positions(adata)
    columns = {f"axis{k + 1}": position_nk[:, k] for k in range(position_nk.shape[1])}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def genes(adata: AnnData) -> pd.DataFrame:
    """Return gene, whether it was modelled, loading and standard deviation on each axis, and evidence."""
    loading_gk, sd_gk = _read.gene_positions(adata), _loadings.deviations(adata)
    columns: dict[str, object] = {"gene": adata.var_names.astype(str), "modelled": _read.modelled(adata)}
    columns |= {f"axis{k + 1}": loading_gk[:, k] for k in range(loading_gk.shape[1])}
    columns |= {f"axis{k + 1}_sd": sd_gk[:, k] for k in range(sd_gk.shape[1])}
    evidence = {
        _keys.R2: "r2",
        _keys.NOISE: "noise",
        _keys.INFLATION: "zero_inflation",
        _keys.CONNECTED_P: "connected_pvalue",
    }
    for key, name in evidence.items():
        if key in adata.var:
            columns[name] = adata.var[key].to_numpy(dtype=np.float64)
    return pd.DataFrame(columns)


def axes(adata: AnnData) -> pd.DataFrame:
    """Return the genes at both ends of each axis: axis, unused, end, rank, gene, loading, sd."""
    loading_gk, sd_gk, unused = _read.gene_positions(adata), _loadings.deviations(adata), _read.unused_axes(adata)
    rows = []
    for axis in range(loading_gk.shape[1]):
        genes_, n_high = _loadings.ends(adata, axis, n_genes=N_GENES)
        for end, members in (("high", genes_[:n_high]), ("low", genes_[n_high:][::-1])):
            for rank, g in enumerate(members, start=1):
                gene = str(adata.var_names[g])
                rows.append((axis + 1, bool(unused[axis]), end, rank, gene, loading_gk[g, axis], sd_gk[g, axis]))
    return pd.DataFrame(rows, columns=["axis", "unused", "end", "rank", "gene", "loading", "sd"])
