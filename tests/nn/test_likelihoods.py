"""Likelihoods against SciPy, their gradients against finite differences, and their edges."""

import numpy as np
import oracles
import pytest
import torch
from builders import coordinates
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from sivae._block import Counts
from sivae.nn._likelihoods import (
    LIKELIHOODS,
    LOG_THETA_RANGE,
    ZERO_LOGIT_RANGE,
    CountLikelihood,
    NegativeBinomial,
    Normal,
    log_positive,
    make_likelihood,
)

ALL = ["normal", "nb", "zinb", "poisson", "bernoulli"]
COUNTS = ALL[1:]

SIGMA = np.array([0.3, 0.5, 1.0, 2.5, 7.0])
THETA = np.array([0.02, 0.3, 1.0, 4.0, 90.0, 5000.0])


def tensors(*arrays):
    return [torch.tensor(np.asarray(a), dtype=torch.float64) for a in arrays]


def sparse_counts(rng, n_cells=30, n_genes=6):
    """Counts with many zeros, some large values and one gene that was never seen."""
    y_cf = rng.poisson(rng.gamma(0.3, 5.0, (n_cells, n_genes)))
    y_cf[0] = 400
    y_cf[:, 2] = 0
    return y_cf, rng.uniform(20, 3000, n_cells)


def test_normal_is_scipys(rng):
    x_cf = rng.normal(0, 3, (20, len(SIGMA)))
    x_cf[:4] = 0
    etas = [rng.normal(0, 2, x_cf.shape) for _ in range(3)]
    x, log_sigma, *predictors = tensors(x_cf, np.log(SIGMA), *etas)
    found = Normal(0.3).nll(predictors, x, log_sigma, torch.zeros(20))
    assert len(found) == 3
    for eta_cf, nll_f in zip(etas, found, strict=True):
        np.testing.assert_allclose(nll_f, oracles.normal_nll(eta_cf, x_cf, SIGMA), rtol=1e-12)


def test_normal_sigma_has_a_floor(rng):
    x_cf = rng.normal(size=(10, 2))
    x, log_sigma, eta = tensors(x_cf, np.log([0.01, 0.3]), np.zeros_like(x_cf))
    (nll_f,) = Normal(0.3).nll([eta], x, log_sigma, torch.zeros(10))
    np.testing.assert_allclose(nll_f, oracles.normal_nll(0 * x_cf, x_cf, np.array([0.3, 0.3])), rtol=1e-12)


def test_nb_is_scipys_with_several_predictors(rng):
    y_cf, library_c = sparse_counts(rng)
    etas = [rng.normal(-4, 1.5, y_cf.shape) for _ in range(2)]
    log_theta, log_library, *predictors = tensors(np.log(THETA), np.log(library_c), *etas)
    found = NegativeBinomial().nll(predictors, coordinates(y_cf), log_theta, log_library)
    assert len(found) == 2
    for eta_cf, nll_f in zip(etas, found, strict=True):
        np.testing.assert_allclose(nll_f, oracles.nb_nll(eta_cf, y_cf, THETA, library_c), rtol=1e-8)


def test_nb_of_a_gene_without_counts_is_that_of_zeros():
    library_c = np.array([10.0, 100.0, 1000.0])
    none = Counts(*(torch.zeros(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float64)))
    eta, log_theta, log_library = tensors(np.full((3, 1), -2.0), [np.log(1.7)], np.log(library_c))
    (nll_f,) = NegativeBinomial().nll([eta], none, log_theta, log_library)
    mu_c = library_c * np.exp(-2.0)
    assert float(nll_f) == pytest.approx(sum(-1.7 * np.log(1.7 / (1.7 + mu_c))))


def test_nb_in_single_precision(rng):
    y_cf, library_c = sparse_counts(rng)
    eta_cf = rng.normal(-4, 1.5, y_cf.shape)
    counts = coordinates(y_cf)
    counts = Counts(counts.row, counts.column, counts.value.float())
    eta, log_theta, log_library = (t.float() for t in tensors(eta_cf, np.log(THETA), np.log(library_c)))
    (nll_f,) = NegativeBinomial().nll([eta], counts, log_theta, log_library)
    np.testing.assert_allclose(nll_f, oracles.nb_nll(eta_cf, y_cf, THETA, library_c), rtol=2e-4)


def test_nb_of_a_large_theta_in_single_precision(rng):
    """lgamma is large there: sums of it over many cells lose what is left of their difference."""
    n, theta = 20_000, np.exp(9.0)
    y_cf = rng.poisson(1.0, (n, 1))
    counts = coordinates(y_cf)
    counts = Counts(counts.row, counts.column, counts.value.float())
    for name, more in (("nb", ()), ("zinb", (torch.full((1,), -15.0),))):
        args = [torch.zeros(n, 1)], counts, torch.full((1,), 9.0), torch.zeros(n), *more
        (nll_f,) = make_likelihood(name, 0.3).nll(*args)
        expected = -stats.nbinom.logpmf(y_cf, theta, theta / (theta + 1)).sum()
        np.testing.assert_allclose(float(nll_f), expected, rtol=1e-3)


def noise_of(rng, kind, n_cells, n_genes):
    """Logarithm of noise: a number per gene, per entry, or per cell."""
    shape = {"gene": (n_genes,), "entry": (n_cells, n_genes), "cell": (n_cells, 1)}[kind]
    return rng.uniform(-1.0, 2.0, shape)


def values_of(name, y_cf):
    """What a likelihood is given: a dense tensor, or coordinates (ones only for the Bernoulli)."""
    if name == "normal":
        return torch.tensor(y_cf, dtype=torch.float64)
    return coordinates((y_cf > 0).astype(int) if name == "bernoulli" else y_cf)


def test_every_name_is_made_and_no_other_exists():
    assert sorted(LIKELIHOODS) == sorted(ALL)
    for name in ALL:
        likelihood = make_likelihood(name, 0.3)
        assert likelihood.name == name
        assert likelihood.counts == isinstance(likelihood, CountLikelihood) == (name != "normal")
        assert likelihood.noisy == (name not in ("poisson", "bernoulli"))


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(ALL),
    noise=st.sampled_from(["gene", "entry", "cell"]),
    n_cells=st.integers(1, 7),
    n_genes=st.integers(1, 6),
    n_predictors=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_every_likelihood_is_scipys_whatever_the_shapes(name, noise, n_cells, n_genes, n_predictors, seed):
    rng = np.random.default_rng(seed)
    y_cf = rng.poisson(rng.gamma(0.5, 3.0, (n_cells, n_genes)))
    library_c, inflation_f = rng.uniform(1, 40, n_cells), rng.uniform(0.01, 0.9, n_genes)
    log_noise = noise_of(rng, noise, n_cells, n_genes)
    etas = [rng.normal(-2, 1.5, (n_cells, n_genes)) for _ in range(n_predictors)]
    log_noise_t, log_library, zero_logit, *predictors = tensors(
        log_noise, np.log(library_c), special.logit(inflation_f), *etas
    )
    found = make_likelihood(name, 0.3).nll(predictors, values_of(name, y_cf), log_noise_t, log_library, zero_logit)
    assert len(found) == n_predictors
    for eta_cf, nll_f in zip(etas, found, strict=True):
        assert nll_f.shape == (n_genes,)
        expected = oracles.entry_nll(name, eta_cf, y_cf, np.exp(log_noise), library_c, inflation_f)
        np.testing.assert_allclose(nll_f, expected.sum(axis=0), rtol=1e-8)


@pytest.mark.parametrize("name", COUNTS)
def test_lgamma_is_evaluated_at_non_zeros_alone(rng, name, monkeypatch):
    y_cf, library_c = sparse_counts(rng)
    asked, lgamma = [], torch.lgamma
    monkeypatch.setattr(torch, "lgamma", lambda values: asked.append(values.numel()) or lgamma(values))
    eta, log_noise, log_library, zero_logit = tensors(
        rng.normal(-4, 1, y_cf.shape), np.log(THETA), np.log(library_c), np.zeros(6)
    )
    for noise in (log_noise, log_noise.expand(y_cf.shape)):
        make_likelihood(name, 0.3).nll([eta, eta], values_of(name, y_cf), noise, log_library, zero_logit)
    assert len(asked) == {"nb": 6, "zinb": 6, "poisson": 2, "bernoulli": 0}[name]
    assert set(asked) <= {np.count_nonzero(y_cf), y_cf.shape[1]}  # or once a gene


@pytest.mark.parametrize("name", ["nb", "zinb", "poisson", "bernoulli"])
def test_probabilities_add_up_to_one(name):
    """Over everything that a count can be; the zero-inflated's expectation is (1 - pi) mu."""
    y = np.arange(2 if name == "bernoulli" else 400)[:, None]
    log_theta, log_library, zero_logit = tensors([0.3], np.zeros(1), [-0.4])
    likelihood = make_likelihood(name, 0.3)
    eta = torch.full((1, 1), 1.1, dtype=torch.float64)
    nll = [float(likelihood.nll([eta], values_of(name, one[None]), log_theta, log_library, zero_logit)[0]) for one in y]
    assert np.exp(-np.array(nll)).sum() == pytest.approx(1, rel=1e-6)
    expected = {"bernoulli": 1 - np.exp(-np.exp(1.1)), "zinb": special.expit(0.4) * np.exp(1.1)}.get(name, np.exp(1.1))
    assert (np.exp(-np.array(nll)) * y[:, 0]).sum() == pytest.approx(expected, rel=1e-6)


def test_bernoulli_is_that_of_a_positive_poisson_count():
    mean = np.array([[0.01, 0.7, 5.0]])
    (nll_f,) = make_likelihood("bernoulli", 0.3).nll(
        tensors(np.log(mean)), values_of("bernoulli", np.ones((1, 3))), *tensors(np.zeros(3), np.zeros(1))
    )
    np.testing.assert_allclose(nll_f, -stats.poisson.logsf(0, mean[0]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_of_the_chance_of_being_open_near_zero_and_one(dtype):
    """To the accuracy of the type, with its gradient m / (exp(m) - 1), from means that underflow to large ones."""
    x = np.concatenate([np.linspace(-300, 4, 2001), [-5 - 1e-6, -5.0, -5 + 1e-6]])
    log_mean = torch.tensor(x, dtype=dtype, requires_grad=True)
    found = log_positive(log_mean)
    found.sum().backward()
    x = log_mean.detach().double().numpy()
    mean = np.exp(x)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(found.detach(), np.log(-np.expm1(-mean)), rtol=tolerance, atol=tolerance / 100)
    floor = 1e-6 if dtype == torch.float32 else 1e-14
    np.testing.assert_allclose(log_mean.grad, mean / np.expm1(mean), rtol=10 * tolerance, atol=floor)


@pytest.mark.parametrize("noise", ["gene", "entry", "cell"])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_differences(rng, name, noise):
    y_cf, library_c = rng.poisson(1.0, (4, 3)), rng.uniform(5, 20, 4)
    likelihood = make_likelihood(name, 0.3)
    y = values_of(name, y_cf)
    eta, log_noise, log_library, zero_logit = tensors(
        rng.normal(-1, 1, (4, 3)), noise_of(rng, noise, 4, 3), np.log(library_c), rng.normal(size=3)
    )
    asked = [t.requires_grad_() for t in (eta, *((log_noise,) if likelihood.noisy else ()))]
    if name == "zinb":
        asked.append(zero_logit.requires_grad_())

    def nll(e, s=log_noise, a=zero_logit):
        return likelihood.nll([e, 2 * e], y, s, log_library, a)

    assert torch.autograd.gradcheck(nll, asked)


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_a_likelihood_without_noise_gives_it_no_gradient(rng, name):
    log_noise, zero_logit = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    eta = torch.zeros(4, 3, requires_grad=True)
    y = values_of(name, rng.poisson(1.0, (4, 3)))
    y = Counts(y.row, y.column, y.value.float())
    make_likelihood(name, 0.3).nll([eta], y, log_noise, torch.zeros(4), zero_logit)[0].sum().backward()
    assert log_noise.grad is None
    assert zero_logit.grad is None
    assert eta.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(2,), (2, 2), (2, 1)])
@pytest.mark.parametrize("zero_logit", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("eta", [-1e4, -50.0, 0.0, 50.0, 1e4])
@pytest.mark.parametrize("log_noise", [-30.0, 0.0, 30.0])
def test_extreme_values_stay_finite(name, eta, log_noise, zero_logit, shape):
    likelihood = make_likelihood(name, 0.3)
    y_cf = np.array([[0.0, 1.0], [1e6, 0.0]])
    y = values_of(name, y_cf) if likelihood.counts else torch.tensor(y_cf / 1e5, dtype=torch.float32)
    if likelihood.counts:
        y = Counts(y.row, y.column, y.value.float())
    eta_cf = torch.full((2, 2), eta, requires_grad=True)
    noise = torch.full(shape, log_noise, requires_grad=True)
    zero_logit_f = torch.full((2,), zero_logit, requires_grad=True)
    (nll_f,) = likelihood.nll([eta_cf], y, noise, torch.tensor([0.0, 14.0]), zero_logit_f)
    assert torch.isfinite(nll_f).all()
    nll_f.sum().backward()
    assert torch.isfinite(eta_cf.grad).all()
    if likelihood.noisy:
        assert torch.isfinite(noise.grad).all()
    if name == "zinb":
        assert torch.isfinite(zero_logit_f.grad).all()


def test_zero_inflation_is_kept_in_range():
    y = Counts(torch.tensor([0]), torch.tensor([0]), torch.tensor([3.0]))
    eta, log_theta, log_library = torch.full((2, 1), 0.3), torch.zeros(1), torch.zeros(2)
    likelihood = make_likelihood("zinb", 0.3)
    for wild, edge in zip((-1e6, 1e6), ZERO_LOGIT_RANGE, strict=True):
        found, expected = (likelihood.nll([eta], y, log_theta, log_library, torch.tensor([a])) for a in (wild, edge))
        assert float(found[0]) == float(expected[0])


def test_without_inflation_zinb_is_nb(rng):
    y_cf, library_c = sparse_counts(rng)
    eta, log_theta, log_library, none = tensors(
        rng.normal(-8, 1, y_cf.shape), np.log(THETA), np.log(library_c), np.full(6, -15.0)
    )
    args = [eta], coordinates(y_cf), log_theta, log_library
    (found,), (expected,) = make_likelihood("zinb", 0.3).nll(*args, none), NegativeBinomial().nll(*args)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["zinb", "poisson", "bernoulli"])
def test_single_precision(rng, name):
    y_cf, library_c = sparse_counts(rng)
    eta_cf = rng.normal(-4, 1.5, y_cf.shape)
    y = values_of(name, y_cf)
    y = Counts(y.row, y.column, y.value.float())
    eta, log_theta, log_library, zero_logit = (
        t.float() for t in tensors(eta_cf, np.log(THETA), np.log(library_c), np.linspace(-3, 3, 6))
    )
    (nll_f,) = make_likelihood(name, 0.3).nll([eta], y, log_theta, log_library, zero_logit)
    expected = oracles.entry_nll(name, eta_cf, y_cf, THETA, library_c, special.expit(np.linspace(-3, 3, 6)))
    np.testing.assert_allclose(nll_f, expected.sum(axis=0), rtol=2e-4)


def test_nb_inverse_dispersion_is_kept_in_range():
    clamped = NegativeBinomial().clamp_noise(torch.tensor([-100.0, 1.0, 100.0]))
    np.testing.assert_allclose(clamped, [LOG_THETA_RANGE[0], 1.0, LOG_THETA_RANGE[1]])


def test_information_is_the_expected_squared_score():
    mean_g, theta_g = np.array([0.1, 2.0, 9.0]), np.array([0.5, 3.0, 40.0])
    found = NegativeBinomial().information(*tensors(mean_g, np.log(theta_g)))
    for mean, theta, information in zip(mean_g, theta_g, found, strict=True):
        y = np.arange(2000)
        score = (y - mean) * theta / (theta + mean)  # of eta = log mean
        expected = (stats.nbinom.pmf(y, theta, theta / (theta + mean)) * score**2).sum()
        assert float(information) == pytest.approx(expected, rel=1e-6)
    zero_logit = torch.tensor([-1.0, 0.5, 1.5], dtype=torch.float64)
    for name in ("zinb", "poisson", "bernoulli"):
        likelihood = make_likelihood(name, 0.3)
        mean, log_theta = tensors(mean_g, np.log(theta_g))
        expected = np.zeros(3)
        for y in range(2 if name == "bernoulli" else 600):
            eta = torch.log(mean)[None].requires_grad_()
            none = torch.zeros(1, dtype=torch.float64)
            nll_f = likelihood.nll([eta], values_of(name, np.full((1, 3), y)), log_theta, none, zero_logit)[0]
            nll_f.sum().backward()
            expected += (torch.exp(-nll_f) * eta.grad[0].square()).detach().numpy()
        np.testing.assert_allclose(likelihood.information(mean, log_theta, zero_logit), expected, rtol=1e-6)
    normal = Normal(0.3).information(*tensors(mean_g, np.log([0.1, 0.5, 2.0])))
    np.testing.assert_allclose(normal, [1 / 0.09, 4.0, 0.25])


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_score_of_the_start_is_the_derivative(rng, name):
    likelihood, y_cf = make_likelihood(name, 0.3), rng.poisson(0.8, (5, 3))
    if name == "bernoulli":
        y_cf = (y_cf > 0).astype(int)
    mean, y, zero = tensors(rng.gamma(1.0, 2.0, (5, 3)), y_cf, np.zeros(3))
    eta = torch.log(mean).requires_grad_()
    likelihood.nll([eta], values_of(name, y_cf), zero, torch.zeros(5))[0].sum().backward()
    score, weight = likelihood.score(mean, y)
    np.testing.assert_allclose(score, eta.grad, rtol=1e-9)
    np.testing.assert_allclose(weight, likelihood.information(mean, zero), rtol=1e-9)


def test_nb_predictor_is_kept_in_range():
    """A predictor that ran away costs no more than one at the edge, instead of infinity."""
    y = Counts(torch.tensor([0]), torch.tensor([0]), torch.tensor([3.0]))
    wild, edge = (
        NegativeBinomial().nll([torch.full((2, 1), eta)], y, torch.tensor([9.0]), torch.zeros(2))[0]
        for eta in (1e38, 20.0)
    )
    assert torch.isfinite(wild).all()
    torch.testing.assert_close(wild, edge)
