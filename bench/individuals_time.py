"""Seconds and memory for many individuals: shared gene spaces of 40 and of 1,000, and what separate ones would take.

200 cells of each and 1,000 genes (`sivae.datasets.planted_cohort`, thinned to about 450 counts a cell), 20 axes, three
cell types. 40 individuals are drawn; 1,000 are these 25 times over with other names (time and memory do not know). The
model is trained once on 4,000 of the cells. Each size in a process of its own: processor seconds of one thread, and the
process's peak memory, what it held before (data, libraries) included. `separate`: two individuals are fitted, the rest
is multiplication.
"""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import sivae
from bench import _common
from bench._one_fit import peak_mb

SIZES, N_CELLS, N_GENES, N_LATENT, KEPT = (40, 1000), 200, 1000, 20, 0.3
N_DRAWN, N_TRAINING, N_SEPARATE = 40, 4000, 2


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    rows = _common.Rows("individuals_time", ("what", "individuals"), quick=quick)
    shape = (30, 60, 4) if quick else (N_CELLS, N_GENES, N_LATENT)
    for n in (6, 10) if quick else SIZES:
        rows.find(lambda n=n: apart(shared, n, shape), what="shared", individuals=n)
    n = 2 if quick else N_SEPARATE
    rows.find(lambda: apart(separate, n, shape), what="separate", individuals=n)
    rows.write(cells=N_CELLS, genes=N_GENES, n_latent=N_LATENT)


def apart(work: Any, n: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a function finds in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return dict(pool.submit(work, n, shape).result())


def many(n: int, shape: tuple[int, int, int]) -> tuple[ad.AnnData, ad.AnnData]:
    """Cells of n individuals, those drawn over and over, and the cells that a model is trained on."""
    n_cells, n_genes, _ = shape
    drawn = sivae.datasets.planted_cohort(
        min(n, N_DRAWN), n_cells, n_genes, n_regulators=min(10, n_genes // 20), targets=15, seed=0
    )
    drawn = _common.thinned(drawn, kept=KEPT)
    chosen = np.sort(np.random.default_rng(0).permutation(drawn.n_obs)[:N_TRAINING])
    training = drawn[chosen].copy()
    training.uns = {}
    times = -(-n // N_DRAWN)
    if times > 1:
        from scipy import sparse

        whole = ad.AnnData(sparse.vstack([drawn.X] * times, format="csr"), var=drawn.var.copy())
        obs = [drawn.obs[["donor", "cell_type"]].assign(copy=str(i)) for i in range(times)]
        whole.obs = pd.concat(obs)
        whole.obs["donor"] = whole.obs["donor"].astype(str) + "_" + whole.obs.pop("copy")
        whole.obs_names = [f"cell{i}" for i in range(whole.n_obs)]
        drawn = whole
    names = sorted(set(drawn.obs["donor"].astype(str)))
    x_s = np.random.default_rng(1).normal(size=len(names))
    drawn.obs["x"] = drawn.obs["donor"].astype(str).map(dict(zip(names, x_s, strict=True))).astype(float)
    drawn.uns = {}
    return drawn, training


def shared(n: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    adata, training = many(n, shape)
    sivae.SiVAE.setup_anndata(training)
    model = sivae.SiVAE(training, n_latent=shape[2], seed=0)
    clock = _common.Clock()
    model.train(accelerator="cpu", progress=False, **({"max_epochs": 1} if shape[0] < N_CELLS else {}))
    found: dict[str, Any] = {"training": _of(clock), "before_gb": _peak()}
    clock = _common.Clock()
    samples = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type")
    found |= {"connectivity": _of(clock), "connectivity_gb": _peak()}
    clock = _common.Clock()
    sivae.cohort.associate(samples, "x")
    found |= {"associate": _of(clock)}
    clock = _common.Clock()
    sivae.cohort.edges(samples, "x")
    found |= {"edges": _of(clock), "n_edges": samples.obsm["sivae_edges"].shape[1], "peak_gb": _peak()}
    return found | {"cells": adata.n_obs, "nonzero": round(adata.X.nnz / (adata.n_obs * adata.n_vars), 3)}


def separate(n: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    adata, _ = many(n, shape)
    clock = _common.Clock()
    sivae.cohort.connectivity(adata, "donor", mode="separate", cell_type_key="cell_type", n_latent=shape[2])
    return {"connectivity": _of(clock), "peak_gb": _peak(), "cells": adata.n_obs}


def _of(clock: _common.Clock) -> list[float]:
    """Wall and processor seconds."""
    return [round(clock.seconds, 1), round(clock.cpu, 1)]


def _peak() -> float:
    """Most memory that the process has held, GB."""
    return round(peak_mb() / 1024, 2)


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines, steps = [], ("training", "connectivity", "associate", "edges")
    for row in rows:
        seconds = [f"{row[step][1]} ({row[step][0]})" if step in row else None for step in steps]
        lines.append([row["what"], row["individuals"], row["cells"], *seconds, row.get("before_gb"), row["peak_gb"]])
    for row in rows:
        if row["what"] == "separate":
            each = row["connectivity"][1] / row["individuals"]
            lines += [
                ["separate, extrapolated", n, n * result["cells"], None, f"{each * n:.0f}", None, None, None, None]
                for n in SIZES
            ]
    head = ("mode", "individuals", "cells", *(f"{step}, s" for step in steps), "GB before", "peak GB")
    text = f"{result['cells']} cells x {result['genes']} genes of each individual, {result['n_latent']} axes. "
    text += f"Processor seconds (wall seconds on a busy machine). {_common.conditions(result)}\n\n"
    return text + _common.table(head, lines)
