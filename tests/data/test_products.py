"""Products with the standardised matrix from what is stored sparse, against the matrix itself."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from sivae import SiVAE
from sivae.data import _products
from sivae.data._covariates import CovariateEffect, covariate_effect
from sivae.data._expression import Expression
from sivae.data._setup import read_record
from sivae.model._build import make_reader


def peaks(rng, n=2100, g=90, **setup):
    """Counts of which few are seen: rare ones clipped, one never, one in every cell (so that its zero is clipped)."""
    y = rng.poisson(rng.gamma(0.5, 0.1, (1, g)) * rng.lognormal(0, 0.5, (n, 1)))
    y[:, 0], y[:, 1], y[:, 2] = 3, 0, 0
    y[:2, 2], y[5, 0] = 4, 0
    adata = ad.AnnData(sparse.csr_matrix(y.astype(np.float32)))
    adata.obs_names, adata.var_names = [f"c{i:04d}" for i in range(n)], [f"g{i:02d}" for i in range(g)]
    adata.obs["batch"] = rng.choice(["x", "y", "z"], n)
    adata.obs["age"] = rng.normal(size=n)
    SiVAE.setup_anndata(adata, **setup)
    record = read_record(adata)
    return make_reader(adata, record, tuple(adata.var_names))[1], record.n_batches


@pytest.mark.parametrize(
    "setup",
    [
        {},
        {"batch_key": "batch"},
        {"continuous_covariate_keys": ["age"]},
        {"categorical_covariate_keys": ["batch"], "continuous_covariate_keys": ["age"]},
    ],
)
def test_product_is_that_of_the_standardised_rows(rng, setup):
    expression, n_batches = peaks(rng, **setup)
    effect = covariate_effect(expression, n_batches)
    assert effect.log_gain_bg.any() == ("batch_key" in setup)
    x = np.concatenate(list(effect.blocks(expression)())).astype(float)
    assert (np.abs(expression.standardised(slice(None))) == 10).any()
    matrix = rng.normal(size=(x.shape[1], 5)).astype(np.float32)
    expected = x.T @ (x @ matrix)
    product = effect.product(expression)
    assert product is not None
    np.testing.assert_allclose(product(matrix), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_dense_blocks_are_used_where_sparse_ones_do_not_pay(rng, monkeypatch):
    expression, _ = peaks(rng)
    nothing = np.zeros((0, 90), np.float32)
    empty = CovariateEffect(nothing, nothing)
    dense = Expression(expression.values().toarray(), expression.library_n, expression.scaling, expression.design_nb)
    assert empty.product(dense) is None
    assert empty.product(expression) is not None
    monkeypatch.setattr(_products, "MOST_DENSITY", 0.001)
    assert empty.product(expression) is None


def test_gains_of_cells_of_their_own_need_dense_blocks(rng):
    expression, n_batches = peaks(rng, batch_key="batch", continuous_covariate_keys=["age"])
    assert covariate_effect(expression, n_batches).product(expression) is None
