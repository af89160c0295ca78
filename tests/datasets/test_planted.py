"""Planted data are as stated."""

import numpy as np
import pytest
from scipy import sparse

from sivae._errors import OptionError
from sivae.datasets import planted


def with_factors(x_cg, adata):
    """Correlation of every gene with every factor, (genes, factors)."""
    z_ck = adata.obsm["planted_z"]
    return np.corrcoef(np.column_stack([x_cg, z_ck]), rowvar=False)[: adata.n_vars, adata.n_vars :]


def log_counts(adata, size_c):
    """log1p of counts at the average size."""
    size_c = np.asarray(size_c).ravel()
    return np.log1p(adata.X.toarray() * (size_c.mean() / size_c)[:, None])


@pytest.fixture(scope="module")
def large():
    return {signed: planted(10_000, 150, n_factors=3, genes_per_factor=30, signed=signed) for signed in (False, True)}


def test_normal_genes_correlate_with_factors_by_their_loadings():
    adata = planted(20_000, 100, n_factors=4, genes_per_factor=15, counts=False)
    np.testing.assert_allclose(with_factors(adata.X, adata), adata.varm["planted_v"], atol=0.04)
    np.testing.assert_allclose(adata.X.var(axis=0), 1, atol=0.06)


def test_factors_are_independent_of_variance_one():
    z_ck = planted(20_000, 10, n_factors=5, genes_per_factor=2).obsm["planted_z"]
    np.testing.assert_allclose(np.cov(z_ck, rowvar=False), np.eye(5), atol=0.04)
    np.testing.assert_allclose(z_ck.mean(axis=0), 0, atol=0.03)


def test_groups_are_the_signs_of_the_first_factors():
    adata = planted(4000, 50, genes_per_factor=5)
    assert adata.obs["group"].nunique() == 8
    for k in range(3):
        plus_c = adata.obs["group"].str[k] == "+"
        assert adata.obsm["planted_z"][plus_c, k].mean() == pytest.approx(0.917, abs=0.05)
        assert adata.obsm["planted_z"][plus_c, k].std() == pytest.approx(0.4, abs=0.03)
        assert adata.obsm["planted_z"][~plus_c, k].mean() == pytest.approx(-0.917, abs=0.05)


@pytest.mark.parametrize("signed", [False, True])
def test_counts_follow_their_factor_alone(large, signed):
    adata = large[signed]
    v_gk = adata.varm["planted_v"]
    null_g = (adata.var["module"] == "none").to_numpy()
    r_gk = with_factors(log_counts(adata, adata.obs["size_factor"]), adata)
    assert np.abs(r_gk[v_gk == 0]).max() < 0.05
    assert (np.sign(r_gk[v_gk != 0]) == np.sign(v_gk[v_gk != 0])).all()
    assert np.abs(r_gk[v_gk != 0]).mean() > 0.25
    assert null_g.sum() == 60


def test_signed_modules_leave_null_genes_null_after_division_by_the_total(large):
    worst = {}
    for signed, adata in large.items():
        null_g = (adata.var["module"] == "none").to_numpy()
        worst[signed] = np.abs(with_factors(log_counts(adata, adata.X.sum(axis=1)), adata)[null_g]).max()
    assert worst[False] > 0.1
    assert worst[True] < 0.05


def test_counts_have_the_stated_mean_and_variance():
    adata = planted(20_000, 12, n_factors=1, genes_per_factor=1, dispersion=0.5)
    rate_c = adata.obs["size_factor"].to_numpy()
    y_cg = adata.X.toarray()[:, 1:]  # null genes: mean = depth x abundance
    abundance_g = y_cg.sum(axis=0) / rate_c.sum()
    mean_cg = rate_c[:, None] * abundance_g
    np.testing.assert_allclose(((y_cg - mean_cg) ** 2).mean(0) / (mean_cg + 0.5 * mean_cg**2).mean(0), 1, atol=0.12)
    poisson = planted(20_000, 12, n_factors=1, genes_per_factor=1, dispersion=0.0)
    y_cg, rate_c = poisson.X.toarray()[:, 1:], poisson.obs["size_factor"].to_numpy()
    mean_cg = rate_c[:, None] * (y_cg.sum(axis=0) / rate_c.sum())
    np.testing.assert_allclose(((y_cg - mean_cg) ** 2).mean(0) / mean_cg.mean(0), 1, atol=0.12)


def test_form():
    adata = planted(200, 100, n_factors=4, genes_per_factor=20)
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert (adata.X.data == np.rint(adata.X.data)).all()
    assert adata.X.data.min() >= 1
    assert 0.25 < adata.X.nnz / np.prod(adata.shape) < 0.65
    assert adata.var["module"].value_counts().to_dict() == {"none": 20} | {f"module_{k}": 20 for k in (1, 2, 3, 4)}
    assert "batch" not in adata.obs
    assert "planted_batch" not in adata.varm
    assert "size_factor" not in planted(20, 10, n_factors=1, genes_per_factor=2, counts=False).obs


@pytest.mark.parametrize("signed", [False, True])
def test_hubs_are_the_largest_loadings_of_their_module(signed):
    adata = planted(20, 100, n_factors=4, genes_per_factor=20, signed=signed)
    for k in range(4):
        member_g = (adata.var["module"] == f"module_{k + 1}").to_numpy()
        size_g = np.abs(adata.varm["planted_v"][:, k])
        assert ((size_g > 0) == member_g).all()
        hub_g = adata.var["hub"].to_numpy() & member_g
        assert hub_g.sum() == 2
        assert size_g[hub_g].min() > size_g[member_g & ~hub_g].max()
    assert not adata.var.loc[adata.var["module"] == "none", "hub"].any()
    assert (adata.varm["planted_v"].min() < 0) == signed


def test_batches():
    adata = planted(6000, 60, n_factors=1, genes_per_factor=5, counts=False, n_batches=3, batch_effect=0.7)
    assert adata.obs["batch"].value_counts().tolist() == [2000] * 3
    one = [adata.X[(adata.obs["batch"] == f"batch_{b}").to_numpy()].mean(axis=0) for b in (1, 2, 3)]
    np.testing.assert_allclose(np.transpose(one), adata.varm["planted_batch"], atol=0.12)
    assert adata.varm["planted_batch"].std() == pytest.approx(0.7, abs=0.1)
    code_c = adata.obs["batch"].cat.codes
    assert abs(np.corrcoef(code_c, adata.obsm["planted_z"][:, 0])[0, 1]) < 0.05
    assert adata.obs["batch"][:200].nunique() == 3
    none = planted(100, 60, n_factors=1, genes_per_factor=5, n_batches=2)
    assert not none.varm["planted_batch"].any()


@pytest.mark.parametrize(("n_genes", "size"), [(500, 40), (3000, 40), (50, 4), (5, 1)])
def test_modules_leave_room_for_null_genes(n_genes, size):
    modules = planted(10, n_genes).var["module"]
    assert modules.value_counts()[[f"module_{k}" for k in range(1, 6)]].tolist() == [size] * 5


def test_seed_and_blocks(monkeypatch):
    arguments = {"n_cells": 300, "n_genes": 30, "n_factors": 2, "genes_per_factor": 5}
    adata, same, other = (planted(**arguments, seed=seed) for seed in (3, 3, 4))
    assert (adata.X != same.X).nnz == 0
    assert (adata.X != other.X).nnz > 100
    monkeypatch.setattr("sivae.datasets._planted.BLOCK", 30 * 77)
    blocks = planted(**arguments, dispersion=0.0)
    monkeypatch.undo()
    assert blocks.shape == (300, 30)
    assert (blocks.X != planted(**arguments, dispersion=0.0).X).nnz == 0  # Poisson draws come in the order of the cells


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_cells": 0}, r"Found n_cells=0,.*expected at least 1 of each\. Raise"),
        (
            {"n_genes": 100, "genes_per_factor": 40},
            r"Found 5 factors of 40 genes, expected at most n_genes=100.*Raise n_genes to 200 or more",
        ),
        ({"dispersion": -1.0}, r"dispersion=-1\.0, expected at least one batch and no negative"),
        ({"n_batches": 0}, r"Found n_batches=0"),
        ({"batch_effect": 0.5}, r"Found batch_effect=0\.5 with one batch, expected two or more\. Set n_batches=2"),
    ],
)
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        planted(**arguments)
