"""Covariates and batches.

The code of docs/tutorials/covariates.md; written by scripts/examples.py.
"""

import shlex
import subprocess

# Planted batches, and a quantity known of each cell

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse

import sivae

planted = sivae.datasets.planted(
    500, 100, n_factors=2, genes_per_factor=20, signed=True,
    n_batches=2, batch_effect=0.5, seed=1,
)
rng = np.random.default_rng(0)
stress = rng.standard_normal(planted.n_obs)
planted.obs["stress"] = stress
rate = 0.7 * planted.obs["size_factor"] * np.exp(0.8 * stress)
counts = planted.X.toarray()
counts[:, 80:] += rng.poisson(np.outer(rate, np.ones(20)))
planted.X = sparse.csr_matrix(counts)

def fitted(adata, n_latent, **setup):
    adata = adata.copy()
    sivae.SiVAE.setup_anndata(adata, **setup)
    model = sivae.SiVAE(adata, n_latent=n_latent, seed=0)
    model.train(progress=False)
    model.annotate(adata)
    return adata, model


naive, _ = fitted(planted, 4)
named, _ = fitted(
    planted, 4, batch_key="batch", continuous_covariate_keys=["stress"]
)

factors = planted.obsm["planted_z"]
known = pd.DataFrame({"factor 1": factors[:, 0], "factor 2": factors[:, 1]})
known["batch"] = (planted.obs["batch"] == "batch_2").to_numpy(float)
known["stress"] = stress


def follows(fit):
    axes = pd.DataFrame(fit.obsm["X_sivae"]).rename(columns=lambda k: f"axis {k + 1}")
    return axes.loc[:, axes.std() > 0].apply(known.corrwith).abs().T.round(2)


print(pd.concat({"nothing named": follows(naive), "both named": follows(named)}))

_, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, fit, name in zip(axes, (naive, named), ("nothing named", "both named")):
    sivae.pl.cells(fit, color="batch", ax=ax).set_title(name)
plt.savefig("covariates-1.png")
plt.close("all")

kind = planted.var["module"].astype(str).to_numpy()
kind[80:] = "none, stressed"
far = {
    name: np.linalg.norm(fit.varm["X_sivae"], axis=1)
    for name, fit in (("nothing named", naive), ("both named", named))
}
print(pd.DataFrame(far).groupby(kind).median().round(2))

# Blood cells with a made batch effect

truth = sivae.datasets.pbmc700()
rng = np.random.default_rng(0)
second = rng.permutation(np.arange(truth.n_obs) % 2) == 1
lost, gained = np.split(rng.permutation(truth.n_vars)[:200], 2)
truth.var["made"] = "left alone"
truth.var.iloc[lost, 0] = "loses counts"
truth.var.iloc[gained, 0] = "gains counts"
truth.obs["batch"] = pd.Categorical(np.where(second, "B", "A"))

counts = truth.X.toarray()
counts_lost = counts[np.ix_(second, lost)].astype(int)
counts[np.ix_(second, lost)] = rng.binomial(counts_lost, 0.3)
counts[np.ix_(second, gained)] += rng.poisson(1.0, (second.sum(), 100))
adata = truth.copy()
adata.X = sparse.csr_matrix(counts)

sivae.pp.select_genes(adata, 300, key_added="over_all")
sivae.pp.select_genes(adata, 300, batch_key="batch", key_added="within_batches")
print(adata.var.groupby("made")[["over_all", "within_batches"]].sum())

chosen = adata.var["within_batches"].to_numpy()
undisturbed, _ = fitted(truth[:, chosen], 5)
naive, _ = fitted(adata[:, chosen], 5)
named, model = fitted(adata[:, chosen], 5, batch_key="batch")

of_batch = abs(np.corrcoef(naive.obsm["X_sivae"].T, second)[-1, :-1])
worst = int(of_batch.argmax())
print("correlation of axes 1 to 5 with the batch:", of_batch.round(2))

_, axes = plt.subplots(2, 2, figsize=(9.5, 7.6), layout="constrained")
names = ("without batch_key", "with batch_key")
for (left, right), fit, name in zip(axes, (naive, named), names):
    sivae.pl.cells(fit, (0, worst), color="batch", ax=left).set_title(name)
    sivae.pl.cells(fit, color="cell_type", on_map=True, ax=right).set_title(name)
plt.savefig("covariates-2.png")
plt.close("all")

from scipy.linalg import orthogonal_procrustes
from sklearn.neighbors import NearestNeighbors


def compared(fit):
    index, row = NearestNeighbors(n_neighbors=15).fit(fit.obsm["X_sivae"]), {}
    nearest = index.kneighbors(return_distance=False)
    for key in ("batch", "cell_type"):
        label = fit.obs[key].to_numpy()
        row[f"neighbors of own {key}"] = (label[nearest] == label[:, None]).mean()
    found, known = fit.varm["X_sivae"], undisturbed.varm["X_sivae"]
    found = found @ orthogonal_procrustes(found, known)[0]
    for made, at in fit.var.groupby("made").indices.items():
        agreement = np.corrcoef(found[at].ravel(), known[at].ravel())[0, 1]
        row[f"loadings, gene {made}"] = agreement
    return row


print(pd.DataFrame(dict(zip(names, (compared(naive), compared(named))))).round(3))

print(model.adata.uns["sivae"]["facts"]["covariates"])

of = {made: list(rows.index[:2]) for made, rows in named.var.groupby("made")}
shown = [*of["loses counts"], *of["gains counts"]]
own = model.get_normalized_expression(gene_list=shown)
as_of_a = model.get_normalized_expression(gene_list=shown, transform_batch="A")
means = {
    name: predicted.groupby(named.obs["batch"], observed=True).mean()
    for name, predicted in (("own batch", own), ("as of A", as_of_a))
}
print(pd.concat(means).round(1))

# Size factors

one = sivae.datasets.planted(400, 60, n_factors=1, genes_per_factor=20, seed=0)
loading = {}
for key in (None, "size_factor"):
    fit, _ = fitted(one, 1, size_factor_key=key)
    z, factor = fit.obsm["X_sivae"][:, 0], fit.obsm["planted_z"][:, 0]
    sign = np.sign(np.corrcoef(z, factor)[0, 1])
    name = "divided by the sum" if key is None else "by size_factor"
    loading[name] = sign * fit.varm["X_sivae"][:, 0]
print(pd.DataFrame(loading).groupby(one.var["module"].to_numpy()).mean().round(3))

# What cannot be known

b_cell, in_a = adata.obs["cell_type"] == "CD19+ B", adata.obs["batch"] == "A"
print(adata[~(b_cell & in_a)].copy().write_h5ad("alone.h5ad"))

subprocess.run(shlex.split("""sivae fit alone.h5ad -o run --batch-key batch --label cell_type --n-genes 300 --n-latent 5 --max-epochs 60"""), check=True)

import html
import re
import textwrap
from pathlib import Path


def caveats(report, batch_key):
    found = re.findall("<li>(.*?)</li>", Path(report).read_text())
    for words in found:
        if f"({batch_key}" in words:
            print(textwrap.fill(html.unescape(words), 80), end="\n\n")


print(caveats("run/report.html", "batch"))

myeloid = named.obs["cell_type"].isin(["CD14+ Monocyte", "Dendritic"])
apart = undisturbed.copy()
apart.obs["run"] = np.where(myeloid, "monday", "friday")
sivae.SiVAE.setup_anndata(apart, batch_key="run")
model = sivae.SiVAE(apart, n_latent=5)
model.train(max_epochs=60, progress=False)
model.annotate(apart)
sivae.report.build(apart, "apart.html", label="cell_type")
print(caveats("apart.html", "run"))

_, ax = plt.subplots(figsize=(6.5, 4.6), layout="constrained")
sivae.pl.cells(apart, color="cell_type", on_map=True, ax=ax)
plt.savefig("covariates-3.png")
plt.close("all")

import warnings

donor = rng.choice(["1", "2"], named.n_obs)
named.obs["donor"] = named.obs["batch"].astype(str) + donor
sivae.SiVAE.setup_anndata(
    named, batch_key="batch", categorical_covariate_keys=["donor"]
)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    sivae.SiVAE(named, n_latent=2).train(max_epochs=1, progress=False)
print(*(textwrap.fill(str(each.message), 80) for each in said), sep="\n")
