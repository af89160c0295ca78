"""How sure a loading is: its covariance against plain loops, numerical derivatives and simulation."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch
from builders import SMALL, split, train
from hypothesis import given, settings
from hypothesis import strategies as st

from sivae import SiVAE
from sivae.data._expression import Expression, as_counts
from sivae.data._scaling import Scaling
from sivae.datasets import planted
from sivae.model import _width
from sivae.model._predict import GeneTable, encode
from sivae.model._width import own_share, sampling_covariance
from sivae.nn._likelihoods import make_likelihood

COUNTS = ["nb", "poisson", "bernoulli", "zinb"]


def table_of(loading_gk, *, bias=0.0, scale=1.0, noise=0.8, inflation=np.nan, offset_gb=None, log_gain_gb=None):
    """A gene table of which only what widths read is filled in."""
    g, k = loading_gk.shape

    def column(value):
        return np.broadcast_to(np.asarray(value, np.float32), (g,)).copy()

    nothing_gb = np.zeros((g, 0), np.float32)
    return GeneTable(
        loading_gk=loading_gk.astype(np.float32),
        covariance_gkk=np.zeros((g, k, k), np.float32),
        joint_gd=np.zeros((g, 2), np.float32),
        bias_g=column(bias),
        offset_gb=nothing_gb if offset_gb is None else offset_gb.astype(np.float32),
        log_gain_gb=nothing_gb if log_gain_gb is None else log_gain_gb.astype(np.float32),
        scale_g=column(scale),
        noise_g=column(noise),
        r2_g=column(np.nan),
        connected_p_g=np.full(g, np.nan),
        inflation_g=column(inflation),
        noise_variance_g=column(np.nan),
        encoder_gk=np.full((g, k), np.nan, np.float32),
    )


def covariance_of(*arguments, **options):
    return sampling_covariance(*arguments, **options)[0]


def cells_of(n, n_genes, *, library_n=None, design_nb=None):
    """Cells of which only library and covariates are looked at."""
    library_n = np.ones(n, np.float32) if library_n is None else library_n.astype(np.float32)
    design_nb = np.zeros((n, 0), np.float32) if design_nb is None else design_nb.astype(np.float32)
    none_g = np.zeros(n_genes, np.float32)
    scaling = Scaling(False, 1.0, none_g, none_g + 1, none_g, 1.0)
    return Expression(np.zeros((n, n_genes), np.float32), library_n, scaling, design_nb)


def axes_part(v_gk, n):
    """Variance of v_gk that comes from the sampling of the axes, one entry at a time."""
    result = np.zeros((len(v_gk), v_gk.shape[1], v_gk.shape[1]))
    for g in range(len(v_gk)):
        for k in range(v_gk.shape[1]):
            result[g, k, k] = (sum(v_gk[g] ** 2) + v_gk[g, k] ** 2) / (4 * n)
    return result


def robust(score_ng, information_ng, t_ng, z_nk, v_gk):
    """The sandwich cell by cell: the bias has its row in curvature and scores, and no prior."""
    (n, k), g = z_nk.shape, score_ng.shape[1]
    result = np.empty((g, k, k))
    for gene in range(g):
        curvature, meat = np.zeros((k + 1, k + 1)), np.zeros((k + 1, k + 1))
        curvature[1:, 1:], meat[1:, 1:] = np.eye(k), np.eye(k)
        for c in range(n):
            row = np.r_[1.0, t_ng[c, gene] * z_nk[c]]
            curvature += information_ng[c, gene] * np.outer(row, row)
            meat += score_ng[c, gene] ** 2 * np.outer(row, row)
        whole = np.linalg.inv(curvature) @ meat @ np.linalg.inv(curvature)
        result[gene] = whole[1:, 1:] * n / (n - k - 1)
    return result + axes_part(v_gk, n)


def predictor(table, z_nk, design_nb):
    gain_ng = np.exp(design_nb @ table.log_gain_gb.T.astype(float))
    t_ng = table.scale_g.astype(float) * gain_ng
    return table.bias_g + design_nb @ table.offset_gb.T + t_ng * (z_nk @ table.loading_gk.T.astype(float)), t_ng


def test_normal_equals_a_regression_that_is_robust_to_uneven_noise(rng):
    n, g, k = 80, 5, 3
    z = rng.normal(size=(n, k)).astype(np.float32) + 0.4
    table = table_of(rng.normal(size=(g, k)) * 0.5, bias=rng.normal(size=g), noise=[0.5, 0.8, 1.0, 1.7, 0.05])
    eta, t = predictor(table, z, np.zeros((n, 0)))
    y = eta + rng.normal(size=(n, g)) * (0.2 + np.abs(z[:, :1]))  # noise grows along an axis
    found = covariance_of(
        table, make_likelihood("normal", 0.3), torch.from_numpy(y).float(), z, cells_of(n, g), n_training=n
    )
    sigma = np.maximum(table.noise_g.astype(float), 0.3)  # the floor of the model
    expected = robust((y - eta) / sigma**2, np.broadcast_to(sigma**-2.0, y.shape), t, z.astype(float), table.loading_gk)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-9)
    assert found[0, 0, 0] > 1.5 * found[0, 1, 1]  # what even noise would not give


def drawn(name, rng, mean_ng, theta_g, inflation_g):
    if name == "poisson":
        return rng.poisson(mean_ng)
    if name == "bernoulli":
        return (rng.poisson(mean_ng) > 0).astype(int)
    y = rng.negative_binomial(theta_g, theta_g / (theta_g + mean_ng))
    return np.where(rng.random(y.shape) < inflation_g, 0, y) if name == "zinb" else y


def slope_of(name, eta, y, theta, library_n, inflation):
    """Derivative of the log likelihood of every entry, by central differences of SciPy's."""
    step = 1e-5
    up, down = (oracles.entry_nll(name, eta + h, y, theta, library_n, inflation) for h in (step, -step))
    return (down - up) / (2 * step)


def information_of(name, eta, theta_g, library_n, inflation_g):
    """Expected squared slope: a sum over every count that can occur."""
    total, most = np.zeros(eta.shape), 400 if name != "bernoulli" else 2
    for count in range(most):
        y = np.full(eta.shape, count)
        with np.errstate(divide="ignore", invalid="ignore"):  # chances below the smallest number
            chance = np.exp(-oracles.entry_nll(name, eta, y, theta_g, library_n, inflation_g))
            slope = slope_of(name, eta, y, theta_g, library_n, inflation_g)
        total += np.where(chance > 1e-14, chance * slope**2, 0.0)
    return total


@pytest.mark.parametrize("name", COUNTS)
def test_counts_equal_numerical_derivatives_of_scipy(name, rng):
    n, g, k = 50, 4, 2
    z, library = rng.normal(size=(n, k)).astype(np.float32), rng.lognormal(1.0, 0.4, n).astype(np.float32)
    theta, inflation = np.array([0.5, 2.0, 8.0, 30.0]), np.array([0.05, 0.2, 0.4, 0.6])
    table = table_of(
        rng.normal(size=(g, k)) * 0.3, bias=[-2.0, -1.0, 0.0, 0.5], scale=[3.0, 2.0, 1.2, 1.0],
        noise=theta if name in ("nb", "zinb") else np.nan, inflation=inflation if name == "zinb" else np.nan,
    )  # fmt: skip
    eta, t = predictor(table, z, np.zeros((n, 0)))
    y = drawn(name, rng, library[:, None] * np.exp(eta), theta, inflation)
    found = covariance_of(
        table, make_likelihood(name, 0.3), as_counts(y.astype(np.float32)), z, cells_of(n, g, library_n=library),
        n_training=n,
    )  # fmt: skip
    score = slope_of(name, eta, y, theta, library.astype(float), inflation)
    information = information_of(name, eta, theta, library.astype(float), inflation)
    expected = robust(score, information, t, z.astype(float), table.loading_gk.astype(float))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "poisson"])
def test_it_is_the_covariance_of_estimates_over_samples_of_cells(name, rng):
    """Maximum likelihood by Newton steps on 400 samples, z known: their covariance is the mean of those found.

    Most counts lie at one end of an axis, where the bias and the slope are hard to tell apart.
    """
    n, v, bias = 500, np.array([0.6, -0.2]), -1.0
    estimates, widths = [], []
    likelihood = make_likelihood(name, 0.3)
    for _ in range(400):
        z = rng.normal(size=(n, 2)).astype(np.float32)
        eta = bias + 1.6 * z @ v
        y = rng.poisson(np.exp(eta)).astype(float) if name == "poisson" else eta + rng.normal(size=n)
        rows = np.column_stack([np.ones(n), 1.6 * z.astype(float)])
        beta, prior = np.r_[bias, v], np.diag([0.0, 1.0, 1.0])
        for _ in range(8):
            mean = np.exp(rows @ beta) if name == "poisson" else rows @ beta
            weight = mean if name == "poisson" else np.ones(n)
            curvature = rows.T @ (weight[:, None] * rows) + prior
            beta = beta + np.linalg.solve(curvature, rows.T @ (y - mean) - prior @ beta)
        table = table_of(beta[None, 1:], bias=beta[0], scale=1.6, noise=1.0)
        values = as_counts(y[:, None].astype(np.float32)) if name == "poisson" else torch.tensor(y[:, None]).float()
        width = covariance_of(table, likelihood, values, z, cells_of(n, 1), n_training=n)
        estimates.append(beta[1:])
        widths.append(width[0] - axes_part(beta[None, 1:], n)[0])
    spread, expected = np.cov(np.transpose(estimates)), np.mean(widths, axis=0)
    np.testing.assert_allclose(np.sqrt(np.diag(expected) / np.diag(spread)), 1, atol=0.1)
    size = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    np.testing.assert_allclose(expected / size, spread / size, atol=0.2)


def test_the_sampling_of_the_axes_is_that_of_whitened_positions(rng):
    """Loadings on axes scaled by the square root of the sample covariance scatter by (|v|^2 + v_k^2) / (4 N)."""
    n, v, found = 400, np.array([0.6, -0.3, 0.1]), []
    for _ in range(2000):
        values, vectors = np.linalg.eigh(np.cov(rng.normal(size=(n, 3)).T))
        found.append(vectors @ np.diag(np.sqrt(values)) @ vectors.T @ v)
    table = table_of(v[None])
    z = np.zeros((n, 3), np.float32)
    one = covariance_of(table, make_likelihood("normal", 0.3), torch.zeros(n, 1), z, cells_of(n, 1), n_training=n)
    same = covariance_of(
        table_of(0 * v[None]), make_likelihood("normal", 0.3), torch.zeros(n, 1), z, cells_of(n, 1), n_training=n
    )
    np.testing.assert_allclose(np.diag(one[0] - same[0]), np.var(found, axis=0), rtol=0.15)


def batches(rng, n, k):
    batch = np.arange(n) % 2
    design = np.column_stack([batch == 0, batch == 1]) - 0.5
    return design, (rng.normal(size=(n, k)) + batch[:, None]).astype(np.float32)


def test_gain_and_scale_enter_as_the_slope_of_the_predictor(rng):
    """t = s exp(design log gain), and offsets take the part of z that the batch says."""
    n, g, k = 60, 3, 2
    design, z = batches(rng, n, k)
    table = table_of(
        rng.normal(size=(g, k)) * 0.5, scale=[1.0, 2.0, 0.5], noise=0.9,
        offset_gb=rng.normal(size=(g, 2)), log_gain_gb=np.array([[-0.5, 0.5], [0.0, 0.0], [0.2, 0.1]]),
    )  # fmt: skip
    eta, t = predictor(table, z, design)
    assert t.std(axis=0).max() > 0.3
    y = eta + 0.9 * rng.normal(size=(n, g))
    found = covariance_of(
        table, make_likelihood("normal", 0.3), torch.from_numpy(y).float(), z, cells_of(n, g, design_nb=design),
        n_training=n,
    )  # fmt: skip
    within = z.astype(float).copy()
    for batch in (0, 1):
        rows = design[:, batch] > 0
        within[rows] -= within[rows].mean(axis=0)
    score, information = (y - eta) / 0.81, np.full(y.shape, 1 / 0.81)
    expected = robust(score, information, t, within, table.loading_gk.astype(float))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_a_scale_divides_the_width_where_the_prior_says_little(rng):
    """A gene of scale 2 and loading v / 2 has half the standard error."""
    n, z = 5000, rng.normal(size=(5000, 2)).astype(np.float32)
    v = np.array([[0.4, 0.1]])
    y = torch.from_numpy(z @ v.T + rng.normal(size=(n, 1))).float()
    likelihood = make_likelihood("normal", 0.3)
    one, two = (covariance_of(table_of(v / s, scale=s), likelihood, y, z, cells_of(n, 1), n_training=n) for s in (1, 2))
    np.testing.assert_allclose(one / 4, two, rtol=1e-3)


def test_order_of_cells_does_not_matter(rng):
    n, g, k = 120, 4, 3
    z, library, design = rng.normal(size=(n, k)).astype(np.float32), rng.uniform(1, 3, n), rng.normal(size=(n, 1))
    table = table_of(rng.normal(size=(g, k)) * 0.4, offset_gb=np.zeros((g, 1)), log_gain_gb=np.zeros((g, 1)), noise=2.0)
    y, order = rng.poisson(1.0, (n, g)).astype(np.float32), rng.permutation(n)
    one, two = (
        covariance_of(
            table, make_likelihood("nb", 0.3), as_counts(y[rows]), z[rows],
            cells_of(n, g, library_n=library[rows], design_nb=design[rows]), n_training=n,
        )
        for rows in (np.arange(n), order)
    )  # fmt: skip
    np.testing.assert_allclose(one, two, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["normal", *COUNTS]),
    seed=st.integers(0, 10_000),
    n=st.integers(3, 40),
    k=st.integers(1, 5),
    size=st.sampled_from([0.0, 1e-6, 1.0, 30.0]),
    bias=st.sampled_from([-90.0, -10.0, 0.0, 8.0]),
    noise=st.sampled_from([1e-4, 1.0, 1e6]),
    inflation=st.sampled_from([1e-7, 0.5, 1 - 1e-7]),
    share=st.sampled_from([1, 50]),
)
def test_always_symmetric_and_positive_definite(name, seed, n, k, size, bias, noise, inflation, share):
    """Also with more axes than cells, axes without variance, and rates at either end."""
    rng = np.random.default_rng(seed)
    z = (size * rng.normal(size=(n, k))).astype(np.float32)
    z[:, 0] = 0
    table = table_of(rng.normal(size=(3, k)), bias=bias, scale=3.0, noise=noise, inflation=inflation)
    y = rng.poisson(2.0, (n, 3)).astype(np.float32)
    if name == "bernoulli":
        y = np.minimum(y, 1)
    if name != "zinb":
        table = replace(table, inflation_g=np.full(3, np.nan, np.float32))
    values = torch.from_numpy(y) if name == "normal" else as_counts(y)
    found = covariance_of(table, make_likelihood(name, 0.3), values, z, cells_of(n, 3), n_training=share * n)
    np.testing.assert_allclose(found, found.transpose(0, 2, 1), rtol=1e-6, atol=1e-9 * np.abs(found).max())
    assert (np.linalg.eigvalsh(found) > -1e-12 * np.abs(found).max(axis=(1, 2))[:, None]).all()
    assert (np.diagonal(found, axis1=1, axis2=2) > 0).all()
    assert (found[:, 0, 0] >= 1).all()  # nothing is known of a closed axis but the prior


def covariance(model):
    return model._state.table.covariance_gkk


def test_a_closed_axis_keeps_the_width_of_the_prior():
    adata = planted(300, 40, n_factors=1, genes_per_factor=15, counts=False, seed=0)
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=3, n_profile=20, architecture=SMALL)
    train(model)
    used = model._module.used_k.numpy() > 0
    assert 0 < used.sum() < 3
    width_gk = np.einsum("gkk->gk", covariance(model))
    np.testing.assert_allclose(width_gk[:, ~used], 1, atol=0.03)
    assert width_gk[:, used].max() < 0.05


def test_a_sample_of_cells_gives_about_the_same(monkeypatch):
    adata = planted(1200, 30, n_factors=2, genes_per_factor=10, counts=False, seed=1)
    SiVAE.setup_anndata(adata)
    found = []
    for most in (5000, 400):
        monkeypatch.setattr(_width, "MOST_CELLS", most)
        model = SiVAE(adata, n_latent=2, n_profile=20, architecture=SMALL)
        train(model, max_steps=5)
        found.append(np.sqrt(np.einsum("gkk->gk", covariance(model))))
    assert len(_width.sample_rows(1000)) == 400
    ratio = found[1] / found[0]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert 0.001 < np.abs(np.log(ratio)).max() < 0.3  # 400 squares: each variance within 7 %, thrice


def test_a_sample_is_of_different_cells_in_order():
    rows = _width.sample_rows(20_000)
    assert len(rows) == _width.MOST_CELLS
    assert (np.diff(rows) > 0).all()
    assert 8_000 < rows.mean() < 12_000
    np.testing.assert_array_equal(_width.sample_rows(7), np.arange(7))


def test_copies_of_modelled_genes_get_about_their_covariance(model, counts_adata):
    """Bias, noise and batch effect of a new gene are estimated otherwise, so not to the last digit."""
    new = counts_adata.copy()
    new.var_names = [f"copy_{name}" for name in new.var_names]
    _, expected = model.get_feature_representation(return_dist=True)
    _, found = model.get_feature_representation(new, return_dist=True)
    ratio = found.to_numpy() / expected.to_numpy()
    assert np.quantile(np.abs(np.log(ratio)), 0.95) < 0.25
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert np.ptp(np.log(expected.to_numpy()), axis=0).max() > 0.5  # genes differ among themselves by more


def test_the_model_holds_the_covariance_of_its_training_cells(normal_model, counts_adata):
    """What is reported is the sandwich of the values the model was trained on, all in loops."""
    rows, _ = split(normal_model, counts_adata)
    training = normal_model._read(counts_adata[rows])
    z, sd = encode(normal_model._module, training)
    table = normal_model._state.table
    eta, t = predictor(table, z, training.design_nb)
    sigma = np.maximum(table.noise_g.astype(float), 0.3)
    within = z.astype(float).copy()
    for column in training.design_nb.T:
        within[column > 0] -= within[column > 0].mean(axis=0)
    y = training.standardised(slice(None))
    expected = robust(
        (y - eta) / sigma**2, np.broadcast_to(sigma**-2.0, y.shape), t, within, table.loading_gk.astype(float)
    )
    grown = own_share(table.encoder_gk, table, z, sd)
    np.testing.assert_allclose(covariance(normal_model), grown @ expected @ grown.T, rtol=1e-4, atol=1e-7)


def test_it_is_kept_in_a_saved_model_and_turns_with_the_axes(model, tmp_path):
    _, before = model.get_feature_representation(return_dist=True)
    model.save(tmp_path / "model")
    loaded = SiVAE.load(tmp_path / "model")
    np.testing.assert_array_equal(covariance(loaded), covariance(model))
    loaded.rotate("varimax")
    _, turned = loaded.get_feature_representation(return_dist=True)
    turn = loaded._state.rotation_kk
    order = [loaded._state.reader.genes.index(name) for name in turned.index]
    for row, gene in enumerate(order):
        expected = np.diag(turn.T @ covariance(loaded)[gene] @ turn)
        np.testing.assert_allclose(turned.to_numpy()[row], expected, rtol=1e-5)
    np.testing.assert_allclose(turned.sum(axis=1), before.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["normal", "nb", "poisson"])
def test_noise_is_brought_to_the_scale_of_the_loadings(name, rng):
    """sigma^2 under the Normal; (1 / mu + 1 / theta) / s^2 of a cell at the mean under counts."""
    n, scale, theta = 50, 1.7, 2.0
    z = np.zeros((n, 2), np.float32)
    table = table_of(np.zeros((1, 2)), bias=np.log(3.0), scale=1.0 if name == "normal" else scale, noise=theta)
    y = np.full((n, 1), 3.0, np.float32)
    values = torch.from_numpy(y) if name == "normal" else as_counts(y)
    _, noise = sampling_covariance(table, make_likelihood(name, 0.3), values, z, cells_of(n, 1), n_training=n)
    expected = {"normal": theta**2, "nb": (1 / 3 + 1 / theta) / scale**2, "poisson": (1 / 3) / scale**2}
    np.testing.assert_allclose(noise, expected[name], rtol=1e-5)


def factor_model(rng, n, g, k, *, reads=1):
    """Values of a factor model, its encoder when each gene is read `reads` times, posterior sds, and a table."""
    v, noise = rng.normal(size=(g, k)) * 0.5, rng.uniform(0.5, 1.0, g)
    weight = v / noise[:, None]
    posterior = np.linalg.inv(np.eye(k) + reads * v.T @ weight)
    x = rng.normal(size=(n, k)) @ v.T + rng.normal(size=(n, g)) * np.sqrt(noise)
    table = replace(table_of(v), noise_variance_g=noise.astype(np.float32))
    return x, reads * weight @ posterior, posterior, table


def test_own_share_under_the_bound_is_none_and_grows_with_the_weight_of_the_linear_term(rng):
    """With (C + P) v = cov_0 + K v; the encoder of the bound has K = P."""
    for reads in (1, 2):
        x, encoder, posterior, table = factor_model(rng, 4000, 40, 2, reads=reads)
        z = x @ encoder
        sd = np.broadcast_to(np.sqrt(np.diag(posterior)), z.shape)
        covariance = np.cov(z.T)
        expected = np.linalg.inv(covariance + np.diag(np.diag(posterior)) - reads * posterior) @ covariance
        np.testing.assert_allclose(own_share(encoder, table, z, sd), expected, atol=0.02)
        assert (np.diag(own_share(encoder, table, z, sd)) > 1.02).all() == (reads == 2)


def test_own_share_of_closed_axes_is_none(rng):
    v = rng.normal(size=(30, 3)) * [0.5, 0.4, 1e-3]
    encoder = v * [0.1, 0.1, 0.0]
    z = rng.normal(size=(200, 3)) * [1.0, 1.0, 0.0]
    table = replace(table_of(v), noise_variance_g=np.ones(30, np.float32))
    grown = own_share(encoder, table, z, np.full(z.shape, 0.2))
    np.testing.assert_allclose(grown[2], [0, 0, 1], atol=1e-6)
    assert np.isfinite(grown).all()
