"""What a trained model gives: shapes, order, scales, and what it keeps to whatever the order of the data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sivae._errors import CellMismatchError, GeneMismatchError, OptionError, SiVAEWarning
from sivae.model._predict import encode, joint, predictor, predictor_blocks

SHARED_FIXTURES = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_shapes_names_and_finite_values(model, counts_adata):
    n, g = counts_adata.shape
    z, z_var = model.get_latent_representation(return_dist=True)
    v, v_var = model.get_feature_representation(return_dist=True)
    x = model.get_normalized_expression()
    assert z.shape == z_var.shape == (n, 3)
    assert v.shape == v_var.shape == (g, 3)
    assert x.shape == (n, g)
    for frame in (v, v_var):
        assert list(frame.index) == list(counts_adata.var_names)
        assert list(frame.columns) == ["axis1", "axis2", "axis3"]
    assert list(x.index) == list(counts_adata.obs_names)
    assert list(x.columns) == list(counts_adata.var_names)
    for values in (z, z_var, v, v_var, x):
        assert np.isfinite(np.asarray(values)).all()
    for values in (z_var, v_var):
        assert (np.asarray(values) > 0).all()
    assert (np.asarray(x) >= 0).all()
    np.testing.assert_array_equal(model.get_latent_representation(), z)
    pd.testing.assert_frame_equal(model.get_feature_representation(), v)


def test_getters_write_nothing(model, counts_adata):
    before = counts_adata.copy()
    model.get_latent_representation(counts_adata)
    model.get_feature_representation(counts_adata)
    model.get_normalized_expression(counts_adata)
    model.get_elbo(counts_adata)
    model.get_reconstruction_error(counts_adata)
    assert (counts_adata.X != before.X).nnz == 0
    for name in ("obsm", "varm", "uns", "layers"):
        assert set(getattr(counts_adata, name)) == set(getattr(before, name))
    pd.testing.assert_frame_equal(counts_adata.obs, before.obs)
    pd.testing.assert_frame_equal(counts_adata.var, before.var)


@SHARED_FIXTURES
@given(seed=st.integers(0, 10**6))
def test_permuting_the_data_permutes_the_answers(model, counts_adata, seed):
    rng = np.random.default_rng(seed)
    c, g = rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)
    permuted = counts_adata[c][:, g].copy()
    np.testing.assert_allclose(
        model.get_latent_representation(permuted), model.get_latent_representation()[c], rtol=0, atol=2e-6
    )
    x = model.get_normalized_expression(permuted)
    assert list(x.index) == list(permuted.obs_names)
    x = x.loc[counts_adata.obs_names, counts_adata.var_names]
    np.testing.assert_allclose(x, model.get_normalized_expression(), rtol=1e-4, atol=1e-3)
    assert model.get_reconstruction_error(permuted) == pytest.approx(model.get_reconstruction_error(), rel=1e-5)
    v = model.get_feature_representation(permuted)
    assert list(v.index) == list(permuted.var_names)


def test_permuting_genes_alone_changes_no_bit(model, counts_adata):
    permuted = counts_adata[:, np.random.default_rng(0).permutation(counts_adata.n_vars)].copy()
    np.testing.assert_array_equal(model.get_latent_representation(permuted), model.get_latent_representation())
    assert model.get_elbo(permuted) == model.get_elbo()
    pd.testing.assert_frame_equal(model.get_normalized_expression(permuted), model.get_normalized_expression())


def test_elbo_does_not_depend_on_the_order_of_cells_beyond_its_noise(model, counts_adata):
    shuffled = counts_adata[np.random.default_rng(0).permutation(counts_adata.n_obs)].copy()
    assert model.get_elbo(shuffled) == pytest.approx(model.get_elbo(), rel=0.02)
    assert model.get_elbo() == model.get_elbo()


def test_indices_keep_their_order(model, counts_adata):
    z = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(indices=[9, 2, 5]), z[[9, 2, 5]], rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        model.get_latent_representation(counts_adata, [9, 2, 5]), z[[9, 2, 5]], rtol=0, atol=2e-6
    )
    mean, variance = model.get_latent_representation(indices=[4], return_dist=True)
    assert mean.shape == variance.shape == (1, 3)


def test_new_cells_with_shuffled_and_extra_genes(model, counts_adata):
    rng = np.random.default_rng(3)
    new = counts_adata[rng.permutation(240)[:30]].copy()
    new.obs_names = [f"new{i}" for i in range(30)]
    expected = model.get_latent_representation(new)
    shuffled = new[:, rng.permutation(new.n_vars)].copy()
    np.testing.assert_array_equal(model.get_latent_representation(shuffled), expected)


def test_cells_with_a_missing_gene_are_predicted_from_where_they_are_placed(model, counts_adata):
    """Placing a cell and predicting it take the missing genes at the same value, the mean of the training cells."""
    fewer = counts_adata[:40, 4:].copy()
    state = model._state
    with pytest.warns(SiVAEWarning, match="4 of the 50"):
        expression = state.reader.read(fewer)
        z = model.get_latent_representation(fewer)
    np.testing.assert_allclose(encode(model._module, expression)[0], z, atol=1e-6)
    found = np.concatenate([eta for _, eta in predictor_blocks(model._module, state.table, state.linear, expression)])
    remainder = state.linear.remainder(z, joint(model._module, z, expression.design_nb), expression.design_nb).astype(
        np.float32
    )
    np.testing.assert_allclose(found, predictor(state.table, z, remainder, expression.design_nb), atol=1e-3)


def test_normalised_expression_is_on_the_count_scale(model, counts_adata):
    for library_size in (1e4, 500.0):
        rows = model.get_normalized_expression(library_size=library_size).sum(axis=1)
        # The Normal gives back the median-like value of a log, which lies below the mean of skewed counts.
        tolerance = 0.05 if model.options.likelihood == "nb" else 0.65
        assert rows.mean() == pytest.approx(library_size, rel=tolerance)
        assert rows.std() < 0.25 * library_size
    observed = counts_adata.X.toarray()
    observed = 1e4 * observed / observed.sum(axis=1, keepdims=True)
    means = model.get_normalized_expression().mean(axis=0).to_numpy()
    assert np.corrcoef(np.log(means + 1), np.log(observed.mean(axis=0) + 1))[0, 1] > 0.97


def test_gene_list_keeps_its_order(model):
    whole = model.get_normalized_expression()
    names = [model.genes[i] for i in (7, 0, 31)]
    part = model.get_normalized_expression(gene_list=names)
    assert list(part.columns) == names
    pd.testing.assert_frame_equal(part, whole[names], rtol=1e-5)
    with pytest.raises(GeneMismatchError, match=r"not trained on NOPE; see model.genes"):
        model.get_normalized_expression(gene_list=[names[0], "NOPE"])


def test_transform_batch_moves_the_decoder_alone(model, counts_adata):
    as_it_is = model.get_normalized_expression()
    moved = {batch: model.get_normalized_expression(transform_batch=batch) for batch in ("batch_1", "batch_2")}
    for batch, frame in moved.items():
        own = (counts_adata.obs["batch"] == batch).to_numpy()
        pd.testing.assert_frame_equal(frame[own], as_it_is[own], rtol=1e-5)
        assert (frame[~own] - as_it_is[~own]).abs().to_numpy().max() > 1
    planted = np.diff(counts_adata.varm["planted_batch"], axis=1).ravel()
    found = np.log((moved["batch_2"].mean() + 1e-3) / (moved["batch_1"].mean() + 1e-3)).to_numpy()
    seen = counts_adata.X.toarray().mean(axis=0) > 0.5
    assert np.corrcoef(found[seen], planted[seen])[0, 1] > 0.8
    with pytest.raises(OptionError, match="transform_batch is 'batch_9'; the batches are: batch_1, batch_2"):
        model.get_normalized_expression(transform_batch="batch_9")


def test_cells_of_the_two_batches_overlap(model, counts_adata):
    z = model.get_latent_representation()
    is_first = (counts_adata.obs["batch"] == "batch_1").to_numpy()
    gap = np.abs(z[is_first].mean(axis=0) - z[~is_first].mean(axis=0))
    assert (gap < 0.35 * z.std(axis=0) + 0.05).all()


def test_reconstruction_error_per_gene_adds_up(model, counts_adata):
    per_gene = model.get_reconstruction_error(per_feature=True)
    assert list(per_gene.index) == list(counts_adata.var_names)
    assert per_gene.sum() == pytest.approx(model.get_reconstruction_error(), rel=1e-9)


def test_the_elbo_is_below_the_reconstruction(model):
    """KL terms are positive and a draw predicts no better than the mean, by and large."""
    assert model.get_elbo() < -model.get_reconstruction_error()


def test_the_first_two_axes_are_those_planted(model, counts_adata):
    """Recovery: loadings and positions follow the two planted factors."""
    v, z = model.get_feature_representation().to_numpy(), model.get_latent_representation()
    used = np.flatnonzero(z.std(axis=0) > 0)
    assert len(used) >= 2
    for planted_v, planted_z in zip(counts_adata.varm["planted_v"].T, counts_adata.obsm["planted_z"].T, strict=True):
        assert max(abs(np.corrcoef(v[:, k], planted_v)[0, 1]) for k in used) > 0.6
        assert max(abs(np.corrcoef(z[:, k], planted_z)[0, 1]) for k in used) > 0.6


def test_genes_need_the_training_cells(model, counts_adata):
    with pytest.raises(CellMismatchError, match=r"10 of the 240 cells .* are not in this one .*matched by obs_names"):
        model.get_feature_representation(counts_adata[:230].copy())
