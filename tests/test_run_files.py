"""The command line on files too large for memory: the same run, values left there; and files that are no AnnData."""

import json
from contextlib import contextmanager, suppress

import anndata as ad
import h5py
import matplotlib
import numpy as np
import pandas as pd
import pytest
import zarr
from faults import full, in_child, planted_fault, small
from scipy import sparse
from typer.testing import CliRunner

from sivae import _stored, cli
from sivae._errors import SetupError
from sivae._run import _cells
from sivae.data import _rows
from sivae.datasets import planted
from sivae.io import _copy, _write

matplotlib.use("Agg")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning"),
]
FIT = ["--n-latent", "2", "--max-epochs", "2", "--n-genes", "20", "--accelerator", "cpu", "--batch-key", "batch",
       "--project-rest", "--label", "group"]  # fmt: skip


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def cells(form, layer):
    adata = planted(120, 30, n_factors=2, genes_per_factor=10, n_batches=2, signed=True, seed=1)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 20].copy()
    adata.raw = adata[:, :25].copy()
    adata.obsp["near"] = sparse.eye(adata.n_obs, format="csr")
    adata.obs["note"] = [f"text {i % 7}" for i in range(adata.n_obs)]
    adata.uns["colors"] = np.array(["red", "blue"])
    adata.layers["counts"] = adata.X.toarray()
    adata.layers["by gene"] = adata.X.tocsc()
    if form == "dense":
        adata.X = adata.X.toarray()
    elif form == "csc":
        adata.X = adata.X.tocsc()
    if layer:
        adata.X = adata.X * 0.5
    return adata


@contextmanager
def never_small():
    """Every file is too large, blocks are small, and nothing may be brought into memory whole."""
    from anndata.abc import CSCDataset, CSRDataset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cells, "SHARE", 0.0)
        patch.setattr(_rows, "SHARE", 0.0)
        patch.setattr(_copy, "CHUNK", 50)
        patch.setattr(_stored, "BLOCK", 200)
        for dataset in (CSRDataset, CSCDataset):
            for sub in dataset.__subclasses__():
                patch.setattr(sub, "to_memory", _unless_values(sub.to_memory))
        yield


def _unless_values(to_memory):
    """Only obsp, which is square, may be read."""

    def read(self):
        assert self.shape[0] == self.shape[1], "brought into memory"
        return to_memory(self)

    return read


def equal(one, two):
    """Whether two annotated AnnData hold the same, but for what tells time."""
    for key, frame in (("obs", two.obs), ("var", two.var)):
        pd.testing.assert_frame_equal(getattr(one, key), frame)
    for key in ("layers", "obsm", "varm", "obsp"):
        found, expected = getattr(one, key), getattr(two, key)
        assert set(found) == set(expected)
        for name in expected:
            same_matrix(found[name], expected[name])
    same_matrix(one.X, two.X)
    same_matrix(one.raw.X, two.raw.X)
    pd.testing.assert_frame_equal(one.raw.var, two.raw.var)
    assert set(one.uns) == set(two.uns) and list(one.uns["colors"]) == list(two.uns["colors"])
    if "sivae" in two.uns:
        same_record(one.uns["sivae"], two.uns["sivae"])


def same_matrix(one, two):
    if isinstance(two, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two)
        return
    assert type(one) is type(two) and one.dtype == two.dtype
    if sparse.issparse(two):
        assert one.format == two.format
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    else:
        np.testing.assert_array_equal(one, two)


def same_record(one, two):
    assert set(one) == set(two)
    for key, value in two.items():
        if key == "seconds":
            continue
        if isinstance(value, dict):
            same_record(one[key], value)
        else:
            np.testing.assert_array_equal(one[key], value)


slow = pytest.mark.slow
FILES = [
    ("h5ad", "csr", None),
    pytest.param("h5ad", "dense", None, marks=slow),
    pytest.param("h5ad", "csc", "counts", marks=slow),
    pytest.param("zarr", "csr", None, marks=slow),
    pytest.param("zarr", "dense", "by gene", marks=slow),
]


@pytest.mark.parametrize(("kind", "form", "layer"), FILES)
def test_a_run_is_the_same_when_values_stay_in_the_file(tmp_path, kind, form, layer):
    data = tmp_path / f"cells.{kind}"
    getattr(cells(form, layer), "write_h5ad" if kind == "h5ad" else "write_zarr")(data)
    words = [*FIT, *(["--layer", layer] if layer else [])]
    done = sivae("fit", data, "-o", tmp_path / "memory", *words)
    assert done.exit_code == 0 and "stay in the file" not in done.stdout, done.output
    before = _hash(data)
    with never_small():
        done = sivae("fit", data, "-o", tmp_path / "file", *words)
    assert done.exit_code == 0, done.output
    assert "genes; its values stay in the file and are read when needed." in done.stdout
    assert _hash(data) == before
    for name in ("model/tables.safetensors", "tables/cells.csv", "tables/genes.csv", "figures/gene_expression.png"):
        assert (tmp_path / "file" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes(), name
    equal(*(ad.read_h5ad(tmp_path / name / "adata.h5ad") for name in ("file", "memory")))
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("file", "memory")]
    assert all(records[0][key] == records[1][key] for key in ("data", "genes", "options", "model", "training"))


def _hash(path):
    from sivae._run._files import file_hash

    return file_hash(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["h5ad", pytest.param("zarr", marks=slow)])
@pytest.mark.parametrize("genes", [False, True])
def test_embedding_is_the_same_when_values_stay_in_the_file(tmp_path, kind, genes):
    adata = cells("csr", None)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert sivae("fit", tmp_path / "cells.h5ad", "-o", tmp_path / "run", *FIT).exit_code == 0
    data = tmp_path / f"new.{kind}"
    new = adata[::-1, ::-1].copy()
    getattr(new, "write_h5ad" if kind == "h5ad" else "write_zarr")(data)
    words = ["embed", tmp_path / "run", data, *(["--genes"] if genes else [])]
    assert sivae(*words, "-o", tmp_path / "memory.h5ad").exit_code == 0
    with never_small():
        done = sivae(*words, "-o", tmp_path / "file.h5ad")
        assert sivae("report", tmp_path / "run").exit_code == 0
    assert done.exit_code == 0, done.output
    found, expected = ad.read_h5ad(tmp_path / "file.h5ad"), ad.read_h5ad(tmp_path / "memory.h5ad")
    equal(found, expected)
    assert ("X_sivae" in found.varm) == genes and ("X_sivae" in found.obsm) != genes


def test_an_error_while_copying_leaves_nothing(tmp_path, monkeypatch):
    cells("csr", None).write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr(_write, "copy_matrix", lambda *_, **__: 1 / 0)
    with never_small():
        assert sivae("fit", tmp_path / "cells.h5ad", "-o", tmp_path / "run", *FIT).exit_code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


@pytest.mark.parametrize("large", [False, True])
def test_a_disk_that_fills_up(tmp_path, large):
    """Really, at several places of the file: HDF5 alone ends some of these with a crash."""
    data, out = tmp_path / "cells.h5ad", tmp_path / "out.h5ad"
    cells("csr", None).write_h5ad(data)

    def write(limit):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_cells, "SHARE", 0.0 if large else 1e9)
            with _cells.open_cells(data) as opened:
                assert (opened.root is not None) == large
                full(limit)
                opened.write_h5ad(out)

    for limit in (10, 3_000, 20_000, 60_000):
        said = in_child(lambda limit=limit: write(limit))
        assert said.startswith("ArtefactError The annotated cells could not be written to out.h5ad: [Errno 27]"), said
        assert "Check that there is room" in said
        out.unlink()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("fault", ["index beyond", "indptr that falls", "cut in obs", "cut in the header"])
def test_a_damaged_file_is_refused_and_nothing_is_written(tmp_path, monkeypatch, fault, large):
    data = tmp_path / "cells.h5ad"
    small(layers=True).write_h5ad(data)
    if fault.startswith("cut"):
        data.write_bytes(data.read_bytes()[: 60 if "header" in fault else -3000])
    else:
        with h5py.File(data, "r+") as file:
            planted_fault(file["X"], fault)
    before = data.read_bytes()
    monkeypatch.setattr(_cells, "SHARE", 0.0 if large else 1e9)
    done = sivae("fit", data, "-o", tmp_path / "run", *FIT[:8])
    assert done.exit_code == 1 and done.stderr.startswith("Error: "), done.output
    said = "(cell 'cell_34')" if not fault.startswith("cut") else f"{data} cannot be read as .h5ad: "
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"] and data.read_bytes() == before


def test_a_layer_that_is_not_used_is_judged_too(tmp_path):
    """Whole files are written again whole, so nothing in them may be what crashes a later reader."""
    data = tmp_path / "cells.h5ad"
    small(layers=True).write_h5ad(data)
    with h5py.File(data, "r+") as file:
        planted_fault(file["layers/other"], "negative index")
    with pytest.raises(SetupError, match=r"layers/other is damaged: gene number -1 of 20 \(cell 'cell_34'\)"):
        with _cells.open_cells(data):
            pass


def test_a_large_zarr_store_without_raw(tmp_path, monkeypatch):
    """anndata writes an array there that says that there is none."""
    small().write_zarr(tmp_path / "cells.zarr")
    monkeypatch.setattr(_cells, "SHARE", 0.0)
    with _cells.open_cells(tmp_path / "cells.zarr") as opened:
        opened.write_h5ad(tmp_path / "out.h5ad")
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.raw is None and (found.X != small().X).nnz == 0


def test_the_size_of_the_values(tmp_path, monkeypatch):
    """X, two layers and raw as they will lie in memory; a quarter of the memory there is decides."""
    adata = cells("csr", None)
    adata.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    adata.write_zarr(tmp_path / "cells.zarr")
    matrices = [adata.X, *adata.layers.values(), adata.raw.X]
    size = sum(
        matrix.nbytes if isinstance(matrix, np.ndarray)
        else matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        for matrix in matrices
    )  # fmt: skip
    with h5py.File(tmp_path / "cells.h5ad") as file:
        assert _cells.values_bytes(file) == size
    assert _cells.values_bytes(zarr.open_group(tmp_path / "cells.zarr", mode="r")) == size
    for available, stays in ((4 * size, False), (4 * size - 1, True)):
        memory = type("Memory", (), {"available": available})
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        with _cells.open_cells(tmp_path / "cells.h5ad") as opened:
            assert (opened.root is not None) == stays
            assert _stored.is_on_disk(opened.adata.X) == stays


@pytest.mark.parametrize(("form", "said"), [("csc", True), ("csr", False)])
def test_values_by_gene_are_said_with_what_to_do(tmp_path, form, said):

    cells(form, None).write_h5ad(tmp_path / "cells.h5ad")
    told = []
    with never_small(), _cells.open_cells(tmp_path / "cells.h5ad") as opened:
        told += opened.notes("cells.h5ad", None)
    assert len(told) == said
    if said:
        assert "stored gene by gene (CSC) and are turned in memory" in told[0]
        line = told[0].split("at a time: ")[1]
        assert line == "sivae.io.write_h5ad(anndata.read_h5ad('cells.h5ad', backed='r'), 'by_cell.h5ad', as_csr=True)"


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_the_file_is_closed_at_the_end(tmp_path, error):
    cells("csr", None).write_h5ad(tmp_path / "cells.h5ad")
    with never_small(), suppress(KeyboardInterrupt), _cells.open_cells(tmp_path / "cells.h5ad") as opened:
        group = opened.adata.X.group
        assert group
        if error:
            raise error
    assert not group


def test_files_from_before_parts_said_how_they_are_written_are_read_whole(tmp_path, monkeypatch):
    cells("csr", None).write_h5ad(tmp_path / "old.h5ad")
    with h5py.File(tmp_path / "old.h5ad", "a") as file:
        del file["var"].attrs["encoding-type"]
    monkeypatch.setattr(_cells, "_whole", lambda *_: "read whole")
    with never_small(), _cells.open_cells(tmp_path / "old.h5ad") as opened:
        assert opened == _cells.Cells("read whole")


# ----------------------------------------------------------------------------------------------------- other files


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "cells.loom",
            r"expected a name that ends in .h5ad or .zarr.*anndata\.io\.read_loom\(path\).*adata\.write_h5ad",
        ),
        ("filtered_feature_bc_matrix.h5", r"scanpy\.read_10x_h5\(path\)"),
        ("matrix.mtx", r"scanpy\.read_10x_mtx\(folder\)"),
        ("cells.csv", r"anndata\.io\.read_csv\(path\)"),
        ("cells.h5mu", r"mudata\.read_h5mu"),
        ("cells.rds", r"ends in .h5ad or .zarr\. Write it with anndata first"),
    ],
)
def test_other_files_are_told_their_reader(tmp_path, name, words):
    (tmp_path / name).write_text("something")
    with pytest.raises(SetupError, match=words), _cells.open_cells(tmp_path / name):
        pass


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize(
    ("holds", "words"),
    [
        (
            "matrix",
            "holds no AnnData: found matrix, expected obs and var. It looks like a 10x or loom file.*read_10x_h5",
        ),
        ("tables", "It looks like SpatialData: give one of its tables"),
        ("mod", "It looks like MuData: give one of its modalities"),
        ("anything", "found anything, expected obs and var. Write cells x genes with anndata"),
    ],
)
def test_a_group_that_is_no_anndata(tmp_path, kind, holds, words):
    path = tmp_path / f"cells.{kind}"
    if kind == "h5ad":
        with h5py.File(path, "w") as file:
            file.create_group(holds)
    else:
        zarr.open_group(path, mode="w").create_group(holds)
    done = sivae("fit", path, "-o", tmp_path / "run")
    assert done.exit_code == 1 and done.stderr.startswith("Error: ")
    with pytest.raises(SetupError, match=words), _cells.open_cells(path):
        pass


def test_a_zarr_array_is_no_anndata(tmp_path):
    zarr.save(str(tmp_path / "cells.zarr"), np.ones((3, 2)))
    with pytest.raises(SetupError, match="cannot be read as .zarr"), _cells.open_cells(tmp_path / "cells.zarr"):
        pass
