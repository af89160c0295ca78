"""What a trained model explains of each gene on validation cells, and whether that is more than chance."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.model._linear import LinearPart
from sivae.model._predict import GeneTable, predictor_blocks, to_standardised
from sivae.nn._masked import encode_without
from sivae.nn._module import SiVAEModule
from sivae.stats._null import permutation_pvalues, quantile_strata

Array = NDArray[np.float64]
MAX_CELLS = 1000


def explained(
    module: SiVAEModule, table: GeneTable, linear: LinearPart, training: Expression, validation: Expression
) -> Array:
    """Share of each gene's variance explained on validation cells, after a line fitted on training cells, (g,).

    The line lets a count model, whose log of the mean is not the mean of the log, be read on the log scale.
    Negative where the prediction is worse than the training mean; never reported below -1.
    """
    counts = module.likelihood.counts
    sums = np.zeros((4, training.shape[1]))
    for cells, eta_cg in predictor_blocks(module, table, linear, training):
        x, y = training.standardised(cells).astype(np.float64), to_standardised(eta_cg, training, counts=counts)
        sums += np.stack(
            [x.sum(axis=0), y.sum(axis=0), (x * y).sum(axis=0), np.square(y, dtype=np.float64).sum(axis=0)]
        )
    mean_x, mean_y, cross, square = sums / training.shape[0]
    variance = square - mean_y**2
    slope = np.where(variance > 1e-10, (cross - mean_x * mean_y) / np.maximum(variance, 1e-10), 0.0)
    error, base = np.zeros_like(slope), np.zeros_like(slope)
    for cells, eta_cg in predictor_blocks(module, table, linear, validation):
        x, y = validation.standardised(cells).astype(np.float64), to_standardised(eta_cg, validation, counts=counts)
        error += ((x - mean_x - slope * (y - mean_y)) ** 2).sum(axis=0)
        base += ((x - mean_x) ** 2).sum(axis=0)
    return np.where(base > 1e-9, np.maximum(1 - error / np.maximum(base, 1e-9), -1.0), 0.0)


@torch.no_grad()
def connected_pvalues(
    module: SiVAEModule, table: GeneTable, linear: LinearPart, validation: Expression, *, seed: int, chunk: int = 64
) -> Array:
    """Evidence that a gene follows anything: its prediction from all other genes, against its validation values, (g,).

    Each gene is hidden from the encoder; the null permutes its validation values (`null_pvalues`).
    """
    n, g = validation.shape
    cells = np.arange(n) if n <= MAX_CELLS else np.sort(np.random.default_rng(seed).permutation(n)[:MAX_CELLS])
    few = validation.take(cells)
    x_cg = few.standardised(slice(None))
    tensor_cg, design_cb = torch.from_numpy(x_cg), torch.from_numpy(few.design_nb)
    device = module.bias_g.device
    predicted_cg = np.empty_like(x_cg)
    for start in range(0, g, chunk):
        genes = np.arange(start, min(start + chunk, g))
        z_fck = encode_without(module, tensor_cg.to(device), design_cb.to(device), torch.from_numpy(genes).to(device))
        h_fcd = module.decode_cells(z_fck, design_cb.to(device)).cpu().numpy()
        z = z_fck.cpu().numpy()
        remainder = linear.remainder(z, h_fcd, few.design_nb)
        part = table.take(genes)
        predicted_cg[:, genes] = np.einsum("fck,fk->cf", z, part.loading_gk) + np.einsum(
            "fcd,fd->cf", remainder, part.joint_gd
        )
    return null_pvalues(x_cg, predicted_cg, few, seed=seed)


def null_pvalues(
    observed_cg: NDArray[np.floating], predicted_cg: NDArray[np.floating], cells: Expression, *, seed: int = 0
) -> Array:
    """Permutation p-values of the association of each gene's values with its prediction, (g,).

    Values are permuted among cells of like depth with the same categories; continuous covariates, of which every cell
    has its own, are regressed out of both sides first.
    """
    groups_c, quantities_cb = category_groups(cells.design_nb), quantities(cells.design_nb)
    strata_c = quantile_strata(cells.library_n, groups_c)
    observed, predicted = (_regressed_out(values, quantities_cb) for values in (observed_cg, predicted_cg))
    return permutation_pvalues(observed, predicted, strata_c, seed=seed)


def category_groups(design_nb: NDArray[np.float32]) -> NDArray[np.intp]:
    """Cells of the same categories, (cells,)."""
    dummies = design_nb[:, ~_is_quantity(design_nb)].round(4)
    if dummies.shape[1] == 0:
        return np.zeros(len(design_nb), np.intp)
    return np.asarray(np.unique(dummies, axis=0, return_inverse=True)[1].ravel(), np.intp)


def quantities(design_nb: NDArray[np.float32]) -> NDArray[np.float32]:
    """The columns of the design that are no dummies of a category, (cells, columns)."""
    return design_nb[:, _is_quantity(design_nb)]


def _is_quantity(design_nb: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Columns with more than two values."""
    return np.array([len(np.unique(column.round(4))) > 2 for column in design_nb.T], dtype=bool)


def _regressed_out(values_cg: NDArray[np.floating], columns_cb: NDArray[np.float32]) -> Array:
    values = np.asarray(values_cg, np.float64)
    if columns_cb.shape[1] == 0:
        return values
    known = np.column_stack([np.ones(len(columns_cb)), columns_cb]).astype(np.float64)
    return np.asarray(values - known @ np.linalg.lstsq(known, values, rcond=None)[0])
