"""Planted individuals: connectivity goes with severity where planted, and nothing else does."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy import stats

from sivae import datasets
from sivae._errors import OptionError
from sivae.datasets import _cohort
from sivae.datasets._cohort import planted_cohort


def logs(adata) -> np.ndarray:
    """log1p of counts per 1,500."""
    depth_c = np.asarray(adata.X.sum(axis=1)).ravel()
    return np.log1p(1500 * adata.X.toarray() / depth_c[:, None])


def by_person(values_c, adata):
    return adata.obs.assign(value=values_c).groupby("donor", observed=True)["value"]


def test_same_seed_same_data():
    first, again, other = (planted_cohort(4, 50, seed=seed) for seed in (3, 3, 4))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert first.uns["planted_edges"].equals(again.uns["planted_edges"])
    assert first.shape != other.shape or (first.X != other.X).nnz > 0


def test_shape_and_columns():
    adata = planted_cohort(10, 60, 120, n_regulators=5, targets=12, n_rewired=2, n_expression=7, n_types=4)
    assert adata.shape == (600, 120)
    assert adata.X.dtype == np.float32
    assert (adata.X.data == np.rint(adata.X.data)).all()
    assert 1000 < np.median(np.asarray(adata.X.sum(axis=1))) < 2500
    var = adata.var
    assert (var["regulator"].sum(), var["rewired_hub"].sum(), var["rewired_target"].sum()) == (5, 2, 24)
    assert var["expression_only"].sum() == 7
    assert not (var["expression_only"] & (var["rewired_target"] | var["regulator"])).any()
    loads = (adata.varm["planted_loadings"] != 0).any(axis=1)
    assert var["expression_only"][loads].any() and var["expression_only"][~loads].any()
    edges = adata.uns["planted_edges"]
    assert len(edges) == 60 and set(edges["target"][edges["rewired"]]) == set(var.index[var["rewired_target"]])
    person = adata.obs.groupby("donor", observed=True).first()
    assert list(person["severity"]) == pytest.approx([0] * 5 + list(np.linspace(0.35, 1, 5)))
    assert list(person["phenotype"]) == ["control"] * 5 + ["case"] * 5
    for _, half in person.groupby("phenotype", observed=True):
        assert abs((half["sex"] == "male").sum() - 2.5) < 1
    assert adata.obs["cell_type"].nunique() == 4


def test_rewired_targets_keep_their_distribution_and_lose_their_correlation():
    adata = planted_cohort(
        2, 8000, 60, n_regulators=3, targets=10, n_expression=0, n_types=1, severity=[0.0, 0.6], effect=0.8
    )
    control, case = (adata[adata.obs["donor"] == donor] for donor in adata.obs["donor"].cat.categories)
    x_control, x_case = control.X.toarray(), case.X.toarray()
    p_g = np.array([stats.ks_2samp(a, b).pvalue for a, b in zip(x_control.T, x_case.T, strict=True)])
    assert p_g.min() > 0.01 / 60
    assert np.abs(np.log(x_case.var(axis=0) / x_control.var(axis=0))).max() < 0.35
    # Covariances of counts under a log-normal rate: exp(w b b') - 1 over means, so their logs have the ratio w.
    depth_c = [x.sum(axis=1, keepdims=True) for x in (x_control, x_case)]
    scaled = [x / d * d.mean() for x, d in zip((x_control, x_case), depth_c, strict=True)]
    link = [np.log1p(np.cov(x.T) / np.outer(x.mean(axis=0), x.mean(axis=0))) for x in scaled]
    edges = adata.uns["planted_edges"]
    rows = adata.var_names.get_indexer(edges["regulator"]), adata.var_names.get_indexer(edges["target"])
    rewired_e = edges["rewired"].to_numpy()
    slope = {
        kind: np.polyfit(link[0][rows][chosen], link[1][rows][chosen], 1)[0]
        for kind, chosen in (("rewired", rewired_e), ("kept", ~rewired_e))
    }
    assert slope["rewired"] == pytest.approx(1 - 0.8 * 0.6, abs=0.06)
    assert slope["kept"] == pytest.approx(1, abs=0.06)
    # Before any count is drawn the link is b b'.
    b_gr = adata.varm["planted_loadings"]
    assert np.corrcoef(link[0][rows], (b_gr @ b_gr.T)[rows])[0, 1] > 0.99


def test_expression_changes_by_the_factor_asked_for():
    adata = planted_cohort(2, 6000, 60, n_regulators=3, targets=10, n_rewired=1, severity=[0.0, 1.0], composition=1e6)
    mean_sg = np.array([np.asarray(adata[adata.obs["severity"] == x].X.mean(axis=0)).ravel() for x in (0, 1)])
    fold_g = mean_sg[1] / mean_sg[0]
    changed = adata.var["expression_only"].to_numpy()
    assert sorted(np.log2(fold_g[changed]).round(0)) == [-1] * 5 + [1] * 5
    assert np.abs(np.abs(np.log2(fold_g[changed])) - 1).max() < 0.15
    assert np.abs(np.log2(fold_g[~changed])).max() < 0.15


@pytest.mark.parametrize("world", ["cells", "depth", "composition", "mean"])
def test_null_worlds(world):
    adata = planted_cohort(
        40, 120, 60, n_regulators=3, targets=10, n_expression=10, n_types=3, composition=200, follows=world
    )
    assert not adata.var["rewired_hub"].any() and not adata.uns["planted_edges"]["rewired"].any()
    severity = by_person(adata.obs["severity"].to_numpy(), adata).first().to_numpy()
    seen = {
        "cells": by_person(1.0, adata).size().to_numpy(),
        "depth": by_person(np.asarray(adata.X.sum(axis=1)).ravel(), adata).mean().to_numpy(),
        "composition": by_person((adata.obs["cell_type"] == "type_1").to_numpy(), adata).mean().to_numpy(),
    }
    if world != "mean":
        assert abs(np.corrcoef(severity, seen[world])[0, 1]) > 0.8
        assert not adata.var["expression_only"].any()
    else:
        assert adata.var["expression_only"].sum() == 10
    # Types differ in depth because their genes do, so composition moves depth; nothing else moves anything.
    for name in {"cells", "depth", "composition"} - {world, *(["depth"] if world in ("composition", "mean") else [])}:
        assert np.ptp(seen[name]) == 0 or abs(np.corrcoef(severity, seen[name])[0, 1]) < 0.45
    # Within a type, links are what they are at every severity.
    rate_gr = adata.varm["planted_loadings"]
    x_cg = logs(adata)
    regulator, target = np.nonzero(rate_gr.T)
    low, high = (adata.obs["severity"] == 0).to_numpy(), (adata.obs["severity"] > 0.5).to_numpy()
    of_type = (adata.obs["cell_type"] == "type_2").to_numpy()
    r = [np.corrcoef(x_cg[chosen & of_type].T)[regulator, target] for chosen in (low, high)]
    moved = (np.abs(r[1]) - np.abs(r[0]))[regulator != target]
    if world == "depth":
        assert moved.mean() < -0.02  # the trap: less depth, less correlation is seen
    elif world != "mean":
        assert abs(moved.mean()) < 0.03


def test_individuals_differ_in_cells_and_depth_as_asked():
    adata = planted_cohort(60, 100, 60, n_regulators=3, targets=10, cells_sd=0.4, depth_sd=0.3, seed=1)
    cells_s = by_person(1.0, adata).size()
    depth_s = by_person(np.asarray(adata.X.sum(axis=1)).ravel(), adata).mean()
    assert np.log(cells_s).std() == pytest.approx(0.4, rel=0.3)
    assert np.log(depth_s).std() == pytest.approx(0.3, rel=0.3)
    assert np.exp(np.log(cells_s).mean()) == pytest.approx(100, rel=0.2)


def test_more_individuals_leave_the_others_as_they_are():
    few, more = planted_cohort(4, 50, severity=[0, 0, 1, 1]), planted_cohort(6, 50, severity=[0, 0, 1, 1, 0, 0])
    assert (few.X[:100] != more.X[:100]).nnz == 0


def test_says_what_cannot_work():
    with pytest.raises(OptionError, match="n_genes=100, expected at least 160: 10 regulators with 15 targets"):
        planted_cohort(n_genes=100)
    with pytest.raises(OptionError, match="n_expression=200, expected at most 160"):
        planted_cohort(n_expression=200)
    with pytest.raises(OptionError, match="n_rewired=11, expected at most n_regulators=10"):
        planted_cohort(n_rewired=11)
    with pytest.raises(OptionError, match="effect is 1.5; expected a number from 0 to 1"):
        planted_cohort(effect=1.5)
    with pytest.raises(OptionError, match="follows is 'age'; expected one of"):
        planted_cohort(follows="age")
    with pytest.raises(OptionError, match="expected one number from 0 to 1 for each of the 4 individuals"):
        planted_cohort(4, severity=[0, 1])


def test_example():
    assert datasets.planted_cohort is planted_cohort
    found = doctest.DocTestFinder().find(planted_cohort, "planted_cohort", globs={})
    runner = doctest.DocTestRunner()
    assert found and all(runner.run(example).attempted for example in found)
    assert runner.failures == 0
    assert _cohort.MILDEST == 0.35
