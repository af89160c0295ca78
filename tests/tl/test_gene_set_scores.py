"""Your own gene sets: coherence against a matched null, scores per cell."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from gene_spaces import planted_space
from scipy.stats import kstest

from sivae import tl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae._space import read_space
from sivae.tl._similarity import correlation_of


@pytest.fixture
def adata():
    return planted_space()


def sets_of(adata):
    names, truth = np.asarray(adata.var_names), adata.var["truth"].to_numpy()
    first, second = names[truth == 0], names[truth == 1]
    return {
        "module": [*first[:10], "elsewhere"],
        "mixed": [first[0], second[0], names[truth == 2][0], names[truth == 3][0]],
        "nothing": names[truth < 0][:8],
        "one": ["elsewhere", first[0]],
    }


def test_the_table(adata):
    table = tl.gene_set_coherence(adata, sets_of(adata))
    assert list(table.columns) == ["set", "n_genes", "n_found", "coherence", "null_mean", "z", "p", "q"]
    assert list(table["n_genes"]) == [11, 4, 8, 2] and list(table["n_found"]) == [10, 4, 8, 1]
    assert table["p"][0] == pytest.approx(1 / 1001) and table["z"][0] > 5
    assert table["p"][1] > 0.1 and table["p"][2] > 0.01
    assert table.loc[3, ["coherence", "z", "p", "q"]].isna().all()
    assert (table["q"] >= table["p"])[:3].all()


def test_coherence_is_the_mean_implied_correlation(adata):
    table = tl.gene_set_coherence(adata, sets_of(adata), n_draws=5)
    space = read_space(adata)
    v = correlation_of(space)[space.find(sets_of(adata)["module"][:10])]
    correlation = v @ v.T
    assert table["coherence"][0] == pytest.approx(correlation[np.triu_indices(10, 1)].mean())


def test_random_sets_have_uniform_pvalues(adata):
    rng = np.random.default_rng(0)
    sets = {str(i): rng.choice(adata.var_names, 12, replace=False) for i in range(300)}
    p = tl.gene_set_coherence(adata, sets, n_draws=300)["p"]
    assert kstest(p, "uniform").statistic < 0.12
    assert (p <= 0.05).mean() < 0.1


def test_the_null_is_matched_for_evidence(adata):
    """Genes far out, from all modules: coherent beside any genes, not beside others as far out."""
    adata.varm["X_sivae"] = np.abs(adata.varm["X_sivae"]) + 0.15 * (adata.var["truth"].to_numpy()[:, None] >= 0)
    far = adata.var_names[adata.var["truth"] >= 0].to_numpy()
    rng = np.random.default_rng(0)
    table = tl.gene_set_coherence(adata, {str(i): rng.choice(far, 12, replace=False) for i in range(40)})
    assert table["null_mean"].min() > 0.1
    assert (table["p"] <= 0.05).mean() <= 0.15


def test_the_mean_level_is_matched_where_known(adata):
    before = tl.gene_set_coherence(adata, sets_of(adata))
    adata.var["sivae_bias"] = np.random.default_rng(0).normal(size=120)
    after = tl.gene_set_coherence(adata, sets_of(adata))
    assert not np.allclose(before["null_mean"][:3], after["null_mean"][:3])
    assert after["p"][0] < 0.01


def test_permuting_genes_changes_nothing(adata):
    order = np.random.default_rng(3).permutation(120)
    sets = sets_of(adata)
    pd.testing.assert_frame_equal(
        tl.gene_set_coherence(adata[:, order].copy(), sets), tl.gene_set_coherence(adata, sets)
    )


def test_from_the_file_alone_and_another_embedding(adata, tmp_path):
    bare = ad.AnnData(obs=adata.obs, var=adata.var, varm=dict(adata.varm), uns=adata.uns)
    bare.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    sets = sets_of(adata)
    pd.testing.assert_frame_equal(tl.gene_set_coherence(again, sets), tl.gene_set_coherence(adata, sets))
    again.varm["X_pca"] = np.asarray(again.varm["X_sivae"])
    table = tl.gene_set_coherence(again, sets, use_rep="X_pca")
    v = again.varm["X_pca"][again.var_names.get_indexer(sets["module"][:10])]
    longest = (again.varm["X_pca"] ** 2).sum(axis=1).max()  # no noise is known: all genes vary as much as that one
    assert table["coherence"][0] == pytest.approx((v @ v.T / longest)[np.triu_indices(10, 1)].mean())


def test_a_gmt_file_is_read(adata, tmp_path):
    sets = sets_of(adata)
    path = tmp_path / "a.gmt"
    path.write_text("".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()))
    pd.testing.assert_frame_equal(tl.gene_set_coherence(adata, path), tl.gene_set_coherence(adata, sets))


def test_scores_are_means_of_what_the_linear_part_predicts(adata):
    sets = sets_of(adata)
    tl.gene_set_scores(adata, sets | {"none": ["elsewhere"]})
    score = adata.obsm["X_sivae_gene_sets"]
    genes = [adata.var_names.get_loc(gene) for gene in sets["module"][:10]]
    np.testing.assert_allclose(score["module"], (adata.obsm["X_sivae"] @ adata.varm["X_sivae"][genes].T).mean(axis=1))
    assert list(score.columns) == [*sets, "none"] and score["none"].isna().all()
    tl.gene_set_scores(adata, sets, key_added="mine")
    assert "mine" in adata.obsm


def test_what_cannot_work(adata):
    with pytest.raises(OptionError, match="n_draws is 0"):
        tl.gene_set_coherence(adata, sets_of(adata), n_draws=0)
    with pytest.raises(GeneMismatchError, match="None of the 1 genes"):
        tl.gene_set_scores(adata, {"a": ["elsewhere"]})
    adata.obsm["X_sivae"] = adata.obsm["X_sivae"][:, :1]
    with pytest.raises(SetupError, match="expected 4 columns"):
        tl.gene_set_scores(adata, sets_of(adata))
    del adata.obsm["X_sivae"]
    with pytest.raises(SetupError, match="positions of the cells.*annotate"):
        tl.gene_set_scores(adata, sets_of(adata))
