"""Partial derivatives between nearest neighbors: known gradients, and a slow version."""

import numpy as np
import pytest

from sivae.graph._relevance import nearest_cells, partial_derivatives


def slow_median(e_ng, y_nk, rows, neighbors, axis):
    result = np.zeros((len(rows), e_ng.shape[1]))
    for at, c in enumerate(rows):
        for g in range(e_ng.shape[1]):
            quotients = [
                (e_ng[j, g] - e_ng[c, g]) / (y_nk[j, axis] - y_nk[c, axis])
                for j in neighbors[at]
                if e_ng[j, g] != e_ng[c, g] and y_nk[j, axis] != y_nk[c, axis]
            ]
            if len(quotients) >= 2:
                result[at, g] = np.median(quotients)
    return result


def test_neighbors_are_the_nearest_others(rng):
    y = rng.normal(size=(50, 3))
    rows = np.array([4, 0, 31])
    found = nearest_cells(y, rows, 7)
    for at, c in enumerate(rows):
        order = np.argsort(((y - y[c]) ** 2).sum(axis=1), kind="stable")
        assert found[at].tolist() == [j for j in order if j != c][:7]


def test_a_cell_is_never_its_own_neighbor(rng):
    y = np.zeros((12, 2))
    found = nearest_cells(y, np.arange(12), 4)
    assert found.shape == (12, 4)
    assert not (found == np.arange(12)[:, None]).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_median_equals_the_slow_one(rng, axis):
    e = rng.poisson(1.0, size=(40, 6)).astype(np.float32)  # ties and zeros
    y = np.round(rng.normal(size=(40, 2)), 1)
    rows = np.arange(0, 40, 3)
    neighbors = nearest_cells(y, rows, 5)
    found = partial_derivatives(e, y, rows, neighbors, axis=axis)
    np.testing.assert_allclose(found, slow_median(e, y, rows, neighbors, axis), atol=1e-12)


def test_genes_in_pieces(rng, monkeypatch):
    e, y = rng.normal(size=(30, 9)), rng.normal(size=(30, 2))
    rows = np.arange(30)
    neighbors = nearest_cells(y, rows, 6)
    whole = partial_derivatives(e, y, rows, neighbors, axis=0)
    monkeypatch.setattr("sivae.graph._relevance.ENTRIES", 400)
    np.testing.assert_array_equal(partial_derivatives(e, y, rows, neighbors, axis=0), whole)


def test_least_squares_is_exact_on_a_plane(rng):
    y, slope = rng.normal(size=(60, 3)), rng.normal(size=(3, 5))
    e = y @ slope + 2.0
    rows = np.arange(20)
    neighbors = nearest_cells(y, rows, 8)
    for axis in range(3):
        found = partial_derivatives(e, y, rows, neighbors, axis=axis, estimator="least_squares")
        np.testing.assert_allclose(found, np.tile(slope[axis], (20, 1)), atol=1e-8)


@pytest.mark.parametrize("estimator", ["median", "least_squares"])
def test_slope_of_a_curve(estimator):
    """One axis, e = sin(y): the derivative is cos(y) away from the ends."""
    y = np.linspace(0, 6, 600)[:, None]
    rows = np.arange(20, 580, 7)
    found = partial_derivatives(np.sin(y), y, rows, nearest_cells(y, rows, 10), axis=0, estimator=estimator)
    np.testing.assert_allclose(found[:, 0], np.cos(y[rows, 0]), atol=2e-3)


def test_median_on_a_plane(rng):
    """Two axes: other axes blur the quotients, evenly, so that their median over many neighbors is near."""
    y = rng.uniform(-1, 1, size=(4000, 2))
    slope = np.array([[1.0, 0.0, -0.5], [0.3, 1.0, 0.0]])
    inside = np.flatnonzero((np.abs(y) < 0.8).all(axis=1))[:400]
    neighbors = nearest_cells(y, inside, 60)
    for axis in range(2):
        found = partial_derivatives(y @ slope, y, inside, neighbors, axis=axis)
        np.testing.assert_allclose(np.median(found, axis=0), slope[axis], atol=0.05)


def test_a_constant_gene_has_none(rng):
    y = rng.normal(size=(30, 2))
    rows = np.arange(30)
    for estimator in ("median", "least_squares"):
        found = partial_derivatives(np.ones((30, 2)), y, rows, nearest_cells(y, rows, 5), axis=0, estimator=estimator)
        np.testing.assert_allclose(found, 0.0, atol=1e-12)
