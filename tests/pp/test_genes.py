"""Choice of genes: against scanpy, symmetries, storages, batches, errors."""

import logging

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sivae import pp
from sivae._errors import OptionError, SetupError
from sivae.datasets import planted

COLUMNS = ["highly_variable", "highly_variable_rank", "highly_variable_nbatches", "residual_variance"]


def cells(seed=0, n_batches=2, **arguments):
    arguments = {"n_cells": 300, "n_genes": 80, "n_factors": 2, "genes_per_factor": 10} | arguments
    batch_effect = 0.5 if n_batches > 1 else 0.0
    return planted(**arguments, n_batches=n_batches, batch_effect=batch_effect, seed=seed)


def chosen(adata, key="highly_variable"):
    return set(adata.var_names[adata.var[key]])


@pytest.mark.parametrize("n_batches", [1, 2, 3])
def test_equals_scanpy(n_batches):
    sc = pytest.importorskip("scanpy")
    adata = cells(1, n_batches)  # batches of equal size: scanpy keeps the first batch's clip for all
    adata.X = adata.X.astype(np.float64)
    key = "batch" if n_batches > 1 else None
    theirs = sc.experimental.pp.highly_variable_genes(adata, n_top_genes=25, batch_key=key, inplace=False)
    pp.select_genes(adata, 25, batch_key=key, min_cells=0)
    assert chosen(adata) == set(adata.var_names[theirs["highly_variable"]])
    np.testing.assert_array_equal(adata.var["highly_variable_rank"], theirs["highly_variable_rank"])
    np.testing.assert_allclose(adata.var["residual_variance"], theirs["residual_variances"], rtol=1e-9)
    assert ("highly_variable_nbatches" in adata.var) == (n_batches > 1)
    if n_batches > 1:
        np.testing.assert_array_equal(adata.var["highly_variable_nbatches"], theirs["highly_variable_nbatches"])


def test_batches_are_ranked_apart():
    adata = cells(2, 2)
    adata.X = adata.X.toarray()
    first = (adata.obs["batch"] == "batch_1").to_numpy()
    rate_c = adata.obs["size_factor"] * np.where(first, 20, 1)  # differs between batches and in nothing else
    adata.X[:, 79] = np.random.default_rng(2).poisson(rate_c)
    pp.select_genes(adata, 10)
    assert "gene_80" in chosen(adata)
    pp.select_genes(adata, 10, batch_key="batch")
    assert "gene_80" not in chosen(adata)


def test_finds_the_planted_genes():
    adata = cells(3, 1, n_cells=1500, dispersion=0.0, signed=True)
    pp.select_genes(adata, 20)
    assert (adata.var.loc[adata.var["highly_variable"], "module"] != "none").mean() >= 0.8


@pytest.mark.parametrize("storage", [sparse.csc_matrix, sparse.csr_array, sparse.csc_array, np.asarray])
def test_storage_changes_nothing(storage):
    adata = cells(4)
    other = adata.copy()
    other.X = storage(adata.X.toarray())
    for data in (adata, other):
        pp.select_genes(data, 25, batch_key="batch")
    assert adata.var[COLUMNS[:3]].equals(other.var[COLUMNS[:3]])
    np.testing.assert_allclose(adata.var["residual_variance"], other.var["residual_variance"], rtol=1e-10)


@pytest.mark.parametrize("storage", [sparse.csc_matrix, sparse.csr_matrix, np.asarray])
def test_reads_a_backed_file(tmp_path, storage):
    adata = cells(5)
    adata.X = storage(adata.X.toarray())
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for data in (adata, backed):
        pp.select_genes(data, 25, batch_key="batch")
    assert adata.var[COLUMNS].equals(backed.var[COLUMNS])
    backed.file.close()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), counts=st.booleans(), n_batches=st.sampled_from([1, 2]))
def test_permuting_cells_and_genes_permutes_the_choice(seed, counts, n_batches):
    adata = cells(seed, n_batches, n_cells=60, n_genes=30, genes_per_factor=5, counts=counts)
    rng = np.random.default_rng(seed)
    permuted = adata[rng.permutation(60), rng.permutation(30)].copy()
    key = "batch" if n_batches > 1 else None
    for data in (adata, permuted):
        pp.select_genes(data, 11, batch_key=key, min_cells=3)
    columns = [name for name in COLUMNS[:3] if name in adata.var]
    assert adata.var[columns].equals(permuted.var.loc[adata.var_names, columns])
    back = permuted.var.loc[adata.var_names, "residual_variance"]
    np.testing.assert_allclose(adata.var["residual_variance"], back, rtol=1e-9)


def test_ties_go_by_name():
    rng = np.random.default_rng(6)
    column_c, other_c = rng.poisson(2.0, 100), rng.poisson(2.0, 100)
    adata = ad.AnnData(np.column_stack([column_c] * 5 + [other_c] * 5).astype(np.float32))
    adata.var_names = ["e", "b", "d", "a", "c", "z", "y", "x", "w", "v"]
    pp.select_genes(adata, 10)
    for names in (["a", "b", "c", "d", "e"], ["v", "w", "x", "y", "z"]):
        rank = adata.var.loc[names, "highly_variable_rank"].to_numpy()
        assert (np.diff(rank) == 1).all()


def test_order_is_batches_then_median_rank():
    rng = np.random.default_rng(7)
    x_cg = rng.normal(size=(200, 4)) * [4.0, 2.0, 3.0, 1.0]
    batch = np.repeat(["one", "two"], 100)
    x_cg[batch == "two"] *= [0.1, 1.0, 1.0, 1.0]  # the first gene varies in batch one alone
    adata = ad.AnnData(x_cg, obs={"batch": batch})
    pp.select_genes(adata, 2, batch_key="batch")
    assert chosen(adata) == {"0", "2"}
    assert adata.var["highly_variable_nbatches"].tolist() == [1, 1, 2, 0]
    np.testing.assert_array_equal(adata.var["highly_variable_rank"], [0.0, 1.0, 0.5, np.nan])


def test_rare_genes_are_never_chosen():
    adata = cells(8, 1)
    adata.X = adata.X.toarray()
    adata.X[:, 0] = 0
    adata.X[:9, 0] = 50  # far the most variable, in nine cells
    pp.select_genes(adata, 5, min_cells=9)
    assert adata.var["highly_variable_rank"].iloc[0] == 0
    pp.select_genes(adata, 80, min_cells=10)
    assert not adata.var["highly_variable"].iloc[0]
    assert adata.var["residual_variance"].iloc[0] == adata.var["residual_variance"].max()


def test_a_batch_of_one_cell_chooses_nothing():
    adata = cells(9, 1)
    adata.obs["batch"] = ["alone", *["rest"] * 299]
    pp.select_genes(adata, 5, batch_key="batch")
    assert adata.var["highly_variable_nbatches"].max() == 1
    rest = adata[1:].copy()
    pp.select_genes(rest, 5)
    assert chosen(adata) == chosen(rest)


def test_other_data_are_ranked_by_variance():  # E-12: the tail was ignored
    adata = cells(10, 1, counts=False)
    adata.X *= np.linspace(1, 2, 80, dtype=np.float32)
    pp.select_genes(adata, 12)
    assert chosen(adata) == set(adata.var_names[np.argsort(-adata.X.var(axis=0))[:12]])
    np.testing.assert_allclose(adata.var["residual_variance"], adata.X.astype(np.float64).var(axis=0))


def test_layer_key_and_values_left_alone(caplog):
    adata = cells(11, 1)
    adata.layers["counts"], adata.X = adata.X.copy(), np.log1p(adata.X)
    before = adata.copy()
    with caplog.at_level(logging.INFO, logger="sivae"):
        pp.select_genes(adata, 500, layer="counts", key_added="modelled")
    assert "analytic Pearson residuals of layers['counts']" in caplog.text
    assert "fewer than the 500 asked for qualify" in caplog.text
    assert list(adata.var.columns) == ["module", "hub", "modelled", "modelled_rank", "residual_variance"]
    assert (adata.X != before.X).nnz == 0
    assert (adata.layers["counts"] != before.layers["counts"]).nnz == 0
    del adata.var["modelled"]
    before.X = before.layers["counts"]
    pp.select_genes(before, 500)
    np.testing.assert_array_equal(adata.var["modelled_rank"], before.var["highly_variable_rank"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_genes": 0}, OptionError, r"n_genes is 0; expected at least 1"),
        ({"min_cells": -1}, OptionError, r"min_cells is -1; expected at least 0"),
        ({"layer": "raw"}, SetupError, r"Found no layer 'raw', expected one of: none are there\. Name one"),
        (
            {"batch_key": "lane"},
            SetupError,
            r"no column 'lane' in obs, expected one of: group, batch, size_factor\. Name",
        ),
        ({"min_cells": 301}, SetupError, r"at least 301 of 300 cells, expected some\. Lower min_cells"),
    ],
)
def test_what_cannot_work_is_refused(arguments, error, message):
    adata = cells()
    with pytest.raises(error, match=message):
        pp.select_genes(adata, **arguments)
    assert list(adata.var.columns) == ["module", "hub"]


def test_cells_without_a_batch_are_refused():
    adata = cells()
    adata.obs.loc[adata.obs_names[:7], "batch"] = np.nan
    with pytest.raises(SetupError, match=r"Found 7 cells without a value in obs\['batch'\].*drop these cells"):
        pp.select_genes(adata, batch_key="batch")


def test_no_matrix_is_refused():
    with pytest.raises(SetupError, match=r"Found no X.*Give the name of a layer"):
        pp.select_genes(ad.AnnData(shape=(3, 2)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"Found NaN or infinite values in X, expected numbers\. Drop the cells or genes"),
        (np.inf, r"Found NaN or infinite values in X"),
        (
            -3.0,
            r"Found negative whole numbers in X \(smallest: -3\), expected counts.*Name the layer that holds",
        ),
    ],
)
def test_wrong_values_are_refused(value, message):
    adata = cells()
    adata.X = adata.X.toarray()
    adata.X[4, 4] = value
    with pytest.raises(SetupError, match=message):
        pp.select_genes(adata)
