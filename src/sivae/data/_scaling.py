"""From stored values to the standardised scale on which cells and genes are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sivae.data._matrix import Matrix
from sivae.data._rows import Rows, as_rows

CLIP = 10.0
CONVENTIONAL_TARGET = 1e4
LEAST_SD = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Statistics of the training cells, one entry per gene.

    A value becomes log1p(target * y / library) where `log`, then (value - mean) / sd, clipped at +-10.
    A gene that is constant over the training cells has sd 0 and is 0 on the standardised scale.
    """

    log: bool
    target: float
    mean_g: NDArray[np.float32]
    sd_g: NDArray[np.float32]
    share_g: NDArray[np.float32]
    """Share of the library that is the gene's, over training cells (zero where not `log`)."""
    unit: float = 1.0
    """Counts per unit of size factor, over training cells: brings a size factor to the scale of a library."""

    @classmethod
    def fit(
        cls, values_ng: Matrix | Rows, library_n: NDArray[np.float32], *, log: bool, target: float | None
    ) -> Scaling:
        """Statistics of training cells; the target library is `default_target` unless given."""
        rows, target = as_rows(values_ng), default_target(library_n) if target is None else target
        sum_g, moments = np.zeros(rows.shape[1]), _Moments(rows.shape[1])
        for cells, values_cg in rows.blocks():
            sum_g += np.asarray(values_cg.sum(axis=0, dtype=np.float64)).ravel()
            moments.add(transform(values_cg, library_n[cells], log=log, target=target))
        share_g = sum_g / float(library_n.sum(dtype=np.float64)) if log else np.zeros_like(sum_g)
        sd_g = np.sqrt(moments.square_g / max(1, moments.n))
        sd_g[sd_g < LEAST_SD] = 0.0
        return cls(log, target, moments.mean_g.astype(np.float32), sd_g.astype(np.float32), share_g.astype(np.float32))

    def transform(self, values_ng: Matrix, library_n: NDArray[np.float32]) -> Matrix:
        """Values before centring: log1p(target * y / library), or as they are; sparse stays sparse."""
        return transform(values_ng, library_n, log=self.log, target=self.target)

    @cached_property
    def inverse_sd_g(self) -> NDArray[np.float32]:
        """1 / sd; 0 of a constant gene."""
        return np.divide(1.0, self.sd_g, out=np.zeros_like(self.sd_g), where=self.sd_g > 0)

    def standardise(self, transformed_cg: Matrix) -> NDArray[np.float32]:
        """Centre, scale and clip a block of transformed values (a new, dense array)."""
        if not sparse.issparse(transformed_cg):
            dense_cg = transformed_cg - self.mean_g
            dense_cg *= self.inverse_sd_g
            return np.clip(dense_cg, -CLIP, CLIP, out=dense_cg)
        result: NDArray[np.float32] = np.empty(transformed_cg.shape, np.float32)
        result[:] = self.zero_g
        gene, (n, g) = transformed_cg.indices, transformed_cg.shape
        value = transformed_cg.data - self.mean_g[gene]
        value *= self.inverse_sd_g[gene]
        at = np.repeat(np.arange(n) * g, np.diff(transformed_cg.indptr)) + gene
        result.reshape(-1)[at] = np.clip(value, -CLIP, CLIP, out=value)
        return result

    @cached_property
    def zero_g(self) -> NDArray[np.float32]:
        """What a zero becomes: clip(-mean / sd)."""
        zero_g: NDArray[np.float32] = self.standardise(np.zeros((1, len(self.sd_g)), np.float32))[0]
        return zero_g

    def take(self, genes: NDArray[np.intp]) -> Scaling:
        """The statistics of some genes."""
        return Scaling(self.log, self.target, self.mean_g[genes], self.sd_g[genes], self.share_g[genes], self.unit)


def default_target(library_n: NDArray[np.float32]) -> float:
    """Geometric mean of the median library and the conventional 10,000.

    The median alone leaves rare marker genes of shallow data too little weight, 10,000 alone too much
    (docs/defaults.md has the measurement).
    """
    return float(np.sqrt(np.median(library_n) * CONVENTIONAL_TARGET))


def transform(values_ng: Matrix, library_n: NDArray[np.float32], *, log: bool, target: float) -> Matrix:
    """log1p(target * y / library) where `log`, else the values as they are."""
    if not log:
        return values_ng
    factor_n = target / np.maximum(library_n, 1e-12)
    if sparse.issparse(values_ng):
        data = np.log1p(values_ng.data * np.repeat(factor_n, np.diff(values_ng.indptr))).astype(np.float32)
        return sparse.csr_matrix((data, values_ng.indices, values_ng.indptr), shape=values_ng.shape)
    return np.log1p(values_ng * factor_n[:, None]).astype(np.float32)


class _Moments:
    """Means, and sums of squares about them, of rows that come block by block.

    Source: Chan, Golub and LeVeque 1983, The American Statistician 37:242 (doi 10.1080/00031305.1983.10483115).
    """

    def __init__(self, n_genes: int) -> None:
        self.n, self.mean_g, self.square_g = 0, np.zeros(n_genes), np.zeros(n_genes)

    def add(self, block_cg: Matrix) -> None:
        """Take more rows in."""
        mean_g, square_g = _of_block(block_cg)
        n, apart_g = block_cg.shape[0], mean_g - self.mean_g
        self.square_g += square_g + apart_g**2 * (self.n * n / (self.n + n))
        self.n += n
        self.mean_g += apart_g * (n / self.n)


def _of_block(block_cg: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each column, and sum of squares about it."""
    n, g = block_cg.shape
    if not sparse.issparse(block_cg):
        mean_g = block_cg.mean(axis=0, dtype=np.float64)
        return mean_g, ((block_cg - mean_g) ** 2).sum(axis=0)
    column, value = block_cg.indices, block_cg.data.astype(np.float64)
    mean_g = np.bincount(column, value, g) / n
    zeros_g = n - np.bincount(column, minlength=g)
    return mean_g, np.bincount(column, (value - mean_g[column]) ** 2, g) + zeros_g * mean_g**2
