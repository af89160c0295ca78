"""A gene left out of its cell: depth, values and encoding equal those of a matrix without the gene."""

import numpy as np
import pytest

from sivae import SiVAE
from sivae.data._scaling import Scaling
from sivae.datasets import planted
from sivae.model._evidence import hidden_predictions
from sivae.model._left_out import depth_of, library_shift, library_slope, observed_without


@pytest.fixture
def cells(normal_model, counts_adata):
    return normal_model._state.reader.read(counts_adata)


def test_depth_is_a_weighted_total_of_the_other_genes(cells):
    y = cells.values().toarray().astype(float)
    depth = depth_of(cells)
    mean, variance, library = y.mean(axis=0), y.var(axis=0), y.sum(axis=1)
    spread = library.var() / library.mean() ** 2
    phi = np.maximum(((variance - mean) / mean**2 - spread) / (1 + spread), 0)
    weight = 1 / (1 + phi * mean)
    genes = np.array([3, 0])
    found = depth.without(y[:, genes].astype(np.float32), genes)
    for f, gene in enumerate(genes):
        others = np.delete(y, gene, axis=1) @ np.delete(weight, gene)
        np.testing.assert_allclose(found[:, f] / found[:, f].mean(), others / others.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.mean(axis=0), library.mean(), rtol=1e-5)
    assert depth.counted


def test_independent_genes_tell_depth_better_than_their_total(rng):
    true = rng.lognormal(0, 0.5, 500)
    mean = np.r_[100.0, np.full(99, 1.0)]
    y = rng.poisson(true[:, None] * mean * rng.gamma(2, 0.5, (500, 100))).astype(np.float32)
    adata = planted(500, 100, n_factors=1)
    adata.X = y
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=1)
    model.train(progress=False, accelerator="cpu", max_epochs=1)
    depth = depth_of(model._state.reader.read(adata)).total_c
    told, total = (np.corrcoef(np.log(a), np.log(true))[0, 1] for a in (depth, y.sum(axis=1)))
    assert told > 0.95 > total


def test_values_are_divided_by_the_depth_given(cells):
    genes = np.array([5, 2])
    y = cells.values()[:, genes].toarray()
    depth = np.linspace(10, 90, len(y))[:, None] * np.ones((1, 2))
    scaling = cells.scaling
    expected = (np.log1p(scaling.target * y / depth) - scaling.mean_g[genes]) / scaling.sd_g[genes]
    np.testing.assert_allclose(
        observed_without(cells, y, depth, genes), np.clip(expected, -10, 10), rtol=1e-4, atol=1e-5
    )


def test_slope_and_shift_are_those_of_a_library_without_the_gene(cells):
    """To first order: the shift is small for all but the largest genes."""
    y, library, scaling = cells.values().toarray(), cells.library_n, cells.scaling
    genes = np.arange(cells.shape[1])
    slope = library_slope(cells.transformed().toarray(), scaling)
    shift = library_shift(cells, y, genes)
    x = cells.standardised(slice(None))
    for gene in (1, 7):
        without = (library - y[:, gene]) / (1 - scaling.share_g[gene])
        np.testing.assert_allclose(shift[gene], np.log(library / without), atol=1e-4)
        moved = scaling.standardise(np.log1p(scaling.target * y / without[:, None]).astype(np.float32))
        np.testing.assert_allclose(
            x + shift[gene][:, None] * slope, moved, atol=0.05 * np.abs(shift[gene]).max() + 1e-3
        )


def test_a_size_factor_is_left_as_it_is(counts_adata):
    SiVAE.setup_anndata(counts_adata, size_factor_key="size_factor")
    model = SiVAE(counts_adata, n_latent=1)
    model.train(progress=False, accelerator="cpu", max_epochs=1)
    depth = depth_of(model._state.reader.read(counts_adata))
    assert not depth.counted
    left = depth.without(np.ones((counts_adata.n_obs, 2), np.float32), np.array([0, 1]))
    assert (left[:, 0] == left[:, 1]).all()
    factor = counts_adata.obs["size_factor"].to_numpy()
    np.testing.assert_allclose(left[:, 0] / left[:, 0].mean(), factor / factor.mean(), rtol=1e-5)


def test_no_prediction_reads_the_gene(normal_model, counts_adata):
    """Counts of a gene are changed: its own prediction stays, that of others moves."""
    parts = normal_model._module, normal_model._state.table, normal_model._state.linear
    read = normal_model._state.reader.read
    other = counts_adata.copy()
    dense = other.X.toarray()
    gene = list(other.var_names).index(normal_model._state.reader.genes[4])
    dense[:, gene] = np.random.default_rng(0).permutation(dense[:, gene])
    other.X = dense
    kept, changed = (
        np.concatenate(list(hidden_predictions(*parts, read(a), leaks=True)), axis=1) for a in (counts_adata, other)
    )
    leaky, moved = (
        np.concatenate(list(hidden_predictions(*parts, read(a), leaks=False)), axis=1) for a in (counts_adata, other)
    )
    assert np.abs(changed[:, 4] - kept[:, 4]).max() < 0.1 * np.abs(moved[:, 4] - leaky[:, 4]).max()
    assert np.abs(changed[:, :4] - kept[:, :4]).max() > 1e-3


def test_a_clipped_value_does_not_move_with_the_library():
    scaling = Scaling(True, 1e4, np.zeros(2, np.float32), np.array([0.1, 1.0], np.float32), np.zeros(2, np.float32))
    slope = library_slope(np.array([[1.5, 1.5]], np.float32), scaling)
    np.testing.assert_allclose(slope, [[0.0, 1 - np.exp(-1.5)]], rtol=1e-6)
