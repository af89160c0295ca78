"""Modules of a trained model: planted ones are found, and none where genes are independent."""

import anndata as ad
import numpy as np
import pytest
from gene_spaces import codes, connect
from sklearn.metrics import adjusted_rand_score

from sivae import SiVAE, tl
from sivae.datasets import planted

pytestmark = [pytest.mark.slow, pytest.mark.science]


def trained(adata):
    SiVAE.setup_anndata(adata, size_factor_key="size_factor")
    model = SiVAE(adata, n_latent=8, seed=0)
    model.train(progress=False, accelerator="cpu")
    model.annotate(adata)
    return connect(adata, 20)


@pytest.mark.parametrize("seed", range(2))
def test_planted_modules_are_found(seed):
    adata = trained(planted(1000, 400, n_factors=5, genes_per_factor=30, seed=seed))
    tl.modules(adata)
    found, truth = codes(adata), adata.var["module"].cat.codes.to_numpy()
    null = (adata.var["module"] == "none").to_numpy()
    assigned = found >= 0
    assert adjusted_rand_score(truth[assigned & ~null], found[assigned & ~null]) > 0.97
    assert adjusted_rand_score(truth, found) > 0.7, "missed: genes without enough evidence on held-out cells"
    assert assigned[~null].mean() > 0.7 and assigned[null].mean() < 0.06


@pytest.mark.parametrize("seed", range(2))
def test_independent_genes_are_in_no_module(seed):
    rng = np.random.default_rng(seed)
    depth = np.exp(0.35 * rng.normal(size=600))
    rate = depth[:, None] * rng.gamma(2, 0.5, 200) * rng.gamma(10, 0.1, (600, 200))
    adata = ad.AnnData(rng.poisson(rate).astype(np.float32))
    adata.obs["size_factor"] = depth
    adata = trained(adata)
    tl.modules(adata)
    assert (adata.var["sivae_module"] == "unassigned").mean() > 0.98
