"""What the report says of hubs, modules, gene sets and the genes to look at first equals what the AnnData holds."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from page import Page, value

import sivae
from sivae import report

matplotlib.use("Agg")


@pytest.fixture
def worked_out():
    """Hubs and modules with known numbers: the first 20 genes are connected, in two modules."""
    adata = annotated()
    g = adata.n_vars
    adata.var["sivae_hub_score"] = np.linspace(1, 0, g)
    adata.var["sivae_connected_qvalue"] = np.where(np.arange(g) < 20, 1e-5, 0.4)
    adata.var["sivae_connected"] = np.arange(g) < 20
    adata.var["sivae_hub"] = np.arange(g) < 3
    names = np.where(np.arange(g) < 12, "module1", np.where(np.arange(g) < 20, "module2", "unassigned"))
    adata.var["sivae_module"] = pd.Categorical(names)
    adata.var["sivae_module_stability"] = np.where(np.arange(g) < 20, 0.75, np.nan)
    adata.uns["sivae"]["hubs"] = {"score": "norm", "fdr": 0.1, "top": 0.05, "use_rep": "X_sivae"}
    return adata


def tables(page, name):
    return next(table for attributes, table in page.tables if attributes.get("id") == name)


def test_hubs_equal_those_of_the_anndata(worked_out, tmp_path):
    text = report.build(worked_out, tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    rows = tables(page, "hub-table")[1:]
    assert [row[0] for row in rows] == ["GENE0", "GENE1", "GENE2"]
    assert [value(row[1]) for row in rows] == pytest.approx(worked_out.var["sivae_hub_score"][:3], abs=5.1e-4)
    assert rows[0][2] == "1e−05" and rows[0][4] == "module1"
    assert page.by_id["n-connected"] == "20"
    assert "false discovery rate 10 %" in " ".join(text.split())
    assert "the length of the gene" in text


def test_modules_equal_those_of_the_anndata(worked_out, tmp_path):
    page = Page(report.build(worked_out, tmp_path / "r.html").read_text(encoding="utf-8"))
    rows = tables(page, "module-table")[1:]
    assert [row[:3] for row in rows] == [["module1", "12", "0.75"], ["module2", "8", "0.75"]]
    assert rows[1][4].split(", ") == [f"GENE{i}" for i in range(12, 18)]
    members = (worked_out.var["sivae_module"] == "module1").to_numpy()
    v, z = worked_out.varm["X_sivae"], worked_out.obsm["X_sivae"]
    strength = (v[members] ** 2).sum(axis=0) * z.var(axis=0)
    assert rows[0][3] == str(strength.argmax() + 1)
    mean = pd.Series(z @ v[members].mean(axis=0)).groupby(worked_out.obs["cell_type"].to_numpy()).mean()
    assert rows[0][5:7] == [mean.idxmax(), mean.idxmin()]


def test_genes_to_look_at_first_are_the_hubs_of_modules_and_the_ends_of_axes(worked_out, tmp_path):
    page = Page(report.build(worked_out, tmp_path / "r.html").read_text(encoding="utf-8"))
    rows = tables(page, "first-genes")[1:]
    usable = (worked_out.var["sivae_connected"] & (worked_out.var["sivae_r2"] > 0)).to_numpy()
    best = worked_out.var_names[np.flatnonzero(usable)[0]]
    assert rows[0][0] == best and "most central gene of module1" in rows[0][1]
    size = np.where(usable, np.abs(worked_out.varm["X_sivae"][:, 0]), -1)
    assert any(row[0] == worked_out.var_names[size.argmax()] and "axis 1" in row[1] for row in rows)


def test_gene_sets_are_named_where_they_are_enriched(worked_out, tmp_path):
    sets = {"the first <b>": [f"GENE{i}" for i in range(12)], "rest": [f"GENE{i}" for i in range(25, 50)]}
    found = {of: sivae.tl.enrich(worked_out, sets, of=of) for of in ("axes", "modules", "hubs")}
    text = report.build(worked_out, tmp_path / "r.html", enrichment=found).read_text(encoding="utf-8")
    rows = tables(Page(text), "module-table")[1:]
    assert rows[0][7].startswith("the first <b> (q ") and rows[1][7] == "none"
    assert "the first <b>" not in text  # escaped
    best = found["modules"].iloc[0]
    assert (best["group"], best["set"]) == ("module1", "the first <b>")


@pytest.mark.parametrize("method", ["rank", "ora"])
def test_the_ends_of_an_axis_have_the_sets_of_their_side(worked_out, tmp_path, method):
    order = worked_out.var_names[:50][np.argsort(-worked_out.varm["X_sivae"][:50, 0])]
    sets = {"high set": list(order[:12]), "low set": list(order[-12:])}
    table = sivae.tl.enrich(worked_out, sets, method=method, n_top=12)
    text = report.build(worked_out, tmp_path / "r.html", enrichment=table).read_text(encoding="utf-8")
    axis = " ".join(text.split("Axis 1")[1].split("Axis 2")[0].split())
    assert "Gene sets at the high end: high set (q" in axis and "Gene sets at the low end: low set (q" in axis


def test_without_hubs_and_modules_the_page_says_nothing_of_them(tmp_path):
    page_text = report.build(annotated(), tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="hubs"' not in page_text and 'id="modules"' not in page_text


def test_no_hub_is_said_in_words(worked_out, tmp_path):
    worked_out.var["sivae_connected"] = worked_out.var["sivae_hub"] = False
    text = report.build(worked_out, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "none is a hub" in text and "hub-table" not in text
