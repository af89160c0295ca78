"""Principal axes of a standardised matrix: singular vectors, noise edge, shrinkage. Arrays only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

Array = NDArray[np.float64]
DENSE_LIMIT = 4000
"""Up to this many rows or columns the Gram matrix is decomposed exactly; beyond, Lanczos iterations."""
PERMUTATION_CELLS = 5000
"""Cells used to find the noise edge; the edge is carried over to N by the Marchenko-Pastur law."""


@dataclass(frozen=True)
class Spectrum:
    """X / sqrt(N) = U S V' truncated at rank q; `values_q` are S^2, the eigenvalues of X'X / N, in falling order."""

    values_q: Array
    vectors_gq: Array
    n_cells: int


@dataclass(frozen=True)
class Shrunk:
    """What of each axis is signal, by the spiked model."""

    strength_k: Array
    """theta: sd of the signal along the axis, in units of the data; zero for an axis within the noise."""
    feature_k: Array
    """Cosine between estimated and true loading direction."""
    score_k: Array
    """Correlation between estimated and true scores."""


def principal_axes(
    blocks: Callable[[], Iterator[NDArray[np.float32]]], shape: tuple[int, int], rank: int
) -> Spectrum:
    """Leading eigenvectors of X'X / N from blocks of rows.

    Parameters
    ----------
    blocks
        Gives the standardised rows of X, cells x genes, block by block; called once per pass.
    shape
        Cells and genes.
    rank
        Number of axes q, at most the smaller side.

    Returns
    -------
    The spectrum, each vector signed so that its largest entry by absolute value is positive.
    """
    n, g = shape
    if min(n, g) > DENSE_LIMIT:
        values, vectors = _lanczos(blocks, shape, rank)
    elif n < g:
        x_ng = np.concatenate([block.astype(np.float64) for block in blocks()])
        values, left = _top_eigen(x_ng @ x_ng.T / n, rank)
        vectors = x_ng.T @ left / np.sqrt(np.maximum(n * values, 1e-12))
    else:
        gram_gg = np.zeros((g, g))
        for block in blocks():
            gram_gg += block.T @ block
        values, vectors = _top_eigen(gram_gg / n, rank)
    peak = vectors[np.abs(vectors).argmax(axis=0), np.arange(rank)]
    return Spectrum(np.maximum(values, 0.0), vectors * np.where(peak < 0, -1.0, 1.0), n)


def _top_eigen(matrix: Array, rank: int) -> tuple[Array, Array]:
    size = len(matrix)
    values, vectors = linalg.eigh(matrix, subset_by_index=[size - rank, size - 1])
    return values[::-1], vectors[:, ::-1]


def _lanczos(
    blocks: Callable[[], Iterator[NDArray[np.float32]]], shape: tuple[int, int], rank: int
) -> tuple[Array, Array]:
    n, g = shape

    def product(vector: Array) -> Array:
        vector = vector.ravel().astype(np.float32)
        return sum((block.T @ (block @ vector) for block in blocks()), np.zeros(g)) / n

    operator = LinearOperator((g, g), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(g)
    values, vectors = eigsh(operator, k=rank, v0=start, tol=1e-3)
    return values[::-1], vectors[:, ::-1]


def noise_edge(values_ng: sparse.csc_matrix, n_cells: int, *, seed: int, repeats: int = 3) -> float:
    """Largest eigenvalue of X'X / N when every gene is permuted over the cells on its own (parallel analysis).

    Heavy-tailed, rarely seen genes push this edge above that of Gaussian noise, which is why it is measured.

    Parameters
    ----------
    values_ng
        Values of a sample of cells, cells x genes, whose columns are then centred and scaled here.
    n_cells
        Number of cells N that the spectrum was made from.

    Returns
    -------
    The edge for N cells: noise variance s^2 times (1 + sqrt(G / N))^2.
    Source: Horn 1965, Psychometrika 30:179 (doi 10.1007/BF02289447); Marchenko and Pastur 1967.
    """
    rng = np.random.default_rng(seed)
    m, g = values_ng.shape
    edge = max(_permuted_top(values_ng, rng) for _ in range(repeats))
    return edge * ((1 + np.sqrt(g / n_cells)) / (1 + np.sqrt(g / m))) ** 2


def _permuted_top(values_ng: sparse.csc_matrix, rng: np.random.Generator) -> float:
    m, g = values_ng.shape
    counts = np.diff(values_ng.indptr)
    rows = np.concatenate([rng.permutation(m)[:count] for count in counts]) if g else np.empty(0, int)
    shuffled = sparse.csc_matrix((values_ng.data.astype(np.float64), rows, values_ng.indptr), shape=(m, g))
    mean = np.asarray(shuffled.mean(axis=0)).ravel()
    variance = np.asarray(shuffled.multiply(shuffled).mean(axis=0)).ravel() - mean**2
    inverse_sd = 1.0 / np.sqrt(np.maximum(variance, 1e-12))
    transposed = shuffled.T.tocsr()
    shuffled = shuffled.tocsr()

    def product(vector: Array) -> Array:
        scaled = vector.ravel() * inverse_sd
        along = shuffled @ scaled - mean @ scaled
        return inverse_sd * (transposed @ along - mean * along.sum()) / m

    if g <= 2:
        return float(np.max(linalg.eigvalsh(np.column_stack([product(column) for column in np.eye(g)]))))
    operator = LinearOperator((g, g), matvec=product, dtype=np.float64)
    return float(eigsh(operator, k=1, v0=rng.standard_normal(g), tol=1e-3, return_eigenvectors=False)[0])


def shrink(values_k: Array, edge: float, n_cells: int, n_genes: int) -> Shrunk:
    """Debias eigenvalues above the noise edge and set the rest to zero.

    With noise variance s^2 (from the edge), aspect gamma = G / N and y = lambda / s^2, the population spike is
    l = (y + 1 - gamma + sqrt((y + 1 - gamma)^2 - 4 y)) / 2, theta^2 = l - 1, and the squared cosines are
    (1 - gamma / theta^4) / (1 + gamma / theta^2) for loadings and (1 - gamma / theta^4) / (1 + 1 / theta^2) for scores.
    Source: Gavish and Donoho 2017, IEEE Trans. Inf. Theory 63:2137 (doi 10.1109/TIT.2017.2653801).
    """
    gamma = n_genes / n_cells
    noise = edge / (1 + np.sqrt(gamma)) ** 2
    y = values_k / noise
    above = values_k > edge
    root = np.sqrt(np.maximum((y + 1 - gamma) ** 2 - 4 * y, 0.0))
    theta2 = np.where(above, np.maximum((y + 1 - gamma + root) / 2 - 1, 1e-12), 1.0)
    overlap = np.clip(1 - gamma / theta2**2, 0.0, 1.0)
    zero = np.zeros_like(values_k)
    return Shrunk(
        strength_k=np.where(above, np.sqrt(theta2 * noise), zero),
        feature_k=np.where(above, np.sqrt(overlap / (1 + gamma / theta2)), zero),
        score_k=np.where(above, np.sqrt(overlap / (1 + 1 / theta2)), zero),
    )
