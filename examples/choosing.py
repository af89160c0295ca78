"""How many axes, which gamma, which likelihood.

The code of docs/tutorials/choosing.md; written by scripts/examples.py.
"""

import textwrap

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import sivae

pd.options.display.float_format = "{:.3g}".format

blood = sivae.datasets.pbmc700()
sivae.pp.select_genes(blood, 300)
blood = blood[:, blood.var["highly_variable"]].copy()


def fit(adata, *, validation=0.1, size_factor=None, **choices):
    adata = adata.copy()
    sivae.SiVAE.setup_anndata(adata, size_factor_key=size_factor)
    model = sivae.SiVAE(adata, **choices)
    short = sivae.TrainOptions(max_steps=200, validation_fraction=validation)
    model.train(progress=False, options=short)
    model.annotate(adata)
    return adata


def look(adata):
    ends = sivae.tl.rank_loadings(adata, n_genes=1)
    layers = sivae.tl.explained_variance(adata, by="layer")
    share = layers.set_index("layer")["explained"]
    nearest = KNeighborsClassifier(15)
    z, label = adata.obsm["X_sivae"], adata.obs["cell_type"]
    return {
        "axes in use": ends["axis"].nunique(),
        "mean sivae_r2": adata.var["sivae_r2"].mean(),
        "linear share": share["linear"] / share["full"],
        "labels right": cross_val_score(nearest, z, label, cv=5).mean(),
    }

# How many axes

runs = {k: fit(blood, n_latent=k) for k in (1, 2, 6, 20)}
print(pd.DataFrame({k: look(run) for k, run in runs.items()}).T)

some = ["CD19+ B", "CD34+", "CD56+ NK", "CD8+ Cytotoxic T"]
mask = blood.obs["cell_type"].isin(some).to_numpy()

_, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained")
for ax, k, pair in ((axes[0], 2, (0, 1)), (axes[1], 6, (3, 5))):
    sivae.pl.cells(runs[k][mask], pair, color="cell_type", ax=ax, on_map=True)
    ax.set_title(f"{k} axes")
plt.savefig("choosing-1.png")
plt.close("all")

print(*sivae.tl.rank_loadings(runs[20], n_genes=1).attrs["unused"])

rng = np.random.default_rng(64)
values = rng.standard_normal((300, 300)).astype(np.float32)
noise = anndata.AnnData(values)
noise.obs_names = [f"c64_{c}" for c in range(300)]
noise.var_names = [f"gene_{g}" for g in range(300)]
noise = fit(noise, n_latent=5)
sivae.tl.hubs(noise)

table = sivae.tl.rank_loadings(noise, n_genes=None)
print(
    pd.Series({
        "axes in use": table["axis"].nunique(),
        "largest loading": table["loading"].abs().max(),
        "genes with lfsr below 0.05": (table["lfsr"] < 0.05).sum(),
        "median sivae_r2": noise.var["sivae_r2"].median(),
        "genes connected": noise.var["sivae_connected"].sum(),
    })
)

_, axes = plt.subplots(1, 2, figsize=(8.4, 4), layout="constrained")
sivae.pl.loadings(noise, 0, ax=axes[0])
sivae.pl.loadings(runs[6], 3, ax=axes[1])
plt.savefig("choosing-2.png")
plt.close("all")

# Gamma

gammas = {0: fit(blood, n_latent=2, gamma=0), 0.5: runs[2]}
gammas[100] = fit(blood, n_latent=2, gamma=100)
print(pd.DataFrame({gamma: look(run) for gamma, run in gammas.items()}).T)

_, axes = plt.subplots(1, 3, figsize=(8.4, 3.1), layout="constrained")
for ax, gamma in zip(axes, gammas):
    sivae.pl.cells(gammas[gamma][mask], color="cell_type", ax=ax, on_map=True)
    ax.set_title(f"gamma {gamma}")
plt.savefig("choosing-3.png")
plt.close("all")

# Likelihood

noises = {"normal": runs[6]}
for name in ("nb", "bernoulli"):
    noises[name] = fit(blood, n_latent=6, likelihood=name)
print(pd.DataFrame({name: look(run) for name, run in noises.items()}).T)

# Input that is not what it should be

scaled = blood.copy()
counts = scaled.X.toarray()
logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
scaled.X = (logged - logged.mean(axis=0)) / logged.std(axis=0)
scaled_run = fit(scaled, n_latent=6)
print(pd.DataFrame({"counts": look(runs[6]), "scaled": look(scaled_run)}).T)

try:
    fit(scaled, likelihood="nb")
except sivae.errors.SiVAEError as error:
    print(textwrap.fill(str(error), 75))

others = np.asarray(blood.X.sum(axis=1)).ravel()
rng = np.random.default_rng(0)
rogue = np.rint(2 * others * np.exp(1.5 * rng.standard_normal(len(others))))
dirty = anndata.AnnData(
    sparse.hstack([blood.X, sparse.csr_matrix(rogue[:, None])]).tocsr(),
    obs=blood.obs.assign(others=others / others.mean()),
)
dirty.var_names = [*blood.var_names, "ROGUE"]

spoiled = fit(dirty, n_latent=6)
mended = fit(dirty, n_latent=6, size_factor="others")
print(pd.DataFrame({"total of all": look(spoiled), "of the others": look(mended)}).T)

axis = int(np.abs(spoiled.varm["X_sivae"][-1]).argmax())
_, axes = plt.subplots(1, 2, figsize=(8.4, 4), layout="constrained")
sivae.pl.loadings(spoiled, axis, ax=axes[0])
sivae.pl.loadings(mended, axis, ax=axes[1])
plt.savefig("choosing-4.png")
plt.close("all")

# Too few cells

order = np.random.default_rng(0).permutation(blood.n_obs)


def stability(*runs):
    genes = [
        pd.DataFrame(run.varm["X_sivae"], index=run.var_names) for run in runs
    ]
    sivae.tl.consensus(blood, genes)
    return blood.var["sivae_stability"].to_numpy()


few = fit(blood[order[:80]], n_latent=6)
many = fit(blood[order[:350]], n_latent=6)
pairs = {
    "80 cells, two seeds": (few, fit(blood[order[:80]], n_latent=6, seed=1)),
    "80 cells, 80 others": (few, fit(blood[order[80:160]], n_latent=6)),
    "350 cells, 350 others": (many, fit(blood[order[350:]], n_latent=6)),
}
figure = plt.figure(figsize=(8.4, 2.8), layout="constrained")
axes = figure.subplots(1, 3, sharey=True)
for ax, name in zip(axes, pairs):
    each = stability(*pairs[name])
    print(f"{name}: a tenth of the genes below {np.quantile(each, 0.1):.2f}")
    ax.hist(each, np.linspace(-0.5, 1, 31))
    ax.set(xlabel="stability of a gene", title=name)
plt.savefig("choosing-5.png")
plt.close("all")

# No validation cells

blind = fit(blood, n_latent=6, validation=0)
sivae.tl.gene_neighbors(blind)
sivae.tl.hubs(blind)
sivae.tl.modules(blind)
print(
    pd.Series({
        "genes with sivae_r2": blind.var["sivae_r2"].notna().sum(),
        "genes connected": blind.var["sivae_connected"].sum(),
        "hubs": blind.var["sivae_hub"].sum(),
        "genes in modules": (blind.var["sivae_module"] != "unassigned").sum(),
    })
)

# What to look at

_, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
sivae.pl.history(runs[6], ax=axes[0])
sivae.pl.history(runs[1], ax=axes[1])
plt.savefig("choosing-6.png")
plt.close("all")
