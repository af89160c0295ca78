"""Weights from standard errors, when individuals also differ for other reasons. Arrays only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sivae.stats._reduced import Array, basis

MOST: Final = 4.0
"""No weight of a gene is more than this many times its median: no individual decides alone."""
LEAST_SHARE: Final = 0.1
"""The variance between individuals is taken for at least this share of the mean squared standard error."""


def precision_weights(
    y_sg: NDArray[np.floating],
    se_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    covariates_sc: NDArray[np.floating] | None = None,
) -> Array:
    """Precision of each individual's value of each gene, 1 / (tau_g^2 + se_sg^2), (s, g), with mean 1 for each gene.

    tau_g^2 is the variance between individuals beside what phenotype and covariates explain, by the method of moments
    on the residuals e of the unweighted fit with hat matrix H,

        E sum_s e_s^2 = sum_s (1 - H_ss) (tau^2 + se_s^2)

    at least a tenth of the mean of se_sg^2, because with few individuals it comes out as 0 by chance, and weights would
    then be as unequal as can be. A weight is at most 4 times the median of its gene. A standard error that is not
    finite is taken for the gene's median; a gene without any has equal weights.
    Source: DerSimonian and Laird 1986 (doi 10.1016/0197-2456(86)90046-2); with predictors, Thompson and Sharp 1999
    (doi 10.1002/(SICI)1097-0258(19991030)18:20<2693::AID-SIM235>3.0.CO;2-V).

    Parameters
    ----------
    y_sg, se_sg
        Values and their standard errors, individuals x genes.
    x_s, covariates_sc
        Phenotype and covariates.
    """
    known_sc = None if covariates_sc is None else np.asarray(covariates_sc, np.float64)
    design_sc = np.column_stack([np.ones(len(x_s)), x_s, basis(np.asarray(x_s, np.float64), known_sc)])
    q_sc = np.linalg.qr(design_sc)[0]
    residual_sg = y_sg - q_sc @ (q_sc.T @ y_sg)
    noise_sg = _filled(np.asarray(se_sg, np.float64)) ** 2
    left_s = 1 - (q_sc**2).sum(axis=1)
    between_g = ((residual_sg**2).sum(axis=0) - left_s @ noise_sg) / left_s.sum()
    variance_sg = np.maximum(between_g, LEAST_SHARE * noise_sg.mean(axis=0)) + noise_sg
    known_g = (variance_sg > 0).all(axis=0)
    weights_sg = 1 / np.where(known_g, variance_sg, 1.0)
    weights_sg = np.minimum(weights_sg, MOST * np.median(weights_sg, axis=0))
    return np.asarray(weights_sg / weights_sg.mean(axis=0), np.float64)


def _filled(se_sg: Array) -> Array:
    """Standard errors that are not finite replaced by the median of the gene's, or 0 where there are none."""
    finite_sg = np.isfinite(se_sg)
    median_g = np.zeros(se_sg.shape[1])
    some_g = finite_sg.any(axis=0)
    median_g[some_g] = np.nanmedian(np.where(finite_sg, se_sg, np.nan)[:, some_g], axis=0)
    return np.where(finite_sg, se_sg, median_g)
