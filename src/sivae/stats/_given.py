"""An association once something else is known that differs from gene to gene. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as fisher
from scipy.stats import t as student

from sivae.stats._association import checked
from sivae.stats._reduced import Array, reduced, without_rounding


@final
@dataclass(frozen=True)
class Given:
    """A phenotype's effect on genes given controls, all (g,); NaN where no degree of freedom is left."""

    effect_g: Array
    p_g: Array
    """Of the effect, by t."""
    control_p_g: Array
    """That the controls go with the phenotype, by F; 1 where they say nothing beside the covariates."""


def given(
    y_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    control_sgm: NDArray[np.floating],
    *,
    covariates_sc: NDArray[np.floating] | None = None,
    weights_sg: NDArray[np.floating] | None = None,
) -> Given:
    """Effect of the phenotype on each gene with controls of the gene's own among the covariates.

    By t and not by permutation, because every gene has its own design. A control that says nothing beside the
    covariates costs no degree of freedom. Where phenotype and control cannot be told apart the effect is 0 and p is 1.

    Parameters
    ----------
    y_sg, x_s, covariates_sc, weights_sg
        As of `associate`.
    control_sgm
        Individuals x genes x controls; a second axis of 1 where they are the same for all genes.

    Raises
    ------
    ValueError
        As `associate`.
    """
    y_sg, x_s, covariates_sc, weights_sg = checked(y_sg, x_s, covariates_sc, weights_sg=weights_sg)
    plain = reduced(y_sg, x_s, covariates_sc, weights_sg=weights_sg)
    left_sg, left_x_sg = plain.y_sg, np.broadcast_to(plain.x_sg, y_sg.shape)
    freedom_g = np.full(y_sg.shape[1], plain.freedom)
    units: list[Array] = []
    for control_sg in np.moveaxis(np.asarray(control_sgm, np.float64), 2, 0):
        whole_sg = np.broadcast_to(control_sg, y_sg.shape)
        unit_sg = reduced(whole_sg, x_s, covariates_sc, weights_sg=weights_sg).y_sg
        for other_sg in units:
            unit_sg = without_rounding(_beside(unit_sg, other_sg), whole_sg)
        length_g = np.linalg.norm(unit_sg, axis=0)
        unit_sg = unit_sg / np.where(length_g > 0, length_g, 1.0)
        units.append(unit_sg)
        freedom_g = freedom_g - (length_g > 0)
        left_sg = without_rounding(_beside(left_sg, unit_sg), y_sg)
        left_x_sg = without_rounding(_beside(left_x_sg, unit_sg), plain.x_sg)
    effect_g, p_g = _tested(left_sg, left_x_sg, freedom_g)
    before_g, after_g = np.broadcast_to((plain.x_sg**2).sum(axis=0), effect_g.shape), (left_x_sg**2).sum(axis=0)
    control_p_g = _joint(before_g, after_g, taken_g=plain.freedom - freedom_g, left_g=freedom_g + 1)
    return Given(effect_g, p_g, np.where(freedom_g > 0, control_p_g, np.nan))


def _beside(values_sg: Array, unit_sg: Array) -> Array:
    return np.asarray(values_sg - unit_sg * (unit_sg * values_sg).sum(axis=0), np.float64)


def _tested(y_sg: Array, x_sg: Array, freedom_g: NDArray[np.int64]) -> tuple[Array, Array]:
    x_g, product_g = (x_sg**2).sum(axis=0), (x_sg * y_sg).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect_g = np.where(x_g > 0, product_g / x_g, 0.0)
        variance_g = np.maximum((y_sg**2).sum(axis=0) - effect_g * product_g, 0.0) / freedom_g
        t_g = np.where(effect_g == 0, 0.0, effect_g / np.sqrt(variance_g / x_g))
    possible_g = freedom_g > 0
    p_g = 2 * student.sf(np.abs(t_g), np.maximum(freedom_g, 1))
    return np.where(possible_g, effect_g, np.nan), np.where(possible_g, p_g, np.nan)


def _joint(before_g: Array, after_g: Array, *, taken_g: NDArray[np.int64], left_g: NDArray[np.int64]) -> Array:
    """P-value by F that columns took a sum of squares from one value to another; 1 where there were none."""
    none_g = taken_g == 0
    with np.errstate(divide="ignore"):
        ratio_g = (before_g - after_g) / np.where(none_g, 1, taken_g) / (after_g / np.maximum(left_g, 1))
    return np.where(none_g, 1.0, fisher.sf(ratio_g, np.where(none_g, 1, taken_g), np.maximum(left_g, 1)))
