"""In data without structure noise seldom opens an axis, and nothing follows from one that it opened."""

import anndata as ad
import numpy as np
import pytest

import sivae


def fit(seed):
    values = np.random.default_rng(seed).standard_normal((300, 300)).astype(np.float32)
    adata = ad.AnnData(values)
    adata.obs_names = [f"c{seed}_{c}" for c in range(300)]
    adata.var_names = [f"gene_{g}" for g in range(300)]
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=5, seed=0)
    model.train(progress=False, options=sivae.TrainOptions(max_steps=1))
    model.annotate(adata)
    sivae.tl.hubs(adata)
    return adata, sivae.tl.rank_loadings(adata, n_genes=None)


@pytest.mark.slow
def test_noise_seldom_opens_an_axis_and_nothing_follows_from_it():
    opened, signs, connected = [], 0, 0
    for seed in range(40):
        adata, table = fit(seed)
        opened.append(table["axis"].nunique())
        signs += int((table["lfsr"] < 0.05).sum())
        connected += int(adata.var["sivae_connected"].sum())
    assert sum(n > 0 for n in opened) <= 5  # 99.9 % of a binomial of 40 with 2.3 %
    assert max(opened) <= 2
    assert signs <= 0.1 * 300 * sum(opened)
    assert connected <= 2
