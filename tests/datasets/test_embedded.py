"""Real counts are recovered from what scanpy ships."""

import sys

import numpy as np
import pytest
from scipy import sparse

from sivae._errors import MissingExtraError, SiVAEError
from sivae.datasets import pbmc700

sc = pytest.importorskip("scanpy")


@pytest.fixture(scope="module")
def adata():
    return pbmc700()


@pytest.fixture(scope="module")
def source():
    return sc.datasets.pbmc68k_reduced()


def test_form(adata, source):
    assert adata.shape == (700, 765)
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.X.has_sorted_indices
    assert list(adata.obs_names) == list(source.obs_names)
    assert list(adata.var_names) == list(source.raw.var_names)
    assert list(adata.obs["cell_type"]) == list(source.obs["bulk_labels"])
    assert adata.obs["cell_type"].nunique() == 10


def test_counts_are_whole_and_within_rounding(adata, source):
    total_c1 = source.obs["n_counts"].to_numpy(dtype=float)[:, None]
    exact_cg = np.expm1(source.raw.X.toarray().astype(float)) * total_c1 / 1e4
    y_cg = adata.X.toarray()
    assert (y_cg == np.rint(y_cg)).all()
    assert y_cg.min() == 0
    assert np.abs(y_cg - exact_cg).max() == pytest.approx(0.0815, abs=0.001)
    assert np.median(np.abs(y_cg - exact_cg)[y_cg > 0]) < 0.001
    assert ((y_cg > 0) == (source.raw.X.toarray() > 0)).all()


def test_sums_and_detection_stay_below_the_whole_transcriptome(adata, source):
    sum_c = np.asarray(adata.X.sum(axis=1)).ravel()
    share_c = sum_c / source.obs["n_counts"].to_numpy()
    assert 0.1 < share_c.min() <= share_c.max() < 0.3
    assert (adata.X.getnnz(axis=1) < source.obs["n_genes"].to_numpy()).all()
    # Putting the counts through the authors' normalisation gives their file.
    back_cg = np.log1p(adata.X.toarray() * (1e4 / source.obs["n_counts"].to_numpy())[:, None])
    np.testing.assert_allclose(back_cg, source.raw.X.toarray(), atol=6e-4)


def test_silent(capfd):
    pbmc700()
    assert capfd.readouterr() == ("", "")


def test_another_file_is_refused(monkeypatch, source):
    wrong = source.copy()
    wrong.obs["n_counts"] *= 1.3
    monkeypatch.setattr(sc.datasets, "pbmc68k_reduced", lambda: wrong)
    with pytest.raises(SiVAEError, match=r"away from a whole number, expected at most 0\.25.*install scanpy"):
        pbmc700()


def test_without_scanpy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scanpy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sivae-tools\[demo\]'"):
        pbmc700()
