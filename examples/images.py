"""Images: loadings you can see.

The code of docs/tutorials/images.md; written by scripts/examples.py.
"""

# Pictures as cells, pixels as genes

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

import sivae

digits = load_digits()
pixels = [f"row {r} column {c}" for r in range(8) for c in range(8)]
images = [f"image {i}" for i in range(len(digits.data))]
adata = ad.AnnData(
    (digits.data / 16).astype(np.float32),
    obs=pd.DataFrame({"digit": digits.target.astype(str)}, index=images),
    var=pd.DataFrame(index=pixels),
)
adata.obs["digit"] = adata.obs["digit"].astype("category")
print(adata.shape)

sivae.SiVAE.setup_anndata(adata, normalize="none")
model = sivae.SiVAE(adata, n_latent=10, seed=0)
options = sivae.TrainOptions(max_steps=500)
history = model.train(progress=False, options=options)
model.annotate(adata)

# The map of the pictures

sivae.pl.cells(adata, color="digit")
plt.savefig("images-1.png")
plt.close("all")

names = [f"axis{k + 1}" for k in range(10)]
positions = pd.DataFrame(adata.obsm["X_sivae"], columns=names)
print(positions.groupby(adata.obs["digit"].to_numpy()).mean().round(1))

# Loadings as pictures

sivae.pl.loading_images(adata, (8, 8))
plt.savefig("images-2.png")
plt.close("all")

# Moving along an axis

training = (adata.obs["sivae_split"] == "train").to_numpy()
mean_g = adata.X[training].mean(axis=0)
sd_g = adata.X[training].std(axis=0)
z_nk = adata.obsm["X_sivae"]
_, grid = plt.subplots(3, 7, figsize=(7, 3.4), layout="constrained")
for k, row in enumerate(grid):
    steps = np.linspace(*np.quantile(z_nk[:, k], (0.02, 0.98)), len(row))
    z_mk = np.tile(z_nk.mean(axis=0), (len(row), 1))
    z_mk[:, k] = steps
    x_mg = mean_g + sd_g * model.explain(adata).decode(z_mk)
    for ax, z, x_g in zip(row, steps, x_mg, strict=True):
        ax.imshow(x_g.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
        ax.set_title(f"axis {k + 1}: {z:.1f}", fontsize=7)
        ax.set_axis_off()
plt.savefig("images-3.png")
plt.close("all")

# Neighbors are nearby

sivae.tl.gene_neighbors(adata, n_neighbors=4)
used = np.flatnonzero(sd_g > 0)
place_g2 = np.column_stack(np.divmod(used, 8))
apart_gg = np.abs(place_g2[:, None] - place_g2).max(axis=2)
near_gg = adata.varp["sivae_distances"][used][:, used]
touching = apart_gg[near_gg.nonzero()] == 1
chance = (apart_gg == 1).sum() / (len(used) * (len(used) - 1))
print(f"neighbors that touch the pixel: {touching.mean():.0%}")
print(f"by chance: {chance:.0%}")

near = sivae.tl.neighbors_of(adata, "row 0 column 2")
print(near[["neighbor", "distance", "correlation"]].round(2))

# Modules are regions

sivae.tl.modules(adata)
print(adata.var["sivae_module"].value_counts())

module_g = adata.var["sivae_module"]
names = [m for m in module_g.cat.categories if m != "unassigned"]
numbers = {name: number for number, name in enumerate(names)}
number_g = np.array([numbers.get(m, np.nan) for m in module_g])
_, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), layout="constrained")
axes[0].imshow(adata.X.mean(axis=0).reshape(8, 8), cmap="gray")
axes[0].set_title("mean picture", fontsize=9)
colors = plt.get_cmap("Set2", len(names))
shown = axes[1].imshow(number_g.reshape(8, 8), cmap=colors)
shown.set_clim(-0.5, len(names) - 0.5)
axes[1].set_title("modules", fontsize=9)
bar = plt.colorbar(shown, ax=axes[1], ticks=range(len(names)))
bar.ax.set_yticklabels(names)
for ax in axes:
    ax.set_axis_off()
plt.savefig("images-4.png")
plt.close("all")

# What follows nothing lies at the origin

facts = pd.DataFrame({
    "length": np.linalg.norm(adata.varm["X_sivae"], axis=1),
    "constant": sd_g == 0,
    "r2": adata.var["sivae_r2"],
    "p": adata.var["sivae_connected_pvalue"],
})
print(facts.sort_values("length").head(8).round(3))
