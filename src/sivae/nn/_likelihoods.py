"""What a value in the matrix is distributed as, given its linear predictor eta.

Each likelihood is a small final class without parameters; its noise (in logarithms) and the zero inflation (in logits)
belong to the module. `nll` takes one or more predictors of the same block, because the interpretability term scores
the same values under the linear predictor and part of the work is common to both. The noise of a block is one number
per gene (the fast way), or anything that broadcasts against (cells, genes).

lgamma is evaluated at non-zero counts alone, which are few.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import log, pi
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sivae._block import Counts
from sivae.nn import _moments

LOG_THETA_RANGE = (-5.0, 9.0)
ZERO_LOGIT_RANGE = (-15.0, 15.0)
ETA_MAX = 20.0
SMALL_LOG_MEAN = -5.0
"""Below it log(1 - exp(-m)) is taken from its series, whose first term left out is m^4 / 2880."""


class Likelihood(ABC):
    """Abstract. Distribution of y_cg given eta_cg and, where `noisy`, a noise parameter."""

    name: ClassVar[str]
    counts: ClassVar[bool]
    """True where y are counts and eta is the logarithm of a share of the library."""
    noisy: ClassVar[bool]
    """Whether there is a noise parameter; where not, whatever is given as noise is not looked at."""

    @abstractmethod
    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        """Negative log likelihood summed over cells, (genes,) for each predictor.

        `log_noise` is (genes,) or broadcasts against (cells, genes); `zero_logit_f` is the zero-inflated's alone.
        """

    @abstractmethod
    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        """Fisher information about eta of one value with mean l exp(eta) = `mean`, entry by entry."""

    @abstractmethod
    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        """Keep the noise parameter in its range."""


class CountLikelihood(Likelihood):
    """Abstract. A likelihood of counts with mean l_c exp(eta_cg), with what its start is fitted by."""

    counts = True

    @abstractmethod
    def score(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Derivative about eta of the negative log likelihood at the start, and its weight in a Newton step."""

    @abstractmethod
    def match(self, y_ng: Tensor, mean_ng: Tensor) -> Tensor:
        """What to add to the predictor so that expected and observed totals are equal, (genes,)."""

    @abstractmethod
    def moments(self, y_ng: Tensor, mean_ng: Tensor) -> tuple[Tensor, Tensor | None]:
        """Noise (its logarithm) and logit of zero inflation, (genes,), by moments about matched expectations."""


@final
class Normal(Likelihood):
    """x_cg ~ Normal(eta_cg, sigma^2) on the standardised scale; the noise is log sigma.

    The floor of sigma keeps an axis from being spent on a single gene (a Heywood case of factor analysis).
    """

    name = "normal"
    counts = False
    noisy = True

    def __init__(self, sigma_floor: float = 0.3) -> None:
        self.sigma_floor = sigma_floor

    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        assert isinstance(y, Tensor)
        log_sigma = self.clamp_noise(log_noise)
        precision = torch.exp(-2.0 * log_sigma)
        if log_sigma.ndim == 1:
            constant_f = len(y) * (log_sigma + 0.5 * log(2 * pi))
            return [0.5 * precision * (y - eta_cf).square().sum(dim=0) + constant_f for eta_cf in etas_cf]
        constant_f = log_sigma.expand(y.shape).sum(dim=0) + 0.5 * len(y) * log(2 * pi)
        return [0.5 * (precision * (y - eta_cf).square()).sum(dim=0) + constant_f for eta_cf in etas_cf]

    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        return torch.exp(-2.0 * self.clamp_noise(log_noise))

    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        return log_noise.clamp(min=log(self.sigma_floor))


@final
class Poisson(CountLikelihood):
    """y_cg ~ Poisson(l_c exp(eta_cg)); no noise parameter."""

    name = "poisson"
    noisy = False

    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        assert isinstance(y, Counts)
        base_f = _sum_by_gene(torch.lgamma(y.value + 1.0), y, etas_cf[0])
        result = []
        for eta_cf in etas_cf:
            log_mean_cf = (eta_cf + log_library_c[:, None]).clamp(max=ETA_MAX)
            seen_f = _sum_by_gene(y.value * _at(log_mean_cf, y), y, eta_cf)
            result.append(torch.exp(log_mean_cf).sum(dim=0) - seen_f + base_f)
        return result

    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        return mean

    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        return log_noise

    def score(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mean - y, mean

    def match(self, y_ng: Tensor, mean_ng: Tensor) -> Tensor:
        return _moments.log_ratio(y_ng, mean_ng)

    def moments(self, y_ng: Tensor, mean_ng: Tensor) -> tuple[Tensor, Tensor | None]:
        return mean_ng.new_zeros(mean_ng.shape[1]), None


@final
class NegativeBinomial(CountLikelihood):
    """y_cg ~ NB(mean l_c exp(eta_cg), inverse dispersion theta); the noise is log theta.

    log p(y) = lgamma(y + theta) - lgamma(theta) - lgamma(y + 1)
               + theta log(theta / (theta + mu)) + y log(mu / (theta + mu)),
    variance mu + mu^2 / theta. At y = 0 only the fourth term is left.
    """

    name = "nb"
    noisy = True

    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        assert isinstance(y, Counts)
        log_theta = self.clamp_noise(log_noise)
        theta = torch.exp(log_theta)
        base_f = _coefficient_by_gene(y, theta, etas_cf[0])
        result = []
        for eta_cf in etas_cf:
            logit_cf = _log_odds(eta_cf, log_library_c, log_theta)
            # y log(mu / (theta + mu)): logit - softplus(logit) at the non-zeros alone
            seen_f = _sum_by_gene(y.value * F.logsigmoid(_at(logit_cf, y)), y, eta_cf)
            softplus_cf = F.softplus(logit_cf)
            zero_f = theta * softplus_cf.sum(dim=0) if theta.ndim == 1 else (theta * softplus_cf).sum(dim=0)
            result.append(zero_f - seen_f - base_f)
        return result

    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        return mean / (1.0 + mean * torch.exp(-self.clamp_noise(log_noise)))

    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        return log_noise.clamp(*LOG_THETA_RANGE)

    def score(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mean - y, mean

    def match(self, y_ng: Tensor, mean_ng: Tensor) -> Tensor:
        return _moments.log_ratio(y_ng, mean_ng)

    def moments(self, y_ng: Tensor, mean_ng: Tensor) -> tuple[Tensor, Tensor | None]:
        return torch.log(_moments.inverse_dispersion(y_ng, mean_ng)), None


@final
class ZeroInflatedNegativeBinomial(CountLikelihood):
    """y_cg ~ pi_g delta_0 + (1 - pi_g) NB(mean l_c exp(eta_cg), inverse dispersion theta); the noise is log theta.

    With a the logit of pi and t = -log NB(0) = theta log((theta + mu) / theta),

        -log p(0) = softplus(-a) - softplus(-a - t),        -log p(y) = softplus(a) - log NB(y) for y > 0.

    The expected count is (1 - pi_g) l_c exp(eta_cg).
    """

    name = "zinb"
    noisy = True

    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        assert isinstance(y, Counts)
        assert zero_logit_f is not None
        log_theta = self.clamp_noise(log_noise)
        theta = torch.exp(log_theta)
        coefficient_n = _log_coefficient(y, _at_counts(theta, y, etas_cf[0]))
        logit_f = zero_logit_f.clamp(*ZERO_LOGIT_RANGE)
        constant_f = len(etas_cf[0]) * F.softplus(-logit_f)
        # At non-zeros softplus(a) stands instead of softplus(-a), which is a more.
        coefficient_n = coefficient_n - logit_f.index_select(0, y.column)
        result = []
        for eta_cf in etas_cf:
            logit_cf = _log_odds(eta_cf, log_library_c, log_theta)
            log_zero_cf = -theta * F.softplus(logit_cf)
            mixed_cf = F.softplus(log_zero_cf - logit_f)
            seen_n = coefficient_n + y.value * F.logsigmoid(_at(logit_cf, y)) + _at(log_zero_cf, y)
            # The sum over all entries is taken back at the non-zeros, where it is bounded by |a|.
            seen_f = _sum_by_gene(seen_n - _at(mixed_cf, y), y, eta_cf)
            result.append(constant_f - mixed_cf.sum(dim=0) - seen_f)
        return result

    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        """(1 - pi) (I_NB - s^2 NB(0) w), with s = mu theta / (theta + mu) and w the share of inflated zeros."""
        assert zero_logit_g is not None
        theta = torch.exp(self.clamp_noise(log_noise))
        zero_logit_g = zero_logit_g.clamp(*ZERO_LOGIT_RANGE)
        log_zero = -theta * torch.log1p(mean / theta)
        inflated = torch.sigmoid(zero_logit_g - log_zero)
        slope = mean / (1.0 + mean / theta)
        return torch.sigmoid(-zero_logit_g) * (slope - slope.square() * torch.exp(log_zero) * inflated)

    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        return log_noise.clamp(*LOG_THETA_RANGE)

    def score(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mean - y, mean

    def match(self, y_ng: Tensor, mean_ng: Tensor) -> Tensor:
        return _moments.log_ratio(y_ng, mean_ng)

    def moments(self, y_ng: Tensor, mean_ng: Tensor) -> tuple[Tensor, Tensor | None]:
        theta_g, share_g = _moments.zero_inflation(y_ng, mean_ng)
        return torch.log(theta_g), torch.logit(share_g)


@final
class Bernoulli(CountLikelihood):
    """y_cg ~ Bernoulli(1 - exp(-l_c exp(eta_cg))), complementary log-log: whether a Poisson count is positive.

    For open and closed chromatin. Values are 0 or 1 (`Counts` holds the ones); no noise parameter.
    """

    name = "bernoulli"
    noisy = False

    def nll(
        self,
        etas_cf: Sequence[Tensor],
        y: Tensor | Counts,
        log_noise: Tensor,
        log_library_c: Tensor,
        zero_logit_f: Tensor | None = None,
    ) -> list[Tensor]:
        assert isinstance(y, Counts)
        where, result = (y.row, y.column), []
        for eta_cf in etas_cf:
            log_mean_cf = (eta_cf + log_library_c[:, None]).clamp(max=ETA_MAX)
            # Set to zero, not taken back from the sum: a mean at an open feature has no bound.
            closed_cf = torch.exp(log_mean_cf).index_put(where, eta_cf.new_zeros(()))
            open_f = _sum_by_gene(log_positive(_at(log_mean_cf, y)), y, eta_cf)
            result.append(closed_cf.sum(dim=0) - open_f)
        return result

    def information(self, mean: Tensor, log_noise: Tensor, zero_logit_g: Tensor | None = None) -> Tensor:
        mean = mean.clamp(min=1e-12)
        return mean.square() / torch.expm1(mean)

    def clamp_noise(self, log_noise: Tensor) -> Tensor:
        return log_noise

    def score(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mean = mean.clamp(1e-12, 60.0)
        return mean - y * mean / -torch.expm1(-mean), mean.square() / torch.expm1(mean)

    def match(self, y_ng: Tensor, mean_ng: Tensor) -> Tensor:
        return _moments.open_shift(y_ng, mean_ng)

    def moments(self, y_ng: Tensor, mean_ng: Tensor) -> tuple[Tensor, Tensor | None]:
        return mean_ng.new_zeros(mean_ng.shape[1]), None


def log_positive(log_mean: Tensor) -> Tensor:
    """log(1 - exp(-m)), the log probability that a Poisson count of mean m is positive, from log m.

    log(-expm1(-m)), or for small m, where m itself may underflow, log m - m/2 + m^2/24.
    """
    small = log_mean < SMALL_LOG_MEAN
    # Each branch sees only its own range, so that the one not taken has a finite gradient.
    small_mean = torch.exp(log_mean.clamp(max=SMALL_LOG_MEAN))
    series = log_mean - 0.5 * small_mean + small_mean.square() / 24.0
    exact = torch.log(-torch.expm1(-torch.exp(log_mean.clamp(min=SMALL_LOG_MEAN))))
    return torch.where(small, series, exact)


def _log_odds(eta_cf: Tensor, log_library_c: Tensor, log_theta: Tensor) -> Tensor:
    """log(mu / theta), whose softplus is log((theta + mu) / theta)."""
    return (eta_cf + log_library_c[:, None]).clamp(max=ETA_MAX) - log_theta


def _log_coefficient(y: Counts, theta_n: Tensor) -> Tensor:
    return torch.lgamma(y.value + theta_n) - torch.lgamma(theta_n) - torch.lgamma(y.value + 1.0)


def _coefficient_by_gene(y: Counts, theta: Tensor, like_cf: Tensor) -> Tensor:
    """Sum of the log coefficients of each gene, (f,).

    lgamma(theta) is worked out once a gene where theta is the gene's. It is taken off entry by entry: for a large theta
    both are large, and sums of either would lose the difference.
    """
    theta_n = _at_counts(theta, y, like_cf)
    lgamma_n = _at_counts(torch.lgamma(theta), y, like_cf) if theta.ndim == 1 else torch.lgamma(theta_n)
    return _sum_by_gene(torch.lgamma(y.value + theta_n) - lgamma_n - torch.lgamma(y.value + 1.0), y, like_cf)


def _at(values_cf: Tensor, y: Counts) -> Tensor:
    """Entries of a block at the non-zeros, (nnz,)."""
    return values_cf.reshape(-1).index_select(0, y.row * values_cf.shape[1] + y.column)


def _at_counts(noise: Tensor, y: Counts, like_cf: Tensor) -> Tensor:
    """The noise at each non-zero, (nnz,)."""
    return noise.index_select(0, y.column) if noise.ndim == 1 else _at(noise.expand(like_cf.shape), y)


def _sum_by_gene(values_n: Tensor, y: Counts, like_cf: Tensor) -> Tensor:
    return values_n.new_zeros(like_cf.shape[1]).index_add(0, y.column, values_n)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    kind.name: kind for kind in (Normal, NegativeBinomial, ZeroInflatedNegativeBinomial, Poisson, Bernoulli)
}


def make_likelihood(name: str, sigma_floor: float) -> Likelihood:
    """The likelihood of that name; the floor of sigma concerns the Normal alone."""
    return Normal(sigma_floor) if name == Normal.name else LIKELIHOODS[name]()
