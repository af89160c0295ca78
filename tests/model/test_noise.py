"""Every likelihood with every dispersion, from training to what is saved, written and said."""

import anndata as ad
import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from builders import SMALL
from scipy import sparse

from sivae import SiVAE, TrainOptions
from sivae.datasets import planted
from sivae.report import _facts

ALLOWED = [
    *(("normal", kind) for kind in ("gene", "gene-batch", "gene-cell", "cell")),
    *((name, kind) for name in ("nb", "zinb") for kind in ("gene", "gene-batch", "gene-cell")),
    ("poisson", "gene"),
    ("bernoulli", "gene"),
]


@pytest.fixture(scope="module")
def cells():
    """300 cells x 90 genes in two batches; the last 10 genes are kept from training."""
    adata = planted(300, 90, n_factors=2, genes_per_factor=20, n_batches=2, batch_effect=0.3, signed=True, seed=7)
    adata.X.data[adata.X.data == 1] *= np.random.default_rng(0).integers(0, 2, (adata.X.data == 1).sum())
    adata.X.eliminate_zeros()
    adata = adata[np.asarray(adata.X[:, :80].sum(axis=1)).ravel() > 0].copy()
    adata = adata[:, np.random.default_rng(1).permutation(90)].copy()
    SiVAE.setup_anndata(adata, batch_key="batch")
    return adata


def fit(adata, likelihood, dispersion):
    model = SiVAE(
        adata, n_latent=3, likelihood=likelihood, dispersion=dispersion, n_profile=20, architecture=SMALL, seed=2
    )
    # Fast enough that two epochs beat the start, so that no parameter is still at it.
    options = TrainOptions(learning_rate=2e-3, warmup_steps=2, average_decay=0.5, checks=20, validation_fraction=0.15)
    model.train(2, batch_size=16, feature_batch_size=40, progress=False, accelerator="cpu", options=options)
    return model


@pytest.fixture(scope="module", params=ALLOWED, ids="-".join)
def model(request, cells):
    return fit(cells[:, :80].copy(), *request.param)


def test_every_getter_is_finite(model, cells):
    n, g = model.adata.shape
    found = {
        "latent": model.get_latent_representation(return_dist=True),
        "features": model.get_feature_representation(return_dist=True),
        "unseen": model.get_feature_representation(cells[:, 80:], return_dist=True),
        "expression": (model.get_normalized_expression(), model.get_normalized_expression(transform_batch="batch_1")),
        "fit": (model.get_elbo(), model.get_reconstruction_error(), model.get_reconstruction_error(per_feature=True)),
    }
    for name, values in found.items():
        for value in values:
            assert np.isfinite(np.asarray(value, float)).all(), name
    assert found["expression"][0].shape == (n, g)
    assert (found["expression"][0].to_numpy() >= 0).all()
    assert model.get_elbo() < -model.get_reconstruction_error()


def test_expression_has_about_the_library(model):
    """What is counted of it: under zero inflation a share; the Normal gives a median-like value, which lies below."""
    likelihood, frame = model.options.likelihood, model.get_normalized_expression(library_size=100.0)
    if likelihood == "zinb":
        share_g = torch.sigmoid(-model._module.zero_logit_g.detach()).numpy()
        frame = frame[list(model._state.reader.genes)] * share_g
    rows = frame.sum(axis=1)
    if likelihood == "bernoulli":
        assert (rows > 100).all()
    else:
        assert rows.mean() == pytest.approx(100, rel=0.65 if likelihood == "normal" else 0.1)


def noise_of(model, expression, z_nk):
    """By hand, (n, g)."""
    module = model._module
    base_g = module.log_noise_g.detach().numpy()
    parts = {name: value.detach().numpy() for name, value in module.dispersion.named_parameters()}
    h_nd = oracles.decode(module.cell_tower, z_nk, expression.design_nb)
    if "offset_gb" in parts:
        return base_g + expression.design_nb @ parts["offset_gb"].T
    if "weight_gd" in parts:
        return base_g + h_nd @ parts["weight_gd"].T
    if "weight_d" in parts:
        return np.log(np.log1p(np.exp(h_nd @ parts["weight_d"] + parts["bias"])) + 1e-5)[:, None]
    return base_g[None]


def test_reconstruction_error_is_that_of_the_noise_of_each_entry(model):
    """At the posterior means of the loaded and of the trained model alike."""
    expression, name = model._read(None), model.options.likelihood
    z_nk = model.get_latent_representation()
    module, genes = model._module, range(80)
    v_gk, _ = oracles.encode(module.feature_tower, module.profile_gq.numpy())
    eta, _ = oracles.predict(module, z_nk * 1.0, v_gk * module.used_k.numpy(), expression.design_nb, genes)
    noise = np.exp(noise_of(model, expression, z_nk))
    values = expression.values().toarray()
    if name == "normal":
        values, noise = expression.standardised(slice(None)), np.maximum(noise, 0.3)
    inflation = None if module.zero_logit_g is None else 1 / (1 + np.exp(-module.zero_logit_g.detach().numpy()))
    expected = oracles.entry_nll(name, eta, values, noise, expression.library_n, inflation).mean(axis=0)
    found = model.get_reconstruction_error(per_feature=True).loc[list(model._state.reader.genes)]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_noise_that_differs_between_cells_is_learned_as_such(model):
    """Training moves it off its start, where it has anything to move."""
    assert model._state.facts["best_step"] > 0
    expression = model._read(None)
    noise = noise_of(model, expression, model.get_latent_representation())
    spread = noise.std(axis=0).max()
    assert (spread > 1e-4) == (model.options.dispersion != "gene")


def test_saved_and_loaded_it_answers_to_the_last_bit(model, tmp_path):
    model.save(tmp_path / "m")
    loaded = SiVAE.load(tmp_path / "m", model.adata)
    assert (
        loaded.get_normalized_expression().to_numpy().tobytes()
        == model.get_normalized_expression().to_numpy().tobytes()
    )
    assert loaded.get_elbo() == model.get_elbo()
    assert loaded.get_reconstruction_error() == model.get_reconstruction_error()
    assert loaded.options == model.options
    assert repr(loaded) == repr(model)
    loaded.save(tmp_path / "again")
    for name in ("weights.safetensors", "tables.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "m" / name).read_bytes()


def test_permuted_cells_and_genes_permute_the_answers(model):
    rng = np.random.default_rng(3)
    permuted = model.adata[rng.permutation(model.adata.n_obs)][:, rng.permutation(80)].copy()
    frame = model.get_normalized_expression(permuted).loc[model.adata.obs_names, model.genes]
    np.testing.assert_allclose(frame, model.get_normalized_expression(), rtol=1e-4, atol=1e-3)
    assert model.get_reconstruction_error(permuted) == pytest.approx(model.get_reconstruction_error(), rel=1e-5)
    again = fit(permuted, model.options.likelihood, model.options.dispersion)
    for one, two in zip(again._module.state_dict().values(), model._module.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_annotation_and_report_say_what_it_is(model, cells):
    adata, options = cells.copy(), model.options
    model.annotate(adata, project=True)
    var, noiseless = adata.var, options.likelihood in ("poisson", "bernoulli")
    assert var["sivae_noise"].isna().all() if noiseless else (var["sivae_noise"] > 0).all()
    for key in ("sivae_r2", "sivae_scale", "sivae_bias", "sivae_connected_pvalue"):
        assert np.isfinite(var[key]).all(), key
    assert np.isfinite(adata.varm["X_sivae"]).all()
    assert ("sivae_zero_inflation" in var) == (options.likelihood == "zinb")
    if options.likelihood == "zinb":
        assert var["sivae_zero_inflation"].between(0, 1, inclusive="neither").all()
    assert adata.uns["sivae"]["options"]["dispersion"] == options.dispersion
    facts = dict(_facts.collect(adata, label=None)["model"])
    assert facts["Likelihood"] == _facts.LIKELIHOODS[options.likelihood]
    assert facts["Noise parameter"] == ("none" if noiseless else _facts.DISPERSIONS[options.dispersion])


def test_the_noise_of_a_gene_is_that_of_the_average_training_cell(model):
    kind, module, state = model.options.dispersion, model._module, model._state
    adata = model.adata.copy()
    model.annotate(adata)
    training = adata[adata.obs["sivae_split"] == "train"]
    noise = noise_of(model, state.reader.read(training), model.get_latent_representation(training))
    if kind == "cell":  # softplus of the average, not the average of the softplus
        design = state.reader.read(training).design_nb
        h_nd = oracles.decode(module.cell_tower, model.get_latent_representation(training), design)
        part = module.dispersion
        at_mean = h_nd.mean(axis=0) @ part.weight_d.detach().numpy() + part.bias.item()
        noise = np.full((1, 80), np.log(np.log1p(np.exp(at_mean)) + 1e-5))
    expected = np.exp(module.likelihood.clamp_noise(torch.tensor(noise.mean(axis=0))).numpy())
    if model.options.likelihood in ("poisson", "bernoulli"):
        expected = np.full(80, np.nan)
    np.testing.assert_allclose(adata.var["sivae_noise"].loc[list(state.reader.genes)], expected, rtol=1e-3)


def test_bernoulli_sees_open_and_closed_alone(cells):
    """Counts and their zeros and ones train, place cells and genes, and score the same, to the last bit."""
    counts, ones = cells[:, :80].copy(), cells[:, :80].copy()
    ones.X = sparse.csr_matrix((counts.X > 0).astype(np.float32))
    assert (counts.X != ones.X).nnz > 100
    dense = counts.copy()
    dense.X = counts.X.toarray()
    one, two = fit(counts, "bernoulli", "gene"), fit(ones, "bernoulli", "gene")
    for a, b in zip(one._module.state_dict().values(), two._module.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one.get_latent_representation(dense), one.get_latent_representation(), atol=1e-5)
    assert counts.X.max() > 1  # what was given is not changed
    np.testing.assert_array_equal(one.get_latent_representation(ones), one.get_latent_representation(counts))
    assert one.get_elbo(ones) == one.get_elbo(counts)
    assert one.get_reconstruction_error(ones) == one.get_reconstruction_error(counts)
    expression = one._read(counts)
    assert set(np.unique(expression.values().data)) == {1.0}
    np.testing.assert_array_equal(expression.library_n, np.asarray(ones.X.sum(axis=1)).ravel())
    new = cells[:, 80:].copy()
    found = one.get_feature_representation(new)
    new.X = sparse.csr_matrix((new.X > 0).astype(np.float32))
    pd.testing.assert_frame_equal(one.get_feature_representation(new), found)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "bernoulli"])
def test_unseen_genes_have_the_bias_and_noise_of_their_values(cells, likelihood):
    """Copies of modelled genes under new names get about the numbers of those."""
    adata = cells[:, :80].copy()
    model = fit(adata, likelihood, "gene")
    copies = adata.copy()
    copies.var_names = [f"copy_{name}" for name in adata.var_names]
    both = ad.concat([adata, copies], axis=1, merge="first", uns_merge="first")
    model.annotate(both, project=True)
    own, new = both.var.loc[adata.var_names], both.var.loc[copies.var_names]
    seen = np.asarray((adata.X > 0).mean(axis=0)).ravel() > 0.3

    def distance(key, change=lambda x: x):
        return np.abs(change(new[key].to_numpy()[seen]) - change(own[key].to_numpy()[seen]))

    assert np.median(distance("sivae_bias")) < 0.15
    np.testing.assert_allclose(both.varm["X_sivae"][80:], both.varm["X_sivae"][:80], atol=0.04)
    if likelihood in ("nb", "zinb"):
        assert np.median(distance("sivae_noise", np.log)) < 0.5
    if likelihood == "zinb":
        assert np.median(distance("sivae_zero_inflation")) < 0.1
