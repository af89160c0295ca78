"""The gene space.

The code of docs/tutorials/gene_space.md; written by scripts/examples.py.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import sivae

pd.options.display.float_format = "{:.3g}".format

adata = sivae.datasets.pbmc700()
sivae.SiVAE.setup_anndata(adata)
model = sivae.SiVAE(adata, n_latent=6, seed=0)
history = model.train(progress=False)
model.annotate(adata)

# Which genes an axis is

print(sivae.tl.rank_loadings(adata, n_genes=3))

_, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
sivae.pl.loadings(adata, 3, ax=ax)
plt.savefig("gene_space-1.png")
plt.close("all")

# The neighbors of a gene

sivae.tl.gene_neighbors(adata)
print(sivae.tl.neighbors_of(adata, "NKG7").head(6))

_, ax = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
sivae.pl.neighborhood(adata, "CD79A", groupby="cell_type", ax=ax)
plt.savefig("gene_space-2.png")
plt.close("all")

# Hubs, and whether a gene follows anything

sivae.tl.hubs(adata)
table = sivae.tl.hub_table(adata)
print(table[["score", "p", "q", "hub", "mean", "score_given_expression"]].head(6))

_, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
sivae.pl.hubs(adata, ax=ax)
plt.savefig("gene_space-3.png")
plt.close("all")

# Modules

sivae.tl.modules(adata)
found = adata.uns["sivae"]["modules"]
by_score = adata.var.sort_values("sivae_hub_score", ascending=False)
central = by_score.groupby("sivae_module", observed=True).head(5)
central = central.groupby("sivae_module", observed=True).apply(
    lambda part: " ".join(part.index), include_groups=False
)
columns = ("module", "size", "stability")
modules = pd.DataFrame({key: found[key] for key in columns})
print(modules.assign(central=modules["module"].map(central)))

_, axes = plt.subplots(2, 1, figsize=(6.4, 7.6), layout="constrained")
sivae.pl.modules(adata, ax=axes[0])
sivae.pl.module_scores(adata, "cell_type", ax=axes[1])
plt.savefig("gene_space-4.png")
plt.close("all")

# Gene sets

markers = {
    "T cells": "CD3D CD3E CD3G CD2 CD7 IL7R LCK LAT CD27 CD28 CD8A CD8B CD247",
    "B cells": "CD79A CD79B MS4A1 BANK1 BLK FCRLA SPIB PAX5 CD19",
    "Plasma cells": "MZB1 IGJ IGLL5 TNFRSF17 XBP1",
    "Monocytes": "LYZ S100A8 S100A9 CD14 FCN1 LST1 AIF1 FCGR3A CFD CTSS TYMP",
    "Cytotoxic": "NKG7 GNLY GZMA GZMB GZMH GZMM PRF1 CTSW CST7 FGFBP2 SPON2",
    "Dendritic cells": "FCER1A CLEC10A CD1C HLA-DQA1 CST3 IRF8 PLD4",
    "Progenitors": "CD34 SPINK2 PRSS57 EGFL7 CYTL1 KIAA0125 C19orf77 SOX4",
}
with Path("markers.gmt").open("w") as file:
    for name, genes in markers.items():
        print(name, "markers", *genes.split(), sep="\t", file=file)

enriched = sivae.tl.enrich(adata, "markers.gmt", of="modules", min_size=3)
print(enriched[enriched["q"] < 0.05].drop(columns="genes"))

enriched = sivae.tl.enrich(adata, "markers.gmt", of="axes", min_size=3)
print(enriched.drop(columns="genes").head(4))

# Why is this cell here, why is this gene high here

cell = adata.obs_names[adata.obs["cell_type"] == "CD56+ NK"][0]
here = sivae.tl.contributions(
    adata, model, side="encoder", cells=cell, axes="axis4"
)
high = sivae.tl.contributions(adata, model, genes="NKG7", groupby="cell_type")

_, axes = plt.subplots(1, 2, figsize=(8.4, 4), layout="constrained")
sivae.pl.contributions(here, ax=axes[0])
sivae.pl.contributions(high, "CD56+ NK", ax=axes[1])
plt.savefig("gene_space-5.png")
plt.close("all")

# Where the truth is known

planted = sivae.datasets.planted(800, 300, n_factors=4, signed=True, seed=1)
null = (planted.var["module"] == "none").to_numpy()
planted.obs["log_counts"] = np.log(np.asarray(planted.X.sum(axis=1)).ravel())


def fit(**options):
    sivae.SiVAE.setup_anndata(planted, **options)
    model = sivae.SiVAE(planted, n_latent=6, seed=0)
    model.train(progress=False)
    model.annotate(planted)


def truth_by_axis():
    table = sivae.tl.rank_loadings(planted, n_genes=None)
    used = table["axis"].unique()
    z = planted.obsm["X_sivae"][:, [int(axis[4:]) - 1 for axis in used]]
    truth = np.c_[planted.obsm["planted_z"], planted.obs["log_counts"]]
    names = [*(f"factor {k + 1}" for k in range(4)), "log counts"]
    r = np.corrcoef(z.T, truth.T)[: len(used), len(used) :]
    nulls = table[table["gene"].isin(planted.var_names[null])]
    signs = (nulls["lfsr"] < 0.05).groupby(nulls["axis"]).mean()
    found = pd.DataFrame(r, index=used, columns=names).round(2)
    return found.assign(**{"null genes with a sign": signs})


fit()
print(truth_by_axis())

fit(continuous_covariate_keys=["log_counts"])
print(truth_by_axis())

sivae.tl.gene_neighbors(planted)
sivae.tl.hubs(planted)
sivae.tl.modules(planted, signed=False)  # genes of both directions
print(pd.crosstab(planted.var["module"], planted.var["sivae_module"]))

found = planted.uns["sivae"]["modules"]
print("stability of the modules:", found["stability"].round(2))
print(pd.DataFrame(found["scan"]))

sivae.tl.modules(planted, 1.0, signed=False)
print(pd.crosstab(planted.var["module"], planted.var["sivae_module"]))

facts = planted.var.assign(
    planted=np.abs(planted.varm["planted_v"]).max(axis=1),
    mean=np.asarray(planted.X.mean(axis=0)).ravel(),
    found=np.linalg.norm(planted.varm["X_sivae"], axis=1),
)
print("null genes called connected:", int(facts["sivae_connected"][null].sum()), "of", null.sum())
print("longest null gene:", facts["found"][null].max().round(2))
hubs = facts["hub"]
print("planted hubs called hubs:", int(facts["sivae_hub"][hubs].sum()), "of", hubs.sum())
print(facts[~null][["planted", "mean", "sivae_hub_score"]].corr("spearman"))

_, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained")
sivae.pl.genes(planted, (0, 1), color="module", n_labels=0, ax=axes[0])
points = axes[1].scatter(
    facts["planted"], facts["found"], c=np.log10(facts["mean"]), s=12
)
plt.colorbar(points, label="log10 mean count")
axes[1].set(xlabel="planted loading", ylabel="length on the gene map")
plt.savefig("gene_space-6.png")
plt.close("all")
