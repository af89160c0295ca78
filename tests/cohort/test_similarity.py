"""Similarity of individuals against sets and loops; what is written; genes that are left out."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from sivae._errors import GeneMismatchError, OptionError, SetupError, SiVAEWarning
from sivae.cohort._similarity import METHODS, similarity
from sivae.graph import _graph_kernels as kernels


@pytest.fixture
def samples():
    return made_samples()


def edge_sets(samples, genes):
    table, present = samples.uns["sivae_cohort"]["edges"], samples.obsm["sivae_edges"].toarray() > 0
    pairs = list(zip(table["gene_a"], table["gene_b"], strict=True))
    return [{p for p, there in zip(pairs, row, strict=True) if there and set(p) <= set(genes)} for row in present]


@pytest.mark.parametrize("genes", [None, 30])
def test_edges_are_compared_as_sets_of_names(samples, genes):
    chosen = samples.var_names[:genes]
    found = similarity(samples, genes=None if genes is None else list(chosen[::-1]))
    sets = edge_sets(samples, chosen)
    np.testing.assert_allclose(found, [[len(a & b) / len(a | b) for b in sets] for a in sets])
    assert list(found.index) == list(found.columns) == list(samples.obs_names)
    np.testing.assert_array_equal(samples.obsp["sivae_similarity"], found)
    record = samples.uns["sivae_cohort"]["similarity"]
    assert record == {"method": "edges", "n_genes": len(chosen)}
    assert samples.uns["sivae_cohort"]["mode"] == "shared"  # what was there stays


def test_leaving_out_genes_is_naming_the_others(samples):
    for method in METHODS:
        one = similarity(samples, method=method, leave_out=samples.var_names[40:])
        other = similarity(samples, method=method, genes=list(samples.var_names[:40]))
        pd.testing.assert_frame_equal(one, other)
        assert not np.allclose(one, similarity(samples, method=method))


def test_kernels_count_degrees_of_the_chosen_genes(samples):
    genes = samples.var_names[:30]
    found = similarity(samples, method="vertex", genes=list(genes))
    degree = np.array([[sum(gene in pair for pair in pairs) for gene in genes] for pairs in edge_sets(samples, genes)])
    count = np.array([np.bincount(row, minlength=degree.max() + 1) for row in degree])
    k = count @ count.T
    np.testing.assert_allclose(found, k / np.sqrt(np.outer(np.diag(k), np.diag(k))))
    assert similarity(samples, method="weisfeiler-lehman", iterations=0, genes=list(genes)).equals(found)
    rounds = [similarity(samples, method="weisfeiler-lehman", iterations=h).to_numpy() for h in (0, 1, 2, 5)]
    for before, after in zip(rounds, rounds[1:], strict=False):  # finer labels tell more apart
        assert after[np.triu_indices(16, 1)].mean() < before[np.triu_indices(16, 1)].mean()
    named = similarity(samples, method="weisfeiler-lehman", by_name=True)
    assert samples.uns["sivae_cohort"]["similarity"] == {
        "method": "weisfeiler-lehman",
        "n_genes": 60,
        "by_name": True,
        "iterations": 5,
    }
    assert not np.allclose(named, rounds[-1])


def test_positions_are_one_less_the_squared_distance(samples):
    found = similarity(samples, method="positions").to_numpy()
    flat = samples.obsm["sivae_positions"].reshape(16, -1).astype(float)
    scale = (flat**2).sum() / 16
    np.testing.assert_allclose(found, 1 - cdist(flat, flat) ** 2 / (2 * scale), atol=1e-9)
    np.testing.assert_allclose(kernels.distance_of(found), cdist(flat, flat) / np.sqrt(scale), atol=1e-6)
    samples.obsm["sivae_positions"][1] = -samples.obsm["sivae_positions"][0]
    assert similarity(samples, method="positions").iloc[0, 1] < -0.5


def test_noise_is_taken_off_where_its_size_is_known(samples, rng):
    truth = np.tile(samples.obsm["sivae_positions"][:1].astype(float), (16, 1, 1))
    sd = rng.uniform(0.05, 0.3, (16, 1))
    samples.obsm["sivae_positions"] = (truth + sd[:, :, None] * rng.normal(size=truth.shape)).astype(np.float32)
    samples.layers["position_se"] = np.broadcast_to(sd * 2, (16, 60)).copy()  # four axes
    with_noise = similarity(samples, method="positions").to_numpy()
    without = similarity(samples, method="positions", noise_layer="position_se").to_numpy()
    pairs = np.triu_indices(16, 1)
    assert without[pairs].min() > 0.97 and with_noise[pairs].min() < 0.95
    far = (sd + sd.T)[pairs]  # without it, those of few cells are far from everyone
    assert spearmanr(with_noise[pairs], far)[0] < -0.9 and abs(spearmanr(without[pairs], far)[0]) < 0.5


def test_genes_that_an_individual_lacks_are_left_out(samples):
    expected = similarity(samples, method="positions", leave_out=["gene005", "gene007"])
    samples.obsm["sivae_positions"][3, 5] = samples.obsm["sivae_positions"][2, 7, 1] = np.nan
    with pytest.warns(SiVAEWarning, match=r"2 of 60 genes have no position in some individual.*\(gene005, gene007\)"):
        found = similarity(samples, method="positions")
    pd.testing.assert_frame_equal(found, expected)
    assert samples.uns["sivae_cohort"]["similarity"]["n_genes"] == 58


@pytest.mark.parametrize("method", METHODS)
def test_permuting_individuals_or_genes_permutes_alone(samples, method, rng):
    found = similarity(samples, method=method)
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, found.T)
    order, genes = rng.permutation(16), rng.permutation(60)
    moved = samples[order].copy()
    pd.testing.assert_frame_equal(similarity(moved, method=method), found.iloc[order, order])
    moved = samples[:, genes].copy()
    moved.obsm["sivae_positions"] = samples.obsm["sivae_positions"][:, genes]
    pd.testing.assert_frame_equal(similarity(moved, method=method), found)


def test_what_is_written_survives_a_file(samples, tmp_path):
    import anndata as ad

    found = similarity(samples, method="positions")
    samples.write_h5ad(tmp_path / "samples.h5ad")
    back = ad.read_h5ad(tmp_path / "samples.h5ad")
    np.testing.assert_array_equal(back.obsp["sivae_similarity"], found)
    assert back.uns["sivae_cohort"]["similarity"] == {"method": "positions", "n_genes": 60, "noise_layer": ""}
    pd.testing.assert_frame_equal(similarity(back), similarity(samples))


def test_errors_say_what_to_do(samples):
    with pytest.raises(OptionError, match="method is 'graph'; expected one of 'edges', 'vertex'"):
        similarity(samples, method="graph")
    with pytest.raises(OptionError, match=r"iterations is -1; expected at least 0\. 5 is usual"):
        similarity(samples, method="weisfeiler-lehman", iterations=-1)
    with pytest.raises(OptionError, match="by_name is True, and method='edges' knows genes by name in any case"):
        similarity(samples, by_name=True)
    with pytest.raises(OptionError, match="noise_layer is 'norm_se', and method='edges' has no use for it"):
        similarity(samples, noise_layer="norm_se")
    with pytest.raises(SetupError, match=r"layers has no 'se'; it has: projection, .*Name the layer"):
        similarity(samples, method="positions", noise_layer="se")
    with pytest.raises(GeneMismatchError, match=r"2 genes are not in var_names \(ABC, XYZ\)"):
        similarity(samples, genes=["gene000", "ABC"], leave_out=["XYZ"])
    with pytest.raises(OptionError, match="genes is 'gene000', one text; expected a list"):
        similarity(samples, genes="gene000")
    with pytest.raises(OptionError, match=r"genes and leave_out leave 1 of 60 genes; expected two or more"):
        similarity(samples, genes=["gene000", "gene001"], leave_out=["gene001"])
    with pytest.raises(SetupError, match="Found 1 individuals, expected two or more"):
        similarity(samples[:1].copy())
    absent = next(list(pair) for pair in combinations(samples.var_names, 2) if not any(edge_sets(samples, pair)))
    with pytest.raises(SetupError, match="No individual has an edge between two of the 2 genes"):
        similarity(samples, genes=absent)
    assert "sivae_similarity" not in samples.obsp


def test_errors_name_what_is_missing(samples):
    with pytest.raises(SetupError, match="has 60 genes and samples has 30; expected the same"):
        similarity(samples[:, :30].copy(), method="positions")
    broken = samples.copy()
    broken.obsm["sivae_positions"][3, 1:] = np.nan
    with pytest.raises(SetupError, match=r"1 of 60 genes have a position \(and a standard error\) in every individual"):
        similarity(broken, method="positions")
    broken.obsm["sivae_positions"][:] = 0
    with pytest.raises(SetupError, match="expected more than noise. Compare other genes"):
        similarity(broken, method="positions")
    del broken.obsm["sivae_positions"]
    with pytest.raises(SetupError, match=r"Make them with cohort\.connectivity, or take method='edges'"):
        similarity(broken, method="positions")
    broken.uns["sivae_cohort"]["edges"] = broken.uns["sivae_cohort"]["edges"].iloc[:5]
    with pytest.raises(SetupError, match="the table of edges 5 rows; expected one for one"):
        similarity(broken)
    del broken.obsm["sivae_edges"]
    with pytest.raises(SetupError, match=r"obsm\['sivae_edges'\] or uns.* is missing"):
        similarity(broken)
    with pytest.raises(SetupError, match="Found DataFrame, expected an AnnData"):
        similarity(samples.obs)


def test_chosen_genes_of_a_view_are_taken_by_name(samples):
    named = samples.copy()
    named.uns["sivae_cohort"] = {**named.uns["sivae_cohort"], "genes": list(named.var_names)}
    wanted = list(named.var_names[[5, 3, 40, 8]])
    whole = similarity(named, method="positions", genes=wanted)
    part = similarity(named[:, wanted].copy(), method="positions")
    np.testing.assert_allclose(part, whole)
