"""False discovery rates against SciPy and the definition."""

import numpy as np
from scipy.stats import false_discovery_control

from sivae.stats._fdr import adjust


def test_equal_to_scipy_and_to_the_definition(rng):
    p = rng.uniform(size=50) ** 3
    q = adjust(p)
    np.testing.assert_allclose(q, false_discovery_control(p))
    order = np.argsort(p)
    expected = np.minimum.accumulate((p[order] * 50 / np.arange(1, 51))[::-1])[::-1]
    np.testing.assert_allclose(q[order], np.minimum(expected, 1))


def test_what_was_not_tested_does_not_count(rng):
    p = rng.uniform(size=20)
    with_gaps = np.concatenate([[np.nan], p, [np.nan, np.nan]])
    q = adjust(with_gaps)
    np.testing.assert_allclose(q[1:21], adjust(p))
    assert np.isnan(q[[0, 21, 22]]).all()
    assert np.isnan(adjust(np.full(3, np.nan))).all()
