"""Several embeddings of the same genes, turned onto each other. Arrays only.

Embeddings V_s (g, k) agree up to orthogonal turns, which change no distance and no prediction. Generalised Procrustes
analysis finds turns R_s and a consensus M that minimise sum_s |V_s R_s - M|^2; given M each R_s comes from one singular
value decomposition, given the R_s the mean of the V_s R_s is M. Nothing is centred and nothing is scaled: the origin
is where genes lie that follow nothing, and the length of a loading means something.
Source: Schonemann 1966, Psychometrika 31:1 (doi 10.1007/BF02289451); Gower 1975, Psychometrika 40:33
(doi 10.1007/BF02291478).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def turn_onto(from_gk: Array, onto_gk: Array) -> Array:
    """Orthogonal R (k, k) with the least |from R - onto|, reflections allowed."""
    left, _, right = np.linalg.svd(from_gk.T @ onto_gk)
    return np.asarray(left @ right)


def align(embeddings: Sequence[Array], *, iterations: int = 200, tolerance: float = 1e-12) -> tuple[list[Array], Array]:
    """Embeddings turned onto their consensus, (g, k) each, and the consensus, up to one turn of all.

    The start is the best rank-k fit to all embeddings side by side, which depends neither on their order nor on their
    axes.
    """
    k = embeddings[0].shape[1]
    left, values, _ = np.linalg.svd(np.concatenate(embeddings, axis=1), full_matrices=False)
    consensus_gk, before = left[:, :k] * values[:k] / np.sqrt(len(embeddings)), np.inf
    for _ in range(iterations):
        turned = [v_gk @ turn_onto(v_gk, consensus_gk) for v_gk in embeddings]
        consensus_gk = np.mean(turned, axis=0)
        rest = float(sum(((v_gk - consensus_gk) ** 2).sum() for v_gk in turned))
        if before - rest <= tolerance * float((consensus_gk**2).sum()):
            break
        before = rest
    return turned, consensus_gk


def principal_turn(v_gk: Array) -> Array:
    """Orthogonal R (k, k) to axes in falling order of squared loadings, each with a positive sum of cubed loadings."""
    matrix_kk = np.linalg.svd(v_gk, full_matrices=False)[2].T
    return np.asarray(matrix_kk * np.where(((v_gk @ matrix_kk) ** 3).sum(axis=0) < 0, -1.0, 1.0))


def stability(aligned: Sequence[Array]) -> Array:
    """Agreement of a gene's position between embeddings, (g,): at most 1, about 0 for positions at random.

        stability_g = sum_{s != t} v_sg.v_tg / ((S - 1) sum_s |v_sg|^2),

    the mean inner product of two embeddings over the mean squared length. NaN for a gene at the origin in all.
    """
    stack_sgk = np.asarray(aligned, np.float64)
    n = len(stack_sgk)
    length_g = (stack_sgk**2).sum(axis=(0, 2))
    cross_g = (stack_sgk.sum(axis=0) ** 2).sum(axis=1) - length_g
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length_g > 0, cross_g / ((n - 1) * length_g), np.nan)
