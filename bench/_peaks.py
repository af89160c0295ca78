"""Open chromatin for `wide.py` and `chromatin.py`: cells that mix a few topics, each with its peaks; what was planted.

A cell draws about 2 % of the peaks, from the topics by its own shares. Topics differ in a twentieth of the peaks, which
are eight times as open in them; peaks differ in how open they are in all.
"""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

TOPICS, OPEN, DEPTH_SD = 12, 0.02, 0.4
OWN, TIMES = 0.05, 8.0
CELLS_AT_ONCE = 1000


def peaks(n_cells: int, n_peaks: int, *, seed: int = 0) -> anndata.AnnData:
    """Cells x peaks, counts of reads, CSR.

    `varm["topics"]` are the peaks' chances in each topic, `obs["topic"]` is the one that a cell holds most of.
    """
    rng = np.random.default_rng(seed)
    weight_kg = np.where(rng.random((TOPICS, n_peaks)) < OWN, TIMES, 1.0) * rng.lognormal(0.0, 0.7, n_peaks)
    topic_kg = weight_kg / weight_kg.sum(axis=1, keepdims=True)
    share_nk = rng.dirichlet(np.full(TOPICS, 0.15), n_cells)
    depth_n = np.maximum(rng.poisson(OPEN * n_peaks * rng.lognormal(0.0, DEPTH_SD, n_cells)), 5)
    parts = [
        _drawn(share_nk[start : start + CELLS_AT_ONCE], depth_n[start : start + CELLS_AT_ONCE], topic_kg, rng)
        for start in range(0, n_cells, CELLS_AT_ONCE)
    ]
    adata = anndata.AnnData(
        sparse.vstack(parts, format="csr"),
        obs=pd.DataFrame(
            {"topic": share_nk.argmax(axis=1).astype(str)}, index=pd.Index([f"cell_{cell}" for cell in range(n_cells)])
        ),
        var=pd.DataFrame(index=pd.Index([f"peak_{peak:07d}" for peak in range(n_peaks)])),
    )
    adata.varm["topics"] = topic_kg.T
    return adata


def _drawn(
    share_ck: np.ndarray, depth_c: np.ndarray, topic_kg: np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    per_topic_ck = rng.multinomial(depth_c, share_ck)
    rows, columns = [], []
    for k, chance_g in enumerate(topic_kg):
        rows.append(np.repeat(np.arange(len(share_ck)), per_topic_ck[:, k]))
        found = np.searchsorted(np.cumsum(chance_g), rng.random(len(rows[-1])))
        columns.append(np.minimum(found, len(chance_g) - 1))
    row, column = np.concatenate(rows), np.concatenate(columns)
    ones, shape = np.ones(len(row), np.float32), (len(share_ck), topic_kg.shape[1])
    return sparse.coo_matrix((ones, (row, column)), shape=shape).tocsr()


def planted(adata: anndata.AnnData, sd_g: np.ndarray) -> np.ndarray:
    """Orthonormal directions in which cells of different topics differ, on the standardised scale, (g, topics - 1)."""
    topic_gk = np.asarray(adata.varm["topics"])
    apart_gk = (topic_gk - topic_gk.mean(axis=1, keepdims=True)) / np.maximum(sd_g, 1e-9)[:, None]
    return np.asarray(np.linalg.svd(apart_gk, full_matrices=False)[0][:, :-1])
