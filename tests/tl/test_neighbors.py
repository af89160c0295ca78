"""Neighbors of genes in an AnnData: equal to dense matrices, by name, from the file alone."""

import sys

import anndata as ad
import numpy as np
import pytest
from conftest import Path

from sivae import tl
from sivae._errors import GeneMismatchError, OptionError, SetupError

sys.path.insert(0, str(Path(__file__).parent))

from spaces import annotated_space  # noqa: E402

METRICS = ["balanced", "correlation", "joint", "cosine", "euclidean"]


@pytest.fixture
def adata():
    return annotated_space()


def dense(adata, metric, signed=False):
    """Distances of all genes with a position, slowly."""
    v, w = adata.varm["X_sivae"][:56], adata.varm["X_sivae_joint"][:56]
    if metric == "euclidean":
        return np.linalg.norm(v[:, None] - v[None], axis=2)
    if metric == "cosine":
        layer, covariance = v, np.eye(3)
    else:
        layer, covariance = np.concatenate([v, w], axis=1), adata.uns["sivae"]["joint_covariance"]
    s = layer @ covariance @ layer.T
    noise = np.maximum(adata.var["sivae_noise_variance"].to_numpy()[:56], 1 - np.diag(s))
    total = np.diag(s) + {"correlation": 1, "balanced": 1 / 10}.get(metric, 0) * noise
    c = s / np.sqrt(np.where(total > 0, total, 1)[:, None] * np.where(total > 0, total, 1))
    return 1 - (c if signed else np.abs(c))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("signed", [True, False])
def test_distances_are_the_smallest_of_the_dense_matrix(adata, metric, signed):
    tl.gene_neighbors(adata, 7, metric, signed=signed)
    found, all_pairs = adata.varp["sivae_distances"], dense(adata, metric, signed=signed)
    np.fill_diagonal(all_pairs, np.inf)
    assert (
        found.shape == (60, 60) and (np.diff(found.indptr)[:56] == 7).all() and (np.diff(found.indptr)[56:] == 0).all()
    )
    for g in range(56):
        row = found[g]
        assert g not in row.indices
        np.testing.assert_allclose(np.sort(row.data), np.sort(all_pairs[g])[:7], atol=1e-9)
        np.testing.assert_allclose(row.data, all_pairs[g, row.indices], atol=1e-9)
    weight = adata.varp["sivae_connectivities"]
    assert abs(weight - weight.T).max() == 0 and weight.data.max() <= 1 and weight.data.min() > 0
    record = adata.uns["sivae"]["neighbors"]
    assert record["metric"] == metric and record["n_neighbors"] == 7 and record["signed"] is signed


def test_auto_is_balanced(adata):
    tl.gene_neighbors(adata)
    assert adata.uns["sivae"]["neighbors"]["metric"] == "balanced"
    assert (np.diff(adata.varp["sivae_distances"].indptr)[:56] == 20).all()


def test_zeros_are_stored_also_in_a_file(adata, tmp_path):
    adata.varm["X_sivae"][1] = adata.varm["X_sivae"][0]
    adata.varm["X_sivae_joint"][1] = adata.varm["X_sivae_joint"][0]
    bare = ad.AnnData(obs=adata.obs, var=adata.var, uns=adata.uns, varm=dict(adata.varm))
    bare.write_h5ad(tmp_path / "bare.h5ad")
    bare = ad.read_h5ad(tmp_path / "bare.h5ad")
    tl.gene_neighbors(bare, 3, "euclidean")
    bare.write_h5ad(tmp_path / "again.h5ad")
    found = ad.read_h5ad(tmp_path / "again.h5ad")
    assert found.varp["sivae_distances"].nnz == 56 * 3
    assert found.varp["sivae_distances"][0, 1] == 0 and 1 in found.varp["sivae_distances"][0].indices
    assert tl.neighbors_of(found, "GENE0").loc[0, "neighbor"] == "GENE1"


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_genes_permutes_the_result_and_nothing_else(adata, metric, rng):
    tl.gene_neighbors(adata, 5, metric)
    moved = adata[:, rng.permutation(60)].copy()
    tl.gene_neighbors(moved, 5, metric)
    back = moved[:, adata.var_names].copy()
    for key in ("sivae_distances", "sivae_connectivities"):
        assert abs(back.varp[key] - adata.varp[key]).max() < 1e-12
        assert back.varp[key].nnz == adata.varp[key].nnz


def test_genes_embedded_later_can_be_left_out(adata):
    assert not adata.var["sivae_modelled"].iloc[-6:].any()
    tl.gene_neighbors(adata, 5, modelled_only=True)
    found = adata.varp["sivae_distances"]
    assert (np.diff(found.indptr)[:54] == 5).all() and found[54:].nnz == 0 and found.indices.max() < 54


def test_another_embedding(adata, rng):
    adata.varm["pca"] = rng.normal(size=(60, 2))
    tl.gene_neighbors(adata, 4, "correlation", use_rep="pca")
    points = adata.varm["pca"]
    c = np.abs(points @ points.T) / (points**2).sum(axis=1).max()
    np.fill_diagonal(c, -1)
    found = adata.varp["sivae_distances"]
    np.testing.assert_allclose(np.sort(found[5].data), 1 - np.sort(c[5])[::-1][:4])
    assert list(tl.neighbors_of(adata, ["GENE5"]).columns) == ["gene", "rank", "neighbor", "distance", "correlation"]


def test_a_gene_at_the_origin_has_no_neighbors_to_speak_of(adata):
    for metric in ("balanced", "correlation"):
        tl.gene_neighbors(adata, 5, metric)
        assert adata.varp["sivae_distances"][30:56].data.min() > 0.9
    tl.gene_neighbors(adata, 5, "cosine")
    assert adata.varp["sivae_distances"][30].data.min() < 0.5


def test_the_table_of_a_gene(adata):
    tl.gene_neighbors(adata, 6, "correlation")
    table = tl.neighbors_of(adata, ["GENE3", "GENE40"])
    assert table["gene"].tolist() == ["GENE3"] * 6 + ["GENE40"] * 6
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6] * 2
    one = table.iloc[:6]
    assert one["distance"].is_monotonic_increasing and "GENE3" not in set(one["neighbor"])
    np.testing.assert_allclose(1 - one["correlation"].abs(), one["distance"], atol=1e-9)
    assert (one["correlation"] < 0).any()  # the sign is told
    assert one["p"].max() < 1e-3 and (one["q"] >= one["p"]).all()
    assert table["p"].iloc[6:].min() == 1.0  # exactly at the origin
    v, c = adata.varm["X_sivae"], adata.uns["sivae"]["joint_covariance"][:3, :3]
    h = int(one["neighbor"].iloc[0][4:])
    from scipy.stats import norm

    s, u = v[3] @ c @ v[h], 0.003
    sd = np.sqrt(u * (v[3] @ c @ c @ v[3] + v[h] @ c @ c @ v[h]) + u**2 * np.trace(c @ c))
    np.testing.assert_allclose(one["p"].iloc[0], 2 * norm.sf(abs(s) / sd), rtol=1e-8)
    pd_again = tl.neighbors_of(adata, "GENE3", n_neighbors=2)
    assert pd_again["neighbor"].tolist() == one["neighbor"].tolist()[:2]
    assert len(tl.neighbors_of(adata, [])) == 0
    adata.var_names = [name.removeprefix("GENE") for name in adata.var_names]
    assert tl.neighbors_of(adata, 3)["neighbor"].tolist() == [name.removeprefix("GENE") for name in one["neighbor"]]


def test_errors_say_what_to_do(adata):
    with pytest.raises(SetupError, match=r"Call sivae\.tl\.gene_neighbors\(adata\) first"):
        tl.neighbors_of(adata, "GENE1")
    with pytest.raises(OptionError, match="n_neighbors=56 and 56 genes with a position, expected 1 to 55"):
        tl.gene_neighbors(adata, 56)
    for wrong, words in ((0, "at least 1"), (2.5, "a whole number"), ("5", "a whole number"), (None, "a whole number")):
        with pytest.raises(OptionError, match=f"n_neighbors is .*; expected {words}"):
            tl.gene_neighbors(adata, wrong)
    with pytest.raises(OptionError, match="metric='manhattan', expected one of auto"):
        tl.gene_neighbors(adata, 5, "manhattan")
    adata.varm["pca"] = np.ones((60, 2))
    with pytest.raises(SetupError, match="'joint' needs the joint layer"):
        tl.gene_neighbors(adata, 5, "joint", use_rep="pca")
    tl.gene_neighbors(adata, 5)
    with pytest.raises(GeneMismatchError, match="GENE3"):
        tl.neighbors_of(adata, ["gene3"])
    with pytest.raises(OptionError, match="n_neighbors=6, expected 1 to 5"):
        tl.neighbors_of(adata, "GENE3", n_neighbors=6)
    adata.var.loc["GENE2", "sivae_noise_variance"] = np.nan
    with pytest.raises(SetupError, match="1 genes have a position and no noise variance, the first being 'GENE2'"):
        tl.gene_neighbors(adata, 5)


def test_a_trained_model_finds_the_planted_modules(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    tl.gene_neighbors(counts_adata, 5)
    module = counts_adata.var["module"].to_numpy()
    best = tl.neighbors_of(counts_adata, counts_adata.var_names[:30], n_neighbors=3)
    own, other = (counts_adata.var["module"].loc[best[c]].to_numpy() for c in ("gene", "neighbor"))
    assert (own == other).mean() > 0.9 and set(module) == {"module_1", "module_2", "none"}
