"""From an h5ad file to a report.

The code of docs/tutorials/first_run.md; written by scripts/examples.py.
"""

import shlex
import subprocess

import matplotlib.pyplot as plt

# The file

import sivae

adata = sivae.datasets.pbmc700()
adata.write_h5ad("cells.h5ad")
print(adata)

# One command

subprocess.run(shlex.split("""sivae fit cells.h5ad -o run --n-latent 5 --label cell_type"""), check=True)

from pathlib import Path

for path in sorted(Path("run").rglob("*")):
    if path.is_file():
        print(f"{path.stat().st_size / 1000:9,.1f} kB  {path}")

# What to look at first

import anndata as ad

adata = ad.read_h5ad("run/adata.h5ad")
sivae.pl.cells_and_genes(adata, color="cell_type")
plt.savefig("first_run-1.png")
plt.close("all")

print(sivae.tl.explained_variance(adata, by="axis"))

print(sivae.tl.rank_loadings(adata, n_genes=2).round(3))

sivae.pl.loadings(adata, 0)
plt.savefig("first_run-2.png")
plt.close("all")

print(adata.var["sivae_r2"].sort_values(ascending=False).head(8))

# The same in Python

adata = ad.read_h5ad("cells.h5ad")
sivae.SiVAE.setup_anndata(adata)  # layer="counts", batch_key="batch" where there are
model = sivae.SiVAE(adata, n_latent=5, seed=0)
history = model.train(progress=False)
model.annotate(adata)

sivae.tl.gene_neighbors(adata)
sivae.tl.hubs(adata)
sivae.tl.modules(adata)
report = sivae.report.build(adata, "report.html", label="cell_type")

print(sivae.tl.neighbors_of(adata, "CD79A").head())

model.save("model")
again = sivae.SiVAE.load("model", adata)
print(bool((again.get_latent_representation() == model.get_latent_representation()).all()))
