"""A gene from its neighbors, by ridge regression in closed form. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = NDArray[np.float32]
Positions = NDArray[np.intp]
CHUNK = 64


def neighbor_r2(
    train_ng: Values, test_ng: Values, neighbors_fn: Positions, genes_f: Positions, *, ridge: float
) -> Array:
    """Share of each gene's variance on test cells that its neighbors explain, (f,).

    With X the training values of the neighbors and x those of the gene, both centred on the training mean,

        beta = (X'X + ridge 1)^-1 X'x,    R2 = 1 - |x* - X* beta|^2 / |x*|^2    on test cells,

    negative where the training mean predicts better, NaN where the gene is constant on the test cells. Only the Gram
    matrices of a gene and its neighbors are made. The paper (C.7) trains a small network per gene instead.

    Parameters
    ----------
    train_ng, test_ng
        Values of training and of test cells; standardised, so that one ridge suits all genes.
    neighbors_fn, genes_f
        Columns of the neighbors, and of the genes that they are to predict.
    ridge
        Penalty, in cells: that many cells' worth of values 0.
    """
    mean_g = train_ng.mean(axis=0)
    train_gn, test_gn = (np.ascontiguousarray((values - mean_g).T) for values in (train_ng, test_ng))
    result = np.empty(len(genes_f))
    n = neighbors_fn.shape[1]
    for start in range(0, len(genes_f), CHUNK):
        columns_fm = np.column_stack([neighbors_fn[start : start + CHUNK], genes_f[start : start + CHUNK]])
        gram_fmm, test_fmm = (_grams(values, columns_fm) for values in (train_gn, test_gn))
        beta_fn = np.linalg.solve(gram_fmm[:, :n, :n] + ridge * np.eye(n), gram_fmm[:, :n, n:])[..., 0]
        left_fm = np.concatenate([-beta_fn, np.ones((len(beta_fn), 1))], axis=1)
        error_f = np.einsum("fm,fml,fl->f", left_fm, test_fmm, left_fm)
        base_f = test_fmm[:, n, n]
        varies = base_f > 1e-9 * max(1.0, float(len(test_ng)))
        result[start : start + CHUNK] = np.where(varies, 1 - error_f / np.where(varies, base_f, 1.0), np.nan)
    return result


def _grams(values_gn: Values, columns_fm: Positions) -> Array:
    picked_fmn = values_gn[columns_fm]
    return np.asarray(picked_fmn @ picked_fmn.transpose(0, 2, 1), np.float64)
