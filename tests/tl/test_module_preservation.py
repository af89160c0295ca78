"""Preservation of modules between two annotated data sets."""

import numpy as np
import pandas as pd
import pytest
from gene_spaces import planted_space
from scipy.stats import kstest

from sivae import tl
from sivae._errors import GeneMismatchError, OptionError, SetupError


def two(seed=0, **sizes):
    """The same modules and names, two samples of cells; axes of the second turned."""
    first, second = planted_space(seed=seed, **sizes), planted_space(seed=seed, **sizes)
    rng = np.random.default_rng(seed + 100)
    k = first.varm["X_sivae"].shape[1]
    turn = np.linalg.qr(rng.normal(size=(k, k)))[0]
    noise = 0.04 * rng.normal(size=second.varm["X_sivae"].shape)
    second.varm["X_sivae"] = (second.varm["X_sivae"] + noise) @ turn
    label = np.where(first.var["truth"] >= 0, "module" + (first.var["truth"] + 1).astype(str), "unassigned")
    first.var["sivae_module"] = pd.Categorical(label)
    return first, second


def test_modules_that_are_kept_whatever_the_axes():
    first, second = two()
    table = tl.module_preservation(first, second, n_permutations=199)
    assert list(table["module"]) == ["module1", "module2", "module3", "module4"]
    assert (table["n_genes"] == 20).all() and (table["n_found"] == 20).all()
    assert (table["p"] == 1 / 200).all() and (table["density_p"] == 1 / 200).all() and (table["z"] > 5).all()
    assert (table["q"] == 1 / 200).all()


def test_a_module_that_is_lost():
    first, second = two()
    lost = np.flatnonzero(first.var["truth"] == 2)
    rng = np.random.default_rng(5)
    second.varm["X_sivae"][lost] = 0.5 * rng.normal(size=(20, 4))
    table = tl.module_preservation(first, second, n_permutations=199).set_index("module")
    assert table.loc["module3", "density_p"] > 0.05
    assert (table.drop("module3")["density_p"] <= 0.01).all()


def test_genes_are_matched_by_name():
    first, second = two()
    rng = np.random.default_rng(2)
    expected = tl.module_preservation(first, second, n_permutations=50)
    mixed = second[:, rng.permutation(120)].copy()
    pd.testing.assert_frame_equal(tl.module_preservation(first, mixed, n_permutations=50), expected)
    mixed = first[:, rng.permutation(120)].copy()
    pd.testing.assert_frame_equal(tl.module_preservation(mixed, second, n_permutations=50), expected)


def test_genes_that_the_other_lacks():
    first, second = two()
    keep = (first.var["truth"] != 3) | (np.arange(120) % 20 < 2)
    table = tl.module_preservation(first, second[:, keep.to_numpy()].copy(), n_permutations=50)
    assert list(table["n_found"]) == [20, 20, 20, 2]
    assert table.loc[3, ["density", "z", "p", "q"]].isna().all()


@pytest.mark.parametrize("background", ["assigned", "all"])
def test_pvalues_are_uniform_when_gene_labels_are_permuted(background):
    rng, p = np.random.default_rng(0), []
    for seed in range(40):
        first, second = two(seed, n_modules=3, size=8, n_null=10, n_cells=100, n_neighbors=5)
        second.var_names = rng.permutation(second.var_names)
        table = tl.module_preservation(first, second, background=background, n_permutations=99, seed=seed)
        p += list(table["p"] - rng.uniform(size=3) / 100)
    assert kstest(p, "uniform").pvalue > 0.01


def test_the_background_of_all_genes_is_easier():
    first, second = two()
    rng = np.random.default_rng(1)
    own = np.flatnonzero(first.var["truth"] >= 0)
    second.varm["X_sivae"][own] = np.abs(second.varm["X_sivae"][own])[rng.permutation(len(own))] + 0.2
    assigned = tl.module_preservation(first, second, n_permutations=199)
    every = tl.module_preservation(first, second, background="all", n_permutations=199)
    assert every["density_z"].min() > assigned["density_z"].max()


def test_what_cannot_work():
    first, second = two()
    with pytest.raises(OptionError, match="background='some'"):
        tl.module_preservation(first, second, background="some")
    other = second.copy()
    other.var_names = [f"ENSG{i}" for i in range(120)]
    with pytest.raises(GeneMismatchError, match="No gene of a module is in the other data set"):
        tl.module_preservation(first, other)
    first.var["sivae_module"] = np.where(first.var["truth"] == 0, "module1", "unassigned")
    with pytest.raises(GeneMismatchError, match='background="all"'):
        tl.module_preservation(first, second)
    assert len(tl.module_preservation(first, second, background="all", n_permutations=9)) == 1
    del first.var["sivae_module"]
    with pytest.raises(SetupError, match="Call sivae.tl.modules"):
        tl.module_preservation(first, second)
