"""Planted hubs: does a centrality find the genes of large loadings, also among genes of like expression?

Five independent factors of equal strength, each with 40 genes: four hubs of loading 0.8 (log scale) and 36 others of
0.2 to 0.4, half of all signs negative; 300 genes follow nothing. Negative binomial counts, overdispersion 0.2, log
abundance of sd 0.8 whatever the gene, depth that varies. As many genes are chosen as there are hubs, so precision is
recall; "given expression" does that within each fifth of the genes by mean expression, as many as it has hubs.
Competitors see the same training cells: mean absolute correlation of log-normalised values (degree of the raw network),
kME as in hdWGCNA (the correlation with a module's first principal component, where the true modules are given away),
and mean expression itself.
"""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

import sivae
from bench import _common
from bench._heldout import log_values

N_CELLS = 1500
HUBS, HUB_LOADING, OTHER_LOADINGS = 4, 0.8, (0.2, 0.4)
OURS = ("strength", "power", "norm", "degree", "explained", "attribution")


def with_hubs(
    seed: int, n_cells: int = N_CELLS, *, n_modules: int = 5, size: int = 40, n_null: int = 300
) -> ad.AnnData:
    """Counts with planted hubs; `var["module"]` ("none" for genes that follow nothing) and `var["hub"]`."""
    rng = np.random.default_rng(seed)
    g = n_modules * size + n_null
    module_g = np.r_[np.repeat(np.arange(n_modules), size), np.full(n_null, -1)]
    hub_g = (module_g >= 0) & (np.arange(g) % size < HUBS)
    loading_g = np.where(hub_g, HUB_LOADING, rng.uniform(*OTHER_LOADINGS, g)) * rng.choice([-1, 1], g) * (module_g >= 0)
    z_ck = rng.normal(size=(n_cells, n_modules))
    rate_cg = np.exp(loading_g * z_ck[:, np.maximum(module_g, 0)] - loading_g**2 / 2)
    rate_cg *= rng.lognormal(0, 0.35, (n_cells, 1)) * rng.lognormal(0, 0.8, g)
    counts_cg = rng.poisson(rate_cg * rng.gamma(5, 0.2, rate_cg.shape)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts_cg))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n_cells)], [f"g{i}" for i in range(g)]
    adata.var["module"] = np.where(module_g < 0, "none", np.char.add("module_", module_g.astype(str)))
    adata.var["hub"] = hub_g
    return adata[:, (counts_cg > 0).sum(axis=0) >= 10].copy()


def kme(x_ng: np.ndarray, module_g: np.ndarray) -> np.ndarray:
    """Largest absolute correlation of a gene with a module's first principal component, (g,)."""
    best_g = np.zeros(x_ng.shape[1])
    for module in sorted(set(module_g) - {"none"}):
        score_n = np.linalg.svd(x_ng[:, module_g == module], full_matrices=False)[0][:, 0]
        score_n = (score_n - score_n.mean()) / score_n.std()
        best_g = np.maximum(best_g, np.abs(score_n @ x_ng) / len(x_ng))
    return best_g


def precision(score_g: np.ndarray, hub_g: np.ndarray, stratum_g: np.ndarray | None = None) -> float:
    """Share of hubs among as many genes of highest score as there are hubs, in each stratum."""
    stratum_g = np.zeros(len(score_g), int) if stratum_g is None else stratum_g
    found = 0
    for stratum in np.unique(stratum_g):
        genes = np.flatnonzero(stratum_g == stratum)
        best = genes[np.argsort(-score_g[genes], kind="stable")[: hub_g[genes].sum()]]
        found += int(hub_g[best].sum())
    return found / int(hub_g.sum())


def run(seed: int) -> dict[str, Any]:
    adata = with_hubs(seed)
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=5, seed=seed)
    model.train(accelerator="cpu", progress=False)
    model.annotate(adata)
    sivae.tl.hubs(adata)
    table = sivae.tl.hub_table(adata).loc[adata.var_names]
    train = (adata.obs["sivae_split"] == "train").to_numpy()
    x_ng = log_values(adata.X, np.asarray(adata.X.sum(axis=1)).ravel())[train]
    x_ng = (x_ng - x_ng.mean(axis=0)) / x_ng.std(axis=0)
    scores = {f"siVAE {name}": table[name].to_numpy() for name in OURS}
    scores["degree of raw correlation"] = np.abs(np.corrcoef(x_ng.T)).mean(axis=1)
    scores["kME, true modules given"] = kme(x_ng, adata.var["module"].astype(str).to_numpy())
    scores["mean expression"] = table["mean"].to_numpy()
    hub_g, planted_g = adata.var["hub"].to_numpy(), (adata.var["module"] != "none").to_numpy()
    fifth_g = np.argsort(np.argsort(table["mean"].to_numpy())) * 5 // len(table)
    called_g = adata.var["sivae_connected"].to_numpy()
    return {
        "seed": seed,
        "scores": {name: [precision(score, hub_g), precision(score, hub_g, fifth_g)] for name, score in scores.items()},
        "connected_hubs": float(called_g[hub_g].mean()),
        "connected_planted": float(called_g[planted_g].mean()),
        "connected_false": float((called_g & ~planted_g).sum() / max(called_g.sum(), 1)),
    }


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    machine, rows = _common.machine(), []
    for seed in range(2 if quick else 5):
        rows.append(run(seed))
        print(rows[-1], flush=True)
    if not quick:
        _common.write("planted_hubs", {"machine": machine, "cells": N_CELLS, "rows": rows})


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines = [
        f"Precision (and recall) over {len(rows)} data sets of {result['cells']} cells, 500 genes, 20 hubs: mean "
        f"(least). Of the hubs {_common.mean(rows, 'connected_hubs'):.0%} are called connected, of all planted genes "
        f"{_common.mean(rows, 'connected_planted'):.0%}; {_common.mean(rows, 'connected_false'):.1%} of the calls are "
        "false. "
        f"{result['written']}.\n",
        "| score | all genes | given expression |",
        "| --- | --- | --- |",
    ]
    for name in rows[0]["scores"]:
        found = [[row["scores"][name][kind] for row in rows] for kind in (0, 1)]
        cells = [f"{sum(values) / len(values):.2f} ({min(values):.2f})" for values in found]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"
