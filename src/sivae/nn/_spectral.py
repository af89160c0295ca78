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

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sivae.nn._likelihoods import CountLikelihood
from sivae.nn._module import SiVAEModule

LEAST_SCORE_VARIANCE = 1e-4


@dataclass(frozen=True)
class Sample:
    """Training cells (all, or a sample) on which counts are refitted and noise is estimated."""

    rows: Callable[[], Iterator[Tensor]]
    """Standardised values, (c, g), some cells at a time from first to last."""
    design_nb: Tensor
    library_n: Tensor
    counts: Callable[[], Iterator[tuple[slice, Tensor]]] | None
    """Genes, and their counts in all of the cells, (n, f), some genes at a time from first to last."""


@torch.no_grad()
def spectral_start(
    module: SiVAEModule, v_gk: Tensor, sample: Sample, *, kl_weight: float, poisson_steps: int = 2
) -> None:
    """Set both towers, bias, offsets and noise so that step 0 is the factor model with loadings `v_gk`."""
    module.used_k.copy_((v_gk.square().sum(dim=0) > 0).float())
    tower = module.cell_tower
    floor = module.architecture.sigma_floor**2
    spread_g, mean_square = _spread(sample.rows())
    variance_g = (spread_g - v_gk.square().sum(dim=1)).clamp(min=floor)
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
    for tower, square in ((module.cell_tower, mean_square), (module.feature_tower, module.profile_gq.square().mean())):
        tower.input_scale.copy_(1.0 / square.sqrt().clamp(min=1e-6))


def _spread(blocks: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Variance of each gene, (g,), and the mean square of all values."""
    first = next(blocks)
    variance_g, square = first.var(dim=0, correction=min(1, len(first) - 1)), first.square().mean()
    n, mean_g, apart_g = len(first), first.mean(dim=0, dtype=torch.float64), (len(first) - 1) * variance_g.double()
    if (following := next(blocks, None)) is None:
        return variance_g, square
    square_sum = square.double() * first.numel()
    del first
    while following is not None:
        mean_c, m = following.mean(dim=0, dtype=torch.float64), len(following)
        apart_g += (following - mean_c).square().sum(dim=0) + (mean_c - mean_g).square() * (n * m / (n + m))
        square_sum += following.square().sum(dtype=torch.float64)
        n, mean_g = n + m, mean_g + (mean_c - mean_g) * (m / (n + m))
        following = next(blocks, None)
    return (apart_g / (n - 1)).float(), (square_sum / (n * len(mean_g))).float()


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
    start, scores = 0, []
    for x_cg in sample.rows():
        scores.append(module.encode_cells(x_cg, sample.design_nb[start : start + len(x_cg)]).mean_rk)
        start += len(x_cg)
    design_n1 = torch.cat([torch.ones(start, 1), sample.design_nb, torch.cat(scores)], dim=1)
    # Ridge: each axis has the prior variance that the spectral loadings show; offsets have unit prior variance.
    prior_k = v_gk.square().mean(dim=0).clamp(min=1e-8)
    information_g, v_gk = torch.empty(len(v_gk)), v_gk.clone()
    for genes, y_nf in sample.counts():
        information_g[genes], v_gk[genes] = _refit(
            module, likelihood, v_gk[genes], y_nf, sample.library_n, design_n1, prior_k, genes=genes, steps=steps
        )
    return information_g, v_gk


def _refit(
    module: SiVAEModule,
    likelihood: CountLikelihood,
    v_fk: Tensor,
    y_nf: Tensor,
    library_n: Tensor,
    design_n1: Tensor,
    prior_k: Tensor,
    *,
    genes: slice,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """The same for some genes, (f,) and (f, k)."""
    (n, f), scale_f = y_nf.shape, module.scale_g[genes]
    n_design = design_n1.shape[1] - v_fk.shape[1]
    beta_fp = torch.cat(
        [
            likelihood.match(y_nf, library_n[:, None].expand(n, f))[:, None],
            torch.zeros(f, n_design - 1),
            scale_f[:, None] * v_fk,
        ],
        dim=1,
    )
    precision_fp = torch.cat(
        [torch.full((f, 1), 1e-3), torch.ones(f, n_design - 1), 1.0 / (prior_k * scale_f[:, None] ** 2)], dim=1
    )
    for _ in range(steps):
        beta_fp = _newton_step(likelihood, design_n1, y_nf, library_n, beta_fp, precision_fp)
    mean_nf = library_n[:, None] * torch.exp((design_n1 @ beta_fp.T).clamp(max=10.0))
    # The bias that makes expected and observed totals equal.
    beta_fp[:, 0] += likelihood.match(y_nf, mean_nf)
    mean_nf = library_n[:, None] * torch.exp((design_n1 @ beta_fp.T).clamp(max=10.0))
    log_noise_f, zero_logit_f = likelihood.moments(y_nf, mean_nf)
    module.log_noise_g[genes] = log_noise_f
    if zero_logit_f is not None and module.zero_logit_g is not None:
        module.zero_logit_g[genes] = zero_logit_f
        shift_f = torch.nn.functional.softplus(zero_logit_f)  # -log(1 - pi): the mean of what is not inflated
        beta_fp[:, 0] += shift_f
        mean_nf = mean_nf * torch.exp(shift_f)
    module.bias_g[genes] = beta_fp[:, 0]
    module.offset_gb[genes] = beta_fp[:, 1:n_design]
    information_nf = likelihood.information(mean_nf, log_noise_f, zero_logit_f)
    return information_nf.mean(dim=0) * scale_f**2, beta_fp[:, n_design:] / scale_f[:, None]


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
