"""Edges between classes of genes, counted one by one."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.stats import false_discovery_control, linregress, spearmanr

from sivae._errors import OptionError, SetupError
from sivae.cohort._classes import edge_classes, gene_classes


@pytest.fixture
def samples():
    samples = made_samples()
    samples.var["kind"] = pd.Categorical(["b"] * 15 + ["a"] * 15 + [None] * 5 + ["c"] * 25)
    return samples


def counted(samples):
    kind = samples.var["kind"]
    table = pd.DataFrame(0, index=samples.obs_names, columns=["a-a", "a-b", "a-c", "b-b", "b-c", "c-c"])
    edges = samples.uns["sivae_cohort"]["edges"]
    for s, row in enumerate(samples.obsm["sivae_edges"].toarray()):
        for a, b in edges[["gene_a", "gene_b"]].to_numpy()[row > 0]:
            ends = sorted(str(kind[gene]) for gene in (a, b) if not pd.isna(kind[gene]))
            if len(ends) == 2:
                table.iloc[s, table.columns.get_loc("-".join(ends))] += 1
    return table


def test_classes_of_human_and_mouse_symbols():
    expected = {
        "MT-CO1": "MT", "mt-Nd3": "MT", "MT.CYB": "MT", "MTOR": "other", "RPL3": "RP", "Rps4x": "RP", "RPSA": "RP",
        "RPLP0": "RP", "RPS6KA1": "other", "Rps6kb1": "other", "RPS6": "RP", "MRPL1": "other", "RPE": "other",
    }  # fmt: skip
    found = gene_classes(expected)
    assert found.to_dict() == expected and found.index.name == "gene"


@pytest.mark.parametrize("form", ["column", "series", "mapping"])
def test_edges_are_counted(samples, form):
    kind = samples.var["kind"]
    classes = {"column": "kind", "series": kind, "mapping": kind.dropna().to_dict()}[form]
    pd.testing.assert_frame_equal(edge_classes(samples, classes), counted(samples))


def test_counts_against_a_phenotype(samples):
    table = edge_classes(samples, "kind", phenotype="severity", n_permutations=999)
    counts, x = counted(samples), samples.obs["severity"]
    assert len(table) == 6 and table["p"].is_monotonic_increasing
    for row in table.itertuples():
        count = counts[f"{row.class_a}-{row.class_b}"]
        assert row.rho == pytest.approx(spearmanr(x, count).statistic)
        assert row.effect == pytest.approx(linregress(x, count).slope) and row.mean == pytest.approx(count.mean())
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))
    lost = table.set_index(["class_a", "class_b"]).loc[("b", "b")]  # the ten planted genes are of this class
    assert lost["q"] < 0.05 and lost["effect"] < 0


def test_p_is_of_the_ranks(samples):
    """A monotone change of the phenotype changes the line and not the ranks."""
    samples.obs["bent"] = np.exp(8 * samples.obs["severity"])
    found, bent = (
        edge_classes(samples, "kind", phenotype=name, n_permutations=999).set_index(["class_a", "class_b"]).sort_index()
        for name in ("severity", "bent")
    )
    pd.testing.assert_frame_equal(found[["mean", "rho", "p", "q"]], bent[["mean", "rho", "p", "q"]])
    assert (found["t"] - bent["t"]).abs().max() > 0.1


def test_order_of_individuals_and_genes(samples, rng):
    moved = samples[rng.permutation(16), rng.permutation(60)].copy()
    pd.testing.assert_frame_equal(edge_classes(moved, "kind").loc[samples.obs_names], edge_classes(samples, "kind"))
    options = {"phenotype": "age", "covariates": ["sex"], "n_permutations": 999}
    pd.testing.assert_frame_equal(edge_classes(moved, "kind", **options), edge_classes(samples, "kind", **options))


def test_pairs_that_no_one_has_are_not_tested(samples):
    classes = pd.Series("rest", index=samples.var_names)
    classes["gene059"] = "lonely"
    edges = samples.uns["sivae_cohort"]["edges"]
    touched = ((edges["gene_a"] == "gene059") | (edges["gene_b"] == "gene059")).to_numpy()
    keep = samples.obsm["sivae_edges"].toarray() * ~touched
    samples.obsm["sivae_edges"] = type(samples.obsm["sivae_edges"])(keep)
    assert edge_classes(samples, classes).columns.tolist() == ["lonely-lonely", "lonely-rest", "rest-rest"]
    table = edge_classes(samples, classes, phenotype="severity", n_permutations=99)
    assert table[["class_a", "class_b"]].to_numpy().tolist() == [["rest", "rest"]]


def test_refusals(samples):
    with pytest.raises(SetupError, match=r"classes is 'sort'; expected a column of var, which has kind.*gene_classes"):
        edge_classes(samples, "sort")
    with pytest.raises(OptionError, match="classes is of type list"):
        edge_classes(samples, ["a"] * 60)
    with pytest.raises(OptionError, match=r"classes has CD3D, none of the 60 genes \(gene000"):
        edge_classes(samples, {"CD3D": "T"})
