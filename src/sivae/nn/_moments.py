"""Noise and bias of counts about expectations that are known, in closed form or by a few steps, every gene at once."""

from __future__ import annotations

import torch
from torch import Tensor

THETA_RANGE = (1e-2, 1e3)
INFLATION_RANGE = (0.003, 0.95)
"""Zero inflation at the start: never zero, where its logit would have no gradient."""
CLOSE = 1e-4
"""Newton steps end below it; the error left is of the order of its square."""
LEAST_TOTAL = 0.5
"""Counts that a gene without any is taken to have."""


def log_ratio(y_ng: Tensor, mean_ng: Tensor) -> Tensor:
    """log(observed / expected total), (genes,): added to the log of the mean it makes the two equal."""
    return torch.log(y_ng.sum(dim=0).clamp(min=LEAST_TOTAL) / mean_ng.sum(dim=0).clamp(min=1e-12))


def inverse_dispersion(y_ng: Tensor, mean_ng: Tensor) -> Tensor:
    """Theta by moments, (genes,): variance = mean + mean^2 / theta, summed over cells."""
    excess_g = ((y_ng - mean_ng).square() - mean_ng).sum(dim=0)
    return (mean_ng.square().sum(dim=0) / excess_g.clamp(min=1e-6)).clamp(*THETA_RANGE)


def zero_inflation(y_ng: Tensor, mean_ng: Tensor, *, steps: int = 8) -> tuple[Tensor, Tensor]:
    """Theta and share of inflated zeros pi by moments, (genes,) each, from the expected counts (inflation included).

    A zero-inflated negative binomial of expectation m has mu = m / (1 - pi) and variance m + m^2 A with
    A = (1 / theta + pi) / (1 - pi). Given pi, A gives theta; given mu and theta, the zeros in excess of the negative
    binomial's give pi. The excess is taken less one standard error, so that a gene without any starts without.
    """
    spread_g = 1.0 / inverse_dispersion(y_ng, mean_ng)
    zeros_g = (y_ng == 0).to(mean_ng.dtype).mean(dim=0)
    share_g = torch.zeros_like(zeros_g)
    theta_g = 1.0 / spread_g
    for _ in range(steps):
        mu_ng = mean_ng / (1.0 - share_g)
        chance_ng = torch.exp(-theta_g * torch.log1p(mu_ng / theta_g))
        error_g = (chance_ng * (1.0 - chance_ng)).sum(dim=0).sqrt() / len(y_ng)
        chance_g = chance_ng.mean(dim=0)
        excess_g = (zeros_g - chance_g - error_g) / (1.0 - chance_g).clamp(min=1e-6)
        share_g = excess_g.clamp(*INFLATION_RANGE)
        theta_g = (1.0 / (spread_g * (1.0 - share_g) - share_g).clamp(min=1e-6)).clamp(*THETA_RANGE)
    return theta_g, share_g


def open_shift(y_ng: Tensor, mean_ng: Tensor, *, steps: int = 20) -> Tensor:
    """Shift s with sum_n (1 - exp(-mean exp(s))) = sum_n y, (genes,), by damped Newton steps on the logarithm."""
    n = len(y_ng)
    total_g = y_ng.sum(dim=0).clamp(LEAST_TOTAL, max(n - LEAST_TOTAL, LEAST_TOTAL))
    # Exact where the mean is the same in every cell.
    shift_g = torch.log(-torch.log1p(-total_g / n) / mean_ng.mean(dim=0).clamp(min=1e-12))
    for _ in range(steps):
        moved_ng = mean_ng * torch.exp(shift_g)
        expected_g = -torch.expm1(-moved_ng).sum(dim=0)
        slope_g = (moved_ng * torch.exp(-moved_ng)).sum(dim=0)
        step_g = (total_g / expected_g.clamp(min=1e-12)).log() * expected_g / slope_g.clamp(min=1e-12)
        shift_g = shift_g + step_g.clamp(-1.0, 1.0)
        if float(step_g.abs().max()) < CLOSE:
            break
    return shift_g
