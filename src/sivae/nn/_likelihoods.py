"""What a value in the matrix is distributed as, given its linear predictor eta.

Each likelihood is a small final class without parameters; its noise (one number per gene, in logarithms) belongs to
the module. `nll` takes one or more predictors of the same block, because the interpretability term scores the same
values under the linear predictor and part of the work is common to both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import log, pi
from typing import ClassVar, final

import torch
from torch import Tensor

from sivae._block import Counts

LOG_THETA_RANGE = (-5.0, 9.0)
ETA_MAX = 20.0


class Likelihood(ABC):
    """Abstract. Distribution of y_cg given eta_cg and a noise parameter per gene."""

    name: ClassVar[str]
    counts: ClassVar[bool]
    """True where y are counts and eta is the logarithm of a share of the library."""

    @abstractmethod
    def nll(
        self, etas_cf: Sequence[Tensor], y: Tensor | Counts, log_noise_f: Tensor, log_library_c: Tensor
    ) -> list[Tensor]:
        """Negative log likelihood summed over cells, (genes,) for each predictor."""

    @abstractmethod
    def information(self, mean_g: Tensor, log_noise_g: Tensor) -> Tensor:
        """Fisher information about eta of one value with expectation `mean_g`, (genes,)."""

    @abstractmethod
    def clamp_noise(self, log_noise_g: Tensor) -> Tensor:
        """Keep the noise parameter in its range."""


@final
class Normal(Likelihood):
    """x_cg ~ Normal(eta_cg, sigma_g^2) on the standardised scale; the noise is log sigma_g.

    The floor of sigma keeps an axis from being spent on a single gene (a Heywood case of factor analysis).
    """

    name = "normal"
    counts = False

    def __init__(self, sigma_floor: float = 0.3) -> None:
        self.sigma_floor = sigma_floor

    def nll(
        self, etas_cf: Sequence[Tensor], y: Tensor | Counts, log_noise_f: Tensor, log_library_c: Tensor
    ) -> list[Tensor]:
        assert isinstance(y, Tensor)
        log_sigma_f = self.clamp_noise(log_noise_f)
        precision_f = torch.exp(-2.0 * log_sigma_f)
        constant_f = len(y) * (log_sigma_f + 0.5 * log(2 * pi))
        return [0.5 * precision_f * (y - eta_cf).square().sum(dim=0) + constant_f for eta_cf in etas_cf]

    def information(self, mean_g: Tensor, log_noise_g: Tensor) -> Tensor:
        return torch.exp(-2.0 * self.clamp_noise(log_noise_g))

    def clamp_noise(self, log_noise_g: Tensor) -> Tensor:
        return log_noise_g.clamp(min=log(self.sigma_floor))


@final
class NegativeBinomial(Likelihood):
    """y_cg ~ NB(mean l_c exp(eta_cg), inverse dispersion theta_g); the noise is log theta_g.

    log p(y) = lgamma(y + theta) - lgamma(theta) - lgamma(y + 1)
               + theta log(theta / (theta + mu)) + y log(mu / (theta + mu)),
    variance mu + mu^2 / theta. At y = 0 only the fourth term is left, so lgamma is evaluated at the non-zeros alone.
    """

    name = "nb"
    counts = True

    def nll(
        self, etas_cf: Sequence[Tensor], y: Tensor | Counts, log_noise_f: Tensor, log_library_c: Tensor
    ) -> list[Tensor]:
        assert isinstance(y, Counts)
        log_theta_f = self.clamp_noise(log_noise_f)
        theta_f = torch.exp(log_theta_f)
        theta_n = theta_f[y.column]
        coefficient_n = torch.lgamma(y.value + theta_n) - torch.lgamma(theta_n) - torch.lgamma(y.value + 1.0)
        base_f = torch.zeros_like(theta_f).index_add(0, y.column, coefficient_n)
        result = []
        for eta_cf in etas_cf:
            # log(mu / theta), whose softplus is -log(theta / (theta + mu)).
            logit_cf = (eta_cf + log_library_c[:, None]).clamp(max=ETA_MAX) - log_theta_f
            softplus_cf = torch.nn.functional.softplus(logit_cf)
            where = (y.row, y.column)
            seen_f = torch.zeros_like(theta_f).index_add(0, y.column, y.value * (logit_cf[where] - softplus_cf[where]))
            result.append(theta_f * softplus_cf.sum(dim=0) - seen_f - base_f)
        return result

    def information(self, mean_g: Tensor, log_noise_g: Tensor) -> Tensor:
        return mean_g / (1.0 + mean_g * torch.exp(-self.clamp_noise(log_noise_g)))

    def clamp_noise(self, log_noise_g: Tensor) -> Tensor:
        return log_noise_g.clamp(*LOG_THETA_RANGE)


LIKELIHOODS: dict[str, type[Normal] | type[NegativeBinomial]] = {kind.name: kind for kind in (Normal, NegativeBinomial)}


def make_likelihood(name: str, sigma_floor: float) -> Likelihood:
    """The likelihood of that name; the floor of sigma concerns the Normal alone."""
    return Normal(sigma_floor) if name == Normal.name else LIKELIHOODS[name]()
