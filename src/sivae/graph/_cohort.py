"""How central a gene is in each of many individuals, from positions in common axes. Arrays only.

`s` are individuals. Positions carry the noise of few cells; what is linear in an individual's position is unbiased at
any number of cells, and squares come as products of different parts of the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sivae.graph._neighbors import BLOCK_VALUES
from sivae.graph._read_out import Sums

Array = NDArray[np.float64]


def whitening(reading_kk: Array, *, least: float = 1e-6) -> Array:
    """Symmetric W (k, k) with W Cov W = 1, so that readings vary alike along every axis; unused axes stay 0."""
    value_k, vector_kk = np.linalg.eigh((reading_kk + reading_kk.T) / 2)
    used_k = value_k > least * max(float(value_k.max(initial=0.0)), np.finfo(float).tiny)
    return np.asarray((vector_kk[:, used_k] / np.sqrt(value_k[used_k])) @ vector_kk[:, used_k].T)


@dataclass(frozen=True)
class Composition:
    """Typical positions of each cell type, and how often it counts."""

    typical_tgk: Array
    """Mean over the cohort of a type's products."""
    share_t: Array
    """Share of each type in the cohort's degrees of freedom."""

    def shift(self, freedom_t: Array) -> Array:
        """What an individual's own composition adds to its positions, (g, k): sum_t (D_t / D - w_t) m_t."""
        excess_t = freedom_t / max(float(freedom_t.sum()), 1.0) - self.share_t
        return np.asarray(np.tensordot(excess_t, self.typical_tgk, axes=1))


def composition_of(sums_s: Sequence[Sums]) -> Composition:
    """Typical positions from sums over cell types (the parts) of every individual."""
    freedom_t = np.sum([sums.freedom_p for sums in sums_s], axis=0)
    product_tgk = np.sum([sums.product_pgk for sums in sums_s], axis=0)
    return Composition(product_tgk / np.maximum(freedom_t, 1.0)[:, None, None], freedom_t / max(freedom_t.sum(), 1.0))


def position(sums: Sums, freedom_t: Array, composition: Composition) -> Array:
    """Position of each gene as if the individual had the cohort's composition, (g, k).

    With P_t the sums of cell type t and D_t their freedom: sum_t P_t / D - shift (direct standardization: a type's
    typical covariance counts as often in every individual).
    """
    total = max(float(sums.freedom_p.sum()), 1.0)
    return np.asarray(sums.product_pgk.sum(axis=0) / total - composition.shift(freedom_t))


@dataclass(frozen=True)
class Cohort:
    """What all individuals share: mean positions, and how much positions differ between individuals."""

    total_gk: Array
    """Sum over individuals of position times weight."""
    weight_s: Array
    """Degrees of freedom of each individual."""
    length_g: Array
    """Length of the gene's mean position, without what noise adds to it, but no less than chance makes it."""
    spread_g: Array
    """Variance of a coordinate between individuals beyond the noise of their cells."""

    @property
    def mean_gk(self) -> Array:
        """Mean position."""
        return np.asarray(self.total_gk / self.weight_s.sum())

    def others_gk(self, position_gk: Array, s: int) -> Array:
        """Mean position in all individuals but one."""
        weight = self.weight_s[s]
        return np.asarray((self.total_gk - weight * position_gk) / (self.weight_s.sum() - weight))

    def shrink(self, position_gk: Array, noise_g: Array) -> Array:
        """Position drawn to the cohort's by how much of the difference is noise (empirical Bayes)."""
        share_g = self.spread_g / np.maximum(self.spread_g + noise_g, np.finfo(float).tiny)
        return np.asarray(self.mean_gk + share_g[:, None] * (position_gk - self.mean_gk))


def cohort_of(position_sgk: Array, weight_s: Array, noise_sg: Array) -> Cohort:
    """Summaries of positions with their noise variance per coordinate."""
    total_gk = np.einsum("s,sgk->gk", weight_s, position_sgk)
    mean_gk = total_gk / weight_s.sum()
    own_g = np.einsum("s,sgk,sgk->g", weight_s**2, position_sgk, position_sgk)
    between = weight_s.sum() ** 2 - (weight_s**2).sum()
    square_g = ((total_gk**2).sum(axis=1) - own_g) / between
    k, n = position_sgk.shape[2], len(weight_s)
    # What a squared length may be by chance: one standard deviation of that of a gene at the origin.
    chance_g = np.sqrt(2.0 * k) * noise_sg.mean(axis=0) / n
    length_g = np.sqrt(np.maximum(square_g, chance_g))
    apart_g = ((position_sgk - mean_gk) ** 2).sum(axis=(0, 2)) / (k * max(n - 1, 1))
    spread_g = np.maximum(apart_g - noise_sg.mean(axis=0), 0.0)
    return Cohort(total_gk, weight_s, np.where(length_g > 0, length_g, 1.0), spread_g)


def projection(position_gk: Array, others_gk: Array, length_g: Array) -> Array:
    """Length of a position along the gene's direction in the other individuals, (g,): position . others / |others|.

    Both factors come from different cells, so that the expectation is the same at any number of cells. May be negative.
    """
    return np.asarray((position_gk * others_gk).sum(axis=1) / length_g)


def signed_sum(mean_gk: Array, vector_hk: Array) -> Array:
    """Sum over the other genes h of sign(mean_g . mean_h) vector_h, (g, k); in blocks of rows."""
    step = max(1, BLOCK_VALUES // max(len(mean_gk), 1))
    parts = []
    for start in range(0, len(mean_gk), step):
        sign_bh = np.sign(mean_gk[start : start + step] @ mean_gk.T)
        sign_bh[np.arange(len(sign_bh)), start + np.arange(len(sign_bh))] = 0.0
        parts.append(sign_bh @ vector_hk)
    return np.concatenate(parts)


def strength(position_gk: Array, direction_gk: Array) -> Array:
    """Mean over the other genes of the gene's correlation with their position, the usual sign taken off, (g,).

    position_g . sum_h sign(o_g . o_h) o_h / (G - 1), o the mean positions in the other individuals and the sum
    `signed_sum(o, o)`: linear in the position, so that noise does not add to it; what other genes lost is theirs.
    """
    return np.asarray((position_gk * direction_gk).sum(axis=1) / max(len(position_gk) - 1, 1))


def unbiased_square(part_jgk: Array, freedom_j: Array) -> Array:
    """Squared length of a position, (g,), from products of different parts of the cells; may be negative.

    With S_j the sums and D_j the freedom of part j: (|sum S_j|^2 - sum |S_j|^2) / ((sum D_j)^2 - sum D_j^2).
    """
    total_gk = part_jgk.sum(axis=0)
    between_g = (total_gk**2).sum(axis=1) - np.einsum("jgk,jgk->g", part_jgk, part_jgk)
    return np.asarray(between_g / max(float(freedom_j.sum() ** 2 - (freedom_j**2).sum()), 1.0))


def jackknife(value_j: Array) -> Array:
    """Standard error from estimates with one part of the cells left out each, first axis the parts."""
    n = len(value_j)
    return np.asarray(np.sqrt((n - 1) / n * ((value_j - value_j.mean(axis=0)) ** 2).sum(axis=0)))


def smooth_error(error_sg: Array, noise_sg: Array) -> Array:
    """Standard errors without their own noise, (s, g): a gene's mean error times the noise expected of an individual.

    A weight that is an individual's own estimated error goes with the estimate itself, and tests by such weights find
    too much (docs/individuals.md has the measurement).
    """
    mean_g = np.sqrt((error_sg**2).mean(axis=0))
    relative_sg = noise_sg / np.maximum(noise_sg.mean(axis=0), np.finfo(float).tiny)
    return np.asarray(mean_g * np.sqrt(relative_sg))


def pair_correlation(
    position_gk: Array, mean_gk: Array, first_e: NDArray[np.intp], second_e: NDArray[np.intp]
) -> Array:
    """Correlation of pairs of genes in an individual, (e,).

    v_g . v_h would take in the noise of every axis. A position is cut into its length along the cohort's mean m_g, and
    the rest r_g across it, which enters to first order alone (u_g is m_g over its length)::

        C_gh = (v_g.u_g)(v_h.u_h)(u_g.u_h) + r_g.m_h + m_g.r_h

    This is v_g . v_h at the mean, for genes that keep their direction and for small changes; 0 for genes that lost all.
    """
    length_g = np.linalg.norm(mean_gk, axis=1)
    unit_gk = mean_gk / np.where(length_g > 0, length_g, 1.0)[:, None]
    along_g = (position_gk * unit_gk).sum(axis=1)
    across_gk = position_gk - along_g[:, None] * unit_gk
    both_e = along_g[first_e] * along_g[second_e] * (unit_gk[first_e] * unit_gk[second_e]).sum(axis=1)
    first_part_e = (across_gk[first_e] * mean_gk[second_e]).sum(axis=1)
    return np.asarray(both_e + first_part_e + (mean_gk[first_e] * across_gk[second_e]).sum(axis=1))
