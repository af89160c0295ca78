"""What phenotype and covariates leave of genes, whitened by weights: one form for every linear test. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOTHING: Final = 1e-12
"""A column whose length falls below this share of what it was holds rounding errors alone."""
VALUES: Final = 2**22
"""Values held at a time."""


@final
@dataclass(frozen=True)
class Reduced:
    """Genes and phenotype less what the covariates say of them, individuals x genes.

    With weights, rows are multiplied by their roots. Without them one residual of the phenotype serves all genes (a
    last axis of 1).
    """

    y_sg: Array
    x_sg: Array
    design_sc: Array
    """A constant, an orthonormal basis of the centered covariates, and the centered phenotype."""
    weights_sg: Array | None
    freedom: int
    """Degrees of freedom left once the phenotype is fitted too."""

    def genes(self, chosen_g: NDArray[np.intp]) -> Reduced:
        """Some of the genes."""
        if self.weights_sg is None:
            return replace(self, y_sg=self.y_sg[:, chosen_g])
        parts = self.y_sg[:, chosen_g], self.x_sg[:, chosen_g], self.design_sc, self.weights_sg[:, chosen_g]
        return Reduced(*parts, self.freedom)

    def correlation(self) -> Array:
        """Partial correlation of each gene with the phenotype, (g,); 0 where nothing is left of the gene."""
        product_g = (self.x_sg * self.y_sg).sum(axis=0)
        return _ratio(product_g, (self.x_sg**2).sum(axis=0) * (self.y_sg**2).sum(axis=0))

    def permuted(self, order_bs: NDArray[np.intp]) -> Array:
        """Partial correlations of the permuted residuals with the phenotype, (b, g).

        The full model is fitted anew to the residuals of the reduced one in each order: what the covariates take off
        the permuted residuals is theirs. A residual takes its weight along: without covariates this is right whatever
        the weights, as long as individuals are alike under the null.
        Source: Freedman and Lane 1983, J. Bus. Econ. Stat. 1:292 (doi 10.1080/07350015.1983.10509354).
        """
        return self._same_design(order_bs) if self.weights_sg is None else self._own_weights(order_bs)

    def _same_design(self, order_bs: NDArray[np.intp]) -> Array:
        total_g = (self.y_sg**2).sum(axis=0)
        product_bg = self.x_sg[:, 0][order_bs] @ self.y_sg
        taken_bg = np.zeros_like(product_bg)
        for column_s in self.design_sc[:, 1:-1].T:
            taken_bg += (column_s[order_bs] @ self.y_sg) ** 2
        return _ratio(product_bg, (self.x_sg**2).sum() * np.maximum(total_g - taken_bg, 0.0))

    def _own_weights(self, order_bs: NDArray[np.intp]) -> Array:
        """By elimination in the weighted cross products of constant, covariates, phenotype and gene, in this order."""
        assert self.weights_sg is not None
        right_sg = self.y_sg * np.sqrt(self.weights_sg)  # weight times residual
        column_bs = [column_s[order_bs] for column_s in self.design_sc.T]
        n_columns = len(column_bs)
        shape = len(order_bs), self.y_sg.shape[1]
        cross = {
            (i, j): (column_bs[i] * column_bs[j]) @ self.weights_sg
            for i in range(n_columns)
            for j in range(i, n_columns)
        }
        cross |= {(i, n_columns): column_bs[i] @ right_sg for i in range(n_columns)}
        cross[n_columns, n_columns] = np.broadcast_to((self.y_sg**2).sum(axis=0), shape).copy()
        for k in range(n_columns - 1):
            for i in range(k + 1, n_columns + 1):
                factor_bg = cross[k, i] / cross[k, k]
                for j in range(i, n_columns + 1):
                    cross[i, j] -= factor_bg * cross[k, j]
        x_bg, y_bg = cross[n_columns - 1, n_columns - 1], cross[n_columns, n_columns]
        return _ratio(cross[n_columns - 1, n_columns], np.maximum(x_bg, 0.0) * np.maximum(y_bg, 0.0))


def _ratio(product: Array, squares: Array) -> Array:
    """Correlation from an inner product and the product of the two squared lengths; 0 where one has no length."""
    size = np.sqrt(squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(size > 0, product / size, 0.0), -1.0, 1.0)


def reduced(y_sg: Array, x_s: Array, covariates_sc: Array | None = None, *, weights_sg: Array | None = None) -> Reduced:
    """Take the covariates, and the constant, off genes and phenotype.

    Parameters
    ----------
    y_sg, x_s
        Individuals x genes, and the phenotype.
    covariates_sc
        Individuals x covariates; they may depend on each other.
    weights_sg
        Precision of each value: rows are multiplied by its root first, gene by gene.

    Raises
    ------
    ValueError
        If the covariates determine the phenotype, or leave no degree of freedom.
    """
    basis_sc = basis(x_s, covariates_sc)
    freedom = len(x_s) - basis_sc.shape[1] - 2
    if freedom < 1:
        raise ValueError(
            f"{len(x_s)} individuals, a constant, the phenotype and {basis_sc.shape[1]} independent covariates leave "
            f"{max(freedom, 0)} degrees of freedom; expected at least 1."
        )
    design_sc = np.column_stack([np.ones(len(x_s)), basis_sc, x_s - x_s.mean()])
    if weights_sg is None:
        x_sg = x_s[:, None]
        left_sg, left_x_sg = (taken_off(values - values.mean(axis=0), basis_sc[None]) for values in (y_sg, x_sg))
    else:
        root_sg = np.sqrt(weights_sg)
        basis_gsc = np.linalg.qr(root_sg.T[:, :, None] * design_sc[:, :-1])[0]
        y_sg, x_sg = root_sg * y_sg, root_sg * x_s[:, None]
        left_sg, left_x_sg = taken_off(y_sg, basis_gsc), taken_off(x_sg, basis_gsc)
    left_sg, left_x_sg = without_rounding(left_sg, y_sg), without_rounding(left_x_sg, x_sg)
    return Reduced(left_sg, left_x_sg, design_sc, weights_sg, freedom)


def basis(x_s: Array, covariates_sc: Array | None) -> Array:
    """Orthonormal columns that span the centered covariates, (S, C); checks that they leave something of x.

    Raises
    ------
    ValueError
        If they do not.
    """
    centered_sc = np.empty((len(x_s), 0)) if covariates_sc is None else covariates_sc - covariates_sc.mean(axis=0)
    length_c = np.linalg.norm(centered_sc, axis=0)
    size_c = np.zeros(0) if covariates_sc is None else np.linalg.norm(covariates_sc, axis=0)
    centered_sc = centered_sc[:, length_c > NOTHING * size_c]
    if centered_sc.shape[1]:
        u_sc, values_c, _ = np.linalg.svd(centered_sc / np.linalg.norm(centered_sc, axis=0), full_matrices=False)
        centered_sc = u_sc[:, values_c > 1e-9 * values_c[0]]
    residual_s = x_s - x_s.mean()
    left_s = residual_s - centered_sc @ (centered_sc.T @ residual_s)
    if np.linalg.norm(left_s) <= max(1e-7 * np.linalg.norm(residual_s), NOTHING * np.linalg.norm(x_s)):
        raise ValueError("The phenotype is constant, or the covariates determine it; expected it to vary beside them.")
    return np.asarray(centered_sc, np.float64)


def taken_off(values_sg: Array, basis_gsc: Array) -> Array:
    """Values less their part in the span of a basis: one basis for all genes, or one each."""
    if len(basis_gsc) == 1:
        return np.asarray(values_sg - basis_gsc[0] @ (basis_gsc[0].T @ values_sg), np.float64)
    within_gc = np.einsum("gsc,sg->gc", basis_gsc, values_sg)
    return np.asarray(values_sg - np.einsum("gsc,gc->sg", basis_gsc, within_gc), np.float64)


def without_rounding(left_sg: Array, whole_sg: Array) -> Array:
    """What is left of columns, exactly 0 where it is no more than the rounding errors of the whole."""
    nothing_g = np.linalg.norm(left_sg, axis=0) <= NOTHING * np.linalg.norm(whole_sg, axis=0)
    return np.where(nothing_g, 0.0, left_sg)
