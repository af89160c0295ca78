"""A held-out protocol: cells are split by a hash of their names before anything is fitted.

Genes are chosen and scaled on the training cells; what is measured on the others is in `bench/_measures.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy import sparse

import sivae
from bench._data import Source
from sivae._rng import name_fractions

TARGET, CLIP = 1e4, 10.0


@dataclass(frozen=True)
class Data:
    """One data set: n cells, g chosen genes; `test` marks the held-out cells. `counts.obs` has the batch, if any."""

    name: str
    counts: anndata.AnnData
    labels: np.ndarray
    test: np.ndarray
    scaled_ng: np.ndarray
    mean_g: np.ndarray
    sd_g: np.ndarray
    log: bool = True
    """Whether the values are counts, scaled as log1p of counts per 10,000; otherwise they are taken as they are."""

    @property
    def training(self) -> anndata.AnnData:
        return self.counts[~self.test].copy()

    @property
    def batch(self) -> np.ndarray | None:
        return self.counts.obs["batch"].to_numpy() if "batch" in self.counts.obs else None

    def scale(self, rate_ng: np.ndarray) -> np.ndarray:
        """The standardised scale of shares of a cell's counts, or of values."""
        if not self.log:
            return (np.asarray(rate_ng) - self.mean_g) / self.sd_g
        return (np.log1p(TARGET * np.asarray(rate_ng)) - self.mean_g) / self.sd_g


def load(path: Path, label: str, *, n_genes: int = 2000, held_out: float = 0.2) -> Data:
    """Read counts of a file and prepare them."""
    return prepare(path.stem, anndata.read_h5ad(path), label, n_genes=n_genes, held_out=held_out)


def of(source: Source, *, n_genes: int = 2000, n_cells: int | None = None) -> Data:
    """A data set of `bench/_data.py`, prepared."""
    return prepare(source.name, source.make(), source.label, batch=source.batch, n_genes=n_genes, n_cells=n_cells)


def prepare(
    name: str,
    adata: anndata.AnnData,
    label: str,
    *,
    batch: str | None = None,
    n_genes: int = 2000,
    n_cells: int | None = None,
    held_out: float = 0.2,
) -> Data:
    """Split cells, choose genes, standardise; every statistic from the training cells.

    `n_cells` keeps as many cells, chosen by another hash of their names.
    """
    fraction_n = name_fractions(list(adata.obs_names), 1)
    if n_cells is not None and n_cells < adata.n_obs:
        kept = np.sort(np.argsort(name_fractions(list(adata.obs_names), 2), kind="stable")[:n_cells])
        adata, fraction_n = adata[kept], fraction_n[kept]
    test = fraction_n < held_out
    adata = adata[:, np.asarray((adata.X[~test] > 0).sum(axis=0)).ravel() >= 10].copy()
    training = adata[~test].copy()
    if adata.n_vars > n_genes:
        sivae.pp.select_genes(training, n_genes)
        adata = adata[:, training.var["highly_variable"].to_numpy()].copy()
    counted = np.asarray(adata.X.sum(axis=1)).ravel() > 0
    adata, test = adata[counted].copy(), test[counted]
    log_ng = log_values(adata.X, np.asarray(adata.X.sum(axis=1)).ravel())
    mean_g, sd_g = log_ng[~test].mean(axis=0), np.maximum(log_ng[~test].std(axis=0), 1e-6)
    scaled_ng = np.clip((log_ng - mean_g) / sd_g, -CLIP, CLIP)
    obs = adata.obs[[]].copy()
    if batch is not None:
        obs["batch"] = adata.obs[batch].astype(str).to_numpy()
    truth = {key: value for key, value in adata.uns.items() if key == "edges"}
    bare = anndata.AnnData(sparse.csr_matrix(adata.X), obs=obs, var=adata.var.copy(), uns=truth)
    for key in adata.varm:
        bare.varm[key] = adata.varm[key]
    return Data(name, bare, adata.obs[label].astype(str).to_numpy(), test, scaled_ng, mean_g, sd_g)


def of_values(name: str, adata: anndata.AnnData, labels: np.ndarray, *, held_out: float = 0.2) -> Data:
    """Values that are no counts, taken as they are; what is constant over the training cells is scaled to 0."""
    test = name_fractions(list(adata.obs_names), 1) < held_out
    x_ng = np.asarray(adata.X)
    mean_g, sd_g = x_ng[~test].mean(axis=0), x_ng[~test].std(axis=0)
    sd_g[sd_g < 1e-6] = np.inf
    scaled_ng = np.clip((x_ng - mean_g) / sd_g, -CLIP, CLIP)
    return Data(name, adata, np.asarray(labels).astype(str), test, scaled_ng, mean_g, sd_g, log=False)


def log_values(counts_ng: Any, library_n: np.ndarray) -> np.ndarray:
    """log1p of counts per 10,000, dense."""
    dense = counts_ng.toarray() if sparse.issparse(counts_ng) else np.asarray(counts_ng)
    return np.log1p(TARGET * dense / library_n[:, None])
