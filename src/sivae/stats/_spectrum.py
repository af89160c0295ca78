"""Principal axes of a standardised matrix: singular vectors, noise edge, shrinkage. Arrays only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from sivae.stats._krylov import Product, Single, leading

Array = NDArray[np.float64]
DENSE_LIMIT = 4000
"""Up to this many rows or columns the Gram matrix is decomposed exactly; beyond, in a few passes (`_krylov.py`)."""
HELD_LIMIT = 2**26
"""Rows times columns that are held at once, where cells are few and genes many."""
PERMUTATION_CELLS = 5000
"""Cells used to find the noise edge; the edge is carried over to N by the Marchenko-Pastur law."""
PERMUTATIONS = 3
MARGIN = 3.6
"""The 99 % quantile of a draw from the law of Tracy and Widom less the mean of three others."""
LEAST_EVIDENCE = 3.0
LEAST_HELD_OUT = 20
WEAK_SHARE = 0.4
"""Share of the eigenvalue of a weak axis that is signal: the best factors on held-out cells of five data sets were
0.25 to 0.7, with median 0.45."""


@dataclass(frozen=True)
class Spectrum:
    """X / sqrt(N) = U S V' truncated at rank q; `values_q` are S^2, the eigenvalues of X'X / N, in falling order."""

    values_q: Array
    vectors_gq: Array
    n_cells: int


def principal_axes(
    blocks: Callable[[], Iterator[Single]], shape: tuple[int, int], rank: int, *, product: Product | None = None
) -> Spectrum:
    """Leading eigenvectors of X'X / N from blocks of rows.

    Exact where the smaller side is at most `DENSE_LIMIT` (and the data no more than `HELD_LIMIT` if that is the cells);
    else nearly so, in ten passes.

    Parameters
    ----------
    blocks
        Gives the standardised rows of X, cells x genes, block by block; called once per pass.
    shape
        Cells and genes.
    rank
        Number of axes q, at most the smaller side.
    product
        X'X times a matrix, where there is a quicker way than by the blocks.

    Returns
    -------
    The spectrum, each vector signed so that its largest entry by absolute value is positive.
    """
    n, g = shape
    if min(n, g) > DENSE_LIMIT or (n < g and n * g > HELD_LIMIT):
        values, vectors = leading(product or _by_blocks(blocks), shape, rank)
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


def _by_blocks(blocks: Callable[[], Iterator[Single]]) -> Product:
    def product(matrix_gl: Single) -> Array:
        total_gl = np.zeros(matrix_gl.shape)
        for block_cg in blocks():
            total_gl += block_cg.T @ (block_cg @ matrix_gl)
        return total_gl

    return product


def noise_edge(values_ng: sparse.csc_matrix, n_cells: int, *, seed: int) -> float:
    """Largest eigenvalue of X'X / N, on average, when every gene is permuted over the cells on its own.

    Heavy-tailed, rarely seen genes push this edge above that of Gaussian noise, which is why it is measured (parallel
    analysis).

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
    edge = np.mean([_permuted_top(values_ng, rng) for _ in range(PERMUTATIONS)])
    return float(edge) * float((1 + np.sqrt(g / n_cells)) / (1 + np.sqrt(g / m))) ** 2


def passing(edge: float, n_sampled: int, n_genes: int) -> float:
    """Eigenvalue that noise passes in one data set of a hundred, a little more often where tails are heavy.

    The largest eigenvalue of noise varies by the law of Tracy and Widom, in units of

        s^2 (sqrt(m - 1) + sqrt(G)) (1 / sqrt(m - 1) + 1 / sqrt(G))^(1/3) / m,    s^2 = edge / (1 + sqrt(G / m))^2,

    for the m cells that were permuted, so that it is above the mean of `PERMUTATIONS` others by more than `MARGIN` of
    these in 1 %. (The largest of three permuted ones is passed in a quarter.)
    Source: Johnstone 2001, Ann. Stat. 29:295 (doi 10.1214/aos/1009210544).
    """
    rows, columns = np.sqrt(max(n_sampled - 1, 1)), np.sqrt(n_genes)
    unit = (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3) / n_sampled
    return float(edge * (1 + MARGIN * unit / (1 + np.sqrt(n_genes / n_sampled)) ** 2))


def _permuted_top(values_ng: sparse.csc_matrix, rng: np.random.Generator) -> float:
    m, g = values_ng.shape
    counts = np.diff(values_ng.indptr)
    rows = np.empty(len(values_ng.data), values_ng.indices.dtype)
    for start, count in zip(values_ng.indptr, counts, strict=False):
        rows[start : start + count] = rng.permutation(m)[:count]
    columns = sparse.csc_matrix((values_ng.data.astype(np.float64), rows, values_ng.indptr), shape=(m, g))
    mean = np.asarray(columns.mean(axis=0)).ravel()
    variance = np.asarray(columns.multiply(columns).mean(axis=0)).ravel() - mean**2
    inverse_sd = 1.0 / np.sqrt(np.maximum(variance, 1e-12))
    transposed, rows_ng = columns.T.tocsr(), columns.tocsr()

    def product(vector: Array) -> Array:
        scaled = vector.ravel() * inverse_sd
        along = rows_ng @ scaled - mean @ scaled
        return np.asarray(inverse_sd * (transposed @ along - mean * along.sum()) / m)

    if g <= 2:
        return float(np.max(linalg.eigvalsh(np.column_stack([product(column) for column in np.eye(g)]))))
    operator = LinearOperator((g, g), matvec=product, dtype=np.float64)
    return float(eigsh(operator, k=1, v0=rng.standard_normal(g), tol=1e-3, return_eigenvectors=False)[0])


def shrink(values_k: Array, edge: float, n_cells: int, n_genes: int, *, passed: float | None = None) -> Array:
    """Sd of the signal along each axis, as its estimated direction carries it: theta c_f; zero within the noise.

    With noise variance s^2 (from the edge), aspect gamma = G / N and y = lambda / s^2, the population spike is
    l = (y + 1 - gamma + sqrt((y + 1 - gamma)^2 - 4 y)) / 2, theta^2 = s^2 (l - 1), and the squared cosine between
    estimated and true loadings is c_f^2 = (1 - gamma / (l - 1)^2) / (1 + gamma / (l - 1)). Values up to `passed`, the
    edge if not given, count as noise.
    Source: Gavish and Donoho 2017, IEEE Trans. Inf. Theory 63:2137 (doi 10.1109/TIT.2017.2653801).
    """
    gamma = n_genes / n_cells
    noise = edge / (1 + np.sqrt(gamma)) ** 2
    y = values_k / noise
    above = values_k > max(edge, edge if passed is None else passed)
    root = np.sqrt(np.maximum((y + 1 - gamma) ** 2 - 4 * y, 0.0))
    spike = np.where(above, np.maximum((y + 1 - gamma + root) / 2 - 1, 1e-12), 1.0)
    cosine2 = np.clip(1 - gamma / spike**2, 0.0, 1.0) / (1 + gamma / spike)
    return np.where(above, np.sqrt(spike * noise * cosine2), 0.0)


def masked_evidence(held_out: Iterable[NDArray[np.floating]], spectrum: Spectrum, rank: int) -> Array:
    """How well each axis predicts genes from all the others, on cells it was not made from.

    Along axis j a gene is predicted as V_gj (z_cj - its own share x_cg V_gj of z_cj), so that a cell's gain
    sum_g x_cg V_gj (z_cj - x_cg V_gj) is z_cj^2 - sum_g x_cg^2 V_gj^2. An axis that is spent on a single gene, or on
    noise, predicts nothing of it.

    Parameters
    ----------
    held_out
        Standardised values of held-out cells, (c, g), block by block.

    Returns
    -------
    z-score over cells of the gain of each axis, (k,).
    """
    vectors_gk = spectrum.vectors_gq[:, :rank]
    gain_ck = np.concatenate([(x_cg @ vectors_gk) ** 2 - np.square(x_cg) @ vectors_gk**2 for x_cg in held_out])
    spread_k = np.maximum(gain_ck.std(axis=0), 1e-12)
    return np.asarray(gain_ck.mean(axis=0) / spread_k * np.sqrt(len(gain_ck)), np.float64)


def signal_strength(
    spectrum: Spectrum,
    edge: float,
    n_genes: int,
    rank: int,
    held_out: Iterable[NDArray[np.floating]] | None,
    *,
    passed: float | None = None,
) -> Array:
    """Sd of the signal along each of the leading axes, zero for an axis with nothing to say, (k,).

    An axis is kept if its eigenvalue is above what noise passes (`passing`; the edge if not given; strength by
    `shrink`), or if on held-out cells it predicts genes from the other genes beyond `LEAST_EVIDENCE` standard errors.
    Held-out cells decide whether such an axis is kept; its strength, `WEAK_SHARE` of its eigenvalue, is not made from
    them. They come block by block; None where they are fewer than `LEAST_HELD_OUT`.
    """
    values_k = spectrum.values_q[:rank]
    strength_k = shrink(values_k, edge, spectrum.n_cells, n_genes, passed=passed)
    if held_out is None:
        return strength_k
    z_score = masked_evidence(held_out, spectrum, rank)
    weak_k = (strength_k == 0) & (z_score > LEAST_EVIDENCE) & (values_k > 1e-6)
    return np.where(weak_k, np.sqrt(WEAK_SHARE * values_k), strength_k)
