"""Training: reproducible, by name, never worse than its start, and loud when it fails."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders import SMALL, STILL, train

from sivae import SiVAE, TrainOptions
from sivae._errors import DivergedError
from sivae._rng import name_fractions


def fitted(adata, likelihood="normal", *, seed=0, n_latent=2, training=None, **options):
    model = SiVAE(
        adata, likelihood=likelihood, seed=seed, n_latent=n_latent, n_profile=12, architecture=SMALL, **options
    )
    train(model, **({"max_steps": 12, "checks": 3} | (training or {})))
    return model


def state_bytes(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model._module.state_dict().values())


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_order_of_cells_and_genes_does_not_matter(counts_adata, likelihood):
    """Trained on permuted data, every number is the same to the last bit."""
    rng = np.random.default_rng(1)
    c, g = rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)
    one, two = fitted(counts_adata, likelihood), fitted(counts_adata[c][:, g].copy(), likelihood)
    assert state_bytes(one) == state_bytes(two)
    for found, expected in zip(*(m.get_feature_representation(return_dist=True) for m in (two, one)), strict=True):
        assert list(found.index) == list(counts_adata.var_names[g])
        np.testing.assert_array_equal(found.loc[counts_adata.var_names], expected)
    np.testing.assert_array_equal(two.get_latent_representation(counts_adata), one.get_latent_representation())
    np.testing.assert_array_equal(two._state.table.connected_p_g, one._state.table.connected_p_g)


def test_same_seed_same_bytes_and_another_seed_differs(counts_adata):
    one, two, other = (fitted(counts_adata, seed=seed) for seed in (0, 0, 1))
    assert state_bytes(one) == state_bytes(two)
    pd.testing.assert_frame_equal(one.history.drop(columns="seconds"), two.history.drop(columns="seconds"))
    pd.testing.assert_frame_equal(one.get_feature_representation(), two.get_feature_representation())
    assert state_bytes(one) != state_bytes(other)


def test_training_twice_starts_anew(counts_adata):
    model = fitted(counts_adata)
    first = state_bytes(model)
    train(model, max_steps=12, checks=3)
    assert state_bytes(model) == first


def test_global_generators_are_neither_used_nor_moved(counts_adata):
    np.random.seed(1)  # noqa: NPY002
    torch.random.manual_seed(1)
    first = state_bytes(fitted(counts_adata))
    after = np.random.random(), float(torch.rand(1))  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.random.manual_seed(1)
    assert after == (np.random.random(), float(torch.rand(1)))  # noqa: NPY002
    assert state_bytes(fitted(counts_adata)) == first


def held_rows(adata, seed=0):
    return name_fractions(adata.obs_names, seed) < 0.15


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_held_out_cells_never_reach_the_feature_side(counts_adata, likelihood):
    """E-10: other values in the validation cells change no profile and no gene vector of the start."""
    changed = counts_adata.copy()
    dense = changed.X.toarray()
    rows = held_rows(changed)
    assert 10 < rows.sum() < 80
    dense[rows] = np.random.default_rng(0).permutation(dense[rows].ravel()).reshape(rows.sum(), -1) + 3
    changed.X = type(changed.X)(dense)
    one, two = fitted(counts_adata, likelihood, training=STILL), fitted(changed, likelihood, training=STILL)
    np.testing.assert_array_equal(one._module.profile_gq, two._module.profile_gq)
    np.testing.assert_array_equal(one._state.spectrum.values_q, two._state.spectrum.values_q)
    for a, b in zip(*(m.get_feature_representation(return_dist=True) for m in (one, two)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    assert state_bytes(one) == state_bytes(two)
    for name in ("mean_g", "sd_g", "share_g"):
        np.testing.assert_array_equal(
            getattr(one._state.reader.scaling, name), getattr(two._state.reader.scaling, name)
        )
    assert one.get_elbo(changed) != one.get_elbo(counts_adata)  # the change is a real one


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_a_gene_without_counts_changes_no_other(counts_adata, likelihood):
    dense = counts_adata.X.toarray()
    dense[:, 7] = 0
    counts_adata.X = type(counts_adata.X)(dense)
    without = counts_adata[:, np.delete(np.arange(50), 7)].copy()
    with_it, without_it = fitted(counts_adata, likelihood, training=STILL), fitted(without, likelihood, training=STILL)
    found = with_it.get_feature_representation()
    np.testing.assert_allclose(found.loc[without.var_names], without_it.get_feature_representation(), atol=1e-3)
    np.testing.assert_allclose(with_it.get_latent_representation(), without_it.get_latent_representation(), atol=1e-3)
    assert np.abs(found.loc[counts_adata.var_names[7]]).max() < 1e-3
    assert np.isfinite(with_it.get_normalized_expression().to_numpy()).all()
    assert with_it._state.table.r2_g[list(with_it._state.reader.genes).index(counts_adata.var_names[7])] == 0


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_training_raises_the_bound(counts_adata, likelihood):
    start = fitted(counts_adata, likelihood, training=STILL)
    trained = fitted(counts_adata, likelihood, gamma=0.0, training={"max_steps": 80, "checks": 8, "average_decay": 0.9})
    assert trained.get_elbo() > start.get_elbo()
    assert trained._state.facts["best_step"] > 0


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_never_worse_than_its_start(counts_adata, likelihood):
    """With an absurd learning rate the start is what is kept."""
    wild = {"learning_rate": 0.5, "max_steps": 20, "checks": 5, "average_decay": 0.0, "warmup_steps": 1}
    model, start = fitted(counts_adata, likelihood, training=wild), fitted(counts_adata, likelihood, training=STILL)
    loss = model.history["validation_loss"]
    assert (loss[1:] > loss[0]).all()
    assert model._state.facts["best_step"] == 0
    np.testing.assert_allclose(model.get_latent_representation(), start.get_latent_representation(), atol=1e-6)
    np.testing.assert_allclose(model.get_feature_representation(), start.get_feature_representation(), atol=1e-6)


def test_early_stopping_keeps_the_best_and_says_why_it_ended(counts_adata):
    """E-5: a plateau is found, and the weights are those of the best check."""
    options = {"max_steps": 160, "checks": 80, "patience": 3, "learning_rate": 0.02, "average_decay": 0.0}
    model = fitted(counts_adata, training=options | {"early_stopping": True})
    history, facts = model.history, model._state.facts
    assert facts["stopped"] == "plateau"
    assert history["step"].iloc[-1] < 160
    best = history[history["best"] == 1].iloc[-1]
    assert facts["best_step"] == best["step"]
    assert best["validation_loss"] <= history["validation_loss"].min() * (1 + 2e-5)  # gains below 1e-5 do not count
    longer = fitted(counts_adata, training=options)
    assert longer._state.facts["stopped"] == "all steps done"
    assert longer.history["step"].iloc[-1] == 160


def test_patience_begins_after_the_warm_up(counts_adata):
    """Nothing is learnt at a rate of nothing: the third check after the warm-up is the last."""
    options = {"max_steps": 160, "checks": 80, "patience": 3, "learning_rate": 1e-30, "warmup_steps": 50}
    model = fitted(counts_adata, training=options | {"early_stopping": True})
    assert model._state.facts["stopped"] == "plateau"
    assert model.history["step"].iloc[-1] == 56


def test_gamma_reaches_training(counts_adata):
    """E-1 and E-4: gamma changes what is learnt, and 0 runs through."""
    none, some = (fitted(counts_adata, gamma=gamma, training={"max_steps": 30}) for gamma in (0.0, 1.0))
    assert state_bytes(none) != state_bytes(some)
    assert none.options.gamma == 0.0
    assert some.history["nll_linear"].iloc[-1] > 0
    assert np.isfinite(none.get_elbo())


def test_kl_scale_is_that_of_the_bound_or_of_the_paper(counts_adata):
    bound, published = (fitted(counts_adata, kl_scale=scale, training=STILL) for scale in ("bound", "published"))
    row, n = bound.history.iloc[-1], bound._state.facts["n_training_cells"]
    linear = 0.5 * row["nll_linear"]
    assert row["loss"] == pytest.approx(row["nll"] + row["kl_cells"] + 50 / n * row["kl_features"] + linear, rel=1e-5)
    row = published.history.iloc[-1]
    linear = 0.5 * row["nll_linear"]
    assert row["loss"] == pytest.approx(row["nll"] + row["kl_cells"] + row["kl_features"] + linear, rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"decoder": "published"}, {"profiles": "cells"}, {"n_latent": 1}, {"kl_scale": "published"}]
)
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_every_choice_runs_through(counts_adata, likelihood, options):
    model = fitted(counts_adata, likelihood, **options)
    model.rotate("varimax")
    model.annotate(counts_adata)
    assert np.isfinite(counts_adata.varm["X_sivae"]).all()
    assert np.isfinite(model.get_elbo())
    assert np.isfinite(model.get_feature_representation(counts_adata).to_numpy()).all()
    assert np.isfinite(model.get_normalized_expression().to_numpy()).all()


def test_without_validation_cells_it_trains_to_the_end(values_adata):
    model = fitted(values_adata, training={"validation_fraction": 0.0, "early_stopping": True})
    assert model._state.facts["best_step"] == 12
    assert np.isnan(model._state.table.r2_g).all()
    model.annotate(values_adata)
    assert set(values_adata.obs["sivae_split"]) == {"train"}


def test_divergence_is_named(counts_adata):
    model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL)
    with pytest.raises(DivergedError) as caught:
        train(model, learning_rate=1e30, max_steps=30, warmup_steps=1)
    message = str(caught.value)
    assert "diverged at step " in message
    assert any(f"{term}" in message for term in ("nll", "kl_cells", "kl_features", "nll_linear"))
    assert any(f"gene {gene!r}" in message for gene in counts_adata.var_names)
    assert any(f"cell {cell!r}" in message for cell in counts_adata.obs_names)
    assert "learning_rate" in message
    assert not model.is_trained


def test_a_failed_training_leaves_an_earlier_one_in_place(counts_adata):
    model = fitted(counts_adata)
    before = model.get_latent_representation()
    with pytest.raises(DivergedError):
        train(model, learning_rate=1e30, max_steps=30, warmup_steps=1)
    np.testing.assert_array_equal(model.get_latent_representation(), before)


def test_history_is_one_row_per_check(counts_adata):
    history = fitted(counts_adata).history
    assert history["step"].tolist() == [0, 4, 8, 12]
    assert history["best"].iloc[0] == 1
    for column in ("loss", "nll", "kl_cells", "kl_features", "nll_linear", "learning_rate", "epoch"):
        assert history[column].iloc[1:].notna().all()
    assert (history["seconds"].diff().iloc[1:] >= 0).all()


def test_progress_and_the_default_options_run(values_adata, capfd):
    model = SiVAE(values_adata, n_latent=2)
    history = model.train(max_epochs=2, accelerator="cpu")
    assert history["step"].iloc[-1] == 2
    assert "siVAE" in capfd.readouterr().err
    assert TrainOptions().kl_warmup_steps == 0
