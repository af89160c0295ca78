"""Pairs of genes: p-values against loops and simulated nulls, implied correlations against dense matrices."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from sivae.graph import _edges
from sivae.graph._edges import edge_pvalues, pair_correlations
from sivae.graph._implied import correlation_factors, signal_factors


def draw(rng, g=12, k=3):
    root = rng.normal(size=(k, k))
    v, variance = rng.normal(size=(g, k)), rng.uniform(0.01, 0.2, (g, k))
    rows, columns = (index.astype(np.intp) for index in np.triu_indices(g, 1))
    return v, variance, root @ root.T + np.eye(k), rows, columns


def factors(loadings, covariance, noise):
    return correlation_factors(signal_factors(loadings, None, covariance), noise)


def test_pvalues_equal_the_formula_pair_by_pair(rng, monkeypatch):
    monkeypatch.setattr(_edges, "BLOCK", 7)
    v, variance, c, rows, columns = draw(rng)
    found = edge_pvalues(v, variance, c, rows=rows, columns=columns)
    for pair, (g, h) in enumerate(zip(rows, columns, strict=True)):
        vg, vh = np.diag(variance[g]), np.diag(variance[h])
        s = v[g] @ c @ v[h]
        expected = v[g] @ c @ vh @ c @ v[g] + v[h] @ c @ vg @ c @ v[h] + np.trace(c @ vg @ c @ vh)
        assert found[pair] == pytest.approx(2 * norm.sf(abs(s) / np.sqrt(expected)), rel=1e-10)


def test_the_variance_is_that_of_resampled_loadings(rng):
    v, variance, c, _, _ = draw(rng, g=2)
    a = v[0] + np.sqrt(variance[0]) * rng.normal(size=(200_000, 3))
    b = v[1] + np.sqrt(variance[1]) * rng.normal(size=(200_000, 3))
    sd = ((a @ c) * b).sum(axis=1).std()
    one = np.array([0])
    p = edge_pvalues(v, variance, c, rows=one, columns=one + 1)
    assert norm.isf(p[0] / 2) == pytest.approx(abs(v[0] @ c @ v[1]) / sd, rel=0.01)


def estimates(rng, true_g, true_h, n=20_000):
    sd = 0.1
    v = np.concatenate([true_g + sd * rng.normal(size=(n, 3)), true_h + sd * rng.normal(size=(n, 3))])
    return edge_pvalues(v, np.full_like(v, sd**2), np.eye(3), rows=np.arange(n), columns=n + np.arange(n))


def test_orthogonal_genes_have_uniform_pvalues(rng):
    p = estimates(rng, np.array([2.0, 0, 0]), np.array([0, 2.0, 0]))
    assert kstest(p, "uniform").statistic < 0.012


@pytest.mark.parametrize("far", [np.zeros(3), np.array([1.0, 0, 0])])
def test_genes_at_the_origin_have_conservative_pvalues(rng, far):
    p = estimates(rng, far, np.zeros(3))
    for level in (0.001, 0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level * 1.1


def test_edges_of_special_genes(rng):
    v, variance, c, _, _ = draw(rng, g=3)
    v[0] = 0.0
    v[1:] *= 1e6
    variance[2] = np.nan
    p = edge_pvalues(v, variance, c, rows=np.array([0, 1, 1]), columns=np.array([1, 2, 1]))
    assert p[0] == 1.0 and np.isnan(p[1]) and p[2] == _edges.SMALLEST


def test_correlations_equal_the_dense_matrix(rng, monkeypatch):
    monkeypatch.setattr(_edges, "BLOCK", 7)
    loadings, _, c, rows, columns = draw(rng)
    noise = rng.uniform(0.1, 1, 12)
    s = loadings @ c @ loadings.T
    total = np.diag(s) + noise
    dense = s / np.sqrt(np.outer(total, total))
    found = pair_correlations(factors(loadings, c, noise), rows=rows, columns=columns)
    np.testing.assert_allclose(found, dense[rows, columns], atol=1e-12)
    own = np.arange(12)
    np.testing.assert_allclose(
        pair_correlations(factors(loadings, c, noise), rows=own, columns=own), np.diag(s) / total
    )


def test_correlation_is_that_of_simulated_cells(rng):
    loadings, noise = np.array([[1.0, 0.5], [0.2, 1.0]]), np.array([0.5, 0.3])
    c = np.array([[1.0, 0.4], [0.4, 0.8]])
    z = rng.multivariate_normal([0, 0], c, 100_000)
    x = z @ loadings.T + np.sqrt(noise) * rng.normal(size=(100_000, 2))
    found = pair_correlations(factors(loadings, c, noise), rows=np.array([0]), columns=np.array([1]))
    assert found[0] == pytest.approx(np.corrcoef(x.T)[0, 1], abs=0.01)


def test_a_gene_without_variance_correlates_with_nothing():
    found = pair_correlations(
        factors(np.array([[0.0], [1.0]]), np.eye(1), np.zeros(2)), rows=np.array([0]), columns=np.array([1])
    )
    assert found[0] == 0.0


def test_permuting_genes_permutes_pairs(rng):
    v, variance, c, rows, columns = draw(rng)
    order = rng.permutation(12)
    place = np.argsort(order)
    first = edge_pvalues(v, variance, c, rows=rows, columns=columns)
    second = edge_pvalues(v[order], variance[order], c, rows=place[rows], columns=place[columns])
    np.testing.assert_allclose(first, second, rtol=1e-12)
