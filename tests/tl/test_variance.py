"""Shares of variance, from an annotated AnnData alone, and beside what cells held out show."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sivae.tl as tl
from sivae import SiVAE
from sivae._errors import OptionError, SetupError
from sivae.datasets import planted


def test_layers_are_the_variances_of_the_predictions_of_training_cells(normal_model, counts_adata):
    """The closed form against the values that the model predicts, one cell at a time."""
    normal_model.annotate(counts_adata)
    train = (counts_adata.obs["sivae_split"] == "train").to_numpy()
    z, h, v, w = normal_model.explain().layer()
    linear, full = z @ v.T, z @ v.T + h @ w.T
    noise = counts_adata.var["sivae_noise_variance"].to_numpy().sum()
    signal = {name: np.var(x[train], axis=0, ddof=1) for name, x in (("linear", linear), ("full", full))}
    total = signal["full"].sum() + noise
    table = tl.explained_variance(counts_adata, by="layer").set_index("layer")["explained"]
    assert table["linear"] == pytest.approx(signal["linear"].sum() / total, rel=1e-3)
    assert table["full"] == pytest.approx(signal["full"].sum() / total, rel=1e-3)
    assert table["noise"] == pytest.approx(noise / total, rel=1e-3)
    assert table["linear"] + table["remainder"] + table["noise"] == pytest.approx(1.0)
    genes = tl.explained_variance(counts_adata, by="gene").set_index("gene")
    np.testing.assert_allclose(
        genes["full"], signal["full"] / (signal["full"] + counts_adata.var["sivae_noise_variance"]), rtol=2e-3
    )


@pytest.mark.parametrize("kind", ["none", "variance", "varimax"])
def test_axes_add_up_to_the_linear_layer_however_they_are_turned(model, counts_adata, kind):
    model.rotate(kind)
    model.annotate(counts_adata)
    axes, layers = (tl.explained_variance(counts_adata, by=by) for by in ("axis", "layer"))
    linear = layers.set_index("layer")["explained"]["linear"]
    assert axes["explained"].sum() == pytest.approx(linear)
    assert axes["axis"].tolist() == ["axis1", "axis2", "axis3"]


def test_it_needs_neither_values_nor_order(normal_model, counts_adata, rng, tmp_path):
    normal_model.annotate(counts_adata)
    other = counts_adata[rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)].copy()
    bare = ad.AnnData(obs=other.obs, var=other.var, uns=other.uns, varm=dict(other.varm))
    bare.write_h5ad(tmp_path / "a.h5ad")
    bare = ad.read_h5ad(tmp_path / "a.h5ad")
    for by in ("axis", "layer"):
        found, expected = (tl.explained_variance(each, by=by) for each in (bare, counts_adata))
        pd.testing.assert_frame_equal(found, expected)
    found, expected = (tl.explained_variance(each, by="gene").set_index("gene") for each in (bare, counts_adata))
    pd.testing.assert_frame_equal(found.loc[expected.index], expected)


def test_genes_never_trained_on_are_listed_and_not_summed(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    before = tl.explained_variance(counts_adata)
    counts_adata.var.loc[counts_adata.var_names[-5:], "sivae_modelled"] = False
    after = tl.explained_variance(counts_adata[:, :-5].copy())
    pd.testing.assert_frame_equal(tl.explained_variance(counts_adata), after)
    assert not np.allclose(before["explained"], after["explained"])
    assert len(tl.explained_variance(counts_adata, by="gene")) == 50


def test_another_embedding_is_shared_among_its_axes(counts_adata):
    counts_adata.varm["PCs"] = np.tile([[2.0, 1.0]], (50, 1))
    table = tl.explained_variance(counts_adata, use_rep="PCs")
    np.testing.assert_allclose(table["explained"], [0.8, 0.2])


def test_errors_say_what_to_do(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    with pytest.raises(OptionError, match="by is 'cell'"):
        tl.explained_variance(counts_adata, by="cell")
    del counts_adata.var["sivae_noise_variance"]
    with pytest.raises(SetupError, match="no var\\['sivae_noise_variance'\\].*annotate"):
        tl.explained_variance(counts_adata)


@pytest.mark.slow
@pytest.mark.science
def test_shares_are_the_planted_ones_and_those_of_cells_held_out():
    """Normal values of unit variance with |v|^2 explained: shares by gene, and what held-out cells show."""
    adata = planted(1500, 120, n_factors=3, genes_per_factor=25, counts=False, seed=4)
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=5, likelihood="normal")
    model.train(max_epochs=30, progress=False)
    model.annotate(adata)
    genes = tl.explained_variance(adata, by="gene").set_index("gene")
    truth = (adata.varm["planted_v"] ** 2).sum(axis=1)
    assert np.abs(genes["linear"] - truth).mean() < 0.03
    off = (genes["full"] - genes["measured"])[truth > 0]  # of 150 cells held out: an R2 has a standard error of .06
    assert abs(off.mean()) < 0.05 and off.abs().mean() < 0.07
    assert genes["full"][truth == 0].mean() < 0.02
    axes = tl.explained_variance(adata)
    assert axes["explained"].sum() == pytest.approx(truth.mean(), abs=0.02)
