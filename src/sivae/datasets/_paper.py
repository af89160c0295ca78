"""The example of the paper's first figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anndata as ad
import numpy as np
import pandas as pd

from sivae._door import door
from sivae._errors import OptionError
from sivae._rng import numpy_generator

if TYPE_CHECKING:
    from anndata import AnnData

N_CO_REGULATED: Final = 4
N_GENES: Final = 8
CORRELATION: Final = 0.8
"""Of a co-regulated gene (its log rate, for counts) with the factor: 0.64 between two of them."""
LOG_RATE_SD: Final = 0.6
"""Standard deviation of a gene's log rate over cells, the same for all eight."""
MEAN_COUNT: Final = 8.0
DEPTH_SD: Final = 0.35
"""Standard deviation of the log sequencing depth."""


@door
def eight_genes(n_cells: int = 1000, *, counts: bool = False, seed: int = 0) -> AnnData:
    """Make the matrix of the paper's Fig. 1: four genes that one hidden factor moves, four that follow nothing.

    With f the factor and e a gene's own noise, both standard normal, a = 0.8 for genes 1 to 4 and 0 for genes 5 to 8:
    x_cg = a_g f_c + sqrt(1 - a_g^2) e_cg, and for counts y_cg ~ Poisson(8 d_c exp(0.6 x_cg - 0.18)) with a log-normal
    depth d_c (mean 1, independent of f): mean 8 and over-dispersed. Taken alone, all eight genes look the same.

    There are eight genes and no other, so genes 1 to 4 are half of a cell's counts: **divided by their sum**, genes
    5 to 8 fall when the factor rises. They are independent given the depth, `obs["size_factor"]`; a model that
    is to see them so needs it as its size factor.

    Parameters
    ----------
    n_cells
        Number of cells.
    counts
        Whole-number counts instead of normal values.
    seed
        Same seed, same data.

    Returns
    -------
    AnnData, n_cells x 8: `X` dense float32, `obs["factor"]`, `obs["size_factor"]` (d_c, counts only),
    `var["co_regulated"]`, `var["loading"]` (a_g).

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.eight_genes(n_cells=100)
    >>> adata.shape, int(adata.var["co_regulated"].sum())
    ((100, 8), 4)
    """
    if n_cells < 1:
        raise OptionError(f"Found n_cells={n_cells}, expected at least 1. 1000 is the default.")
    rng = numpy_generator(seed, "eight_genes")
    co_regulated_g = np.arange(N_GENES) < N_CO_REGULATED
    loading_g = np.where(co_regulated_g, CORRELATION, 0.0)
    factor_c = rng.standard_normal(n_cells)
    x_cg = factor_c[:, None] * loading_g + np.sqrt(1 - loading_g**2) * rng.standard_normal((n_cells, N_GENES))
    obs = pd.DataFrame({"factor": factor_c}, index=[f"cell_{c + 1}" for c in range(n_cells)])
    if counts:
        depth_c = np.exp(DEPTH_SD * rng.standard_normal(n_cells) - DEPTH_SD**2 / 2)
        rate_cg = MEAN_COUNT * depth_c[:, None] * np.exp(LOG_RATE_SD * x_cg - LOG_RATE_SD**2 / 2)
        x_cg = rng.poisson(rate_cg).astype(np.float64)
        obs["size_factor"] = depth_c
    names = [f"gene_{g + 1}" for g in range(N_GENES)]
    var = pd.DataFrame({"co_regulated": co_regulated_g, "loading": loading_g}, index=names)
    return ad.AnnData(x_cg.astype(np.float32), obs=obs, var=var)
