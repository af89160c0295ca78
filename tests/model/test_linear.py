"""The linear part is unique and complete, and rotations turn it without changing anything else."""

import copy

import numpy as np
import oracles
import pytest
import torch
from builders import SMALL, split, train

from sivae import SiVAE
from sivae._errors import OptionError
from sivae.model._linear import LinearPart, Moments, gene_posterior, rotation
from sivae.model._predict import encode, joint, predictor_blocks


@pytest.fixture(scope="module", params=[("normal", "residual"), ("nb", "residual"), ("normal", "published")])
def wide(request, _planted_counts):
    """Trained hard on few cells, so that h holds linear parts of z and more."""
    likelihood, decoder = request.param
    model = SiVAE(
        _planted_counts, n_latent=3, likelihood=likelihood, decoder=decoder, n_profile=20, architecture=SMALL, seed=1
    )
    train(model, max_steps=80, learning_rate=0.01, average_decay=0.5)
    return model


def training_cells(model):
    rows, _ = split(model, model.adata)
    return model._state.reader.read(model.adata[rows])


def test_predictor_is_as_before(wide):
    """bias + z.v + h.w of the module equals bias' + z.v' + h'.w of the tables."""
    module, expression = wide._module, training_cells(wide)
    z, _ = encode(module, expression)
    with torch.no_grad():
        v = module.encode_features(module.profile_gq).mean_rk
        before, _ = module.predict(
            torch.from_numpy(z), v, torch.from_numpy(expression.design_nb), torch.arange(expression.shape[1])
        )
    state = wide._state
    after = np.concatenate([eta for _, eta in predictor_blocks(module, state.table, state.linear, expression)])
    np.testing.assert_allclose(after, before, atol=1e-4 * max(1.0, float(before.abs().max())))


def test_remainder_holds_nothing_linear(wide):
    design = training_cells(wide).design_nb
    z, _ = encode(wide._module, training_cells(wide))
    h = joint(wide._module, z, design)
    remainder = wide._state.linear.remainder(z, h, design)
    used = z.std(axis=0) > 0
    correlation = np.corrcoef(z[:, used], h, rowvar=False)[: used.sum(), used.sum() :]
    assert np.abs(correlation).max() > 0.3  # before, it did
    ones_z = np.column_stack([np.ones(len(z)), z, design])
    linear = ones_z @ np.linalg.lstsq(ones_z, remainder, rcond=None)[0]
    assert np.abs(linear).max() < 1e-3 * np.abs(h).max()


def test_loading_is_the_regression_of_the_predictor_on_z(wide):
    """What a loading is: the coefficient of z in a linear regression of the predictor (in units of s)."""
    expression, state = training_cells(wide), wide._state
    z, _ = encode(wide._module, expression)
    eta = np.concatenate([eta for _, eta in predictor_blocks(wide._module, state.table, state.linear, expression)])
    eta = eta - expression.design_nb @ state.table.offset_gb.T - state.table.bias_g
    eta = eta / np.exp(expression.design_nb @ state.table.log_gain_gb.T)
    columns = np.column_stack([np.ones(len(z)), z, expression.design_nb])
    slope = np.linalg.lstsq(columns, eta, rcond=None)[0][1 : 1 + z.shape[1]]
    np.testing.assert_allclose(
        (slope / state.table.scale_g).T, state.table.loading_gk, atol=5e-3 * np.abs(state.table.loading_gk).max()
    )


def test_covariance_of_loadings_is_that_of_draws(wide):
    """Delta method against draws of v pushed through v + w(v) C'."""
    module, linear = copy.deepcopy(wide._module), wide._state.linear
    profile = module.profile_gq[:4].numpy()
    mean, covariance, _ = gene_posterior(
        module, profile, linear, residual=wide.options.decoder == "residual", principal=False
    )
    with torch.no_grad():
        q_v = module.encode_features(torch.from_numpy(profile))
        noise = torch.randn(20_000, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        # Small, so that the derivative is all there is and no rectifier is crossed.
        draws = q_v.mean_rk.double() + q_v.sd_rk.double() * noise * 1e-5
        w = module.double().feature_tower.decode(draws.reshape(-1, 3)).reshape(20_000, 4, -1).numpy()
    loadings = w @ linear.slope_kd.T + (draws.numpy() if wide.options.decoder == "residual" else 0)
    for f in range(4):
        found = np.cov(loadings[:, f], rowvar=False) * 1e10
        np.testing.assert_allclose(found, covariance[f], atol=0.1 * np.abs(covariance[f]).max())
    np.testing.assert_allclose(loadings.mean(axis=0), mean, atol=0.05 * np.abs(mean).max())


def test_axes_without_variance_get_no_slope(rng):
    z = np.column_stack([rng.normal(size=200), np.full(200, 1e-9)])
    h = z[:, :1] * 2 + 1 + 0.1 * rng.normal(size=(200, 2))
    linear = LinearPart.fit(z, h, np.zeros((len(z), 0)), columns=0)
    np.testing.assert_allclose(linear.slope_kd[0], 2, atol=0.05)
    np.testing.assert_allclose(linear.slope_kd[1], 0, atol=1e-2)
    np.testing.assert_allclose(linear.intercept_d, 1, atol=0.05)


def distances(matrix):
    return np.linalg.norm(matrix[:, None] - matrix[None], axis=2)


@pytest.mark.parametrize("kind", ["variance", "varimax"])
def test_rotation_changes_coordinates_alone(model, kind):
    z, z_var = model.get_latent_representation(return_dist=True)
    v, v_var = model.get_feature_representation(return_dist=True)
    expression, elbo = model.get_normalized_expression(), model.get_elbo()
    model.rotate(kind)
    turned_z, turned_z_var = model.get_latent_representation(return_dist=True)
    turned_v, turned_v_var = model.get_feature_representation(return_dist=True)
    r = model._state.rotation_kk
    np.testing.assert_allclose(r.T @ r, np.eye(3), atol=1e-10)
    assert np.abs(r - np.eye(3)).max() > 1e-3
    np.testing.assert_allclose(turned_z, z @ r, atol=1e-5)
    np.testing.assert_allclose(turned_v, v @ r, atol=1e-6)
    np.testing.assert_allclose(distances(turned_v.to_numpy()), distances(v.to_numpy()), atol=1e-5)
    np.testing.assert_allclose(distances(turned_z), distances(z), atol=1e-4)
    np.testing.assert_allclose(turned_z @ turned_v.T.to_numpy(), z @ v.T.to_numpy(), atol=1e-4)
    np.testing.assert_array_equal(model.get_normalized_expression(), expression)
    assert model.get_elbo() == elbo
    for row, covariance in enumerate(model._state.table.covariance_gkk):
        gene = model._state.reader.genes[row]
        np.testing.assert_allclose(turned_v_var.loc[gene], np.diag(r.T @ covariance @ r), rtol=1e-4)
    np.testing.assert_allclose(turned_z_var, [np.diag(r.T @ np.diag(row) @ r) for row in z_var], rtol=1e-4)
    assert (turned_v**2).sum().is_monotonic_decreasing
    assert ((turned_v**3).sum() >= -1e-6).all()
    if kind == "variance":
        gram = turned_v.T.to_numpy() @ turned_v.to_numpy()
        assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-4 * gram.max()
    else:
        assert oracles.varimax_criterion(turned_v.to_numpy()) >= oracles.varimax_criterion(v.to_numpy()) - 1e-9
    model.rotate(kind)
    np.testing.assert_array_equal(model.get_latent_representation(), turned_z)  # from the axes of training, not on top
    model.rotate("none")
    np.testing.assert_array_equal(model.get_latent_representation(), z)
    np.testing.assert_array_equal(model.get_feature_representation(), v)
    np.testing.assert_array_equal(model.get_feature_representation(return_dist=True)[1], v_var)


def test_varimax_undoes_a_rotation_of_simple_structure(rng):
    simple = np.zeros((60, 3))
    for k in range(3):
        simple[20 * k : 20 * k + 20, k] = rng.uniform(0.5, 1.0, 20) * (1.3 - 0.2 * k)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = (simple @ turn) @ rotation("varimax", simple @ turn)
    np.testing.assert_allclose(found, simple, atol=0.02)


def test_varimax_is_at_its_best(rng):
    """No plane rotation of the result has a larger criterion."""
    loadings = rng.normal(size=(40, 3)) * np.array([3, 2, 1]) + rng.exponential(size=(40, 3))
    found = loadings @ rotation("varimax", loadings)
    best = oracles.varimax_criterion(found)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for angle in np.linspace(-np.pi / 4, np.pi / 4, 91):
            turn = np.eye(3)
            turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
            assert oracles.varimax_criterion(found @ turn) <= best * (1 + 1e-6)


def test_unknown_rotation(model):
    with pytest.raises(OptionError, match="kind is 'promax'; expected 'variance', 'varimax' or 'none'"):
        model.rotate("promax")


def test_moments_of_blocks_are_those_of_all_rows(rng):
    x = rng.normal(50, 1, (90, 4)).astype(np.float32)
    moments = Moments.of([x[:7], x[7:50], x[50:51], x[51:]])
    assert moments.n == 90
    np.testing.assert_allclose(moments.mean_p, x.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance_pp, np.cov(x.astype(float), rowvar=False, bias=True), rtol=1e-9)
