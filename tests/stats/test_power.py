"""Variance components, the t test and counts of what is called, against closed forms and plain computations."""

import numpy as np
import pytest
from scipy import stats

from sivae.stats import _power as counts
from sivae.stats._association import associate
from sivae.stats._fdr import adjust
from sivae.stats._precision import precision_weights


def along_the_others(own_sg):
    """Values taken along the mean of the others: what is one's own is in theirs with 1 / (n - 1)."""
    return own_sg + (own_sg.sum(axis=0) - own_sg) / (len(own_sg) - 1)


@pytest.mark.parametrize("n", [4, 8, 30])
def test_own_variance_is_that_before_the_others_mean_was_taken(n, rng):
    own_sg = rng.standard_normal((n, 5))
    np.testing.assert_allclose(counts.own_variance(along_the_others(own_sg)), own_sg.var(axis=0, ddof=1))


def test_own_variance_leaves_out_who_has_no_value(rng):
    y_sg = rng.standard_normal((8, 3))
    y_sg[:2, 0], y_sg[:5, 1] = np.nan, np.nan
    found = counts.own_variance(y_sg)
    assert found[0] == pytest.approx(y_sg[2:, 0].var(ddof=1) * (5 / 4) ** 2)
    assert np.isnan(found[1]) and np.isfinite(found[2])


def made(rng, n=40, n_genes=400, between=0.3, noise=20.0, mean=8.0):
    cells_s = rng.integers(50, 200, n)
    se_sg = np.sqrt(noise / cells_s)[:, None] * np.ones(n_genes)
    own_sg = rng.normal(0, between, (n, n_genes)) + se_sg * rng.standard_normal((n, n_genes))
    return mean + along_the_others(own_sg), se_sg, cells_s


@pytest.mark.parametrize("between", [0.0, 0.3, 1.0])
def test_components_are_those_planted(between, rng):
    y_sg, se_sg, cells_s = made(rng, between=between)
    found = counts.components(y_sg, se_sg, cells_s)
    np.testing.assert_allclose(found.noise_sg, 20.0)
    np.testing.assert_allclose(found.mean_g, y_sg.mean(axis=0))
    # All genes alike: what one gene's variance is off by chance is drawn away.
    assert np.sqrt(found.between_g.mean()) == pytest.approx(between, abs=0.1)
    plain_g = np.maximum(y_sg.var(axis=0, ddof=1) * (39 / 38) ** 2 - (se_sg**2).mean(axis=0), 0)
    assert ((found.between_g - between**2) ** 2).mean() < 0.9 * ((plain_g - between**2) ** 2).mean()


def test_genes_that_differ_are_kept_apart(rng):
    y_sg, se_sg, cells_s = made(rng, between=1.0)
    y_sg[:, ::2] = made(rng, between=4.0)[0][:, ::2]
    found = np.sqrt(counts.components(y_sg, se_sg, cells_s).between_g)
    assert np.median(found[::2]) == pytest.approx(4.0, rel=0.15)
    assert np.median(found[1::2]) == pytest.approx(1.0, rel=0.25)


def test_components_of_genes_with_too_few_values_are_unknown(rng):
    y_sg, se_sg, cells_s = made(rng, n=8, n_genes=20)
    y_sg[:5, 0], y_sg[:2, 1] = np.nan, np.nan
    found = counts.components(y_sg, se_sg, cells_s)
    assert np.isnan(found.mean_g[0]) and np.isnan(found.between_g[0]) and np.isnan(found.noise_sg[:, 0]).all()
    assert found.mean_g[1] == pytest.approx(y_sg[2:, 1].mean())
    assert np.isfinite(found.noise_sg[:, 1]).all() and np.isfinite(found.between_g[1])


def test_simulated_values_have_the_moments_asked_for(rng):
    noise_sg = np.array([[10.0, 40.0], [30.0, 80.0]])
    known = counts.Components(np.array([1.0, -2.0]), np.array([0.5, 0.0]), noise_sg)
    y_sg, se_sg = known.simulate(40_000, 50, scale=0.5, generator=rng)
    np.testing.assert_allclose(y_sg.mean(axis=0), [1, -2], atol=0.03)
    np.testing.assert_allclose(y_sg.var(axis=0), [0.5 + 0.5 * 20 / 50, 0.5 * 60 / 50], rtol=0.03)
    assert set(np.unique(np.round(se_sg[:, 0] ** 2, 9))) == {0.2, 0.6}


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.8])
def test_error_scale_is_the_factor_by_which_errors_are_off(factor, rng):
    mean_g, se = rng.uniform(1, 3, 500), 0.1
    first, second = (mean_g + along_the_others(np.sqrt(factor) * se * rng.standard_normal((24, 500))) for _ in range(2))
    second *= 1.3  # units of a reading do not matter
    assert counts.error_scale(first, second, (se / mean_g) ** 2) == pytest.approx(factor, rel=0.06)


def test_tested_is_the_weighted_t_test_and_near_the_permutation_test(rng):
    x_s = rng.permutation(np.arange(16) % 2).astype(float)
    se_sg = rng.uniform(0.8, 1.2, (16, 40))
    y_sg = se_sg * rng.standard_normal((16, 40)) + np.outer(x_s, np.linspace(0, 2, 40))
    p_g = counts.tested(y_sg, se_sg, x_s)
    weights_sg = precision_weights(y_sg, se_sg, x_s)
    for g in (0, 17, 39):
        w, design = np.diag(weights_sg[:, g]), np.column_stack([np.ones(16), x_s])
        inverse = np.linalg.inv(design.T @ w @ design)
        beta = inverse @ design.T @ w @ y_sg[:, g]
        left = y_sg[:, g] - design @ beta
        t = beta[1] / np.sqrt(inverse[1, 1] * (left @ w @ left) / 14)
        assert p_g[g] == pytest.approx(2 * stats.t.sf(abs(t), 14))
    permuted = associate(y_sg, x_s, weights_sg=weights_sg, n_permutations=9_999, generator=rng)
    assert np.abs(np.log10(p_g) - np.log10(permuted.p_g))[p_g > 0.005].max() < 0.25


def test_genes_are_tested_in_the_individuals_that_have_them(rng):
    y_sg, se_sg, x_s = rng.standard_normal((10, 4)), np.ones((10, 4)), np.arange(10.0)
    y_sg[:3, 1], y_sg[:7, 2] = np.nan, np.nan
    p_g = counts.tested(y_sg, se_sg, x_s)
    assert np.isnan(p_g[2]) and np.isfinite(p_g[[0, 3]]).all()
    assert p_g[1] == counts.tested(y_sg[3:, 1:2], se_sg[3:, 1:2], x_s[3:])[0]


def test_counts_of_what_is_called():
    p_g = np.array([1e-6, 0.9, np.nan, 0.03, 0.5, 1e-5, np.nan])
    planted_g = np.array([True, True, True, False, False, False, False])
    assert counts.counted(p_g, planted_g, fdr=0.05).tolist() == [1, 3, 2, 3]
    called_g = adjust(p_g) <= 0.08
    assert called_g[3] and counts.counted(p_g, planted_g, fdr=0.08)[0] == 1


def test_the_interval_covers_and_is_at_least_binomial(rng):
    planted_r = np.full(20, 10)
    low, high = counts.share_interval(np.zeros(20, int), planted_r, generator=rng)
    assert low == 0 and high == pytest.approx(stats.beta.ppf(0.975, 0.5, 200.5))
    low, high = counts.share_interval(planted_r, planted_r, generator=rng)
    assert high == 1 and 0.98 < low < 1
    covered = 0
    for _ in range(200):  # genes of one repeat go together
        called_r = rng.binomial(10, rng.beta(2, 2, 20))
        low, high = counts.share_interval(called_r, planted_r, generator=rng)
        covered += low <= 0.5 <= high
    assert 0.87 < covered / 200 < 0.99
