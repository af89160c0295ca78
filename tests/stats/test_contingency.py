"""Two groupings of the same cells: counts, strength, and rows that lie in one column alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sivae.stats._contingency import cramers_v, cross_counts, sole_column


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), min_size=1, max_size=60))
def test_counts_are_those_of_pandas(pairs):
    row, column = np.array([r for r, _ in pairs]), np.array([c for _, c in pairs])
    np.testing.assert_array_equal(cross_counts(row, column), pd.crosstab(row, column).to_numpy())


def v_by_hand(counts):
    n, chi2 = counts.sum(), 0.0
    for r in range(len(counts)):
        for c in range(counts.shape[1]):
            expected = counts[r].sum() * counts[:, c].sum() / n
            chi2 += (counts[r, c] - expected) ** 2 / expected
    return np.sqrt(chi2 / n / (min(counts.shape) - 1))


@pytest.mark.parametrize(
    ("counts", "v"),
    [
        (np.diag([10, 20, 30]), 1.0),
        (np.array([[10, 20, 30], [20, 40, 60]]), 0.0),
        (np.array([[12, 3, 4], [5, 9, 1], [2, 2, 8], [7, 7, 7]]), None),
        (np.array([[7, 3]]), 0.0),
        (np.array([[7, 3, 0], [1, 5, 0], [0, 0, 0]]), None),  # neither the empty row nor the empty column counts
    ],
)
def test_strength(counts, v):
    if v is None:
        v = v_by_hand(counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0])
        assert 0.1 < v < 0.9
    assert cramers_v(counts) == pytest.approx(v, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "others", "alone"),
    [
        ([100, 0], [100, 100], True),
        ([95, 5], [100, 100], True),
        ([94, 6], [100, 100], False),
        ([29, 0], [100, 100], False),  # too few cells
        ([30, 0], [100, 100], True),
        ([960, 40], [960, 40], False),  # as everywhere
        ([60, 0], [9000, 1000], False),  # nearly as everywhere: 0.9^60 = 0.002
        ([100, 0], [9000, 1000], True),
        ([1000, 30], [9000, 1000], False),  # 30 elsewhere where 100 are to be expected
        ([1000, 5], [9000, 1000], True),
    ],
)
def test_one_column_alone(row, others, alone):
    counts = np.array([row, others])
    assert sole_column(counts, least=30)[0] == (0 if alone else -1)
    assert sole_column(counts[:, ::-1], least=30)[0] == (1 if alone else -1)


def test_chance_alone_is_not_reported(rng):
    """Twenty independent groupings of 10 groups in 3 batches of unequal size."""
    for _ in range(20):
        group, batch = rng.integers(10, size=600), rng.choice(3, size=600, p=[0.7, 0.2, 0.1])
        assert (sole_column(cross_counts(group, batch), least=20) == -1).all()
