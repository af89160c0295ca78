"""The gene space of a run on the command line: tables for people and for programs, and plain errors."""

import json
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from explorer_pages import Page
from typer.testing import CliRunner

from sivae import cli
from sivae._run import _gene_space
from sivae.datasets import planted


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def table(*words):
    done = sivae(*words, "--csv")
    assert done.exit_code == 0, done.output
    return pd.read_csv(StringIO(done.stdout))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two planted modules of 20 genes and 20 genes that follow nothing, with gene sets."""
    folder = tmp_path_factory.mktemp("genes")
    adata = planted(1500, 60, n_factors=2, genes_per_factor=20, seed=2)
    adata.write_h5ad(folder / "cells.h5ad")
    names = list(adata.var_names)
    sets = {"first": names[:20], "second": names[20:40], "others": names[40:], "tiny": names[:2]}
    (folder / "sets.gmt").write_text("".join(f"{name}\tx\t" + "\t".join(genes) + "\n" for name, genes in sets.items()))
    words = ["--n-latent", 2, "--max-epochs", 10, "--accelerator", "cpu", "--n-genes", "all"]
    done = sivae("fit", folder / "cells.h5ad", "-o", folder / "run", *words, "--gene-sets", folder / "sets.gmt")
    assert done.exit_code == 0, done.output
    assert "genes follow others" in done.stdout and "modules" in done.stdout
    return folder / "run", names


def test_fit_keeps_the_tables(run):
    folder, names = run
    kept = {file.stem for file in (folder / "tables").iterdir()}
    assert kept >= {
        "loadings",
        "explained_variance",
        "hubs",
        "neighbors",
        "modules",
        "enrichment_axes",
        "enrichment_hubs",
    }
    assert set(pd.read_csv(folder / "tables" / "hubs.csv")["gene"]) == set(names)
    found = pd.read_csv(folder / "tables" / "enrichment_modules.csv")
    assert set(found[found["q"] < 0.05]["set"]) == {"first", "second"}


def test_the_explorer_knows_the_gene_space_and_the_sets(run):
    folder, _ = run
    account = Page(folder / "explorer.html").account
    table = pd.read_csv(folder / "tables" / "enrichment_modules.csv")
    for module, part in table[table["q"] <= 0.05].groupby("group"):
        assert [found["set"] for found in account["enrichment"][module]] == part.sort_values("q")["set"].tolist()
    assert account["genes"]["module"]["names"] == ["module1", "module2"]
    assert account["genes"]["neighbors"]["n"] == 20 and account["genes"]["hub"] is not None


def test_neighbors_are_genes_of_the_same_module(run):
    folder, names = run
    found = table("neighbors", folder, names[3], names[25], "-n", 5)
    assert found["gene"].tolist() == [names[3]] * 5 + [names[25]] * 5
    assert set(found["neighbor"][:5]) <= set(names[:20]) and set(found["neighbor"][5:]) <= set(names[20:40])
    assert (found["q"] < 0.01).all()


def test_more_neighbors_or_another_metric_are_found_again_and_nothing_is_written(run):
    folder, names = run
    before = (folder / "adata.h5ad").read_bytes()
    assert len(table("neighbors", folder, names[0], "-n", 30)) == 30
    cosine = table("neighbors", folder, names[0], "--metric", "cosine", "-n", 3)
    assert len(cosine) == 3 and (folder / "adata.h5ad").read_bytes() == before


def test_hubs_are_connected_genes_first(run):
    folder, names = run
    found = table("hubs", folder, "-n", 10)
    assert len(found) == 10 and set(found["gene"]) <= set(names[:40])
    assert found["score"].is_monotonic_decreasing and found["connected"].all()
    by_norm = table("hubs", folder, "--all", "--score", "norm")
    assert len(by_norm) == 60 and by_norm["norm"].is_monotonic_decreasing


def test_modules_and_their_members(run):
    folder, names = run
    summary = table("modules", folder)
    assert summary["genes"].sum() <= 40 and len(summary) == 2
    members = table("modules", folder, "module1")
    halves = [set(members["gene"]) <= set(part) for part in (names[:20], names[20:40])]
    assert sum(halves) == 1


def test_loadings_are_those_of_the_annotated_cells(run):
    folder, _ = run
    adata = _gene_space.open_gene_space(folder)
    found = table("loadings", folder, "--axis", 1, "--all").set_index("gene")["loading"]
    np.testing.assert_allclose(found, adata.var_names.to_series().map(dict(zip(
        adata.var_names, adata.varm["X_sivae"][:, 0], strict=True
    )))[found.index], rtol=1e-6)  # fmt: skip
    assert adata.X is None


def test_enrichment(run):
    folder, _ = run
    found = table("enrich", folder, folder.parent / "sets.gmt", "--of", "modules")
    assert set(found["set"]) == {"first", "second"}
    none = sivae("enrich", folder, folder.parent / "sets.gmt", "--q", "0")
    assert none.exit_code == 0 and "sets is enriched at q <= 0" in none.stdout


@pytest.mark.parametrize("words", [["hubs"], ["modules"], ["loadings"]])
def test_three_forms_hold_the_same(run, words):
    folder, _ = run
    people, rows = sivae(words[0], folder).stdout, json.loads(sivae(words[0], folder, "--json").stdout)
    as_csv = table(words[0], folder)
    assert len(rows) == len(as_csv) == len(people.splitlines()) - 1
    assert list(rows[0]) == list(as_csv.columns)
    assert people.splitlines()[0].split()[0] == as_csv.columns[0]
    assert max(map(len, people.splitlines())) < 160


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["neighbors", "{run}", "GENE_3"], "Did you mean gene_3"),
        (["neighbors", "{run}", "{gene}", "-n", "60"], "expected 1 to 59"),
        (["neighbors", "{run}", "{gene}", "--metric", "taxi"], "expected one of auto"),
        (["hubs", "{run}", "--score", "beauty"], "expected one of"),
        (["modules", "{run}", "module99"], "expected one of: module1"),
        (["loadings", "{run}", "--axis", "3"], "expected 1 to 2"),
        (["enrich", "{run}", "no.gmt"], "no.gmt"),
        (["enrich", "{run}", "{sets}", "--of", "cells"], "axes"),
        (["hubs", "nowhere"], "no run.json"),
    ],
)
def test_errors_are_one_line(run, words, message):
    folder, names = run
    places = {"run": folder, "gene": names[0], "sets": folder.parent / "sets.gmt"}
    done = sivae(*[word.format(**places) for word in words])
    assert done.exit_code == 1 and message in done.stderr, done.output
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_gene_set_file_is_refused_before_training(tmp_path):
    planted(100, 30).write_h5ad(tmp_path / "cells.h5ad")
    done = sivae("fit", tmp_path / "cells.h5ad", "-o", tmp_path / "run", "--gene-sets", tmp_path / "none.gmt")
    assert done.exit_code == 1 and "none.gmt" in done.stderr and "Read " not in done.stdout
    assert not (tmp_path / "run").exists()


def test_without_the_extra_fit_goes_on_and_says_so(tmp_path, monkeypatch):
    planted(100, 30, n_factors=1, genes_per_factor=10).write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr(_gene_space, "find_spec", lambda _: None)
    done = sivae("fit", tmp_path / "cells.h5ad", "-o", tmp_path / "run", "--max-epochs", 1, "--n-latent", 2)
    assert done.exit_code == 0 and "modules need the extra modules" in done.stdout
    done = sivae("modules", tmp_path / "run")
    assert done.exit_code == 1 and "sivae-tools[modules]" in done.stderr


def test_json_keeps_every_digit_of_small_numbers():
    from sivae.cli._genes import _json

    frame = pd.DataFrame({"gene": ["é"], "p": [2.27e-85], "effect": [np.inf], "n": np.array([3]), "hub": [True]})
    assert json.loads(_json(frame)) == [{"gene": "é", "p": 2.27e-85, "effect": None, "n": 3, "hub": True}]
    assert json.loads(_json(frame[:0])) == []
