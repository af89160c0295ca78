"""Scores of gene sets: loops over pairs, a module turned over, strata and their null."""

import numpy as np
import pytest
from scipy import sparse

from sivae.graph._scores import coherence, coherence_null, directions, matching_strata, orientations


def members(*sets, g=30):
    dense = np.zeros((len(sets), g))
    for row, genes in enumerate(sets):
        dense[row, genes] = 1
    return sparse.csr_matrix(dense)


def test_coherence_is_the_mean_over_pairs(rng):
    vectors = rng.normal(size=(30, 4))
    sets = [[0, 5, 7], list(range(10)), [3], []]
    found = coherence(vectors, members(*sets))
    for value, genes in zip(found, sets, strict=True):
        pairs = [vectors[i] @ vectors[j] for i in genes for j in genes if i < j]
        assert value == pytest.approx(np.mean(pairs)) if pairs else np.isnan(value)


def test_a_turned_gene_counts_with_its_sign(rng):
    vectors = rng.normal(size=(3, 4))
    signed = sparse.csr_matrix(np.array([[1.0, -1, 1]]))
    flipped = vectors * np.array([1, -1, 1])[:, None]
    assert coherence(vectors, signed)[0] == pytest.approx(coherence(flipped, members([0, 1, 2], g=3))[0])


def test_directions_are_signed_means(rng):
    v = rng.normal(size=(5, 2))
    found = directions(v, sparse.csr_matrix(np.array([[1.0, -1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])))
    np.testing.assert_allclose(found, [(v[0] - v[1]) / 2, v[2:].mean(axis=0), [0, 0]])


def test_orientation_follows_the_larger_part(rng):
    vectors = np.outer([1, 2, 1, -1, 1, 3, -2, 0.0], [0.6, -0.2]) + 0.01 * rng.normal(size=(8, 2))
    module = np.array([0, 0, 0, 0, 0, 0, 0, -1])
    np.testing.assert_array_equal(orientations(vectors, module), [1, 1, 1, -1, 1, 1, -1, 1])
    np.testing.assert_array_equal(orientations(-vectors, module), [1, 1, 1, -1, 1, 1, -1, 1])


def test_strata_are_alike_and_of_equal_size(rng):
    value = rng.normal(size=100)
    strata = matching_strata(value, n_bins=10)
    assert (np.bincount(strata) == 10).all()
    means = [value[strata == s].mean() for s in range(10)]
    assert means == sorted(means)
    both = matching_strata(value, rng.normal(size=100), n_bins=5)
    assert (np.bincount(both) == 4).all()


def test_null_draws_keep_strata_and_sizes(rng):
    strata = np.repeat([0, 1, 2], 10)
    vectors = np.repeat(np.array([[1.0], [2.0], [3.0]]), 10, axis=0)
    member = members([0, 1, 10], [20, 21, 22])
    null = coherence_null(vectors, member, strata, n_draws=20, rng=rng)
    np.testing.assert_allclose(null, np.tile(coherence(vectors, member), (20, 1)))


def test_null_reaches_every_gene_of_a_stratum(rng):
    vectors = np.eye(4)
    vectors[3] = vectors[2]
    null = coherence_null(vectors, members([0, 1], g=4), np.zeros(4, int), n_draws=3000, rng=rng)
    assert null.mean() == pytest.approx(1 / 6, abs=0.02)
