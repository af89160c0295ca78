"""Power to find genes that change with a phenotype: planted changes, the test, individuals simulated. Arrays only.

Axis letters: s individuals, g genes, r repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, chi2, norm

from sivae.stats._fdr import adjust
from sivae.stats._given import given
from sivae.stats._precision import precision_weights

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST: Final = 4
"""Individuals without whom a gene is not tested, nor its variance known."""
NOMINAL: Final = 0.05
LEVEL: Final = 0.95
RESAMPLES: Final = 2000


@final
@dataclass(frozen=True)
class Components:
    """Where the values of a gene come from: its mean, individuals, and the cells of an individual."""

    mean_g: Array
    between_g: Array
    """Variance between individuals."""
    noise_sg: Array
    """Squared standard error of each individual, if it had one cell."""

    def simulate(
        self, n_individuals: int, n_cells: int, *, scale: float = 1.0, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Values of new individuals, (s, g), and their standard errors.

        Normal, independent between genes; a new individual is as noisy as one drawn with replacement of those at hand::

            y_sg ~ N(mean_g, between_g + scale noise_dg / n_cells),    d drawn for s

        `scale` is what `error_scale` found at as many cells.
        """
        drawn_s = generator.integers(len(self.noise_sg), size=n_individuals)
        error_sg = self.noise_sg[drawn_s] / n_cells
        normal_sg = generator.standard_normal(error_sg.shape)
        return self.mean_g + np.sqrt(self.between_g + scale * error_sg) * normal_sg, np.sqrt(error_sg)


def components(
    y_sg: NDArray[np.floating],
    se_sg: NDArray[np.floating],
    cells_s: NDArray[np.integer],
    *,
    scale: float = 1.0,
) -> Components:
    """Mean, variance between individuals and noise of one cell of each gene, by the method of moments.

    The variance between individuals is that of the values (`own_variance`) less `scale` times the mean squared standard
    error: rough for one gene, so it is drawn towards the same share of the squared mean in all genes, by how much genes
    differ beyond chance (empirical Bayes), and at least 0. Squared standard errors go as 1 / cells. Genes with values
    of fewer than 4 individuals are NaN; an individual without a value has the gene's mean noise.
    Source: DerSimonian and Laird 1986 (doi 10.1016/0197-2456(86)90046-2), unweighted.

    Parameters
    ----------
    y_sg, se_sg
        Values and their standard errors, individuals x genes; NaN where there are none.
    cells_s
        Cells of each individual.
    scale
        Variance from an individual's cells per squared standard error, of `error_scale`.
    """
    known_sg = np.isfinite(y_sg) & np.isfinite(se_sg)
    count_g = known_sg.sum(axis=0)
    enough_g = count_g >= FEWEST
    n_g = np.where(enough_g, count_g, FEWEST)
    error_sg = np.where(known_sg, se_sg, 0.0) ** 2
    mean_g = np.where(known_sg, y_sg, 0.0).sum(axis=0) / n_g
    within_g = scale * error_sg.sum(axis=0) / n_g
    between_g = np.full(len(n_g), np.nan)
    own_g = own_variance(np.where(known_sg, y_sg, np.nan))
    parts = (values_g[enough_g] for values_g in (own_g, within_g, mean_g, n_g))
    between_g[enough_g] = _drawn_together(*parts)
    one_sg = error_sg * np.asarray(cells_s)[:, None]
    noise_sg = np.where(known_sg, one_sg, one_sg.sum(axis=0) / n_g)
    return Components(np.where(enough_g, mean_g, np.nan), between_g, np.where(enough_g, noise_sg, np.nan))


def _drawn_together(own_g: Array, within_g: Array, mean_g: Array, n_g: NDArray[np.integer]) -> Array:
    """Variances between individuals, each drawn towards a common share of the squared mean; medians over genes."""
    square_g = np.maximum(mean_g**2, np.finfo(float).tiny)
    middle_g = own_g * (n_g - 1) / chi2.median(n_g - 1) - within_g
    typical_g = max(float(np.median(middle_g / square_g)), 0.0) * square_g if len(own_g) else own_g
    rough_g = own_g - within_g
    chance_g = np.sqrt(2 / (n_g - 1)) * np.maximum(typical_g + within_g, np.finfo(float).tiny)
    apart = float(np.median(np.abs(rough_g - typical_g) / chance_g)) if len(own_g) else 0.0
    kept = max(0.0, 1 - (norm.ppf(0.75) / apart) ** 2) if apart > 0 else 0.0
    return np.asarray(np.maximum(typical_g + kept * (rough_g - typical_g), 0.0))


def own_variance(y_sg: NDArray[np.floating]) -> Array:
    """Variance of an individual's own value, (g,), from values that are taken along the mean of the n - 1 others.

    What is an individual's own is in the others' mean with 1 / (n - 1) and less is left of it in their differences: the
    sample variance is the own one times ((n - 2) / (n - 1))^2. NaN for fewer than 4 values.
    """
    known_sg = np.isfinite(y_sg)
    count_g = known_sg.sum(axis=0)
    n_g = np.maximum(count_g, FEWEST)
    mean_g = np.where(known_sg, y_sg, 0.0).sum(axis=0) / n_g
    variance_g = (np.where(known_sg, y_sg - mean_g, 0.0) ** 2).sum(axis=0) / (n_g - 1)
    return np.where(count_g >= FEWEST, variance_g * ((n_g - 1) / (n_g - 2)) ** 2, np.nan)


def error_scale(
    first_sg: NDArray[np.floating], second_sg: NDArray[np.floating], expected_g: NDArray[np.floating]
) -> float:
    """Variance from an individual's cells per squared standard error, one number for all genes.

    From two readings of the same individuals by different cells: half the own variance of their difference, each in
    units of the gene's mean, over what the squared standard errors (in these units) let expect. The median over genes,
    made unbiased for normal values, because few cells leave wild values of a few genes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first_sg, second_sg = first_sg / first_sg.mean(axis=0), second_sg / second_sg.mean(axis=0)
        ratio_g = own_variance(np.asarray(first_sg - second_sg)) / 2 / expected_g
    ratio_g = ratio_g[np.isfinite(ratio_g)]
    freedom = len(first_sg) - 1
    return float(np.median(ratio_g) * freedom / chi2.median(freedom)) if len(ratio_g) else 1.0


def tested(y_sg: NDArray[np.floating], se_sg: NDArray[np.floating], x_s: NDArray[np.floating]) -> Array:
    """p-values of `associate` without covariates, by t in place of permutations, (g,).

    Regression with precision weights. A gene is tested in the individuals that have a value of it; NaN where these are
    fewer than 4, or alike in x.
    """
    known_sg = np.isfinite(y_sg)
    p_g = np.full(y_sg.shape[1], np.nan)
    patterns, which_g = np.unique(known_sg.T, axis=0, return_inverse=True)
    for i, known_s in enumerate(patterns):
        if known_s.sum() < FEWEST or np.ptp(x_s[known_s]) == 0:
            continue
        genes = np.flatnonzero(which_g.ravel() == i)
        y, se, x = y_sg[known_s][:, genes], se_sg[known_s][:, genes], x_s[known_s]
        none = np.empty((len(x), 1, 0))
        p_g[genes] = given(y, x, none, weights_sg=precision_weights(y, se, x)).p_g
    return p_g


def counted(p_g: NDArray[np.floating], planted_g: Mask, *, fdr: float) -> NDArray[np.int64]:
    """Planted genes that are called, planted genes, others with p < 0.05, others that were tested, (4,).

    Planted genes that could not be tested count as not found.
    """
    called_g = np.isfinite(p_g) & (adjust(p_g) <= fdr)
    other_g = ~planted_g & np.isfinite(p_g)
    return np.array(
        [(called_g & planted_g).sum(), planted_g.sum(), (p_g[other_g] < NOMINAL).sum(), other_g.sum()], np.int64
    )


def share_interval(
    called_r: NDArray[np.integer], planted_r: NDArray[np.integer], *, generator: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of a share that was counted over repeats.

    Percentiles of the share over resampled repeats, because genes of one repeat go together; at least as wide as the
    binomial one (Jeffreys), because repeats that all agree say nothing of the next.
    """
    chosen = generator.integers(len(called_r), size=(RESAMPLES, len(called_r)))
    share_b = called_r[chosen].sum(axis=1) / planted_r[chosen].sum(axis=1)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.quantile(share_b, tails)
    called, planted = int(called_r.sum()), int(planted_r.sum())
    least, most = beta.ppf(tails, called + 0.5, planted - called + 0.5)
    return (0.0 if called == 0 else float(min(low, least))), (1.0 if called == planted else float(max(high, most)))
