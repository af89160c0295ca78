"""The permutation null is calibrated, powerful, and equal to permuting by hand."""

from itertools import permutations, product

import numpy as np
import oracles
import pytest
from scipy import stats

from sivae.stats._null import (
    _third_moment,
    centred,
    permutation_pvalues,
    quantile_strata,
    sorted_strata,
    without_line,
)


def one_stratum(n):
    return np.zeros(n, np.intp)


def sparse_counts(rng, n, g, mean=0.15):
    return rng.poisson(rng.gamma(0.5, 2 * mean, (n, g))).astype(float)


def calibrated(p):
    """Uniform by Kolmogorov and Smirnov, and neither tail too heavy at the levels that matter."""
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    for level in (0.05, 0.01):
        assert stats.binomtest(int((p <= level).sum()), len(p), level, alternative="greater").pvalue > 1e-3


def test_uniform_under_the_null(rng):
    x, y = rng.normal(size=(120, 1500)), rng.normal(size=(120, 1500))
    calibrated(permutation_pvalues(x, y, one_stratum(120), n_draws=400))


@pytest.mark.parametrize("n_draws", [400, 0])
def test_uniform_for_skewed_values(rng, n_draws):
    x, y = rng.lognormal(0, 1, (120, 1500)), rng.lognormal(0, 1, (120, 1500))
    calibrated(permutation_pvalues(x, y, one_stratum(120), n_draws=n_draws))


def test_third_moment_is_that_of_all_permutations(rng):
    """Two strata of four cells and one of two: 4! 4! 2! permutations, all of them."""
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    x, y = (centred(rng.lognormal(size=(10, 3)), strata) for _ in range(2))
    orders = [list(permutations(np.flatnonzero(strata == s))) for s in range(3)]
    sums = np.array([(x[list(sum(order, ()))] * y).sum(axis=0) for order in product(*orders)])
    np.testing.assert_allclose(sums.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(_third_moment(x, y, strata), (sums**3).mean(axis=0), rtol=1e-8)


def test_closed_form_is_what_draws_come_to(rng):
    x, y = sparse_counts(rng, 300, 60, mean=0.5), rng.normal(size=(300, 60))
    x[:, :20] += 0.25 * y[:, :20]
    strata = np.repeat(np.arange(15), 20)
    found, drawn = (permutation_pvalues(x, y, strata, n_draws=n) for n in (0, 4000))
    np.testing.assert_allclose(found, drawn, rtol=0.4, atol=0.03)
    assert (found[:20] < 0.1).mean() > 0.9


@pytest.mark.parametrize("n_draws", [400, 0])
def test_not_too_small_for_sparse_counts(rng, n_draws):
    """Ties make these p-values discrete, hence conservative: no level is exceeded too often."""
    x, y = sparse_counts(rng, 150, 1500), rng.normal(size=(150, 1500))
    x[0, x.sum(axis=0) == 0] = 1
    p = permutation_pvalues(x, y, one_stratum(150), n_draws=n_draws)
    for level in (0.2, 0.05, 0.01, 0.001):
        assert stats.binomtest(int((p <= level).sum()), 1500, level, alternative="greater").pvalue > 1e-3, level
    assert stats.kstest(p, "uniform").statistic < 0.06


def test_strata_take_out_what_both_sides_share(rng):
    """Values that depend on the stratum on both sides are independent within it."""
    strata = np.repeat(np.arange(8), 20)
    level = 3.0 * strata[:, None]
    x, y = level + rng.normal(size=(160, 1000)), level + rng.normal(size=(160, 1000))
    calibrated(permutation_pvalues(x, y, strata, n_draws=400))
    assert permutation_pvalues(x, y, one_stratum(160), n_draws=100).max() < 1e-6


def test_powerful_under_signal(rng):
    y = rng.normal(size=(200, 50))
    x = 0.5 * y + rng.normal(size=(200, 50))
    p = permutation_pvalues(x, y, one_stratum(200), n_draws=200)
    assert np.median(p) < 1e-6
    assert p.max() < 0.01
    assert (permutation_pvalues(-x, y, one_stratum(200), n_draws=200) > 0.9).all()  # one-sided


@pytest.mark.parametrize("kind", ["normal", "counts"])
def test_equal_to_permuting_by_hand(rng, kind):
    n, n_draws = 60, 2000
    strata = np.repeat(np.arange(3), 20)
    y = rng.normal(size=(n, 8))
    noise = rng.normal(size=(n, 8)) if kind == "normal" else sparse_counts(rng, n, 8, mean=0.8)
    x = noise + y * np.linspace(0, 0.4, 8)
    found = permutation_pvalues(x, y, strata, n_draws=2000)
    expected = np.array([oracles.permutation_pvalue(x[:, g], y[:, g], strata, n_draws, rng) for g in range(8)])
    error = np.sqrt(expected * (1 - expected) / n_draws) + 1 / n_draws
    assert (np.abs(found - expected) < 6 * error + 0.05 * expected).all(), (found, expected)


def test_constant_columns_have_no_evidence(rng):
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    strata = np.repeat([0, 1], 30)
    x[:, 0], y[:, 1] = 3.0, -2.0
    x[:, 2] = np.where(strata == 1, 5.0, 0.0)  # constant within strata
    p = permutation_pvalues(x, y, strata, n_draws=50)
    assert (p[:3] == 1).all()
    assert 0 < p[3] < 1


def test_same_seed_same_values_and_units_do_not_matter(rng):
    x, y = rng.normal(size=(50, 6)), rng.normal(size=(50, 6))
    first = permutation_pvalues(x, y, one_stratum(50), n_draws=100, seed=4)
    np.testing.assert_array_equal(first, permutation_pvalues(x, y, one_stratum(50), n_draws=100, seed=4))
    np.testing.assert_allclose(
        first, permutation_pvalues(1e3 * x + 7, 1e-2 * y - 1, one_stratum(50), n_draws=100, seed=4), rtol=1e-3
    )


def test_strata_are_of_like_size_and_like_value(rng):
    values, groups = rng.lognormal(0, 1, 210), np.repeat([0, 1], [150, 60])
    strata = quantile_strata(values, groups, size=20)
    for s in np.unique(strata):
        rows = strata == s
        assert len(np.unique(groups[rows])) == 1
        assert 20 <= rows.sum() <= 30
        inside = values[groups == groups[rows][0]]
        low, high = values[rows].min(), values[rows].max()
        assert ((inside >= low) & (inside <= high)).sum() == rows.sum()  # a run of neighbours in value
    assert len(np.unique(strata)) == 7 + 3


def test_a_small_group_is_one_stratum(rng):
    assert (quantile_strata(rng.normal(size=7), np.zeros(7, int), size=20) == 0).all()


def test_strata_of_each_gene_follow_its_own_values(rng):
    values, groups = rng.lognormal(0, 1, (90, 5)), rng.permutation(np.repeat([0, 1], [50, 40]))
    order, strata = sorted_strata(values, groups)
    for g in range(5):
        assert sorted(order[:, g]) == list(range(90))
        assert (groups[order[:, g]] == np.sort(groups)).all()
        for group in (0, 1):
            inside = values[order[:, g], g][np.sort(groups) == group]
            assert (np.diff(inside) >= 0).all()
        np.testing.assert_array_equal(np.sort(quantile_strata(values[:, g], groups)[order[:, g]]), np.sort(strata))


def test_without_a_line_equals_least_squares(rng):
    values, known = (centred(rng.normal(size=(30, 4)), np.repeat([0, 1], 15)) for _ in range(2))
    known[:, 3] = 0.0
    found = without_line(values, known)
    for g in range(3):
        expected = values[:, g] - known[:, g] * np.linalg.lstsq(known[:, [g]], values[:, g], rcond=None)[0]
        np.testing.assert_allclose(found[:, g], expected, atol=1e-12)
    np.testing.assert_array_equal(found[:, 3], values[:, 3])


def test_calibrated_also_for_residuals_of_few_cells(rng):
    """Both sides share columns that are regressed out: permuted residuals alone would call too often."""
    n, strata = 30, np.repeat([0, 1], 15)
    known = centred(rng.normal(size=(n, 4)), strata)
    basis = np.linalg.qr(known)[0]
    x, y = (centred(rng.normal(size=(n, 6000)), strata) for _ in range(2))
    x, y = x - basis @ (basis.T @ x), y - basis @ (basis.T @ y)
    calibrated(permutation_pvalues(x, y, strata, n_draws=400, n_known=4))
    assert (permutation_pvalues(x, y, strata, n_draws=400) < 0.05).mean() > 0.056
