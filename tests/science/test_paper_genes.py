"""The example of the paper's Fig. 1: genes that move together lie together and far out, the others at the origin."""

import numpy as np
import pytest
from builders import SHORT

from sivae import SiVAE
from sivae.datasets import eight_genes

pytestmark = [pytest.mark.slow, pytest.mark.science]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("n_latent", [2, 4])
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_four_together_and_four_at_the_origin(likelihood, n_latent, seed):
    counts = likelihood == "nb"
    adata = eight_genes(1000, counts=counts, seed=seed)
    SiVAE.setup_anndata(adata, size_factor_key="size_factor" if counts else None)
    model = SiVAE(adata, n_latent=n_latent, likelihood=likelihood, seed=seed)
    model.train(progress=False, accelerator="cpu", options=SHORT)
    v = model.get_feature_representation().to_numpy()
    together, alone = v[:4], v[4:]
    size = np.linalg.norm(together, axis=1)
    axis = np.abs(together).argmax(axis=1)
    assert len(set(axis)) == 1
    assert len(set(np.sign(together[:, axis[0]]))) == 1
    assert (np.abs(together[:, axis[0]]) > 0.95 * size).all()
    assert np.linalg.norm(alone, axis=1).max() < 0.1 * size.min(), np.linalg.norm(v, axis=1).round(3)
    factor = np.corrcoef(model.get_latent_representation()[:, axis[0]], adata.obs["factor"])[0, 1]
    assert abs(factor) > 0.8
