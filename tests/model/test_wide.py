"""Many features: everything is made of some cells or some genes at a time, with the results of all together."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from sivae import SiVAE, TrainOptions
from sivae.data import _covariates, _rows
from sivae.data._rows import Columns, gene_slices, slices
from sivae.data._scaling import Scaling
from sivae.model import _evidence
from sivae.model._derivative import mean_derivative
from sivae.stats import _spectrum

N, G, BATCH = 400, 300, 16


@pytest.fixture(scope="module")
def peaks():
    """Open peaks of three topics; cells and peaks in the order of their names."""
    rng = np.random.default_rng(3)
    topic = rng.integers(0, 3, N)
    rate = rng.gamma(2.0, 0.08, G) * np.where(np.arange(G) % 6 == topic[:, None], 4.0, 1.0)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rate * rng.lognormal(0, 0.3, (N, 1))).astype(np.float32)))
    adata.obs_names, adata.var_names = [f"c{i:03d}" for i in range(N)], [f"p{i:03d}" for i in range(G)]
    adata.obs["batch"] = rng.choice(["x", "y"], N)
    adata.obs["age"] = rng.normal(size=N)
    return adata


def trained(adata, likelihood, **setup):
    adata = adata.copy()
    SiVAE.setup_anndata(adata, **setup)
    model = SiVAE(adata, n_latent=4, likelihood=likelihood)
    options = TrainOptions(max_steps=5, checks=1)
    model.train(batch_size=BATCH, accelerator="cpu", progress=False, early_stopping=False, options=options)
    return adata, model


def narrow(monkeypatch):
    """What is wide begins with 100 genes, and dense blocks have as many values as a step of training."""
    monkeypatch.setattr(_rows, "WIDE", 100)
    monkeypatch.setattr(_rows, "DENSE", BATCH * G)
    monkeypatch.setattr(_evidence, "GENES_AT_ONCE", 40)


@pytest.mark.parametrize(
    ("likelihood", "setup"),
    [("bernoulli", {}), ("poisson", {"batch_key": "batch"}), ("normal", {"continuous_covariate_keys": ["age"]})],
)
def test_parts_give_what_all_together_gives(peaks, likelihood, setup, monkeypatch):
    monkeypatch.setattr(_covariates, "N_GROUPS", 3)  # as many as there are: others are found as rounding has it
    whole_adata, whole = trained(peaks, likelihood, **setup)
    narrow(monkeypatch)
    sizes, standardise = [], Scaling.standardise

    def noted(self, transformed_cg):
        sizes.append(transformed_cg.size)
        return standardise(self, transformed_cg)

    monkeypatch.setattr(Scaling, "standardise", noted)
    parts_adata, parts = trained(peaks, likelihood, **setup)
    parts.annotate(parts_adata)
    parts.get_elbo()
    parts.get_normalized_expression(gene_list=list(peaks.var_names[:3]))
    assert max(sizes) <= BATCH * G < N * G / 10
    for name in whole._state.table.__dataclass_fields__:
        one, other = (getattr(model._state.table, name) for model in (whole, parts))
        largest = max(1.0, np.nanmax(np.abs(one), initial=0.0)) if np.isfinite(one).any() else 1.0
        # Where a gene is told nothing, what is explained of it is a share of next to nothing.
        atol = 0.02 if name == "r2_g" else 5e-4 * largest
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=atol, err_msg=name)
    np.testing.assert_allclose(
        parts_adata.obsm["X_sivae"], whole.get_latent_representation(whole_adata), rtol=1e-3, atol=1e-3
    )


def test_axes_of_wide_data_come_from_what_is_stored(peaks, monkeypatch):
    """The same model, nearly, as with exact axes, and no dense block for them."""
    _, exact = trained(peaks, "bernoulli")
    monkeypatch.setattr(_spectrum, "DENSE_LIMIT", 100)
    _, found = trained(peaks, "bernoulli")
    one, other = exact._state, found._state
    assert one.facts["n_signal_axes"] == other.facts["n_signal_axes"] > 0
    np.testing.assert_allclose(other.spectrum.values_q, one.spectrum.values_q, rtol=0.02)
    np.testing.assert_allclose(other.table.loading_gk[:, :2], one.table.loading_gk[:, :2], atol=0.02)


def test_slices_cover_and_stay_within_what_can_be_dense(monkeypatch):
    monkeypatch.setattr(_rows, "WIDE", 100)
    monkeypatch.setattr(_rows, "DENSE", 1000)
    assert list(slices(2500, 100)) == [slice(0, 1024), slice(1024, 2048), slice(2048, 2500)]
    assert list(slices(25, 101)) == [slice(0, 9), slice(9, 18), slice(18, 25)]
    assert list(slices(2, 10_000)) == [slice(0, 1), slice(1, 2)]
    assert list(gene_slices(500, 100)) == [slice(0, 100)]
    assert list(gene_slices(500, 101, most=64)) == [slice(start, min(start + 2, 101)) for start in range(0, 101, 2)]
    assert list(gene_slices(5, 101, most=64)) == [slice(0, 64), slice(64, 101)]


@pytest.mark.parametrize("kind", [sparse.csr_matrix, np.asarray])
def test_columns_are_those_of_the_matrix(rng, kind):
    dense = (rng.random((9, 7)) * (rng.random((9, 7)) < 0.4)).astype(np.float32)
    columns = Columns(kind(dense))
    np.testing.assert_array_equal(columns.dense(slice(2, 5)), dense[:, 2:5])
    taken = columns.take(slice(2, 5))
    assert sparse.issparse(taken) == (kind is sparse.csr_matrix)
    np.testing.assert_array_equal(taken.toarray() if sparse.issparse(taken) else taken, dense[:, 2:5])


def test_the_mean_derivative_counts_cells_alike_in_parts_of_unequal_size(counts_adata, normal_model, monkeypatch):
    cells = normal_model._state.reader.read(counts_adata).take(np.arange(7))
    module = normal_model._module
    whole = mean_derivative(module, cells)
    first, last = (mean_derivative(module, cells.take(rows)) for rows in (np.arange(5), np.arange(5, 7)))
    monkeypatch.setattr(_rows, "WIDE", 1)
    monkeypatch.setattr(_rows, "DENSE", 5 * cells.shape[1])
    assert list(cells.cells()) == [slice(0, 5), slice(5, 7)]
    np.testing.assert_allclose(mean_derivative(module, cells), whole, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose((5 * first + 2 * last) / 7, whole, rtol=1e-5, atol=1e-7)
    assert np.abs((first + last) / 2 - whole).max() > 1e-5
