"""Columns of association where there are many: blocks and stages change nothing but how sure p is."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, linregress, spearmanr

from sivae.cohort import _tables
from sivae.cohort._tables import association_columns, partial_spearman


def run(y_se, x_s, covariates_sc=None, **options):
    return association_columns(
        y_se, x_s, covariates_sc, **({"n_permutations": 4999, "seed": 0, "purpose": "test"} | options)
    )


@pytest.mark.parametrize("ranks", [False, True])
def test_p_is_uniform_in_noise_and_finer_where_it_is_small(rng, ranks):
    table = run(rng.standard_normal((20, 600)), rng.standard_normal(20), ranks=ranks)
    assert kstest(table["p"], "uniform").pvalue > 0.01
    small = table["p"] < 0.015
    assert small.any() and (table["p"][small] * 5000 % 1).round(6).isin([0, 1]).all()
    assert (table["p"][small] * 1000 % 1).round(6).between(0.01, 0.99).any()
    assert (table["p"][table["p"] > 0.05] * 1000 % 1).round(6).isin([0, 1]).all()


@pytest.mark.parametrize("ranks", [False, True])
def test_blocks_change_nothing(rng, monkeypatch, ranks):
    y, x = rng.standard_normal((12, 30)).astype(np.float32), rng.standard_normal(12)
    y[:, 3] += 3 * x
    y[4, 5] = np.nan
    whole = run(y, x, ranks=ranks)
    assert whole.loc[5].isna().all() and whole.loc[3, "p"] < 0.002
    monkeypatch.setattr(_tables, "BLOCK", 12 * 4)
    pd.testing.assert_frame_equal(run(y, x, ranks=ranks), whole)


def test_p_of_ranks_is_of_ranks(rng):
    y, x = rng.standard_normal((16, 20)), rng.standard_normal(16)
    columns = ["rho", "p", "q"]
    pd.testing.assert_frame_equal(run(y, np.exp(3 * x), ranks=True)[columns], run(np.exp(y), x, ranks=True)[columns])
    line = linregress(x, y[:, 0])
    assert run(y, x, ranks=True)["t"][0] == pytest.approx(line.slope / line.stderr)


def test_partial_rank_correlation(rng):
    y, x, c = rng.standard_normal((16, 3)), rng.standard_normal(16), rng.standard_normal((16, 1))
    plain = partial_spearman(y, x, None)
    given = partial_spearman(y, x, c)
    for e in range(3):
        xy, xc, yc = (spearmanr(a, b).statistic for a, b in ((x, y[:, e]), (x, c[:, 0]), (y[:, e], c[:, 0])))
        assert plain[e] == pytest.approx(xy)
        assert given[e] == pytest.approx((xy - xc * yc) / np.sqrt((1 - xc**2) * (1 - yc**2)))


def test_all_arrangements_where_few(rng):
    x = np.repeat([0.0, 1.0], 5)
    table = run(rng.standard_normal((10, 40)), x)
    assert (table["p"] * 252 % 1).round(6).isin([0, 1]).all()
