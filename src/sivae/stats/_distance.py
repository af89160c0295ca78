"""Whether distances between individuals go with a phenotype. Arrays only."""

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
    p_pseudo_f: float
    """Of the pseudo-F: also small where the individuals of one side are more spread out, noise included."""
    z: float
    """Agreement of different individuals alone, over its standard error."""
    p: float
    """Of `z`: of where individuals lie, however noisy each of them is."""
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
    """Regress distances on a phenotype, with p-values by permutation of residuals.

    With G the centered inner products of the distances, H_c the projection on the constant and the covariates, and H_x
    that on what these leave of the phenotype,

        F = tr(H_x G) / (tr((I - H_c - H_x) G) / (s - rank(H_c) - 1)),   R2 = tr(H_x G) / tr(G).

    For Euclidean distances these are sums of squares over the coordinates; for two groups F is that of PERMANOVA. It
    counts an individual's own noise as distance explained, the more the further its phenotype is from the mean: few
    individuals with few cells each are enough to make it large where nothing differs. Hence a second statistic. Noise
    of variance n_s adds n_s + n_t to a squared distance, that is to G, beside what H_c takes off, the diagonal alone.
    Let U = (I - H_c) (G + diag(d)) (I - H_c), with d such that the diagonal of U is 0: whatever the n_s, they are gone
    (without covariates this is the U-centering of Szekely and Rizzo). With x the residual of the phenotype,

        z = sum_{s != t} x_s x_t U_st / sqrt(sum_{s != t} x_s^2 x_t^2 U_st^2),

    large where individuals of like phenotype deviate alike. Divided by its standard error it keeps its level in
    permutations where noise differs between individuals (Chung and Romano). For F the residuals of the distances are
    permuted in rows and columns alike, and the whole model fitted anew (Freedman and Lane); for z those of the
    phenotype, and the covariates taken off again (Dekker, Krackhardt and Snijders), which keeps its level better in
    few individuals. All arrangements are looked at where there are few, as by `associate`; otherwise
    p = (1 + exceedances) / (1 + permutations).

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
    McArdle and Anderson 2001, doi 10.1890/0012-9658(2001)082[0290:FMMTCD]2.0.CO;2. Szekely and Rizzo 2014, doi
    10.1214/14-AOS1255. Chung and Romano 2013, doi 10.1214/13-AOS1090. Freedman and Lane 1983, doi
    10.1080/07350015.1983.10509354. Dekker, Krackhardt and Snijders 2007, doi 10.1007/s11336-007-9016-1.
    """
    value_s: Array = np.asarray(x_s, np.float64)
    basis_sc = basis(value_s, None if covariates_sc is None else np.asarray(covariates_sc, np.float64))
    freedom = len(value_s) - basis_sc.shape[1] - 2
    if freedom < 1:
        raise ValueError(f"{len(value_s)} individuals leave {freedom} degrees of freedom; expected at least 1.")
    design = _Design.of(product_ss, value_s, basis_sc)
    total = float(np.trace(design.residual_ss))
    if total <= TIE * np.abs(product_ss).max(initial=0.0) * len(value_s):
        raise ValueError("Individuals do not differ once the covariates are known; expected distances above 0.")
    as_is = np.arange(len(value_s))[None]
    share, z = float(design.shares(as_is)[0]), float(design.agreement(as_is)[0])
    few = few_orders(value_s, plain=basis_sc.shape[1] == 0)
    n = n_permutations if few is None else len(few)
    exceeded = np.zeros(2, np.intp)
    for order_bs in _blocks(few, len(value_s), n, seed=int(generator.integers(2**63 - 1))):
        exceeded[0] += (design.shares(order_bs) >= share - TIE).sum()
        exceeded[1] += (design.agreement(order_bs) >= z - TIE).sum()
    p = (1 + exceeded) / (1 + n) if few is None else exceeded / n
    pseudo_f = share * freedom / (1 - share) if abs(1 - share) > TIE else float("inf")
    r2 = share * total / float(np.trace(product_ss))
    return DistanceRegression(pseudo_f, r2, float(p[0]), z, float(p[1]), n, few is not None)


@final
@dataclass(frozen=True)
class _Design:
    """Residual products, what is permuted against them, and what a permutation needs to know of it."""

    residual_ss: Array
    """(I - H_c) G (I - H_c)."""
    cross_ss: Array
    """U: the same with a diagonal of 0."""
    x_s: Array
    basis_sc: Array
    """Orthonormal, the constant included."""

    @staticmethod
    def of(product_ss: Array, value_s: Array, basis_sc: Array) -> _Design:
        n = len(value_s)
        basis_sc = np.column_stack([np.full(n, n**-0.5), basis_sc])
        m_ss = np.eye(n) - basis_sc @ basis_sc.T
        left_s = np.asarray(m_ss @ value_s, np.float64)
        left_s = left_s / np.linalg.norm(left_s)
        residual_ss = m_ss @ product_ss @ m_ss
        diagonal_s = np.linalg.lstsq(m_ss**2, -np.diag(residual_ss), rcond=None)[0]
        cross_ss = residual_ss + (m_ss * diagonal_s) @ m_ss
        np.fill_diagonal(cross_ss, 0.0)
        return _Design(residual_ss, cross_ss, left_s, basis_sc)

    def shares(self, order_bs: Orders) -> Array:
        """Share that the phenotype explains of what the covariates leave of permuted residuals, (b,)."""
        explained_b = _forms(self.residual_ss, self.x_s[order_bs])
        left_b = np.trace(self.residual_ss) - sum(
            _forms(self.residual_ss, column_s[order_bs]) for column_s in self.basis_sc.T
        )
        # Distances that no space holds may leave nothing: such an order counts as one that explains all.
        return np.where(left_b > 0, explained_b / np.where(left_b > 0, left_b, 1.0), np.inf)

    def agreement(self, order_bs: Orders) -> Array:
        """The statistic z of permuted residuals of the phenotype, (b,)."""
        x_bs = self.x_s[order_bs]
        x_bs = x_bs - (x_bs @ self.basis_sc) @ self.basis_sc.T
        size_b = np.sqrt(_forms(self.cross_ss**2, x_bs**2))
        return np.where(size_b > 0, _forms(self.cross_ss, x_bs) / np.where(size_b > 0, size_b, 1.0), 0.0)


def _blocks(few: Orders | None, n_individuals: int, n_orders: int, *, seed: int) -> Iterator[Orders]:
    rows = max(1, VALUES // (4 * n_individuals))
    if few is None:
        yield from random_orders(n_individuals, n_orders, seed=seed, rows=rows)
        return
    for start in range(0, n_orders, rows):
        yield few[start : start + rows]


def _forms(residual_ss: Array, vector_bs: Array) -> Array:
    return np.asarray(((vector_bs @ residual_ss) * vector_bs).sum(axis=1), np.float64)
