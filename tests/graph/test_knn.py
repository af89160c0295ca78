"""Graphs of resampled positions equal dense computations."""

import numpy as np
import pytest

from sivae.graph import _neighbors
from sivae.graph._implied import correlation_factors, signal_factors
from sivae.graph._neighbors import knn_graph


def draw(rng, g=30, m=4):
    root = rng.normal(size=(m, m))
    return rng.normal(size=(g, m)), root @ root.T, rng.uniform(0.1, 1, g)


def correlation_vectors(loadings, covariance, noise):
    return correlation_factors(signal_factors(loadings, None, covariance), noise)


def test_inner_products_are_implied_correlations(rng):
    loadings, covariance, noise = draw(rng)
    s = loadings @ covariance @ loadings.T
    total = np.diag(s) + noise
    vectors = correlation_vectors(loadings, covariance, noise)
    np.testing.assert_allclose(vectors @ vectors.T, s / np.sqrt(np.outer(total, total)), atol=1e-10)


def test_axes_without_variance_and_genes_without_anything_are_harmless(rng):
    loadings, _, noise = draw(rng)
    loadings[0], noise[0] = 0, 0
    vectors = correlation_vectors(loadings, np.diag([1.0, 0, 2, 0]), noise)
    assert vectors.shape == (30, 2) and np.isfinite(vectors).all() and (vectors[0] == 0).all()


@pytest.mark.parametrize("signed", [False, True])
def test_the_graph_is_that_of_sorted_rows(rng, monkeypatch, signed):
    monkeypatch.setattr(_neighbors, "BLOCK_VALUES", 100)
    vectors = correlation_vectors(*draw(rng))
    similar = vectors @ vectors.T
    similar = similar if signed else np.abs(similar)
    np.fill_diagonal(similar, -np.inf)
    chosen = np.zeros((30, 30), bool)
    for row in range(30):
        chosen[row, np.argsort(-similar[row])[:6]] = True
    expected = np.where(chosen | chosen.T, np.clip(similar, 0, 1), 0)
    found = knn_graph(vectors, 6, signed=signed)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12)
    assert (found.data > 0).all()


def test_permuting_genes_permutes_the_graph(rng):
    vectors = correlation_vectors(*draw(rng))
    order = rng.permutation(30)
    np.testing.assert_allclose(
        knn_graph(vectors[order], 5).toarray(), knn_graph(vectors, 5).toarray()[np.ix_(order, order)], atol=1e-12
    )


def test_few_genes(rng):
    assert knn_graph(np.ones((1, 2)), 5).nnz == 0
    assert knn_graph(np.full((3, 1), 0.5), 10).nnz == 6
