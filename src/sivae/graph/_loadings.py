"""Loadings as arrays: who lies at which end of an axis, directions within a group, least squares. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
UNUSED_VARIANCE = 0.01
"""An axis along which the cells' positions vary less than this, where the prior has 1, places no cell."""


def used_axes(v_gk: Array, covariance_kk: Array) -> NDArray[np.bool_]:
    """Axes that carry something, (k,): some loading is not zero, and cells vary along them."""
    return np.asarray((np.abs(v_gk) > 0).any(axis=0) & (np.diag(covariance_kk) >= UNUSED_VARIANCE))


def ends(loading_g: Array, names: NDArray[np.str_], n: int | None) -> dict[str, Positions]:
    """Genes from either end of an axis inward: the `n` largest above zero, the `n` smallest below it.

    With `n` None all of them, and those at zero as "none". Ties are in the order of the names.
    """
    order = {"high": np.lexsort((names, -loading_g)), "low": np.lexsort((names, loading_g))}
    found = {
        "high": order["high"][loading_g[order["high"]] > 0][:n],
        "low": order["low"][loading_g[order["low"]] < 0][:n],
    }
    return found if n is not None else found | {"none": order["high"][loading_g[order["high"]] == 0]}


def interval(loading: Array, sd: Array, level: float) -> tuple[Array, Array]:
    """Ends of the central interval of N(loading, sd^2) that holds a share `level`."""
    half = float(norm.ppf((1 + level) / 2)) * sd
    return loading - half, loading + half


def directions(z_nk: Array, v_gk: Array, n: int) -> tuple[Array, Array]:
    """Directions in which the cells of a group differ, in genes, (g, m), and their share of the group's variance, (m,).

    With the principal axes u of the covariance of z within the group and their variances l,

        r_gm = sum_k v_gk u_km sqrt(l_m),

    the change of a gene when a cell moves by one standard deviation along axis m. Each direction is signed so that the
    sum of its cubed entries is positive. Source: Choi, Li, Quon 2023 (doi 10.1186/s13059-023-02850-y), recoded
    embeddings.
    """
    values, axes_kk = np.linalg.eigh(np.atleast_2d(np.cov(z_nk, rowvar=False)))
    values_k, axes_kk = np.maximum(values[::-1], 0.0), axes_kk[:, ::-1]
    recoded_gm = v_gk @ (axes_kk * np.sqrt(values_k))[:, :n]
    sign_m = np.where((recoded_gm**3).sum(axis=0) < 0, -1.0, 1.0)
    total = values_k.sum()
    return recoded_gm * sign_m, values_k[:n] / total if total > 0 else np.zeros(n)


def least_squares(v_gk: Array, w_gd: Array, covariance: Array) -> Array:
    """Slopes of the reconstruction z.v + h.w on z, (g, k), from the covariance of (z, h), (k + d, k + d).

        b_g = v_g + S_zz^+ S_zh w_g

    Axes along which cells do not vary keep v. Where h has no linear part in z, as after `SiVAE.train`, b is v.
    """
    k = v_gk.shape[1]
    slope_kd = np.linalg.pinv(covariance[:k, :k], rcond=1e-6, hermitian=True) @ covariance[:k, k:]
    return np.asarray(v_gk + w_gd @ slope_kd.T)


def slopes_along(predicted_mg: Array, at_m: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over a grid of the derivative of predictions along it, (g,) each.

    Differences are central inside the grid and one-sided at its ends; the mean is weighted by the length that each
    point of the grid stands for.
    """
    derivative_mg = np.gradient(predicted_mg, at_m, axis=0)
    weight_m = np.gradient(at_m)
    weight_m[[0, -1]] /= 2
    weight_m = weight_m / weight_m.sum()
    mean_g = weight_m @ derivative_mg
    return mean_g, np.sqrt(weight_m @ (derivative_mg - mean_g) ** 2)
