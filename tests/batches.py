"""Cells of a few kinds in batches that hold different shares of them, with a known effect of each batch."""

import anndata as ad
import numpy as np
import pandas as pd

from sivae import SiVAE
from sivae.data._setup import read_record
from sivae.model._build import make_reader

EVEN = ((1 / 3, 1 / 3, 1 / 3),) * 2
UNEVEN = ((0.5, 0.25, 0.25), (0.25, 0.25, 0.5))
OPPOSITE = ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8))
HALF_SHARED = ((0.5, 0.5, 0.0), (0.0, 0.5, 0.5))
APART = ((0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5))


def batched(
    n=600, g=40, *, shares=UNEVEN, effect=0.5, center=1.5, markers=10, stretch=None, counts=False, n_null=0, seed=0
):
    """Values (or counts) in which kind k raises `markers` genes of its own by `center` noise sds.

    `stretch` is a factor per batch, or per batch and gene, on everything but the shift. The last `n_null` genes differ
    between batches and follow nothing else. `varm["planted_shift"]` holds each batch's shift, centered over batches.
    """
    rng = np.random.default_rng(seed)
    n_batches, n_kinds = len(shares), len(shares[0])
    batch = np.arange(n) % n_batches
    kind = np.array([rng.choice(n_kinds, p=shares[b]) for b in batch])
    mean = np.zeros((n_kinds, g))
    for k in range(n_kinds):
        mean[k, k * markers : (k + 1) * markers] = center
    mean[:, g - n_null :] = 0
    shift = effect * rng.normal(size=(n_batches, g))
    shift -= shift.mean(axis=0)
    scale = np.ones((n_batches, 1)) if stretch is None else np.asarray(stretch).reshape(n_batches, -1)
    if counts:
        log_rate = 0.5 * mean[kind] + shift[batch] + 0.3 * rng.normal(size=(n, 1))
        x = rng.poisson(2.0 * np.exp(log_rate))
    else:
        x = (mean[kind] + rng.normal(size=(n, g))) * scale[batch] + shift[batch]
    names = pd.Index([f"cell{i:05d}" for i in rng.permutation(n)])
    obs = pd.DataFrame({"batch": [f"b{b}" for b in batch], "kind": [f"k{k}" for k in kind]}, index=names)
    adata = ad.AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"g{i:03d}" for i in range(g)]))
    adata.varm["planted_shift"] = shift.T
    adata.var["null"] = np.arange(g) >= g - n_null
    return adata


def read(adata, **setup):
    """The reader and the cells of `adata`, all taken to be training cells, with the set-up record."""
    SiVAE.setup_anndata(adata, **({"batch_key": "batch"} | setup))
    record = read_record(adata)
    reader, expression = make_reader(adata, record, tuple(str(name) for name in adata.var_names))
    return reader, expression, record
