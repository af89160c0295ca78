"""The density of a mixture, against SciPy's Gaussians one by one."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from sivae.stats._mixture import mixture_log_density


def slow(mean, variance):
    n = len(mean)
    log = np.array([[multivariate_normal(mean[j], np.diag(variance[j])).logpdf(x) for j in range(n)] for x in mean])
    others = [logsumexp(np.delete(log[i], i)) - np.log(n - 1) for i in range(n)]
    return logsumexp(log, axis=1) - np.log(n), np.array(others)


@pytest.mark.parametrize("block", [7, 2**22])
def test_it_is_the_sum_of_gaussians(rng, monkeypatch, block):
    monkeypatch.setattr("sivae.stats._mixture.BLOCK", block)
    mean, variance = 5 + rng.normal(size=(30, 3)), rng.uniform(0.01, 2.0, size=(30, 3))
    for found, expected in zip(mixture_log_density(mean, variance), slow(mean, variance), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_far_from_everything_it_does_not_underflow(rng):
    mean = np.concatenate([rng.normal(size=(20, 2)), [[1e3, 0.0]]])
    whole, others = mixture_log_density(mean, np.full((21, 2), 0.01))
    assert np.isfinite(others).all() and others[-1] < -1e7
    np.testing.assert_allclose(whole[-1], -np.log(21) - np.log(2 * np.pi * 0.01))


def test_one_item_has_no_others():
    whole, others = mixture_log_density(np.zeros((1, 2)), np.ones((1, 2)))
    assert whole[0] == pytest.approx(-np.log(2 * np.pi)) and others[0] == -np.inf
