"""Rank tests of having against lacking: every choice counted out, and SciPy."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, kstest, mannwhitneyu, rankdata

from sivae.stats._presence import presence_tests, subset_sums


def counted(x, present):
    rank, n = rankdata(x), int(present.sum())
    mean = n * rank.mean()
    sums = np.array([rank[list(chosen)].sum() for chosen in combinations(range(len(x)), n)])
    return (np.abs(sums - mean) >= abs(rank[present].sum() - mean) - 1e-9).mean()


@pytest.mark.parametrize("ties", [False, True])
def test_p_counts_every_choice(rng, ties):
    x = rng.integers(0, 4, 11).astype(float) if ties else rng.standard_normal(11)
    present = rng.random((30, 11)) < 0.4
    chance, p = presence_tests(x, sparse.csr_matrix(present.astype(float)))
    for e, row in enumerate(present):
        if not 0 < row.sum() < 11:
            assert np.isnan(p[e]) and np.isnan(chance[e])
            continue
        assert p[e] == pytest.approx(counted(x, row))
        greater = x[row][:, None] > x[~row]
        assert chance[e] == pytest.approx((greater + 0.5 * (x[row][:, None] == x[~row])).mean())


@pytest.mark.parametrize("n", [30, 140])
def test_as_scipy(rng, n):
    x, present = rng.standard_normal(n), rng.random((20, n)) < 0.3
    chance, p = presence_tests(x, sparse.csr_matrix(present.astype(float)))
    for e, row in enumerate(present):
        known = mannwhitneyu(x[row], x[~row], method="exact" if n == 30 else "asymptotic")
        assert p[e] == pytest.approx(known.pvalue, rel=1e-8)
        assert chance[e] == pytest.approx(known.statistic / (row.sum() * (~row).sum()))


def test_two_groups_are_fishers_test():
    x = np.repeat([0.0, 1.0], 8)
    present = np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0.0])
    assert presence_tests(x, sparse.csr_matrix(present))[1][0] == pytest.approx(fisher_exact([[1, 7], [7, 1]]).pvalue)


def test_sums_of_choices():
    ways = subset_sums(np.array([1, 2, 2]), 3)
    assert ways[1, 2] == 2 and ways[2, 3] == 2 and ways[2, 4] == 1 and ways[3, 5] == 1 and ways.sum() == 8


def test_nothing_is_found_in_nothing(rng):
    p = presence_tests(rng.standard_normal(40), sparse.csr_matrix((rng.random((400, 40)) < 0.5).astype(float)))[1]
    assert kstest(p, "uniform").pvalue > 0.01
