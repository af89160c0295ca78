"""Stored values that are damaged: the whole result, or an error that says what and where; never a crash."""

import os
import shutil
import warnings
from contextlib import contextmanager

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
import zarr
from anndata.io import sparse_dataset, write_elem
from faults import flip, full, in_child, planted_fault, small, trained
from scipy import sparse

from sivae import SiVAE, _damage, _stored
from sivae._errors import SetupError, SiVAEError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning"),
]
SPOOLED = {"spool": "always"}


@pytest.fixture(autouse=True)
def many_tiles(monkeypatch):
    monkeypatch.setattr(_stored, "BLOCK", 300)


@pytest.fixture(scope="module")
def expected():
    return trained(small())


def zarr_store(path, chunk=64, **parts):
    """A CSR matrix in chunks that are files."""
    matrix = small().X
    group = zarr.open_group(path, mode="w")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
    for name in ("data", "indices", "indptr"):
        values = parts.get(name, getattr(matrix, name))
        made = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(chunk,))
        made[...] = values
    return path


def from_zarr(path):
    adata = small()
    adata.X = sparse_dataset(zarr.open_group(path, mode="r"))
    return adata


def chunk_of(path, part, number):
    files = [file for file in (path / part).rglob("*") if file.is_file() and file.name.isdecimal()]
    return next(file for file in files if file.name == str(number))


@contextmanager
def backed(path, fault=None, **options):
    """A backed AnnData, with a fault in the file."""
    small().write_h5ad(path, **options)
    row = None
    if fault is not None:
        with h5py.File(path, "r+") as file:
            row = planted_fault(file["X"], fault)
    adata = ad.read_h5ad(path, backed="r")
    try:
        yield adata, row
    finally:
        adata.file.close()


# ---------------------------------------------------------------------- parts that are no matrix

WORDS = {
    "index beyond": r"gene number 20 of 20 \(cell 'cell_34'\)",
    "negative index": r"gene number -1 of 20 \(cell 'cell_34'\)",
    "indptr that falls": r"indptr falls from \d+ to \d+ \(cell 'cell_34'\)",
    "indptr that ends early": r"indptr ends at [\d,]+, expected [\d,]+, as many as there are values",
    "NaN": r"X holds nan \(cell 'cell_34', gene 'gene_\d+'\)",
    "infinite": r"X holds inf \(cell 'cell_34', gene 'gene_\d+'\)",
}


@pytest.mark.parametrize("fault", sorted(WORDS))
def test_backed(tmp_path, fault):
    with backed(tmp_path / "cells.h5ad", fault) as (adata, row):
        assert row == 33 and adata.obs_names[row] == "cell_34"
        with pytest.raises(SetupError, match=WORDS[fault]) as raised:
            SiVAE.setup_anndata(adata)
        assert "sivae" not in adata.uns
        if "holds" not in WORDS[fault]:
            assert str(raised.value).startswith("X is damaged")


@pytest.mark.parametrize("fault", sorted(set(WORDS) - {"indptr that ends early"}))
def test_in_memory(fault):
    """SciPy takes all of them."""
    adata = small()
    parts = {name: getattr(adata.X, name).copy() for name in ("data", "indices", "indptr")}
    planted_fault(parts, fault)
    for name, values in parts.items():
        setattr(adata.X, name, values)
    with pytest.raises(SetupError, match=WORDS[fault]):
        SiVAE.setup_anndata(adata)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_by_gene(tmp_path, where):
    """The gene is named, where values are stored gene by gene."""
    adata = small()
    adata.X = adata.X.tocsc()
    adata.X.indices[adata.X.indptr[7]] = 80
    if where == "file":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(SetupError, match=r"X is damaged.*: cell number 80 of 80 \(gene 'gene_8'\)"):
        SiVAE.setup_anndata(adata)
    if where == "file":
        adata.file.close()


def test_in_dask():
    def broken(block, block_info=None):
        if block_info[0]["chunk-location"] == (1, 0):
            block.indices[block.indptr[21]] = 99
        return block

    adata = small()
    adata.X = da.from_array(adata.X, chunks=(29, -1), asarray=False).map_blocks(broken, meta=adata.X[:0])
    with pytest.raises(SetupError, match=r"X is damaged: gene number 99 of 20 \(cell 'cell_51'\)"):
        SiVAE.setup_anndata(adata)


@pytest.mark.parametrize("error", [KeyError("chunk"), RuntimeError("codec"), ValueError("no")])
def test_what_dask_raises_is_passed_on(error):
    def broken(block):
        raise error

    adata = small()
    adata.X = da.from_array(adata.X.toarray(), chunks=(29, 20)).map_blocks(
        broken, dtype=np.float32, meta=np.ones((0, 0))
    )
    with pytest.raises(SetupError, match="X cannot be read from where it is stored") as raised:
        SiVAE.setup_anndata(adata)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("indptr", "words"),
    [
        ([0, 2, 3], r"holds 3 values of type int64, expected 4 whole numbers"),
        ([0.0, 1.0, 2.0, 3.0], "of type float64, expected 4 whole numbers"),
        ([1, 2, 2, 3], "begins at 1, expected 0"),
        ([0, 2, 1, 3], "falls from 2 to 1"),
        ([0, 1, 2, 4], "ends at 4, expected 3"),
    ],
)
def test_offsets(indptr, words):
    with pytest.raises(_damage.Damaged, match=words):
        _damage.check_offsets(np.array(indptr), 3, axis=0, stored=3)
    _damage.check_offsets(np.array([0, 1, 1, 3], np.uint32), 3, axis=0, stored=3)


def test_an_index_is_found_in_its_row():
    """Against a search by hand, empty rows among them."""
    indptr, indices = np.array([0, 0, 2, 2, 5, 5]), np.array([0, 1, 2, 9, 1])
    with pytest.raises(_damage.Damaged, match="gene number 9 of 3") as raised:
        _damage.check_indices(indices, indptr, limit=3, axis=0, first=10)
    assert raised.value.number == 13


# ---------------------------------------------------------------------- chunks and checksums


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("options", [{"fletcher32": True}, {"compression": "gzip"}], ids=str)
def test_a_chunk_of_an_h5ad_that_changed(tmp_path, part, options):
    path = tmp_path / "cells.h5ad"
    small().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        write_elem(file, "X", small().X, dataset_kwargs=options)
    with h5py.File(path) as file:
        chunk = file["X"][part].id.get_chunk_info(0)
    flip(path, chunk.byte_offset + chunk.size // 2, 4)
    with_handle = ad.read_h5ad(path, backed="r")
    with pytest.raises(SetupError, match="X (cannot be read from where it is stored|is damaged)"):
        SiVAE.setup_anndata(with_handle)
    with_handle.file.close()


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("fault", ["gone", "cut", "changed"])
def test_a_chunk_of_a_zarr_store(tmp_path, part, fault):
    path = zarr_store(tmp_path / "x.zarr")
    chunk = chunk_of(path, part, 1)
    if fault == "gone":
        chunk.unlink()
    elif fault == "cut":
        chunk.write_bytes(chunk.read_bytes()[:-5])
    else:
        flip(chunk, 0, 8)
    with pytest.raises(SetupError, match="X (cannot be read from where it is stored|is damaged)") as raised:
        SiVAE.setup_anndata(from_zarr(path))
    if fault == "gone" and part != "indptr":
        assert f"1 of the {-(-small().X.nnz // 64)} chunks of {part} are gone from the store" in str(raised.value)


def test_zeros_that_are_meant_are_not_gone(tmp_path, expected):
    """Chunks of zeros alone, which zarr does not store: one gene in every cell, and a matrix of nothing."""
    matrix = sparse.csr_matrix((np.ones(80, np.float32), np.zeros(80, np.int32), np.arange(81)), shape=(80, 20))
    path = zarr_store(tmp_path / "x.zarr", data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
    group = zarr.open_group(path, mode="r")
    assert group["indices"].nchunks_initialized == 0
    stored = _stored.SparseOnDisk(sparse_dataset(group))
    assert (stored.read(slice(0, 80), slice(0, 20)) != matrix).nnz == 0
    empty = sparse.csr_matrix((80, 20), dtype=np.float32)
    path = zarr_store(tmp_path / "y.zarr", data=empty.data, indices=empty.indices, indptr=empty.indptr)
    assert _stored.SparseOnDisk(sparse_dataset(zarr.open_group(path, mode="r"))).size == 0
    assert trained(from_zarr(zarr_store(tmp_path / "z.zarr"))) == expected


# ---------------------------------------------------------------------- between set-up and training, and during


def after(monkeypatch, n, change):
    """Do something after so many tiles were read."""
    for kind in (_stored.SparseOnDisk, _stored.DenseOnDisk):
        read, calls = kind.read, []

        def noted(self, rows, columns, read=read, calls=calls):
            calls.append(1)
            if len(calls) == n:
                change()
            return read(self, rows, columns)

        monkeypatch.setattr(kind, "read", noted)


@pytest.mark.parametrize("when", [0, 2])
def test_an_h5ad_that_is_cut_while_it_is_open(tmp_path, monkeypatch, when):
    """HDF5 reads what is gone as zeros."""
    path = tmp_path / "cells.h5ad"
    with backed(path) as (adata, _):
        SiVAE.setup_anndata(adata)
        cut = lambda: os.truncate(path, path.stat().st_size // 3)  # noqa: E731
        if when:
            after(monkeypatch, when, cut)
        else:
            cut()
        with pytest.raises(SetupError, match=r"X (is damaged|cannot be (opened|read)).*"):
            SiVAE(adata, n_latent=2).train(progress=False, accelerator="cpu")


def test_an_h5ad_that_is_written_to_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "cells.h5ad"
    with backed(path) as (adata, _):
        SiVAE.setup_anndata(adata)
        after(monkeypatch, 2, lambda: flip(path, path.stat().st_size - 1))
        with pytest.raises(SetupError, match=r"X was written to while it was read \(.*cells\.h5ad, /X\)"):
            SiVAE(adata, n_latent=2).train(progress=False, accelerator="cpu")


@pytest.mark.parametrize("change", ["removed", "no permission", "another"])
def test_an_open_h5ad_stays_what_it_was(tmp_path, monkeypatch, expected, change):
    """An open file outlives its name; the training is the same."""
    path = tmp_path / "cells.h5ad"
    with backed(path) as (adata, _):

        def changed():
            if change == "removed":
                path.unlink()
            elif change == "no permission":
                path.chmod(0)
            else:
                small(50, 12).write_h5ad(tmp_path / "other.h5ad")
                (tmp_path / "other.h5ad").replace(path)

        SiVAE.setup_anndata(adata)
        after(monkeypatch, 2, changed)
        assert trained(adata, **SPOOLED) == expected


@pytest.mark.parametrize("when", [0, 2])
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_a_zarr_store_that_is_gone(tmp_path, monkeypatch, form, when):
    """zarr reads what is gone as zeros."""
    path = tmp_path / "x.zarr"
    if form == "csr":
        adata = from_zarr(zarr_store(path))
    else:
        adata = small()
        made = zarr.open_array(path, mode="w", shape=(80, 20), chunks=(9, 7), dtype=np.float32)
        made[...] = adata.X.toarray()
        adata.X = zarr.open_array(path, mode="r")
    SiVAE.setup_anndata(adata)
    if when:
        after(monkeypatch, when, lambda: shutil.rmtree(path))
    else:
        shutil.rmtree(path)
    with pytest.raises(SetupError, match=r"X (is damaged|cannot be read from where it is stored) \(.*x\.zarr, /.*\): "):
        SiVAE(adata, n_latent=2).train(progress=False, accelerator="cpu")


def test_a_zarr_store_replaced_by_another(tmp_path, monkeypatch):
    path = tmp_path / "x.zarr"
    adata = from_zarr(zarr_store(path))
    SiVAE.setup_anndata(adata)

    def replaced():
        shutil.rmtree(path)
        zarr_store(path, chunk=32)

    after(monkeypatch, 2, replaced)
    with pytest.raises(SetupError, match=r"X (is damaged|was written to|cannot be read)"):
        SiVAE(adata, n_latent=2).train(progress=False, accelerator="cpu")


# ---------------------------------------------------------------------- full disks


def test_the_disk_is_full_while_the_temporary_file_is_written(tmp_path):
    said = in_child(lambda: trained(small(), spool="always", spool_folder=str(tmp_path)), before=lambda: full(500))
    assert said.startswith("ArtefactError The values of 80 cells x 20 genes could not be written"), said
    assert "File too large" in said and not list(tmp_path.iterdir())


def test_the_disk_is_full_while_a_checkpoint_is_written(tmp_path, expected):
    """The first is refused before training; later ones are warned of, and training goes on to the same end."""
    options = {"checkpoint_dir": tmp_path / "state", "checkpoint_seconds": 0, "checks": 3}
    said = in_child(lambda: trained(small(), **options), before=lambda: full(500))
    assert said.startswith("ArtefactError The checkpoint") and "cannot be written" in said, said
    assert not list((tmp_path / "state").iterdir())

    def later():
        import warnings

        from sivae.train import _checkpoint

        write = _checkpoint.Checkpoint._write

        def once(self, state):
            write(self, state)
            full(500)

        _checkpoint.Checkpoint._write = once
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            made = trained(small(), keep_checkpoint=True, **options)
        words = {str(one.message) for one in seen if "The training goes on" in str(one.message)}
        return f"{made == trained_whole} {len(words)} {(tmp_path / 'state' / _checkpoint.FILE).is_file()}"

    trained_whole = trained(small(), checks=3)
    assert in_child(later) == "value True 1 True"


# ---------------------------------------------------------------------- any byte


def opened(path):
    """As Python's users open it; None where anndata refuses it."""
    try:
        if path.suffix == ".h5ad":
            return ad.read_h5ad(path, backed="r")
        return from_zarr(path)
    except Exception:
        return None


def differs(adata):
    """Whether what is stored is another AnnData that is whole, so that nothing could tell."""
    matrix, whole = adata.X.to_memory(), small()
    matrix.check_format(full_check=True)
    same = [(matrix != whole.X).nnz == 0, list(adata.obs_names) == list(whole.obs_names)]
    return not all([*same, list(adata.var_names) == list(whole.var_names)])


def outcome(path, expected):
    warnings.simplefilter("ignore")  # that values look odd
    adata = opened(path)
    if adata is None:
        return "refused by anndata"
    try:
        return "same" if trained(adata, **SPOOLED) == expected else "another" if differs(adata) else "WRONG"
    except SiVAEError as error:
        return f"refused {error}"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["h5ad", "gzip", "zarr"])
def test_any_byte(tmp_path, expected, store):
    """Cut, change or remove at 60 places: the same model, an error, or another where the store is whole and says so."""
    path = tmp_path / ("x.zarr" if store == "zarr" else "cells.h5ad")
    if store == "zarr":
        zarr_store(path)
    else:
        small().write_h5ad(path, compression="gzip" if store == "gzip" else None)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    rng, seen = np.random.default_rng(["h5ad", "gzip", "zarr"].index(store)), []
    for number in range(60):
        file = files[rng.integers(len(files))]
        raw, at = file.read_bytes(), int(rng.integers(file.stat().st_size))
        kind = ("cut", "changed", "changed", "gone" if store == "zarr" else "changed")[rng.integers(4)]
        if kind == "gone":
            file.unlink()
        else:
            file.write_bytes(raw[:at] if kind == "cut" else raw[:at] + rng.bytes(4) + raw[at + 4 :])
        said = in_child(lambda: outcome(path, expected), seconds=30)
        file.write_bytes(raw)
        known = ("value same", "value refused", "value another")
        assert said.startswith(known), f"{number}: {file.name} {kind} at {at}: {said}"
        seen.append(said.split()[1])
    assert seen.count("refused") > 10 and seen.count("another") < 12, seen
    assert in_child(lambda: outcome(path, expected)) == "value same"
