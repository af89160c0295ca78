"""Data sets without structure: in how many of 100 is any gene called connected? (At most 9: 5 % and its error.)

Genes are independent negative binomial counts given the depth of a cell; no gene follows anything. Four designs in
turn: plain, with batches that shift every gene and the depth, with one gene that holds 30 % of all counts, and sparse.
Trained with the defaults, every fifth one with likelihood="nb". Also: share of p-values below 0.05 and 0.005.
"""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

import sivae
from bench import _common

DESIGNS: dict[str, dict[str, float]] = {
    "plain": {},
    "three batches": {"n_batches": 3},
    "one gene of 30 %": {"largest": 0.3},
    "sparse": {"mean": 0.2},
}
N_CELLS, N_GENES = 600, 200


def unstructured(
    seed: int,
    *,
    n_cells: int = N_CELLS,
    n_genes: int = N_GENES,
    n_batches: int = 1,
    largest: float = 0.0,
    mean: float = 1.0,
    dispersion: float = 0.5,
) -> ad.AnnData:
    """Independent negative binomial counts: log depth of sd 0.5, log abundance of sd 1.2, `mean` counts per entry."""
    rng = np.random.default_rng(seed)
    abundance_g = rng.lognormal(0, 1.2, n_genes)
    abundance_g *= mean / abundance_g.mean()
    if largest:
        abundance_g[0] = largest / (1 - largest) * abundance_g[1:].sum()
    batch_c = rng.integers(0, n_batches, n_cells)
    rate_cg = rng.lognormal(0, 0.5, n_cells)[:, None] * abundance_g
    if n_batches > 1:
        rate_cg *= np.exp(rng.normal(0, 0.5, (n_batches, n_genes)) + rng.normal(0, 0.4, (n_batches, 1)))[batch_c]
    counts_cg = rng.poisson(rate_cg * rng.gamma(1 / dispersion, dispersion, rate_cg.shape)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts_cg))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n_cells)], [f"g{i}" for i in range(n_genes)]
    if n_batches > 1:
        adata.obs["batch"] = [f"b{b}" for b in batch_c]
    kept = (counts_cg > 0).sum(axis=0) >= 10
    return adata[counts_cg[:, kept].sum(axis=1) > 0, kept].copy()


def run(name: str, seed: int) -> dict[str, Any]:
    adata = unstructured(seed, **DESIGNS[name])  # type: ignore[arg-type]
    sivae.SiVAE.setup_anndata(adata, batch_key="batch" if "batch" in adata.obs else None)
    likelihood = "nb" if seed % 5 == 4 else "auto"
    model = sivae.SiVAE(adata, n_latent=5, likelihood=likelihood, seed=seed)
    model.train(accelerator="cpu", progress=False)
    model.annotate(adata)
    sivae.tl.hubs(adata)
    p = adata.var["sivae_connected_pvalue"].to_numpy()
    return {
        "design": name,
        "likelihood": likelihood,
        "genes": adata.n_vars,
        "called": int(adata.var["sivae_connected"].sum()),
        "below_0.05": float((p < 0.05).mean()),
        "below_0.005": float((p < 0.005).mean()),
        "signal_axes": int(model._state.facts["n_signal_axes"]),
    }


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    machine, rows = _common.machine(), []
    for seed in range(8 if quick else 100):
        rows.append(run(list(DESIGNS)[seed % len(DESIGNS)], seed))
        print(seed, rows[-1], flush=True)
    print(sum(row["called"] > 0 for row in rows), "of", len(rows), "with any call")
    if not quick:
        _common.write("null_hubs", {"machine": machine, "cells": N_CELLS, "rows": rows})


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines = [
        f"{len(rows)} data sets of {result['cells']} cells and about {rows[0]['genes']} genes without structure; "
        f"{sum(row['called'] > 0 for row in rows)} with any call at 5 % FDR. {result['written']}.\n",
        "| design | data sets | with any call | p < 0.05 | p < 0.005 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for design in dict.fromkeys(row["design"] for row in rows):
        own = [row for row in rows if row["design"] == design]
        below = [sum(row[key] for row in own) / len(own) for key in ("below_0.05", "below_0.005")]
        called = sum(row["called"] > 0 for row in own)
        lines.append(f"| {design} | {len(own)} | {called} | {below[0]:.3f} | {below[1]:.4f} |")
    return "\n".join(lines) + "\n"
