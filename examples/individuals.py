"""Individuals against a phenotype.

The code of docs/tutorials/individuals.md; written by scripts/examples.py.
"""

import shlex
import subprocess

# A cohort

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import sivae

size = {"n_individuals": 12, "n_cells": 120, "n_genes": 140}
size |= {"n_regulators": 6, "targets": 12}
adata = sivae.datasets.planted_cohort(**size, n_rewired=1, seed=0)
donors = adata.obs.groupby("donor", observed=True)
print(donors[["phenotype", "severity", "sex"]].first())

truth = pd.Series("other", adata.var_names, name="planted")
truth[adata.var["regulator"]] = "regulator, keeps its targets"
truth[adata.var["expression_only"]] = "expression alone"
truth[adata.var["rewired_hub"]] = "regulator, loses them"
truth[adata.var["rewired_target"]] = "target that is lost"
print(truth.value_counts())

# One gene space for each donor

sivae.SiVAE.setup_anndata(adata)
model = sivae.SiVAE(adata, n_latent=8, seed=0)
model.train(progress=False)
samples = sivae.cohort.connectivity(
    adata, "donor", cell_type_key="cell_type", model=model
)
print(samples.to_df().iloc[[0, 5, 6, 11], :6].round(2))

# Which genes go with the phenotype

table = sivae.cohort.associate(samples, "severity", covariates=["sex"])
print(pd.crosstab(truth, table["verdict"]))

columns = ["effect", "q", "p_given_expression", "p_given_cells", "p_matched"]
print(table.sort_values("p")[columns].head(6).round(4))

_, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
sivae.pl.association(table, ax=ax)
plt.savefig("individuals-1.png")
plt.close("all")

called = table.index[table["verdict"] == "associated"]
shown = [*called, "gene_2", "gene_3", "gene_4"]
_, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
sivae.pl.connectivity(samples, shown, by="severity", ax=ax)
plt.savefig("individuals-2.png")
plt.close("all")

_, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
sivae.pl.gene_association(samples, "gene_1", "severity", ax=ax)
plt.savefig("individuals-3.png")
plt.close("all")

# Which edges, which sets of genes

edges = sivae.cohort.edges(samples, "severity", covariates=["sex"])
found = edges[edges["associated"]]
lost = truth.index[truth.isin(["regulator, loses them", "target that is lost"])]
within = found["gene_a"].isin(lost) & found["gene_b"].isin(lost)
print(f"{len(found)} of {len(edges)} edges go with severity,")
print(f"{within.sum()} of them between genes of the lost module")
print(found[["gene_a", "gene_b", "effect", "q"]].head().round(4))

_, ax = plt.subplots(figsize=(7.5, 5.5), layout="constrained")
sivae.pl.network_difference(samples, by="severity", n_extremes=4, ax=ax)
plt.savefig("individuals-4.png")
plt.close("all")

modules = {
    f"module of {name}": [name, *part["target"]]
    for name, part in adata.uns["planted_edges"].groupby("regulator")
}
sets = sivae.cohort.gene_sets(samples, "severity", modules, covariates=["sex"])
print(sets[["n_genes", "nes", "p", "q"]].round(3))

# How many donors, how many cells

power = sivae.cohort.power(
    adata, "donor", model=model, cell_type_key="cell_type", n_repeats=8,
    cells=[50, 100], individuals=[8, 12, 24], effects=[0.5, 1.0],
)
_, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, effect in zip(axes, (0.5, 1.0)):
    sivae.pl.power(power, effect=effect, ax=ax)
plt.savefig("individuals-5.png")
plt.close("all")

# A cohort in which nothing changes

def of_null(follows, cell_type_key):
    null = sivae.datasets.planted_cohort(**size, follows=follows, seed=1)
    sivae.SiVAE.setup_anndata(null)
    model = sivae.SiVAE(null, n_latent=8, seed=0)
    model.train(max_epochs=40, progress=False)
    samples = sivae.cohort.connectivity(
        null, "donor", cell_type_key=cell_type_key, model=model
    )
    return sivae.cohort.associate(samples, "severity", covariates=["sex"])


named, unnamed = of_null("composition", "cell_type"), of_null("composition", None)
for name, found in (("cell types named", named), ("not named", unnamed)):
    share, q = (found["p"] < 0.05).mean(), found["q"].min()
    print(f"{name}: {share:.3f} of the p below .05, smallest q {q:.2f}")

fewer = of_null("cells", "cell_type")
share, q = (fewer["p"] < 0.05).mean(), fewer["q"].min()
print(f"{share:.3f} of the p below .05, smallest q {q:.3f}")
print(fewer["verdict"].value_counts())

# The same with one command

adata.write_h5ad("cohort.h5ad")
model.save("model")

subprocess.run(shlex.split("""sivae cohort cohort.h5ad -o run --model model --sample donor --phenotype severity --covariate sex --cell-type cell_type"""), check=True)

from pathlib import Path

for path in sorted(Path("run").rglob("*")):
    if path.suffix in (".csv", ".html", ".json"):
        print(path)
