"""Neighbors against sorting the whole matrix, scikit-learn, and what permuting genes must do."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from sivae.graph import _neighbors
from sivae.graph._neighbors import connectivity_matrix, distance_matrix, nearest, smallest


def by_sorting(points, n, order, inner, signed):
    rank = np.argsort(order)
    index, distance = [], []
    for g in range(len(points)):
        if inner:
            product = points @ points[g]
            d = 1 - (product if signed else np.abs(product))
        else:
            d = np.sqrt(((points - points[g]) ** 2).sum(axis=1))
        d[g] = np.inf
        best = np.lexsort((rank, np.round(d, 10)))[:n]
        index.append(best)
        distance.append(d[best])
    return np.array(index), np.array(distance)


def points_with_ties(rng, g=60, m=3):
    points = rng.normal(size=(g, m)) * 0.5
    points[10:20] = 0.0
    points[20:24] = points[3]
    points[24] = -points[3]
    return points / np.linalg.norm(points, axis=1).max()


KINDS = [(True, False), (True, True), (False, False)]


@pytest.mark.parametrize("inner, signed", KINDS)
def test_equal_to_sorting_with_ties_by_name(rng, monkeypatch, inner, signed):
    monkeypatch.setattr(_neighbors, "BLOCK_VALUES", 7 * 60)
    points, order = points_with_ties(rng), rng.permutation(60)
    index, distance = nearest(points, 6, order_g=order, inner=inner, signed=signed)
    expected, values = by_sorting(points, 6, order, inner, signed)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, np.maximum(values, 0), atol=1e-10)
    assert not (index == np.arange(60)[:, None]).any()
    assert (np.diff(distance, axis=1) >= -1e-12).all()  # the nearest first (E-14)


def test_equal_to_scikit_learn(rng):
    points = rng.normal(size=(80, 4))
    index, distance = nearest(points, 5, order_g=np.arange(80), inner=False)
    values, others = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(points).kneighbors(points)
    np.testing.assert_array_equal(index, others[:, 1:])
    np.testing.assert_allclose(distance, values[:, 1:], atol=1e-6)


@pytest.mark.parametrize("inner, signed", KINDS)
def test_permuting_genes_permutes_the_result(rng, inner, signed):
    points, order = points_with_ties(rng), rng.permutation(60)
    index, distance = nearest(points, 8, order_g=order, inner=inner, signed=signed)
    moved = rng.permutation(60)
    place = np.argsort(moved)
    again = nearest(points[moved], 8, order_g=place[order], inner=inner, signed=signed)
    np.testing.assert_array_equal(moved[again[0]], index[moved])
    np.testing.assert_array_equal(again[1], distance[moved])


def test_equal_vectors_are_at_zero(rng):
    points = rng.normal(size=(5, 3)) / 7
    points[3] = points[1] = points[1] / np.linalg.norm(points[1])
    for inner in (True, False):
        index, distance = nearest(points, 1, order_g=np.arange(5), inner=inner)
        assert index[1, 0] == 3 and index[3, 0] == 1
        assert distance[1, 0] == distance[3, 0] == 0.0


def test_opposite_vectors_are_near_unless_the_sign_counts():
    points = np.array([[1.0, 0], [-1.0, 0], [0.6, 0.8]])
    assert nearest(points, 1, order_g=np.arange(3))[0][0, 0] == 1
    assert nearest(points, 1, order_g=np.arange(3), signed=True)[0][0, 0] == 2


def test_the_smallest_among_ties_come_first():
    values = np.array([[2.0, 1, 1, 1, 3], [5, 4, 3, 2, 1]])
    np.testing.assert_array_equal(smallest(values, 2), [[1, 2], [3, 4]])


@pytest.mark.parametrize("inner", [True, False])
def test_matrices_of_the_graph(rng, inner):
    points = points_with_ties(rng)
    index, distance = nearest(points, 5, order_g=np.arange(60), inner=inner)
    matrix = distance_matrix(index, distance)
    assert matrix.has_canonical_format and (np.diff(matrix.indptr) == 5).all()
    np.testing.assert_allclose(matrix.toarray()[np.arange(60)[:, None], index], distance)
    weight = connectivity_matrix(index, distance, inner=inner)
    dense = weight.toarray()
    assert (dense == dense.T).all() and 0 <= dense.min() and dense.max() <= 1
    assert (weight.data > 0).all() and (dense.diagonal() == 0).all()
    tied = np.zeros((60, 60), bool)
    tied[np.arange(60)[:, None], index] = True
    assert not dense[~(tied | tied.T)].any()
    if inner:
        best = index[:, 0]
        np.testing.assert_allclose(dense[np.arange(60), best], np.abs((points * points[best]).sum(axis=1)), atol=1e-11)


def test_euclidean_weights_follow_their_formula():
    index = np.array([[1, 2], [0, 2], [1, 0]])
    distance = np.array([[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]])
    weight = connectivity_matrix(index, distance, inner=False).toarray()
    assert weight[0, 1] == pytest.approx(np.exp(-1 / (3 * 2)))
    assert weight[1, 2] == pytest.approx(np.exp(-4 / (2 * 3)))
