"""R2 on neighbors against scikit-learn's ridge and against small networks."""

import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor

from sivae.graph import _ridge
from sivae.graph._neighbors import nearest
from sivae.graph._ridge import neighbor_r2


def cells(rng, n, g=40, k=3, scale=0.8):
    v = np.random.default_rng(5).normal(size=(g, k)) * np.linspace(0, scale, g)[:, None]
    return (rng.normal(size=(n, k)) @ v.T + rng.normal(size=(n, g))).astype(np.float32), v


def test_equal_to_ridge_regression(rng, monkeypatch):
    monkeypatch.setattr(_ridge, "CHUNK", 3)
    train, v = cells(rng, 200)
    test, _ = cells(rng, 80)
    genes = np.arange(5, 40)
    near, _ = nearest(v, 6, order_g=np.arange(40), inner=False)
    found = neighbor_r2(train, test, near[genes], genes, ridge=10.0)
    mean = train.mean(axis=0)
    for value, g in zip(found, genes, strict=True):
        fit = Ridge(alpha=10.0, fit_intercept=False).fit((train - mean)[:, near[g]], (train - mean)[:, g])
        error = ((test - mean)[:, g] - fit.predict((test - mean)[:, near[g]])) ** 2
        assert value == pytest.approx(1 - error.sum() / ((test - mean)[:, g] ** 2).sum(), abs=1e-4)


def test_a_copy_explains_all_and_noise_nothing(rng):
    train, test = (rng.normal(size=(n, 3)).astype(np.float32) for n in (2000, 500))
    train[:, 1], test[:, 1] = train[:, 0], test[:, 0]
    r2 = neighbor_r2(train, test, np.array([[1], [0], [0]]), np.arange(3), ridge=1.0)
    np.testing.assert_allclose(r2[:2], 1, atol=1e-4)
    assert abs(r2[2]) < 0.02


def test_a_constant_gene_has_no_r2(rng):
    train, test = (rng.normal(size=(n, 2)).astype(np.float32) for n in (50, 20))
    train[:, 0] = test[:, 0] = 0.0
    r2 = neighbor_r2(train, test, np.array([[1], [0]]), np.arange(2), ridge=1.0)
    assert np.isnan(r2[0]) and r2[1] == pytest.approx(0, abs=0.1)


@pytest.mark.slow
@pytest.mark.science
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_genes_rank_as_with_small_networks(rng):
    """Paper, C.7: a network 20-20-20-5 per gene, accuracy 1 - MSE."""
    train, v = cells(rng, 1500, g=200)
    test, _ = cells(rng, 500, g=200)
    near, _ = nearest(v, 20, order_g=np.arange(200), inner=False)
    genes = np.arange(4, 200, 7)
    ridge = neighbor_r2(train, test, near[genes], genes, ridge=10.0)
    scores = []
    for g in genes:
        network = MLPRegressor(
            hidden_layer_sizes=(20, 20, 20, 5), alpha=1.0, early_stopping=True, max_iter=100, random_state=0
        )
        scores.append(network.fit(train[:, near[g]], train[:, g]).score(test[:, near[g]], test[:, g]))
    assert spearmanr(ridge, scores)[0] >= 0.95


@pytest.mark.slow
def test_two_thousand_genes_take_seconds(rng):
    train, test = (rng.normal(size=(n, 2000)).astype(np.float32) for n in (3000, 600))
    near = np.array([rng.permutation(2000)[:20] for _ in range(2000)])
    start = time.process_time()
    neighbor_r2(train, test, near, np.arange(2000), ridge=10.0)
    assert time.process_time() - start < 30
