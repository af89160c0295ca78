"""The graph of genes for other programs: values, round trips, files that are whole."""

import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from gene_spaces import planted_space
from scipy import sparse

from sivae import tl
from sivae._errors import ArtefactError, MissingExtraError, OptionError, SetupError
from sivae._space import read_space
from sivae.graph._edges import edge_pvalues


@pytest.fixture
def adata():
    adata = planted_space(n_modules=2, size=12, n_null=10, n_neighbors=5)
    adata.var["sivae_hub"] = adata.var["truth"] == 0
    adata.var["sivae_r2"] = np.r_[np.nan, np.linspace(0, 1, 33)]
    adata.var["sivae_module"] = pd.Categorical(np.where(adata.var["truth"] < 0, "unassigned", "module1"))
    return adata


def test_every_edge_comes_once_with_its_values(adata):
    edges = tl.gene_graph(adata)
    weights = adata.varp["sivae_connectivities"]
    assert len(edges) == sparse.triu(weights, 1).nnz
    assert (edges["gene_a"] < edges["gene_b"]).all() and edges["weight"].is_monotonic_decreasing
    space = read_space(adata)
    a, b = space.find(edges["gene_a"]), space.find(edges["gene_b"])
    np.testing.assert_allclose(edges["weight"], np.asarray(weights[a, b]).ravel())
    np.testing.assert_allclose(edges["distance"], 1 - edges["weight"])
    p = edge_pvalues(space.v_gk, space.variance_gk, space.covariance_kk, rows=a, columns=b)
    np.testing.assert_allclose(edges["p"], p)
    loadings = np.hstack([space.v_gk, space.w_gd])
    signal = loadings @ space.covariance @ loadings.T
    total = np.diag(signal) + np.maximum(space.noise_g, 1 - np.diag(signal))
    np.testing.assert_allclose(edges["correlation"], (signal / np.sqrt(np.outer(total, total)))[a, b], atol=1e-12)
    assert (edges["q"] >= edges["p"]).all()
    truth = adata.var["truth"]
    within = (truth[edges["gene_a"]].to_numpy() == truth[edges["gene_b"]].to_numpy()) & (
        truth[edges["gene_a"]].to_numpy() >= 0
    )
    assert (edges["q"][within] < 0.01).all() and np.median(edges["p"][~within]) > 0.2


@pytest.mark.parametrize("use_rep", [None, "PCs"])
def test_correlations_are_those_of_the_neighbors(adata, use_rep):
    adata.varm["PCs"] = adata.varm["X_sivae"]  # no noise is known of it
    tl.gene_neighbors(adata, 5, use_rep=use_rep)
    edges = tl.gene_graph(adata)
    both = pd.concat([edges, edges.rename(columns={"gene_a": "gene_b", "gene_b": "gene_a"})])
    known = both.set_index(["gene_a", "gene_b"])["correlation"]
    listed = tl.neighbors_of(adata, list(adata.var_names)).set_index(["gene", "neighbor"])["correlation"]
    listed = listed[[pair in known.index for pair in listed.index]]
    assert len(listed) > adata.n_vars
    np.testing.assert_allclose(known[listed.index], listed, atol=1e-12)


def test_a_graph_without_edges(adata):
    one = adata[:, :1].copy()
    assert tl.gene_graph(one).empty
    assert tl.gene_graph(one, as_="networkx").number_of_nodes() == 1


def test_stored_zeros_and_one_way_distances_are_read(adata):
    names = list(adata.var_names)
    weights = sparse.csr_matrix(([0.5, 0.5, 0.2, 0.2], ([0, 1, 2, 3], [1, 0, 3, 2])), shape=(34, 34))
    distances = sparse.csr_matrix(([0.0, 0.7, 0.3], ([0, 3, 2], [1, 2, 3])), shape=(34, 34))
    adata.varp["sivae_connectivities"], adata.varp["sivae_distances"] = weights, distances
    edges = tl.gene_graph(adata)
    assert {*edges.loc[0, ["gene_a", "gene_b"]]} == {names[0], names[1]} and edges["distance"][0] == 0
    assert edges["distance"][1] == 0.3
    del adata.varp["sivae_distances"]
    assert tl.gene_graph(adata)["distance"].isna().all()


def test_networkx_has_all_genes_and_what_is_known_of_them(adata):
    graph = tl.gene_graph(adata, as_="networkx")
    assert set(graph.nodes) == set(adata.var_names) and graph.number_of_edges() == len(tl.gene_graph(adata))
    first, second = adata.var_names[:2]
    assert graph.nodes[first] == {"module": "module1", "hub": True}
    assert graph.nodes[second]["r2"] == 0.0
    for edge in tl.gene_graph(adata).to_dict("records"):
        found = graph.edges[edge["gene_a"], edge["gene_b"]]
        assert found == {name: edge[name] for name in ("weight", "distance", "correlation", "p", "q")}


def test_graphml_round_trip(adata, tmp_path):
    path = tmp_path / "genes.graphml"
    tl.write_graph(adata, path)
    again = nx.read_graphml(path)
    expected = tl.gene_graph(adata, as_="networkx")
    assert dict(again.nodes(data=True)) == dict(expected.nodes(data=True))
    assert {frozenset(e[:2]): e[2] for e in again.edges(data=True)} == {
        frozenset(e[:2]): e[2] for e in expected.edges(data=True)
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["genes.graphml"]


def test_csv_round_trip(adata, tmp_path):
    tl.write_graph(adata, str(tmp_path / "genes.csv"))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "genes.csv"), tl.gene_graph(adata))


def test_permuting_genes_changes_nothing(adata):
    order = np.random.default_rng(0).permutation(34)
    pd.testing.assert_frame_equal(tl.gene_graph(adata[:, order].copy()), tl.gene_graph(adata))


def test_genes_without_a_position_are_left_out(adata):
    adata.varm["X_sivae"][4] = np.nan
    assert adata.var_names[4] not in tl.gene_graph(adata, as_="networkx")


def test_another_embedding_has_no_pvalues(adata):
    adata.varm["other"] = adata.varm["X_sivae"]
    edges = tl.gene_graph(adata, use_rep="other")
    assert edges["p"].isna().all() and edges["q"].isna().all() and edges["correlation"].notna().all()
    assert "p" not in next(iter(tl.gene_graph(adata, as_="networkx", use_rep="other").edges(data=True)))[2]


def test_files_are_whole_or_absent(adata, tmp_path, monkeypatch):
    path = tmp_path / "genes.csv"
    path.write_text("mine")
    with pytest.raises(ArtefactError, match="exists.*overwrite=True"):
        tl.write_graph(adata, path)

    def broken(*_args, **_options):
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(ArtefactError, match="no space left"):
        patch.setattr(pd.DataFrame, "to_csv", broken)
        tl.write_graph(adata, path, overwrite=True)
    assert path.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    tl.write_graph(adata, path, overwrite=True)
    assert path.read_text().startswith("gene_a")
    with pytest.raises(ArtefactError, match="The graph could not be written"):
        tl.write_graph(adata, tmp_path / "no" / "genes.csv")


def test_what_cannot_work(adata, tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="as_='igraph'"):
        tl.gene_graph(adata, as_="igraph")
    with pytest.raises(OptionError, match="ends in .graphml or .csv"):
        tl.write_graph(adata, tmp_path / "genes.gml")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "networkx", None)
        with pytest.raises(MissingExtraError, match=r"sivae-tools\[graph\]"):
            tl.gene_graph(adata, as_="networkx")
    del adata.varp["sivae_connectivities"]
    with pytest.raises(SetupError, match=r"Call sivae.tl.gene_neighbors\(adata\) first"):
        tl.gene_graph(adata)
