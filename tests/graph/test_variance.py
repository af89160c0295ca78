"""Variance explained, against the variances of what is predicted."""

import numpy as np

from sivae.graph._variance import explained


def planted(rng, n=400, g=12, k=3, d=4):
    z = rng.normal(size=(n, k)) @ rng.normal(size=(k, k))
    h = rng.normal(size=(n, d)) + z @ rng.normal(size=(k, d))
    return z, h, rng.normal(size=(g, k)), rng.normal(size=(g, d))


def variance(x):
    return np.var(x, axis=0, ddof=1)


def test_parts_are_the_variances_of_the_predictions(rng):
    z, h, v, w = planted(rng)
    noise = rng.uniform(0.5, 1.0, len(v))
    found = explained(v, w, np.cov(np.hstack([z, h]), rowvar=False), noise)
    np.testing.assert_allclose(found.linear_g, variance(z @ v.T))
    np.testing.assert_allclose(found.linear_g + found.remainder_g, variance(z @ v.T + h @ w.T))
    np.testing.assert_allclose(found.total_g, variance(z @ v.T + h @ w.T) + noise)
    np.testing.assert_allclose(found.axis_gk.sum(axis=1), found.linear_g)


def test_an_axis_alone_takes_off_what_its_prediction_takes_off(rng):
    z, h, v, w = planted(rng)
    found = explained(v, w, np.cov(np.hstack([z, h]), rowvar=False), np.zeros(len(v)))
    for axis in range(3):
        rest = variance(z @ v.T - np.outer(z[:, axis], v[:, axis]))
        np.testing.assert_allclose(found.alone_gk[:, axis], variance(z @ v.T) - rest)


def test_independent_axes_share_nothing(rng):
    v = rng.normal(size=(8, 3))
    found = explained(v, None, np.diag([1.0, 2.0, 3.0]), np.zeros(8))
    np.testing.assert_allclose(found.axis_gk, v**2 * [1.0, 2.0, 3.0])
    np.testing.assert_allclose(found.alone_gk, found.axis_gk)
    assert not found.remainder_g.any()


def test_nothing_but_the_axes_depends_on_how_they_are_turned(rng):
    z, h, v, w = planted(rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    before = explained(v, w, np.cov(np.hstack([z, h]), rowvar=False), np.ones(len(v)))
    after = explained(v @ turn, w, np.cov(np.hstack([z @ turn, h]), rowvar=False), np.ones(len(v)))
    for name in ("linear_g", "remainder_g", "total_g"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name))
