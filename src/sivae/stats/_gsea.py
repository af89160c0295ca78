"""Where the genes of a set lie in a ranking: the running sum of gene set enrichment analysis. Arrays only.

Axis letters: `m` sets, `g` genes, `b` permutations, `i` members, all sets one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from sivae.stats._fdr import adjust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy import sparse

    Array = NDArray[np.float64]

BLOCK: Final = 2**21
"""Members times permutations of one block: bounds the memory."""
EQUAL: Final = 1e-9
"""Running sums closer than this count as equal, so that rounding decides nothing; the positive end and the earlier
place come first."""


@final
@dataclass(frozen=True)
class Enrichment:
    """Enrichment of each set, (m,) each; as of `enrichment`."""

    es_m: Array
    nes_m: Array
    p_m: Array
    q_m: Array


def enrichment_scores(
    value_bg: NDArray[np.floating], member_mg: sparse.csr_matrix, *, weight: float = 1.0, one_sided: bool = False
) -> Array:
    """Largest deviation from zero of the running sum of every set in every ranking, (b, m).

    Genes are ranked by falling value r. Down the ranking of G genes the sum of a set S of n genes

        rises by |r_j|^weight / sum_{h in S} |r_h|^weight   at a gene j of the set,
        falls by 1 / (G - n)                                at any other,

    and the score is its value where it is farthest from 0. A largest value stands right after a member and a smallest
    right before one, so members alone are visited. Subramanian et al. 2005, doi 10.1073/pnas.0506580102.

    Parameters
    ----------
    value_bg
        Finite values, one ranking in each row. Equal values keep the order of the genes.
    member_mg
        CSR of the genes of each set; a set has one gene at least and not all of them.
    weight
        Exponent; 0 counts members alone (Kolmogorov-Smirnov). A set whose members are all 0 counts them so too.
    one_sided
        The largest value of the running sum, 0 at least, instead of the one farthest from 0.
    """
    values: Array = np.asarray(value_bg, np.float64)
    result = np.empty((len(values), member_mg.shape[0]))
    step = max(1, BLOCK // max(member_mg.nnz, values.shape[1], 1))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        result[rows] = _scores(values[rows], member_mg, weight=weight, one_sided=one_sided)
    return result


def _scores(value_bg: Array, member_mg: sparse.csr_matrix, *, weight: float, one_sided: bool) -> Array:
    after_bi, before_bi, _ = _running_sums(value_bg, member_mg, weight=weight)
    starts = member_mg.indptr[:-1]
    high_bm = np.maximum(np.maximum.reduceat(after_bi, starts, axis=1), 0.0)
    if one_sided:
        return high_bm
    low_bm = np.minimum.reduceat(before_bi, starts, axis=1)
    return np.where(high_bm >= -low_bm - EQUAL, high_bm, low_bm)


def _running_sums(
    value_bg: Array, member_mg: sparse.csr_matrix, *, weight: float
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Running sum right after and right before each member, and the places of the members, (b, i) each.

    Members come set by set and within a set in the order of the ranking.
    """
    n_genes, n_m = value_bg.shape[1], np.diff(member_mg.indptr).astype(np.intp)
    order_bg = np.argsort(-value_bg, axis=1, kind="stable")
    place_bg = np.empty_like(order_bg)
    np.put_along_axis(place_bg, order_bg, np.arange(n_genes)[None, :], axis=1)
    # One sort for all sets: the set is the leading digit and stays where it is.
    set_i = np.repeat(np.arange(len(n_m)), n_m)
    key_bi = np.sort(set_i * n_genes + place_bg[:, member_mg.indices], axis=1)
    place_bi = key_bi - set_i * n_genes
    size_bg = np.take_along_axis(np.abs(value_bg), order_bg, axis=1) ** weight
    step_bi = _steps(np.take_along_axis(size_bg, place_bi, axis=1), member_mg.indptr[:-1], n_m)
    first_i = np.repeat(member_mg.indptr[:-1], n_m)
    total_bi = np.cumsum(step_bi, axis=1)
    # Every set adds 1, so what earlier sets added is known without rounding piling up.
    hits_bi = total_bi - set_i
    missed_bi = (place_bi - (np.arange(len(set_i)) - first_i)) / (n_genes - np.repeat(n_m, n_m))
    return hits_bi - missed_bi, hits_bi - step_bi - missed_bi, place_bi


def _steps(size_bi: Array, starts: NDArray[np.integer], n_m: NDArray[np.intp]) -> Array:
    """Sizes over their sum in each set; equal shares where that is 0."""
    total_bm = np.add.reduceat(size_bi, starts, axis=1)
    flat_bm = total_bm <= 0
    if flat_bm.any():
        size_bi = np.where(np.repeat(flat_bm, n_m, axis=1), 1.0, size_bi)
        total_bm = np.where(flat_bm, n_m, total_bm)
    return np.asarray(size_bi / np.repeat(total_bm, n_m, axis=1), np.float64)


def leading_edges(
    value_g: NDArray[np.floating], member_mg: sparse.csr_matrix, *, weight: float = 1.0, one_sided: bool = False
) -> list[NDArray[np.intp]]:
    """Members of each set up to where its score stands, the gene at the end of the ranking first.

    Members from the top to the largest value of the running sum, or, where the score is negative, from the bottom up to
    the smallest.
    """
    value_bg = np.asarray(value_g, np.float64)[None, :]
    after_bi, before_bi, place_bi = _running_sums(value_bg, member_mg, weight=weight)
    order_g = np.argsort(-value_bg[0], kind="stable")
    return [
        order_g[places]
        for a, b in zip(member_mg.indptr, member_mg.indptr[1:], strict=False)
        for places in _leading(after_bi[0, a:b], before_bi[0, a:b], place_bi[0, a:b], one_sided=one_sided)
    ]


def _leading(
    after_i: Array, before_i: Array, place_i: NDArray[np.intp], *, one_sided: bool
) -> Iterator[NDArray[np.intp]]:
    high = float(after_i.max())
    if one_sided and high <= EQUAL:
        yield place_i[:0]
    elif one_sided or max(high, 0.0) >= -before_i.min() - EQUAL:
        yield place_i[: int(np.argmax(after_i >= high - EQUAL)) + 1]
    else:
        yield place_i[int(np.argmax(before_i <= before_i.min() + EQUAL)) :][::-1]


def enrichment(es_m: Array, null_bm: Array, *, one_sided: bool = False) -> Enrichment:
    """Scores of sets against their scores in permuted rankings.

    Scores above and below 0 are compared with permuted ones of their own sign, because a set lies more easily at one
    end: NES = ES / mean |ES of that sign|, p = (1 + as far out of that sign) / (1 + of that sign). q is that of
    Benjamini and Hochberg over these p, not the published pooling of NES over sets, which takes sets for exchangeable.

    Parameters
    ----------
    es_m, null_bm
        Scores as of `enrichment_scores`; the permutations without the observed ranking.
    one_sided
        Scores are 0 or more, and all permutations are compared with.
    """
    above_m = np.ones(len(es_m), bool) if one_sided else es_m >= 0
    same_bm = np.ones(null_bm.shape, bool) if one_sided else np.where(above_m, null_bm >= 0, null_bm < 0)
    n_m = same_bm.sum(axis=0)
    mean_m = np.where(same_bm, np.abs(null_bm), 0.0).sum(axis=0) / np.maximum(n_m, 1)
    farther_bm = same_bm & (np.abs(null_bm) >= np.abs(es_m) - EQUAL)
    p_m = (1 + farther_bm.sum(axis=0)) / (1 + n_m)
    with np.errstate(divide="ignore", invalid="ignore"):
        nes_m = np.where(mean_m > 0, es_m / mean_m, np.nan)
    return Enrichment(es_m, nes_m, p_m, adjust(p_m))
