"""The spectral start: step 0 is a factor model made from shrunk principal components.

From the spectrum X / sqrt(N) = U S V' and the strength theta_k of the signal along each axis (stats/_spectrum.py),

    loadings        v = V theta                      sigma_g^2 = 1 - |v_g|^2, with a floor
    feature skip    p B = v                          posterior variance 1 / (1 + N information_g)
    cell skip       A = sigma^-2 v M^-1              M = 1 + v' sigma^-2 v, posterior covariance M^-1

so z = x A is the posterior mean under probabilistic PCA with one noise variance per gene (Rubin and Thayer 1982,
Psychometrika 47:69, doi 10.1007/BF02293851). An axis of strength zero is closed for good: left open,
training spends it on a single gene's own noise.
Encoder perceptrons and the last layer of w start at zero, the cell decoder starts random: with both sides of h.w at
zero the product would have no gradient. For counts, ridge-Poisson steps per gene then refit bias and v to the counts
(for zero-inflated ones too, of which they are an approximation; for open or closed features they are cloglog steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sivae._block import Counts
from sivae.nn._likelihoods import CountLikelihood
from sivae.nn._module import SiVAEModule

LEAST_SCORE_VARIANCE = 1e-4


@dataclass(frozen=True)
class Sample:
    """Training cells (all, or a sample) on which counts are refitted and noise is estimated."""

    x_ng: Tensor  # standardised
    design_nb: Tensor
    library_n: Tensor
    counts: Counts | None
    n_training: int


@torch.no_grad()
def spectral_start(
    module: SiVAEModule, v_gk: Tensor, sample: Sample, *, kl_weight: float, poisson_steps: int = 2
) -> None:
    """Set both towers, bias, offsets and noise so that step 0 is the factor model with loadings `v_gk`."""
    module.used_k.copy_((v_gk.square().sum(dim=0) > 0).float())
    tower = module.cell_tower
    floor = module.architecture.sigma_floor**2
    variance_g = (sample.x_ng.var(dim=0) - v_gk.square().sum(dim=1)).clamp(min=floor)
    weighted_gk = v_gk / variance_g[:, None]
    covariance_kk = torch.linalg.inv(torch.eye(v_gk.shape[1]) + v_gk.T @ weighted_gk)
    tower.skip_pk.copy_(weighted_gk @ covariance_kk)
    tower.log_sd_k.copy_(0.5 * torch.log(covariance_kk.diagonal().clamp(min=LEAST_SCORE_VARIANCE)))
    module.bias_g.zero_()
    if isinstance(module.likelihood, CountLikelihood):
        information_g, v_gk = _count_start(module, module.likelihood, v_gk, sample, poisson_steps)
    else:
        module.offset_gb.copy_(module.shift_bg.T)
        module.log_noise_g.copy_(module.likelihood.clamp_noise(0.5 * torch.log(variance_g)))
        information_g = module.likelihood.information(variance_g, module.log_noise_g)
    module.dispersion.start(module.log_noise_g)
    _set_feature_skip(module, v_gk)
    # Under the objective divided by N the prior's weight per gene is kl_weight / G against information_g per cell.
    precision_g = 1 + information_g * len(v_gk) / max(kl_weight, 1e-12)
    module.feature_tower.log_sd_k.fill_(float((-0.5 * torch.log(precision_g)).mean()))
    module.feature_tower.decoder.layers[-1].weight.zero_()  # type: ignore[operator]
    for tower, rows in ((module.cell_tower, sample.x_ng), (module.feature_tower, module.profile_gq)):
        tower.input_scale.copy_(1.0 / rows.square().mean().sqrt().clamp(min=1e-6))


def _set_feature_skip(module: SiVAEModule, v_gk: Tensor) -> None:
    """B such that the profiles times B are v: exact for principal profiles, else of least norm."""
    profile_gq = module.profile_gq.double()
    solution = torch.linalg.pinv(profile_gq, rtol=1e-5) @ v_gk.double()
    module.feature_tower.skip_pk.copy_(solution.float())


def _count_start(
    module: SiVAEModule, likelihood: CountLikelihood, v_gk: Tensor, sample: Sample, steps: int
) -> tuple[Tensor, Tensor]:
    """Bias, offsets, v, noise and zero inflation on the counts; returns the information per cell about v and v."""
    assert sample.counts is not None
    n, g = sample.x_ng.shape
    posterior = module.encode_cells(sample.x_ng, sample.design_nb)
    z_nk = posterior.mean_rk
    y_ng = torch.zeros(n, g)
    y_ng[sample.counts.row, sample.counts.column] = sample.counts.value
    design_n1 = torch.cat([torch.ones(n, 1), sample.design_nb, z_nk], dim=1)
    n_design = 1 + sample.design_nb.shape[1]
    beta_gp = torch.cat(
        [
            likelihood.match(y_ng, sample.library_n[:, None].expand(n, g))[:, None],
            torch.zeros(g, n_design - 1),
            module.scale_g[:, None] * v_gk,
        ],
        dim=1,
    )
    # Ridge: each axis has the prior variance that the spectral loadings show; offsets have unit prior variance.
    prior_k = v_gk.square().mean(dim=0)
    precision_gp = torch.cat(
        [
            torch.full((g, 1), 1e-3),
            torch.ones(g, n_design - 1),
            1.0 / (prior_k.clamp(min=1e-8) * module.scale_g[:, None] ** 2),
        ],
        dim=1,
    )
    for _ in range(steps):
        beta_gp = _newton_step(likelihood, design_n1, y_ng, sample.library_n, beta_gp, precision_gp)
    mean_ng = sample.library_n[:, None] * torch.exp((design_n1 @ beta_gp.T).clamp(max=10.0))
    # The bias that makes expected and observed totals equal.
    beta_gp[:, 0] += likelihood.match(y_ng, mean_ng)
    mean_ng = sample.library_n[:, None] * torch.exp((design_n1 @ beta_gp.T).clamp(max=10.0))
    log_noise_g, zero_logit_g = likelihood.moments(y_ng, mean_ng)
    module.log_noise_g.copy_(log_noise_g)
    if zero_logit_g is not None and module.zero_logit_g is not None:
        module.zero_logit_g.copy_(zero_logit_g)
        shift_g = torch.nn.functional.softplus(zero_logit_g)  # -log(1 - pi): the mean of what is not inflated
        beta_gp[:, 0] += shift_g
        mean_ng = mean_ng * torch.exp(shift_g)
    module.bias_g.copy_(beta_gp[:, 0])
    module.offset_gb.copy_(beta_gp[:, 1:n_design])
    information_ng = likelihood.information(mean_ng, log_noise_g, zero_logit_g)
    return information_ng.mean(dim=0) * module.scale_g**2, beta_gp[:, n_design:] / module.scale_g[:, None]


def _newton_step(
    likelihood: CountLikelihood,
    design_np: Tensor,
    y_ng: Tensor,
    library_n: Tensor,
    beta_gp: Tensor,
    precision_gp: Tensor,
    chunk: int = 500,
) -> Tensor:
    """One damped Newton step of ridge regression under the likelihood's score, every gene at once in chunks."""
    n, p = design_np.shape
    square_npp = (design_np[:, :, None] * design_np[:, None, :]).reshape(n, p * p)
    result = beta_gp.clone()
    for first in range(0, len(beta_gp), chunk):
        part = slice(first, first + chunk)
        mean_nf = library_n[:, None] * torch.exp((design_np @ beta_gp[part].T).clamp(max=10.0))
        ridge = precision_gp[part]
        centre = torch.zeros_like(beta_gp[part])
        centre[:, 0] = beta_gp[part, 0]
        score_nf, weight_nf = likelihood.score(mean_nf, y_ng[:, part])
        gradient = score_nf.T @ design_np + ridge * (beta_gp[part] - centre)
        hessian = (weight_nf.T @ square_npp).reshape(-1, p, p) + torch.diag_embed(ridge)
        step = torch.linalg.solve(hessian, gradient)
        result[part] -= step * (1.0 / step.abs().amax(dim=1, keepdim=True).clamp(min=1.0))
    return result


def log_scale(mean_g: Tensor, sd_g: Tensor, cap: float) -> Tensor:
    """s_g for counts: the delta-method factor sd (1 + mean) / mean from log1p to log scale, capped.

    `mean_g` and `sd_g` are of the log1p values in training cells.
    """
    factor = sd_g * (1 + mean_g) / mean_g.clamp(min=1e-12)
    return factor.clamp(min=1e-3, max=cap)
