"""The gene space of an AnnData, read by name."""

import anndata
import numpy as np
import pytest

from sivae._errors import GeneMismatchError, SetupError
from sivae._space import nearest_names, read_space


def test_it_reads_what_annotate_wrote(model, counts_adata):
    model.annotate(counts_adata)
    space = read_space(counts_adata)
    assert space.names == tuple(counts_adata.var_names)
    np.testing.assert_allclose(space.v_gk, counts_adata.varm["X_sivae"])
    np.testing.assert_allclose(space.noise_g, counts_adata.var["sivae_noise_variance"])
    assert space.covariance.shape == (9, 9) and space.encoder_gk.shape == (50, 3)
    assert space.n_cells == model._state.facts["n_training_cells"]
    assert space.axes == ("axis1", "axis2", "axis3")


def test_it_needs_neither_values_nor_model_and_survives_h5ad(normal_model, counts_adata, tmp_path):
    normal_model.annotate(counts_adata)
    whole = read_space(counts_adata)
    bare = anndata.AnnData(obs=counts_adata.obs, var=counts_adata.var, uns=counts_adata.uns, varm=counts_adata.varm)
    bare.write_h5ad(tmp_path / "a.h5ad")
    space = read_space(anndata.read_h5ad(tmp_path / "a.h5ad"))
    for name in ("v_gk", "variance_gk", "w_gd", "covariance", "noise_g", "encoder_gk", "r2_g", "pvalue_g"):
        np.testing.assert_array_equal(getattr(space, name), getattr(whole, name))


def test_genes_without_a_position_are_left_out_and_get_the_fill(normal_model, counts_adata):
    wider = anndata.concat([counts_adata, counts_adata[:, :2].copy()], axis=1, index_unique="-")
    wider.var_names = [*counts_adata.var_names, "new1", "new2"]
    wider.obs, wider.uns = counts_adata.obs, counts_adata.uns
    normal_model.annotate(wider)
    space = read_space(wider)
    assert len(space.names) == 50 and space.n_vars == 52
    column = space.spread(space.r2_g)
    assert np.isnan(column[50:]).all() and np.isfinite(column[:50]).all()
    assert space.spread(np.ones(50, bool), fill=False).dtype == bool


def test_some_of_the_genes(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    space = read_space(counts_adata)
    few = space.take(np.array([7, 3]))
    assert few.names == (space.names[7], space.names[3])
    np.testing.assert_array_equal(few.v_gk, space.v_gk[[7, 3]])
    np.testing.assert_array_equal(few.noise_g, space.noise_g[[7, 3]])
    np.testing.assert_array_equal(few.covariance, space.covariance)


def test_another_embedding_has_positions_alone(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    counts_adata.varm["other"] = np.ones((50, 2))
    space = read_space(counts_adata, "other")
    assert space.variance_gk is None and space.covariance is None and space.r2_g is None
    np.testing.assert_array_equal(space.covariance_kk, np.eye(2))


def test_a_wrong_gene_gets_the_nearest_names(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    space = read_space(counts_adata)
    assert list(space.find([space.names[4], space.names[1]])) == [4, 1]
    with pytest.raises(GeneMismatchError, match=f"Did you mean {space.names[4]}"):
        space.find([space.names[4].upper() + "x"])
    assert nearest_names("cd3d", ["CD8A", "CD3D", "CD3E"])[0] == "CD3D"
    assert nearest_names("zzz", ["CD8A"]) == []


def test_what_is_missing_is_said(counts_adata):
    with pytest.raises(SetupError, match=r"no varm\['X_sivae'\].*Call model.annotate"):
        read_space(counts_adata)
    with pytest.raises(SetupError, match=r"no varm\['PCs'\].*use_rep"):
        read_space(counts_adata, "PCs")
    counts_adata.varm["bad"] = np.full((50, 2), np.nan)
    with pytest.raises(SetupError, match="No gene has a finite position"):
        read_space(counts_adata, "bad")
