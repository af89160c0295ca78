"""From stored values to the standardised scale on which cells and genes are encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sivae.data._matrix import Matrix

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
    def fit(cls, values_ng: Matrix, library_n: NDArray[np.float32], *, log: bool, target: float | None) -> Scaling:
        """Statistics of training cells; the target library is `default_target` unless given."""
        target = default_target(library_n) if target is None else target
        total = float(library_n.sum(dtype=np.float64))
        shares = (
            np.asarray(values_ng.sum(axis=0, dtype=np.float64)).ravel() / total if log else np.zeros(values_ng.shape[1])
        )
        mean, variance = _moments(transform(values_ng, library_n, log=log, target=target))
        sd = np.sqrt(variance)
        sd[sd < LEAST_SD] = 0.0
        return cls(log, target, mean.astype(np.float32), sd.astype(np.float32), shares.astype(np.float32))

    def transform(self, values_ng: Matrix, library_n: NDArray[np.float32]) -> Matrix:
        """Values before centring: log1p(target * y / library), or as they are; sparse stays sparse."""
        return transform(values_ng, library_n, log=self.log, target=self.target)

    def standardise(self, transformed_cg: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centre, scale and clip a dense block of transformed values (a new array)."""
        inverse = np.divide(1.0, self.sd_g, out=np.zeros_like(self.sd_g), where=self.sd_g > 0)
        result = transformed_cg - self.mean_g
        result *= inverse
        return np.clip(result, -CLIP, CLIP, out=result)

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
        result = values_ng.copy()
        result.data = np.log1p(values_ng.data * np.repeat(factor_n, np.diff(values_ng.indptr))).astype(np.float32)
        return result
    return np.log1p(values_ng * factor_n[:, None]).astype(np.float32)


def _moments(matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if sparse.issparse(matrix):
        mean = np.asarray(matrix.mean(axis=0, dtype=np.float64)).ravel()
        square = np.asarray(matrix.multiply(matrix).mean(axis=0, dtype=np.float64)).ravel()
        return mean, np.maximum(square - mean**2, 0.0)
    return matrix.mean(axis=0, dtype=np.float64), matrix.var(axis=0, dtype=np.float64)
