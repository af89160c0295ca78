"""How the cell encoder reads a gene: the mean derivative of z by the gene's standardised value."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.nn._two_towers import TwoTowers

MOST_CELLS = 1000


def mean_derivative(module: TwoTowers, training: Expression) -> NDArray[np.float32]:
    """Mean over training cells (a fixed sample of at most 1,000) of d z_k / d x_g, (g, k).

    Times the loadings of another gene it is the mean effect of one gene on the linear prediction of the other, the
    encoder x decoder attribution of the paper's code.
    """
    n = training.shape[0]
    rows = np.arange(n) if n <= MOST_CELLS else np.sort(np.random.default_rng(0).permutation(n)[:MOST_CELLS])
    few, parts = training.take(rows), []
    for cells in few.cells(MOST_CELLS):
        parts.append(_mean(module, few.standardised(cells), few.design_nb[cells]))
        parts[-1] *= (cells.stop - cells.start) / len(rows)
    return np.asarray(sum(parts[1:], parts[0]), np.float32)


def _mean(module: TwoTowers, x_cg: NDArray[np.float32], design_cb: NDArray[np.float32]) -> NDArray[np.float32]:
    x = torch.from_numpy(x_cg).to(module.bias_g.device).requires_grad_()
    z_ck = module.encode_cells(x, torch.from_numpy(design_cb).to(x.device)).mean_rk
    columns = [
        torch.autograd.grad(z_ck[:, axis].sum(), x, retain_graph=True)[0].mean(dim=0) for axis in range(z_ck.shape[1])
    ]
    return torch.stack(columns, dim=1).cpu().numpy()
