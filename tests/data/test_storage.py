"""Every storage gives what the AnnData in memory gives, byte for byte; none is brought into memory whole or changed."""

import hashlib
import tracemalloc
from itertools import pairwise

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
from builders import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from storages import ON_DISK, STORAGES, backed, in_h5, lazy_frames, opening, plain

from sivae import SiVAE, TrainOptions, _stored, pl, pp
from sivae._errors import SetupError
from sivae._stored import Grid, Runs
from sivae._values import part_of, values_of
from sivae.data._matrix import as_matrix, survey
from sivae.data._setup import read_record
from sivae.datasets import planted
from sivae.model._build import make_reader

pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning"),
]
every_storage = pytest.mark.parametrize("name", STORAGES)
every_place = pytest.mark.parametrize("layer", [None, "counts"])


@pytest.fixture(scope="module")
def _cells():
    adata = planted(160, 30, n_factors=2, genes_per_factor=10, n_batches=2, batch_effect=0.3, seed=4)
    dense = adata.X.toarray()
    dense[:, 3] += 1  # no cell is empty
    adata.X = sparse.csr_matrix(dense)
    del adata.obsm, adata.varm
    return adata


@pytest.fixture
def cells(_cells):
    return _cells.copy()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that every reading takes many."""
    monkeypatch.setattr(_stored, "BLOCK", 100)


@pytest.fixture
def opened(cells, tmp_path, request):
    """Open the cells in a storage; closed when the test ends."""

    def make(name, layer=None):
        adata, stack = opening(name, cells, layer, tmp_path)
        request.addfinalizer(stack.close)
        return adata

    return make


def in_bytes(matrix):
    if sparse.issparse(matrix):
        assert matrix.format == "csr" and matrix.has_canonical_format and (matrix.data != 0).all()
        return [
            matrix.data.tobytes(),
            matrix.indices.astype(np.int64).tobytes(),
            matrix.indptr.astype(np.int64).tobytes(),
        ]
    return [np.ascontiguousarray(matrix).tobytes()]


def record_of(expression):
    """Every number of an Expression."""
    scaling = expression.scaling
    arrays = [expression.library_n, expression.design_nb, scaling.mean_g, scaling.sd_g, scaling.share_g]
    return [
        *in_bytes(expression.values()), *in_bytes(expression.transformed()), scaling.target, scaling.unit,
        *(array.tobytes() for array in arrays),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ equality


@every_storage
@every_place
def test_expression_is_that_of_the_cells_in_memory(opened, cells, name, layer):
    found, expected = opened(name, layer), plain(cells, STORAGES[name].form, layer)
    genes = tuple(cells.var_names[[7, 3, 29, 0, 11, 12, 13]])
    read = []
    for adata in (found, expected):
        SiVAE.setup_anndata(adata, layer=layer, batch_key="batch")
        read.append(make_reader(adata, read_record(adata), genes)[1])
    assert read_record(found) == read_record(expected)
    assert record_of(read[0]) == record_of(read[1])


@every_storage
@pytest.mark.parametrize("kind", ["int32", "float64", "bool"])
def test_kinds_of_numbers(cells, tmp_path, name, kind):
    cells.X = (cells.X > 1).astype(kind) if kind == "bool" else cells.X.astype(kind)
    adata, stack = opening(name, cells, None, tmp_path)
    with stack:
        genes = np.array([4, -1, 2])
        expected = np.where(genes >= 0, cells.X.toarray()[:, genes], 0)
        matrix = as_matrix(adata, None, genes)
        np.testing.assert_array_equal(matrix.toarray() if sparse.issparse(matrix) else matrix, expected)
        assert survey(adata, None).counts


@every_storage
@every_place
def test_views_in_any_order(opened, cells, name, layer):
    found, expected = opened(name, layer), plain(cells, STORAGES[name].form, layer)
    rng = np.random.default_rng(1)
    rows, genes = rng.permutation(160)[:70], rng.permutation(30)[:20]
    wanted = np.array([5, 19, 0])
    for at in [(rows, genes), (rows, slice(None)), (slice(None), genes), (slice(3, 90, 2), cells.var_names[genes])]:
        two = [part_of(adata[at], np.array([6, 1, 1, 30])) for adata in (found, expected)]
        assert in_bytes(as_matrix(two[0], layer, wanted)) == in_bytes(as_matrix(two[1], layer, wanted))
        x = sparse.csr_matrix(_dense(two[1], layer)[:, wanted]).toarray()
        one = as_matrix(two[0], layer, wanted)
        np.testing.assert_array_equal(one.toarray() if sparse.issparse(one) else one, x)


def _dense(adata, layer):
    x = adata.X if layer is None else adata.layers[layer]
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def run(adata, layer, cells_to_place, genes_to_place):
    """Everything that a user may ask of an AnnData."""
    SiVAE.setup_anndata(adata, layer=layer, batch_key="batch")
    modelled = adata[:, :20]
    model = SiVAE(modelled, n_latent=2, n_profile=10, architecture=SMALL, seed=1)
    options = TrainOptions(checks=2)
    model.train(2, batch_size=64, accelerator="cpu", progress=False, options=options)
    nothing = {"adata": modelled}
    results = {
        "latent": model.get_latent_representation(),
        "some": model.get_latent_representation(indices=[9, 2, 150]),
        "query": model.get_latent_representation(cells_to_place),
        "genes": model.get_feature_representation(genes_to_place),
        "expression": model.get_normalized_expression(cells_to_place, transform_batch="batch_1"),
        "bound": model.get_elbo(**nothing),
        "error": model.get_reconstruction_error(**nothing, per_feature=True),
    }
    model.annotate(adata, project=True)
    return {key: np.asarray(value).tobytes() for key, value in results.items()}, adata


RUN = ["backed csr", "backed csc", "backed dense in chunks", "h5 dense", "zarr csr", "zarr dense",
       "dask dense in a grid", "dask csr in rows"]  # fmt: skip


@pytest.mark.parametrize("name", RUN)
@every_place
def test_training_and_reading_out(opened, cells, name, layer):
    """Two epochs, query cells, unseen genes and annotation."""
    found, expected = opened(name, layer), plain(cells, STORAGES[name].form, layer)
    results = []
    for adata in (found, expected):
        results.append(run(adata, layer, adata[40:10:-1], adata[:, [29, 21, 25]]))
    assert results[0][0] == results[1][0]
    one, two = results[0][1], results[1][1]
    for key in two.obsm:
        assert np.asarray(one.obsm[key]).tobytes() == np.asarray(two.obsm[key]).tobytes()
    for key in two.varm:
        assert np.asarray(one.varm[key]).tobytes() == np.asarray(two.varm[key]).tobytes()
    assert one.var.equals(two.var) and one.obs.equals(two.obs)
    assert set(one.uns["sivae"]) == set(two.uns["sivae"])


def test_data_opened_lazily_with_their_frames(cells, tmp_path):
    """`read_lazy`, where obs and var are no data frames."""
    found, expected = lazy_frames(plain(cells, "csr", None), None, tmp_path, None), plain(cells, "csr", None)
    pp.select_genes(found, 10, batch_key="batch")
    results = [run(adata, None, adata[40:10:-1], adata[:, [29, 21, 25]])[0] for adata in (found, expected)]
    assert results[0] == results[1]
    assert found.obsm["X_sivae"].tobytes() == expected.obsm["X_sivae"].tobytes()


@every_storage
@every_place
def test_choice_of_genes(opened, cells, name, layer):
    found, expected = opened(name, layer), plain(cells, STORAGES[name].form, layer)
    for adata in (found, expected):
        pp.select_genes(adata, 12, batch_key="batch", layer=layer)
    columns = ["highly_variable", "highly_variable_rank", "highly_variable_nbatches"]
    assert found.var[columns].equals(expected.var[columns])
    np.testing.assert_allclose(found.var["residual_variance"], expected.var["residual_variance"], rtol=1e-10)


@pytest.mark.parametrize("name", ["backed csr", "zarr dense", "dask csr in rows"])
def test_a_model_of_a_view(opened, cells, name):
    """Training on a view of a view, which anndata does not take of backed data."""
    found, expected = opened(name), plain(cells, STORAGES[name].form, None)
    latent = []
    rng = np.random.default_rng(2)
    at = rng.permutation(160)[:120], rng.permutation(30)[:20]
    for adata in (found, expected):
        SiVAE.setup_anndata(adata)
        model = SiVAE(adata[at], n_latent=2, n_profile=10, architecture=SMALL)
        model.train(1, accelerator="cpu", progress=False)
        latent.append(model.get_latent_representation(adata[::-1], indices=[3, 1]).tobytes())
    assert latent[0] == latent[1]


def test_pictures_read_what_they_need(opened, cells):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    points = []
    for adata in (opened("backed csr"), plain(cells, "csr", None)):
        adata.obsm["X_sivae"] = np.random.default_rng(0).normal(size=(160, 2))
        points.append(pl.cells(adata, color="gene_3").collections[0].get_array())
    np.testing.assert_array_equal(*points)
    y = cells.X.toarray().astype(float)
    np.testing.assert_allclose(np.sort(points[0]), np.sort(np.log1p(1e4 * y[:, 2] / y.sum(axis=1))))


# ------------------------------------------------------------------------------------------ what is read, and how often


@pytest.fixture
def readings(monkeypatch):
    """Every rectangle that is read, and its values; nothing may be brought into memory whole."""
    from anndata.abc import CSCDataset, CSRDataset

    done = []
    for storage in (_stored.SparseOnDisk, _stored.DenseOnDisk, _stored.FromDask):
        original = storage.read

        def read(self, rows, columns, original=original):
            block = original(self, rows, columns)
            done.append((rows, columns, block.size))
            return block

        monkeypatch.setattr(storage, "read", read)

    def refused(self, *_):
        pytest.fail("the whole matrix was brought into memory")

    for dataset in (CSRDataset, CSCDataset):
        for sub in dataset.__subclasses__():
            monkeypatch.setattr(sub, "to_memory", refused)
    monkeypatch.setattr(ad.AnnData, "to_memory", refused)
    return done


@pytest.mark.parametrize(
    ("name", "layer"),
    # anndata reads the layers of a backed file into memory.
    [(name, layer) for name in STORAGES for layer in (None, "counts") if not (layer and name.startswith("backed"))],
)
def test_set_up_reads_once_and_in_blocks(opened, cells, request, name, layer):
    adata, readings = opened(name, layer), request.getfixturevalue("readings")
    SiVAE.setup_anndata(adata, layer=layer)
    times = np.zeros(adata.shape, int)
    for rows, columns, _ in readings:
        times[rows, columns] += 1
    assert (times == 1).all()
    # A row or a column, and a chunk, is read whole. The chunks of Dask are the user's, those of gzip h5py's.
    chunk = 160 * 15 if name == "backed dense in chunks" else 80 * 13 if "dask" in name else 37 * 11
    assert "as dask" in name or max(size for *_, size in readings) <= chunk
    assert len(readings) >= (1 if "as dask" in name else 2 if "chunks" in name else 5)


@pytest.mark.parametrize("name", ["backed csr", "h5 dense"])
def test_cells_that_are_not_wanted_are_not_read(opened, readings, name):
    as_matrix(opened(name)[[150, 3, 4]], None, np.arange(5))
    rows = [(part.start, part.stop) for part, _, _ in readings]
    assert rows == [(3, 5), (150, 151)]


@pytest.mark.parametrize("name", ["backed csc", "dask csc in columns"])
def test_data_stored_by_gene_are_read_by_gene(opened, readings, name):
    as_matrix(opened(name), None, np.array([9, 2]))
    assert all(rows == slice(0, 160) for rows, _, _ in readings)
    assert sum(columns.stop - columns.start for _, columns, _ in readings) <= 8


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("compression", [{}, {"compression": "gzip"}])
def test_memory_is_that_of_the_genes_and_a_block(tmp_path, monkeypatch, form, compression):
    """3,000 x 2,000 values: 24 MB dense, 14 MB sparse; 50 genes of them are 0.6 MB."""
    monkeypatch.setattr(_stored, "BLOCK", 2**16)
    x = sparse.random(3000, 2000, 0.3, format="csr", dtype=np.float32, random_state=0)
    adata = ad.AnnData({"csr": x, "csc": x.tocsc(), "dense": x.toarray()}[form])
    adata.write_h5ad(tmp_path / "cells.h5ad", **compression)
    whole = 24e6 if form == "dense" else 14.4e6
    genes = np.arange(0, 2000, 40)
    found = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    tracemalloc.start()
    try:
        for use in (lambda: as_matrix(found[:, ::-1], None, genes), lambda: survey(found, None)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            kept = use()
            assert tracemalloc.get_traced_memory()[1] - before < whole / 4
            del kept
    finally:
        tracemalloc.stop()
        found.file.close()


def test_training_reads_no_more_than_a_block_at_a_time(opened, readings):
    adata = opened("backed csr")
    run(adata, None, adata[:20], adata[:, 25:])
    assert max(size for *_, size in readings) <= 100


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40) | st.integers(0, 300), min_size=1, max_size=40),
    wanted=st.sets(st.integers(0, 39)),
    gap=st.sampled_from([0, 30, 10**6]),
)
def test_runs_cover_what_is_wanted_once(lengths, wanted, gap):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    wanted = np.array(sorted(row for row in wanted if row < len(lengths)), dtype=np.intp)
    parts = [rows for rows, _ in Runs(offsets, gap=gap).tiles(wanted, np.arange(3), (len(lengths), 3))]
    covered = np.concatenate([np.arange(part.start, part.stop) for part in parts] or [np.arange(0)])
    assert len(np.unique(covered)) == len(covered)
    assert set(wanted) <= set(covered)
    for part in parts:
        assert part.start in wanted and part.stop - 1 in wanted
        inside = wanted[(wanted >= part.start) & (wanted < part.stop)]
        assert all(offsets[two] - offsets[one + 1] <= gap for one, two in pairwise(inside))
        n_values = offsets[part.stop] - offsets[part.start]
        assert n_values <= _stored.BLOCK or part.stop - part.start == 1


@settings(max_examples=60, deadline=None)
@given(
    heights=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    widths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    rows=st.sets(st.integers(0, 179), min_size=1),
    columns=st.sets(st.integers(0, 179), min_size=1),
)
def test_grids_open_no_chunk_twice(heights, widths, rows, columns):
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in (heights, widths)]
    rows, columns = (
        np.array(sorted(i for i in side if i < cut[-1]), np.intp)
        for side, cut in zip((rows, columns), edges, strict=True)
    )
    shape = tuple(int(cut[-1]) for cut in edges)
    times, opened = np.zeros(shape, int), {}
    for number, (part, across) in enumerate(Grid(*edges).tiles(rows, columns, shape)):
        times[part, across] += 1
        for i in np.unique(np.searchsorted(edges[0], np.arange(part.start, part.stop), side="right")):
            for j in np.unique(np.searchsorted(edges[1], np.arange(across.start, across.stop), side="right")):
                assert opened.setdefault((i, j), number) == number
        size = (part.stop - part.start) * (across.stop - across.start)
        assert size <= max(_stored.BLOCK, max(heights) * max(widths))
    assert (times[np.ix_(rows, columns)] == 1).all() and times.max() <= 1


def test_nothing_in_memory_is_changed():
    """Not even the order of stored values, or zeros that are stored."""
    x = sparse.csr_matrix(
        (np.array([3, 0, 2, 1], np.float32), np.array([4, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 5)
    )
    adata = ad.AnnData(x.copy())
    for part in (adata, adata[:1], adata[:, ::-1]):
        as_matrix(part, None, np.array([1, 0]))
        survey(part, None)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(adata.X, name), getattr(x, name))


# ----------------------------------------------------------------------------------------------- files stay as they are


@pytest.mark.parametrize("name", ON_DISK)
def test_annotations_are_written_in_memory_alone(opened, cells, tmp_path, name):
    def fingerprint():
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    adata = opened(name)
    before = fingerprint()
    SiVAE.setup_anndata(adata)
    pp.select_genes(adata, 10)
    model = SiVAE(adata, n_latent=2, n_profile=10, architecture=SMALL)
    model.train(1, accelerator="cpu", progress=False)
    model.annotate(adata)
    assert adata.obsm["X_sivae"].shape == (160, 2) and adata.varm["X_sivae"].shape == (30, 2)
    assert "sivae_split" in adata.obs and "sivae_r2" in adata.var and "history" in adata.uns["sivae"]
    assert before and fingerprint() == before


def test_a_backed_file_that_may_be_written_to_stays_as_it_is(cells, tmp_path):
    plain(cells, "csr", None).write_h5ad(tmp_path / "cells.h5ad")
    before = ad.read_h5ad(tmp_path / "cells.h5ad")
    adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r+")
    run(adata, None, adata[:20], adata[:, 25:])
    adata.file.close()
    after = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert (before.X != after.X).nnz == 0
    assert not after.uns and not after.obsm and list(after.obs) == list(before.obs)


@pytest.mark.parametrize("name", ["backed csr", "zarr dense"])
@pytest.mark.parametrize("call", ["setup_anndata", "annotate", "select_genes"])
def test_writing_into_a_view_of_a_file_is_refused(opened, readings, name, call):
    adata = opened(name)
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=2, n_profile=10, architecture=SMALL)
    model.train(1, accelerator="cpu", progress=False)
    view = adata[:50]
    readings.clear()
    calls = {
        "setup_anndata": lambda: SiVAE.setup_anndata(view),
        "annotate": lambda: model.annotate(view),
        "select_genes": lambda: pp.select_genes(view),
    }
    with pytest.raises(SetupError, match=f"view of one whose values lie in a file.*Call {call} on the whole"):
        calls[call]()
    assert not readings and view.is_view


# ---------------------------------------------------------------------------------------------- what cannot be read


@every_storage
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_value_that_is_not_finite_is_named_in_every_storage(cells, tmp_path, name, value):
    cells.X = cells.X.toarray()
    cells.X[33, 17] = value
    adata, stack = opening(name, cells, None, tmp_path)
    with stack, pytest.raises(SetupError, match=rf"X holds {value} \(cell '{cells.obs_names[33]}', gene 'gene_18'\)"):
        SiVAE.setup_anndata(adata)


@every_storage
def test_negative_and_broken_values_are_found_in_every_storage(cells, tmp_path, name):
    cells.X = cells.X.toarray()
    cells.X[33, 17] = -2.5
    adata, stack = opening(name, cells, None, tmp_path)
    with stack:
        with pytest.raises(SetupError, match=r"the smallest found is -2\.5"):
            SiVAE.setup_anndata(adata, normalize="log1p")
        SiVAE.setup_anndata(adata)
        assert not read_record(adata).counts and read_record(adata).normalize == "none"


def test_one_value_in_many_that_is_not_whole_is_found(monkeypatch):
    x = np.ones((3000, 1000), np.float32)
    x[2999, 998] = 0.5
    monkeypatch.setattr(_stored, "BLOCK", 2**20)
    assert not survey(ad.AnnData(x), None).counts


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_a_file_that_was_closed(cells, tmp_path, form):
    from contextlib import ExitStack

    with ExitStack() as stack:
        adata = in_h5(plain(cells, form, "counts"), "counts", tmp_path, stack)
    with pytest.raises(SetupError, match=r"layers\['counts'\] .*closed.*anew"):
        SiVAE.setup_anndata(adata, layer="counts")


def test_a_backed_file_that_is_gone(cells, tmp_path):
    from contextlib import ExitStack

    with ExitStack() as stack:
        adata = backed(plain(cells, "csr", None), None, tmp_path, stack)
    (tmp_path / "backed.h5ad").unlink()
    with pytest.raises(SetupError, match="X cannot be opened in the file behind this AnnData"):
        SiVAE.setup_anndata(adata)


def test_a_backed_file_that_was_closed_is_opened_again(cells, tmp_path):
    from contextlib import ExitStack

    with ExitStack() as stack:
        adata = backed(plain(cells, "csr", None), None, tmp_path, stack)
    SiVAE.setup_anndata(adata)
    adata.file.close()


def test_a_damaged_file_is_said_to_be_one(cells, tmp_path, monkeypatch, opened):
    adata = opened("backed csr")

    def broken(*_):
        raise OSError("Can't read data")

    monkeypatch.setattr(_stored.SparseOnDisk, "read", broken)
    with pytest.raises(
        SetupError,
        match=r"X cannot be read from where it is stored \(.*backed\.h5ad, /X\): Can't read data.*is whole and in",
    ):
        SiVAE.setup_anndata(adata)


def test_text_on_disk_and_in_dask(cells, tmp_path):
    text = np.full(cells.shape, "a", dtype=object)
    with h5py.File(tmp_path / "text.h5", "w") as file:
        for matrix in (
            file.create_dataset("text", data=text, dtype=h5py.string_dtype()),
            da.from_array(text, chunks=50),
        ):
            adata = ad.AnnData(cells.X, layers={"text": matrix})
            with pytest.raises(SetupError, match=r"layers\['text'\] holds values of type object; expected numbers"):
                SiVAE.setup_anndata(adata, layer="text")


def test_what_nothing_reads_is_named(cells):
    class Ragged:
        shape = cells.shape

    with pytest.raises(
        SetupError, match=r"layers\['x'\] is stored as \S+ Ragged, expected a NumPy array, .* Dask array"
    ):
        _stored.open_stored(Ragged(), "layers['x']")


def test_raw_is_no_layer(cells):
    with pytest.raises(SetupError, match="Found no layer 'raw', expected one of: none are there. Name one of these"):
        values_of(cells, "raw")
    cells.raw = cells
    with pytest.raises(SetupError, match=r"adata\.raw is no layer: to model it, pass adata\.raw\.to_adata\(\)"):
        values_of(cells, "raw")


# ------------------------------------------------------------------------------------------------------------ windows


def streamed_rows(adata, size, monkeypatch):
    from sivae.data import _rows

    SiVAE.setup_anndata(adata)
    setup = read_record(adata)
    monkeypatch.setattr(_rows, "ROWS", size)
    monkeypatch.setattr(_rows, "WINDOW", 1)
    at = np.array([5, 2, 29])
    return _rows.streamed(adata, values_of(adata, None), setup, at, binary=False), at


@every_storage
@pytest.mark.parametrize("size", [11, 40, 500])
def test_rows_of_windows_are_those_of_the_matrix(opened, cells, monkeypatch, name, size):
    """Blocks that lie in a window, across two or many, that go back, and rows in any order."""
    rows, at = streamed_rows(opened(name), size, monkeypatch)
    expected = cells.X.toarray()[:, at]
    wanted = [slice(start, min(start + 7, 160)) for start in range(0, 160, 7)]
    wanted += [
        slice(None),
        slice(30, 9),
        slice(20, 60, 3),
        np.arange(10, 19),
        np.array([4, 150, 4, 77]),
        slice(-9, None),
    ]
    for cells_ in wanted:
        found = rows.read(cells_)
        np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, expected[cells_])


@pytest.mark.parametrize("name", ["zarr dense", "dask csr in rows", "dask dense in a grid", "backed csr"])
def test_a_pass_in_blocks_reads_each_part_once_and_opens_once(opened, monkeypatch, name):
    """Whatever the blocks: windows end at edges of chunks, and what was read to open the matrix is not read again."""
    adata = opened(name)
    rows, _ = streamed_rows(adata, 33, monkeypatch)
    seen, openings = [], []
    kind = type(values_of(adata, None).stored)
    read, opening_ = kind.read, kind.__init__
    monkeypatch.setattr(_stored, "BLOCK", 10**6)
    monkeypatch.setattr(kind, "read", lambda self, *tile: (seen.append(tile[0]), read(self, *tile))[1])
    monkeypatch.setattr(kind, "__init__", lambda *given: (openings.append(1), opening_(*given))[1])
    for start in range(0, 160, 8):
        rows.read(slice(start, start + 8))
    taken = np.concatenate([np.arange(160)[part] for part in seen])
    assert sorted(taken) == list(range(160)) and not openings
    if name != "backed csr":
        edges = set(rows._edges)
        assert edges <= set(values_of(adata, None).stored.plan.row_edges)


def test_sparse_chunks_of_dask_count_what_they_hold(cells, monkeypatch):
    """All zeros counted, they would be taken for too large; dense chunks are."""
    from sivae.data import _rows

    for array, stays in ((cells.X, False), (cells.X.toarray(), True)):
        adata = ad.AnnData(da.from_array(array, chunks=(40, -1), asarray=False))
        share = cells.X.nnz / (160 * 30)
        assert 0.05 < share < 0.75
        room = 160 * 30 * _rows.BYTES / _rows.SHARE * (1 + share) / 2
        monkeypatch.setattr(_rows, "available", lambda room=room: room)
        assert _rows.is_large(adata, None, 30) == stays
    middle = cells.X[80:120].nnz / (40 * 30)
    array = da.from_array(cells.X, chunks=(40, -1), asarray=False)
    assert _stored.FromDask(array).estimate() == pytest.approx(middle * 160 * 30)


def both_kinds(cells):
    """A Dask array whose later rows are dense."""
    dense = cells.X.toarray()
    first = da.from_array(cells.X[:80], chunks=(40, -1), asarray=False)
    return ad.AnnData(da.concatenate([first, da.from_array(dense[80:], chunks=(40, -1))]), cells.obs, cells.var)


def test_chunks_of_both_kinds_are_all_read(cells, monkeypatch):
    """Neither kind takes the place of the other, in one pass or in windows, and they are counted."""
    from sivae.data import _rows

    monkeypatch.setattr(_stored, "BLOCK", 40)
    expected = cells.X.toarray()
    for adata, order in ((both_kinds(cells), slice(None)), (both_kinds(cells)[::-1], slice(None, None, -1))):
        np.testing.assert_array_equal(as_matrix(adata, None, np.arange(30)), expected[order])
    rows, at = streamed_rows(both_kinds(cells), 40, monkeypatch)
    found = rows.read(slice(60, 95))
    np.testing.assert_array_equal(found, expected[60:95][:, at])
    monkeypatch.setattr(_rows, "available", lambda: 0)
    assert _rows.is_large(both_kinds(cells), None, 30)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), chunk=st.integers(1, 25), size=st.integers(1, 40), step=st.integers(1, 3))
def test_windows_are_of_whole_chunks_and_as_large_as_may_be(n, chunk, size, step):
    """None is larger than asked for unless a chunk is, and no two neighbors would fit into one."""
    grid = da.zeros((n, 3), chunks=(chunk, 3))
    values = values_of(ad.AnnData(grid), None).take_rows(np.arange(0, n, step))
    edges = values.windows(size)
    assert edges[0] == 0 and edges[-1] == values.shape[0] and (np.diff(edges) > 0).all()
    ends = np.unique(np.searchsorted(values.rows, values.stored.plan.row_edges))
    assert set(edges) <= set(ends)
    for start, stop in pairwise(edges):
        one_chunk = not ((ends > start) & (ends < stop)).any()
        assert stop - start <= size or one_chunk
        following = ends[ends > stop]
        assert len(following) == 0 or following[0] - start > size
