"""How far a loading could be off: its covariance over samples of cells.

The variational posterior of v knows one noise level per gene and takes the axes as given; on real cells its 90 %
intervals covered 75 to 79 % of the differences between models of two halves of the cells (docs/defaults.md). A loading
is the slope of a gene on z, so its covariance is taken from the cells themselves,

    V_g = H^-1 S H^-1,    H = 1 + sum_n i_ng x_ng x_ng',    S = 1 + sum_n u_ng^2 x_ng x_ng',
    x_ng = t_ng z_n - sum_n i_ng t_ng z_n / sum_n i_ng,

with u the derivative of the log likelihood at the linear predictor, i its information, t = s_g times the gain, z
without what the covariates say of it, and the prior's 1 (Huber 1967; White 1982, Econometrica 50:1, doi
10.2307/1912526). The mean taken off x is the price of the bias, which is estimated too: a gene that is counted in few
cells tells its slope from those cells alone. The axes are estimated as well: the sample covariance S_z of z is not the
identity, which stretches every loading by v (S_z - 1) / 2 and adds

    (|v_g|^2 + v_gk^2) / (4 N)

to the variance of v_gk. Orthogonal turns of the axes are not part of it: they are common to all genes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae._block import Counts
from sivae.data._expression import Expression
from sivae.model._predict import GeneTable, predictor
from sivae.nn._likelihoods import Likelihood

Array = NDArray[np.float64]
MOST_CELLS = 5000
CHUNK = 256
TINY = 1e-300


def sample_rows(n_cells: int) -> NDArray[np.intp]:
    """Training cells that widths are made from: all, or a fixed sample."""
    if n_cells <= MOST_CELLS:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(0).permutation(n_cells)[:MOST_CELLS])


def with_width(
    table: GeneTable, likelihood: Likelihood, training: Expression, z_nk: NDArray[np.float32]
) -> tuple[Array, Array]:
    """Covariance of the loadings of the modelled genes, (g, k, k), and noise variance on the scale of v, (g,)."""
    rows = sample_rows(training.shape[0])
    few, z_mk = training.take(rows), z_nk[rows]
    parts = []
    for start in range(0, training.shape[1], CHUNK):
        genes = np.arange(start, min(start + CHUNK, training.shape[1]))
        y = few.block(np.arange(len(rows)), genes, counts=likelihood.counts).y
        parts.append(sampling_covariance(table.take(genes), likelihood, y, z_mk, few, n_training=training.shape[0]))
    covariance_gkk, noise_g = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return covariance_gkk, noise_g


def sampling_covariance(
    table: GeneTable,
    likelihood: Likelihood,
    y: torch.Tensor | Counts,
    z_mk: NDArray[np.float32],
    cells: Expression,
    *,
    n_training: int,
) -> tuple[Array, Array]:
    """Covariance of the loadings of the genes of the table from their values `y` in a sample of cells, (f, k, k).

    Also the variance of the noise on the scale of v, (f,), one over the mean of i t^2: sigma^2 under the Normal, and
    (1 / mu + 1 / theta) / s^2 of the average cell under the negative binomial.
    """
    m, k = z_mk.shape
    eta_mf = predictor(table, z_mk, np.zeros((m, table.joint_gd.shape[1]), np.float32), cells.design_nb)
    u_mf, i_mf = _derivatives(table, likelihood, y, eta_mf, cells.log_library_n)
    t_mf = table.scale_g * np.exp(cells.design_nb @ table.log_gain_gb.T)
    z = _without_covariates(z_mk, cells.design_nb)
    share = n_training / m
    centre_fk = ((i_mf * t_mf).T @ z) / np.maximum(i_mf.sum(axis=0), TINY)[:, None]
    curvature_fkk = share * _spread(i_mf, t_mf, z, centre_fk) + np.eye(k)
    score_fkk = share * _spread(u_mf**2, t_mf, z, centre_fk) + np.eye(k)
    inverse_fkk = np.linalg.inv(curvature_fkk)
    lost = n_training / max(n_training - k - 1, 1)  # the residuals have met the slopes
    result: Array = lost * inverse_fkk @ score_fkk @ inverse_fkk
    v_fk = table.loading_gk.astype(np.float64)
    result[:, range(k), range(k)] += ((v_fk**2).sum(axis=1, keepdims=True) + v_fk**2) / (4 * n_training)
    noise_f = 1.0 / np.maximum((i_mf * t_mf**2).mean(axis=0), TINY)
    return result, noise_f


def _derivatives(
    table: GeneTable,
    likelihood: Likelihood,
    y: torch.Tensor | Counts,
    eta_mf: NDArray[np.float32],
    log_library_m: NDArray[np.float32],
) -> tuple[Array, Array]:
    """Derivative of the log likelihood about eta and its information, (m, f) each."""
    log_noise_f = torch.from_numpy(np.log(np.nan_to_num(table.noise_g, nan=1.0)))
    inflation_f = torch.from_numpy(table.inflation_g)
    zero_logit_f = None if bool(torch.isnan(inflation_f).all()) else torch.logit(inflation_f, eps=1e-6)
    log_library = torch.from_numpy(log_library_m)
    eta = torch.from_numpy(eta_mf).requires_grad_()
    nll_f = likelihood.nll([eta], y, log_noise_f, log_library, zero_logit_f)[0]
    (slope,) = torch.autograd.grad(nll_f.sum(), eta)
    with torch.no_grad():
        mean = torch.exp((eta + log_library[:, None]).clamp(max=20.0)) if likelihood.counts else eta
        information = likelihood.information(mean, log_noise_f, zero_logit_f).expand_as(eta)
    return slope.double().numpy(), information.double().numpy()


def _without_covariates(z_mk: NDArray[np.float32], design_mb: NDArray[np.float32]) -> Array:
    """Residual of z on an intercept and the covariates, whose offsets are estimated as well."""
    known = np.column_stack([np.ones(len(z_mk)), design_mb]).astype(np.float64)
    z = z_mk.astype(np.float64)
    return np.asarray(z - known @ np.linalg.lstsq(known, z, rcond=1e-6)[0])


def _spread(weight_mf: Array, t_mf: Array, z_mk: Array, centre_fk: Array) -> Array:
    """Sum over cells of weight (t z - centre) (t z - centre)', (f, k, k)."""
    k = z_mk.shape[1]
    first, second = np.triu_indices(k)
    square_fkk = _symmetric((weight_mf * t_mf**2).T @ (z_mk[:, first] * z_mk[:, second]), k)
    cross_fkk = centre_fk[:, :, None] * ((weight_mf * t_mf).T @ z_mk)[:, None, :]
    outer_fkk = centre_fk[:, :, None] * centre_fk[:, None, :]
    total_f11 = weight_mf.sum(axis=0)[:, None, None]
    return np.asarray(square_fkk - cross_fkk - cross_fkk.transpose(0, 2, 1) + total_f11 * outer_fkk)


def _symmetric(upper_fp: Array, k: int) -> Array:
    """Symmetric matrices from their upper triangles, (f, k, k)."""
    first, second = np.triu_indices(k)
    result = np.empty((len(upper_fp), k, k))
    result[:, first, second] = upper_fp
    result[:, second, first] = upper_fp
    return result
