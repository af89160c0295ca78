"""Loadings as arrays, against NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from sivae.graph._loadings import directions, ends, interval, least_squares, slopes_along, used_axes

NAMES = np.array(["d", "c", "b", "a", "e"])


def test_ends_are_sorted_from_outside_inward_and_ties_by_name():
    found = ends(np.array([0.5, -1.0, 0.5, 2.0, 0.0]), NAMES, 2)
    assert {end: NAMES[at].tolist() for end, at in found.items()} == {"high": ["a", "b"], "low": ["c"]}
    whole = ends(np.array([0.5, -1.0, 0.5, 2.0, 0.0]), NAMES, None)
    assert {end: NAMES[at].tolist() for end, at in whole.items()} == {
        "high": ["a", "b", "d"],
        "low": ["c"],
        "none": ["e"],
    }


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_interval_is_that_of_the_normal(level):
    low, high = interval(np.array([0.3]), np.array([0.2]), level)
    np.testing.assert_allclose([low[0], high[0]], stats.norm.interval(level, 0.3, 0.2))


def test_an_axis_is_used_where_genes_load_and_cells_vary():
    v = np.array([[1.0, 0.0, 1.0], [0.5, 0.0, 0.2]])
    assert used_axes(v, np.diag([1.0, 1.0, 1e-4])).tolist() == [True, False, False]


def test_directions_are_principal_components_times_loadings(rng):
    z, v = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4)) + 3.0, rng.normal(size=(30, 4))
    found, share = directions(z, v, 3)
    pca = PCA(3).fit(z)
    expected = v @ (pca.components_.T * np.sqrt(pca.explained_variance_))
    expected *= np.where((expected**3).sum(axis=0) < 0, -1.0, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(share, pca.explained_variance_ratio_)


def test_directions_do_not_depend_on_the_axes(rng):
    z, v = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(30, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(directions(z @ turn, v @ turn, 4)[0], directions(z, v, 4)[0], atol=1e-10)


def test_cells_in_one_place_have_no_direction():
    found, share = directions(np.ones((5, 2)), np.ones((3, 2)), 2)
    assert not found.any() and not share.any()


def test_least_squares_is_the_regression_of_the_reconstruction(rng):
    z, v, w = rng.normal(size=(200, 3)), rng.normal(size=(20, 3)), rng.normal(size=(20, 5))
    h = z @ rng.normal(size=(3, 5)) + rng.normal(size=(200, 5))
    columns = np.column_stack([np.ones(200), z])
    expected = np.linalg.lstsq(columns, z @ v.T + h @ w.T, rcond=None)[0][1:].T
    np.testing.assert_allclose(least_squares(v, w, np.cov(np.hstack([z, h]), rowvar=False)), expected)


def test_slopes_along_a_line_and_a_parabola():
    at = np.linspace(-1.0, 2.0, 31)
    mean, sd = slopes_along(np.column_stack([3 * at + 1, at**2]), at)
    np.testing.assert_allclose(mean, [3.0, 1.0])  # the parabola's slope is 2 at, whose mean is 1
    np.testing.assert_allclose(sd, [0.0, 2 * np.sqrt(3.0**2 / 12)], rtol=0.02, atol=1e-12)
