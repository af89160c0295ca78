"""Genes and cells by their likelihood under the mixture of all posteriors."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from sivae import tl
from sivae._errors import OptionError, SetupError


def density(mean, variance):
    log = norm.logpdf(mean[:, None], mean[None], np.sqrt(variance)[None]).sum(axis=2)
    return logsumexp(log, axis=1) - np.log(len(mean))


@pytest.fixture
def adata(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    return counts_adata


def test_genes_against_scipy(adata):
    table = tl.mixture_likelihood(adata)
    expected = density(np.asarray(adata.varm["X_sivae"]), np.asarray(adata.varm["X_sivae_var"]))
    found = table.set_index("gene").loc[list(adata.var_names)]
    np.testing.assert_allclose(found["log_likelihood"], expected, atol=1e-8)
    np.testing.assert_array_equal(found["rank"], pd.Series(-expected).rank().astype(int))
    assert table["rank"].tolist() == list(range(1, adata.n_vars + 1))
    assert (found["log_likelihood_others"] < found["log_likelihood"] + np.log(50 / 49) + 1e-12).all()


def test_cells_by_one_variance_or_their_own(adata, normal_model):
    z, variance = normal_model.get_latent_representation(return_dist=True)
    shared = np.broadcast_to(adata.uns["sivae"]["position_variance"], z.shape)
    adata.obsm["X_var"] = variance
    for rep, expected in ((None, density(z, shared)), ("X_var", density(z, variance))):
        found = tl.mixture_likelihood(adata, of="cells", variance_rep=rep).set_index("cell").loc[list(adata.obs_names)]
        np.testing.assert_allclose(found["log_likelihood"], expected, atol=1e-3)


def test_a_cell_that_lies_alone_is_last_and_order_does_not_matter(adata, rng):
    adata.obsm["X_sivae"][7] = 40.0
    table = tl.mixture_likelihood(adata, of="cells")
    assert table["cell"].iloc[-1] == adata.obs_names[7]
    other = tl.mixture_likelihood(adata[rng.permutation(adata.n_obs)].copy(), of="cells")
    assert other["cell"].tolist() == table["cell"].tolist()


def test_genes_without_a_position_are_left_out(adata):
    adata.varm["X_sivae"][3] = np.nan
    assert len(tl.mixture_likelihood(adata)) == adata.n_vars - 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"of": "axes"}, OptionError, "of is 'axes'"),
        ({"use_rep": "X_none"}, SetupError, r"no varm\['X_none'\]"),
        ({"use_rep": "X_sivae_encoder"}, SetupError, "without variances"),
        ({"variance_rep": "X_sivae_joint"}, SetupError, "has shape"),
        ({"variance_rep": "zero"}, SetupError, "the least variance is 0"),
        ({"of": "cells", "use_rep": "X_other"}, SetupError, "Name an array as variance_rep"),
        ({"of": "cells", "variance_rep": "X_none"}, SetupError, r"no obsm\['X_none'\]"),
    ],
)
def test_what_cannot_be_ranked(adata, options, error, text):
    adata.varm["zero"] = np.zeros(adata.varm["X_sivae"].shape)
    adata.obsm["X_other"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(error, match=text):
        tl.mixture_likelihood(adata, **options)


def test_what_is_not_annotated():
    with pytest.raises(SetupError, match="annotate"):
        tl.mixture_likelihood(ad.AnnData(np.ones((3, 2))))
    with pytest.raises(SetupError, match="annotate"):
        tl.mixture_likelihood(ad.AnnData(np.ones((3, 2))), of="cells")
