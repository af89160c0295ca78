"""Peers that say how connected a gene is in each of many individuals, from the counts of its cells alone.

Own code from published ideas, not the published programs. All correlations are those within an individual; with
`within_types` they are those within its cell types too (the type's mean of each value is taken off first).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from anndata import AnnData
from scipy.cluster.hierarchy import fcluster, linkage

from bench._heldout import log_values

EDGE_SHARE = 0.01
"""Share of the pairs of genes that are edges, as the default of `sivae.cohort.connectivity`."""
N_MODULES = 10
POWER = 2
"""To which correlations are raised before modules are cut: low, because those of single cells are small."""
RELIABLE = 0.1
"""A gene's variance without counting noise has to be this share of what it was with it."""


@dataclass(frozen=True)
class Counts:
    """Dense counts of the cells of individuals sorted by name, the depth of each cell, and its type."""

    names: tuple[str, ...]
    genes: tuple[str, ...]
    count_s: tuple[np.ndarray, ...]
    depth_s: tuple[np.ndarray, ...]
    type_s: tuple[np.ndarray, ...]

    @cached_property
    def log_s(self) -> tuple[np.ndarray, ...]:
        """log1p of counts per 10,000."""
        return tuple(log_values(y_cg, l_c) for y_cg, l_c in zip(self.count_s, self.depth_s, strict=True))


def counts_of(adata: AnnData, *, sample_key: str = "donor", cell_type_key: str = "cell_type") -> Counts:
    """Read the counts of an AnnData; depth is a cell's sum over its genes, 1 for empty cells."""
    label_n = adata.obs[sample_key].astype(str).to_numpy()
    code_n = np.unique(adata.obs[cell_type_key].astype(str), return_inverse=True)[1]
    names = tuple(sorted(set(label_n)))
    rows = [np.flatnonzero(label_n == name) for name in names]
    count_s = tuple(np.asarray(adata.X[at].toarray(), np.float64) for at in rows)
    depth_s = tuple(np.maximum(y_cg.sum(axis=1), 1.0) for y_cg in count_s)
    return Counts(names, tuple(map(str, adata.var_names)), count_s, depth_s, tuple(code_n[at] for at in rows))


def centered(value_cg: np.ndarray, type_c: np.ndarray, *, within_types: bool) -> np.ndarray:
    """Values less their mean, or less that of the cell's type."""
    if not within_types:
        return value_cg - value_cg.mean(axis=0)
    result = np.empty_like(value_cg)
    for t in np.unique(type_c):
        result[type_c == t] = value_cg[type_c == t] - value_cg[type_c == t].mean(axis=0)
    return result


def correlation(value_cg: np.ndarray) -> np.ndarray:
    """Correlations of centered values, (g, g); 0 for constant genes and on the diagonal."""
    length_g = np.linalg.norm(value_cg, axis=0)
    unit_cg = value_cg / np.where(length_g > 1e-12, length_g, np.inf)
    found_gg = unit_cg.T @ unit_cg
    np.fill_diagonal(found_gg, 0.0)
    return found_gg


def raw(counts: Counts, *, within_types: bool) -> np.ndarray:
    """Pearson correlations of log-normalised values, (s, g, g)."""
    return np.array([
        correlation(centered(x_cg, type_c, within_types=within_types))
        for x_cg, type_c in zip(counts.log_s, counts.type_s, strict=True)
    ])  # fmt: skip


def noise_corrected(counts: Counts, *, within_types: bool) -> np.ndarray:
    """Correlations of rates without counting noise, (s, g, g): our reading of Dozer's idea.

    Counts are divided by depth. Given the rates, counting noise is independent between genes, so that covariances need
    no correction; variances are less the Poisson noise, the mean of y / l^2. Genes whose variance is nearly all noise
    have no correlations in that individual; others are clipped to [-1, 1].
    Source: Lu and Keles 2023, Genome Research 33:932, re-implemented from the idea.
    """
    found = []
    for y_cg, depth_c, type_c in zip(counts.count_s, counts.depth_s, counts.type_s, strict=True):
        scale_c = depth_c / depth_c.mean()
        residual_cg = centered(y_cg / scale_c[:, None], type_c, within_types=within_types)
        freedom = max(len(y_cg) - (len(np.unique(type_c)) if within_types else 1), 1)
        covariance_gg = residual_cg.T @ residual_cg / freedom
        variance_g = np.diag(covariance_gg)
        left_g = variance_g - (y_cg / scale_c[:, None] ** 2).mean(axis=0)
        good_g = left_g > RELIABLE * np.maximum(variance_g, 1e-12)
        root_g = np.where(good_g, np.sqrt(np.maximum(left_g, 1e-12)), np.inf)
        corrected_gg = np.clip(covariance_gg / root_g[:, None] / root_g, -1.0, 1.0)
        np.fill_diagonal(corrected_gg, 0.0)
        found.append(corrected_gg)
    return np.array(found)


def strength(correlation_sgg: np.ndarray) -> np.ndarray:
    """Mean absolute correlation with the others that have one, (s, g)."""
    return np.asarray(np.abs(correlation_sgg).sum(axis=2) / np.maximum((correlation_sgg != 0).sum(axis=2), 1))


def present(correlation_sgg: np.ndarray, *, share: float = EDGE_SHARE) -> np.ndarray:
    """Pairs (upper triangle, row by row) of largest absolute correlation in each individual, (s, pairs)."""
    upper = np.triu_indices(correlation_sgg.shape[1], 1)
    size_sp = np.abs(correlation_sgg[:, upper[0], upper[1]])
    n_kept = max(1, round(share * size_sp.shape[1]))
    best = np.argsort(-size_sp, axis=1, kind="stable")[:, :n_kept]
    result = np.zeros(size_sp.shape, bool)
    np.put_along_axis(result, best, values=True, axis=1)
    return result & (size_sp > 0)


def degree(correlation_sgg: np.ndarray) -> np.ndarray:
    """Edges of each gene, (s, g)."""
    n_genes = correlation_sgg.shape[1]
    first, second = np.triu_indices(n_genes, 1)
    return np.array([
        np.bincount(np.r_[first[has], second[has]], minlength=n_genes) for has in present(correlation_sgg)
    ]).astype(float)  # fmt: skip


def kme(counts: Counts, *, within_types: bool) -> np.ndarray:
    """Correlation of each gene with the eigengene of its module, (s, g), as hdWGCNA has it; in few lines of our own.

    Modules are those of all cells together (average linkage of 1 - |correlation|^2, ten groups), and so are the weights
    of the eigengene (the module's first principal component); the correlation is that over an individual's cells. The
    sign is the one that the gene usually has, over all individuals.
    Source: Morabito et al. 2023, Cell Reports Methods 3:100498 (doi 10.1016/j.crmeth.2023.100498).
    """
    x_s = [
        centered(x_cg, type_c, within_types=within_types)
        for x_cg, type_c in zip(counts.log_s, counts.type_s, strict=True)
    ]
    all_ng = np.concatenate(x_s)
    all_ng = all_ng / np.maximum(all_ng.std(axis=0), 1e-12)
    apart_gg = 1 - np.abs(correlation(all_ng)) ** POWER
    module_g = fcluster(linkage(apart_gg[np.triu_indices(len(apart_gg), 1)], "average"), N_MODULES, "maxclust")
    found_sg = np.zeros((len(x_s), all_ng.shape[1]))
    for module in np.unique(module_g):
        genes = np.flatnonzero(module_g == module)
        weight_g = np.linalg.svd(all_ng[:, genes], full_matrices=False)[2][0] / np.maximum(
            np.concatenate(x_s)[:, genes].std(axis=0), 1e-12
        )
        for s, x_cg in enumerate(x_s):
            both = np.column_stack([x_cg[:, genes], x_cg[:, genes] @ weight_g])
            found_sg[s, genes] = correlation(both - both.mean(axis=0))[-1, :-1]
    return found_sg * np.where(found_sg.mean(axis=0) < 0, -1.0, 1.0)


def centralities(counts: Counts, *, within_types: bool) -> dict[str, np.ndarray]:
    """Every peer's connectivity, (s, g) each, by name."""
    raw_sgg = raw(counts, within_types=within_types)
    corrected_sgg = noise_corrected(counts, within_types=within_types)
    return {
        "raw degree": degree(raw_sgg),
        "raw strength": strength(raw_sgg),
        "kME-like": kme(counts, within_types=within_types),
        "Dozer-like degree": degree(corrected_sgg),
        "Dozer-like strength": strength(corrected_sgg),
    }


NETWORKS: dict[str, Callable[..., np.ndarray]] = {"raw": raw, "Dozer-like": noise_corrected}
"""Peers that have edges."""
