"""How connected groups of genes are, within and between, in each individual. Arrays only.

Axis letters: `s` individuals, `g` genes, `k` axes, `m` groups of genes.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def mean_positions(position_sgk: NDArray[np.floating]) -> Array:
    """Mean over the individuals in which a gene has a finite position, (g, k); 0 where it has none."""
    known_sg = np.isfinite(position_sgk).all(axis=2)
    total_gk = np.where(known_sg[:, :, None], position_sgk, 0.0).sum(axis=0, dtype=np.float64)
    return np.asarray(total_gk / np.maximum(known_sg.sum(axis=0), 1)[:, None], np.float64)


def group_signs(mean_gk: NDArray[np.floating], group_g: NDArray[np.integer]) -> Array:
    """1 or -1 for each gene in a group, 0 for the others, (g,): which way it points along its group.

    The direction of a group is the first right singular vector of its genes' positions, turned so that they sum up to
    something positive along it; a gene at a right angle to it counts as 1.

    Parameters
    ----------
    mean_gk
        Position of each gene, mean over individuals.
    group_g
        Number of its group, -1 for none.
    """
    sign_g = np.zeros(len(group_g))
    for group in np.unique(group_g[group_g >= 0]):
        members = group_g == group
        position_gk = np.asarray(mean_gk, np.float64)[members]
        along_g = position_gk @ np.linalg.svd(position_gk, full_matrices=False)[2][0]
        along_g *= 1.0 if along_g.sum() >= 0 else -1.0
        sign_g[members] = np.where(along_g < 0, -1.0, 1.0)
    return sign_g


def group_products(
    position_sgk: NDArray[np.floating], group_g: NDArray[np.integer], sign_g: Array, *, n_groups: int
) -> Array:
    """Mean of sign_g sign_h v_g . v_h over pairs of genes, within each group and between any two, (s, m, m).

    With u_m the sum of the signed positions of the n_m genes of a group,

        between   u_m . u_l / (n_m n_l),        within   (|u_m|^2 - sum |v_g|^2) / (n_m (n_m - 1)),

    so that no matrix genes x genes is made. A gene without a finite position in an individual does not count there; NaN
    where there is no pair.
    """
    result = np.empty((len(position_sgk), n_groups, n_groups))
    member_mg = (group_g == np.arange(n_groups)[:, None]).astype(np.float64)
    for s, position_gk in enumerate(position_sgk):
        known_g = np.isfinite(position_gk).all(axis=1)
        v_gk = np.where(known_g[:, None], position_gk, 0.0).astype(np.float64)
        n_m, sum_mk = member_mg @ known_g, (member_mg * sign_g) @ v_gk
        pairs_mm = n_m[:, None] * n_m - np.diag(n_m)
        total_mm = sum_mk @ sum_mk.T - np.diag(member_mg @ (v_gk**2).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            result[s] = np.where(pairs_mm > 0, total_mm / pairs_mm, np.nan)
    return result
