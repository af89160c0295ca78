"""Gene Relevance of an AnnData: planted gradients, order, storages, and a null."""

import numpy as np
import pytest
from scipy import sparse
from storages import opening

import sivae
from sivae._errors import OptionError, SetupError
from sivae.datasets import planted
from sivae.graph._attribution import attribution_loading
from sivae.graph._relevance import nearest_cells, partial_derivatives


@pytest.fixture
def adata():
    return planted(300, 40, n_factors=2, genes_per_factor=12, counts=False, seed=1)


def test_it_is_made_of_its_parts(adata):
    found = sivae.tl.gene_relevance(adata, basis="planted_z", n_neighbors=15, n_cells=None)
    y, rows = adata.obsm["planted_z"], np.arange(300)
    neighbors = nearest_cells(y, rows, 15)
    for axis in range(2):
        partials = partial_derivatives(adata.X, y, rows, neighbors, axis=axis)
        np.testing.assert_allclose(found[f"axis{axis + 1}"], attribution_loading(partials), rtol=1e-6)
    assert found.index.tolist() == adata.var_names.tolist()
    assert found.attrs["method"] == "gene_relevance"
    assert found.attrs["n_cells"] == 300
    assert found.attrs["seconds"] > 0


def test_planted_gradient(adata):
    """On the planted factors the derivative of a gene is its loading."""
    adata.X = (adata.obsm["planted_z"] @ adata.varm["planted_v"].T).astype(np.float32)
    found = sivae.tl.gene_relevance(adata, basis="planted_z", estimator="least_squares", center=False)
    np.testing.assert_allclose(found, adata.varm["planted_v"], atol=1e-3)
    found = sivae.tl.gene_relevance(adata, basis="planted_z", n_neighbors=40, center=False)
    agreement = sivae.tl.attribution_agreement(adata, {"relevance": found}, use_rep="planted_v")
    assert agreement.loc["relevance", "mean"] > 0.8


def test_noise_agrees_with_nothing(adata):
    """Values without any relation to the map agree with the planted loadings by chance alone."""
    options = {"basis": "planted_z", "n_neighbors": 100, "estimator": "least_squares", "center": False, "n_cells": 60}
    found = {"signal": sivae.tl.gene_relevance(adata, **options)}
    for seed in range(20):
        adata.layers["noise"] = np.random.default_rng(seed).normal(size=adata.shape).astype(np.float32)
        found[f"noise {seed}"] = sivae.tl.gene_relevance(adata, layer="noise", **options)
    agreement = sivae.tl.attribution_agreement(adata, found, use_rep="planted_v")["mean"]
    assert agreement["signal"] > 0.75
    chance = np.sqrt(2 / (np.pi * 39))  # mean of |Spearman| over 40 unrelated genes
    assert agreement.drop("signal").mean() < 1.5 * chance


def test_order_of_cells_and_genes(adata, rng):
    moved = adata[rng.permutation(300)][:, rng.permutation(40)].copy()
    first, second = (sivae.tl.gene_relevance(a, basis="planted_z", n_cells=60, groupby="group") for a in (adata, moved))
    np.testing.assert_allclose(second.loc[first.index], first, atol=1e-6)


@pytest.mark.parametrize("storage", ["backed csr", "h5 csc", "h5 dense", "dask dense in rows"])
def test_any_storage(adata, storage, tmp_path):
    expected = sivae.tl.gene_relevance(adata, basis="planted_z", n_neighbors=5, n_cells=20)
    stored, stack = opening(storage, adata, None, tmp_path)
    with stack:
        stored.obsm["planted_z"] = adata.obsm["planted_z"]
        found = sivae.tl.gene_relevance(stored, basis="planted_z", n_neighbors=5, n_cells=20)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_layer_and_a_view(adata):
    adata.layers["twice"] = sparse.csr_matrix(2 * adata.X)
    expected = 2 * sivae.tl.gene_relevance(adata[:200], basis="planted_z")
    np.testing.assert_allclose(
        sivae.tl.gene_relevance(adata[:200], basis="planted_z", layer="twice"), expected, rtol=1e-5
    )


def test_it_refuses(adata):
    with pytest.raises(SetupError, match=r"Found no obsm\['X_sivae'\].*obsm has: planted_z"):
        sivae.tl.gene_relevance(adata)
    for number in (1, 300):
        with pytest.raises(OptionError, match=f"n_neighbors is {number}; expected at least 2 and less than"):
            sivae.tl.gene_relevance(adata, basis="planted_z", n_neighbors=number)
    with pytest.raises(OptionError, match="estimator is 'mean'; expected 'median' or 'least_squares'"):
        sivae.tl.gene_relevance(adata, basis="planted_z", estimator="mean")
    adata.obsm["planted_z"][3, 0] = np.nan
    with pytest.raises(SetupError, match=r"obsm\['planted_z'\] is not a table of finite numbers"):
        sivae.tl.gene_relevance(adata, basis="planted_z")
