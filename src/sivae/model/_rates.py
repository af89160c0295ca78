"""What the analysis of individuals reads: rates of cells, and how a trained encoder weighs genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import OptionError
from sivae.data._expression import library_size, size_factor_unit
from sivae.data._matrix import Matrix
from sivae.data._rows import Held, read_matrix
from sivae.data._setup import Setup, read_record
from sivae.model._sivae import SiVAE


@dataclass(frozen=True)
class Rates:
    """Values of cells before anything is logged."""

    genes: tuple[str, ...]
    """In the order of the AnnData that was read."""
    rate_ng: Any
    """Counts divided by depth (CSR), or values that are not counts."""
    depth_n: NDArray[np.float64] | None
    """Counts of a cell over these genes, or its size factor, divided by the mean; None without counts."""
    counts_n: NDArray[np.float64]
    """Sum of each cell's values over these genes."""


def encoder_of(model: SiVAE, genes: Sequence[str]) -> NDArray[np.float64]:
    """Mean derivative of z by the genes' standardised values, in the model's axes, (g, k).

    Raises
    ------
    OptionError
        If the model does not know it (saved by an earlier version).
    """
    state = model._trained()
    known = {gene: at for at, gene in enumerate(state.reader.genes)}
    encoder_gk = np.asarray(state.table.encoder_gk, np.float64) @ state.rotation_kk
    if not np.isfinite(encoder_gk).all():
        raise OptionError(
            "This model was saved before its cell encoder's derivatives were kept, which individuals are read by. "
            "Train it again."
        )
    return np.asarray(encoder_gk[[known[gene] for gene in genes]])


def rates(model: SiVAE, adata: AnnData) -> Rates:
    """Read the modelled genes of cells as a model reads them, up to the logarithm."""
    reader = model._trained().reader
    known = {gene: at for at, gene in enumerate(reader.genes)}
    genes = tuple(str(name) for name in adata.var_names if str(name) in known)
    expression = reader.read(adata)
    values = expression.values()[:, np.array([known[gene] for gene in genes], np.intp)]
    return _rates(genes, values, expression.library_n, reader.setup)


def plain_rates(adata: AnnData) -> Rates:
    """Read every gene of an AnnData that was set up, without a model."""
    setup = read_record(adata)
    rows = Held(read_matrix(adata, setup, np.arange(adata.n_vars), binary=False))
    library_n = library_size(rows, adata, setup, unit=size_factor_unit(rows, adata, setup))
    return _rates(tuple(str(name) for name in adata.var_names), rows.matrix, library_n, setup)


def _rates(genes: tuple[str, ...], values: Matrix, library_n: NDArray[np.float32], setup: Setup) -> Rates:
    counts_n = np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
    if setup.normalize == "none":
        return Rates(genes, values.astype(np.float64), None, counts_n)
    depth_n = library_n.astype(np.float64)
    depth_n /= depth_n.mean()
    scaled = sparse.diags_array(1.0 / depth_n) @ values if sparse.issparse(values) else values / depth_n[:, None]
    rate_ng = sparse.csr_matrix(scaled, dtype=np.float64) if sparse.issparse(scaled) else scaled.astype(np.float64)
    return Rates(genes, rate_ng, depth_n, counts_n)
