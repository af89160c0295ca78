"""Association of many genes with one phenotype over individuals: effects, intervals, permutation p-values. Arrays only.

The individual is the unit of evidence, and there are few: p-values come from permutations, all of them where possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from sivae.stats._orders import Orders, few_orders, random_orders
from sivae.stats._reduced import VALUES, Array, Reduced, reduced

STAGES: Final = (999, 9_999)
"""Permutations that every gene gets, and then those with few exceedances."""
ENOUGH: Final = 20
"""Exceedances that settle a p-value."""
TIE: Final = 1e-9
"""Correlations this close are equal."""
PERFECT: Final = 1e-14
"""A fit that leaves no larger share of the variance is perfect: only rounding errors are left."""
LEVEL: Final = 0.95


@final
@dataclass(frozen=True)
class Association:
    """What is known of each gene and one phenotype, all (g,) but `exact`."""

    effect_g: Array
    """Change of the gene per unit of the phenotype, given the covariates; of ranks, where these were asked for."""
    se_g: Array
    low_g: Array
    """Lower end of the 95 % interval, by t on the residual degrees of freedom."""
    high_g: Array
    t_g: Array
    rho_g: Array
    """Partial correlation with the phenotype given the covariates, signed."""
    p_g: Array
    """Two-sided, by permutation."""
    n_permutations_g: NDArray[np.int64]
    exact: bool
    """Whether all arrangements were looked at."""


def p_of_both(fit: Association, freedom: int) -> Array:
    """The larger of the p of permutations and that of t, (g,): each holds its level where the other may not.

    Permutations take individuals as alike; where noise goes with the phenotype, because cells do, weights mend the
    statistic but not that. t takes noise as normal, and its variance as the weights say.
    """
    return np.asarray(np.maximum(fit.p_g, 2 * student.sf(np.abs(fit.t_g), freedom)), np.float64)


def associate(
    y_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    *,
    covariates_sc: NDArray[np.floating] | None = None,
    weights_sg: NDArray[np.floating] | None = None,
    ranks: bool = False,
    n_permutations: int = 100_000,
    generator: np.random.Generator,
) -> Association:
    """Associate each gene with a phenotype by (weighted) least squares, with p-values by permutation.

    y_sg = a_g + x_s effect_g + covariates_s . b_g + noise, where the noise has variance 1 / weights_sg times a constant
    of the gene. The residuals of the model without x are permuted over individuals (Freedman and Lane), each together
    with its weight, and the absolute t of the full model is compared. Permuting whitened residuals instead, each under
    the weight of another individual, needs the weights to be right: where they say nothing of the noise, 9 % of nulls
    had p below 0.05 that way, and 5 % have it this way.

    Without covariates all distinct arrangements of x are looked at where there are at most 20,000; with covariates, all
    orders of at most 7 individuals: p is then the share of them, the observed one included, whose t is as large.
    Otherwise p = (1 + exceedances) / (1 + permutations), from 999 permutations; from 9,999 others for a gene
    with fewer than 20 exceedances in these; and from `n_permutations` others for one with fewer than 20 in those. A
    gene that goes on had p at most 0.02, so that the p of the last stage is valid at every level. The permutations are
    the same for all genes, and what is found of a gene does not depend on the others.

    Parameters
    ----------
    y_sg
        Values, individuals x genes, all finite.
    x_s
        Phenotype.
    covariates_sc
        Individuals x covariates; they may depend on each other.
    weights_sg
        Precision of each value, positive, known up to a constant for each gene.
    ranks
        Replace genes, phenotype and covariates by their ranks (ties by their mean) first: partial Spearman correlation.
        Lines on ranks do not take off all that a covariate does: where it goes with the phenotype and moves the gene
        much, p is somewhat too small (5.8 % below 0.05 in the tests' worst null).
    n_permutations
        At most.
    generator
        Of the permutations.

    Returns
    -------
    Association. A gene that the covariates leave nothing of has effect 0 and p 1.

    Raises
    ------
    ValueError
        If values are not finite, shapes do not match, weights are not positive, the phenotype is constant or follows
        from the covariates, or no degree of freedom is left.

    References
    ----------
    Freedman and Lane 1983, doi 10.1080/07350015.1983.10509354. Winkler et al. 2014, who compare such schemes, doi
    10.1016/j.neuroimage.2014.01.060. Phipson and Smyth 2010, p-values that are never zero, doi 10.2202/1544-6115.1585.
    """
    parts, x_s, plain = _parts(y_sg, x_s, covariates_sc, weights_sg=weights_sg, ranks=ranks)
    few = few_orders(x_s, plain=plain)
    seeds = [int(seed) for seed in generator.integers(2**63 - 1, size=len(STAGES) + 1)]
    results = []
    for part in parts:
        if few is None:
            p_g, n_g = _adaptive(part, n_permutations, seeds)
        else:
            p_g, n_g = _share(part, few), np.full(part.y_sg.shape[1], len(few))
        results.append(_association(part, p_g, n_g, exact=few is not None))
    joined = {
        field.name: np.concatenate([getattr(result, field.name) for result in results])
        for field in fields(Association)
        if field.name != "exact"
    }
    return Association(**joined, exact=few is not None)


def permuted_t(
    y_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    *,
    covariates_sc: NDArray[np.floating] | None = None,
    weights_sg: NDArray[np.floating] | None = None,
    ranks: bool = False,
    n_permutations: int = 1000,
    generator: np.random.Generator,
) -> tuple[Array, Array]:
    """Observed t of each gene, (g,), and its t in each of many permutations, (b, g), the same ones for all genes.

    The test and its arguments are those of `associate`; that genes move together is kept, as tests of sets of genes
    need. The permutations are random ones, the observed order is not among them on purpose.

    Raises
    ------
    ValueError
        As `associate`.
    """
    parts, x_s, _ = _parts(y_sg, x_s, covariates_sc, weights_sg=weights_sg, ranks=ranks)
    seed = int(generator.integers(2**63 - 1))
    observed, drawn = [], []
    for part in parts:
        orders = random_orders(len(x_s), n_permutations, seed=seed, rows=_rows(part))
        observed.append(_t(part.correlation(), part.freedom))
        drawn.append(np.concatenate([_t(part.permuted(order_bs), part.freedom) for order_bs in orders]))
    return np.concatenate(observed), np.concatenate(drawn, axis=1)


def _parts(
    y_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    covariates_sc: NDArray[np.floating] | None,
    *,
    weights_sg: NDArray[np.floating] | None,
    ranks: bool,
) -> tuple[Iterator[Reduced], Array, bool]:
    """Genes in blocks, reduced one after the other; the phenotype; and whether there are no covariates."""
    values_sg, numbers_s, known_sc, precision_sg = checked(y_sg, x_s, covariates_sc, weights_sg=weights_sg)
    if ranks:
        values_sg, numbers_s = rankdata(values_sg, axis=0), rankdata(numbers_s)
        known_sc = None if known_sc is None else rankdata(known_sc, axis=0)
    step = max(1, VALUES // (len(numbers_s) * (3 + (0 if known_sc is None else known_sc.shape[1]))))

    def parts() -> Iterator[Reduced]:
        for start in range(0, max(values_sg.shape[1], 1), step):
            block = slice(start, start + step)
            weights = None if precision_sg is None else precision_sg[:, block]
            yield reduced(values_sg[:, block], numbers_s, known_sc, weights_sg=weights)

    return parts(), numbers_s, known_sc is None


def checked(
    y_sg: NDArray[np.floating],
    x_s: NDArray[np.floating],
    covariates_sc: NDArray[np.floating] | None,
    *,
    weights_sg: NDArray[np.floating] | None,
) -> tuple[Array, Array, Array | None, Array | None]:
    """All of them as float64, in this order; covariates without columns are None.

    Raises
    ------
    ValueError
        If values are not finite, shapes do not match, or weights are not positive, naming the argument.
    """
    given = {"y_sg": y_sg, "x_s": x_s, "covariates_sc": covariates_sc, "weights_sg": weights_sg}
    arrays = {name: np.asarray(values, np.float64) for name, values in given.items() if values is not None}
    n = arrays["x_s"].shape[0] if arrays["x_s"].ndim else 0
    for name, values in arrays.items():
        if values.ndim != (1 if name == "x_s" else 2) or len(values) != n:
            raise ValueError(f"{name} has the shape {values.shape}; expected one row for each of {n} individuals.")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite; leave out these individuals or genes first.")
    weights = arrays.get("weights_sg")
    if weights is not None and (weights.shape != arrays["y_sg"].shape or (weights <= 0).any()):
        raise ValueError(f"weights_sg has the shape {weights.shape}; expected positive weights, one for each value.")
    covariates = arrays.get("covariates_sc")
    covariates = None if covariates is None or covariates.shape[1] == 0 else covariates
    return arrays["y_sg"], arrays["x_s"], covariates, weights


def _association(part: Reduced, p_g: Array, n_g: NDArray[np.int64], *, exact: bool) -> Association:
    rho_g = part.correlation()
    x_g, y_g = (part.x_sg**2).sum(axis=0), (part.y_sg**2).sum(axis=0)
    t_g = _t(rho_g, part.freedom)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect_g = np.where(x_g > 0, (part.x_sg * part.y_sg).sum(axis=0) / x_g, 0.0)
        se_g = np.where(x_g > 0, np.sqrt((1 - rho_g**2) * y_g / part.freedom / x_g), np.nan)
    se_g = np.where(np.isinf(t_g), 0.0, se_g)
    reach_g = se_g * student.ppf((1 + LEVEL) / 2, part.freedom)
    p_g = np.where(y_g > 0, p_g, 1.0)
    return Association(effect_g, se_g, effect_g - reach_g, effect_g + reach_g, t_g, rho_g, p_g, n_g, exact)


def _t(rho: Array, freedom: int) -> Array:
    """The t of a partial correlation; infinite for a perfect fit."""
    left = 1 - rho**2
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(left < PERFECT, np.copysign(np.inf, rho), rho * np.sqrt(freedom / left)))


def _adaptive(part: Reduced, n_permutations: int, seeds: list[int]) -> tuple[Array, NDArray[np.int64]]:
    """p-values and how many permutations each comes from; only genes with few exceedances go on."""
    n_genes = part.y_sg.shape[1]
    rho_g, p_g, n_g = part.correlation(), np.ones(n_genes), np.zeros(n_genes, np.int64)
    active = np.arange(n_genes)
    stages = [n for n in STAGES if n < n_permutations] + [n_permutations]
    for n_orders, seed in zip(stages, seeds, strict=False):
        left = part.genes(active)
        orders = random_orders(len(part.y_sg), n_orders, seed=seed, rows=_rows(left))
        exceedances_g = _exceedances(left.permuted, rho_g[active], orders)
        p_g[active], n_g[active] = (1 + exceedances_g) / (1 + n_orders), n_orders
        active = active[exceedances_g < ENOUGH]
        if not len(active):
            break
    return p_g, n_g


def _share(part: Reduced, few: Orders) -> Array:
    rows = _rows(part)
    orders = (few[start : start + rows] for start in range(0, len(few), rows))
    return _exceedances(part.permuted, part.correlation(), orders) / len(few)


def _exceedances(permuted: Callable[[Orders], Array], rho_g: Array, orders: Iterator[Orders]) -> NDArray[np.int64]:
    count_g = np.zeros(len(rho_g), np.int64)
    for order_bs in orders:
        count_g += np.count_nonzero(np.abs(permuted(order_bs)) >= np.abs(rho_g) - TIE, axis=0)
    return count_g


def _rows(part: Reduced) -> int:
    """Orders at a time."""
    n_columns = part.design_sc.shape[1] + 1
    width = 1 if part.weights_sg is None else n_columns * n_columns
    return int(max(1, VALUES // (max(part.y_sg.shape) * width)))
