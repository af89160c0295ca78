"""An AnnData whose rows a function gives."""

import threading

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sivae
from sivae import _extras
from sivae._errors import MissingExtraError, OptionError, SetupError
from sivae.data import _rows

GENES, CELLS = [f"g{i}" for i in range(12)], [f"c{i}" for i in range(50)]


@pytest.fixture
def values():
    return np.random.default_rng(0).poisson(0.7, (50, 12)).astype(np.float32) + np.eye(50, 12, dtype=np.float32)


def reader(values, form, calls=None):
    matrix = form(values)

    def read(start, stop):
        if calls is not None:
            calls.append((start, stop))
        return matrix[start:stop]

    return read


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("share", [0.0, 1e9])
def test_it_trains_to_the_same_bits(values, monkeypatch, form, share):
    """Also a view, whether values are brought into memory or stay with the reader."""
    monkeypatch.setattr(_rows, "SHARE", share)
    found = sivae.io.from_reader(reader(values, form), obs=CELLS, var_names=GENES, chunk_size=8)
    held = ad.AnnData(form(values) if form is np.asarray else sparse.csr_matrix(values))
    held.obs_names, held.var_names = CELLS, GENES
    latent = []
    for adata in (held, found):
        sivae.SiVAE.setup_anndata(adata)
        model = sivae.SiVAE(adata[::-1], n_latent=2)
        model.train(1, accelerator="cpu", progress=False)
        latent.append(model.get_latent_representation(adata[3:40]).tobytes())
        model.annotate(adata)
    assert latent[0] == latent[1]


def test_rows_are_read_once_a_pass_and_written_without_the_rest(values, tmp_path):
    calls = []
    obs = pd.DataFrame({"age": np.arange(50.0)}, index=CELLS)
    adata = sivae.io.from_reader(reader(values, sparse.csr_matrix, calls), obs=obs, var_names=GENES, chunk_size=8)
    assert calls == [(0, 1)]
    calls.clear()
    found = ad.read_h5ad(sivae.io.write_h5ad(adata, tmp_path / "cells.h5ad"))
    assert sorted(calls) == [(start, min(start + 8, 50)) for start in range(0, 50, 8)]
    np.testing.assert_array_equal(found.X.toarray(), values)
    assert found.obs.equals(obs)


def test_it_is_called_from_one_thread_at_a_time(values):
    busy, met = threading.Lock(), []

    def read(start, stop):
        met.append(busy.acquire(blocking=False))
        threading.Event().wait(0.002)
        busy.release()
        return values[start:stop]

    adata = sivae.io.from_reader(read, obs=CELLS, var_names=GENES, chunk_size=2)
    np.testing.assert_array_equal(adata.X.compute(scheduler="threads", num_workers=8), values)
    assert all(met) and len(met) == 26


WRONG = {
    "width": (lambda start, stop: np.zeros((stop - start, 3)), r"read\(0, 1\) gave ndarray \(1, 3\) of float64"),
    "rows": (lambda start, stop: np.zeros((5, 12)), r"expected numbers of 1 cells x 12 genes"),
    "nothing": (lambda start, stop: None, r"gave NoneType; expected"),
    "a frame": (lambda start, stop: pd.DataFrame(np.zeros((1, 12))), r"gave DataFrame \(1, 12\); expected numbers"),
    "texts": (lambda start, stop: np.full((stop - start, 12), "a"), "of <U1; expected numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_function_that_gives_something_else_is_refused_at_once(case):
    with pytest.raises(SetupError, match=WRONG[case][1]):
        sivae.io.from_reader(WRONG[case][0], obs=CELLS, var_names=GENES)


def test_a_function_that_gives_something_else_later_is_named(values):
    adata = sivae.io.from_reader(lambda start, stop: values[start : start + 1], obs=CELLS, var_names=GENES)
    with pytest.raises(SetupError, match=r"read\(0, 50\) gave ndarray \(1, 12\)"):
        sivae.SiVAE.setup_anndata(adata)


def test_arguments(values, monkeypatch):
    read = reader(values, np.asarray)
    with pytest.raises(OptionError, match="expected a function"):
        sivae.io.from_reader(values, obs=CELLS, var_names=GENES)
    with pytest.raises(OptionError, match="chunk_size is 0"):
        sivae.io.from_reader(read, obs=CELLS, var_names=GENES, chunk_size=0)
    with pytest.raises(SetupError, match="var_names are not unique: a"):
        sivae.io.from_reader(read, obs=CELLS, var_names=["a", "a"])
    with pytest.raises(SetupError, match="obs_names are not unique: c"):
        sivae.io.from_reader(read, obs=["c", "c"], var_names=GENES)
    with pytest.raises(SetupError, match="obs holds no cell"):
        sivae.io.from_reader(read, obs=[], var_names=GENES)
    monkeypatch.setattr(_extras.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(MissingExtraError, match=r"dask is not installed.*sivae-tools\[dask\]"):
        sivae.io.from_reader(read, obs=CELLS, var_names=GENES)


def test_other_forms_and_types_later_are_brought_to_the_first(values, tmp_path):
    """Sparse rows and then dense ones, integers and then floats: nothing is dropped or cut."""

    def read(start, stop):
        return sparse.csr_matrix(values[start:stop], dtype=np.int64) if start < 20 else values[start:stop]

    adata = sivae.io.from_reader(read, obs=CELLS, var_names=GENES, chunk_size=8)
    np.testing.assert_array_equal(adata.X.compute().toarray(), values)
    found = ad.read_h5ad(sivae.io.write_h5ad(adata, tmp_path / "cells.h5ad"))
    np.testing.assert_array_equal(found.X.toarray(), values)
    assert found.X.dtype == np.int64
    values[30, 4] = 0.5
    for use in (sivae.SiVAE.setup_anndata, lambda adata: sivae.io.write_h5ad(adata, tmp_path / "other.h5ad")):
        with pytest.raises(SetupError, match=r"read\(24, 32\) holds 0.5, which the type of row 0, int64, does not"):
            use(adata)
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


def test_an_error_of_the_function_is_said_wherever_it_is_called(values, monkeypatch):
    def read(start, stop):
        if start > 0:
            raise ConnectionError("the data base is gone")
        return sparse.csr_matrix(values[start:stop])

    adata = sivae.io.from_reader(read, obs=CELLS, var_names=GENES, chunk_size=8)
    monkeypatch.setattr(_rows, "available", lambda: 0)
    for use in (sivae.SiVAE.setup_anndata, lambda adata: _rows.is_large(adata, None, 12)):
        with pytest.raises(SetupError, match="X cannot be read from where it is stored: the data base is gone"):
            use(adata)
