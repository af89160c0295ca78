"""What a trained model explains of each gene on validation cells, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.data._rows import WIDE, Columns
from sivae.model._left_out import depth_of, library_shift, library_slope, observed_without
from sivae.model._linear import LinearPart
from sivae.model._predict import GeneTable, predictor_blocks, to_standardised
from sivae.nn._masked import Hidden
from sivae.nn._two_towers import TwoTowers
from sivae.stats._null import centred, permutation_pvalues, sorted_strata, without_line

Array = NDArray[np.float64]
MAX_CELLS = 1000
GENES_AT_ONCE = 1024
DRAWS = 1000


def explained(
    module: TwoTowers, table: GeneTable, linear: LinearPart, training: Expression, validation: Expression
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


def connected_pvalues(
    module: TwoTowers, table: GeneTable, linear: LinearPart, validation: Expression, *, seed: int
) -> Array:
    """Evidence that a gene follows anything: its prediction from all other genes, against its validation values, (g,).

    Each gene is hidden from the encoder, and left out of the totals by which values are divided (`model/_left_out.py`);
    the null permutes its validation values (`null_pvalues`), with many genes in closed form.
    """
    n, g = validation.shape
    cells = np.arange(n) if n <= MAX_CELLS else np.sort(np.random.default_rng(seed).permutation(n)[:MAX_CELLS])
    few = validation.take(cells)
    depth = depth_of(few)
    predictions = _regrouped(
        hidden_predictions(module, table, linear, few, leaks=depth.counted and few.scaling.log), GENES_AT_ONCE
    )
    parts, columns = [], Columns(few.values())
    for start, predicted_cf in zip(range(0, g, GENES_AT_ONCE), predictions, strict=True):
        genes = np.arange(start, min(start + GENES_AT_ONCE, g))
        values_cf = columns.dense(slice(start, start + GENES_AT_ONCE))
        depth_cf = depth.without(values_cf, genes)
        observed_cf = observed_without(few, values_cf, depth_cf, genes)
        draws = DRAWS if g <= WIDE else 0
        parts.append(null_pvalues(observed_cf, predicted_cf, few, depth_cg=depth_cf, seed=seed, n_draws=draws))
    return np.concatenate(parts)


def _regrouped(parts: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """The same columns, so many at a time."""
    held = np.empty((0, 0), np.float32)
    for part in parts:
        held = np.concatenate([held, part], axis=1) if held.size else part
        while held.shape[1] >= size:
            yield held[:, :size]
            held = held[:, size:]
    if held.size:
        yield held


@torch.no_grad()
def hidden_predictions(
    module: TwoTowers, table: GeneTable, linear: LinearPart, cells: Expression, *, leaks: bool, most: int = 64
) -> Iterator[NDArray[np.float32]]:
    """Each gene as the decoder tells it from an encoding of the others, in units of its scale, (c, f), some at a time.

    `leaks` says that values are divided by a total that the gene is part of, and that it is to be left out there too.
    """
    device = module.bias_g.device
    chunk = max(1, min(most, 64 * 128 // module.n_joint))
    hidden = Hidden(module, _encoder_blocks(module, cells, leaks=leaks))
    values, transformed = Columns(cells.values()), Columns(cells.transformed())
    design_cb, g = torch.from_numpy(cells.design_nb).to(device), cells.shape[1]
    for start in range(0, g, chunk):
        part = slice(start, min(start + chunk, g))
        genes, transformed_cf = np.arange(part.start, part.stop), transformed.dense(part)
        scaling, slope_cf, shift_fc = cells.scaling.take(genes), None, None
        if leaks:
            slope_cf = torch.from_numpy(library_slope(transformed_cf, scaling)).to(device)
            shift_fc = torch.from_numpy(library_shift(cells, values.dense(part), genes)).to(device)
        x_cf = torch.from_numpy(scaling.standardise(transformed_cf)).to(device)
        genes_f = torch.from_numpy(genes).to(device)
        z_fck = hidden.without(genes_f, x_cf, design_cb, slope_cf=slope_cf, shift_fc=shift_fc)
        h_fcd = module.decode_cells(z_fck, design_cb).cpu().numpy()
        z = z_fck.cpu().numpy()
        remainder, own = linear.remainder(z, h_fcd, cells.design_nb), table.take(genes)
        predicted_cf = np.empty((len(z[0]), len(genes)), np.float32)
        predicted_cf[:] = np.einsum("fck,fk->cf", z, own.loading_gk)
        predicted_cf += np.einsum("fcd,fd->cf", remainder, own.joint_gd)
        yield predicted_cf


def _encoder_blocks(
    module: TwoTowers, cells: Expression, *, leaks: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Standardised values, covariates, and if it `leaks` the slope by the library, some cells at a time."""
    device = module.bias_g.device
    for part in cells.cells(MAX_CELLS):
        rows: Any = cells.transformed(part)
        dense_cg = rows if isinstance(rows, np.ndarray) else rows.toarray()
        slope_cg = torch.from_numpy(library_slope(dense_cg, cells.scaling)).to(device) if leaks else None
        x_cg, design_cb = torch.from_numpy(cells.standardised(part)), torch.from_numpy(cells.design_nb[part])
        yield x_cg.to(device), design_cb.to(device), slope_cg


def null_pvalues(
    observed_cg: NDArray[np.floating],
    predicted_cg: NDArray[np.floating],
    cells: Expression,
    *,
    depth_cg: NDArray[np.floating] | None = None,
    seed: int = 0,
    n_draws: int = DRAWS,
) -> Array:
    """Permutation p-values of the association of each gene's values with its prediction, (g,).

    Values are permuted among cells of like depth with the same categories. Continuous covariates, of which every cell
    has its own, are regressed out of both sides first, and so are the log of the depth and its square within strata,
    which are wide where cells are few.
    `depth_cg` is the depth of a cell as each gene sees it; the library if not given.
    """
    groups_c, quantities_cb = category_groups(cells.design_nb), quantities(cells.design_nb)
    if depth_cg is None:
        depth_cg = np.repeat(cells.library_n[:, None], observed_cg.shape[1], axis=1)
    order_cg, strata_c = sorted_strata(depth_cg, groups_c)
    observed, predicted, depth = (
        np.take_along_axis(values, order_cg, axis=0)
        for values in (
            _regressed_out(observed_cg, quantities_cb),
            _regressed_out(predicted_cg, quantities_cb),
            np.log(np.maximum(depth_cg, 1e-12)),
        )
    )
    line = centred(depth, strata_c)
    curve = without_line(centred((depth - depth.mean(axis=0)) ** 2, strata_c), line)
    observed, predicted = (
        without_line(without_line(centred(values, strata_c), line), curve) for values in (observed, predicted)
    )
    n_known = quantities_cb.shape[1] + sum(bool(np.ptp(known) > 1e-6) for known in (line, curve))
    return permutation_pvalues(observed, predicted, strata_c, n_known=n_known, seed=seed, n_draws=n_draws)


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
