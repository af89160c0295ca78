"""Values in a temporary file: the same model to the last bit, no file afterwards, and what is wrong is said."""

import errno
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import anndata as ad
import dask.array as da
import numpy as np
import pytest
from builders import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from storages import STORAGES, opening, plain

from sivae import SiVAE, TrainOptions, _stored
from sivae._errors import ArtefactError, OptionError, SetupError
from sivae.data import _rows, _spool
from sivae.data._expression import Expression
from sivae.data._spool import Spool
from sivae.datasets import planted

pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning"),
]
N, G = 1300, 30


@pytest.fixture(scope="module")
def _cells():
    """More cells than a block, and names in another order than that of the cells."""
    adata = planted(N, G, n_factors=2, genes_per_factor=10, n_batches=2, batch_effect=0.3, seed=4)
    dense = adata.X.toarray()
    dense[:, 3] += 1  # no cell is empty
    dense[700, 5] = 300  # more than a byte holds, once there are records
    adata.X = sparse.csr_matrix(dense)
    adata.obs_names = [f"cell_{n}" for n in np.random.default_rng(3).permutation(N)]
    del adata.obsm, adata.varm
    return adata


@pytest.fixture
def cells(_cells):
    return _cells.copy()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Many tiles, and files that are rewritten in parts."""
    monkeypatch.setattr(_stored, "BLOCK", 2000)
    monkeypatch.setattr(_spool, "AT_ONCE", 999)


@pytest.fixture
def opened(cells, tmp_path, request):
    def make(name):
        adata, stack = opening(name, cells, None, tmp_path)
        request.addfinalizer(stack.close)
        return adata

    return make


def options_of(spool, folder=None, **more):
    return TrainOptions(**{"max_steps": 12, "checks": 3, "spool": spool, "spool_folder": folder} | more)


def fit(adata, spool, folder=None, *, setup=None, more=None, **options):
    SiVAE.setup_anndata(adata, **({"batch_key": "batch"} if setup is None else setup))
    model = SiVAE(adata[:, :20], **{"n_latent": 2, "n_profile": 10, "architecture": SMALL} | options)
    model.train(batch_size=64, accelerator="cpu", progress=False, options=options_of(spool, folder, **(more or {})))
    return model


def in_bytes(model):
    """Weights, and everything else that training leaves."""
    state = model._state
    weights = {name: tensor.numpy().tobytes() for name, tensor in model._module.state_dict().items()}
    tables = {name: np.asarray(array).tobytes() for name, array in state.to_tables().items()}
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in model.history.to_dict("records")]
    return weights, tables, str(rows), state.facts["train_options"]


# ------------------------------------------------------------------------------------------------------------ equality


@pytest.mark.parametrize(
    "options",
    [{}, {"likelihood": "nb"}, {"likelihood": "bernoulli"}, {"profiles": "cells"}],
    ids=["normal", "nb", "bernoulli", "cells"],
)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["backed csr", "zarr csr", "dask csr in rows"])
def test_the_trained_model_is_that_of_the_cells_in_memory(opened, cells, name, options):
    expected = in_bytes(fit(plain(cells, "csr", None), "never", **options))
    assert in_bytes(fit(opened(name), "always", **options)) == expected


@pytest.mark.parametrize(
    "name",
    ["backed csc", "backed dense in chunks", "h5 dense", "zarr csc", "zarr dense", "dask dense in rows",
     "dask csc in columns"],
)  # fmt: skip
def test_every_storage(opened, cells, name):
    expected = in_bytes(fit(plain(cells, STORAGES[name].form, None), "never"))
    assert in_bytes(fit(opened(name), "always")) == expected


def test_a_grid_of_chunks(cells):
    """A row comes in pieces, and so do the rows."""
    expected = plain(cells, "dense", None)
    found = expected.copy()
    found.X = da.from_array(expected.X, chunks=((17, 80, 63, 640, 500), 13))
    assert in_bytes(fit(found, "always")) == in_bytes(fit(expected, "never"))


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_values_that_are_no_counts(cells, form):
    values = np.random.default_rng(0).normal(3, 2, (N, G)).astype(np.float32)
    values[values < 2] = 0
    cells.X = sparse.csr_matrix(values)
    found = [in_bytes(fit(plain(cells, form, None), spool)) for spool in ("always", "never")]
    assert found[0] == found[1]


def test_size_factors_and_covariates(cells, opened):
    cells.obs["depth"], cells.obs["age"] = np.linspace(0.5, 2, N), np.arange(N) ** 1.5
    setup = {"batch_key": "batch", "size_factor_key": "depth", "continuous_covariate_keys": ["age"]}
    expected = in_bytes(fit(plain(cells, "csr", None), "never", setup=setup))
    assert in_bytes(fit(opened("backed csr"), "always", setup=setup)) == expected


@pytest.mark.slow
def test_the_published_recipe(cells, opened):
    from sivae import PublishedOptions

    published = PublishedOptions(iterations=4, batch_size=64, kl_warmup=2)
    given = {"recipe": "choi2023", "published": published, "architecture": None, "n_profile": 50}
    more = {"max_steps": None}
    expected = in_bytes(fit(plain(cells, "csr", None), "never", more=more, **given))
    assert in_bytes(fit(opened("backed csr"), "always", more=more, **given)) == expected


@pytest.mark.parametrize("name", ["backed csr", "zarr dense"])
def test_new_genes_and_getters_of_large_data(opened, cells, monkeypatch, name):
    """Everything that reads cells, with hardly any memory to hold them."""
    found, expected = opened(name), plain(cells, STORAGES[name].form, None)
    results, kept = [], []
    for adata, share in ((expected, 1.0), (found, 0.0)):
        monkeypatch.setattr(_rows, "SHARE", share)
        monkeypatch.setattr(_rows, "WINDOW", 1)
        model = fit(adata, "auto")
        some = adata[np.random.default_rng(1).permutation(N)[:1100]]
        values = {
            "latent": model.get_latent_representation(),
            "some": model.get_latent_representation(indices=[9, 2, 150]),
            "query": model.get_latent_representation(some),
            "expression": model.get_normalized_expression(some, gene_list=["gene_3"]),
            "bound": model.get_elbo(adata),
            "error": model.get_reconstruction_error(adata, per_feature=True),
            "genes": model.get_feature_representation(adata[:, [29, 21, 25]]),
        }
        model.annotate(adata, project=True)
        results.append({key: np.asarray(value).tobytes() for key, value in values.items()})
        kept.append(adata)
    assert results[0] == results[1]
    for place in ("obsm", "varm"):
        for key, array in getattr(kept[0], place).items():
            assert np.asarray(array).tobytes() == np.asarray(getattr(kept[1], place)[key]).tobytes()
    assert kept[0].var.equals(kept[1].var) and kept[0].obs.equals(kept[1].obs)


def test_a_training_goes_on_from_its_checkpoint(opened, cells, tmp_path, monkeypatch):
    """Also from the file to memory: where values lie is no part of what a training is."""
    expected = in_bytes(fit(plain(cells, "csr", None), "never"))
    adata = opened("backed csr")
    SiVAE.setup_anndata(adata, batch_key="batch")
    stop = {"at": 12}
    block = Expression.block

    def interrupted(self, *args, **kwargs):
        stop["at"] -= 1
        if stop["at"] == 0:
            raise SystemExit
        return block(self, *args, **kwargs)

    model = SiVAE(adata[:, :20], n_latent=2, n_profile=10, architecture=SMALL)
    how = {"batch_size": 64, "accelerator": "cpu", "progress": False, "checkpoint_dir": tmp_path / "kept"}
    monkeypatch.setattr(Expression, "block", interrupted)
    with pytest.raises(SystemExit):
        model.train(**how, options=options_of("always", checkpoint_seconds=0))
    monkeypatch.undo()
    model.train(**how, options=options_of("never"))
    assert model.history.attrs["resumed_at"] > 0
    assert in_bytes(model)[:2] == expected[:2]


# ------------------------------------------------------------------------------------------------------------- choice


def test_auto_takes_a_file_where_values_lie_in_one_and_are_many(opened, cells, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "sivae")
    backed = opened("backed csr")
    fit(backed, "auto")
    assert "temporary file" not in caplog.text
    monkeypatch.setattr(_rows, "SHARE", 0.0)
    fit(plain(cells, "csr", None), "auto")
    assert "temporary file" not in caplog.text
    fit(backed, "auto")
    assert "temporary file in " in caplog.text and "gene by gene" not in caplog.text
    fit(opened("zarr csc"), "auto")
    assert "stored gene by gene (CSC)" in caplog.text


def test_options_are_checked():
    with pytest.raises(OptionError, match=r"TrainOptions.spool is 'yes'; expected one of 'auto', 'always', 'never'"):
        TrainOptions(spool="yes")
    with pytest.raises(OptionError, match=r"TrainOptions.spool_folder is 3; expected a path"):
        TrainOptions(spool_folder=3)
    assert TrainOptions(spool_folder=Path("here")).spool_folder == "here"


def test_a_saved_model_does_not_say_where_the_file_lay(cells, tmp_path):
    model = fit(cells, "always", str(tmp_path))
    assert not {"spool", "spool_folder"} & set(model._state.facts["train_options"])


# ------------------------------------------------------------------------------------------------ what is in memory


@pytest.mark.slow
def test_no_array_holds_all_values(tmp_path, monkeypatch):
    """Of 13,000 cells, of which 11,600 train, never more than the samples of 5,000 that some steps take."""
    monkeypatch.setattr(_stored, "BLOCK", 20_000)
    monkeypatch.setattr(_rows, "SHARE", 0.0)
    monkeypatch.setattr(_rows, "WINDOW", 1)
    rng = np.random.default_rng(0)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rng.gamma(1, 1, 20), (13_000, 20)).astype(np.float32) + 1))
    adata.obs["batch"] = np.where(rng.random(13_000) < 0.5, "x", "y")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read, streamed = [], []
    for kind, seen in ((Spool, read), (_rows.Streamed, streamed)):
        original = kind.read

        def noted(self, cells, original=original, seen=seen):
            found = original(self, cells)
            seen.append(found.shape[0])
            return found

        monkeypatch.setattr(kind, "read", noted)
    for likelihood in ("normal", "nb"):
        backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        SiVAE.setup_anndata(backed, batch_key="batch")
        model = SiVAE(backed, n_latent=2, n_profile=10, architecture=SMALL, likelihood=likelihood)
        model.train(accelerator="cpu", progress=False, options=options_of("auto", max_steps=3, checks=1))
        model.get_elbo()
        model.get_reconstruction_error()
        model.annotate(backed)
        backed.file.close()
    assert sum(read) > 2 * 5 * 11_000 and max(read) <= 5000
    assert sum(streamed) > 2 * 5 * 13_000 and max(streamed) <= 1024


# ----------------------------------------------------------------------------------------------- the file, and faults


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "spool"
    made.mkdir()
    return made


def is_closed(spool):
    return spool._file.closed


@pytest.fixture
def made(monkeypatch):
    """Every spool that is made."""
    found = []
    original = Spool.__init__

    def noted(self, *args, **kwargs):
        found.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Spool, "__init__", noted)
    return found


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_file_is_gone_whatever_ends_the_training(cells, folder, made, monkeypatch, error):
    if error is not None:

        def failing(*_, **__):
            raise error("stopped")

        monkeypatch.setattr("sivae.model._finish.encode", failing)
        with pytest.raises(error):
            fit(cells, "always", folder)
    else:
        fit(cells, "always", folder)
    assert len(made) == 1 and is_closed(made[0]) and not list(folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="an open file has a name there")
def test_a_killed_process_leaves_nothing(folder):
    code = (
        "import os, pathlib, signal, sys, numpy as np\n"
        "from sivae.data._spool import Spool\n"
        "spool = Spool([(np.arange(3), np.ones((3, 2), np.float32))], (3, 2), pathlib.Path(sys.argv[1]))\n"
        "assert spool.read(slice(1, 3)).sum() == 4\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    assert not list(folder.iterdir())


def test_a_full_disk_is_said_and_nothing_is_left(cells, folder, made, monkeypatch):
    written = []

    def full(file, raw):
        written.append(len(raw))
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(raw)

    monkeypatch.setattr(_spool, "_write_all", full)
    with pytest.raises(ArtefactError, match=r"1,300 cells x 20 genes could not be written .*spool: .*No space left"):
        fit(cells, "always", folder)
    assert is_closed(made[0]) and not list(folder.iterdir())


def test_a_folder_that_is_not_there(cells, tmp_path):
    with pytest.raises(ArtefactError, match=r"could not be written .*nowhere: .*TrainOptions\(spool_folder=...\)"):
        fit(cells, "always", tmp_path / "nowhere")


def test_writing_stops_at_a_value_that_is_wrong(cells, folder, made):
    SiVAE.setup_anndata(cells)
    values = cells.X.toarray()
    values[40, 2] = -1
    cells.X = sparse.csr_matrix(values)
    model = SiVAE(cells, n_latent=2, architecture=SMALL)
    name = cells.obs_names[40]
    with pytest.raises(SetupError, match=rf"X holds -1 \(cell '{name}', gene 'gene_3'\)"):
        model.train(progress=False, options=options_of("always", folder))
    assert is_closed(made[0]) and not list(folder.iterdir())


def spool_of(matrix, folder=None, step=7):
    """Strips of a few rows, in a random order."""
    order = np.random.default_rng(0).permutation(matrix.shape[0])
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    return Spool(((rows, matrix[rows]) for rows in parts), matrix.shape, folder)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_byte_that_changed_is_found(rng, folder, place):
    matrix = sparse.csr_matrix(rng.poisson(0.5, (50, 9)).astype(np.float32))
    spool = spool_of(matrix, folder)
    at = place % spool.n_bytes
    for byte in range(3):
        os.pwrite(spool._file.fileno(), bytes([os.pread(spool._file.fileno(), 1, at)[0] ^ 1 << byte]), at)
        with pytest.raises(ArtefactError, match=r"cannot be read as it was written: a checksum does not match"):
            spool.read(np.arange(50))
    spool.close()


def test_a_file_that_was_cut_is_found(rng, folder):
    matrix = sparse.csr_matrix(rng.poisson(0.5, (50, 9)).astype(np.float32))
    spool = spool_of(matrix, folder)
    os.ftruncate(spool._file.fileno(), spool.n_bytes - 1)
    with pytest.raises(ArtefactError, match=r"it ends after [\d,]+ bytes, expected [\d,]+"):
        spool.read(slice(None))
    spool.close()


KINDS = {
    "bits": lambda rng, shape: rng.integers(0, 2, shape),
    "bytes": lambda rng, shape: rng.integers(0, 256, shape) * rng.integers(0, 2, shape),
    "many": lambda rng, shape: rng.integers(0, 70_000, shape) * rng.integers(0, 2, shape),
    "large": lambda rng, shape: rng.integers(0, 2**32, shape) * rng.integers(0, 2, shape),
    "beyond": lambda rng, shape: rng.integers(0, 2**40, shape) * rng.integers(0, 2, shape),
    "fractions": lambda rng, shape: rng.normal(size=shape) * rng.integers(0, 2, shape),
    "growing": lambda rng, shape: np.exp2(np.arange(shape[0]) % 40)[:, None] * rng.integers(0, 2, shape),
    "none": lambda rng, shape: np.zeros(shape),
}


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    n=st.integers(1, 60),
    g=st.integers(1, 12),
    dense=st.booleans(),
    step=st.integers(1, 30),
    seed=st.integers(0, 10),
    data=st.data(),
)
def test_rows_are_those_of_the_matrix(kind, n, g, dense, step, seed, data):
    """Any rows, any order, also twice; and of a part."""
    values = KINDS[kind](np.random.default_rng(seed), (n, g)).astype(np.float32)
    matrix = values if dense else sparse.csr_matrix(values)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=80)), np.intp)
    first, last = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    part = np.random.default_rng(seed).permutation(n)[: max(1, n // 2)]
    inside = rows[rows < len(part)]
    with closing(spool_of(matrix, step=step)) as spool:
        pairs = [
            (spool.read(rows), matrix[rows]),
            (spool.read(slice(first, last)), matrix[first:last]),
            (spool.part(part).read(inside), matrix[part][inside]),
        ]
    for found, expected in pairs:
        assert sparse.issparse(found) != dense and found.shape == expected.shape and found.dtype == np.float32
        if not dense:
            assert found.has_canonical_format and found.nnz == expected.nnz
            found, expected = found.toarray(), expected.toarray()
        np.testing.assert_array_equal(found, expected)


def test_types_are_the_smallest_that_hold_the_values(rng):
    sizes = {1: 255, 2: 65_535, 4: 65_536}
    for size, largest in sizes.items():
        spool = spool_of(sparse.csr_matrix(np.array([[0, largest], [1, 0]], np.float32)))
        assert spool.n_bytes == 2 * (2 + size)
        spool.close()
    for largest in (2.0**32 - 2**8, 2.0**32):  # the largest that four bytes hold, and the next one
        matrix = sparse.csr_matrix(np.array([[0, largest], [1, 0]], np.float32))
        spool = spool_of(matrix)
        np.testing.assert_array_equal(spool.read(slice(None)).toarray(), matrix.toarray())
        spool.close()
    wide = sparse.csr_matrix(([1.0], ([0], [70_000])), shape=(1, 70_001), dtype=np.float32)
    spool = spool_of(wide)
    assert spool.n_bytes == 4 + 1 and (spool.read(np.array([0])) != wide).nnz == 0
    spool.close()


def test_large_files_do_not_go_where_files_may_lie_in_memory(monkeypatch):
    monkeypatch.setattr(_spool.tempfile, "gettempdir", lambda: "/tmp")
    if Path("/var/tmp").is_dir():
        assert _spool.temporary_folder() == Path("/var/tmp")
    monkeypatch.setattr(_spool.tempfile, "gettempdir", lambda: "/somewhere")
    assert _spool.temporary_folder() == Path("/somewhere")


def test_places_are_kept_once_and_take_ten_bytes(rng):
    """Of the whole nothing is left when it was divided; each part has its rows."""
    matrix = sparse.csr_matrix(rng.poisson(0.5, (60, 9)).astype(np.float32))
    with closing(spool_of(matrix, step=7)) as spool:
        order = rng.permutation(60)
        one, two = spool.parts(order[:40], order[40:])
        for part, rows in ((one, order[:40]), (two, order[40:])):
            np.testing.assert_array_equal(part.read(slice(None)).toarray(), matrix[rows].toarray())
        kept = [
            getattr(part, name).nbytes for part in (spool, one, two) for name in ("_begin_n", "_length_n", "_check_n")
        ]
        assert sum(kept) == 60 * 10


def test_cells_that_were_read_bring_no_other_column(cells):
    """What set-up names comes along, for the design; the rest of `obs`, which can be much, does not."""
    from sivae.data._setup import read_record
    from sivae.model._fit import cells_of

    cells.obs["much"] = "text"
    SiVAE.setup_anndata(cells, batch_key="batch")
    rows = np.array([5, 3, 9])
    few = cells_of(cells, rows, read_record(cells), object())
    assert list(few.obs) == ["batch"] and list(few.obs_names) == list(cells.obs_names[rows]) and few.X is None
    assert list(few.obs["batch"]) == list(cells.obs["batch"].iloc[rows]) and list(few.var_names) == list(
        cells.var_names
    )


def test_checking_names_leaves_no_table_of_them(cells):
    from sivae._checks import check_names

    cells.obs_names._cache.pop("_engine", None)
    check_names(cells, "obs_names")
    assert "_engine" not in cells.obs_names._cache


def test_two_threads_read_where_there_is_no_pread(rng, folder, monkeypatch):
    """As on Windows: one that reads ahead must not move the place from which another reads."""
    matrix = sparse.random(200, 30, 0.3, "csr", np.float32, random_state=0)
    spool = Spool([(np.arange(200), matrix)], (200, 30), folder)

    class Slow:
        def __init__(self, file):
            self.file = file

        def seek(self, place):
            self.file.seek(place)
            threading.Event().wait(0.002)

        def read(self, size):
            return self.file.read(size)

    monkeypatch.delattr(os, "pread")
    with closing(spool._file) as file:
        spool._file = Slow(file)
        wanted = [np.array([at, 199 - at]) for at in range(40)]
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(spool.read, wanted))
    for rows, read in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(read.toarray(), matrix[rows].toarray())


def test_reading_waits_where_the_file_is_larger_than_memory(rng, monkeypatch):
    spool = spool_of(sparse.csr_matrix(rng.poisson(1.0, (20, 6)).astype(np.float32)))
    for room, expected in ((spool.n_bytes, False), (spool.n_bytes - 1, True)):
        monkeypatch.setattr(_spool, "available", lambda room=room: room)
        assert spool.waits == spool.part(np.arange(3)).waits == expected
    spool.close()
