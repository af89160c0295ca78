"""Bad input to the Python doors: errors say what was found, expected and to do, before long work (docs/errors.md)."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from builders import SMALL, train
from scipy import sparse

import sivae
from sivae import Architecture, SiVAE, TrainOptions
from sivae._errors import (
    ArtefactError,
    CellMismatchError,
    GeneMismatchError,
    OptionError,
    SetupError,
    SiVAEError,
    SiVAEWarning,
)
from sivae.datasets import planted

matplotlib.use("Agg")
CELL, GENE = "cell_8", "gene_4"


def cells(rows=slice(None), genes=slice(None)):
    """60 cells x 20 genes of counts in two batches, dense, no cell empty."""
    adata = planted(60, 20, n_factors=2, genes_per_factor=6, n_batches=2, signed=True, seed=1)
    adata.X = adata.X.toarray() + (np.arange(20) == 0)
    return adata[rows, genes].copy()


def with_value(value, adata=None):
    adata = cells() if adata is None else adata
    adata.X[7, 3] = value
    return adata


def logged(genes=slice(None)):
    adata = cells()
    adata.X = np.log1p(1e4 * adata.X / adata.X.sum(axis=1, keepdims=True)).astype(np.float32)
    return adata[:, genes].copy()


def empty_cell():
    adata = cells()
    adata.X[4:6] = 0
    return adata


def constant():
    adata = cells()
    adata.X[:] = 3
    return adata


def no_values():
    adata = cells()
    adata.X = None
    return adata


def twice(axis):
    adata = cells()
    names = list(getattr(adata, axis))
    setattr(adata, axis, [*names[:-1], names[0]])
    return adata


def column(key, values, adata=None):
    adata = cells() if adata is None else adata
    adata.obs[key] = values
    return adata


def no_batch_of_one():
    return column("batch", [None, *(["batch_1", "batch_2"] * 30)[1:]])


def without_batch():
    adata = cells()
    del adata.obs["batch"]
    return adata


def set_up(adata=None, **options):
    adata = cells() if adata is None else adata
    SiVAE.setup_anndata(adata, **options)
    return adata


def fit(adata=None, setup=None, steps=2, **options):
    model = SiVAE(set_up(adata, **(setup or {})), **({"n_latent": 2, "n_profile": 10, "architecture": SMALL} | options))
    train(model, max_steps=steps, checks=2)
    return model


@pytest.fixture(scope="module")
def trained():
    return fit(setup={"batch_key": "batch"}, steps=5)


@pytest.fixture(scope="module")
def trained_on_values():
    return fit(logged(), steps=5)


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """No training begins, and no file is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sivae.train._loop.run", lambda *_a, **_o: pytest.fail("training began"))
    (tmp_path / "file").write_text("mine")
    yield tmp_path
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def refused(call, error, *words):
    with pytest.raises(SiVAEError) as caught:
        call()
    assert type(caught.value) is error
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value}"


# ------------------------------------------------------------------------------------------------- what is no AnnData

DOORS = {
    "setup_anndata": lambda model, adata: SiVAE.setup_anndata(adata),
    "SiVAE": lambda model, adata: SiVAE(adata),
    "cells": lambda model, adata: model.get_latent_representation(adata),
    "genes": lambda model, adata: model.get_feature_representation(adata),
    "expression": lambda model, adata: model.get_normalized_expression(adata),
    "elbo": lambda model, adata: model.get_elbo(adata),
    "error": lambda model, adata: model.get_reconstruction_error(adata),
    "annotate": lambda model, adata: model.annotate(adata),
    "select_genes": lambda model, adata: sivae.pp.select_genes(adata),
    "pl.cells": lambda model, adata: sivae.pl.cells(adata),
    "pl.genes": lambda model, adata: sivae.pl.genes(adata),
    "pl.loadings": lambda model, adata: sivae.pl.loadings(adata),
    "pl.history": lambda model, adata: sivae.pl.history(adata),
    "report": lambda model, adata: sivae.report.build(adata, "report.html"),
    "explorer": lambda model, adata: sivae.explorer.build(adata, "explorer.html"),
}
NO_ADATA = [
    ("cells.h5ad", "str 'cells.h5ad'", "anndata.read_h5ad(path)"),
    (Path("cells.h5ad"), "'cells.h5ad'", "anndata.read_h5ad(path)"),
    (np.eye(3), "ndarray", "anndata.AnnData(matrix)"),
    (sparse.eye(3, format="csr"), "csr_matrix", "anndata.AnnData(matrix)"),
    (3, "int", "Pass an AnnData"),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("thing", "found", "advice"), NO_ADATA, ids=lambda value: type(value).__name__)
def test_what_is_no_anndata(trained, nothing_left, door, thing, found, advice):
    refused(lambda: DOORS[door](trained, thing), SetupError, "Found", found, "expected an AnnData", advice)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "pl.history"])
def test_a_data_frame_is_no_anndata(trained, nothing_left, door):
    frame = pd.DataFrame(np.eye(3))
    refused(lambda: DOORS[door](trained, frame), SetupError, "Found DataFrame", "anndata.AnnData(frame)")


# ---------------------------------------------------------------------------------------- set-up, the model, training

SETUP = {
    "nan": (lambda: set_up(with_value(np.nan)), SetupError, "X holds nan", CELL, GENE, "expected finite", "Mend"),
    "inf": (lambda: set_up(with_value(np.inf)), SetupError, "X holds inf", CELL, GENE, "expected finite", "Mend"),
    "negative": (
        lambda: set_up(with_value(-1)),
        SetupError, "X holds -1", CELL, GENE, "expected counts", "normalize='none'",
    ),
    "negative under log1p": (
        lambda: set_up(with_value(-0.5), normalize="log1p"),
        SetupError, "-0.5", CELL, GENE, "at least 0", "normalize='none'",
    ),
    "log-normalised under log1p": (
        lambda: set_up(logged(), normalize="log1p"),
        SetupError, "look log-normalised", "sums to about 10,000", "expected counts", "Name the layer", "gene_1",
    ),
    "log-normalised, some genes": (
        lambda: set_up(logged(slice(0, 15)), normalize="log1p"),
        SetupError, "look log-normalised", "multiples", "expected counts", "Name the layer",
    ),
    "no X": (lambda: set_up(no_values()), SetupError, "Found no X", "expected cells x genes", "layer='counts'"),
    "layer": (lambda: set_up(layer="nope"), SetupError, "no layer 'nope'", "expected one of", "Name one"),
    "layer kind": (lambda: set_up(layer=3), SetupError, "layer is 3", "expected the name", "Give one"),
    "batch": (lambda: set_up(batch_key="nope"), SetupError, "no column 'nope'", "it has: group, batch", "Name one"),
    "batch kind": (lambda: set_up(batch_key=["batch"]), SetupError, "batch_key is ['batch']", "expected the name"),
    "batch missing": (
        lambda: set_up(no_batch_of_one(), batch_key="batch"),
        SetupError, "obs['batch'] is missing for 1", "'cell_1'", "Fill it in or drop", "expected",
    ),
    "bare text": (
        lambda: set_up(categorical_covariate_keys="batch"), SetupError, "'batch'", "expected a list", "['batch']"
    ),
    "a frame": (
        lambda: set_up(categorical_covariate_keys=pd.DataFrame()), SetupError, "expected a list of names", "Write one"
    ),
    "size factor": (
        lambda: set_up(column("depth", [1.0] * 59 + [0.0]), size_factor_key="depth"),
        SetupError, "obs['depth'] must be positive", "'cell_60'", "drop the cell",
    ),
    "size factor kind": (
        lambda: set_up(size_factor_key="batch"), SetupError, "obs['batch'] is not numeric", "expected numbers"
    ),
    "cells twice": (
        lambda: set_up(twice("obs_names")),
        SetupError, "cell_1 occur more than once", "expected each name once", "obs_names_make_unique()",
    ),
    "genes twice": (
        lambda: set_up(twice("var_names")),
        SetupError, "gene_1 occur more than once", "expected each name once", "var_names_make_unique()",
    ),
    "normalize": (lambda: set_up(normalize="cpm"), SetupError, "normalize is 'cpm'", "expected 'auto'", "decide"),
    "no cells": (lambda: set_up(cells(slice(0, 0))), SetupError, "0 cells", "expected at least one", "Check"),
    "no genes": (lambda: set_up(cells(genes=slice(0, 0))), SetupError, "0 genes", "expected at least one", "Check"),
}  # fmt: skip
MODEL = {
    "not set up": (lambda: SiVAE(cells()), SetupError, "not set up", "Call SiVAE.setup_anndata"),
    "log-normalised as counts": (
        lambda: fit(logged(), likelihood="nb"),
        OptionError, "needs whole-number counts", "look log-normalised", "10,000", "cell_1", "Name the layer",
    ),
    "fractions as counts": (
        lambda: fit(with_value(0.5), likelihood="poisson"),
        OptionError, "needs whole-number counts", "X holds 0.5", CELL, GENE, "likelihood='normal'",
    ),
    "one cell": (lambda: fit(cells(slice(0, 1))), SetupError, "1 cell is too few", "expected at least 10", "Check"),
    "few cells": (lambda: fit(cells(slice(0, 9))), SetupError, "9 cells are too few", "expected at least 10"),
    "one gene": (
        lambda: fit(cells(genes=slice(0, 1)), n_latent=1),
        SetupError, "'gene_1'", "constant", "expected genes that vary", "model more genes",
    ),
    "all constant": (lambda: fit(constant()), SetupError, "All 20 genes", "gene_1", "expected genes that vary"),
    "empty cells": (
        lambda: fit(empty_cell()),
        SetupError, "no counts over the 20 modelled genes", "'cell_5'", "expected some", "Drop empty cells",
    ),
    "axes above genes": (lambda: fit(n_latent=21), OptionError, "n_latent is 21", "expected 1 to 20", "Choose"),
    "axes above cells": (
        lambda: fit(cells(slice(0, 15)), n_latent=18, n_profile=18),
        OptionError, "n_latent is 18", "expected at most 1", "fewer axes",
    ),
    "axes text": (lambda: fit(n_latent="10"), OptionError, "n_latent is '10' (str)", "expected a whole number"),
    "axes flag": (lambda: fit(n_latent=True), OptionError, "n_latent is True", "expected a whole number"),
    "axes fraction": (lambda: fit(n_latent=2.5), OptionError, "n_latent is 2.5", "expected a whole number"),
    "axes none": (lambda: fit(n_latent=None), OptionError, "n_latent is None", "expected a whole number"),
    "axes nan": (lambda: fit(n_latent=np.nan), OptionError, "n_latent is nan", "expected a whole number"),
    "axes inf": (lambda: fit(n_latent=np.inf), OptionError, "n_latent is inf", "expected a whole number"),
    "profile text": (lambda: fit(n_profile="all"), OptionError, "n_profile is 'all'", "whole number", "Leave it out"),
    "seed": (lambda: fit(seed=-1), OptionError, "seed is -1", "expected at least 0", "default"),
    "gamma": (lambda: fit(gamma="1"), OptionError, "gamma is '1' (str)", "expected a finite number", "default"),
    "likelihood": (lambda: fit(likelihood="nope"), OptionError, "'nope'", "expected one of 'auto'", "Choose one"),
    "likelihood kind": (lambda: fit(likelihood=["nb"]), OptionError, "['nb']", "expected one of", "Choose one"),
    "profiles": (lambda: fit(profiles="nope"), SetupError, "varm['nope']", "varm holds", "Choose one"),
    "profiles kind": (lambda: fit(profiles=3), OptionError, "profiles is 3", "expected 'principal'", "Name one"),
    "architecture": (lambda: fit(architecture={}), OptionError, "is a dict", "expected sivae.Architecture", "Write"),
}  # fmt: skip
TRAINING = {
    "epochs": ({"max_epochs": 0}, "max_epochs is 0", "expected at least 1", "default"),
    "epochs fraction": ({"max_epochs": 1.5}, "max_epochs is 1.5", "expected a whole number", "default"),
    "batch": ({"batch_size": "64"}, "batch_size is '64' (str)", "expected a whole number", "default"),
    "batch none": ({"batch_size": None}, "batch_size is None", "expected a whole number", "default"),
    "genes": ({"feature_batch_size": -3}, "feature_batch_size is -3", "expected at least 1", "default"),
    "options": ({"options": {"checks": 3}}, "options is a dict", "expected sivae.TrainOptions", "Write"),
    "device": ({"accelerator": "tpu"}, "accelerator is 'tpu'", "expected 'auto'"),
    "checkpoint": ({"checkpoint_dir": 3}, "checkpoint_dir is 3", "expected a path", "Give its name"),
}


@pytest.mark.parametrize("case", SETUP)
def test_set_up(nothing_left, case):
    refused(*SETUP[case])


@pytest.mark.parametrize("case", MODEL)
def test_the_model(nothing_left, case):
    refused(*MODEL[case])


@pytest.mark.parametrize("case", TRAINING)
def test_arguments_of_training(nothing_left, case):
    options, *words = TRAINING[case]
    model = SiVAE(set_up(), n_latent=2, architecture=SMALL)
    refused(lambda: model.train(**({"progress": False} | options)), OptionError, *words)
    assert not model.is_trained


@pytest.mark.parametrize("value", ["3", True, 2.5, None])
def test_train_options_of_the_wrong_kind(value):
    refused(lambda: TrainOptions(checks=value), OptionError, f"TrainOptions.checks is {value!r}", "whole number")


@pytest.mark.parametrize("sizes", [{"n_joint": "8"}, {"cell_encoder": 128}, {"cell_decoder": (2.5,)}])
def test_architecture_of_the_wrong_kind(sizes):
    name = next(iter(sizes))
    refused(lambda: Architecture(**sizes), OptionError, f"Architecture.{name} is", "expected a ")


@pytest.mark.parametrize("place", ["file", "/proc/nope"])
def test_a_checkpoint_folder_that_cannot_be_written(nothing_left, place):
    model = SiVAE(set_up(), n_latent=2, architecture=SMALL)
    refused(
        lambda: model.train(progress=False, checkpoint_dir=place),
        ArtefactError, "No checkpoint can be written", place, "Choose another folder",
    )  # fmt: skip


CHANGED = {
    "nan": (lambda adata: with_value(np.nan, adata), SetupError, "X holds nan", CELL, GENE, "expected finite"),
    "negative": (lambda adata: with_value(-2, adata), SetupError, "X holds -2", CELL, GENE, "at least 0", "Mend"),
    "logged": (
        lambda adata: setattr(adata, "X", logged().X),
        SetupError, "expected counts", "look log-normalised", "10,000", "Put the counts there", "gene_1",
    ),
    "genes gone": (
        lambda adata: adata._inplace_subset_var(np.arange(15)),
        GeneMismatchError, "5 of the 20 genes", "gene_16", "expected all", "Make the model anew",
    ),
    "cells twice": (lambda adata: setattr(adata, "obs_names", twice("obs_names").obs_names), SetupError, "cell_1"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_data_that_changed_after_set_up(nothing_left, case):
    change, *said = CHANGED[case]
    adata = set_up()
    model = SiVAE(adata, n_latent=2, architecture=SMALL)
    change(adata)
    refused(lambda: train(model, max_steps=2), *said)


# --------------------------------------------------------------------------------------------------------- new cells

QUERY = {
    "nan": (lambda: with_value(np.nan), SetupError, "X holds nan", CELL, GENE, "expected finite", "Mend"),
    "inf": (lambda: with_value(np.inf), SetupError, "X holds inf", CELL, GENE, "expected finite", "Mend"),
    "negative": (lambda: with_value(-1), SetupError, "X holds -1", CELL, GENE, "expected numbers of at", "Mend"),
    "fraction": (lambda: with_value(0.5), SetupError, "X holds 0.5", CELL, GENE, "expected counts", "Put the counts"),
    "sparse": (
        lambda: _sparse(with_value(0.5)),
        SetupError, "X holds 0.5", CELL, GENE, "expected counts",
    ),
    "logged": (logged, SetupError, "look log-normalised", "expected counts", "Put the counts there"),
    "empty cells": (empty_cell, SetupError, "2 cells have no counts", "'cell_5'", "expected some", "Drop empty cells"),
    "no cells": (lambda: cells(slice(0, 0)), SetupError, "0 cells", "expected at least one", "Check"),
    "no X": (no_values, SetupError, "Found no X", "expected cells x genes"),
    "genes twice": (lambda: twice("var_names"), SetupError, "gene_1 occur more than once", "var_names_make_unique()"),
    "no batch": (without_batch, SetupError, "no column 'batch'", "it has: group", "Write into obs['batch']"),
    "batch missing": (no_batch_of_one, SetupError, "missing for 1", "'cell_1'", "expected", "Fill it in"),
    "unknown batch": (
        lambda: column("batch", "new"), SetupError, "holds new", "they had: batch_1, batch_2", "Train again"
    ),
    "few genes": (
        lambda: cells(genes=slice(0, 10)),
        GeneMismatchError, "10 of the 20 modelled genes", "gene_11", "at most 20%", "Check that var_names",
    ),
    "other genes": (
        lambda: _named(cells()), GeneMismatchError, "20 of the 20", "the model has gene_1", "the data have ENS0, ENS1"
    ),
}  # fmt: skip


def _sparse(adata):
    adata.X = sparse.csr_matrix(adata.X)
    return adata


def _named(adata):
    adata.var_names = [f"ENS{i}" for i in range(adata.n_vars)]
    return adata


@pytest.mark.parametrize("case", QUERY)
@pytest.mark.parametrize("door", ["cells", "expression", "elbo", "error", "annotate"])
def test_new_cells(trained, nothing_left, door, case):
    make, *said = QUERY[case]
    adata = make()
    before = set(adata.obsm), set(adata.varm), set(adata.obs), set(adata.uns)
    refused(lambda: DOORS[door](trained, adata), *said)
    assert (set(adata.obsm), set(adata.varm), set(adata.obs), set(adata.uns)) == before


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: with_value(np.nan), SetupError, ["X holds nan", CELL, GENE]),
        (lambda: with_value(-1), SetupError, ["X holds -1", CELL, GENE]),
        (lambda: twice("obs_names"), SetupError, ["cell_1 occur", "obs_names_make_unique()"]),
        (lambda: twice("var_names"), SetupError, ["gene_1 occur", "var_names_make_unique()"]),
        (lambda: cells(slice(0, 20)), CellMismatchError, ["40 of the 60 cells", "cell_21", "pass those cells"]),
    ],
)
def test_new_genes(trained, nothing_left, make, error, words):
    refused(lambda: trained.get_feature_representation(make()), error, *words)


@pytest.mark.parametrize("value", [0.0, np.nan, "deep"])
def test_size_factors_of_new_cells(nothing_left, monkeypatch, value):
    monkeypatch.undo()
    model = fit(setup={"size_factor_key": "size_factor"})
    adata = cells()
    adata.obs["size_factor"] = adata.obs["size_factor"].astype(object)
    adata.obs.loc["cell_3", "size_factor"] = value
    said = ["not numeric", "expected numbers"] if value == "deep" else ["must be positive", "'cell_3'", "Fill it in"]
    refused(lambda: model.get_latent_representation(adata), SetupError, "obs['size_factor']", *said)


ARGUMENTS = {
    "row beyond": (lambda m: m.get_latent_representation(indices=[3, 60]), "indices holds 60", "0 to 59", "Leave out"),
    "row before": (lambda m: m.get_latent_representation(indices=[-61]), "indices holds -61", "0 to 59", "Leave out"),
    "row names": (
        lambda m: m.get_latent_representation(indices=["cell_1"]), "indices holds", "row numbers", "get_indexer(names)"
    ),
    "row fractions": (lambda m: m.get_latent_representation(indices=[0.5]), "float64", "expected a list of row"),
    "one row": (lambda m: m.get_latent_representation(indices=3), "indices holds", "expected a list of row numbers"),
    "no row": (lambda m: m.get_latent_representation(indices=[]), "indices is empty", "expected a list"),
    "short mask": (lambda m: m.get_latent_representation(indices=[True, False]), "bool", "each of the 60 cells"),
    "bare gene": (
        lambda m: m.get_normalized_expression(gene_list="gene_1"), "'gene_1'", "expected a list", "gene_list=['gene_1']"
    ),
    "genes kind": (lambda m: m.get_normalized_expression(gene_list=3), "gene_list is 3", "expected a list of names"),
    "library": (lambda m: m.get_normalized_expression(library_size=0), "library_size is 0", "a positive number"),
    "batch": (
        lambda m: m.get_normalized_expression(transform_batch="b9"), "'b9'", "the batches are: batch_1", "Choose one"
    ),
    "rotation": (lambda m: m.rotate("promax"), "kind is 'promax'", "expected 'variance'", "Choose one"),
    "save": (lambda m: m.save(None), "folder is None", "expected a path", "Give its name"),
    "load": (lambda m: SiVAE.load(3), "folder is 3", "expected a path", "Give its name"),
    "choose": (lambda m: sivae.pp.select_genes(cells(), "all"), "n_genes is 'all'", "whole number", "2000"),
    "choose none": (lambda m: sivae.pp.select_genes(cells(), 0), "n_genes is 0", "expected at least 1", "2000"),
    "plot axes": (lambda m: sivae.pl.cells(annotated(), (0, 9)), "Found axes [0, 9]", "from 0 to 2", "For example"),
    "plot axes text": (lambda m: sivae.pl.cells(annotated(), "ab"), "Found axes ['a', 'b']", "expected 2 different"),
    "plot one axis": (lambda m: sivae.pl.genes(annotated(), 0), "Found axes [0]", "expected 2 different"),
    "plot fraction": (lambda m: sivae.pl.cells(annotated(), (0, 1.5)), "[0, 1.5]", "expected 2 different"),
    "plot labels": (lambda m: sivae.pl.genes(annotated(), n_labels="x"), "n_labels is 'x'", "whole number"),
    "loadings": (lambda m: sivae.pl.loadings(annotated(), "x"), "axis is 'x'", "expected a whole number"),
    "report path": (lambda m: sivae.report.build(annotated(), None), "path is None", "expected a path"),
    "report label": (lambda m: sivae.report.build(annotated(), "x", label="no"), "no column 'no'", "expected one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(trained, nothing_left, case):
    call, *words = ARGUMENTS[case]
    refused(lambda: call(trained), OptionError, *words)


def test_genes_that_were_not_trained_on(trained):
    refused(
        lambda: trained.get_normalized_expression(gene_list=["gene_1", "NOPE"]),
        GeneMismatchError, "not trained on NOPE", "Expected", "model.genes",
    )  # fmt: skip


CHOICE = {
    "nan": (lambda: with_value(np.nan), {}, "NaN", CELL, GENE, "expected numbers", "Drop"),
    "negative": (lambda: with_value(-1), {}, "negative", CELL, GENE, "expected counts", "Name the layer"),
    "layer": (cells, {"layer": "no"}, "no layer 'no'", "expected one of", "Name one"),
    "batch": (cells, {"batch_key": "no"}, "no column 'no'", "expected one of: group, batch", "Name one"),
    "batch missing": (no_batch_of_one, {"batch_key": "batch"}, "1 cells", "expected a batch", "Fill"),
    "constant": (constant, {}, "Found no gene in X that varies", "expected some", "min_cells"),
    "one cell": (lambda: cells(slice(0, 1)), {}, "Found no gene", "1 cells", "expected some"),
    "no X": (no_values, {}, "Found no X", "expected cells x genes", "layer='counts'"),
}


@pytest.mark.parametrize("case", CHOICE)
def test_choice_of_genes(nothing_left, case):
    make, options, *words = CHOICE[case]
    adata = make()
    refused(lambda: sivae.pp.select_genes(adata, 5, **options), SetupError, *words)
    assert "highly_variable" not in adata.var


# ------------------------------------------------------------------------------------------------ files and folders

PLACES = {
    "taken": (lambda m: m.save("file"), "file exists", "another folder", "overwrite=True"),
    "not a model": (lambda m: m.save("file", overwrite=True), "not a saved model", "Choose another folder"),
    "under a file": (lambda m: m.save("file/model"), "could not be written to file/model", "Choose another folder"),
    "not writable": (lambda m: m.save("/proc/nope/model"), "could not be written to /proc", "Choose another folder"),
    "not there": (lambda m: SiVAE.load("nope"), "nope is not a saved model", "Expected the folder", "check the path"),
    "no model": (lambda m: SiVAE.load("file"), "file is not a saved model", "Expected the folder", "check the path"),
    "report nowhere": (
        lambda m: sivae.report.build(annotated(), "no/report.html"), "no/report.html", "no folder no", "expected one"
    ),
    "report a folder": (lambda m: sivae.report.build(annotated(), "."), "is a folder", "expected a file", "Name one"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_places(trained, nothing_left, monkeypatch, case):
    monkeypatch.setattr("sivae.report._figures.draw", lambda *_a, **_o: pytest.fail("drawn"))
    call, *words = PLACES[case]
    refused(lambda: call(trained), ArtefactError, *words)


def test_loading_with_what_is_no_anndata(trained, tmp_path):
    trained.save(tmp_path / "model")
    refused(lambda: SiVAE.load(tmp_path / "model", "cells.h5ad"), SetupError, "Found str", "expected an AnnData")


# ------------------------------------------------------------------------------------------------- stated behaviour


@pytest.mark.parametrize("likelihood", ["normal", "nb", "zinb", "poisson", "bernoulli"])
def test_empty_genes_lie_at_the_origin(likelihood):
    adata = cells()
    adata.X[:, 2:4] = 0
    model = fit(adata, likelihood=likelihood, steps=30)
    norm = np.linalg.norm(model.get_feature_representation(), axis=1)
    assert np.isfinite(norm).all() and norm[2:4].max() < 0.02 * norm.max()
    assert np.isfinite(model.get_latent_representation()).all()


def test_genes_that_are_constant_as_modelled_lie_at_the_origin():
    adata = logged()
    adata.X[:, 2], adata.X[:, 3] = 5.5, 0.0
    norm = np.linalg.norm(fit(adata, steps=30).get_feature_representation(), axis=1)
    assert norm[2:4].max() < 0.1 * norm.max()  # with few steps, what the decoder adds at v = 0 is not yet nothing


def test_one_gene_of_values_as_they_are():
    model = fit(cells(genes=slice(0, 1)), setup={"normalize": "none"}, n_latent=1)
    assert np.isfinite(model.get_latent_representation()).all()


def test_log_normalised_values_are_taken_as_they_are_and_the_log_says_so(caplog):
    caplog.set_level("INFO", logger="sivae")
    adata = set_up(logged())
    assert adata.uns["sivae"]["setup"]["normalize"] == "none"
    assert "normalize='auto': none" in caplog.text and "they look log-normalised (expm1 of each" in caplog.text
    assert SiVAE(adata, n_latent=2).options.likelihood == "normal"
    assert "likelihood='auto': normal, on the values as they are" in caplog.text


def test_large_fractions_are_warned_of_and_may_be_estimated_counts():
    adata = with_value(30.5)
    with pytest.warns(SiVAEWarning, match=rf"30.5 \(cell '{CELL}', gene '{GENE}'\).*normalize='log1p'"):
        set_up(adata)
    assert set_up(adata, normalize="log1p").uns["sivae"]["setup"]["normalize"] == "log1p"


def test_permuted_genes_give_the_same_bytes(trained, rng):
    adata = cells()
    turned = adata[:, rng.permutation(adata.n_vars)].copy()
    for door in ("cells", "expression", "elbo", "error"):
        np.testing.assert_array_equal(DOORS[door](trained, adata), DOORS[door](trained, turned))


def test_new_cells_whose_names_occur_twice_keep_their_order(trained):
    adata = twice("obs_names")
    np.testing.assert_array_equal(trained.get_latent_representation(adata), trained.get_latent_representation(cells()))


def test_a_mask_and_negative_rows_are_rows(trained):
    z = trained.get_latent_representation()
    mask = np.arange(60) % 7 == 0
    np.testing.assert_allclose(trained.get_latent_representation(indices=mask), z[mask], atol=2e-6)
    np.testing.assert_allclose(trained.get_latent_representation(indices=[-1]), z[[-1]], atol=2e-6)


def test_values_as_they_are_may_be_any_finite_number_in_new_cells(trained_on_values):
    adata = logged()
    adata.X[7, 3] = -1.5
    adata.X[5] = 0.0
    assert np.isfinite(trained_on_values.get_latent_representation(adata)).all()
    refused(lambda: trained_on_values.get_latent_representation(with_value(np.nan, logged())), SetupError, CELL, GENE)
