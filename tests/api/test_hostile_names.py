"""Names that nobody should give: of genes, cells, columns, categories, layers, files. Taken, or refused in words."""

import json
import re
import warnings

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
from builders import SMALL, train
from doors import CALLS, World, cells, files
from typer.testing import CliRunner

import sivae
from sivae import SiVAE, cli, pl, tl
from sivae._errors import SiVAEError
from sivae.datasets import planted

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

NAMES = {
    "emoji": "🧬🐁",
    "right to left": "\u202eabc",
    "hebrew": "אבג",
    "newline": "a\nb",
    "tab": "a\tb",
    "carriage": "a\rb",
    "escape": "\x1b[31mred",
    "up": "../../x",
    "slash": "a/b",
    "backslash": "a\\b",
    "script": "<script>alert(1)</script>",
    "quote": "\"><img src=x onerror=alert(1)>'",
    "end of script": "</script><b>",
    "template": "{{ 7 * 7 }}{% x %}${x}",
    "math": "$\\frac{1}{2}$ _x^y",
    "long": "x" * 10_000,
    "formula": "=1+1",
    "at": "@SUM(A1)",
    "minus": "-2+3",
    "empty": "",
    "space": " ",
    "number": "1",
    "nan": "nan",
    "none": "None",
    "percent": "%s%n",
    "separator": "a\u2028b",
    "comma": 'a,"b"',
    "nul": "a\0b",
    "surrogate-free": "e\u0301",
}  # fmt: skip
IN_FILES = {key: name for key, name in NAMES.items() if key != "nul"}
"""HDF5 keeps no NUL within a text."""


def hostile():
    """Cells whose first genes, cells and categories are named so."""
    names = tuple(IN_FILES.values())
    adata = planted(150, 40, n_factors=2, genes_per_factor=18, signed=True, seed=3)
    adata.X = adata.X.toarray() + (np.arange(40) == 0)
    adata.var_names = [*names, *(f"g{i}" for i in range(40 - len(names)))]
    adata.obs_names = [*names, *(f"c{i}" for i in range(150 - len(names)))]
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(150) % 2, "<b>=1\n", "b/2"))
    adata.obs["kind"] = pd.Categorical([list(names)[i % 5 + 8] for i in range(150)])
    return adata


@pytest.fixture(scope="module")
def made():
    adata = hostile()
    SiVAE.setup_anndata(adata, batch_key="batch")
    model = SiVAE(adata, n_latent=2, n_profile=10, architecture=SMALL)
    train(model, max_steps=5, checks=2)
    model.annotate(adata)
    tl.gene_neighbors(adata, 5)
    tl.hubs(adata)
    tl.modules(adata, 1.0, min_size=2, fdr=0.9, n_resamples=4)
    return adata, model


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_they_are_rows_of_every_result(made):
    adata, model = made
    assert list(model.get_feature_representation().index) == list(adata.var_names)
    assert list(model.get_normalized_expression().index) == list(adata.obs_names)
    assert set(tl.rank_loadings(adata, n_genes=None)["gene"]) == set(adata.var_names)
    assert set(tl.hub_table(adata).index) == set(adata.var_names)


@pytest.mark.parametrize("key", IN_FILES)
def test_a_gene_is_found_by_its_name(made, key):
    adata, model = made
    name = NAMES[key]
    alone = model.get_normalized_expression(gene_list=[name])
    assert list(alone.columns) == [name]
    np.testing.assert_allclose(alone[name], model.get_normalized_expression()[name], rtol=1e-5)
    assert (tl.neighbors_of(adata, [name])["gene"] == name).all()


@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize("door", ["genes", "column", "layer", "rep", "batch", "model", "report", "gmt"])
def test_what_is_not_there_is_said_in_one_printable_line(made, tmp_path, monkeypatch, key, door):
    adata, model = made
    name, before = f"{NAMES[key]} not there", files(tmp_path)
    monkeypatch.chdir(tmp_path)
    calls = {
        "genes": lambda: tl.neighbors_of(adata, [name]),
        "column": lambda: SiVAE.setup_anndata(cells(), batch_key=name),
        "layer": lambda: SiVAE.setup_anndata(cells(), layer=name),
        "rep": lambda: tl.gene_neighbors(adata, use_rep=name),
        "batch": lambda: model.get_normalized_expression(transform_batch=name),
        "model": lambda: SiVAE.load(name),
        "report": lambda: sivae.report.build(adata, f"no such folder/{name}.html"),
        "gmt": lambda: tl.read_gmt(f"{name}.gmt"),
    }
    with pytest.raises(SiVAEError) as caught:
        calls[door]()
    said = str(caught.value)
    assert said.isprintable() and len(said) < 1000, repr(said)
    assert files(tmp_path) == before


def test_a_model_with_such_names_is_the_same_after_saving(made, tmp_path):
    adata, model = made
    model.save(tmp_path / "model")
    loaded = SiVAE.load(tmp_path / "model", adata)
    assert loaded.genes == model.genes
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
    np.testing.assert_array_equal(loaded.get_feature_representation(), model.get_feature_representation())


def test_an_annotated_file_with_such_names_is_the_same_after_writing(made, tmp_path):
    adata, _ = made
    path = sivae.io.write_h5ad(adata, tmp_path / "cells.h5ad")
    found = ad.read_h5ad(path)
    assert list(found.var_names) == list(adata.var_names) and list(found.obs_names) == list(adata.obs_names)
    np.testing.assert_array_equal(found.varm["X_sivae"], adata.varm["X_sivae"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_report_and_explorer_show_them_as_text(made, tmp_path):
    adata, _ = made
    report = sivae.report.build(adata, tmp_path / "report.html", label="kind").read_text()
    explorer = sivae.explorer.build(adata, tmp_path / "explorer.html", label="kind").read_text()
    for page in (report, explorer):
        assert "<script>alert(1)" not in page
        assert "<img src=x" not in page
        assert not re.search(r"</script><b>", page)
        assert "{{ 7 * 7 }}" in page or "{{" not in page
        assert "49{% x %}" not in page


@pytest.mark.parametrize("plot", ["genes", "loadings", "hubs", "biplot", "cells", "history"])
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_plots_draw_them(made, tmp_path, plot):
    adata, _ = made
    drawn = getattr(pl, plot)(adata)
    pl.save(drawn, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size > 1000


@pytest.mark.parametrize("door", ["tl.write_graph", "tl.read_gmt", "report.build", "explorer.build", "io.write_h5ad"])
@pytest.mark.parametrize(
    "name", ["a\0b", "x" * 300, "", "no/such/folder/x.csv"], ids=["nul", "long", "empty", "folder"]
)
def test_files_that_cannot_be_named_so(tmp_path, monkeypatch, door, name):
    monkeypatch.chdir(tmp_path)
    function, given = CALLS[door](World(tmp_path))
    before = files(tmp_path)
    with pytest.raises(SiVAEError) as caught:
        function(**(given | {"path": name}))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["a\nb.csv", "=x.csv", "$(x).csv", "🧬.csv", "-o.csv", "a;b.csv"])
def test_files_that_may_be_named_so(made, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    tl.write_graph(made[0], name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_keys_with_a_slash_are_refused_before_they_are_written():
    given = cells()
    with pytest.raises(SiVAEError, match="key_added is 'a/b'.*without / and NUL"):
        sivae.pp.select_genes(given, 5, key_added="a/b")
    assert "a/b" not in given.var


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_the_command_takes_them(tmp_path):
    adata = hostile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(tmp_path / "cells.h5ad")
    words = ["--n-latent", "2", "--max-epochs", "1", "--n-genes", "all", "--accelerator", "cpu", "--batch-key", "batch"]
    run = tmp_path / "run"
    done = CliRunner().invoke(cli.app, ["fit", str(tmp_path / "cells.h5ad"), "-o", str(run), *words, "--label", "kind"])
    assert done.exit_code == 0, done.output
    record = json.loads((run / "run.json").read_text())
    assert record["model"]
    page = (run / "report.html").read_text() + (run / "explorer.html").read_text()
    assert "<script>alert(1)" not in page and "<img src=x" not in page
    for command in (["info"], ["hubs"], ["loadings"], ["modules"], ["neighbors", "", "=1+1"][:1] + ["=1+1"]):
        told = CliRunner().invoke(cli.app, [command[0], str(run), *command[1:]])
        assert told.exit_code == 0, told.output
        assert "\x1b[31m" not in told.stdout and "\u202e" not in told.stdout, command
    inside = {path.resolve() for path in run.rglob("*")}
    assert all(run.resolve() in path.parents for path in inside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "run"]


@pytest.mark.parametrize("key", ["newline", "escape", "right to left", "long", "script", "empty", "formula"])
def test_a_wrong_name_on_the_command_line_is_one_line(tmp_path, key):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    name = NAMES[key] + " not there"
    done = CliRunner().invoke(
        cli.app, ["fit", str(tmp_path / "cells.h5ad"), "-o", str(tmp_path / "run"), "--layer", name]
    )
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable() and len(done.stderr) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]
