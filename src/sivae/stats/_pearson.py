"""How much a gene varies beyond counting noise: the variance of analytic Pearson residuals, and plain variance.

Lause, Berens, Kobak: Analytic Pearson residuals for normalization of single-cell RNA-seq UMI data.
Genome Biology 22:258 (2021), doi 10.1186/s13059-021-02451-7, equations 3 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._errors import OptionError
from sivae.stats._entries import BLOCK, entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sivae.stats._entries import Matrix

ROUND_OFF: Final = 1e-20
"""A variance below this, in units of what was squared, is a rounding error of a constant."""


@dataclass(frozen=True)
class Totals:
    """One pass over a matrix: what its sums are and what kind of numbers it holds."""

    groups_c: NDArray[np.int64]  # (cells,) number of the cell's group
    library_c: NDArray[np.float64]  # (cells,) sum over genes
    sum_bg: NDArray[np.float64]  # (groups, genes) sum over the cells of a group
    seen_g: NDArray[np.int64]  # (genes,) cells in which the gene is not zero
    n_cells_b: NDArray[np.int64]  # (groups,)
    smallest: float  # smallest value
    whole: bool  # every value is a whole number
    finite: bool  # no value is NaN or infinite


def totals(x_cg: Matrix, *, groups_c: NDArray[np.int64] | None = None) -> Totals:
    """Sum a matrix over its cells and over its genes, within groups of cells.

    Parameters
    ----------
    x_cg
        Values, (cells, genes): dense, CSR, CSC or backed.
    groups_c
        Number of each cell's group, 0, 1, ..., (cells,); one group if not given.

    Returns
    -------
    The sums, and whether the values are finite and whole.
    """
    group_c = _checked_groups(x_cg.shape[0], groups_c)
    n_cells_b = np.bincount(group_c, minlength=1)
    library_c = np.zeros(x_cg.shape[0])
    sum_bg = np.zeros((len(n_cells_b), x_cg.shape[1]))
    seen_g = np.zeros(x_cg.shape[1], dtype=np.int64)
    smallest, whole, finite = 0.0, True, True
    for row, column, value in entries(x_cg):
        library_c += np.bincount(row, value, minlength=len(library_c))
        sum_bg += _sum_by_group(group_c[row], column, value, shape=sum_bg.shape)
        seen_g += np.bincount(column, minlength=len(seen_g))
        smallest = min(smallest, float(value.min(initial=0.0)))
        whole = whole and bool(np.all(value == np.rint(value)))
        finite = finite and bool(np.isfinite(value).all())
    return Totals(group_c, library_c, sum_bg, seen_g, n_cells_b, smallest, whole, finite)


def pearson_residual_variance(
    counts_cg: Matrix,
    *,
    groups_c: NDArray[np.int64] | None = None,
    theta: float = 100.0,
    clip: float | None = None,
    known: Totals | None = None,
) -> NDArray[np.float64]:
    """Variance of the analytic Pearson residuals of each gene.

    With mu_cg = library_c * sum_g / total, the residual is (y_cg - mu_cg) / sqrt(mu_cg + mu_cg^2 / theta), clipped to
    [-clip, clip]. A zero's residual depends on its cell through the library size alone, so zeros are summed over the
    distinct library sizes and the rest over the non-zero counts: the result is exact, and the cost is that of the
    non-zero counts. Everything is computed within groups of cells, each as if it were alone.

    Parameters
    ----------
    counts_cg
        Counts, (cells, genes): dense, CSR, CSC or backed.
    groups_c
        Number of each cell's group (batch), 0, 1, ..., (cells,); one group if not given.
    theta
        Inverse overdispersion shared by all genes.
    clip
        Largest absolute residual; the square root of the group's number of cells if not given.
    known
        The matrix's totals by the same groups, if they are at hand: saves a pass over the data.

    Returns
    -------
    Residual variance, (groups, genes), or (genes,) without `groups_c`; zero for a gene without counts in a group.

    References
    ----------
    Lause, Berens, Kobak, Genome Biology 22:258 (2021), doi 10.1186/s13059-021-02451-7.
    """
    if not theta > 0:
        raise OptionError(f"Found theta={theta}, expected a positive number. 100 is the published value.")
    if clip is not None and not clip > 0:
        raise OptionError(f"Found clip={clip}, expected a positive number or None for the square root of the cells.")
    sums = known if known is not None else totals(counts_cg, groups_c=groups_c)
    if not sums.finite or sums.smallest < 0:
        raise OptionError(
            "Found negative, infinite or missing values, expected counts. "
            "Pass raw counts, not normalised or scaled values."
        )
    clip_b = np.sqrt(sums.n_cells_b) if clip is None else np.full(len(sums.n_cells_b), float(clip))
    variance_bg = _residual_variance(counts_cg, sums, theta=theta, clip_b=clip_b)
    return variance_bg if groups_c is not None else variance_bg[0]


def value_variance(
    x_cg: Matrix, *, groups_c: NDArray[np.int64] | None = None, known: Totals | None = None
) -> NDArray[np.float64]:
    """Variance of the values of each gene, by two passes (mean, then squared distance from it).

    Parameters
    ----------
    x_cg
        Values, (cells, genes): dense, CSR, CSC or backed.
    groups_c
        Number of each cell's group (batch), 0, 1, ..., (cells,); one group if not given.
    known
        The matrix's totals by the same groups, if they are at hand: saves a pass over the data.

    Returns
    -------
    Variance (divisor: cells), (groups, genes), or (genes,) without `groups_c`.
    """
    sums = known if known is not None else totals(x_cg, groups_c=groups_c)
    n_b1 = np.maximum(sums.n_cells_b, 1)[:, None]
    mean_bg = sums.sum_bg / n_b1
    square_bg = np.zeros_like(mean_bg)
    stored_bg = np.zeros_like(mean_bg)
    for row, column, value in entries(x_cg):
        group = sums.groups_c[row]
        distance = value - mean_bg[group, column]
        square_bg += _sum_by_group(group, column, distance**2, shape=mean_bg.shape)
        stored_bg += _sum_by_group(group, column, np.ones_like(value), shape=mean_bg.shape)
    variance_bg = (square_bg + (sums.n_cells_b[:, None] - stored_bg) * mean_bg**2) / n_b1
    variance_bg[variance_bg <= ROUND_OFF * mean_bg**2] = 0.0
    return variance_bg if groups_c is not None else variance_bg[0]


def _residual_variance(
    counts_cg: Matrix, sums: Totals, *, theta: float, clip_b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Residual variance, (groups, genes), as if all counts were zero and then corrected at those that are not."""
    total_b1 = sums.sum_bg.sum(axis=1, keepdims=True)
    share_bg = np.divide(sums.sum_bg, total_b1, out=np.zeros_like(sums.sum_bg), where=total_b1 > 0)
    first_bg, second_bg = np.empty_like(share_bg), np.empty_like(share_bg)
    for b, clip in enumerate(clip_b):
        library_c = sums.library_c[sums.groups_c == b]
        first_bg[b], second_bg[b] = _all_zero_moments(share_bg[b], library_c, theta=theta, clip=clip)
    for row, column, value in entries(counts_cg):
        group = sums.groups_c[row]
        mean = share_bg[group, column] * sums.library_c[row]
        zero = _residual(np.zeros_like(mean), mean, theta=theta, clip=clip_b[group])
        seen = _residual(value, mean, theta=theta, clip=clip_b[group])
        first_bg += _sum_by_group(group, column, seen - zero, shape=share_bg.shape)
        second_bg += _sum_by_group(group, column, seen**2 - zero**2, shape=share_bg.shape)
    n_b1 = np.maximum(sums.n_cells_b, 1)[:, None]
    variance_bg: NDArray[np.float64] = second_bg / n_b1 - (first_bg / n_b1) ** 2
    # The squares that cancel are of the size of the mean count, not of the variance.
    variance_bg[variance_bg <= 1e-12 * np.maximum(1.0, sums.sum_bg / n_b1)] = 0.0
    return variance_bg


def _all_zero_moments(
    share_g: NDArray[np.float64], library_c: NDArray[np.float64], *, theta: float, clip: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the residuals and of their squares, (genes,) each, if every count were zero."""
    size_u, times_u = np.unique(library_c, return_counts=True)
    first_g, second_g = np.zeros_like(share_g), np.zeros_like(share_g)
    step = max(1, BLOCK // max(1, len(size_u)))
    for start in range(0, len(share_g), step):
        part = slice(start, start + step)
        mean_gu = share_g[part, None] * size_u
        residual_gu = _residual(np.zeros_like(mean_gu), mean_gu, theta=theta, clip=clip)
        first_g[part] = residual_gu @ times_u
        second_g[part] = residual_gu**2 @ times_u
    return first_g, second_g


def _residual(
    count: NDArray[np.float64], mean: NDArray[np.float64], *, theta: float, clip: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Pearson residual, clipped; zero where nothing is expected and nothing was seen."""
    deviation = np.sqrt(mean + mean**2 / theta)
    residual = np.divide(count - mean, deviation, out=np.zeros_like(mean), where=deviation > 0)
    clipped: NDArray[np.float64] = np.clip(residual, -clip, clip)
    return clipped


def _sum_by_group(
    group: NDArray[np.int64], column: NDArray[np.int64], value: NDArray[np.float64], *, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sum values, (entries,), into a table of groups x genes."""
    sums = np.bincount(group * shape[1] + column, value, minlength=shape[0] * shape[1]).astype(np.float64)
    return sums.reshape(shape)


def _checked_groups(n_cells: int, groups_c: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Numbers of the groups, (cells,); zeros if not given."""
    if groups_c is None:
        return np.zeros(n_cells, dtype=np.int64)
    group_c = np.asarray(groups_c)
    if group_c.shape != (n_cells,) or group_c.dtype.kind not in "iu" or (n_cells and group_c.min() < 0):
        raise OptionError(
            f"Found groups of shape {group_c.shape} and type {group_c.dtype}, expected one whole number from 0 for "
            f"each of {n_cells} cells. Number them with numpy.unique(labels, return_inverse=True)."
        )
    return group_c.astype(np.int64)
