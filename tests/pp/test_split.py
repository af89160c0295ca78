"""Cells to hold out: shares of labels, sizes, disjoint folds, names alone."""

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sivae._errors import OptionError, SetupError
from sivae.pp import k_folds, split_cells


def cells(sizes, *, order=None):
    labels = np.repeat([f"kind{i}" for i in range(len(sizes))], sizes)
    obs = pd.DataFrame({"kind": labels}, index=[f"c{i}" for i in range(len(labels))])
    adata = anndata.AnnData(np.zeros((len(labels), 1), np.float32), obs=obs)
    return adata if order is None else adata[order].copy()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), fraction=st.floats(0.05, 0.95))
def test_labels_keep_their_shares(sizes, fraction):
    adata = cells(sizes)
    held = split_cells(adata, fraction, label_key="kind")
    assert len(held) == len(set(held)) == max(1, round(fraction * adata.n_obs))
    seen = adata.obs.loc[held, "kind"].value_counts()
    for number, size in enumerate(sizes):
        assert abs(seen.get(f"kind{number}", 0) - size * len(held) / adata.n_obs) <= 1.0


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), k=st.integers(2, 6))
def test_folds_are_a_partition_with_equal_shares(sizes, k):
    adata = cells([size + k for size in sizes])
    folds = k_folds(adata, k, label_key="kind")
    assert sorted(name for fold in folds for name in fold) == sorted(adata.obs_names)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    for number in range(len(sizes)):
        counts = [int((adata.obs.loc[fold, "kind"] == f"kind{number}").sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1


def test_seeds_and_names_decide_and_not_the_order():
    # E-34.
    adata = cells([20, 30])
    other = cells([20, 30], order=np.random.default_rng(0).permutation(50))
    assert split_cells(adata, 0.3, label_key="kind") == split_cells(other, 0.3, label_key="kind")
    assert k_folds(adata, 3) == k_folds(other, 3)
    assert split_cells(adata, 0.3) != split_cells(adata, 0.3, seed=1)


def test_cells_without_a_label_are_dealt_as_well():
    adata = cells([20, 30])
    adata.obs.loc[adata.obs_names[:10], "kind"] = None
    assert sum(map(len, k_folds(adata, 4, label_key="kind"))) == 50


@pytest.mark.parametrize("fraction", [0, 1, "half", True])
def test_wrong_fractions_are_named(fraction):
    with pytest.raises(OptionError, match="fraction is"):
        split_cells(cells([20]), fraction)


@pytest.mark.parametrize("k", [1, 21, 2.5])
def test_wrong_numbers_of_folds_are_named(k):
    with pytest.raises(OptionError, match="k is"):
        k_folds(cells([20]), k)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(SetupError, match="'sort'.*kind"):
        split_cells(cells([20]), label_key="sort")
