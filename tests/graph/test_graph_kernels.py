"""Similarity of gene graphs against literal implementations and graphs worked by hand; the map against PCA."""

from collections import Counter

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from sivae.graph import _graph_kernels as kernels


def drawn_graphs(rng, s=7, g=15, share=0.15):
    first, second = np.triu_indices(g, 1)
    present = rng.random((s, len(first))) < share * rng.uniform(0.5, 1.5, (s, 1))
    kept = present.any(axis=0)
    return sparse.csr_matrix(present[:, kept].astype(np.float32)), np.stack([first[kept], second[kept]]), g


def by_hand(edges_of, g):
    """CSR and ends of lists of edges."""
    pairs = sorted({pair for edges in edges_of for pair in edges})
    dense = np.array([[pair in edges for pair in pairs] for edges in edges_of], float)
    return sparse.csr_matrix(dense), np.array(pairs).reshape(-1, 2).T, g


def literal(graphs, iterations, names):
    """The kernel in strings: the label of a gene is the text of its label and of its neighbors' sorted labels."""
    present, ends, g = graphs
    histograms = []
    for row in present.toarray() > 0:
        around = {v: [] for v in range(g)}
        for there, a, b in zip(row, *ends, strict=True):
            if there:
                around[a].append(b)
                around[b].append(a)
        label = {v: f"{v}:{len(around[v])}" if names else str(len(around[v])) for v in range(g)}
        rounds = [Counter(label.values())]
        for _ in range(iterations):
            label = {v: f"({label[v]}|{','.join(sorted(label[u] for u in around[v]))})" for v in range(g)}
            rounds.append(Counter(label.values()))
        histograms.append(rounds)
    k = np.array(
        [[sum(x[w] * y[w] for x, y in zip(a, b, strict=True) for w in x) for b in histograms] for a in histograms]
    )
    return k / np.sqrt(np.outer(np.diag(k), np.diag(k)))


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("iterations", [0, 1, 2, 5])
def test_weisfeiler_lehman_equals_strings(rng, iterations, names):
    for share in (0.03, 0.15, 0.5):
        graphs = drawn_graphs(rng, share=share)
        found = kernels.weisfeiler_lehman(*graphs, iterations=iterations, names=names)
        np.testing.assert_allclose(found, literal(graphs, iterations, names), atol=1e-12)
        if iterations == 0:
            np.testing.assert_array_equal(found, kernels.vertex_histogram(*graphs, names=names))


def test_graphs_worked_by_hand():
    # A path 0-1-2 and one edge 0-1 among three genes: degrees 1, 2, 1 and 1, 1, 0.
    graphs = by_hand([[(0, 1), (1, 2)], [(0, 1)]], 3)
    np.testing.assert_array_equal(kernels.degrees(*graphs), [[1, 2, 1], [1, 1, 0]])
    np.testing.assert_allclose(kernels.edge_overlap(graphs[0]), [[1, 0.5], [0.5, 1]])
    # Counts of the degrees 0, 1, 2 are 0, 2, 1 and 1, 2, 0.
    np.testing.assert_allclose(kernels.vertex_histogram(*graphs)[0, 1], 4 / 5)
    # After a round the ends of the path, 1 next to 2, are unlike the ends of the edge, 1 next to 1: nothing is added.
    np.testing.assert_allclose(kernels.weisfeiler_lehman(*graphs, iterations=1)[0, 1], 4 / 10)
    # By name gene 0 alone keeps its degree: one of three.
    np.testing.assert_allclose(kernels.vertex_histogram(*graphs, names=True)[0, 1], 1 / 3)


def test_six_cycle_and_two_triangles_are_told_apart_by_edges_and_not_by_refinement():
    ring = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)]
    triangles = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)]
    graphs = by_hand([ring, triangles], 6)
    assert kernels.weisfeiler_lehman(*graphs)[0, 1] == 1.0  # a known limit of the method: both are 2-regular
    np.testing.assert_allclose(kernels.edge_overlap(graphs[0])[0, 1], 4 / 8)


def test_graphs_without_edges():
    empty, ends = sparse.csr_matrix([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), np.array([[0, 1], [1, 2]])
    np.testing.assert_allclose(kernels.edge_overlap(empty), [[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    for kernel in (kernels.vertex_histogram, kernels.weisfeiler_lehman):
        found = kernel(empty, ends, 4)
        assert np.isfinite(found).all() and found[1, 2] == 1.0 and found[0, 1] < 1
        none = sparse.csr_matrix((3, 0))
        np.testing.assert_array_equal(kernel(none, np.zeros((2, 0), int), 4), np.ones((3, 3)))
    stored = sparse.csr_matrix(([0.0, 2.0], ([0, 1], [0, 0])), shape=(2, 1))  # zeros may be stored, and weights
    np.testing.assert_allclose(kernels.edge_overlap(stored), np.eye(2))


def test_overlap_equals_sets(rng):
    present, _, _ = drawn_graphs(rng)
    sets = [set(np.flatnonzero(row)) for row in present.toarray()]
    expected = [[len(a & b) / len(a | b) for b in sets] for a in sets]
    np.testing.assert_allclose(kernels.edge_overlap(present), expected)


@pytest.mark.parametrize("names", [False, True])
def test_permuting_individuals_permutes_and_permuting_genes_changes_nothing(rng, names):
    present, ends, g = drawn_graphs(rng)
    order, renamed = rng.permutation(7), rng.permutation(g)
    for kernel in (kernels.vertex_histogram, kernels.weisfeiler_lehman):
        found = kernel(present, ends, g, names=names)
        moved = kernel(present[order], renamed[ends][::-1], g, names=names)
        np.testing.assert_allclose(moved, found[np.ix_(order, order)], atol=1e-12)


def test_genes_that_trade_places_are_seen_by_name_alone(rng):
    present, ends, g = drawn_graphs(rng, s=1)
    swapped = rng.permutation(g)
    pairs = [tuple(sorted(pair)) for pair in swapped[ends].T]
    graphs = by_hand([[tuple(pair) for pair in ends.T], pairs], g)
    assert kernels.weisfeiler_lehman(*graphs)[0, 1] == pytest.approx(1)
    assert kernels.weisfeiler_lehman(*graphs, names=True)[0, 1] < 0.5


def test_distance_equals_a_loop_and_its_floor_is_the_noise(rng):
    position = rng.normal(size=(5, 40, 3)) + 100
    expected = [[np.sqrt(((a - b) ** 2).sum(axis=1).mean()) for b in position] for a in position]
    np.testing.assert_allclose(kernels.position_distance(position), expected, atol=1e-6)
    # One truth, and errors of another size in each individual: the distance is the errors alone.
    sd = np.array([0.1, 0.2, 0.4])
    noisy = rng.normal(size=(1, 4000, 3)) + sd[:, None, None] * rng.normal(size=(3, 4000, 3))
    floor = np.sqrt(3 * (sd[:, None] ** 2 + sd[None, :] ** 2)) * (1 - np.eye(3))
    np.testing.assert_allclose(kernels.position_distance(noisy), floor, rtol=0.03)
    variance = np.broadcast_to(3 * sd[:, None] ** 2, (3, 4000))
    assert (kernels.position_distance(noisy, variance) < 0.15).all()
    # Where there is a difference, it is found whichever the errors: 0.5 on one axis of every gene of the last.
    noisy[2, :, 0] += 0.5
    np.testing.assert_allclose(kernels.position_distance(noisy, variance)[2, :2], 0.5, rtol=0.05)


def test_map_of_euclidean_distances_is_pca(rng):
    values = rng.normal(size=(12, 6)) * [5, 4, 3, 2, 1, 0.5]
    found, share = kernels.classical_scaling(cdist(values, values), 6)
    pca = PCA().fit(values)
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(values)), atol=1e-8)
    np.testing.assert_allclose(share, pca.explained_variance_ratio_, atol=1e-10)
    assert ((found**3).sum(axis=0) > 0).all()
    np.testing.assert_allclose(cdist(found, found), cdist(values, values), atol=1e-8)
    order = rng.permutation(12)
    moved, _ = kernels.classical_scaling(cdist(values[order], values[order]), 6)
    np.testing.assert_allclose(moved, found[order], atol=1e-8)


def test_map_of_a_similarity_keeps_its_distances(rng):
    graphs = drawn_graphs(rng)
    distance = kernels.distance_of(kernels.weisfeiler_lehman(*graphs))
    found, share = kernels.classical_scaling(distance, 6)
    np.testing.assert_allclose(cdist(found, found), distance, atol=1e-6)
    assert share.sum() == pytest.approx(1) and (np.diff(share) <= 0).all()


def test_what_no_map_shows_is_not_explained():
    # The distances 1, 1, 3 of three individuals break the triangle inequality.
    distance = np.array([[0, 1, 1], [1, 0, 3], [1, 3, 0.0]])
    found, share = kernels.classical_scaling(distance, 3)
    values = np.linalg.eigvalsh(kernels.centered_products(distance))
    np.testing.assert_allclose(share[0], values.max() / np.abs(values).sum())
    assert share.sum() < 0.9 and (found[:, share == 0] == 0).all() and (share == 0).sum() == 2
    flat, nothing = kernels.classical_scaling(np.zeros((4, 4)), 2)
    assert (flat == 0).all() and (nothing == 0).all()
