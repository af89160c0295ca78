"""Communities: against modularity and Rand indices of others, planted partitions, and the best of all partitions."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from sivae.graph import _communities as c
from sivae.graph._neighbors import knn_graph


def blocks(rng, sizes=(20, 15, 12), strong=0.5, weak=0.02):
    truth = np.repeat(np.arange(len(sizes)), sizes)
    chance = np.where(truth[:, None] == truth[None], strong, weak)
    upper = np.triu(rng.random(chance.shape) < chance, 1) * rng.uniform(0.5, 1, chance.shape)
    return truth, sparse.csr_matrix(upper + upper.T)


def modularity(dense, label, resolution):
    degree = dense.sum(axis=1)
    same = label[:, None] == label[None]
    return ((dense - resolution * np.outer(degree, degree) / degree.sum()) * same).sum() / degree.sum()


def test_leiden_finds_planted_blocks_and_is_repeatable(rng):
    truth, graph = blocks(rng)
    label = c.leiden(graph, 1.0, seed=3)
    assert adjusted_rand_score(truth, label) == 1.0
    np.testing.assert_array_equal(label, c.leiden(graph, 1.0, seed=3))
    assert label[0] == 0 and label.max() == 2


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_leiden_reaches_the_best_modularity_of_all_partitions(rng, resolution):
    dense = np.triu(rng.random((7, 7)) * (rng.random((7, 7)) < 0.6), 1)
    dense = dense + dense.T
    found = c.leiden(sparse.csr_matrix(dense), resolution, seed=0, trials=20)
    every = {tuple(c.in_order(np.array(label))) for label in itertools.product(range(7), repeat=7) if label[0] == 0}
    best = max(modularity(dense, np.array(label), resolution) for label in every)
    assert modularity(dense, found, resolution) == pytest.approx(best, abs=1e-9)


def test_genes_without_edges_are_alone():
    graph = sparse.csr_matrix(np.pad(np.ones((3, 3)) - np.eye(3), ((0, 2), (0, 2))))
    np.testing.assert_array_equal(c.leiden(graph, 1.0, seed=0), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(c.leiden(sparse.csr_matrix((3, 3)), 1.0, seed=0), [0, 1, 2])


def test_adjusted_rand_is_that_of_scikit_learn(rng):
    for n_a, n_b in [(1, 1), (1, 4), (3, 5), (50, 50), (2, 2)]:
        a, b = rng.integers(n_a, size=50), rng.integers(n_b, size=50)
        assert c.adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
    assert c.adjusted_rand(np.arange(9), np.arange(9)) == 1.0


def test_by_size_orders_and_drops():
    label = np.array([5, 5, 2, 2, 2, 9, -1])
    np.testing.assert_array_equal(c.by_size(label, min_size=2), [1, 1, 0, 0, 0, -1, -1])
    np.testing.assert_array_equal(c.by_size(np.array([1, 0, 1, 0]), min_size=1), [0, 1, 0, 1])
    np.testing.assert_array_equal(c.by_size(np.full(3, -1), min_size=1), [-1, -1, -1])


def objective(label, label_bg):
    share = np.mean([(row[:, None] == row[None]) & (row >= 0)[:, None] for row in label_bg], axis=0)
    same = (label[:, None] == label[None]) & (label >= 0)[:, None]
    return np.triu((share - 0.5) * same, 1).sum()


def test_median_of_few_genes_is_the_best_of_all_partitions(rng):
    truth = np.array([0, 0, 0, 1, 1, 1])
    label_bg = np.stack([np.where(rng.random(6) < 0.15, rng.integers(3, size=6), truth) for _ in range(9)])
    found = c.median_partition(label_bg)
    best = max(objective(np.array(label), label_bg) for label in itertools.product(range(3), repeat=6))
    assert objective(found, label_bg) == pytest.approx(best)


def test_median_mends_what_single_partitions_get_wrong(rng):
    truth = np.repeat(np.arange(5), 20)
    label_bg = np.stack([np.where(rng.random(100) < 0.15, rng.integers(5, size=100), truth) for _ in range(15)])
    found = c.median_partition(label_bg, min_size=5)
    assert max(adjusted_rand_score(truth, row) for row in label_bg) < 0.85
    assert adjusted_rand_score(truth, found) > 0.97


def test_the_median_never_gets_worse_than_its_start(rng):
    label_bg = rng.integers(4, size=(7, 40))
    found = c.median_partition(label_bg, min_size=1)
    start = max(label_bg, key=lambda row: sum(c.adjusted_rand(row, other) for other in label_bg))
    assert objective(found, label_bg) >= objective(start, label_bg)


def test_membership_stability_is_the_mean_over_pairs(rng):
    module = np.array([0, 0, 0, 1, 1, -1, 2])
    label_bg = np.array([[0, 0, 1, 2, 2, 2, 3], [0, 0, 0, 1, -1, -1, 2]])
    found = c.membership_stability(module, label_bg)
    np.testing.assert_allclose(found, [0.75, 0.75, 0.5, 0.5, 0.5, np.nan, np.nan])


def pairs_of(rng, vectors, sd, n_pairs=4, n_neighbors=10):
    shifts = [sd * rng.normal(size=vectors.shape) for _ in range(n_pairs)]
    return [tuple(knn_graph(vectors + sign * s, n_neighbors, signed=True) for sign in (1, -1)) for s in shifts]


def test_planted_modules_are_found_at_a_resolution_of_their_own(rng):
    truth = np.repeat(np.arange(5), 24)
    vectors = 0.7 * np.eye(5)[truth] + 0.05 * rng.normal(size=(120, 5))
    found = c.find_communities(pairs_of(rng, vectors, 0.1))
    assert adjusted_rand_score(truth, found.module_g) > 0.97
    assert found.scan.resolution_r[np.flatnonzero(found.scan.n_modules_r == 5)].min() <= found.resolution
    assert found.stability_g.min() > 0.8


def test_one_module_stays_one(rng):
    vectors = np.full((40, 1), 0.6) + 0.05 * rng.normal(size=(40, 1))
    found = c.find_communities(pairs_of(rng, vectors, 0.1))
    assert found.module_g.max() == 0 and (found.module_g == 0).mean() > 0.9


def test_a_graph_without_structure_is_not_divided(rng):
    graphs = []
    for _ in range(8):
        upper = np.triu(rng.random((60, 60)) < 0.15, 1).astype(float)
        graphs.append(sparse.csr_matrix(upper + upper.T))
    found = c.find_communities(list(zip(graphs[::2], graphs[1::2], strict=True)))
    assert found.module_g.max() <= 0


def test_partitions_that_do_not_come_again_are_no_finding(rng, monkeypatch):
    monkeypatch.setattr(c.Scan, "best", lambda scan: float("nan"))
    found = c.find_communities(pairs_of(rng, rng.normal(size=(20, 3)), 0.1))
    assert np.isnan(found.resolution) and (found.module_g == -1).all() and np.isnan(found.stability_g).all()


def test_the_finest_stable_resolution_is_taken():
    scan = c.Scan(np.array([0.5, 1, 2, 4]), np.array([1.0, 0.8, 0.76, 0.6]), np.array([1, 3, 5, 9]))
    assert scan.best() == 2
    assert c.Scan(np.array([0.5, 1]), np.array([0.6, 0.55]), np.array([2, 3])).best() == 0.5
    assert np.isnan(c.Scan(np.array([0.5, 1]), np.array([0.3, 0.4]), np.array([2, 3])).best())


def test_genes_that_come_and_go_are_in_no_module(rng):
    truth = np.repeat([0, 1, 2], 20)
    vectors = 0.8 * np.eye(3)[truth]
    vectors[0] = [0.02, 0.02, 0.02]
    found = c.find_communities(pairs_of(rng, vectors, 0.05, n_pairs=8), resolution=1.0, min_stability=0.6)
    assert found.module_g[0] == -1 and np.isnan(found.stability_g[0])
    assert (found.module_g[1:] >= 0).mean() > 0.95
    assert found.scan is None
