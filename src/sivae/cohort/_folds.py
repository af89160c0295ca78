"""A phenotype from many genes, by penalised regression in nested folds. Arrays only.

Axis letters: `s` individuals, `t` those of a training fold, `g` genes, `c` covariates and the constant, `b` phenotypes
(the observed one and its permutations).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

Model: TypeAlias = Literal["ridge", "lasso"]
PENALTIES: Final = np.logspace(-2, 3, 16)
"""Penalties of ridge that are tried, in units of the number of genes."""
SHARES: Final = np.logspace(0, -1.5, 16)
"""Penalties of lasso that are tried, as shares of the smallest that lets no gene in."""
INNER: Final = 5
"""Folds within a training fold, with lasso."""


def out_of_fold(
    x_sg: Array, y_sb: Array, design_sc: Array, *, fold_s: NDArray[np.intp], model: Model, seed: int
) -> tuple[Array, Array]:
    """What covariates say of individuals out of the fold, and what genes add to it, (s, b) each.

    In each fold covariates are taken off genes and phenotype, genes are divided by their standard deviation, and the
    penalty is chosen, all with the training individuals alone. A gene constant in them does not count.
    """
    base_sb, gain_sb = np.empty_like(y_sb), np.empty_like(y_sb)
    for fold in np.unique(fold_s):
        out, into = fold_s == fold, fold_s != fold
        x_of_covariates, y_of_covariates = (
            np.linalg.lstsq(design_sc[into], values[into], rcond=None)[0] for values in (x_sg, y_sb)
        )
        left_sg = x_sg - design_sc @ x_of_covariates
        base_sb[out] = design_sc[out] @ y_of_covariates
        left_tb = y_sb[into] - design_sc[into] @ y_of_covariates
        inverse_g = inverse_sd(left_sg[into], x_sg[into])
        coefficient_gb, _ = fitted(left_sg[into] * inverse_g, left_tb, model=model, seed=seed)
        gain_sb[out] = (left_sg[out] * inverse_g) @ coefficient_gb
    return base_sb, gain_sb


def fitted(x_tg: Array, y_tb: Array, *, model: Model, seed: int) -> tuple[Array, Array]:
    """Coefficients, (g, b), and penalties, (b,), from standardised genes and phenotypes that covariates were taken off.

    The penalty of ridge is chosen by leaving out one individual at a time, in closed form, that of lasso by folds.
    """
    if model == "ridge":
        from sklearn.linear_model import RidgeCV

        ridge = RidgeCV(alphas=PENALTIES * x_tg.shape[1], alpha_per_target=True).fit(x_tg, y_tb)
        return np.reshape(ridge.coef_, (y_tb.shape[1], -1)).T, np.reshape(ridge.alpha_, -1)
    lassos = list(_lassos(x_tg, y_tb, seed))
    return np.stack([one.coef_ for one in lassos], axis=1), np.array([one.alpha_ for one in lassos])


def _lassos(x_tg: Array, y_tb: Array, seed: int) -> Iterator[Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import KFold

    folds = KFold(min(INNER, len(x_tg)), shuffle=True, random_state=seed)
    for y_t in y_tb.T:
        largest = float(np.abs(x_tg.T @ (y_t - y_t.mean())).max()) / len(y_t)
        # Slightly above the largest: no gene at all is one of the choices.
        lasso = LassoCV(alphas=max(largest, 1e-12) * (1 + 1e-6) * SHARES, cv=folds, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield lasso.fit(x_tg, y_t)


def inverse_sd(left_sg: Array, whole_sg: Array) -> Array:
    """1 / standard deviation of what covariates leave of each gene, 0 where that is rounding errors, (g,)."""
    sd_g = np.sqrt((left_sg**2).mean(axis=0))
    size_g = np.sqrt((whole_sg**2).mean(axis=0))
    varies_g = sd_g > 1e-10 * np.maximum(size_g, 1e-300)
    return np.where(varies_g, 1 / np.where(varies_g, sd_g, 1.0), 0.0)


def r_squared(y_sb: Array, base_sb: Array, gain_sb: Array) -> Array:
    """Share of what covariates leave of the phenotype that genes explain out of the fold, (b,); may be negative."""
    left_b = ((y_sb - base_sb) ** 2).sum(axis=0)
    error_b = ((y_sb - base_sb - gain_sb) ** 2).sum(axis=0)
    return np.asarray(1 - error_b / np.maximum(left_b, 1e-300), np.float64)


def permuted_phenotypes(y_s: Array, design_sc: Array, n_permutations: int, generator: np.random.Generator) -> Array:
    """The phenotype, and after it permutations of what covariates leave of it, added to their part, (s, 1 + b).

    Freedman and Lane 1983, doi 10.1080/07350015.1983.10509354.
    """
    part_s = design_sc @ np.linalg.lstsq(design_sc, y_s, rcond=None)[0]
    left_s = y_s - part_s
    drawn = [part_s + generator.permutation(left_s) for _ in range(n_permutations)]
    return np.column_stack([y_s, *drawn])
