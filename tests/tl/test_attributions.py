"""Attribution methods beside the loadings: the tables equal their parts, follow names, and say what they cost."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sivae
from sivae._errors import GeneMismatchError, SetupError
from sivae.graph._attribution import attribution_loading
from sivae.tl._sample import sample_cells

QUICK = ("gradient", "saliency", "gradient_x_input", "integrated_gradients", "deeplift", "occlusion", "lrp")


@pytest.fixture
def annotated(model):
    adata = model.adata.copy()
    model.annotate(adata)
    return adata


# ------------------------------------------------------------------------------------------------------------ loadings


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("center", [True, False])
def test_loadings_are_components_of_the_attributions(normal_model, side, center):
    adata = normal_model.adata
    found = sivae.tl.attributions(
        adata, normal_model, side=side, method="gradient_x_input", n_cells=30, center=center, seed=3
    )
    rows = sample_cells(adata, 30, groupby=None, seed=3)
    for axis, table in normal_model.get_attributions(adata, rows, side=side, method="gradient_x_input"):
        np.testing.assert_allclose(found[axis], attribution_loading(table.to_numpy(), center=center))
    assert found.index.tolist() == normal_model.genes
    assert {k: found.attrs[k] for k in ("side", "method", "signed", "n_cells")} == {
        "side": side, "method": "gradient_x_input", "signed": True, "n_cells": 30,
    }  # fmt: skip
    assert found.attrs["seconds"] > 0


def test_order_of_cells_and_genes_is_followed(normal_model, rng):
    adata = normal_model.adata
    moved = adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()
    first, second = (
        sivae.tl.attributions(a, normal_model, method="lrp", n_cells=25, groupby="group") for a in (adata, moved)
    )
    pd.testing.assert_frame_equal(first, second, atol=1e-5)


def test_a_linear_model_gives_its_loadings(values_adata):
    """At the spectral start the decoder is linear: every signed method gives the loadings, up to a factor per axis."""
    model = sivae.SiVAE(values_adata, n_latent=2, n_profile=10)
    model.train(progress=False, options=sivae.TrainOptions(max_steps=1, checks=1, learning_rate=1e-30))
    model.annotate(values_adata)
    found = {
        method: sivae.tl.attributions(values_adata, model, side="decoder", method=method, n_cells=40)
        for method in (*QUICK, "shapley")
    }
    agreement = sivae.tl.attribution_agreement(values_adata, found)
    assert agreement["mean"].min() > 0.999


def test_planted_factors_are_found_by_every_method(annotated, model):
    """Decoder attributions of a trained model find the planted loadings where these are not zero."""
    planted_gk = np.abs(annotated.varm["planted_v"]).max(axis=1)
    for method in QUICK:
        found = sivae.tl.attributions(annotated, model, side="decoder", method=method, n_cells=40, center=False)
        size_g = np.linalg.norm(found[["axis1", "axis2"]], axis=1)
        assert stats.spearmanr(size_g, planted_gk).statistic > 0.5, method


# ----------------------------------------------------------------------------------------------------------- agreement


def test_agreement_is_spearman_by_name(annotated, rng):
    genes = rng.permutation(annotated.var_names)[:30]
    values = pd.DataFrame(rng.normal(size=(30, 3)), index=genes)
    values.attrs["seconds"] = 1.5
    own = pd.DataFrame(annotated.varm["X_sivae"], index=annotated.var_names).loc[genes]
    found = sivae.tl.attribution_agreement(annotated, {"noise": values})
    expected = [abs(stats.spearmanr(own.iloc[:, k], values.iloc[:, k]).statistic) for k in range(3)]
    np.testing.assert_allclose(found.loc["noise", ["axis1", "axis2", "axis3"]].astype(float), expected)
    assert found.loc["noise", "mean"] == pytest.approx(np.mean(expected))
    assert found.loc["noise", "seconds"] == 1.5
    assert found.columns.tolist() == ["axis1", "axis2", "axis3", "mean", "seconds"]


def test_unsigned_methods_are_compared_with_sizes(annotated):
    size = pd.DataFrame(np.abs(annotated.varm["X_sivae"]), index=annotated.var_names)
    signed = sivae.tl.attribution_agreement(annotated, {"size": size})
    size.attrs["signed"] = False
    unsigned = sivae.tl.attribution_agreement(annotated, {"size": size})
    assert unsigned.loc["size", "mean"] == pytest.approx(1.0)
    assert signed.loc["size", "mean"] < 0.9


def test_an_axis_without_loadings_is_left_out_of_the_mean(annotated):
    own = pd.DataFrame(annotated.varm["X_sivae"].copy(), index=annotated.var_names)
    own[1] = 0.0
    found = sivae.tl.attribution_agreement(annotated, {"own": own}).loc["own"]
    assert np.isnan(found["axis2"])
    assert found["mean"] == pytest.approx(1.0)
    assert np.isnan(found["seconds"])


def test_similarity_of_all_to_all(annotated, rng):
    frames = {n: pd.DataFrame(rng.normal(size=(50, 3)), index=annotated.var_names) for n in ("a", "b")}
    found = sivae.tl.attribution_similarity(annotated, frames)
    assert found.index.tolist() == found.columns.tolist() == ["sivae", "a", "b"]
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    agreement = sivae.tl.attribution_agreement(annotated, frames)["mean"]
    np.testing.assert_allclose(found.loc["sivae", ["a", "b"]], agreement)
    turned = [abs(stats.spearmanr(frames["a"][k], frames["b"][k]).statistic) for k in range(3)]
    assert found.loc["a", "b"] == pytest.approx(np.mean(turned))


def test_any_embedding_in_varm(annotated):
    planted_v = pd.DataFrame(annotated.varm["planted_v"], index=annotated.var_names)
    found = sivae.tl.attribution_agreement(annotated, {"itself": planted_v}, use_rep="planted_v")
    assert found.loc["itself", "mean"] == pytest.approx(1.0)


def test_agreement_refuses(annotated):
    two = pd.DataFrame(np.ones((50, 2)), index=annotated.var_names)
    with pytest.raises(SetupError, match="'two' has 2 axes, expected 3 like the loadings"):
        sivae.tl.attribution_agreement(annotated, {"two": two})
    other = pd.DataFrame(np.ones((5, 3)), index=list("abcde"))
    with pytest.raises(GeneMismatchError, match="Found 0 genes in all of sivae, other, expected three or more"):
        sivae.tl.attribution_similarity(annotated, {"other": other})


def test_importing_loads_no_torch():
    code = "import sivae, sys; sivae.tl.attributions; sivae.tl.gene_relevance; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
