"""Enrichment against SciPy, and its null."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, kstest, mannwhitneyu

from sivae.stats._enrichment import origin_pvalues, over_representation, rank_sums


def test_over_representation_is_fishers_exact_test(rng):
    background = 200
    chosen = rng.random(background) < 0.2
    member = rng.random((30, background)) < rng.uniform(0.02, 0.5, (30, 1))
    member[0] = chosen
    member[1] = ~chosen
    overlap, size = (member & chosen).sum(axis=1), member.sum(axis=1)
    odds, p = over_representation(overlap, size, n_chosen=chosen.sum(), n_background=background)
    for row in range(30):
        a, b = overlap[row], size[row] - overlap[row]
        table = [[a, chosen.sum() - a], [b, background - chosen.sum() - b]]
        expected = fisher_exact(table, alternative="greater")
        assert p[row] == pytest.approx(expected.pvalue, rel=1e-8)
        assert odds[row] == pytest.approx(expected.statistic)
    assert odds[0] == np.inf and p[1] == 1


@pytest.mark.parametrize("ties", [False, True])
def test_rank_sums_are_mann_whitney(rng, ties):
    value = rng.normal(size=150)
    value = np.round(value) if ties else value
    member = rng.random((20, 150)) < rng.uniform(0.03, 0.6, (20, 1))
    chance, p = rank_sums(value, sparse.csr_matrix(member.astype(float)))
    for row in range(20):
        inside, outside = value[member[row]], value[~member[row]]
        expected = mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic")
        assert p[row] == pytest.approx(expected.pvalue, rel=1e-9)
        assert chance[row] == pytest.approx(expected.statistic / (len(inside) * len(outside)))


def test_rank_sums_of_all_genes_or_of_equal_values_say_nothing():
    every = sparse.csr_matrix(np.ones((1, 5)))
    assert rank_sums(np.arange(5.0), every)[1][0] == 1
    assert rank_sums(np.zeros(5), sparse.csr_matrix(np.array([[1.0, 1, 0, 0, 0]])))[1][0] == 1


def test_random_sets_have_uniform_pvalues(rng):
    value = rng.normal(size=300)
    member = np.zeros((2000, 300))
    for row in member:
        row[rng.choice(300, 25, replace=False)] = 1
    _, p = rank_sums(value, sparse.csr_matrix(member))
    assert kstest(p, "uniform").statistic < 0.05
    _, p = over_representation(member[:, :60].sum(axis=1).astype(int), np.full(2000, 25), n_chosen=60, n_background=300)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level * 1.25


def test_genes_at_the_origin_have_uniform_pvalues_and_others_small_ones(rng):
    variance = rng.uniform(0.01, 0.1, (2000, 4))
    v = np.sqrt(variance) * rng.normal(size=(2000, 4))
    v[:, 3] = 10.0
    cells = np.array([1.0, 2.0, 0.5, 0.0])
    assert kstest(origin_pvalues(v, variance, cells), "uniform").pvalue > 0.01
    v[:, 0] += 3
    assert origin_pvalues(v, variance, cells).max() < 1e-3
    assert origin_pvalues(np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1))[0] == 1
    assert np.isnan(origin_pvalues(np.ones((1, 1)), np.full((1, 1), np.nan), np.ones(1))[0])
