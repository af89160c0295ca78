"""Do modules hold together in a second gene space? Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from scipy import sparse

from sivae.graph._scores import coherence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Preservation:
    """One entry per module; z against the permutations, p with one added to both counts."""

    density_m: Array
    """Mean implied correlation of the module's pairs of genes in the second space, with the signs of the first."""
    density_z_m: Array
    density_p_m: Array
    connectivity_m: Array
    """Correlation over the module's genes of their connectivity within the module in both spaces."""
    connectivity_z_m: Array
    connectivity_p_m: Array
    z_m: Array
    """Mean of both z."""
    p_m: Array
    """That of their mean, by the same permutations."""


def preservation(
    first_gm: Array, second_gm: Array, module_g: Labels, sign_g: Array, *, n_permutations: int, rng: np.random.Generator
) -> Preservation:
    """Compare modules with random modules of the same sizes, permuting the labels of the genes of the second space.

    After Langfelder, Luo, Oldham, Horvath 2011 (doi 10.1371/journal.pcbi.1001057): density (mean sign-aware correlation
    in the second space) and connectivity (does the gene that is most tied to its module in one space stay so in the
    other), each as z, and the mean of both. p-values are uniform where labels are exchangeable, for one permutation
    of all labels gives every statistic.

    Parameters
    ----------
    first_gm, second_gm
        Vectors whose inner products are correlations, of the same genes in both spaces.
    module_g
        0, 1, ...; -1 for genes in none, which serve as background.
    sign_g
        -1 for a gene that runs against its module in the first space.
    """
    n_modules = int(module_g.max(initial=-1)) + 1
    members = np.flatnonzero(module_g >= 0)
    member_mg = sparse.csr_matrix(
        (sign_g[members], (module_g[members], members)), shape=(n_modules, len(module_g)), dtype=np.float64
    )
    first_g = _connectivity(first_gm, member_mg, module_g, sign_g)
    found = np.empty((n_permutations + 1, 2, n_modules))
    for draw in range(n_permutations + 1):
        place = np.arange(len(module_g)) if draw == 0 else rng.permutation(len(module_g))
        moved_gm = second_gm[place]
        second_g = _connectivity(moved_gm, member_mg, module_g, sign_g)
        found[draw] = coherence(moved_gm, member_mg), _within_correlation(first_g, second_g, module_g, n_modules)
    scaled = found - found.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled /= found.std(axis=0)
    summary = scaled.mean(axis=1)
    null = found[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        z_2m = (found[0] - null.mean(axis=0)) / null.std(axis=0, ddof=1)
    p_2m = _pvalues(found)
    return Preservation(
        found[0, 0], z_2m[0], p_2m[0], found[0, 1], z_2m[1], p_2m[1], z_2m.mean(axis=0), _pvalues(summary)
    )


def _pvalues(draws: Array) -> Array:
    """Share of all draws, the observed one (the first) among them, that are at least as large as it; NaN stays NaN."""
    share = np.asarray((draws >= draws[0] - 1e-12).mean(axis=0), np.float64)
    return np.where(np.isfinite(draws).all(axis=0), share, np.nan)


def _connectivity(vectors_gm: Array, member_mg: sparse.csr_matrix, module_g: Labels, sign_g: Array) -> Array:
    """Sum of a gene's signed correlations with the other genes of its module, (genes,); 0 for genes in none."""
    total_mm = np.asarray(member_mg @ vectors_gm, np.float64)
    along_g = sign_g * np.einsum("gm,gm->g", vectors_gm, total_mm[module_g]) - (vectors_gm**2).sum(axis=1)
    return np.where(module_g >= 0, along_g, 0.0)


def _within_correlation(x_g: Array, y_g: Array, module_g: Labels, n_modules: int) -> Array:
    """Pearson correlation over the genes of each module, (modules,); NaN for fewer than three genes or no variation."""
    members = module_g >= 0
    label, x_g, y_g = module_g[members], x_g[members], y_g[members]
    size_m = np.bincount(label, minlength=n_modules)
    with np.errstate(divide="ignore", invalid="ignore"):
        x_g = x_g - (np.bincount(label, x_g, n_modules) / size_m)[label]
        y_g = y_g - (np.bincount(label, y_g, n_modules) / size_m)[label]
        xx, yy, xy = (np.bincount(label, value, n_modules) for value in (x_g**2, y_g**2, x_g * y_g))
        correlation = xy / np.sqrt(xx * yy)
    return np.where((size_m >= 3) & (xx > 0) & (yy > 0), correlation, np.nan)
