"""Genes that were never trained on, embedded from their values in the training cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import OptionError
from sivae._values import part_of, values_of
from sivae.data._covariates import CovariateEffect, batch_of, gain
from sivae.data._expression import Expression, Reader, as_counts
from sivae.data._matrix import Matrix
from sivae.data._profiles import PrincipalProfiles, Profiles, read_stored
from sivae.data._scaling import Scaling
from sivae.model._build import SCALE_CAP, Options, make_profiles
from sivae.model._evidence import null_pvalues
from sivae.model._finish import with_evidence
from sivae.model._left_out import depth_of
from sivae.model._linear import LinearPart, gene_posterior
from sivae.model._predict import GeneTable, encode, joint, predictor
from sivae.model._width import sample_rows, sampling_covariance
from sivae.nn._likelihoods import CountLikelihood, Likelihood
from sivae.nn._spectral import log_scale
from sivae.nn._two_towers import TwoTowers
from sivae.stats._spectrum import Spectrum

VALUES_AT_ONCE = 20_000_000
"""Cells times genes that are embedded at a time."""
VALUES_READ = 2**25
"""Stored values that are read at a time: each reading is a pass over the data, unless they are stored gene by gene."""


def embed(
    module: TwoTowers,
    *,
    options: Options,
    reader: Reader,
    spectrum: Spectrum,
    linear: LinearPart,
    stored_gq: NDArray[np.float32] | None,
    training: Expression,
    validation: Expression | None,
    new: AnnData,
    rows: NDArray[np.intp],
    validation_rows: NDArray[np.intp],
    cells_shown: NDArray[np.intp] | None = None,
) -> GeneTable:
    """The table of every gene of `new`, in chunks of genes.

    `rows` and `validation_rows` are where the training and validation cells stand in `new`. A gene's profile, scale,
    bias, offsets, noise (one number per gene, whatever the dispersion of the modelled genes) and zero inflation come
    from the training cells; its evidence from the validation cells, which it is not encoded from. `cells_shown`
    are the training cells that profiles of cells hold, where labels chose them.
    """
    if not module.embeds_genes or module.softmax:
        raise OptionError(_placeless(softmax=module.embeds_genes))
    effect = CovariateEffect(module.shift_bg.numpy(), module.log_gain_bg.numpy())
    profiles = make_profiles(options, training, effect, spectrum, stored_gq=stored_gq, cells=cells_shown)
    names = [str(name) for name in new.var_names]
    stored_fq = None if stored_gq is None else read_stored(new, options.profiles, names)
    n_batches = reader.setup.n_batches
    z_nk, _ = encode(module, training)
    cells = [(training, z_nk, _remainder(module, linear, training, z_nk))]
    if validation is not None:
        z, _ = encode(module, validation)
        cells.append((validation, z, _remainder(module, linear, validation, z)))
    result: GeneTable | None = None
    for genes, values in _chunks(new, reader, np.concatenate([rows, validation_rows]), len(rows)):
        parts = [values[: len(rows)], values[len(rows) :]][: len(cells)]
        part = _embed_chunk(
            module,
            profiles,
            linear,
            cells,
            parts,
            stored_fq=None if stored_fq is None else stored_fq[genes],
            residual=options.decoder == "residual",
            n_batches=n_batches,
        )
        result = part if result is None else result.append(part)
    assert result is not None
    return result


def _remainder(
    module: TwoTowers, linear: LinearPart, expression: Expression, z_nk: NDArray[np.float32]
) -> NDArray[np.float32]:
    h_nd = joint(module, z_nk, expression.design_nb)
    return linear.remainder(z_nk, h_nd, expression.design_nb).astype(np.float32)


def _chunks(new: AnnData, reader: Reader, rows: NDArray[np.intp], n_training: int) -> Iterator[tuple[slice, Matrix]]:
    """The values of every gene in the rows given, some genes at a time."""
    cells, chunk = part_of(new, rows), max(16, VALUES_AT_ONCE // max(1, n_training))
    stored = values_of(new, reader.setup.layer or None).stored
    share = stored.size / max(1, stored.shape[0] * stored.shape[1])
    reading = chunk * max(1, int(VALUES_READ / max(1.0, share * len(rows) * chunk)))
    for start in range(0, new.n_vars, reading):
        values: Any = reader.values(cells, np.arange(start, min(start + reading, new.n_vars)))
        dense = isinstance(values, np.ndarray)
        by_gene = values if dense else values.tocsc()
        for first in range(0, by_gene.shape[1], chunk):
            part = by_gene[:, first : first + chunk]
            yield slice(start + first, start + first + part.shape[1]), part if dense else part.tocsr()


def _embed_chunk(
    module: TwoTowers,
    profiles: Profiles,
    linear: LinearPart,
    cells: list[tuple[Expression, NDArray[np.float32], NDArray[np.float32]]],
    values: list[Matrix],
    *,
    stored_fq: NDArray[np.float32] | None,
    residual: bool,
    n_batches: int,
) -> GeneTable:
    training, z, remainder = cells[0]
    likelihood = module.likelihood
    scaling = Scaling.fit(values[0], training.library_n, log=training.scaling.log, target=training.scaling.target)
    x_nf = scaling.standardise(_dense(scaling.transform(values[0], training.library_n)))
    effect = _effect(x_nf, z, training.design_nb, n_batches)
    encoded = _encode(
        module,
        profiles.of_new(x_nf if linear.published else effect.remove(x_nf, training.design_nb), stored_fq),
        linear,
        scaling,
        residual=residual,
        principal=isinstance(profiles, PrincipalProfiles),
    )
    scale_f = encoded.scale_g
    gain_fb = np.zeros_like(effect.log_gain_bg.T) if likelihood.counts else effect.log_gain_bg.T
    table = replace(
        encoded,
        bias_g=np.zeros_like(scale_f),
        offset_gb=(scale_f[:, None] * effect.shift_bg.T).astype(np.float32),
        log_gain_gb=gain_fb.astype(np.float32),
    )
    start_nf = predictor(table, z, remainder, training.design_nb)
    inflation_f = np.full(x_nf.shape[1], np.nan)
    if isinstance(likelihood, CountLikelihood):
        bias_f, noise_f, inflation_f = _count_bias(likelihood, _dense(values[0]), start_nf, training.library_n)
    else:
        bias_f = (x_nf - start_nf).mean(axis=0)
        noise_f = np.sqrt(((x_nf - start_nf - bias_f) ** 2).mean(axis=0))
    table = replace(
        table,
        bias_g=bias_f.astype(np.float32),
        noise_g=noise_f.astype(np.float32),
        inflation_g=inflation_f.astype(np.float32),
    )
    width_fkk, noise_f = _width(table, likelihood, training, z, values[0], x_nf)
    table = replace(table, noise_variance_g=noise_f.astype(np.float32))
    if not linear.published:
        table = replace(table, covariance_gkk=width_fkk.astype(np.float32))
    if len(cells) == 1:
        return table
    return _judge(table, cells[1], values[1], scaling, start_nf + bias_f, x_nf, counts=likelihood.counts)


def _placeless(*, softmax: bool) -> str:
    """Why a gene never trained on has no place, and what to do."""
    why, other = "is a plain VAE, without a gene encoder", "PublishedOptions(model='sivae')"
    if softmax:
        why, other = "has a softmax over the modelled genes", "likelihood='normal'"
    return (
        f"This model {why}, so that a gene it was not trained on has no place in it; expected modelled genes. "
        f"Train again with that gene among those modelled, or with {other}, or recipe='default'."
    )


def _width(
    table: GeneTable,
    likelihood: Likelihood,
    training: Expression,
    z_nk: NDArray[np.float32],
    values: Matrix,
    x_nf: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = sample_rows(len(z_nk))
    y = as_counts(values[rows]) if likelihood.counts else torch.from_numpy(x_nf[rows])
    few = training.take(rows)
    return sampling_covariance(table, likelihood, y, z_nk[rows], few, n_training=len(z_nk))


def _effect(
    x_nf: NDArray[np.float32], z_nk: NDArray[np.float32], design_nb: NDArray[np.float32], n_batches: int
) -> CovariateEffect:
    """Shift and gain of each new gene, by regression on the covariates and on where the cells lie."""
    n_design = design_nb.shape[1]
    columns = np.concatenate([design_nb, z_nk - z_nk.mean(axis=0)], axis=1).astype(np.float64)
    slopes = (np.linalg.pinv(columns, rcond=1e-6) @ x_nf).astype(np.float32)
    shift_bf = slopes[:n_design]
    log_gain_bf = np.zeros_like(shift_bf)
    if n_batches > 1:
        predicted_nf = columns[:, n_design:].astype(np.float32) @ slopes[n_design:]
        batch_n = batch_of(design_nb, n_batches)
        block = x_nf - design_nb @ shift_bf, predicted_nf, batch_n
        log_gain_bf[:n_batches] = np.log(gain([block], n_batches))
    return CovariateEffect(shift_bf, log_gain_bf)


def _encode(
    module: TwoTowers,
    profile_fq: NDArray[np.float32],
    linear: LinearPart,
    scaling: Scaling,
    *,
    residual: bool,
    principal: bool,
) -> GeneTable:
    """Loading and joint layer of new genes; bias, offsets and noise are filled in by the caller."""
    loading, covariance, w_fd = gene_posterior(module, profile_fq, linear, residual=residual, principal=principal)
    scale = np.ones(len(loading), np.float32)
    if module.likelihood.counts:
        scale = log_scale(torch.from_numpy(scaling.mean_g), torch.from_numpy(scaling.sd_g), SCALE_CAP).numpy()
    nothing_f = np.full(len(loading), np.nan, np.float32)
    nothing_fb = np.zeros((len(loading), 0), np.float32)
    return GeneTable(
        loading_gk=loading.astype(np.float32),
        covariance_gkk=covariance.astype(np.float32),
        joint_gd=w_fd.astype(np.float32),
        bias_g=nothing_f,
        offset_gb=nothing_fb,
        log_gain_gb=nothing_fb,
        scale_g=scale,
        noise_g=nothing_f,
        r2_g=nothing_f,
        connected_p_g=nothing_f.astype(np.float64),
        inflation_g=nothing_f,
        noise_variance_g=nothing_f,
        encoder_gk=np.zeros(loading.shape, np.float32),
    )


@torch.no_grad()
def _count_bias(
    likelihood: CountLikelihood,
    y_nf: NDArray[np.float32],
    start_nf: NDArray[np.floating],
    library_n: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bias that makes expected and observed totals equal; noise and zero inflation by moments (NaN if none)."""
    y = torch.from_numpy(y_nf.astype(np.float64))
    mean_nf = torch.from_numpy(library_n[:, None].astype(np.float64) * np.exp(np.clip(start_nf, -20.0, 20.0)))
    bias_f = likelihood.match(y, mean_nf)
    log_noise_f, zero_logit_f = likelihood.moments(y, mean_nf * torch.exp(bias_f))
    nothing_f = np.full(len(bias_f), np.nan)
    noise_f = torch.exp(log_noise_f).numpy() if likelihood.noisy else nothing_f
    if zero_logit_f is None:
        return bias_f.numpy(), noise_f, nothing_f
    bias_f = bias_f + torch.nn.functional.softplus(zero_logit_f)  # -log(1 - pi)
    return bias_f.numpy(), noise_f, torch.sigmoid(zero_logit_f).numpy()


def _judge(
    table: GeneTable,
    cells: tuple[Expression, NDArray[np.float32], NDArray[np.float32]],
    values: Matrix,
    scaling: Scaling,
    eta_nf: NDArray[np.floating],
    x_nf: NDArray[np.float32],
    *,
    counts: bool,
) -> GeneTable:
    """Evidence on validation cells; no cell was encoded from these genes, so nothing need be masked."""
    validation, z, remainder = cells
    x_cf = scaling.standardise(_dense(scaling.transform(values, validation.library_n)))
    eta_cf = predictor(table, z, remainder, validation.design_nb)
    if counts:
        eta_nf, eta_cf = (
            scaling.standardise(np.log1p(scaling.target * np.exp(np.minimum(eta, 10.0)))) for eta in (eta_nf, eta_cf)
        )
    mean_y, mean_x = eta_nf.mean(axis=0), x_nf.mean(axis=0)
    variance = ((eta_nf - mean_y) ** 2).mean(axis=0)
    slope = np.where(
        variance > 1e-10, ((eta_nf - mean_y) * (x_nf - mean_x)).mean(axis=0) / np.maximum(variance, 1e-10), 0
    )
    error = ((x_cf - mean_x - slope * (eta_cf - mean_y)) ** 2).sum(axis=0)
    base = ((x_cf - mean_x) ** 2).sum(axis=0)
    r2 = np.where(base > 1e-9, np.maximum(1 - error / np.maximum(base, 1e-9), -1.0), 0.0)
    depth = depth_of(validation)  # the modelled genes', of which these are none
    if depth.counted and scaling.log:
        x_cf = scaling.standardise(_dense(scaling.transform(values, depth.total_c.astype(np.float32))))
    depth_cf = np.repeat(depth.total_c[:, None], x_cf.shape[1], axis=1)
    return with_evidence(table, r2, null_pvalues(x_cf, eta_cf, validation, depth_cg=depth_cf))


def _dense(matrix: Matrix) -> NDArray[np.float32]:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
