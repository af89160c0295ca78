"""Depth that differs between cells opens an axis under the Normal; it is named, and a covariate takes it away."""

import numpy as np
import pytest

import sivae
from sivae.report import _caveats


@pytest.fixture(scope="module")
def planted():
    adata = sivae.datasets.planted(800, 300, n_factors=4, signed=True, seed=1)
    adata.obs["log_counts"] = np.log(np.asarray(adata.X.sum(axis=1)).ravel())
    return adata


def fit(planted, keys):
    adata = planted.copy()
    sivae.SiVAE.setup_anndata(adata, continuous_covariate_keys=keys)
    model = sivae.SiVAE(adata, n_latent=6, seed=0)
    model.train(progress=False, options=sivae.TrainOptions(max_steps=20))
    model.annotate(adata)
    return adata


def null_signs(adata):
    """Share of the genes that follow nothing whose loading has a sign, on the axis where it is highest."""
    table = sivae.tl.rank_loadings(adata, n_genes=None)
    nulls = table[table["gene"].isin(adata.var_names[adata.var["module"] == "none"])]
    return float((nulls["lfsr"] < 0.05).groupby(nulls["axis"]).mean().max())


def test_depth_opens_an_axis_that_the_report_names(planted):
    adata = fit(planted, [])
    assert sum("number of counts of a cell" in text for text in _caveats.find(adata)) == 1
    assert null_signs(adata) > 0.5


def test_log_counts_as_a_covariate_leave_the_planted_axes_alone(planted):
    adata = fit(planted, ["log_counts"])
    assert not any("number of counts of a cell" in text for text in _caveats.find(adata))
    assert sivae.tl.rank_loadings(adata, n_genes=1)["axis"].nunique() == 4
    assert null_signs(adata) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 180)  # a tenth is promised; 180 genes
