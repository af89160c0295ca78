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

A modelled gene is also among the genes that z is read from. What sampling does to its loading moves z a little towards
the gene, and so the loading further (`own_share`); a gene never trained on has no such part.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae._block import Counts
from sivae.data._expression import Expression, as_counts
from sivae.data._rows import Columns, gene_slices
from sivae.model._linear import Moments
from sivae.model._predict import BATCH, GeneTable, predictor
from sivae.nn._likelihoods import Likelihood

Array = NDArray[np.float64]
MOST_CELLS = 5000
CHUNK = 256
TINY = 1e-300
MOST_LOSS = 0.5
LEAST_VARIANCE = 1e-4
"""Of the cells along an axis that is used."""


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
    columns = Columns(few.values() if likelihood.counts else few.transformed())
    for part in gene_slices(len(rows), training.shape[1], most=CHUNK):
        genes = np.arange(part.start, part.stop)
        if likelihood.counts:
            y: torch.Tensor | Counts = as_counts(columns.take(part))
        else:
            y = torch.from_numpy(few.scaling.take(genes).standardise(columns.dense(part)))
        parts.append(sampling_covariance(table.take(genes), likelihood, y, z_mk, few, n_training=training.shape[0]))
    covariance_gkk, noise_g = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return covariance_gkk, noise_g


def own_share(
    encoder_gk: NDArray[np.floating],
    table: GeneTable,
    z_nk: NDArray[np.floating],
    sd_nk: NDArray[np.floating],
) -> Array:
    """By what an error of a modelled gene's loading grows through its own share of z, (k, k).

    The encoder reads a gene as its loading over its noise, A_g = K v_g / noise_g, so the mean of z holds
    K v_g / noise_g times the gene's own values. With C the covariance of the means of z and P their mean posterior
    variance, a loading solves (C + P) v = cov(z, x_g) = cov(z without g, x_g) + K v. The error of a slope on z alone,
    which the sandwich gives, is therefore (C + P - K)^-1 C times as large. Under the evidence bound K = P, and nothing
    is added; with the interpretability term the encoder reads each gene gamma + 1 times, and K is larger. K is found
    by least squares over the genes; what it takes from C is kept between nothing and a half.
    """
    n = len(z_nk)
    moments = Moments.of(z_nk[start : start + BATCH] for start in range(0, n, BATCH))
    covariance_kk = moments.covariance_pp * (n / (n - 1))
    used = np.flatnonzero(np.diag(covariance_kk) > LEAST_VARIANCE)
    grown_kk = np.eye(len(covariance_kk))
    if len(used) == 0:
        return grown_kk
    weighted_gu = table.loading_gk[:, used].astype(np.float64) / table.noise_variance_g[:, None]
    reading_uu = np.linalg.lstsq(weighted_gu, encoder_gk[:, used].astype(np.float64), rcond=1e-6)[0].T
    posterior_u = np.einsum("nk,nk->k", sd_nk, sd_nk, dtype=np.float64)[used] / n
    value_u, vector_uu = np.linalg.eigh(covariance_kk[np.ix_(used, used)])
    root_uu, inverse_uu = (vector_uu * value_u**power @ vector_uu.T for power in (0.5, -0.5))
    excess_uu = (reading_uu + reading_uu.T) / 2 - np.diag(posterior_u)
    loss_u, turn_uu = np.linalg.eigh(inverse_uu @ excess_uu @ inverse_uu)
    factor_u = 1.0 / (1.0 - np.clip(loss_u, 0.0, MOST_LOSS))
    grown_kk[np.ix_(used, used)] = inverse_uu @ (turn_uu * factor_u) @ turn_uu.T @ root_uu
    return grown_kk


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
    value_fk, vector_fkk = np.linalg.eigh(score_fkk)
    half_fkk = np.linalg.solve(curvature_fkk, vector_fkk * np.sqrt(value_fk)[:, None, :])
    lost = n_training / max(n_training - k - 1, 1)  # the residuals have met the slopes
    result: Array = lost * half_fkk @ half_fkk.transpose(0, 2, 1)  # H^-1 S H^-1, symmetric to the last digit
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
    return _not_negative(square_fkk - cross_fkk - cross_fkk.transpose(0, 2, 1) + total_f11 * outer_fkk)


def _not_negative(matrix_fkk: Array) -> Array:
    """The matrices without the negative eigenvalues that cancellation leaves where weights differ by many powers."""
    value_fk, vector_fkk = np.linalg.eigh((matrix_fkk + matrix_fkk.transpose(0, 2, 1)) / 2)
    if (value_fk >= 0).all():
        return matrix_fkk
    return np.asarray((vector_fkk * np.maximum(value_fk, 0.0)[:, None, :]) @ vector_fkk.transpose(0, 2, 1))


def _symmetric(upper_fp: Array, k: int) -> Array:
    """Symmetric matrices from their upper triangles, (f, k, k)."""
    first, second = np.triu_indices(k)
    result = np.empty((len(upper_fp), k, k))
    result[:, first, second] = upper_fp
    result[:, second, first] = upper_fp
    return result
