"""Genes that were never trained on, embedded from their values in the training cells."""

import anndata as ad
import numpy as np
import pytest
from builders import SMALL, split, train

from sivae import SiVAE
from sivae.datasets import planted


def test_a_modelled_gene_embedded_by_its_values_is_its_row(model, counts_adata):
    table, table_var = model.get_feature_representation(return_dist=True)
    found, found_var = model.get_feature_representation(counts_adata, return_dist=True)
    # The batch effect of a new gene is found given where cells lie, that of a modelled gene within groups of cells.
    np.testing.assert_allclose(found, table, atol=0.06 * np.abs(table.to_numpy()).max())
    ratio = found_var.to_numpy() / table_var.to_numpy()
    assert np.quantile(np.abs(np.log(ratio)), 0.95) < 0.25


def test_order_of_cells_and_genes_does_not_matter(model, counts_adata):
    rng = np.random.default_rng(0)
    some = counts_adata[rng.permutation(240)][:, [30, 4, 17]].copy()
    found = model.get_feature_representation(some)
    assert list(found.index) == list(some.var_names)
    expected = model.get_feature_representation(counts_adata)
    np.testing.assert_allclose(found, expected.loc[some.var_names], atol=1e-5)


@pytest.fixture(scope="module", params=["normal", "nb"])
def split_genes(request):
    """A model of half of the genes, one of all, and the data."""
    adata = planted(300, 60, n_factors=1, genes_per_factor=40, n_batches=2, batch_effect=0.5, signed=True, seed=5)
    SiVAE.setup_anndata(adata, batch_key="batch", size_factor_key="size_factor")
    seen = adata[:, ::2].copy()
    models = []
    for data in (seen, adata):
        model = SiVAE(data, n_latent=2, likelihood=request.param, n_profile=20, architecture=SMALL)
        train(model, max_steps=60)
        models.append(model)
    return *models, adata


def test_unseen_genes_lie_where_they_would_have_been_trained(split_genes):
    half, whole, adata = split_genes
    unseen = adata[:, 1::2].copy()
    found, expected = half.get_feature_representation(unseen), whole.get_feature_representation().loc[unseen.var_names]
    assert abs(np.corrcoef(found["axis1"], expected["axis1"])[0, 1]) > 0.9
    size = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
    assert np.polyfit(*size, 1)[0] == pytest.approx(1, abs=0.3)
    assert np.isfinite(found.to_numpy()).all()


def test_unseen_genes_have_evidence_like_seen_ones(split_genes):
    half, _, adata = split_genes
    half.annotate(adata, project=True)
    var = adata.var
    in_module = (var["module"] != "none") & (np.asarray(adata.X.mean(axis=0)).ravel() > 0.5)
    unseen = ~var["sivae_modelled"]
    assert (~unseen).sum() == 30
    assert var["sivae_connected_pvalue"].between(0, 1).all()
    assert var.loc[in_module & unseen, "sivae_connected_pvalue"].median() < 0.05
    assert (var.loc[in_module & unseen, "sivae_r2"] > 0).mean() > 0.7


def test_a_batch_effect_alone_is_no_evidence_for_an_unseen_gene(split_genes):
    """Values that differ between batches and follow nothing else are no more connected than chance."""
    half, _, adata = split_genes
    new = adata[:, 1::2].copy()
    rng = np.random.default_rng(0)
    rate = np.where(adata.obs["batch"] == "batch_1", 0.5, 4.0)[:, None] * adata.obs["size_factor"].to_numpy()[:, None]
    new.X = rng.poisson(np.repeat(rate, new.n_vars, axis=1)).astype(np.float32)
    new.var_names = [f"batch_only_{i}" for i in range(new.n_vars)]
    modelled = half.get_feature_representation()
    assert (
        np.linalg.norm(half.get_feature_representation(new), axis=1).max()
        < 0.7 * np.linalg.norm(modelled, axis=1).max()
    )
    both = ad.concat([adata[:, ::2], new], axis=1, merge="first", uns_merge="first")
    half.annotate(both, project=True)
    p = both.var.loc[new.var_names, "sivae_connected_pvalue"]
    assert (p < 0.05).mean() < 0.3, p.sort_values().head()


def test_an_unseen_gene_without_counts_lies_at_the_origin(model, counts_adata):
    empty = counts_adata[:, :2].copy()
    empty.X = np.zeros(empty.shape, np.float32)
    empty.var_names = ["nothing1", "nothing2"]
    found = model.get_feature_representation(empty)
    typical = np.linalg.norm(model.get_feature_representation(), axis=1).max()
    assert np.linalg.norm(found, axis=1).max() < 0.1 * typical


def test_validation_values_do_not_place_a_new_gene(model, counts_adata):
    """E-10 for new genes."""
    changed = counts_adata.copy()
    _, held = split(model, counts_adata)
    dense = changed.X.toarray()
    dense[held] = 9
    changed.X = type(changed.X)(dense)
    np.testing.assert_array_equal(
        model.get_feature_representation(changed), model.get_feature_representation(counts_adata)
    )
