"""What is computed once, when training ends: unique linear part, gene table, joint covariance, evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sivae._memory import give_back
from sivae.data._expression import Expression
from sivae.data._profiles import PrincipalProfiles, Profiles
from sivae.data._rows import Held
from sivae.model._derivative import mean_derivative
from sivae.model._evidence import connected_pvalues, explained
from sivae.model._linear import LinearPart, Moments, gene_posterior, regressed
from sivae.model._predict import BATCH, GeneTable, encode, joint, log_softmax, predictor
from sivae.model._width import own_share, with_width
from sivae.nn._published import PublishedModule
from sivae.nn._two_towers import TwoTowers

CHUNK = 2000


def finish(
    module: TwoTowers,
    training: Expression,
    validation: Expression | None,
    profiles: Profiles,
    *,
    batch_share_b: NDArray[np.float32],
    residual: bool,
    seed: int,
) -> tuple[GeneTable, LinearPart, NDArray[np.float64]]:
    """Gene table, linear part of h, and covariance of (z, remainder of h) over training cells, (k+d, k+d).

    `batch_share_b` is the share of each batch among the training cells, empty without batches.
    """
    z_nk, sd_nk = encode(module, training)
    design_nb = training.design_nb
    # Under a gain only what depends on the batch alone can move into the offsets without changing the predictor.
    stretched = len(batch_share_b) > 0 and not module.likelihood.counts
    k, b = z_nk.shape[1], design_nb.shape[1]
    moments = Moments.of(np.concatenate(arrays, axis=1) for arrays in _joint_blocks(module, z_nk, design_nb))
    linear = LinearPart.of(moments, k, b, columns=len(batch_share_b) if stretched else b)
    if module.loadings_are_means:
        linear = replace(linear, slope_kd=np.zeros_like(linear.slope_kd), published=True)
    kept = Moments.of(
        np.concatenate([z_ck, linear.remainder(z_ck, h_cd, design_cb)], axis=1)
        for z_ck, design_cb, h_cd in _joint_blocks(module, z_nk, design_nb)
    )
    covariance = kept.covariance_pp * (kept.n / (kept.n - 1))
    table = gene_table(
        module,
        profiles.of_modelled() if module.embeds_genes else output_kernel(module),
        linear,
        moments.mean_p[k + b :].astype(np.float32),
        batch_share_b=batch_share_b if stretched else np.zeros(0, np.float32),
        residual=residual,
        principal=isinstance(profiles, PrincipalProfiles),
    )
    if module.softmax:
        z_ck, design_cb = z_nk[:CHUNK], design_nb[:CHUNK]
        remainder_cd = linear.remainder(z_ck, joint(module, z_ck, design_cb), design_cb)
        table = _normalised(table, z_ck, remainder_cd, design_cb)
    _give_back(training)
    width_gkk, noise_g = with_width(table, module.likelihood, training, z_nk)
    table = replace(table, noise_variance_g=noise_g.astype(np.float32), encoder_gk=mean_derivative(module, training))
    if not module.loadings_are_means:
        grown_kk = own_share(table.encoder_gk, table, z_nk, sd_nk)
        table = replace(table, covariance_gkk=(grown_kk @ width_gkk @ grown_kk.T).astype(np.float32))
    del z_nk, sd_nk  # evidence is what takes most memory
    _give_back(training)
    if validation is not None:
        r2_g = explained(module, table, linear, training, validation)
        _give_back(training)
        p_g = connected_pvalues(module, table, linear, validation, seed=seed)
        table = with_evidence(table, r2_g, p_g)
    return table, linear, covariance


def _give_back(training: Expression) -> None:
    """Give back what the stage before has freed, where the cells are many."""
    if not isinstance(training.rows, Held):
        give_back()


def _joint_blocks(
    module: TwoTowers, z_nk: NDArray[np.float32], design_nb: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Positions, covariates and joint layers of the cells, block by block: h of all cells is never in memory."""
    for start in range(0, len(z_nk), BATCH):
        z_ck, design_cb = z_nk[start : start + BATCH], design_nb[start : start + BATCH]
        yield z_ck, design_cb, joint(module, z_ck, design_cb)


def _normalised(
    table: GeneTable, z_ck: NDArray[np.float32], remainder_cd: NDArray[np.float64], design_cb: NDArray[np.float32]
) -> GeneTable:
    """The same shares, with a bias from which the average cell's need no normalising."""
    eta_cg = predictor(table, z_ck, remainder_cd.astype(np.float32), design_cb)
    return replace(table, bias_g=table.bias_g + (log_softmax(eta_cg) - eta_cg).mean().astype(np.float32))


def gene_table(
    module: TwoTowers,
    profile_gq: NDArray[np.float32],
    linear: LinearPart,
    average_h_d: NDArray[np.float32],
    *,
    batch_share_b: NDArray[np.float32],
    residual: bool,
    principal: bool,
) -> GeneTable:
    """The table of the modelled genes, without evidence yet (NaN); noise is that at the average cell."""
    parts = [
        gene_posterior(module, profile_gq[start : start + CHUNK], linear, residual=residual, principal=principal)
        if module.embeds_genes
        else regressed(linear, profile_gq[start : start + CHUNK])
        for start in range(0, len(profile_gq), CHUNK)
    ]
    loading, covariance, w_gd = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts, strict=True))
    scale_g, counts = module.scale_g.numpy().copy(), module.likelihood.counts
    bias_g, offset_gb = module.bias_g.detach().numpy().copy(), module.offset_gb.detach().numpy().copy()
    moved_g, moved_gb = _constant_part(linear, w_gd[:, : module.n_joint], module.log_gain_bg.numpy(), batch_share_b)
    bias_g, offset_gb = bias_g + scale_g * moved_g, offset_gb + scale_g[:, None] * moved_gb
    nan_g = np.full(len(loading), np.nan, np.float32)
    return GeneTable(
        loading_gk=loading,
        covariance_gkk=covariance,
        joint_gd=w_gd,
        bias_g=bias_g.astype(np.float32),
        offset_gb=offset_gb.astype(np.float32),
        log_gain_gb=np.zeros_like(offset_gb, np.float32) if counts else module.log_gain_bg.numpy().T.copy(),
        scale_g=scale_g,
        noise_g=_noise(module, average_h_d),
        r2_g=nan_g,
        connected_p_g=nan_g.copy(),
        inflation_g=nan_g.copy() if module.zero_logit_g is None else module.zero_logit_g.detach().sigmoid().numpy(),
        noise_variance_g=nan_g.copy(),
        encoder_gk=np.full_like(loading, np.nan),
    )


def _constant_part(
    linear: LinearPart,
    w_gd: NDArray[np.float32],
    log_gain_bg: NDArray[np.float32],
    batch_share_b: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What (a + design E) w adds to bias, (g,), and offsets, (g, b), in units of s.

    With a gain per batch it is gain_b (a + design_b E) w, a function of the batch, and so a sum over its columns.
    """
    n_batches = len(batch_share_b)
    if n_batches == 0:
        return w_gd @ linear.intercept_d, w_gd @ linear.design_bd.T
    level_bb = np.eye(n_batches) - batch_share_b
    gain_bg = np.exp(level_bb @ log_gain_bg[:n_batches])
    value_bg = gain_bg * ((linear.intercept_d + level_bb @ linear.design_bd[:n_batches]) @ w_gd.T)
    offset_gb = np.zeros((len(w_gd), len(linear.design_bd)))
    offset_gb[:, :n_batches] = value_bg.T
    return batch_share_b @ value_bg, offset_gb


def output_kernel(module: TwoTowers) -> NDArray[np.float32]:
    """Weights of the genes in a model without a feature tower, (g, d)."""
    assert isinstance(module, PublishedModule)
    return module.start_gd.weight.detach().numpy().copy()


@torch.no_grad()
def _noise(module: TwoTowers, average_h_d: NDArray[np.float32]) -> NDArray[np.float32]:
    if not module.likelihood.noisy:
        return np.full(len(module.bias_g), np.nan, np.float32)
    log_noise_g = module.average_log_noise(torch.from_numpy(average_h_d))
    return torch.exp(module.likelihood.clamp_noise(log_noise_g)).numpy()


def with_evidence(table: GeneTable, r2_g: NDArray[np.floating], p_g: NDArray[np.floating]) -> GeneTable:
    """The same table with evidence per gene."""
    return replace(table, r2_g=r2_g.astype(np.float32), connected_p_g=p_g.astype(np.float64))
