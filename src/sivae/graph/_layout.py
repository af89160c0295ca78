"""Where the nodes of a graph are drawn. Arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

GRAVITY: Final = 0.4
"""Pull to the middle, which keeps parts that are not tied together in one picture."""


def spring_layout(weights: sparse.csr_matrix, *, n_steps: int = 100, seed: int = 0) -> Array:
    """Place nodes so that those tied by heavy edges lie near each other and none lies on another, (n, 2).

    Nodes at distance d repel each other with force 1 / d, edges of weight w pull with w d^2 (Fruchterman, Reingold
    1991, doi 10.1002/spe.4380211102), from the leading eigenvectors of the normalised graph as a start; steps shorten
    from a tenth of the picture to nothing.

    Parameters
    ----------
    weights
        Symmetric, not negative, CSR (n, n).
    n_steps
        Rounds; each takes time and memory with the square of the nodes.
    seed
        Of the jitter that parts nodes with the same start.

    Returns
    -------
    Positions, centred, the farthest at distance 1.
    """
    n = weights.shape[0]
    if n < 3:
        return np.column_stack([np.linspace(-1, 1, n) if n > 1 else np.zeros(n), np.zeros(n)])
    edges = sparse.coo_matrix(weights)
    weight_e = edges.data / max(float(edges.data.max(initial=0.0)), 1e-12)
    xy_n2 = np.sqrt(n) * (_spectral(weights) + 0.05 * np.random.default_rng(seed).standard_normal((n, 2)))
    for step in range(n_steps):
        delta_nn2 = xy_n2[:, None, :] - xy_n2[None, :, :]
        square_nn = np.maximum((delta_nn2**2).sum(axis=2), 1e-4)
        force_n2 = (delta_nn2 / square_nn[:, :, None]).sum(axis=1) - GRAVITY * xy_n2
        pull_e2 = delta_nn2[edges.row, edges.col]
        pull_e2 = pull_e2 * (weight_e * np.hypot(pull_e2[:, 0], pull_e2[:, 1]))[:, None]
        np.add.at(force_n2, edges.row, -pull_e2)
        size_n1 = np.maximum(np.hypot(force_n2[:, 0], force_n2[:, 1]), 1e-12)[:, None]
        longest = 0.1 * np.sqrt(n) * (1 - step / n_steps)
        xy_n2 = xy_n2 + force_n2 / size_n1 * np.minimum(size_n1, longest)
    xy_n2 = xy_n2 - xy_n2.mean(axis=0)
    return np.asarray(xy_n2 / max(float(np.hypot(xy_n2[:, 0], xy_n2[:, 1]).max()), 1e-12))


def _spectral(weights: sparse.csr_matrix) -> Array:
    """Second and third eigenvector of the normalised graph, each scaled to standard deviation 1."""
    dense = weights.toarray()
    degree = np.maximum(dense.sum(axis=1), 1e-12)
    vectors = np.linalg.eigh(dense / np.sqrt(degree[:, None] * degree[None, :]))[1][:, [-2, -3]]
    spread = vectors.std(axis=0)
    return np.asarray(vectors / np.where(spread > 1e-9, spread, 1.0))


def strongest_edges(weights: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """Keep an edge if it is among the n heaviest of either of its nodes; symmetric, without loops, CSR."""
    graph = sparse.csr_matrix(weights.maximum(weights.T))
    graph.setdiag(0)
    graph.eliminate_zeros()
    rows, columns = [], []
    for node in range(graph.shape[0]):
        span = slice(graph.indptr[node], graph.indptr[node + 1])
        order = np.lexsort((graph.indices[span], -graph.data[span]))[:n]
        rows += [node] * len(order)
        columns += graph.indices[span][order].tolist()
    kept = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=graph.shape)
    return sparse.csr_matrix(graph.multiply(kept.maximum(kept.T)))
