"""Noise and bias of counts about known expectations: planted values come back, totals match."""

import numpy as np
import pytest
import torch

from sivae.nn import _moments

N = 20_000


@pytest.fixture
def mean_ng(rng):
    """Expectations that vary over cells, of genes from rare to abundant."""
    return rng.gamma(4.0, 0.25, (N, 1)) * np.array([0.3, 1.0, 3.0, 8.0])


def negative_binomial(rng, mean_ng, theta):
    return rng.poisson(mean_ng * rng.gamma(theta, 1 / theta, mean_ng.shape))


def test_log_ratio_matches_totals(rng, mean_ng):
    y = rng.poisson(mean_ng)
    y[:, 1] = 0
    shift = _moments.log_ratio(torch.tensor(y), torch.tensor(mean_ng / 7)).numpy()
    np.testing.assert_allclose((mean_ng / 7 * np.exp(shift)).sum(axis=0), np.maximum(y.sum(axis=0), 0.5), rtol=1e-9)


@pytest.mark.parametrize("theta", [0.5, 2.0, 10.0])
def test_inverse_dispersion_by_moments(rng, mean_ng, theta):
    y = negative_binomial(rng, mean_ng, theta)
    found = _moments.inverse_dispersion(torch.tensor(y), torch.tensor(mean_ng))
    np.testing.assert_allclose(found[1:], theta, rtol=0.2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("theta", [2.0, 10.0])
def test_zero_inflation_and_theta_come_back(rng, mean_ng, share, theta):
    y = negative_binomial(rng, mean_ng, theta) * (rng.random(mean_ng.shape) >= share)
    found_theta, found = _moments.zero_inflation(torch.tensor(y), torch.tensor((1 - share) * mean_ng), steps=100)
    np.testing.assert_allclose(found[2:], share, atol=0.03)
    np.testing.assert_allclose(found_theta[2:], theta, rtol=0.25)
    few_theta, few = _moments.zero_inflation(torch.tensor(y), torch.tensor((1 - share) * mean_ng))
    np.testing.assert_allclose(few[2:], share, atol=0.15)  # the default steps are on the way
    assert ((found_theta > 0) & (few_theta > 0)).all()


def test_a_gene_without_excess_zeros_starts_at_the_edge(rng, mean_ng):
    for y in (negative_binomial(rng, mean_ng, 2.0), rng.poisson(mean_ng), np.zeros_like(mean_ng)):
        _, share = _moments.zero_inflation(torch.tensor(y), torch.tensor(np.maximum(mean_ng, 1e-5)))
        if y.any():
            np.testing.assert_allclose(share, _moments.INFLATION_RANGE[0], atol=0.04)
        assert torch.isfinite(share).all()


def test_open_shift_matches_totals(rng, mean_ng):
    mean_ng = mean_ng[:500]
    y = (rng.random(mean_ng.shape) < -np.expm1(-3 * mean_ng)).astype(float)
    y[:, 0], y[:, 3] = 0, 1
    shift = _moments.open_shift(torch.tensor(y), torch.tensor(mean_ng)).numpy()
    expected = -np.expm1(-mean_ng * np.exp(shift)).sum(axis=0)
    np.testing.assert_allclose(expected, [0.5, y[:, 1].sum(), y[:, 2].sum(), 499.5], rtol=1e-6)


def test_open_shift_is_exact_at_equal_means():
    y = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    shift = _moments.open_shift(y, torch.full((4, 1), 0.1), steps=0)
    assert float(shift) == pytest.approx(np.log(np.log(2) / 0.1))
