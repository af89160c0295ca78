"""Likelihoods against SciPy, their gradients against finite differences, and their edges."""

import numpy as np
import oracles
import pytest
import torch
from builders import coordinates
from scipy import stats

from sivae._block import Counts
from sivae.nn._likelihoods import LOG_THETA_RANGE, NegativeBinomial, Normal, make_likelihood

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


@pytest.mark.parametrize("name", ["normal", "nb"])
def test_gradients_are_finite_differences(rng, name):
    y_cf, library_c = rng.poisson(1.0, (4, 3)), rng.uniform(5, 20, 4)
    likelihood = make_likelihood(name, 0.3)
    y = coordinates(y_cf) if likelihood.counts else torch.tensor(y_cf, dtype=torch.float64)
    eta, log_noise, log_library = tensors(rng.normal(-1, 1, (4, 3)), [0.1, -0.5, 0.4], np.log(library_c))
    eta.requires_grad_()
    log_noise.requires_grad_()
    assert torch.autograd.gradcheck(lambda e, s: likelihood.nll([e, 2 * e], y, s, log_library), (eta, log_noise))


@pytest.mark.parametrize("name", ["normal", "nb"])
@pytest.mark.parametrize("eta", [-1e4, -50.0, 0.0, 50.0, 1e4])
@pytest.mark.parametrize("log_noise", [-30.0, 0.0, 30.0])
def test_extreme_values_stay_finite(name, eta, log_noise):
    likelihood = make_likelihood(name, 0.3)
    y_cf = np.array([[0.0, 1.0], [1e6, 0.0]])
    y = coordinates(y_cf) if likelihood.counts else torch.tensor(y_cf / 1e5, dtype=torch.float32)
    if likelihood.counts:
        y = Counts(y.row, y.column, y.value.float())
    eta_cf = torch.full((2, 2), eta, requires_grad=True)
    noise_f = torch.full((2,), log_noise, requires_grad=True)
    (nll_f,) = likelihood.nll([eta_cf], y, noise_f, torch.tensor([0.0, 14.0]))
    assert torch.isfinite(nll_f).all()
    nll_f.sum().backward()
    assert torch.isfinite(eta_cf.grad).all()
    assert torch.isfinite(noise_f.grad).all()


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
    normal = Normal(0.3).information(*tensors(mean_g, np.log([0.1, 0.5, 2.0])))
    np.testing.assert_allclose(normal, [1 / 0.09, 4.0, 0.25])


def test_nb_predictor_is_kept_in_range():
    """A predictor that ran away costs no more than one at the edge, instead of infinity."""
    y = Counts(torch.tensor([0]), torch.tensor([0]), torch.tensor([3.0]))
    wild, edge = (
        NegativeBinomial().nll([torch.full((2, 1), eta)], y, torch.tensor([9.0]), torch.zeros(2))[0]
        for eta in (1e38, 20.0)
    )
    assert torch.isfinite(wild).all()
    torch.testing.assert_close(wild, edge)
