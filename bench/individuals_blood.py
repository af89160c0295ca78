"""Blood of 40 donors (OneK1K, four cell types, 1,000 genes): does connectivity go with age or sex? Also if not.

Age with sex held, and sex with age held, correlations within cell types; 20 axes. Numbers of genes, edges and modules
at q below 0.05, the smallest q, and the share of p below 0.05, which is 0.05 where there is nothing. Each is done for
a shuffle of the donors too (phenotype and covariate together), where there is nothing to find.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from anndata import AnnData

import sivae
from bench import _common, _data

ASKED = {"age": "sex", "sex": "age"}
N_LATENT, N_SHUFFLES = 20, 1


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    rows = _common.Rows("individuals_blood", ("phenotype", "shuffle"), quick=quick)
    made = _small() if quick else _data.cohort("onek1k")
    if made is None:
        return
    samples = _samples(made, quick=quick)
    for phenotype, covariate in ASKED.items():
        for shuffle in range(0, 2 if quick else N_SHUFFLES + 1):
            rows.find(lambda p=phenotype, c=covariate, i=shuffle: row(samples, p, c, i), phenotype=phenotype,
                      shuffle=shuffle)  # fmt: skip
    rows.write(n_latent=N_LATENT, donors=samples.n_obs, genes=samples.n_vars, cells=made.n_obs)


def _small() -> AnnData:
    """A cohort without file, for a quick look."""
    adata = sivae.datasets.planted_cohort(8, 40, 60, n_regulators=3, targets=10)
    adata.obs["age"] = 40 + 20 * adata.obs["severity"]
    return adata


def _samples(adata: AnnData, *, quick: bool) -> AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sivae.SiVAE.setup_anndata(adata)
        model = sivae.SiVAE(adata, n_latent=4 if quick else N_LATENT, seed=0)
        model.train(accelerator="cpu", progress=False, **({"max_epochs": 1} if quick else {}))
        model.annotate(adata)
        samples = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type")
        sivae.tl.gene_neighbors(adata)
        sivae.tl.modules(adata)
    samples.var["sivae_module"] = adata.var["sivae_module"].reindex(samples.var_names)
    return samples


def row(samples: AnnData, phenotype: str, covariate: str, shuffle: int) -> dict[str, Any]:
    """Genes by two layers, edges and modules; shuffle 0 is the donors as they are."""
    if shuffle:
        samples = samples.copy()
        order = np.random.default_rng(shuffle).permutation(samples.n_obs)
        for name in (phenotype, covariate):
            samples.obs[name] = samples.obs[name].to_numpy()[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {}
        for layer in ("projection", "strength"):
            table = sivae.cohort.associate(
                samples, phenotype, covariates=[covariate], layer=layer, controls=layer == "projection"
            )
            found[f"genes, {layer}"] = measured(table) | {"associated": int((table["verdict"] == "associated").sum())}
        found["edges"] = measured(sivae.cohort.edges(samples, phenotype, covariates=[covariate]))
        found["modules"] = measured(sivae.cohort.modules(samples, phenotype, covariates=[covariate]))
    return {"found": found}


def measured(table: Any) -> dict[str, Any]:
    p, q = table["p"].to_numpy(float), table["q"].to_numpy(float)
    best = table.loc[table["q"].idxmin()] if np.isfinite(q).any() else None
    names = [
        str(best[key]) for key in ("gene_a", "gene_b", "module_a", "module_b") if best is not None and key in table
    ]
    return {
        "tested": int(np.isfinite(p).sum()), "q05": int((q <= 0.05).sum()), "least_q": float(np.nanmin(q)),
        "p05": round(float(np.nanmean(p <= 0.05)), 4), "first": " ".join(names) or str(table["q"].idxmin()),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = []
    for row in result["rows"]:
        who = row["phenotype"] + (f", shuffle {row['shuffle']}" if row["shuffle"] else "")
        for what, found in row["found"].items():
            lines.append([
                who, what, found["tested"], found["q05"], found.get("associated"), found["least_q"], found["p05"],
                found["first"],
            ])  # fmt: skip
    head = ("phenotype", "of", "tested", "q < 0.05", "verdict associated", "smallest q", "share p < 0.05", "smallest")
    return (
        f"{result['donors']} donors, {result['cells']} cells x {result['genes']} genes, {result['n_latent']} axes. "
        f"{_common.conditions(result)}\n\n" + _common.table(head, lines)
    )
