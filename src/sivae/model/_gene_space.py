"""What a trained model says of its own genes, as arrays on the scale of standardised values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.model._predict import encode, predictor_blocks, to_standardised
from sivae.model._sivae import SiVAE
from sivae.model._width import LEAST_VARIANCE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GeneSpace:
    """One entry for each gene, in the order of the model's AnnData.

    Parameters
    ----------
    genes
        Names.
    position_gk
        v Cov(z)^(1/2), Cov(z) that of draws from the posteriors of the training cells: inner products are the
        covariances of standardised values that the linear part implies. An axis on which no cell moves has no part.
    variance_gk
        Of those positions, over samples of cells.
    explained_g
        1 - mean squared error of the standardised values of all cells.
    r2_g
        Share of variance explained on validation cells (NaN where there are none).
    noise_g
        Variance of the noise on the same scale.
    varies_g
        Genes that are not constant over the training cells.
    """

    genes: tuple[str, ...]
    position_gk: Array
    variance_gk: Array
    explained_g: Array
    r2_g: Array
    noise_g: Array
    varies_g: NDArray[np.bool_]


def gene_space(model: SiVAE) -> GeneSpace:
    """The gene space of a trained model."""
    state, module = model._trained(), model._module_()
    cells = model._read(None)
    train_n = ~state.split().held(list(model._training_adata().obs_names))
    k, table = model.options.n_latent, state.table
    between_kk = state.joint_covariance[:k, :k]
    within_k = (encode(module, cells)[1][train_n].astype(np.float64) ** 2).mean(axis=0)
    used_k = np.diag(between_kk) > LEAST_VARIANCE
    covariance_kk = (between_kk + np.diag(within_k)) * np.outer(used_k, used_k)
    root_kk = _root(covariance_kk) @ state.rotation_kk
    at = [state.reader.genes.index(name) for name in model._names]
    return GeneSpace(
        genes=model._names,
        position_gk=table.loading_gk[at].astype(np.float64) @ root_kk,
        variance_gk=np.einsum("ik,gij,jk->gk", root_kk, table.covariance_gkk[at], root_kk),
        explained_g=(1 - _squared_error(model, cells))[at],
        r2_g=table.r2_g[at].astype(np.float64),
        noise_g=table.noise_variance_g[at].astype(np.float64),
        varies_g=(state.reader.scaling.sd_g > 0)[at],
    )


def _root(covariance_kk: Array) -> Array:
    value_k, vector_kk = np.linalg.eigh(covariance_kk)
    return np.asarray((vector_kk * np.sqrt(np.maximum(value_k, 0.0))) @ vector_kk.T)


def _squared_error(model: SiVAE, cells: Expression) -> Array:
    """Mean over cells of the squared error of standardised values, (g,), in the reader's order."""
    state, module = model._trained(), model._module_()
    total_g = np.zeros(cells.shape[1])
    for rows, eta_cg in predictor_blocks(module, state.table, state.linear, cells):
        predicted_cg = to_standardised(eta_cg, cells, counts=module.likelihood.counts)
        total_g += ((cells.standardised(rows) - predicted_cg) ** 2).sum(axis=0, dtype=np.float64)
    return total_g / cells.shape[0]
