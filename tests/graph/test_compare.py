"""Overlap of neighborhoods against sets and loops."""

import numpy as np

from sivae.graph import _compare
from sivae.graph._compare import jaccard, pair_correlation


def neighborhoods(rng, g=30, n=5):
    return np.array([rng.permutation([h for h in range(g) if h != i])[:n] for i in range(g)])


def test_jaccard_equals_that_of_sets(rng):
    a, b = neighborhoods(rng), neighborhoods(rng, n=7)
    expected = [len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(jaccard(a, b), expected)
    np.testing.assert_array_equal(jaccard(a, a[:, ::-1]), 1.0)


def test_pair_correlation_equals_a_loop(rng, monkeypatch):
    monkeypatch.setattr(_compare, "CHUNK", 4)
    x = rng.normal(size=(100, 30))
    c = np.abs(np.corrcoef(x.T))
    centred = (x - x.mean(axis=0)).T
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    a, b = neighborhoods(rng), neighborhoods(rng, n=4)
    expected = [c[np.ix_(p, q)].mean() for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(pair_correlation(unit, a, b), expected)
