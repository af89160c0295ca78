"""Step 0 is shrunk principal components, and training can leave it."""

from math import sqrt

import numpy as np
import oracles
import pytest
import torch
from builders import coordinates

from sivae import Architecture
from sivae._block import Block
from sivae.nn._likelihoods import make_likelihood
from sivae.nn._module import SiVAEModule
from sivae.nn._objective import Weights
from sivae.nn._spectral import LEAST_SCORE_VARIANCE, Sample, _spread, log_scale, spectral_start

N, G, K = 150, 20, 2
STRENGTH = np.array([1.6, 0.9])
SIZES = Architecture(cell_encoder=(8,), feature_encoder=(8,), cell_decoder=(8,), feature_decoder=(8,), n_joint=4)


def standardised(values_ng):
    return (values_ng - values_ng.mean(axis=0)) / np.maximum(values_ng.std(axis=0), 1e-9)


def start_at(
    x_ng,
    *,
    likelihood="normal",
    y_ng=None,
    library_n=None,
    design_nb=None,
    profile_gq=None,
    strength_k=STRENGTH,
    rows=10**6,
    genes=10**6,
    **options,
):
    """A module at its spectral start on standardised values (counts, if given, behind them), its block, and v."""
    n, g = x_ng.shape
    design_nb = np.zeros((n, 0)) if design_nb is None else design_nb
    shift_bg = np.linalg.pinv(design_nb) @ x_ng
    values, vectors = oracles.principal_axes(x_ng - design_nb @ shift_bg, min(n, g))
    profile_gq = vectors * np.sqrt(values) if profile_gq is None else profile_gq
    module = SiVAEModule(
        torch.tensor(profile_gq, dtype=torch.float32),
        n_latent=K,
        n_design=design_nb.shape[1],
        likelihood=make_likelihood(likelihood, 0.3),
        decoder="residual",
        architecture=SIZES,
        generator=torch.Generator().manual_seed(0),
    )
    module.shift_bg.copy_(torch.tensor(shift_bg))
    if "scale_g" in options:
        module.scale_g.copy_(torch.tensor(options.pop("scale_g")))
    v_gk = vectors[:, :K] * strength_k
    x_ng, counts, y = torch.tensor(x_ng, dtype=torch.float32), None, None
    if y_ng is not None:
        y = torch.tensor(y_ng, dtype=torch.float32)
        counts = coordinates(y_ng)
        counts = type(counts)(counts.row, counts.column, counts.value.float())
    sample = Sample(
        lambda: (x_ng[start : start + rows] for start in range(0, n, rows)),
        torch.tensor(design_nb, dtype=torch.float32),
        torch.tensor(np.ones(n) if library_n is None else library_n, dtype=torch.float32),
        None if y is None else lambda: ((slice(i, i + genes), y[:, i : i + genes]) for i in range(0, g, genes)),
    )
    options = {"kl_weight": g / n} | options
    spectral_start(module, torch.tensor(v_gk, dtype=torch.float32), sample, **options)
    module.eval()
    block = Block(
        x_ng,
        sample.design_nb,
        torch.log(sample.library_n),
        torch.arange(g),
        x_ng if counts is None else counts,
        1 / n,
        1 / g,
    )
    return module, block, v_gk


@torch.no_grad()
def predictors(module, block):
    """z, v, and both predictors at posterior means."""
    z = module.encode_cells(block.x_cg, block.design_cb).mean_rk
    v = module.encode_features(module.profile_gq).mean_rk
    full, linear = module.predict(z, v, block.design_cb, block.genes_f)
    return [t.double().numpy() for t in (z, v, full, linear)]


@pytest.fixture
def x_ng(rng):
    return standardised(rng.normal(size=(N, 3)) @ rng.normal(size=(3, G)) + 0.8 * rng.normal(size=(N, G)))


def planted_counts(rng):
    """Counts, libraries and standardised log values from two factors."""
    z, v = rng.normal(size=(N, K)), 0.6 * rng.normal(size=(G, K))
    rate = np.exp(z @ v.T + rng.normal(-0.5, 0.7, G))
    library = rng.uniform(200, 900, N)
    y = rng.poisson(library[:, None] * rate / rate.sum(axis=1, keepdims=True) / 5)
    library = y.sum(axis=1).astype(float)
    log = np.log1p(y * np.median(library) / library[:, None])
    return y, library, log


def factor_model(x_ng, v_gk):
    """Posterior mean and covariance of z given x under x = z v' + noise, by Bayes' rule; noise variances."""
    variance_g = np.maximum(x_ng.var(axis=0, ddof=1) - (v_gk**2).sum(axis=1), 0.3**2)
    joint_gg = v_gk @ v_gk.T + np.diag(variance_g)
    gain_gk = np.linalg.solve(joint_gg, v_gk)
    return x_ng @ gain_gk, np.eye(v_gk.shape[1]) - v_gk.T @ gain_gk, variance_g


@pytest.mark.parametrize("likelihood", ["normal", "poisson", "bernoulli", "zinb"])
def test_parts_of_cells_and_of_genes_start_as_all_together(rng, likelihood):
    y, library, log = planted_counts(rng)
    y = np.minimum(y, 1) if likelihood == "bernoulli" else y
    design = standardised(rng.normal(size=(N, 1)))
    counts = {} if likelihood == "normal" else {"y_ng": y, "library_n": library}
    whole, parts = (
        start_at(standardised(log), likelihood=likelihood, design_nb=design, **counts, **sizes)[0].state_dict()
        for sizes in ({}, {"rows": 7, "genes": 5})
    )
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_cells_and_genes_start_at_the_factor_model_of_principal_components(x_ng):
    module, block, v_gk = start_at(x_ng)
    z, v, full, _ = predictors(module, block)
    expected_z, _, _ = factor_model(x_ng, v_gk)
    np.testing.assert_allclose(v, v_gk, atol=1e-4)
    np.testing.assert_allclose(z, expected_z, atol=1e-4)
    np.testing.assert_allclose(full, expected_z @ v_gk.T, atol=3e-4)


def test_other_profiles_start_as_near_as_they_can(x_ng, rng):
    """With the cells themselves as profile the start is the same; with noise as profile it is a least-squares fit."""
    module, block, v_gk = start_at(x_ng, profile_gq=x_ng.T.copy())
    np.testing.assert_allclose(predictors(module, block)[1], v_gk, atol=1e-3)
    noise = rng.normal(size=(G, 3))
    module, block, v_gk = start_at(x_ng, profile_gq=noise)
    np.testing.assert_allclose(
        predictors(module, block)[1], noise @ np.linalg.lstsq(noise, v_gk, rcond=None)[0], atol=1e-4
    )


def test_an_axis_without_signal_is_empty(x_ng):
    module, block, _ = start_at(x_ng, strength_k=np.array([1.6, 0.0]))
    z, v, _, _ = predictors(module, block)
    np.testing.assert_allclose(z[:, 1], 0, atol=1e-7)
    np.testing.assert_allclose(v[:, 1], 0, atol=1e-6)
    with torch.no_grad():
        assert module.encode_cells(block.x_cg, block.design_cb).sd_rk[:, 1].numpy() == pytest.approx(np.ones(N))


def test_product_starts_at_exactly_zero_though_h_does_not(x_ng):
    module, block, _ = start_at(x_ng)
    z, _, full, linear = predictors(module, block)
    np.testing.assert_array_equal(full, linear)
    assert module.cell_tower.decode(torch.tensor(z, dtype=torch.float32)).abs().max() > 0.1


def test_both_sides_of_the_product_move_within_ten_steps(x_ng):
    module, block, _ = start_at(x_ng)
    module.train()
    h, w = module.cell_tower.decoder.layers[0].weight, module.feature_tower.decoder.layers[-1].weight
    before_h, before_w = h.detach().clone(), w.detach().clone()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    noise = torch.Generator().manual_seed(0)
    for step in range(10):
        optimizer.zero_grad()
        module(block, noise).loss(Weights(1.0, G / N, 0.05)).backward()
        if step == 0:
            assert w.grad.abs().max() > 0
        optimizer.step()
    assert h.grad.abs().max() > 0
    assert (w - before_w).abs().max() > 1e-4
    assert (h - before_h).abs().max() > 1e-4


def test_posterior_sds_start_at_their_closed_form(x_ng):
    module, block, v_gk = start_at(x_ng)
    _, covariance, variance = factor_model(x_ng, v_gk)
    with torch.no_grad():
        z_sd = module.encode_cells(block.x_cg, block.design_cb).sd_rk.numpy()
        v_sd = module.encode_features(module.profile_gq).sd_rk.numpy()
    np.testing.assert_allclose(z_sd, np.tile(np.sqrt(np.diag(covariance)), (N, 1)), rtol=1e-4)
    np.testing.assert_allclose(v_sd, np.exp(np.mean(-0.5 * np.log(1 + N / variance))), rtol=1e-4)


def test_published_kl_scale_widens_the_genes(x_ng):
    bound, _, _ = start_at(x_ng)
    published, _, _ = start_at(x_ng, kl_weight=1.0)
    sigma2 = np.exp(2 * published.log_noise_g.detach().numpy())
    expected = np.exp(np.mean(-0.5 * np.log(1 + G / sigma2)))
    np.testing.assert_allclose(published.feature_tower.log_sd_k.detach().exp(), expected, rtol=1e-5)
    assert (published.feature_tower.log_sd_k > bound.feature_tower.log_sd_k).all()


def test_noise_starts_at_what_the_axes_leave_and_respects_its_floor(x_ng):
    module, _, v_gk = start_at(x_ng)
    sigma = module.log_noise_g.detach().exp().numpy()
    np.testing.assert_allclose(sigma, np.sqrt(factor_model(x_ng, v_gk)[2]), rtol=1e-3)
    assert (sigma >= 0.3 - 1e-6).all()
    assert (sigma > 0.31).any()


def test_floors_hold_where_every_gene_is_all_signal(rng):
    x = standardised(np.outer(rng.normal(size=N), np.ones(G)) + 1e-3 * rng.normal(size=(N, G)))
    module, block, _ = start_at(x, strength_k=np.array([sqrt(G), 0.0]))
    np.testing.assert_allclose(module.log_noise_g.detach().exp(), 0.3, rtol=1e-6)
    with torch.no_grad():
        sd = module.encode_cells(block.x_cg, block.design_cb).sd_rk.numpy()
    assert (sd >= sqrt(LEAST_SCORE_VARIANCE) * (1 - 1e-4)).all()


def batches(rng, n_batches=3):
    return np.eye(n_batches)[rng.integers(0, n_batches, N)] - 1 / n_batches


def test_normal_batch_offsets_are_batch_means(rng, x_ng):
    design = batches(rng)
    x = standardised(x_ng + 3 * design @ rng.normal(size=(3, G)))
    design -= design.mean(axis=0)
    module, block, _ = start_at(x, design_nb=design)
    z, _, full, _ = predictors(module, block)
    for column in design.T:
        rows = column > 0
        np.testing.assert_allclose(full[rows].mean(axis=0), x[rows].mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(z[rows].mean(axis=0), 0, atol=1e-4)  # the encoder subtracts them


def expected_values(module, full, library):
    """Expected value of every entry under the module's likelihood."""
    mean = library[:, None] * np.exp(full)
    if module.likelihood.name == "bernoulli":
        return -np.expm1(-mean)
    if module.zero_logit_g is None:
        return mean
    return mean / (1 + np.exp(module.zero_logit_g.detach().numpy()))


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "bernoulli"])
def test_counts_start_with_the_totals_of_every_gene(rng, likelihood):
    y, library, log = planted_counts(rng)
    y[:, 4] = 0
    if likelihood == "bernoulli":
        y = np.minimum(y, 1)
        y[:, 5] = 1
    module, block, _ = start_at(standardised(log), likelihood=likelihood, y_ng=y, library_n=library)
    _, _, full, _ = predictors(module, block)
    total = np.clip(y.sum(axis=0), 0.5, N - 0.5 if likelihood == "bernoulli" else None)
    np.testing.assert_allclose(expected_values(module, full, library).sum(axis=0), total, rtol=2e-3)
    assert np.isfinite(full).all()


def test_cloglog_steps_lower_the_bernoulli_loss(rng):
    y, library, log = planted_counts(rng)
    y = np.minimum(y, 1)
    log = np.log1p(y * 50 / library[:, None])
    scale = log_scale(torch.tensor(log.mean(axis=0)), torch.tensor(log.std(axis=0)), 10.0).numpy()
    losses = []
    for steps in (0, 1, 2, 4):
        module, block, _ = start_at(
            standardised(log), likelihood="bernoulli", y_ng=y, library_n=library, poisson_steps=steps, scale_g=scale
        )
        full = predictors(module, block)[2]
        losses.append(oracles.entry_nll("bernoulli", full, y, None, library).sum())
    assert losses[1] < losses[0] - 10
    assert losses[2] <= losses[1] + 1
    assert abs(losses[3] - losses[2]) < 0.1 * (losses[0] - losses[2])


def test_zero_inflation_starts_at_the_excess_of_zeros(rng):
    n, library = 400, np.full(400, 100.0)
    mean, share = 6.0, np.repeat([0.0, 0.25, 0.5, 0.7], G // 4)
    y = rng.poisson(mean * rng.gamma(4.0, 0.25, (n, G))) * (rng.random((n, G)) >= share)
    module, block, _ = start_at(standardised(np.log1p(y)), likelihood="zinb", y_ng=y, library_n=library)
    found = torch.sigmoid(module.zero_logit_g).detach().numpy()
    np.testing.assert_allclose(found, np.maximum(share, 0.01), atol=0.12)
    np.testing.assert_allclose(np.exp(predictors(module, block)[2]).mean(axis=0) * 100, mean, rtol=0.3)
    plain, _, _ = start_at(standardised(np.log1p(y)), likelihood="nb", y_ng=y, library_n=library)
    assert plain.zero_logit_g is None
    # Theta without the inflated zeros is larger than with them.
    assert (module.log_noise_g > plain.log_noise_g)[share > 0].all()


def test_poisson_steps_lower_the_poisson_loss(rng):
    y, library, log = planted_counts(rng)
    scale = log_scale(torch.tensor(log.mean(axis=0)), torch.tensor(log.std(axis=0)), 10.0).numpy()
    losses = []
    for steps in (0, 1, 2):
        module, block, _ = start_at(
            standardised(log), likelihood="nb", y_ng=y, library_n=library, poisson_steps=steps, scale_g=scale
        )
        losses.append(oracles.poisson_nll(predictors(module, block)[2], y, library))
    assert losses[1] < losses[0] - 10
    assert losses[2] <= losses[1] + 1


def test_count_batch_offsets_bring_the_batch_totals(rng):
    y, library, log = planted_counts(rng)
    design = batches(rng, 2)
    effect = np.exp(design @ rng.normal(0, 0.5, (2, G)))
    y = rng.poisson(y * effect)
    library = y.sum(axis=1).astype(float)
    log = np.log1p(y * np.median(library) / library[:, None])
    design -= design.mean(axis=0)
    module, block, _ = start_at(standardised(log), likelihood="nb", y_ng=y, library_n=library, design_nb=design)
    _, _, full, _ = predictors(module, block)
    expected = library[:, None] * np.exp(full)
    seen = y.sum(axis=0) > 100
    for column in design.T:
        rows = column > 0
        np.testing.assert_allclose(expected[rows].sum(axis=0)[seen], y[rows].sum(axis=0)[seen], rtol=0.15)


def test_inverse_dispersion_starts_large_for_poisson_and_small_for_overdispersed_counts(rng):
    library = np.full(N, 100.0)
    mean = np.full((N, G), 4.0)
    poisson, nb = rng.poisson(mean), rng.poisson(mean * rng.gamma(0.5, 2.0, (N, G)))
    theta = []
    for y in (poisson, nb):
        module, _, _ = start_at(standardised(np.log1p(y)), likelihood="nb", y_ng=y, library_n=library)
        theta.append(float(module.log_noise_g.detach().exp().median()))
    assert theta[0] > 20
    assert 0.25 < theta[1] < 1.5


def test_scale_of_counts_is_the_delta_factor_with_a_cap():
    mean, sd = torch.tensor([0.5, 2.0, 0.001, 1.0]), torch.tensor([0.6, 0.4, 0.05, 0.0])
    np.testing.assert_allclose(log_scale(mean, sd, 10.0), [0.6 * 1.5 / 0.5, 0.4 * 3 / 2, 10.0, 1e-3], rtol=1e-5)
    np.testing.assert_allclose(log_scale(mean, sd, 3.0), [1.8, 0.6, 3.0, 1e-3], rtol=1e-5)


@pytest.mark.parametrize("sizes", [(30,), (1, 29), (12, 1, 17), (1,)])
def test_the_spread_of_pieces_is_that_of_all(rng, sizes):
    x_ng = torch.tensor(rng.normal(2.0, 3.0, (sum(sizes), 5)), dtype=torch.float32)
    variance_g, square = _spread(iter(torch.split(x_ng, sizes)))
    expected = np.zeros(5) if sizes == (1,) else x_ng.numpy().astype(float).var(axis=0, ddof=1)
    np.testing.assert_allclose(variance_g, expected, rtol=1e-5)
    assert float(square) == pytest.approx(float((x_ng.double() ** 2).mean()), rel=1e-6)
