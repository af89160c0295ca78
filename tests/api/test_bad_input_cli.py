"""Bad input to the command line: one line on stderr, exit code 1, no traceback, no training, nothing left behind."""

import json
import shutil

import anndata as ad
import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner

from sivae import cli
from sivae.datasets import planted

matplotlib.use("Agg")
FIT = ["--n-latent", "2", "--max-epochs", "1", "--n-genes", "all", "--accelerator", "cpu"]
CELL, GENE = "cell_8", "gene_4"


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def cells(rows=slice(None), genes=slice(None)):
    adata = planted(60, 20, n_factors=2, genes_per_factor=6, n_batches=2, signed=True, seed=1)
    adata.X = adata.X.toarray() + (np.arange(20) == 0)
    return adata[rows, genes].copy()


def with_value(value):
    adata = cells()
    adata.X[7, 3] = value
    return adata


def logged():
    adata = cells()
    adata.X = np.log1p(1e4 * adata.X / adata.X.sum(axis=1, keepdims=True)).astype(np.float32)
    return adata


def filled(value, rows=slice(None)):
    adata = cells()
    adata.X[rows] = value
    return adata


def twice(axis):
    adata = cells()
    names = list(getattr(adata, axis))
    setattr(adata, axis, [*names[:-1], names[0]])
    return adata


def no_values():
    adata = cells()
    adata.X = None
    return adata


def batches(values):
    adata = cells()
    adata.obs["batch"] = values
    return adata


def without_batch():
    adata = cells()
    del adata.obs["batch"]
    return adata


FILES = {
    "good": cells,
    "nan": lambda: with_value(np.nan),
    "inf": lambda: with_value(np.inf),
    "negative": lambda: with_value(-1),
    "fraction": lambda: with_value(0.5),
    "logged": logged,
    "empty": lambda: filled(0, slice(4, 6)),
    "constant": lambda: filled(3),
    "one cell": lambda: cells(slice(0, 1)),
    "one gene": lambda: cells(genes=slice(0, 1)),
    "no cells": lambda: cells(slice(0, 0)),
    "no genes": lambda: cells(genes=slice(0, 0)),
    "half the genes": lambda: cells(genes=slice(0, 10)),
    "cells twice": lambda: twice("obs_names"),
    "genes twice": lambda: twice("var_names"),
    "no X": no_values,
    "batch missing": lambda: batches([None, *(["batch_1", "batch_2"] * 30)[1:]]),
    "new batch": lambda: batches("new"),
    "no batch": without_batch,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file of FILES, what is no AnnData, and a run of the good one."""
    made = tmp_path_factory.mktemp("bad")
    for name, make in FILES.items():
        make().write_h5ad(made / f"{name}.h5ad")
    (made / "text.h5ad").write_text("no")
    (made / "table.csv").write_text("a,b")
    (made / "file").write_text("mine")
    (made / "folder.h5ad").mkdir()
    (made / "file.zarr").write_text("no")
    done = sivae("fit", made / "good.h5ad", "-o", made / "run", *FIT, "--batch-key", "batch")
    assert done.exit_code == 0, done.output
    return made


@pytest.fixture
def place(folder, monkeypatch):
    """The folder, as working directory; nothing in it may change, and no training may begin."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sivae.train._loop.run", lambda *_a, **_o: pytest.fail("training began"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    yield folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def refused(words, *said):
    done = sivae(*words)
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.output and isinstance(done.exception, SystemExit)
    missing = [word for word in said if word not in done.stderr]
    assert not missing, f"{missing} not in {done.stderr}"


DATA = {
    "nan": ["X holds nan", CELL, GENE, "expected finite", "Mend"],
    "inf": ["X holds inf", CELL, GENE, "expected finite", "Mend"],
    "negative": ["X holds -1", CELL, GENE, "expected", "Mend"],
    "no cells": ["0 cells", "expected at least one", "Check"],
    "no X": ["Found no X", "expected cells x genes", "layer"],
    "genes twice": ["gene_1 occur more than once", "expected each name once", "var_names_make_unique"],
    "empty": ["2 cells have no counts", "'cell_5'", "expected some", "Drop empty cells"],
    "batch missing": ["obs['batch'] is missing for 1", "'cell_1'", "Fill it in or drop", "expected"],
    "no batch": ["no column 'batch'", "it has: group"],
}
"""Refused by fit and by embed alike."""
FIT_DATA = {
    "one cell": ["1 cell is too few", "expected at least 10", "Check"],
    "no genes": ["0 genes", "expected at least one", "Check"],
    "constant": ["All 20 genes", "constant", "expected genes that vary", "Check"],
    "cells twice": ["cell_1 occur more than once", "expected each name once", "obs_names_make_unique"],
}
EMBED_DATA = {
    "fraction": ["X holds 0.5", CELL, GENE, "expected counts", "Put the counts there"],
    "logged": ["look log-normalised", "expected counts", "Put the counts there"],
    "no genes": ["20 of the 20 modelled genes", "at most 20%", "Check that var_names"],
    "half the genes": ["10 of the 20 modelled genes", "gene_11", "at most 20%", "Check that var_names"],
    "new batch": ["obs['batch'] holds new", "they had: batch_1, batch_2", "Train again"],
}
GENES_DATA = {
    "nan": ["X holds nan", CELL, GENE, "expected finite"],
    "cells twice": ["cell_1 occur more than once", "obs_names_make_unique"],
    "one cell": ["59 of the 60 cells", "cell_2", "pass those cells"],
}


@pytest.mark.parametrize("name", [*DATA, *FIT_DATA])
def test_fit_refuses_data(place, name):
    refused(["fit", f"{name}.h5ad", "-o", "new/run", *FIT, "--batch-key", "batch"], *(DATA | FIT_DATA)[name])


@pytest.mark.parametrize("name", ["nan", "negative", "one cell", "cells twice", "logged"])
def test_fit_refuses_data_when_it_chooses_genes(place, name):
    words = (DATA | FIT_DATA | {"logged": ["look log-normalised", "multiples", "cell_1", "Name the layer"]})[name]
    refused(["fit", f"{name}.h5ad", "-o", "new/run", *FIT, "--n-genes", "10", "--likelihood", "nb"], *words)


def test_fit_refuses_one_gene(place):
    refused(
        ["fit", "one gene.h5ad", "-o", "new/run", *FIT, "--n-latent", "1"],
        "'gene_1'", "constant", "expected genes that vary", "model more genes",
    )  # fmt: skip


@pytest.mark.parametrize("name", [*DATA, *EMBED_DATA])
def test_embed_refuses_data(place, name):
    refused(["embed", "run", f"{name}.h5ad", "-o", "new/out.h5ad"], *(DATA | EMBED_DATA)[name])


@pytest.mark.parametrize("name", GENES_DATA)
def test_embed_genes_refuses_data(place, name):
    refused(["embed", "run", f"{name}.h5ad", "-o", "new/out.h5ad", "--genes"], *GENES_DATA[name])


NO_ADATA = {
    "nothing.h5ad": ["Found no nothing.h5ad", "expected an AnnData", "Check the path"],
    "text.h5ad": ["text.h5ad cannot be read as .h5ad", "Check that the file is whole"],
    "table.csv": ["Found table.csv", "expected a name that ends in .h5ad or .zarr", "anndata.io.read_csv"],
    "file": ["Found file", "expected a name that ends in .h5ad or .zarr", "Write it with anndata"],
    "folder.h5ad": ["is a folder", "expected an h5ad file", "Rename it"],
    "file.zarr": ["is a file", "expected a zarr store", "Rename it"],
}


@pytest.mark.parametrize("name", NO_ADATA)
@pytest.mark.parametrize("command", [["fit"], ["embed", "run"]], ids=["fit", "embed"])
def test_what_is_no_anndata(place, command, name):
    refused([*command, name, "-o", "new/out.h5ad"], *NO_ADATA[name])


OPTIONS = {
    "axes above genes": (["--n-latent", "21"], "n_latent is 21", "expected 1 to 20", "Choose"),
    "axes above chosen": (["--n-latent", "6", "--n-genes", "5"], "n_latent is 6", "expected 1 to 5", "Choose"),
    "no axis": (["--n-latent", "0"], "n_latent is 0", "expected at least 1", "default"),
    "seed": (["--seed", "-1"], "seed is -1", "expected at least 0", "default"),
    "gamma": (["--gamma", "nan"], "gamma is nan", "expected a finite number", "default"),
    "genes": (["--n-genes", "few"], "'few'", "expected a whole number or all", "default"),
    "one gene": (["--n-genes", "1"], "Found 1 genes", "expected at least 2", "default"),
    "epochs": (["--max-epochs", "0"], "Found 0 epochs", "expected at least 1", "Leave it out"),
    "layer": (["--layer", "no"], "no layer 'no'", "expected one of", "Name one"),
    "batch": (["--batch-key", "no"], "no column 'no'", "it has: group, batch", "Name one"),
    "label": (["--label", "no"], "no column 'no'", "expected one of: group, batch", "Name one"),
    "name of a cell": (
        ["--batch-key", "size_factor"],
        "60 different values",
        "expected categories",
        "obs['size_factor']",
    ),
    "text": (["--continuous-covariate", "batch"], "obs['batch'] is not numeric", "expected numbers"),
    "size factor": (
        ["--size-factor-key", "batch"],
        "obs['batch'] is not numeric",
        "expected numbers",
        "another column",
    ),
    "likelihood": (["--likelihood", "no"], "likelihood is 'no'", "expected one of 'auto'", "Choose one"),
    "normalize": (["--normalize", "cpm"], "normalize is 'cpm'", "expected 'auto'"),
    "checkpoint": (["--checkpoint", "file"], "No checkpoint can be written to file", "another folder"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(place, case):
    words, *said = OPTIONS[case]
    refused(["fit", "good.h5ad", "-o", "new/run", *FIT, *words], *said)


def test_log_normalised_values_asked_for_as_counts(place):
    refused(
        ["fit", "logged.h5ad", "-o", "new/run", *FIT, "--normalize", "log1p"],
        "look log-normalised", "expected counts", "Name the layer",
    )  # fmt: skip


TAKEN = [
    (["fit", "good.h5ad", "-o", "run"], "run exists", "expected a new name", "another with -o"),
    (["fit", "good.h5ad", "-o", "file"], "file exists", "expected a new name", "another with -o"),
    (["demo", "-o", "run"], "run exists", "expected a new name", "another with -o"),
    (["embed", "run", "good.h5ad", "-o", "good.h5ad"], "good.h5ad exists", "expected a new name", "another with -o"),
    (["embed", "run", "good.h5ad", "-o", "out.csv"], "Found out.csv", "expected a name that ends in .h5ad", "-o"),
]
UNWRITABLE = [
    (["fit", "good.h5ad", "-o", where], where, "cannot be written", "expected a folder", "another place with -o")
    for where in ("file/run", "/proc/nope/run")
] + [
    (["demo", "-o", "file/run"], "file/run", "cannot be written", "expected a folder", "another place with -o"),
    (["embed", "run", "good.h5ad", "-o", "file/o.h5ad"], "file/o.h5ad", "cannot be written", "another place with -o"),
    (["embed", "run", "good.h5ad", "-o", "/proc/nope/o.h5ad"], "/proc/nope/o.h5ad", "cannot be written", "with -o"),
]


@pytest.mark.parametrize("case", [*TAKEN, *UNWRITABLE], ids=lambda case: " ".join(case[0]))
def test_places_are_refused_before_anything_is_read(place, monkeypatch, case):
    monkeypatch.setattr("sivae._run._cells.open_cells", lambda _: pytest.fail("the data were read"))
    monkeypatch.setattr("sivae._run._use.open_cells", lambda _: pytest.fail("the data were read"))
    monkeypatch.setattr("sivae.datasets.pbmc700", lambda: pytest.fail("the data were read"))
    refused(*case)


@pytest.mark.parametrize("words", [["info"], ["report"], ["explore"], ["embed", "good.h5ad", "-o", "o.h5ad"]])
@pytest.mark.parametrize("run", ["nope", "file"])
def test_what_is_no_run(place, words, run):
    refused([words[0], run, *words[1:]], f"no run.json in {run}", "expected the folder of a run", "sivae fit")


DAMAGE = {
    "half a record": (lambda run: (run / "run.json").write_text("{"), ["info"], "run.json", "damaged"),
    "a short record": (lambda run: _record(run, '{"format": 1}'), ["info"], "lacks data", "expected"),
    "a record that changed": (
        lambda run: (run / "run.json").write_text("{}"), ["info"], "run.json is not as it was", "damaged", "copy"
    ),
    "damaged checksums": (
        lambda run: (run / "checksums.sha256").write_text("x"), ["info"], "checksums.sha256 is damaged", "Copy"
    ),
    "a later record": (lambda run: _later(run), ["info"], "format 99", "expected up to 2", "Update"),
    "no cells": (lambda run: (run / "adata.h5ad").unlink(), ["report"], "adata.h5ad", "expected an AnnData", "Check"),
    "bad sets": (
        lambda run: (run / "tables/enrichment_axes.csv").write_text(""), ["explore"], "enrichment_axes.csv", "damaged"
    ),
    "bad cells": (lambda run: (run / "adata.h5ad").write_text("x"), ["report"], "cannot be read", "whole"),
    "no model": (lambda run: shutil.rmtree(run / "model"), ["embed"], "not a saved model", "Expected", "the path"),
    "bad weights": (
        lambda run: (run / "model/weights.safetensors").write_bytes(b"x"), ["embed"], "is not as it was written",
        "copy it again",
    ),
}  # fmt: skip


def _later(run):
    record = json.loads((run / "run.json").read_text())
    _record(run, json.dumps(record | {"format": 99}))


def _record(run, text):
    """Another record, in a run without checksums."""
    (run / "run.json").write_text(text)
    (run / "checksums.sha256").unlink()


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run(place, tmp_path, case):
    damage, command, *said = DAMAGE[case]
    shutil.copytree(place / "run", tmp_path / "run")
    damage(tmp_path / "run")
    more = ["good.h5ad", "-o", tmp_path / "out.h5ad"] if command == ["embed"] else []
    refused([*command, tmp_path / "run", *more], *said)
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("odd\nsecond line"), ["ValueError: odd.", "--debug", "report it"]),
        (OSError(28, "No space left on device"), ["No space left on device", "Nothing was written"]),
    ],
)
def test_what_nobody_foresaw_is_one_line_too(place, monkeypatch, error, said):
    def broken(*_words, **_named):
        raise error

    monkeypatch.setattr("sivae.model._sivae.SiVAE.train", broken)
    refused(["fit", "good.h5ad", "-o", "new/run", *FIT], *said)
    done = sivae("--debug", "fit", "good.h5ad", "-o", "new/run", *FIT)
    assert done.exception is error


# ------------------------------------------------------------------------------------------------- stated behaviour


def test_log_normalised_values_are_noted_and_taken_as_they_are(folder, tmp_path):
    done = sivae("fit", folder / "logged.h5ad", "-o", tmp_path / "run", *FIT)
    assert done.exit_code == 0, done.output
    assert "Note: the values are no counts; they are taken as they are" in done.stdout and "--layer" in done.stdout
    assert json.loads((tmp_path / "run/run.json").read_text())["model"]["likelihood"] == "normal"


def test_new_cells_whose_names_occur_twice_are_placed_in_order(folder, tmp_path):
    for name in ("good", "cells twice"):
        done = sivae("embed", folder / "run", folder / f"{name}.h5ad", "-o", tmp_path / f"{name}.h5ad")
        assert done.exit_code == 0, done.output
    with pytest.warns(UserWarning, match="not unique"):
        found = ad.read_h5ad(tmp_path / "cells twice.h5ad").obsm["X_sivae"]
    np.testing.assert_array_equal(found, ad.read_h5ad(tmp_path / "good.h5ad").obsm["X_sivae"])
