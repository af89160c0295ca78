"""What `annotate` writes, and that it is matched by name."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sivae._errors import SiVAEWarning
from sivae._space import forget

OBS, OBSM = {"sivae_split"}, {"X_sivae"}
VAR = {"sivae_r2", "sivae_noise", "sivae_noise_variance", "sivae_scale", "sivae_bias", "sivae_modelled"}
VAR |= {"sivae_connected_pvalue"}
VARM = {"X_sivae", "X_sivae_var", "X_sivae_joint", "X_sivae_encoder"}
UNS = {"setup", "options", "joint_covariance", "position_variance", "rotation", "history", "facts"}


def wider(adata, n_extra=3):
    """The same cells in another order, the genes shuffled, and genes that the model never saw."""
    rng = np.random.default_rng(4)
    extra = ad.AnnData(
        sparse.csr_matrix(rng.poisson(1.5, (adata.n_obs, n_extra)).astype(np.float32)), obs=adata.obs[[]].copy()
    )
    extra.var_names = [f"extra_{i}" for i in range(n_extra)]
    wide = ad.concat([adata, extra], axis=1, merge="first", uns_merge="first")
    wide.obs = adata.obs.copy()
    return wide[rng.permutation(wide.n_obs)][:, rng.permutation(wide.n_vars)].copy()


def test_it_writes_the_documented_keys_and_no_other(model, counts_adata):
    before = counts_adata.copy()
    model.annotate(counts_adata)
    for name, keys in (("obs", OBS), ("obsm", OBSM), ("var", VAR), ("varm", VARM)):
        assert set(getattr(counts_adata, name).keys()) - set(getattr(before, name).keys()) == keys
    assert set(counts_adata.uns) == {"sivae"}
    assert set(counts_adata.uns["sivae"]) == UNS
    for name in ("layers", "obsp", "varp"):
        assert set(getattr(counts_adata, name)) == set(getattr(before, name))
    assert (counts_adata.X != before.X).nnz == 0


def test_values_are_those_of_the_getters(model, counts_adata):
    model.rotate("variance")
    model.annotate(counts_adata)
    v, v_var = model.get_feature_representation(return_dist=True)
    np.testing.assert_array_equal(counts_adata.obsm["X_sivae"], model.get_latent_representation())
    np.testing.assert_allclose(counts_adata.varm["X_sivae"], v, rtol=1e-6)
    np.testing.assert_allclose(counts_adata.varm["X_sivae_var"], v_var, rtol=1e-6)
    assert counts_adata.varm["X_sivae_joint"].shape == (50, 6)
    assert counts_adata.var["sivae_modelled"].all()
    assert counts_adata.var["sivae_connected_pvalue"].between(0, 1).all()
    assert (counts_adata.var["sivae_r2"] < 1).all()
    assert (counts_adata.var["sivae_noise"] > 0).all()
    split = counts_adata.obs["sivae_split"].value_counts()
    assert split["train"] == model._state.facts["n_training_cells"]
    assert split["validation"] == model._state.facts["n_validation_cells"]
    assert split["unseen"] == 0


def test_joint_covariance_belongs_to_the_rotated_axes(model, counts_adata):
    model.rotate("varimax")
    model.annotate(counts_adata)
    training = (counts_adata.obs["sivae_split"] == "train").to_numpy()
    uns = counts_adata.uns["sivae"]
    expected = np.cov(counts_adata.obsm["X_sivae"][training], rowvar=False)
    np.testing.assert_allclose(uns["joint_covariance"][:3, :3], expected, atol=1e-4)
    np.testing.assert_allclose(uns["joint_covariance"][:3, 3:], 0, atol=1e-3)  # the remainder holds nothing linear
    assert uns["joint_covariance"].shape == (9, 9)
    assert uns["rotation"]["kind"] == "varimax"
    _, variance = model.get_latent_representation(counts_adata, return_dist=True)
    np.testing.assert_allclose(uns["position_variance"], variance[training].mean(axis=0), rtol=1e-5)


def test_planted_genes_have_evidence_and_others_have_not(model, counts_adata):
    model.annotate(counts_adata)
    var = counts_adata.var
    seen = np.asarray(counts_adata.X.mean(axis=0)).ravel() > 0.5
    in_module = (var["module"] != "none").to_numpy()
    assert var.loc[in_module & seen, "sivae_connected_pvalue"].median() < 0.1
    assert 0.2 < var.loc[~in_module, "sivae_connected_pvalue"].median() < 0.8
    assert var.loc[in_module & seen, "sivae_r2"].median() > var.loc[~in_module, "sivae_r2"].median() + 0.02


def test_genes_are_matched_by_name(model, counts_adata):
    wide = wider(counts_adata)
    model.annotate(wide)
    model.annotate(counts_adata)
    modelled = list(counts_adata.var_names)
    for key in VAR:
        np.testing.assert_array_equal(wide.var.loc[modelled, key], counts_adata.var[key])
    at = wide.var_names.get_indexer(modelled)
    for key in VARM:
        np.testing.assert_array_equal(wide.varm[key][at], counts_adata.varm[key])
    rows = wide.obs_names.get_indexer(counts_adata.obs_names)
    np.testing.assert_allclose(wide.obsm["X_sivae"][rows], counts_adata.obsm["X_sivae"], atol=2e-6)
    assert (wide.obs.loc[counts_adata.obs_names, "sivae_split"] == counts_adata.obs["sivae_split"]).all()
    extra = wide.var_names.str.startswith("extra")
    assert extra.sum() == 3
    assert wide.var.loc[extra, "sivae_r2"].isna().all()
    assert np.isnan(wide.varm["X_sivae"][extra]).all()
    assert not wide.var.loc[extra, "sivae_modelled"].any()
    assert wide.var["sivae_modelled"].dtype == bool


def test_projected_genes_are_filled_and_marked(model, counts_adata):
    wide = wider(counts_adata)
    model.annotate(wide, project=True)
    extra = wide.var_names.str.startswith("extra")
    assert wide.var["sivae_modelled"].tolist() == (~extra).tolist()
    for key in VARM:
        assert np.isfinite(wide.varm[key]).all()
    for key in VAR - {"sivae_modelled"}:
        assert wide.var[key].notna().all()
    model.annotate(counts_adata)
    at = wide.var_names.get_indexer(counts_adata.var_names)
    np.testing.assert_array_equal(wide.varm["X_sivae"][at], counts_adata.varm["X_sivae"])


@pytest.mark.parametrize("rotation", ["none", "varimax"])
def test_it_survives_h5ad(model, counts_adata, tmp_path, rotation):
    model.rotate(rotation)
    wide = wider(counts_adata)
    model.annotate(wide, project=True)
    wide.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(back.var, wide.var)
    pd.testing.assert_frame_equal(back.obs, wide.obs)
    for name in ("obsm", "varm"):
        for key, value in getattr(wide, name).items():
            np.testing.assert_array_equal(getattr(back, name)[key], value)

    def compare(one, two):
        assert set(one) == set(two)
        for key in one:
            if isinstance(one[key], dict):
                compare(one[key], two[key])
            else:
                np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(two[key]))

    compare(back.uns["sivae"], wide.uns["sivae"])
    model.annotate(back)  # and again, on what was read


def test_annotating_twice_is_annotating_once(model, counts_adata):
    model.annotate(counts_adata)
    once = counts_adata.copy()
    counts_adata.uns["sivae"]["note"] = "mine"
    model.annotate(counts_adata)
    pd.testing.assert_frame_equal(once.var, counts_adata.var)
    pd.testing.assert_frame_equal(once.obs, counts_adata.obs)
    assert counts_adata.uns["sivae"].pop("note") == "mine"
    assert set(counts_adata.uns["sivae"]) == UNS


def test_new_cells_are_unseen(model, counts_adata):
    new = counts_adata[:20].copy()
    new.obs_names = [f"new_{i}" for i in range(20)]
    model.annotate(new)
    assert set(new.obs["sivae_split"]) == {"unseen"}


def test_a_part_of_the_cells_keeps_its_split(model, counts_adata):
    """A cell's split is that of its training, whatever cells are annotated with it."""
    model.annotate(counts_adata)
    training = np.flatnonzero(counts_adata.obs["sivae_split"] == "train")[:15]
    part = counts_adata[training].copy()
    model.annotate(part)
    assert set(part.obs["sivae_split"]) == {"train"}


@pytest.mark.parametrize("made", [("varp", "sivae_distances"), ("var", "sivae_hub"), ("obsm", "X_sivae_modules")])
def test_what_is_left_of_an_earlier_annotation_is_said(normal_model, nb_model, counts_adata, made):
    where, key = made
    normal_model.annotate(counts_adata)
    n, g = counts_adata.shape
    value = {"varp": np.ones((g, g)), "var": np.ones(g, bool), "obsm": np.ones((n, 2))}[where]
    getattr(counts_adata, where)[key] = value
    normal_model.rotate("varimax")
    normal_model.annotate(counts_adata)  # the same loadings, turned
    with pytest.warns(SiVAEWarning, match=rf"{where}\['{key}'\] came from an earlier annotation.*gene_neighbors"):
        nb_model.annotate(counts_adata)
    np.testing.assert_array_equal(getattr(counts_adata, where)[key], value)
    forget(counts_adata)
    assert key not in getattr(counts_adata, where)
    normal_model.annotate(counts_adata)
