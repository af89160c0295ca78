"""Residual ranks: their correlation is the partial Spearman correlation."""

import numpy as np
from scipy.stats import rankdata, spearmanr

from sivae.stats._partial import rank_residual


def test_correlation_of_residuals_is_the_partial_spearman_correlation(rng):
    given = rng.normal(size=(300, 1))
    a, b = given[:, 0] + rng.normal(size=300), given[:, 0] + rng.normal(size=300)
    ab, ac, bc = spearmanr(a, b)[0], spearmanr(a, given[:, 0])[0], spearmanr(b, given[:, 0])[0]
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    found = np.corrcoef(rank_residual(a, given), rank_residual(b, given))[0, 1]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_what_is_told_by_the_columns_leaves_nothing(rng):
    x = rng.normal(size=(50, 2))
    np.testing.assert_allclose(rank_residual(np.exp(x[:, 0]), x), 0, atol=1e-12)


def test_unknown_values_stay_unknown(rng):
    x, given = rng.normal(size=30), rng.normal(size=(30, 2))
    x[3], given[4, 1] = np.nan, np.nan
    found = rank_residual(x, given)
    assert np.isnan(found[[3, 4]]).all() and np.isfinite(np.delete(found, [3, 4])).all()
    kept = np.delete(np.arange(30), [3, 4])
    np.testing.assert_allclose(found[kept], rank_residual(x[kept], given[kept]))
    assert np.isclose(rankdata(x[kept]).mean() / 28 - (x[kept].size + 1) / 56, 0)
