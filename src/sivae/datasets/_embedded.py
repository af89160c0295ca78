"""Real cells that come with an installed library: no network."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae._door import door
from sivae._errors import SiVAEError
from sivae._extras import require

if TYPE_CHECKING:
    from anndata import AnnData

TARGET: Final = 1e4
"""Counts per cell to which the authors of the file scaled each cell before taking log1p."""
TOLERANCE: Final = 0.25
"""Largest distance from a whole number: the file's values are rounded to three decimals, which leaves up to 0.082."""


@door
def pbmc700() -> AnnData:
    """Load counts of 700 blood cells and 765 genes.

    `scanpy.datasets.pbmc68k_reduced` (10x Genomics, 68k PBMC of donor A) holds log1p(1e4 y / total) rounded to three
    decimals in `raw`, and every cell's total over the whole transcriptome; y = expm1(value) total / 1e4 is within 0.082
    of a whole number everywhere, and is rounded to it.

    Returns
    -------
    AnnData, 700 cells x 765 genes: `X` counts (CSR, float32), `obs["cell_type"]` the authors' labels (ten types),
    names of cells and genes as in the file.

    Raises
    ------
    MissingExtraError
        If scanpy is not installed (extra `demo`).

    Examples
    --------
    >>> import sivae
    >>> sivae.datasets.pbmc700().shape
    (700, 765)
    """
    scanpy = require("scanpy", extra="demo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = scanpy.datasets.pbmc68k_reduced()
    x_cg = sparse.csr_matrix(source.raw.X)
    per_unit_c = source.obs["n_counts"].to_numpy(dtype=np.float64) / TARGET
    counts = np.expm1(x_cg.data.astype(np.float64)) * np.repeat(per_unit_c, np.diff(x_cg.indptr))
    worst = float(np.abs(counts - np.rint(counts)).max())
    if worst > TOLERANCE:
        raise SiVAEError(
            f"Found recovered counts {worst:.3f} away from a whole number, expected at most {TOLERANCE}. "
            "The installed scanpy ships another file than pbmc700 knows: install scanpy 1.11."
        )
    x_cg = sparse.csr_matrix((np.rint(counts).astype(np.float32), x_cg.indices, x_cg.indptr), shape=x_cg.shape)
    x_cg.sort_indices()
    x_cg.eliminate_zeros()
    obs = pd.DataFrame({"cell_type": source.obs["bulk_labels"].astype("category")}, index=list(source.obs_names))
    return ad.AnnData(x_cg, obs=obs, var=pd.DataFrame(index=list(source.raw.var_names)))
