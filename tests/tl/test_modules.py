"""Modules in an AnnData: planted ones found, none where there are none, by name, from the file alone."""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from gene_spaces import codes, connect, planted_space
from sklearn.metrics import adjusted_rand_score

from sivae import tl
from sivae._errors import MissingExtraError, OptionError, SetupError


@pytest.fixture(scope="module")
def _found():
    adata = planted_space()
    tl.modules(adata)
    return adata


@pytest.fixture
def found(_found):
    return _found.copy()


def test_planted_modules_are_found_and_the_rest_is_unassigned(found):
    assert adjusted_rand_score(found.var["truth"], codes(found)) > 0.88
    own = found.var["truth"] >= 0
    assert adjusted_rand_score(found.var["truth"][own], codes(found)[own]) == 1.0
    assert (codes(found)[~own] == -1).mean() >= 0.9
    label = found.var["sivae_module"]
    sizes = label.value_counts()
    assert list(label.cat.categories) == ["module1", "module2", "module3", "module4", "unassigned"]
    assert sizes["module1"] >= sizes["module2"] >= sizes["module3"] >= sizes["module4"] >= 5


def test_what_is_written(found):
    stability = found.var["sivae_module_stability"]
    unassigned = found.var["sivae_module"] == "unassigned"
    assert stability[unassigned].isna().all() and stability[~unassigned].between(0.5, 1).all()
    record = found.uns["sivae"]["modules"]
    assert list(record["module"]) == ["module1", "module2", "module3", "module4"]
    assert list(record["size"]) == [int((codes(found) == i + 1).sum()) for i in range(4)]
    assert record["stability"][0] == pytest.approx(stability[codes(found) == 1].mean())
    assert record["parameters"]["automatic"] and record["resolution"] in record["scan"]["resolution"]
    assert "neighbors" in found.uns["sivae"]


def test_several_data_sets_state_their_agreement_with_the_truth():
    scores = []
    for seed in range(1, 4):
        adata = planted_space(n_modules=6, size=15, n_null=60, n_cells=300, seed=seed)
        tl.modules(adata, seed=seed)
        scores.append(adjusted_rand_score(adata.var["truth"], codes(adata)))
    assert min(scores) > 0.9, scores


def test_genes_that_follow_nothing_are_unassigned():
    for seed in range(5):
        adata = planted_space(n_modules=0, n_null=80, seed=seed)
        tl.modules(adata)
        assert (adata.var["sivae_module"] == "unassigned").all()
        assert list(adata.var["sivae_module"].cat.categories) == ["unassigned"]
        assert adata.obsm["X_sivae_modules"].shape == (600, 0)


def test_without_pvalues_the_width_of_loadings_says_who_is_at_the_origin():
    adata = planted_space()
    del adata.var["sivae_connected_pvalue"]
    tl.modules(adata)
    assert adjusted_rand_score(adata.var["truth"], codes(adata)) > 0.95
    null = planted_space(n_modules=0, n_null=80)
    del null.var["sivae_connected_pvalue"]
    tl.modules(null)
    assert (null.var["sivae_module"] == "unassigned").mean() > 0.95


def test_genes_without_evidence_of_their_own_get_the_weaker_one():
    adata = planted_space()
    adata.var.loc[adata.var_names[:10], "sivae_connected_pvalue"] = np.nan
    tl.modules(adata)
    assert (codes(adata)[:10] > 0).all()


def test_permuting_genes_and_cells_permutes_the_output(found):
    rng = np.random.default_rng(1)
    other = planted_space()[rng.permutation(600), rng.permutation(120)].copy()
    tl.modules(other)
    same = other[found.obs_names, found.var_names]
    pd.testing.assert_series_equal(same.var["sivae_module"], found.var["sivae_module"])
    np.testing.assert_allclose(same.var["sivae_module_stability"], found.var["sivae_module_stability"])
    np.testing.assert_allclose(same.obsm["X_sivae_modules"], found.obsm["X_sivae_modules"], atol=1e-12)


def test_the_same_seed_gives_the_same_and_another_nearly(found):
    adata = planted_space()
    tl.modules(adata, seed=0)
    pd.testing.assert_frame_equal(adata.var, found.var)
    tl.modules(adata, seed=9)
    assert adjusted_rand_score(codes(adata), codes(found)) > 0.95


def test_opposite_genes_are_tied_only_if_signs_do_not_count():
    adata = planted_space(n_modules=3, size=30, n_null=20, signed_genes=True)
    tl.modules(adata, signed=False)
    assert adjusted_rand_score(adata.var["truth"], codes(adata)) > 0.9
    tl.modules(adata, signed=True)
    assert codes(adata).max() == 6
    split = adata.var["truth"] * 2 + (adata.varm["X_sivae"].sum(axis=1) > 0)
    own = adata.var["truth"] >= 0
    assert adjusted_rand_score(split[own], codes(adata)[own]) > 0.9


def test_a_given_resolution_is_used():
    adata = planted_space()
    tl.modules(adata, 0.05)
    assert codes(adata).max() == 4
    record = adata.uns["sivae"]["modules"]
    assert "scan" not in record and record["resolution"] == 0.05 and not record["parameters"]["automatic"]
    tl.modules(adata, 6.0)
    assert codes(adata).max() == -1, "so fine that no community has five genes"


def test_small_communities_are_unassigned():
    adata = planted_space(size=8, n_neighbors=5)
    tl.modules(adata, 1.0, min_size=15)
    assert codes(adata).max() == -1


def test_another_embedding_needs_no_width(found):
    adata = found.copy()
    adata.varm["other"] = np.where(adata.var["truth"].to_numpy()[:, None] < 0, 0.0, adata.varm["X_sivae"])
    adata.varm["other"][0] = np.nan
    adata.obsm["X_sivae_modules"] = np.zeros((600, 1))
    connect(adata, use_rep="other")
    tl.modules(adata)
    assert adata.uns["sivae"]["modules"]["parameters"]["use_rep"] == "other"
    known = np.arange(120) > 0
    assert adjusted_rand_score(adata.var["truth"][known], codes(adata)[known]) > 0.95
    assert adata.var["sivae_module"].iloc[0] == "unassigned"
    assert "X_sivae_modules" not in adata.obsm


def test_an_embedding_of_noise_is_not_one_module():
    adata = ad.AnnData(var=pd.DataFrame(index=[f"G{i}" for i in range(60)]))
    adata.varm["noise"] = np.random.default_rng(0).normal(size=(60, 8))
    connect(adata, use_rep="noise")
    tl.modules(adata, use_rep="noise", min_stability=0.0)
    assert codes(adata).max() != 1


def test_everything_survives_h5ad(found, tmp_path):
    found.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(again.obsm["X_sivae_modules"], found.obsm["X_sivae_modules"])
    pd.testing.assert_series_equal(again.var["sivae_module"], found.var["sivae_module"])
    assert again.uns["sivae"]["modules"]["parameters"]["signed"]
    before = again.var["sivae_module"].copy()
    tl.modules(again)
    pd.testing.assert_series_equal(again.var["sivae_module"], before)


def test_no_modules_survive_h5ad_too(tmp_path):
    adata = planted_space(n_modules=0, n_null=30)
    tl.modules(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert (ad.read_h5ad(tmp_path / "a.h5ad").var["sivae_module"] == "unassigned").all()


def test_scores_are_means_of_what_the_linear_part_predicts(found):
    predicted = found.obsm["X_sivae"] @ found.varm["X_sivae"].T
    for number, name in enumerate(["module1", "module2", "module3", "module4"], start=1):
        expected = predicted[:, codes(found) == number].mean(axis=1)
        np.testing.assert_allclose(found.obsm["X_sivae_modules"][name], expected)


def test_scores_turn_genes_that_run_against_their_module():
    adata = planted_space(n_modules=2, size=20, n_null=0, signed_genes=True)
    tl.modules(adata, signed=False)
    score = adata.obsm["X_sivae_modules"].to_numpy()
    axis = [adata.var["truth"][codes(adata) == m].mode()[0] for m in (1, 2)]
    for column in (0, 1):
        assert abs(np.corrcoef(score[:, column], adata.obsm["X_sivae"][:, axis[column]])[0, 1]) > 0.99


def test_new_cells_are_scored_from_their_positions(found):
    few = found[:5].copy()
    del few.obsm["X_sivae_modules"]
    tl.module_scores(few)
    pd.testing.assert_frame_equal(few.obsm["X_sivae_modules"], found.obsm["X_sivae_modules"].iloc[:5])


def test_modules_of_ones_own_are_scored(found):
    found.var["sivae_module"] = np.where(np.arange(120) < 7, "mine", "unassigned")
    tl.module_scores(found)
    assert list(found.obsm["X_sivae_modules"].columns) == ["mine"]


def test_cells_without_positions_get_no_scores(found):
    del found.obsm["X_sivae"], found.obsm["X_sivae_modules"]
    tl.modules(found, 1.0)
    assert "X_sivae_modules" not in found.obsm
    with pytest.raises(SetupError, match=r"no obsm\['X_sivae'\].*annotate"):
        tl.module_scores(found)


def test_what_is_missing_is_said(found, monkeypatch):
    del found.varp["sivae_connectivities"]
    with pytest.raises(SetupError, match=r"Call sivae.tl.gene_neighbors\(adata\) first"):
        tl.modules(found)
    del found.var["sivae_module"]
    with pytest.raises(SetupError, match=r"Call sivae.tl.modules\(adata\) first"):
        tl.module_scores(found)
    monkeypatch.setitem(sys.modules, "graspologic_native", None)
    with pytest.raises(MissingExtraError, match=r"sivae-tools\[modules\]"):
        tl.modules(planted_space())
    nothing = planted_space(n_modules=0, n_null=30)
    nothing.var["sivae_connected_pvalue"] = 1.0
    with pytest.raises(MissingExtraError, match=r"sivae-tools\[modules\]"):
        tl.modules(nothing)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resolution": "best"}, "resolution is 'best'"),
        ({"resolution": 0}, "resolution is 0"),
        ({"fdr": 2}, "fdr is 2"),
        ({"min_stability": -1}, "min_stability is -1"),
        ({"min_size": 1}, "min_size is 1"),
        ({"n_resamples": 7}, "n_resamples=7"),
        ({"resolution": None}, "resolution is None"),
        ({"fdr": "a"}, "fdr is 'a'"),
        ({"min_size": 2.5}, "min_size is 2.5; expected a whole number"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"n_resamples": 2}, "n_resamples is 2"),
    ],
)
def test_options_that_cannot_work(found, options, text):
    with pytest.raises(OptionError, match=text):
        tl.modules(found, **options)
