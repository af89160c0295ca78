"""Files written from values that are never held: equal to anndata's own, whole or absent."""

from contextlib import ExitStack

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from storages import STORAGES, backed, lazy_frames, opening, plain

import sivae
from sivae import _memory, _stored
from sivae._errors import ArtefactError, SetupError
from sivae.datasets import planted
from sivae.io import _copy, _write
from sivae.io._h5 import new_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning"),
]
VIEWS = {
    "whole": (slice(None), slice(None)),
    "rows in any order": (np.random.default_rng(0).permutation(160)[:41], slice(None)),
    "columns": (slice(None), np.array([29, 3, 4, 0])),
    "both": (slice(150, 5, -3), np.array([2, 17, 5])),
    "no rows": (np.zeros(160, bool), slice(None)),
}


@pytest.fixture(scope="module")
def _cells():
    adata = planted(160, 30, n_factors=2, genes_per_factor=10, n_batches=2, seed=3)
    adata.obs["note"] = [f"text {i % 3}" for i in range(160)]
    adata.var["length"] = np.arange(30.0)
    adata.obsm["place"] = np.random.default_rng(0).random((160, 2))
    adata.varm["axes"] = np.random.default_rng(1).random((30, 3))
    adata.obsp["near"] = sparse.random(160, 160, 0.05, "csr", random_state=0)
    adata.varp["alike"] = np.eye(30)
    adata.uns["nested"] = {"colors": np.array(["red", "blue"]), "number": 3}
    return adata


@pytest.fixture
def cells(_cells):
    return _cells.copy()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(_stored, "BLOCK", 100)
    monkeypatch.setattr(_copy, "CHUNK", 70)
    monkeypatch.setattr(_memory, "available", lambda: 0)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def equal(found, expected):
    """Whether two AnnData in memory hold the same."""
    assert list(found.obs) == list(expected.obs) and found.var.equals(expected.var)
    assert found.obs.equals(expected.obs) or not len(expected.obs)
    for axis in ("obsm", "varm", "obsp", "varp", "layers"):
        assert set(getattr(found, axis)) == set(getattr(expected, axis))
        for key, value in getattr(expected, axis).items():
            np.testing.assert_array_equal(dense(getattr(found, axis)[key]), dense(value))
    assert type(found.X) is type(expected.X) and found.X.dtype == expected.X.dtype
    np.testing.assert_array_equal(dense(found.X), dense(expected.X))
    if sparse.issparse(found.X):
        assert found.X.nnz == expected.X.nnz and found.X.has_sorted_indices
    assert set(found.uns) == set(expected.uns)
    if expected.raw is not None:
        assert found.raw.var.equals(expected.raw.var)
        np.testing.assert_array_equal(dense(found.raw.X), dense(expected.raw.X))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", STORAGES)
def test_every_storage_and_view_as_if_it_were_in_memory(cells, tmp_path, name, view):
    for axis in (cells.obsm, cells.varm, cells.obsp, cells.varp):  # not every storage here has these
        axis.clear()
    found, stack = opening(name, cells, None, tmp_path)
    expected = plain(cells, STORAGES[name].form, None)
    for adata in (found, expected):
        adata.obsm["mine"] = np.arange(160.0)[:, None]
    shown, wanted = (adata if view == "whole" else adata[VIEWS[view]] for adata in (found, expected))
    path = sivae.io.write_h5ad(shown, tmp_path / "written.h5ad")
    stack.close()
    wanted.copy().write_h5ad(tmp_path / "expected.h5ad")
    equal(ad.read_h5ad(path), ad.read_h5ad(tmp_path / "expected.h5ad"))


@pytest.mark.parametrize("view", [None, (slice(40, 0, -2), np.array([4, 1, 9]))])
def test_everything_beside_the_values_is_kept(cells, tmp_path, view):
    cells.raw = cells[:, :15].copy()
    cells.layers["dense"], cells.layers["by gene"] = cells.X.toarray(), cells.X.tocsc()
    opened = backed(cells, None, tmp_path, ExitStack())
    opened.obs["new"] = np.arange(160)
    cells.obs["new"] = np.arange(160)
    before = list(opened.obs["note"])
    sivae.io.write_h5ad(opened if view is None else opened[view], tmp_path / "written.h5ad")
    assert list(opened.obs["note"]) == before
    opened.file.close()
    expected = cells if view is None else cells[view].copy()
    expected.write_h5ad(tmp_path / "expected.h5ad")
    equal(ad.read_h5ad(tmp_path / "written.h5ad"), ad.read_h5ad(tmp_path / "expected.h5ad"))


@pytest.mark.parametrize("name", ["backed csc", "zarr csc", "dask csc in columns", "backed csr", "zarr csc as dask"])
@pytest.mark.parametrize("view", ["whole", "both"])
def test_values_by_gene_are_written_by_cell(cells, tmp_path, name, view):
    found, stack = opening(name, cells, None, tmp_path)
    at = VIEWS[view]
    sivae.io.write_h5ad(found if view == "whole" else found[at], tmp_path / "written.h5ad", as_csr=True)
    stack.close()
    written, expected = ad.read_h5ad(tmp_path / "written.h5ad").X, cells.X.toarray()[at[0]][:, at[1]]
    assert written.format == "csr" and written.has_sorted_indices
    np.testing.assert_array_equal(written.toarray(), expected)


def test_values_in_memory_are_turned_too(cells, tmp_path):
    expected = cells.X.toarray()
    cells.X = cells.X.tocsc()
    written = ad.read_h5ad(sivae.io.write_h5ad(cells, tmp_path / "written.h5ad", as_csr=True))
    assert written.X.format == "csr" and cells.X.format == "csc"
    np.testing.assert_array_equal(written.X.toarray(), expected)


def test_a_written_file_trains_to_the_same_bits(cells, tmp_path):
    latent = []
    cells = cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()
    opened = backed(plain(cells, "csc", None), None, tmp_path, ExitStack())
    sivae.io.write_h5ad(opened, tmp_path / "by_cell.h5ad", as_csr=True)
    opened.file.close()
    for adata in (cells, ad.read_h5ad(tmp_path / "by_cell.h5ad", backed="r")):
        sivae.SiVAE.setup_anndata(adata)
        model = sivae.SiVAE(adata, n_latent=2)
        model.train(1, accelerator="cpu", progress=False)
        latent.append(model.get_latent_representation().tobytes())
    assert latent[0] == latent[1]


def test_no_more_than_a_part_is_read(cells, tmp_path, monkeypatch):
    opened = backed(cells, None, tmp_path, ExitStack())
    read, sizes = _stored.SparseOnDisk.read, []
    monkeypatch.setattr(
        _stored.SparseOnDisk, "read", lambda *given: (found := read(*given), sizes.append(found.nnz))[0]
    )
    sivae.io.write_h5ad(opened[::-1], tmp_path / "written.h5ad")
    opened.file.close()
    assert sum(sizes) == cells.X.nnz and max(sizes) <= 100 and len(sizes) > 5


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_the_file_that_values_are_read_from_is_not_written_over(cells, tmp_path, form):
    opened = backed(plain(cells, form, None), None, tmp_path, ExitStack())
    bytes_before = (tmp_path / "backed.h5ad").read_bytes()
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "backed.h5ad")
    for adata in (opened, opened[:5]):
        for name in ("backed.h5ad", "link.h5ad"):
            with pytest.raises(ArtefactError, match=r"holds the values that are to be written there, expected another"):
                sivae.io.write_h5ad(adata, tmp_path / name)
    opened.file.close()
    assert (tmp_path / "backed.h5ad").read_bytes() == bytes_before


def test_the_file_behind_a_layer_is_not_written_over(cells, tmp_path):
    with h5py.File(tmp_path / "values.h5", "w") as file:
        file["values"] = cells.X.toarray()
    with h5py.File(tmp_path / "values.h5") as file:
        cells.layers["there"] = file["values"]
        with pytest.raises(ArtefactError, match="holds the values"):
            sivae.io.write_h5ad(cells, tmp_path / "values.h5")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), SetupError("cut")])
def test_an_error_leaves_what_was_there(cells, tmp_path, monkeypatch, error):
    def breaks(*_, **__):
        raise error

    (tmp_path / "written.h5ad").write_text("old")
    monkeypatch.setattr(_write, "copy_matrix", breaks)
    expected = ArtefactError if type(error) is OSError else type(error)
    with pytest.raises(expected):
        sivae.io.write_h5ad(cells, tmp_path / "written.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == ["written.h5ad"]
    assert (tmp_path / "written.h5ad").read_text() == "old"


def test_what_is_no_anndata_or_no_place_is_refused(cells, tmp_path):
    with pytest.raises(SetupError, match="expected an AnnData"):
        sivae.io.write_h5ad(cells.X, tmp_path / "a.h5ad")
    with pytest.raises(ArtefactError, match="there is no folder"):
        sivae.io.write_h5ad(cells, tmp_path / "gone" / "a.h5ad")


@pytest.mark.parametrize("view", [slice(None), slice(40, 0, -2)])
def test_what_was_opened_lazily_is_kept(cells, tmp_path, view):
    """Frames in obsm and in raw are no data frames there."""
    cells.obsm["frame"] = pd.DataFrame({"x": np.arange(160.0)}, index=cells.obs_names)
    cells.raw = cells[:, :15].copy()
    opened = lazy_frames(cells, None, tmp_path, None)
    expected = cells[view].copy()
    written = ad.read_h5ad(sivae.io.write_h5ad(opened[view], tmp_path / "written.h5ad"))
    assert written.obsm["frame"].equals(expected.obsm["frame"])
    del written.obsm["frame"], expected.obsm["frame"]
    expected.write_h5ad(tmp_path / "expected.h5ad")
    equal(written, ad.read_h5ad(tmp_path / "expected.h5ad"))


def test_what_has_no_place_in_a_file_is_named(cells, tmp_path):
    cells.uns["nested"]["odd"] = object()
    with pytest.raises(ArtefactError, match=r"uns\['odd'\] could not be written: .*Convert it, or take it out first"):
        sivae.io.write_h5ad(cells, tmp_path / "written.h5ad")
    del cells.uns["nested"]
    cells.obs["odd"] = np.array([1, "a"] * 80, object)
    with pytest.raises(ArtefactError, match=r"obs\['odd'\] could not be written"):
        sivae.io.write_h5ad(cells, tmp_path / "written.h5ad")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_chunks_of_another_type_than_was_said_are_not_cut(cells, tmp_path, form):
    half = form(cells.X.toarray() + (cells.X.toarray() > 0) / 2)
    array = da.from_array(half, chunks=(40, -1), asarray=False)
    cells.X = array.map_blocks(lambda block: block, dtype=np.int64, meta=form(np.zeros((0, 0), np.int64)))
    with pytest.raises(SetupError, match="X holds 1.5, which the type that it is said to have, int64, does not hold"):
        sivae.io.write_h5ad(cells, tmp_path / "written.h5ad")


def test_a_write_that_failed_last_is_raised_at_the_end(tmp_path):
    with pytest.raises(OSError, match="full"), new_file(tmp_path / "a.h5") as (file, steady):
        file.attrs["x"] = 1
        steady.error = OSError("full")
