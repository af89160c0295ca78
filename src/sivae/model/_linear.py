"""The linear part of a trained model, made unique, and its rotations.

Nothing in training stops h from holding linear parts of z and of the covariates. Regress h on (1, z, design) over the
training cells,

    h = a + z C + design E + r,    then    v <- v + w C',  bias <- bias + s w.a,  offset <- offset + s w E',  h <- r,

which leaves the predictor as it is and puts everything linear into v. Loadings and their uncertainty use this v.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float64]
CLOSED_LENGTH = 1e-3
"""Length at which loadings on a closed axis are reported, relative to its component. Cells stay at zero there, so
nothing is predicted from them; they only keep the axis's direction defined."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance (over n, not n - 1) of the columns of rows that come block by block."""

    n: int
    mean_p: Array
    covariance_pp: Array

    @classmethod
    def of(cls, blocks: Iterable[NDArray[np.floating]]) -> Moments:
        """Pairwise updates: Chan, Golub and LeVeque 1983, Am. Stat. 37:242 (doi 10.1080/00031305.1983.10483115)."""
        n, mean_p, square_pp = 0, np.zeros(1), np.zeros((1, 1))
        for block in blocks:
            m, rows = len(block), block.astype(np.float64)
            centre_p = rows.mean(axis=0)
            rows -= centre_p
            apart_p = centre_p - mean_p
            square_pp = square_pp + rows.T @ rows + np.outer(apart_p, apart_p) * (n * m / (n + m))
            n += m
            mean_p = mean_p + apart_p * (m / n)
        return cls(n, mean_p, square_pp / max(n, 1))


@dataclass(frozen=True)
class LinearPart:
    """Regression of h on (1, z, design): a, C and E."""

    intercept_d: Array
    slope_kd: Array
    design_bd: Array
    published: bool = False
    """Loadings are the posterior means v themselves, which are no part of the predictor y.w. It is then written as
    z.v + [y, z].[w, -v], so that everything that reads a predictor of this form reads the right one."""

    @classmethod
    def fit(
        cls,
        z_nk: NDArray[np.floating],
        h_nd: NDArray[np.floating],
        design_nb: NDArray[np.floating],
        *,
        columns: int,
        ridge: float = 1e-6,
    ) -> LinearPart:
        """Least squares over training cells on z and the first `columns` of the design (the others get no slope).

        The small ridge gives axes without variance no slope either.
        """
        moments = Moments.of([np.concatenate([z_nk, design_nb, h_nd], axis=1)])
        return cls.of(moments, z_nk.shape[1], design_nb.shape[1], columns=columns, ridge=ridge)

    @classmethod
    def of(cls, moments: Moments, k: int, b: int, *, columns: int, ridge: float = 1e-6) -> LinearPart:
        """The same from the moments of (z, design, h)."""
        known, h = np.arange(k + columns), slice(k + b, None)
        mean_d, mean_p = moments.mean_p[h], moments.mean_p[known]
        gram = moments.covariance_pp[np.ix_(known, known)]
        slope = np.linalg.solve(gram + ridge * np.eye(len(known)), moments.covariance_pp[known, h])
        design_bd = np.zeros((b, len(mean_d)))
        design_bd[:columns] = slope[k:]
        return cls(np.asarray(mean_d - mean_p @ slope, np.float64), np.asarray(slope[:k], np.float64), design_bd)

    def remainder(
        self, z_ck: NDArray[np.floating], h_cd: NDArray[np.floating], design_cb: NDArray[np.floating]
    ) -> Array:
        """H without its linear part, (c, d); where `published`, [y, z] without what the covariates say, (c, d + k)."""
        if self.published:
            y_cd = h_cd - self.intercept_d - design_cb @ self.design_bd
            return np.concatenate([y_cd, np.broadcast_to(z_ck, (*y_cd.shape[:-1], z_ck.shape[-1]))], axis=-1)
        return np.asarray(h_cd - self.intercept_d - z_ck @ self.slope_kd - design_cb @ self.design_bd, np.float64)


@torch.no_grad()
def gene_posterior(
    module: TwoTowers, profile_fq: NDArray[np.float32], linear: LinearPart, *, residual: bool, principal: bool
) -> tuple[Array, Array, Array]:
    """Mean (f, k) and covariance (f, k, k) of the loadings, and joint layer w (f, d), of genes from their profiles.

    The loading is v + f(v) C' with f the feature decoder, so by the delta method its covariance is J diag(var) J' with
    J = I + C f'(v). Under the published predictor v itself has no part in it and the loading is C w; under the
    published recipe (`linear.published`) it is v itself.
    """
    residual = residual or linear.published
    device = module.bias_g.device
    q_v = module.encode_features(torch.from_numpy(profile_fq).to(device))
    slope_kd = torch.from_numpy(linear.slope_kd).float().to(device)

    def loading(v_k: torch.Tensor) -> torch.Tensor:
        linear_k = slope_kd @ module.feature_tower.decode(v_k[None])[0]
        return v_k + linear_k if residual else linear_k

    mean_fk = torch.vmap(loading)(q_v.mean_rk)
    jacobian_fkk = torch.vmap(torch.func.jacrev(loading))(q_v.mean_rk)
    covariance_fkk = torch.einsum("fij,fj,flj->fil", jacobian_fkk, q_v.sd_rk.square(), jacobian_fkk)
    w_fd = module.feature_tower.decode(q_v.mean_rk)
    if linear.published:
        w_fd = torch.cat([w_fd, -q_v.mean_rk], dim=1)
    closed_k = (module.used_k == 0).cpu()
    if principal and bool(closed_k.any()):
        mean_fk[:, closed_k] = CLOSED_LENGTH * torch.from_numpy(profile_fq).to(device)[:, : len(closed_k)][:, closed_k]
    return (
        mean_fk.double().cpu().numpy(),
        covariance_fkk.double().cpu().numpy(),
        w_fd.double().cpu().numpy(),
    )


def regressed(linear: LinearPart, w_gd: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """The same of genes without a posterior, from the output kernel w of a plain VAE: the loading is C w."""
    loading_gk = w_gd.astype(np.float64) @ linear.slope_kd.T
    k = loading_gk.shape[1]
    return loading_gk, np.zeros((len(w_gd), k, k)), w_gd.astype(np.float64)


def rotation(kind: str, v_gk: Array) -> Array:
    """Orthogonal R (k, k) that orders the axes by variance explained, or makes each load on few genes (varimax).

    Axes are signed so that the sum of cubed loadings is positive, and ordered by the sum of squared loadings.
    Source: Kaiser 1958, Psychometrika 23:187 (doi 10.1007/BF02289233), raw varimax by singular value iterations.
    """
    matrix_kk = np.linalg.svd(v_gk, full_matrices=False)[2].T
    if kind == "varimax":
        matrix_kk = matrix_kk @ _varimax(v_gk @ matrix_kk)
    rotated = v_gk @ matrix_kk
    order = np.argsort(-(rotated**2).sum(axis=0), kind="stable")
    sign = np.where((rotated**3).sum(axis=0) < 0, -1.0, 1.0)
    return (matrix_kk * sign)[:, order]


def _varimax(loadings_gk: Array, iterations: int = 500, tolerance: float = 1e-9) -> Array:
    g, k = loadings_gk.shape
    matrix_kk, before = np.eye(k), 0.0
    for _ in range(iterations):
        rotated = loadings_gk @ matrix_kk
        target = rotated**3 - rotated * (rotated**2).mean(axis=0)
        left, values, right = np.linalg.svd(loadings_gk.T @ target)
        matrix_kk = left @ right
        if values.sum() < before * (1 + tolerance):
            break
        before = float(values.sum())
    return matrix_kk
