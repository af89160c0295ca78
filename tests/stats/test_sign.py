"""The local false sign rate against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sivae.stats._sign import lfsr

FINITE = st.floats(-1e6, 1e6)


def test_it_is_the_chance_of_the_other_sign(rng):
    mean, sd = np.array([0.0, 0.3, -0.3, 1.0, -2.0]), np.array([1.0, 0.5, 0.5, 2.0, 1.0])
    draws = mean + sd * rng.normal(size=(400_000, 5))
    shares = [
        (np.sign(draws[:, i]) != np.sign(m)).mean() if m else (draws[:, i] < 0).mean() for i, m in enumerate(mean)
    ]
    np.testing.assert_allclose(lfsr(mean, sd**2), shares, atol=0.003)


@given(FINITE, st.floats(1e-6, 1e6))
def test_it_is_the_smaller_of_both_tails(mean, variance):
    below = stats.norm.cdf(0, mean, np.sqrt(variance))
    above = stats.norm.sf(0, mean, np.sqrt(variance))
    found = lfsr(np.array([mean]), np.array([variance]))[0]
    assert found == pytest.approx(min(below, above), rel=1e-9, abs=1e-300)
    assert 0 <= found <= 0.5


def test_five_percent_is_a_ninety_percent_interval_that_leaves_out_zero():
    edge = stats.norm.ppf(0.95)
    np.testing.assert_allclose(lfsr(np.array([edge, -edge]), np.ones(2)), 0.05)


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        (0.0, 0.0, 0.5),
        (0.0, 1.0, 0.5),
        (0.0, np.inf, 0.5),
        (2.0, 0.0, 0.0),
        (-2.0, 0.0, 0.0),
        (2.0, np.inf, 0.5),
        (np.inf, 1.0, 0.0),
        (np.inf, np.inf, np.nan),
        (np.nan, 1.0, np.nan),
        (1.0, np.nan, np.nan),
        (0.0, np.nan, np.nan),
        (1.0, -1.0, np.nan),
        (0.0, -1.0, np.nan),
    ],
)
def test_edges(mean, variance, expected):
    np.testing.assert_array_equal(lfsr(np.array([mean]), np.array([variance])), [expected])


def test_shape_and_precision():
    found = lfsr(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32))
    assert found.shape == (3, 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(lfsr(np.array([30.0]), np.ones(1)), stats.norm.sf(30))  # no cancellation far out
