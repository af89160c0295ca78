"""Large data.

The code of docs/tutorials/large_data.md; written by scripts/examples.py.
"""

import shlex
import subprocess

# A store

import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import psutil
import zarr

import sivae

adata = sivae.datasets.planted(20_000, 500, seed=1)
names, genes = list(adata.obs_names), list(adata.var_names)
adata.write_h5ad("cells.h5ad")
group = zarr.open_group("cells.zarr", mode="w", zarr_format=2)
ad.io.write_elem(group, "/", adata)
sivae.io.write_h5ad(adata[:2000], "small.h5ad")
print(f"values that are not zero: {adata.X.nnz:,}")
adata.X = adata.X.tocsc()
adata.write_h5ad("by_gene.h5ad")
del adata
print(f"cells.h5ad: {Path('cells.h5ad').stat().st_size / 1e6:.0f} MB")

# Open it, do not read it

sivae.SiVAE  # loads torch
process = psutil.Process()
used = {"Python and its libraries": process.memory_info().rss}
adata = ad.read_h5ad("cells.h5ad", backed="r")
sivae.SiVAE.setup_anndata(adata)
used["opened and set up"] = process.memory_info().rss
print(adata)

# Train from the file

model = sivae.SiVAE(adata, n_latent=5, seed=0)
options = sivae.TrainOptions(max_steps=200, spool="always")
history = model.train(progress=False, options=options)
used["trained"] = process.memory_info().rss
for what, rss in used.items():
    print(f"{what:26} {rss / 1e6:5.0f} MB")

# Embed in parts

group = zarr.open_group("cells.zarr", mode="r")
stored = ad.AnnData(
    ad.io.sparse_dataset(group["X"]),
    obs=ad.io.read_elem(group["obs"]),
    var=ad.io.read_elem(group["var"]),
)
parts = [
    model.get_latent_representation(stored[start : start + 5000])
    for start in range(0, stored.n_obs, 5000)
]
at_once = model.get_latent_representation(adata)
print(bool((np.concatenate(parts) == at_once).all()))

# Stored by gene

cells = np.random.default_rng(0).choice(20_000, 256, replace=False)
cells.sort()
by_gene = ad.read_h5ad("by_gene.h5ad", backed="r")
for name, data in {"by cell": adata, "by gene": by_gene}.items():
    start = time.perf_counter()
    data[cells].to_memory()
    print(f"{name}: {1000 * (time.perf_counter() - start):.0f} ms")

sivae.io.write_h5ad(by_gene, "by_cell.h5ad", as_csr=True)
again = ad.read_h5ad("by_cell.h5ad", backed="r")
differ = again[cells].to_memory().X != adata[cells].to_memory().X
print(f"stored as {again.X.format}, values that differ: {differ.nnz}")

# Many pieces, or another reader

def blocks():
    for start in range(0, 20_000, 4000):
        values = adata[start : start + 4000].to_memory().X  # yours
        yield values, names[start : start + 4000]


sivae.io.write_blocks("from_blocks.h5ad", blocks(), var_names=genes)
print(ad.read_h5ad("from_blocks.h5ad", backed="r").shape)

rows = sivae.io.from_reader(
    lambda start, stop: adata[start:stop].to_memory().X,
    obs=adata.obs[["group"]],
    var_names=genes,
)
new = model.get_latent_representation(rows[:100])
print(bool((new == at_once[:100]).all()))

# Killed, and going on

Path("train.py").write_text("""
import anndata as ad
import sivae

adata = ad.read_h5ad("small.h5ad", backed="r")
sivae.SiVAE.setup_anndata(adata)
model = sivae.SiVAE(adata, n_latent=5, seed=0)
options = sivae.TrainOptions(
    max_steps=200, checkpoint_seconds=0, spool="always"
)
model.train(progress=False, checkpoint_dir="state", options=options)
model.save("killed")
""")
running = subprocess.Popen([sys.executable, "train.py"])
seen = set()
while len(seen) < 4 and running.poll() is None:  # until the fourth
    seen |= {path.stat().st_mtime_ns for path in Path("state").glob("*.safetensors")}
    time.sleep(0.01)
running.kill()
print("ended with", running.wait(), "- a model was saved:", Path("killed").exists())
finished = subprocess.run([sys.executable, "train.py"], check=True)
print("went on from step", sivae.SiVAE.load("killed").history.attrs["resumed_at"])

small = ad.read_h5ad("small.h5ad")
sivae.SiVAE.setup_anndata(small)
whole = sivae.SiVAE(small, n_latent=5, seed=0)
options = sivae.TrainOptions(max_steps=200)
history = whole.train(progress=False, options=options)
whole.save("whole")
for name in ("weights.safetensors", "tables.safetensors"):
    one, other = Path("killed", name), Path("whole", name)
    print(name, one.read_bytes() == other.read_bytes())

# The same from the command line

subprocess.run(shlex.split("""sivae fit small.h5ad -o run --n-latent 5 --max-epochs 5 --checkpoint state"""), check=True)
