"""New cells and new genes.

The code of docs/tutorials/new_cells.md; written by scripts/examples.py.
"""

import shlex
import subprocess

import sivae

adata = sivae.datasets.pbmc700()
held = sivae.pp.split_cells(adata, 1 / 3, label_key="cell_type")
is_new = adata.obs_names.isin(held)
adata[~is_new].write_h5ad("known.h5ad")
adata[is_new].write_h5ad("new.h5ad")
print(f"{(~is_new).sum()} known cells, {is_new.sum()} new ones")

# New cells

subprocess.run(shlex.split("""sivae fit known.h5ad -o run --n-genes 300 --project-rest --n-latent 5"""), check=True)
subprocess.run(shlex.split("""sivae embed run new.h5ad -o placed.h5ad"""), check=True)

import anndata as ad

model = sivae.SiVAE.load("run/model")
new, placed = ad.read_h5ad("new.h5ad"), ad.read_h5ad("placed.h5ad")
new.obsm["X_sivae"] = model.get_latent_representation(new)
print(bool((new.obsm["X_sivae"] == placed.obsm["X_sivae"]).all()))

import matplotlib.pyplot as plt

known = ad.read_h5ad("run/adata.h5ad")
both = ad.concat({"known": known, "new": new}, label="cells")
_, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
sivae.pl.cells(both, color="cells", ax=axes[0])
sivae.pl.cells(both, color="cell_type", ax=axes[1], on_map=True)
plt.savefig("new_cells-1.png")
plt.close("all")

import pandas as pd
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

z, types = known.obsm["X_sivae"], known.obs["cell_type"].astype(str)
nearest = KNeighborsClassifier(15).fit(z, types)
left_out = cross_val_predict(nearest, z, types, cv=LeaveOneOut())
label = nearest.predict(new.obsm["X_sivae"])
agree = nearest.predict_proba(new.obsm["X_sivae"]).max(axis=1)

right = (new.obs["cell_type"].astype(str) == label).rename("right")
print(f"known cells: {(left_out == types).mean():.2f} are right")
print(f"new cells:   {right.mean():.2f} are right")
print(right.groupby(new.obs["cell_type"], observed=True).agg(["size", "mean"]).round(2))

by_agreement = right.groupby(pd.cut(agree, [0, 0.5, 0.8, 1.0]), observed=True)
print(by_agreement.agg(["size", "mean"]).round(2))

# Genes go by name

z = model.get_latent_representation(new[:, ::-1])
print(bool((z == new.obsm["X_sivae"]).all()))

import textwrap
import warnings

import numpy as np

fewer = new[:, ~new.var_names.isin(model.genes[:45])]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    z = model.get_latent_representation(fewer)
print(textwrap.fill(str(said[0].message), 80))
agreement = np.corrcoef(z.ravel(), new.obsm["X_sivae"].ravel())[0, 1]
print(f"correlation with the places by all genes: {agreement:.3f}")

def refused(attempt):
    try:
        attempt()
    except sivae.errors.SiVAEError as error:
        print(textwrap.fill(f"{type(error).__name__}: {error}", 80))


fewer = new[:, ~new.var_names.isin(model.genes[:90])]
refused(lambda: model.get_latent_representation(fewer))

planted = sivae.datasets.planted(200, 50, n_batches=2, batch_effect=0.5)
sivae.SiVAE.setup_anndata(planted, batch_key="batch")
of_batches = sivae.SiVAE(planted, n_latent=2)
of_batches.train(max_epochs=5, progress=False)
later = planted[:20].copy()
later.obs["batch"] = "batch_3"
refused(lambda: of_batches.get_latent_representation(later))

# New genes

print(known.var["sivae_modelled"].value_counts())

_, ax = plt.subplots(figsize=(7, 5), layout="constrained")
sivae.pl.genes(known, ax=ax)
plt.savefig("new_cells-2.png")
plt.close("all")

from scipy.linalg import orthogonal_procrustes

everything = ad.read_h5ad("known.h5ad")
sivae.SiVAE.setup_anndata(everything)
full = sivae.SiVAE(everything, n_latent=5)
full.train(progress=False)
trained = full.get_feature_representation().loc[known.var_names].to_numpy()
placed, modelled = known.varm["X_sivae"], known.var["sivae_modelled"].to_numpy()
trained = trained @ orthogonal_procrustes(trained[modelled], placed[modelled])[0]

_, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
names = ("modelled in both", "placed afterwards")
for ax, genes, name in zip(axes, (modelled, ~modelled), names):
    x, y = trained[genes].ravel(), placed[genes].ravel()
    ax.plot(x, y, ".", ms=3)
    ax.axline((0, 0), slope=1, color="gray", lw=0.8)
    ax.set_title(f"{name}: correlation {np.corrcoef(x, y)[0, 1]:.2f}")
    ax.set(xlabel="loading, all genes trained", ylabel="loading, 300 trained")
plt.savefig("new_cells-3.png")
plt.close("all")

apart = np.abs(trained - placed).max(axis=1)[~modelled]
print(*known.var_names[~modelled][np.argsort(-apart)[:8]])

subprocess.run(shlex.split("""sivae embed run known.h5ad --genes -o genes.h5ad"""), check=True)

with_cells = sivae.SiVAE.load("run/model", known[:, modelled])
some = known[:, ["SSU72", "PARK7", "MAD2L2"]]
print(with_cells.get_feature_representation(some).round(2))

refused(lambda: with_cells.get_feature_representation(new))

# What to keep

from pathlib import Path

for path in sorted(Path("run/model").iterdir()):
    print(f"{path.stat().st_size / 1000:7,.1f} kB  {path.name}")
