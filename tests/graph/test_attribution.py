"""Loadings from attributions per cell, and agreement between loadings."""

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from sivae.graph._attribution import attribution_loading, axis_agreement


@pytest.mark.parametrize("shape", [(20, 50), (60, 15)])
def test_first_principal_component(rng, shape):
    rows = rng.normal(size=shape) + np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1])) + 0.5
    fit = PCA(n_components=1, svd_solver="full").fit(rows)
    expected = fit.components_[0] * np.sqrt(fit.explained_variance_[0])
    found = attribution_loading(rows)
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-10)
    assert found @ rows.mean(axis=0) >= 0


@pytest.mark.parametrize("shape", [(20, 50), (60, 15)])
def test_uncentered_component(rng, shape):
    rows = rng.normal(size=shape) + 1.0
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    found = attribution_loading(rows, center=False)
    np.testing.assert_allclose(
        found,
        np.sign(vectors[0] @ rows.mean(0)) * vectors[0] * values[0] / np.sqrt(shape[0]),
        atol=1e-10,
    )


@pytest.mark.parametrize("center", [True, False])
def test_cells_that_agree_give_their_row(rng, center):
    row = rng.normal(size=30)
    np.testing.assert_allclose(attribution_loading(np.tile(row, (8, 1)), center=center), row)
    np.testing.assert_allclose(attribution_loading(row[None], center=center), row)
    blurred = np.tile(row, (8, 1)) * (1 + 1e-7 * rng.normal(size=(8, 30)))
    np.testing.assert_allclose(attribution_loading(blurred, center=center), row, rtol=1e-5)


def test_nearly_agreeing_cells_without_centering(rng):
    """Nothing jumps: a little noise moves the uncentered loadings a little, and the centered ones wholly."""
    row = rng.normal(size=200)
    noisy = row + 0.01 * rng.normal(size=(50, 200))
    assert abs(np.corrcoef(attribution_loading(noisy, center=False), row)[0, 1]) > 0.999
    assert abs(np.corrcoef(attribution_loading(noisy), row)[0, 1]) < 0.5


def test_all_zero():
    np.testing.assert_array_equal(attribution_loading(np.zeros((5, 4))), np.zeros(4))


@pytest.mark.parametrize("center", [True, False])
def test_order_of_genes_and_cells(rng, center):
    rows = rng.normal(size=(12, 20)) + 0.3
    genes, cells = rng.permutation(20), rng.permutation(12)
    expected = attribution_loading(rows, center=center)[genes]
    np.testing.assert_allclose(attribution_loading(rows[cells][:, genes], center=center), expected, atol=1e-10)


def test_agreement_is_absolute_spearman(rng):
    first = np.round(rng.normal(size=(40, 3)), 1)  # with ties
    second = np.round(rng.normal(size=(40, 3)) - 0.7 * first, 1)
    expected = [abs(stats.spearmanr(a, b).statistic) for a, b in zip(first.T, second.T, strict=True)]
    np.testing.assert_allclose(axis_agreement(first, second), expected, atol=1e-12)
    np.testing.assert_allclose(axis_agreement(first, -first), 1.0)


def test_a_constant_axis_has_no_agreement(rng):
    first = rng.normal(size=(10, 2))
    first[:, 1] = 3.0
    found = axis_agreement(first, rng.normal(size=(10, 2)))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


def test_unrelated_loadings_agree_by_chance_alone(rng):
    """Mean of |Spearman| over axes is that of |N(0, 1/(g-1))|: sqrt(2 / (pi (g - 1)))."""
    found = axis_agreement(rng.normal(size=(200, 400)), rng.normal(size=(200, 400)))
    assert found.mean() == pytest.approx(np.sqrt(2 / (np.pi * 199)), rel=0.15)
