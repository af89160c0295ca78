"""What the analysis of individuals asks of a trained model: rates of cells, and how its encoder reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import OptionError
from sivae.model._sivae import SiVAE


@dataclass(frozen=True)
class Rates:
    """Values of cells before anything is logged, of the modelled genes at hand."""

    genes: tuple[str, ...]
    """In the order of the AnnData that was read."""
    rate_ng: Any
    """Counts divided by depth (CSR), or values that are not counts."""
    depth_n: NDArray[np.float64] | None
    """Counts of a cell over the modelled genes, or its size factor, divided by the mean; None without counts."""
    counts_n: NDArray[np.float64]
    """Sum of each cell's values over these genes."""
    encoder_gk: NDArray[np.float64]
    """Mean derivative of z by a gene's standardised value, in the model's axes."""


def rates(model: SiVAE, adata: AnnData) -> Rates:
    """Read the cells of an AnnData as a model reads them, up to the logarithm.

    Raises
    ------
    OptionError
        If the model does not know how its encoder reads genes (saved by a version before 0.1).
    """
    state = model._trained()
    encoder_gk = np.asarray(state.table.encoder_gk, np.float64) @ state.rotation_kk
    if not np.isfinite(encoder_gk).all():
        raise OptionError(
            "This model was saved before its cell encoder's derivatives were kept, which individuals are read by. "
            "Train it again."
        )
    known = {gene: at for at, gene in enumerate(state.reader.genes)}
    genes = tuple(str(name) for name in adata.var_names if str(name) in known)
    at_g = np.array([known[gene] for gene in genes], np.intp)
    expression = state.reader.read(adata)
    values, encoder_gk = expression.values_ng[:, at_g], encoder_gk[at_g]
    counts_n = np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
    if state.reader.setup.normalize == "none":
        return Rates(genes, values.astype(np.float64), None, counts_n, encoder_gk)
    depth_n = expression.library_n.astype(np.float64)
    depth_n /= depth_n.mean()
    scaled = sparse.diags_array(1.0 / depth_n) @ values if sparse.issparse(values) else values / depth_n[:, None]
    rate_ng = sparse.csr_matrix(scaled, dtype=np.float64) if sparse.issparse(scaled) else scaled.astype(np.float64)
    return Rates(genes, rate_ng, depth_n, counts_n, encoder_gk)
