"""How alike the gene graphs, or the gene positions, of individuals are, and a map of them. Arrays only.

Graphs are given as `present_se` (CSR, individuals x edges: not zero where the individual has the edge) and `ends_2e`,
the two genes of each edge. All individuals share the genes 0 ... n_genes - 1, those without an edge included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def edge_overlap(present_se: sparse.csr_matrix) -> Array:
    """Jaccard index of the edges of each two individuals, shared over all that either has, (s, s).

    Two graphs without an edge are equal: 1. One less the index is a metric, and the matrix has no negative eigenvalue
    (Gower and Legendre 1986, doi 10.1007/BF01896809).
    """
    there_se = _zero_one(present_se)
    shared_ss = np.asarray((there_se @ there_se.T).toarray(), np.float64)
    size_s = np.diag(shared_ss)
    either_ss = size_s[:, None] + size_s[None, :] - shared_ss
    return np.where(either_ss > 0, shared_ss / np.where(either_ss > 0, either_ss, 1.0), 1.0)


def degrees(present_se: sparse.csr_matrix, ends_2e: NDArray[np.integer], n_genes: int) -> Labels:
    """Edges of each gene in each individual, (s, g)."""
    e = np.arange(ends_2e.shape[1])
    rows, columns = np.concatenate([e, e]), np.concatenate([ends_2e[0], ends_2e[1]])
    end_eg = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(e), n_genes))
    return np.asarray((_zero_one(present_se) @ end_eg).toarray(), np.int64)


def vertex_histogram(
    present_se: sparse.csr_matrix, ends_2e: NDArray[np.integer], n_genes: int, *, names: bool = False
) -> Array:
    """Vertex histogram kernel with degrees as labels, normalized, (s, s).

        k(a, b) = sum_l n_al n_bl,   k(a, b) / sqrt(k(a, a) k(b, b)),

    where n_al counts the genes of label l in individual a. With `names` a label is the gene and its degree, so that no
    gene stands for another: k(a, b) / G is then the share of genes that have the same degree in both.
    Source: Sugiyama and Borgwardt 2015, Advances in Neural Information Processing Systems 28:1639.
    """
    return _normalized(_histogram_kernel(_first_labels(present_se, ends_2e, n_genes, names=names)))


def weisfeiler_lehman(
    present_se: sparse.csr_matrix,
    ends_2e: NDArray[np.integer],
    n_genes: int,
    *,
    iterations: int = 5,
    names: bool = False,
) -> Array:
    """Weisfeiler-Lehman subtree kernel over vertex histograms, first labels as of `vertex_histogram`, (s, s).

    A gene's next label stands for its label and the sorted labels of its neighbors, the same in all individuals. The
    kernel is the sum of the histogram kernels of the labels after 0, 1, ..., `iterations` rounds, normalized after
    summing. Labels are compared exactly, without hashing.
    Source: Shervashidze et al. 2011, Journal of Machine Learning Research 12:2539.
    """
    label_sg = _first_labels(present_se, ends_2e, n_genes, names=names)
    at_d, neighbor_d = _directed(present_se, ends_2e, n_genes)
    kernel_ss = _histogram_kernel(label_sg)
    for _ in range(iterations):
        label_sg = _refined(label_sg, at_d, neighbor_d)
        kernel_ss += _histogram_kernel(label_sg)
    return _normalized(kernel_ss)


def position_distance(position_sgk: NDArray[np.floating], variance_sg: NDArray[np.floating] | None = None) -> Array:
    """Distance of each two individuals' embeddings in common axes, root mean square over genes, (s, s).

        D_st^2 = 1/G sum_g |p_sg - p_tg|^2

    Positions estimated from few cells lie apart even where the truth is one: D_st^2 is expected to be the true value
    plus the sum of both individuals' sampling variances, mean_g variance_sg + mean_g variance_tg. It is taken off
    where `variance_sg` is given (of a gene's position, summed over axes), at the price of distances of 0 and of
    matrices that no map shows exactly. Without it an individual of few cells is far from everyone.
    """
    flat_sm = np.asarray(position_sgk, np.float64).reshape(len(position_sgk), -1)
    flat_sm = flat_sm - flat_sm.mean(axis=0)  # changes no distance, and saves digits
    size_s = (flat_sm**2).sum(axis=1)
    square_ss = (size_s[:, None] + size_s[None, :] - 2 * flat_sm @ flat_sm.T) / position_sgk.shape[1]
    if variance_sg is not None:
        noise_s = np.asarray(variance_sg, np.float64).mean(axis=1)
        square_ss = square_ss - noise_s[:, None] - noise_s[None, :]
    np.fill_diagonal(square_ss, 0.0)
    return np.asarray(np.sqrt(np.maximum((square_ss + square_ss.T) / 2, 0.0)), np.float64)


def distance_of(similarity_ss: Array) -> Array:
    """Distance in the space that a similarity is the inner product of, sqrt(k_ss + k_tt - 2 k_st), (s, s)."""
    own_s = np.diag(similarity_ss)
    square_ss = np.maximum(own_s[:, None] + own_s[None, :] - 2 * similarity_ss, 0.0)
    np.fill_diagonal(square_ss, 0.0)
    return np.asarray(np.sqrt(square_ss), np.float64)


def centered_products(distance_ss: Array) -> Array:
    """Inner products around the centroid, -1/2 J D^2 J with J = I - 11'/s, (s, s)."""
    square_ss = np.asarray(distance_ss, np.float64) ** 2
    row_s, column_s = square_ss.mean(axis=1), square_ss.mean(axis=0)
    return np.asarray(-(square_ss - row_s[:, None] - column_s[None, :] + square_ss.mean()) / 2, np.float64)


def classical_scaling(distance_ss: Array, k: int = 2) -> tuple[Array, Array]:
    """Map of the individuals by classical multidimensional scaling (s, k), and the share of each axis (k,).

    Axes are eigenvectors of the centered products times the root of their eigenvalues, largest first: for Euclidean
    distances the principal components. The share is the eigenvalue over the sum of the absolute eigenvalues, so that
    what no map can show counts as not shown. An axis without a positive eigenvalue is 0. The cubed coordinates of an
    axis have a positive sum, which fixes its sign.
    Source: Torgerson 1952, Psychometrika 17:401 (doi 10.1007/BF02288916).
    """
    values, vectors_ss = np.linalg.eigh(centered_products(distance_ss))
    total = float(np.abs(values).sum())
    best = np.argsort(values)[::-1][:k]
    tiny = 1e-12 * total
    found_k = np.where(values[best] > tiny, values[best], 0.0)
    map_sk = vectors_ss[:, best] * np.sqrt(found_k)
    map_sk = map_sk * np.where((map_sk**3).sum(axis=0) < 0, -1.0, 1.0)
    return map_sk, found_k / total if total > 0 else np.zeros(len(best))


def _zero_one(present_se: sparse.csr_matrix) -> sparse.csr_matrix:
    there_se = sparse.csr_matrix(present_se, dtype=np.float64, copy=True)
    there_se.sum_duplicates()
    there_se.eliminate_zeros()
    there_se.data[:] = 1.0
    return there_se


def _first_labels(present_se: sparse.csr_matrix, ends_2e: NDArray[np.integer], n_genes: int, *, names: bool) -> Labels:
    degree_sg = degrees(present_se, ends_2e, n_genes)
    return degree_sg * n_genes + np.arange(n_genes) if names else degree_sg


def _histogram_kernel(label_sg: Labels) -> Array:
    """Inner products of the individuals' label counts, (s, s)."""
    s, g = label_sg.shape
    known, at = np.unique(label_sg, return_inverse=True)
    count_sl = sparse.csr_matrix((np.ones(s * g), (np.repeat(np.arange(s), g), at.ravel())), shape=(s, len(known)))
    return np.asarray((count_sl @ count_sl.T).toarray(), np.float64)


def _normalized(kernel_ss: Array) -> Array:
    root_s = np.sqrt(np.diag(kernel_ss))
    result_ss = kernel_ss / np.outer(root_s, root_s)
    np.fill_diagonal(result_ss, 1.0)
    return np.asarray(np.minimum(result_ss, 1.0), np.float64)


def _directed(
    present_se: sparse.csr_matrix, ends_2e: NDArray[np.integer], n_genes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices (individual * n_genes + gene) at both ends of every edge, each edge in both directions, (d,) twice."""
    there = _zero_one(present_se).tocoo()
    first = there.row.astype(np.int64) * n_genes + ends_2e[0][there.col]
    second = there.row.astype(np.int64) * n_genes + ends_2e[1][there.col]
    return np.concatenate([first, second]), np.concatenate([second, first])


def _refined(label_sg: Labels, at_d: NDArray[np.int64], neighbor_d: NDArray[np.int64]) -> Labels:
    """Labels that are equal where a gene's label and its neighbors' labels were, (s, g)."""
    known, dense = np.unique(label_sg, return_inverse=True)
    label_v = dense.ravel().astype(np.int64)
    key_d = np.sort(at_d * len(known) + label_v[neighbor_d])
    neighbor_label_d = key_d % len(known)
    degree_v = np.bincount(at_d, minlength=len(label_v))
    start_v = np.concatenate([[0], np.cumsum(degree_v)[:-1]])
    result_v, following = np.empty(len(label_v), np.int64), 0
    for degree in np.unique(degree_v):  # rows of one length can be compared as a matrix
        rows = np.flatnonzero(degree_v == degree)
        around = neighbor_label_d[start_v[rows][:, None] + np.arange(degree)]
        distinct, at = np.unique(np.column_stack([label_v[rows], around]), axis=0, return_inverse=True)
        result_v[rows] = at.ravel() + following
        following += len(distinct)
    return result_v.reshape(label_sg.shape)
