"""Scores of sets of genes: where a set points in the cells' space, and how well its genes go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]


def orientations(vectors_gm: Array, module_g: Labels) -> Array:
    """Signs, (genes,): -1 for a gene that runs against most of its module, 1 for all others.

    A gene's sign is that of its projection on the leading direction of its module's vectors, turned so that the larger
    part of the module (by the sum of the projections) is positive.
    """
    sign_g = np.ones(len(vectors_gm))
    for module in range(int(module_g.max(initial=-1)) + 1):
        members = np.flatnonzero(module_g == module)
        part_gm = vectors_gm[members]
        leading_m = np.linalg.eigh(part_gm.T @ part_gm)[1][:, -1]
        along_g = part_gm @ leading_m
        sign_g[members] = np.where(along_g * np.sign(along_g.sum() or 1.0) < 0, -1.0, 1.0)
    return sign_g


def directions(v_gk: Array, member_sg: sparse.csr_matrix) -> Array:
    """Mean loading of each set's genes, weighted by the entries of `member_sg` (1, or -1 to turn a gene), (sets, k).

    A cell's score z . direction is the mean of what the linear part predicts for the set's genes, in standard
    deviations of a gene; 0 is a cell at the origin.
    """
    size_s = np.maximum(abs(member_sg).sum(axis=1), 1)
    return np.asarray(member_sg @ v_gk, np.float64) / np.asarray(size_s, np.float64).reshape(-1, 1)


def coherence(vectors_gm: Array, member_sg: sparse.csr_matrix) -> Array:
    """Mean inner product of the vectors of a set's pairs of genes, (sets,); NaN for fewer than two genes.

    With vectors of `correlation_factors` that is the mean correlation that the decoder implies. From the sums alone:
    (|sum_g a_g|^2 - sum_g |a_g|^2) / (n (n - 1)).
    """
    size_s = np.asarray(abs(member_sg).sum(axis=1), np.float64).ravel()
    total_sm = np.asarray(member_sg @ vectors_gm, np.float64)
    own_s = np.asarray(abs(member_sg) @ (vectors_gm**2).sum(axis=1), np.float64).ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_s = ((total_sm**2).sum(axis=1) - own_s) / (size_s * (size_s - 1))
    return np.where(size_s >= 2, mean_s, np.nan)


def coherence_null(
    vectors_gm: Array,
    member_sg: sparse.csr_matrix,
    strata_g: NDArray[np.intp],
    *,
    n_draws: int,
    rng: np.random.Generator,
) -> Array:
    """Coherence of random sets of the same sizes and, gene by gene, of the same strata, (draws, sets).

    Every draw permutes the genes within strata once, for all sets.
    """
    base = np.argsort(strata_g, kind="stable")
    result = np.empty((n_draws, member_sg.shape[0]))
    place = np.empty(len(base), np.intp)
    for draw in range(n_draws):
        place[base] = np.lexsort((rng.random(len(base)), strata_g))
        result[draw] = coherence(vectors_gm[place], member_sg)
    return result


def matching_strata(*values_g: Array, n_bins: int = 10) -> NDArray[np.intp]:
    """Strata of genes that are alike: bins of equal size by the first value, within each by the next, (genes,)."""
    strata_g = np.zeros(len(values_g[0]), np.intp)
    for value_g in values_g:
        finer_g = np.zeros_like(strata_g)
        for stratum in range(int(strata_g.max()) + 1):
            members = np.flatnonzero(strata_g == stratum)
            rank_g = np.argsort(np.argsort(value_g[members], kind="stable"), kind="stable")
            finer_g[members] = rank_g * n_bins // max(len(members), 1)
        strata_g = strata_g * n_bins + finer_g
    return np.unique(strata_g, return_inverse=True)[1].astype(np.intp)
