"""A sample of cells by their names."""

import numpy as np
import pytest

from sivae._errors import OptionError, SetupError
from sivae.datasets import planted
from sivae.tl._sample import sample_cells


def test_sample_follows_names(rng):
    adata = planted(60, 10, n_factors=1)
    rows = sample_cells(adata, 20, groupby=None, seed=1)
    assert (np.diff(rows) > 0).all()
    order = rng.permutation(60)
    moved = adata[order].copy()
    assert set(moved.obs_names[sample_cells(moved, 20, groupby=None, seed=1)]) == set(adata.obs_names[rows])
    assert set(sample_cells(adata, 20, groupby=None, seed=2)) != set(rows)
    for all_of_them in (None, 60, 100):
        np.testing.assert_array_equal(sample_cells(adata, all_of_them, groupby=None, seed=1), np.arange(60))


def test_groups_have_their_share():
    adata = planted(100, 10, n_factors=1)
    adata.obs["kind"] = ["rare"] * 10 + ["half"] * 50 + ["rest"] * 40
    rows = sample_cells(adata, 20, groupby="kind", seed=0)
    assert adata.obs["kind"].iloc[rows].value_counts().to_dict() == {"half": 10, "rest": 8, "rare": 2}


def test_sample_refuses():
    adata = planted(20, 5, n_factors=1)
    with pytest.raises(OptionError, match="n_cells is 0; expected at least 1"):
        sample_cells(adata, 0, groupby=None, seed=0)
    with pytest.raises(SetupError, match="obs has no column 'kind', expected one of: group, size_factor"):
        sample_cells(adata, 5, groupby="kind", seed=0)
