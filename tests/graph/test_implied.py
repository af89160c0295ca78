"""The implied correlation against dense matrices and against simulated cells."""

import numpy as np
import pytest

from sivae.graph._implied import correlation_factors, noise_variance, signal_factors, unit_factors


def draw(rng, g=30, k=3, d=4):
    root = rng.normal(size=(k + d, k + d))
    return rng.normal(size=(g, k)), rng.normal(size=(g, d)), root @ root.T / (k + d), rng.uniform(1, 2, g)


@pytest.mark.parametrize("alike", [1.0, 5.0])
def test_equal_to_the_dense_formula(rng, alike):
    v, w, covariance, noise = draw(rng)
    layer = np.concatenate([v, w], axis=1)
    s = layer @ covariance @ layer.T
    total = np.diag(s) + noise / alike
    factor = correlation_factors(signal_factors(v, w, covariance), noise, alike=alike)
    np.testing.assert_allclose(factor @ factor.T, s / np.sqrt(np.outer(total, total)), atol=1e-10)


def test_it_is_the_correlation_of_simulated_cells_and_of_averages_of_genes_alike(rng):
    v, w, covariance, noise = draw(rng, g=2)
    joint = rng.multivariate_normal(np.zeros(7), covariance, 100_000)
    signal = joint @ np.concatenate([v, w], axis=1).T
    for alike in (1, 4):
        copies = signal[:, :, None] + np.sqrt(noise)[:, None] * rng.normal(size=(len(signal), 2, alike))
        seen = np.corrcoef(copies.mean(axis=2).T)[0, 1]
        factor = correlation_factors(signal_factors(v, w, covariance), noise, alike=alike)
        assert factor[0] @ factor[1] == pytest.approx(seen, abs=0.01)


def test_the_linear_part_alone(rng):
    v, _, covariance, _ = draw(rng)
    factor = signal_factors(v, None, covariance[:3, :3])
    np.testing.assert_allclose(factor @ factor.T, v @ covariance[:3, :3] @ v.T, atol=1e-10)


def test_directions_without_variance_are_left_out(rng):
    v, w, _, _ = draw(rng)
    covariance = np.diag([1.0, 2.0, 0, 0, 0, 0, 1.0])
    assert signal_factors(v, w, covariance).shape == (30, 3)


def test_what_clipping_took_counts_as_noise():
    signal = np.sqrt(np.array([[0.3], [0.9], [0.0]]))
    np.testing.assert_allclose(noise_variance(signal, np.array([0.4, 0.4, 1.1])), [0.7, 0.4, 1.1])
    np.testing.assert_allclose(noise_variance(signal, None), [0.6, 0.0, 0.9])


def test_a_gene_at_the_origin_goes_with_nothing(rng):
    signal = rng.normal(size=(4, 2))
    signal[0] = 0.0
    for factor in (correlation_factors(signal, np.zeros(4)), unit_factors(signal)):
        assert (factor[0] == 0).all() and np.isfinite(factor).all()
    np.testing.assert_allclose((unit_factors(signal)[1:] ** 2).sum(axis=1), 1)
