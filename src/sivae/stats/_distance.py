"""Does a distance between individuals go with a phenotype? Arrays only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from sivae.stats._orders import Orders, few_orders, random_orders
from sivae.stats._reduced import VALUES, basis

Array = NDArray[np.float64]

TIE: Final = 1e-9
"""Shares this close are equal."""


@final
@dataclass(frozen=True)
class DistanceRegression:
    """What a phenotype explains of the squared distances between individuals."""

    pseudo_f: float
    r2: float
    """Share of all squared distance that the phenotype explains beside the covariates."""
    p: float
    n_permutations: int
    exact: bool
    """Whether all arrangements were looked at."""


def distance_regression(
    product_ss: Array,
    x_s: NDArray[np.floating],
    *,
    covariates_sc: NDArray[np.floating] | None = None,
    n_permutations: int = 9999,
    generator: np.random.Generator,
) -> DistanceRegression:
    """Regress distances on a phenotype, with a p-value by permutation of residuals.

    With G the centered inner products of the distances, H_c the projection on the constant and the covariates, and H_x
    that on what these leave of the phenotype,

        F = tr(H_x G) / (tr((I - H_c - H_x) G) / (s - rank(H_c) - 1)),   R2 = tr(H_x G) / tr(G).

    For Euclidean distances these are sums of squares over the coordinates. R = (I - H_c) G (I - H_c), the products of
    the residuals, is permuted in rows and columns alike and the whole model fitted anew to it (Freedman and Lane). All
    arrangements are looked at where there are few, as by `associate`; otherwise p = (1 + exceedances) /
    (1 + permutations). For two groups F is that of PERMANOVA, which also sees a group that is more spread out.

    Parameters
    ----------
    product_ss
        Centered inner products, as of `graph._graph_kernels.centered_products`; eigenvalues below 0 are allowed.
    x_s
        Phenotype.
    covariates_sc
        Individuals x covariates; they may depend on each other.
    n_permutations
        Where not all arrangements are looked at.
    generator
        Of the permutations.

    Raises
    ------
    ValueError
        If the phenotype is constant or follows from the covariates, no degree of freedom is left, or all distances
        are 0 once the covariates are known.

    References
    ----------
    McArdle and Anderson 2001, doi 10.1890/0012-9658(2001)082[0290:FMMTCD]2.0.CO;2. Freedman and Lane 1983, doi
    10.1080/07350015.1983.10509354.
    """
    value_s: Array = np.asarray(x_s, np.float64)
    basis_sc = basis(value_s, None if covariates_sc is None else np.asarray(covariates_sc, np.float64))
    freedom = len(value_s) - basis_sc.shape[1] - 2
    if freedom < 1:
        raise ValueError(f"{len(value_s)} individuals leave {freedom} degrees of freedom; expected at least 1.")
    residual_ss = product_ss - basis_sc @ (basis_sc.T @ product_ss)
    residual_ss = residual_ss - (residual_ss @ basis_sc) @ basis_sc.T
    total = float(np.trace(residual_ss))
    if total <= TIE * np.abs(product_ss).max(initial=0.0) * len(value_s):
        raise ValueError("Individuals do not differ once the covariates are known; expected distances above 0.")
    left_s = value_s - value_s.mean()
    left_s = left_s - basis_sc @ (basis_sc.T @ left_s)
    design_sc = np.column_stack([left_s / np.linalg.norm(left_s), basis_sc])
    share = float(_shares(residual_ss, design_sc, np.arange(len(value_s))[None])[0])
    few = few_orders(value_s, plain=basis_sc.shape[1] == 0)
    n = n_permutations if few is None else len(few)
    seed = int(generator.integers(2**63 - 1))
    exceedances = sum(
        int((_shares(residual_ss, design_sc, order_bs) >= share - TIE).sum())
        for order_bs in _blocks(few, len(value_s), n, seed=seed)
    )
    p = (1 + exceedances) / (1 + n) if few is None else exceedances / n
    pseudo_f = share * freedom / (1 - share) if abs(1 - share) > TIE else float("inf")
    return DistanceRegression(pseudo_f, share * total / float(np.trace(product_ss)), p, n, few is not None)


def _blocks(few: Orders | None, n_individuals: int, n_orders: int, *, seed: int) -> Iterator[Orders]:
    rows = max(1, VALUES // n_individuals)
    if few is None:
        yield from random_orders(n_individuals, n_orders, seed=seed, rows=rows)
        return
    for start in range(0, n_orders, rows):
        yield few[start : start + rows]


def _shares(residual_ss: Array, design_sc: Array, order_bs: Orders) -> Array:
    """Share that the phenotype explains of what the covariates leave of permuted residuals, (b,); F grows with it."""
    product_bc = np.column_stack([_forms(residual_ss, column_s[order_bs]) for column_s in design_sc.T])
    left_b = np.trace(residual_ss) - product_bc[:, 1:].sum(axis=1)
    # Distances that no space holds may leave nothing: such an order counts as one that explains all.
    return np.where(left_b > 0, product_bc[:, 0] / np.where(left_b > 0, left_b, 1.0), np.inf)


def _forms(residual_ss: Array, vector_bs: Array) -> Array:
    return np.asarray(((vector_bs @ residual_ss) * vector_bs).sum(axis=1), np.float64)
