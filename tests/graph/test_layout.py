"""Where nodes of a graph are drawn."""

import numpy as np
import pytest
from scipy import sparse

from sivae.graph._layout import spring_layout, strongest_edges


def test_layout_is_the_same_each_time_and_puts_ties_near():
    rng = np.random.default_rng(0)
    graph = np.kron(np.eye(2), np.ones((10, 10))) * rng.uniform(0.5, 1, (20, 20))
    graph = np.maximum(graph, graph.T)
    np.fill_diagonal(graph, 0)
    graph[0, 10] = graph[10, 0] = 0.1
    xy = spring_layout(sparse.csr_matrix(graph))
    assert np.array_equal(xy, spring_layout(sparse.csr_matrix(graph)))
    assert np.isclose(np.hypot(*xy.T).max(), 1)
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    same = np.kron(np.eye(2), np.ones((10, 10))).astype(bool) & ~np.eye(20, dtype=bool)
    assert distance[same].mean() < 0.5 * distance[~same & ~np.eye(20, dtype=bool)].mean()
    assert distance[~np.eye(20, dtype=bool)].min() > 0.02


@pytest.mark.parametrize("n", [1, 2, 3])
def test_layout_of_few_nodes(n):
    xy = spring_layout(sparse.csr_matrix(np.ones((n, n)) - np.eye(n)))
    assert xy.shape == (n, 2) and np.isfinite(xy).all()


def test_strongest_edges_are_those_of_either_node():
    graph = sparse.csr_matrix(np.array([[9, 3, 2, 1], [3, 0, 0, 0], [2, 0, 0, 0], [1, 0, 0, 0]], float))
    kept = strongest_edges(graph, 1).toarray()
    assert kept[0].tolist() == [0, 3, 2, 1] and (kept == kept.T).all()
