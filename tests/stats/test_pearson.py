"""Residual variance against a dense, obvious computation, scanpy, and its symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sivae._errors import OptionError
from sivae.stats import _entries, pearson_residual_variance, totals, value_variance

STORAGES = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "coo": sparse.coo_matrix}


def counts(seed=0, n_cells=60, n_genes=25, mean=1.0):
    rng = np.random.default_rng(seed)
    rate_cg = rng.gamma(0.5, 2.0, (n_cells, n_genes)) * rng.lognormal(0, 0.4, (n_cells, 1)) * mean
    y_cg = rng.poisson(rate_cg * rng.lognormal(0, 1, n_genes)).astype(np.float32)
    y_cg[:, 3] = 0  # a gene without counts
    y_cg[5] = 0  # a cell without counts
    return y_cg


def slow(y_cg, theta=100.0, clip=None):
    """Equations 3 to 5 of Lause, Berens and Kobak, one entry at a time."""
    y_cg = np.asarray(y_cg, dtype=float)
    clip = np.sqrt(len(y_cg)) if clip is None else clip
    residual_cg = np.zeros_like(y_cg)
    for c in range(y_cg.shape[0]):
        for g in range(y_cg.shape[1]):
            mu = y_cg[:, g].sum() * y_cg[c].sum() / y_cg.sum()
            if mu > 0:
                residual_cg[c, g] = np.clip((y_cg[c, g] - mu) / np.sqrt(mu + mu**2 / theta), -clip, clip)
    return residual_cg.var(axis=0)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("theta", "clip"), [(100.0, None), (1.5, None), (100.0, 0.4)])
def test_equals_the_slow_computation(storage, theta, clip):
    y_cg = counts()
    variance_g = pearson_residual_variance(STORAGES[storage](y_cg), theta=theta, clip=clip)
    np.testing.assert_allclose(variance_g, slow(y_cg, theta, clip), rtol=1e-10, atol=1e-12)
    assert variance_g[3] == 0
    assert variance_g.max() > 0.1


def test_high_counts_and_clipped_zeros():
    y_cg = counts(1, n_cells=20, mean=300.0)  # clip = sqrt(20) is below a zero's largest residual, sqrt(theta) = 10
    np.testing.assert_allclose(pearson_residual_variance(y_cg), slow(y_cg), rtol=1e-9)


def test_equals_scanpy():
    sc = pytest.importorskip("scanpy")
    anndata = pytest.importorskip("anndata")
    y_cg = np.delete(counts(2, n_cells=300), 5, axis=0).astype(np.float64)
    theirs = sc.experimental.pp.highly_variable_genes(
        anndata.AnnData(sparse.csr_matrix(y_cg)), n_top_genes=5, inplace=False
    )
    np.testing.assert_allclose(pearson_residual_variance(y_cg), theirs["residual_variances"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("measure", [pearson_residual_variance, value_variance])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_group_is_as_if_alone(measure, storage):
    y_cg, groups_c = counts(3), np.arange(60) % 3
    variance_bg = measure(STORAGES[storage](y_cg), groups_c=groups_c)
    assert variance_bg.shape == (3, 25)
    for b in range(3):
        np.testing.assert_allclose(variance_bg[b], measure(y_cg[groups_c == b]), rtol=1e-10)
    assert not np.allclose(variance_bg[0], variance_bg[1])


@pytest.mark.parametrize("measure", [pearson_residual_variance, value_variance])
@pytest.mark.parametrize("storage", STORAGES)
def test_blocks_change_nothing(measure, storage, monkeypatch):
    y_cg = STORAGES[storage](counts(4))
    whole_g = measure(y_cg)
    monkeypatch.setattr(_entries, "BLOCK", 70)
    monkeypatch.setattr("sivae.stats._pearson.BLOCK", 70)
    assert len(list(_entries.entries(y_cg))) > 10
    np.testing.assert_allclose(measure(y_cg), whole_g, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), storage=st.sampled_from(sorted(STORAGES)), theta=st.floats(0.5, 500))
def test_permuting_cells_and_genes_permutes_the_result(seed, storage, theta):
    rng = np.random.default_rng(seed)
    y_cg = counts(seed, n_cells=int(rng.integers(5, 40)) + 2, n_genes=int(rng.integers(4, 20)))
    cell, gene = rng.permutation(len(y_cg)), rng.permutation(y_cg.shape[1])
    variance_g = pearson_residual_variance(y_cg, theta=theta)
    permuted_g = pearson_residual_variance(STORAGES[storage](y_cg[cell][:, gene]), theta=theta)
    np.testing.assert_allclose(permuted_g, variance_g[gene], rtol=1e-9, atol=1e-12)


def test_poisson_counts_have_residual_variance_one():
    rng = np.random.default_rng(5)
    y_cg = rng.poisson(rng.lognormal(0, 0.4, (4000, 1)) * rng.uniform(0.5, 3, 80))
    assert np.abs(pearson_residual_variance(y_cg, theta=1e6) - 1).max() < 0.1


def test_duplicates_are_summed_and_stored_zeros_are_not_entries():
    row, column, value = [0, 0, 1, 2, 2], [0, 0, 1, 0, 1], [1.0, 2.0, 4.0, 0.0, 5.0]
    matrix = sparse.csr_matrix((value, column, [0, 2, 3, 5]), shape=(3, 2))
    dense = np.zeros((3, 2))
    np.add.at(dense, (row, column), value)
    assert matrix.nnz == 5
    np.testing.assert_allclose(pearson_residual_variance(matrix), slow(dense), rtol=1e-10)
    assert totals(matrix).seen_g.tolist() == [1, 2]
    assert matrix.nnz == 5  # the caller's matrix is left alone


@pytest.mark.parametrize("storage", STORAGES)
def test_value_variance_equals_numpy(storage):
    x_cg = np.random.default_rng(6).normal(1000.0, 0.01, (50, 8))
    x_cg[x_cg < 999.995] = 0
    x_cg[:, 2] = 0.1  # constant: exactly zero, whatever the rounding
    variance_g = value_variance(STORAGES[storage](x_cg))
    np.testing.assert_allclose(variance_g, x_cg.var(axis=0), rtol=1e-9, atol=1e-20)
    assert variance_g[2] == 0


def test_totals_equal_numpy():
    y_cg, groups_c = counts(7), np.arange(60) % 2
    sums = totals(sparse.csc_matrix(y_cg), groups_c=groups_c)
    np.testing.assert_array_equal(sums.library_c, y_cg.sum(axis=1))
    np.testing.assert_array_equal(sums.sum_bg, [y_cg[groups_c == b].sum(axis=0) for b in (0, 1)])
    np.testing.assert_array_equal(sums.seen_g, (y_cg > 0).sum(axis=0))
    assert sums.whole
    assert sums.finite
    assert sums.smallest == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, (False, True, 0.0)),
        (-2.0, (True, True, -2.0)),
        (np.nan, (False, False, 0.0)),
        (np.inf, (True, False, 0.0)),
    ],
)
def test_totals_tell_the_kind_of_numbers(value, expected):
    y_cg = counts(8)
    y_cg[10, 10] = value
    sums = totals(sparse.csr_matrix(y_cg))
    assert (sums.whole, sums.finite, sums.smallest) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": 0.0}, r"Found theta=0\.0, expected a positive number\. 100"),
        ({"clip": -1.0}, r"Found clip=-1\.0, expected a positive number or None"),
        (
            {"groups_c": np.zeros(3, dtype=int)},
            r"Found groups of shape \(3,\).*60 cells\. Number them with numpy\.unique",
        ),
        ({"groups_c": np.zeros(60)}, r"type float64, expected one whole number from 0"),
        ({"groups_c": np.full(60, -1)}, r"expected one whole number from 0"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        pearson_residual_variance(counts(), **arguments)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_that_are_not_counts_are_refused(value):
    y_cg = counts()
    y_cg[0, 0] = value
    with pytest.raises(
        OptionError, match=r"Found negative, infinite or missing values, expected counts\. Pass raw counts"
    ):
        pearson_residual_variance(y_cg)


def test_a_vector_is_refused():
    with pytest.raises(OptionError, match=r"shape \(5,\), expected \(cells, genes\)"):
        list(_entries.entries(np.zeros(5)))
