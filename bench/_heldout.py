"""A held-out protocol: what a trained model says of cells that it never saw.

Cells are split by a hash of their names before anything is fitted; genes are chosen and scaled on the training cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy import sparse, stats
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

import sivae
from sivae._rng import name_fractions

TARGET, CLIP = 1e4, 10.0


@dataclass(frozen=True)
class Data:
    """One data set: n cells, g chosen genes; `test` marks the held-out cells."""

    name: str
    counts: anndata.AnnData
    labels: np.ndarray
    test: np.ndarray
    scaled_ng: np.ndarray
    mean_g: np.ndarray
    sd_g: np.ndarray

    @property
    def training(self) -> anndata.AnnData:
        return self.counts[~self.test].copy()


def load(path: Path, label: str, *, n_genes: int = 2000, held_out: float = 0.2) -> Data:
    """Read counts, split cells, choose genes, standardise; every statistic from the training cells."""
    adata = anndata.read_h5ad(path)
    test = name_fractions(list(adata.obs_names), 1) < held_out
    adata = adata[:, np.asarray((adata.X[~test] > 0).sum(axis=0)).ravel() >= 10].copy()
    training = adata[~test].copy()
    if adata.n_vars > n_genes:
        sivae.pp.select_genes(training, n_genes)
        adata = adata[:, training.var["highly_variable"].to_numpy()].copy()
    kept = np.asarray(adata.X.sum(axis=1)).ravel() > 0
    adata, test = adata[kept].copy(), test[kept]
    log_ng = log_values(adata.X, np.asarray(adata.X.sum(axis=1)).ravel())
    mean_g, sd_g = log_ng[~test].mean(axis=0), np.maximum(log_ng[~test].std(axis=0), 1e-6)
    scaled_ng = np.clip((log_ng - mean_g) / sd_g, -CLIP, CLIP)
    labels = adata.obs[label].astype(str).to_numpy()
    bare = anndata.AnnData(adata.X, obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
    return Data(path.stem, bare, labels, test, scaled_ng, mean_g, sd_g)


def log_values(counts_ng: Any, library_n: np.ndarray) -> np.ndarray:
    """log1p of counts per 10,000, dense."""
    dense = counts_ng.toarray() if sparse.issparse(counts_ng) else np.asarray(counts_ng)
    return np.log1p(TARGET * dense / library_n[:, None])


def score(data: Data, model: sivae.SiVAE) -> dict[str, float]:
    """Cells, expression, gene neighbours and hubs on held-out cells; all but `loss` better when higher."""
    z_nk = model.get_latent_representation(data.counts)
    rate_ng = model.get_normalized_expression(data.counts, library_size=1.0).to_numpy()
    predicted_ng = (np.log1p(TARGET * rate_ng) - data.mean_g) / data.sd_g
    v_gk = model.get_feature_representation().loc[list(data.counts.var_names)].to_numpy()
    x_train, x_test = data.scaled_ng[~data.test], data.scaled_ng[data.test]
    correlation = np.nan_to_num(np.corrcoef(x_test, rowvar=False))
    np.fill_diagonal(correlation, 0.0)
    degree_g, power_g = np.abs(correlation).mean(axis=1), (correlation**2).mean(axis=1)
    norm_g = np.linalg.norm(v_gk, axis=1)
    classifier = KNeighborsClassifier(15)
    held = classifier.fit(z_nk[~data.test], data.labels[~data.test]).score(z_nk[data.test], data.labels[data.test])
    r2_g = explained(x_train, predicted_ng[~data.test], x_test, predicted_ng[data.test])
    return {
        "knn": float((cross_val_predict(classifier, z_nk, data.labels, cv=5) == data.labels).mean()),
        "knn_test": float(held),
        "r2": float(r2_g[np.argsort(-degree_g)[:300]].mean()),
        "neighbors": neighbor_r2(v_gk, x_train, x_test),
        "hub": float(stats.spearmanr(norm_g, degree_g)[0]),
        "top50": float(power_g[np.argsort(-norm_g)[:50]].sum() / np.sort(power_g)[-50:].sum()),
    }


def explained(x_train: np.ndarray, p_train: np.ndarray, x_test: np.ndarray, p_test: np.ndarray) -> np.ndarray:
    """Share of each gene's held-out variance explained, after a line fitted on training cells, (g,)."""
    centred = p_train - p_train.mean(axis=0)
    slope = (centred * x_train).mean(axis=0) / np.maximum((centred**2).mean(axis=0), 1e-12)
    fitted = x_train.mean(axis=0) + slope * (p_test - p_train.mean(axis=0))
    base = ((x_test - x_train.mean(axis=0)) ** 2).sum(axis=0)
    return 1 - ((x_test - fitted) ** 2).sum(axis=0) / np.maximum(base, 1e-12)


def neighbor_r2(v_gk: np.ndarray, x_train: np.ndarray, x_test: np.ndarray, n_neighbors: int = 20) -> float:
    """Mean over genes of the held-out R2 of a ridge regression on the genes of nearest cosine."""
    unit = v_gk / np.maximum(np.linalg.norm(v_gk, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.argpartition(-cosine, n_neighbors, axis=1)[:, :n_neighbors]
    gram = x_train.T @ x_train / len(x_train)
    fitted = np.empty_like(x_test)
    for g, others in enumerate(near):
        beta = np.linalg.solve(gram[np.ix_(others, others)] + 0.1 * np.eye(n_neighbors), gram[others, g])
        fitted[:, g] = x_test[:, others] @ beta
    base = np.maximum((x_test**2).sum(axis=0), 1e-12)
    return float((1 - ((x_test - fitted) ** 2).sum(axis=0) / base).mean())
