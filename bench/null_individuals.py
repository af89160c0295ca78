"""Does anything pass for a change of connectivity? Cohorts in which none goes with the phenotype, 200 of each kind.

16 individuals of about 180 cells and 100 genes (`sivae.datasets.planted_cohort`). "permuted": two regulators lose their
targets, but severity is shuffled over individuals. In the others no connectivity changes at all and one thing alone
goes with severity: the number of cells (a quarter at severity 1), the depth (a third), composition (the odds of a type,
four times), or the mean of ten genes (half or double). Share of genes with p below 0.05, which should be 0.05, and
share of cohorts with any gene at q below 0.05 and with any verdict "associated", which should be 0.05 at most. The
model gives no more than its cell encoder: one for each seed, of the "permuted" cohort, whose genes are the same, and
not trained beyond its start (the factor model, one step). Peers, with the same test: raw correlations (degree: top 1 %
of pairs; strength: mean absolute correlation), and noise-corrected ones (our reading of Dozer). All are told the cell
types and look within them, unless it says "types not told".
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.stats import beta

import sivae
from bench import _common, _individuals
from sivae.stats._association import associate
from sivae.stats._fdr import adjust
from sivae.train._options import TrainOptions

WORLDS = ("permuted", "cells", "depth", "composition", "mean")
N_DATA, N_INDIVIDUALS, N_CELLS, N_GENES, N_LATENT = 200, 16, 180, 100, 8
N_PERMUTATIONS = 9_999
FULL = 20
"""Cohorts of the kind "permuted" that are read by a fully trained model too."""
MEASURES = ("p05", "p01", "any_q", "any_verdict", "called")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("null_individuals", ("world", "seed", "trained"), quick=settings.quick)
    for seed in range(1 if settings.quick else settings.seeds or N_DATA):
        for world in WORLDS:
            rows.find(lambda w=world, i=seed: row(w, i), world=world, seed=seed, trained=False)
        if seed % 20 == 19:
            rows.write(done=False, **facts())
    for seed in range(0 if settings.quick else FULL):
        rows.find(lambda i=seed: row("permuted", i, trained=True), world="permuted", seed=seed, trained=True)
    rows.write(**facts())


def facts() -> dict[str, Any]:
    return {"individuals": N_INDIVIDUALS, "cells": N_CELLS, "genes": N_GENES, "n_latent": N_LATENT}


def cohort(world: str, seed: int) -> AnnData:
    """A cohort of this kind; `obs["x"]` is what is tested."""
    adata = sivae.datasets.planted_cohort(
        N_INDIVIDUALS, N_CELLS, N_GENES, n_regulators=5, targets=12, seed=seed,
        follows=None if world == "permuted" else world,  # type: ignore[arg-type]
    )  # fmt: skip
    by_donor = adata.obs.groupby("donor", observed=True)["severity"].first()
    x_s = by_donor.to_numpy()
    if world == "permuted":
        x_s = np.random.default_rng(seed).permutation(x_s)
    adata.obs["x"] = adata.obs["donor"].astype(str).map(dict(zip(by_donor.index.astype(str), x_s, strict=True)))
    return adata


@lru_cache(maxsize=1)
def model_of(seed: int, *, trained: bool) -> sivae.SiVAE:
    """A model of the genes of this seed, which are the same in every kind of cohort."""
    adata = cohort("permuted", seed)
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=N_LATENT, seed=seed)
    model.train(accelerator="cpu", progress=False, options=None if trained else TrainOptions(max_steps=1))
    return model


def row(world: str, seed: int, *, trained: bool = False) -> dict[str, Any]:
    adata = cohort(world, seed)
    x_s = adata.obs.groupby("donor", observed=True)["x"].first().sort_index().to_numpy()
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_of(seed, trained=trained)
        for within in (False, True) if world == "composition" else (True,):
            label = "" if within else ", types not told"
            samples = sivae.cohort.connectivity(
                adata, "donor", model=model, cell_type_key="cell_type" if within else None, seed=seed
            )
            table = sivae.cohort.associate(samples, "x", n_permutations=N_PERMUTATIONS, seed=seed)
            found["siVAE" + label] = measured(table["p"], table["q"], (table["verdict"] == "associated").to_numpy())
            if within:
                found |= between(samples, adata)
            if not trained:
                counts = _individuals.counts_of(adata)
                for name, y_sg in _individuals.centralities(counts, within_types=within).items():
                    p_g = tested(y_sg, x_s, seed)
                    found[name + label] = measured(p_g, adjust(p_g))
    return {"methods": found}


def between(samples: AnnData, adata: AnnData) -> dict[str, dict[str, float]]:
    """The same measures of edges, and of modules: the true targets of each regulator."""
    edges = sivae.cohort.edges(samples, "x", n_permutations=N_PERMUTATIONS)
    loading_gr = adata[:, samples.var_names].varm["planted_loadings"]
    module_g = np.where(np.abs(loading_gr).sum(axis=1) > 0, np.abs(loading_gr).argmax(axis=1) + 1, 0)
    given = {
        gene: "unassigned" if m == 0 else f"module{m}" for gene, m in zip(samples.var_names, module_g, strict=True)
    }
    modules = sivae.cohort.modules(samples, "x", given, n_permutations=N_PERMUTATIONS)
    return {"siVAE edges": measured(edges["p"], edges["q"]), "siVAE modules": measured(modules["p"], modules["q"])}


def tested(y_sg: np.ndarray, x_s: np.ndarray, seed: int) -> np.ndarray:
    """p of each gene by regression on the phenotype and permutation of individuals."""
    generator = np.random.default_rng([seed, 7])
    return associate(y_sg, x_s, n_permutations=N_PERMUTATIONS, generator=generator).p_g


def measured(p: Any, q: Any, associated: np.ndarray | None = None) -> dict[str, float]:
    p_g, q_g = np.asarray(p, float), np.asarray(q, float)
    called_g = q_g <= 0.05 if associated is None else associated
    return {
        "p05": round(float(np.nanmean(p_g <= 0.05)), 4), "p01": round(float(np.nanmean(p_g <= 0.01)), 4),
        "any_q": float((q_g <= 0.05).any()), "any_verdict": float(called_g.any()), "called": float(called_g.sum()),
    }  # fmt: skip


def interval(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Clopper and Pearson."""
    return (
        float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0,
        float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0,
    )


def table(result: dict[str, Any]) -> str:
    rows = [row for row in result["rows"] if not row["trained"]]
    full = [row for row in result["rows"] if row["trained"]]
    parts = [
        f"{result['individuals']} individuals x {result['cells']} cells x {result['genes']} genes, "
        f"{result['n_latent']} axes. {_common.conditions(result)} 95 %: interval of the share of cohorts with any "
        "q < 0.05 (Clopper and Pearson).\n"
    ]
    for world in WORLDS:
        own = [row for row in rows if row["world"] == world]
        if own:
            parts.append(f"**{world}** ({len(own)} cohorts)\n\n" + _table(own))
    if full:
        same = [row for row in rows if row["world"] == "permuted" and row["seed"] in {one["seed"] for one in full}]
        pairs = [("fully trained", full), ("one step, the same cohorts", same)]
        lines = [[name, *(_mean(own, "siVAE", key) for key in ("p05", "any_q"))] for name, own in pairs]
        head = ("siVAE", "p < 0.05", "any q < 0.05")
        parts.append(f"**permuted, by training** ({len(full)} cohorts)\n\n" + _common.table(head, lines))
    return "\n".join(parts)


def _mean(rows: list[dict[str, Any]], method: str, key: str) -> float:
    return float(np.mean([row["methods"][method][key] for row in rows]))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for method in rows[0]["methods"]:
        share = _mean(rows, method, "any_q")
        low, high = interval(round(share * len(rows)), len(rows))
        verdict = _mean(rows, method, "any_verdict") if method.partition(",")[0] == "siVAE" else None
        p_values = [_mean(rows, method, "p05"), _mean(rows, method, "p01")]
        lines.append([method, *p_values, share, f"{low:.3f} to {high:.3f}", verdict])
    return _common.table(("method", "p < 0.05", "p < 0.01", "any q < 0.05", "95 %", "any verdict"), lines)
