"""How central a gene is, from positions of genes alone. Arrays only.

All are high for genes that move many others and 0 for a gene at the origin (the published code inverted the sign of
the norm). `factor_gm` are vectors whose inner products are the correlations of genes, as of `correlation_factors`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sivae.graph._neighbors import BLOCK_VALUES

Array = NDArray[np.float64]
MOST_PAIRS = 2**22
"""Pairs that are held; beyond, degrees are counted without them."""
BINS = 2**16
"""Of absolute correlations, 0 to 1."""


def norm(v_gk: Array, covariance_kk: Array | None = None) -> Array:
    """Length of the loadings, sqrt(v_g' Cov(z) v_g), (g,); without a covariance of the axes the plain length."""
    stretched_gk = v_gk if covariance_kk is None else v_gk @ covariance_kk
    return np.asarray(np.sqrt(np.maximum((stretched_gk * v_gk).sum(axis=1), 0.0)), np.float64)


def power(factor_gm: Array) -> Array:
    """Mean over the other genes of the squared correlation, (g,): the share of their variance that one gene tells.

    A straight line on gene g leaves 1 - C_gh^2 of gene h. With C = A A' off the diagonal,

        sum_h C_gh^2 = a_g' (A' A) a_g - (a_g . a_g)^2

    so that no matrix genes x genes is made.
    """
    gram_mm = factor_gm.T @ factor_gm
    own_g = (factor_gm**2).sum(axis=1)
    total_g = ((factor_gm @ gram_mm) * factor_gm).sum(axis=1) - own_g**2
    return np.asarray(np.maximum(total_g, 0.0) / max(len(factor_gm) - 1, 1), np.float64)


def strength(factor_gm: Array) -> Array:
    """Mean over the other genes of the absolute correlation, (g,); in blocks of rows."""
    own_g = (factor_gm**2).sum(axis=1)
    total_g = np.concatenate([np.abs(block).sum(axis=1) for block in _products(factor_gm, factor_gm)])
    return np.asarray(np.maximum(total_g - own_g, 0.0) / max(len(factor_gm) - 1, 1), np.float64)


def attribution(encoder_gk: Array, v_gk: Array) -> Array:
    """Mean over the other genes of |e_g . v_h|, (g,): what a change of gene g does to their linear predictions.

    e_g is the mean derivative of z by the gene (encoder), v_h the derivative of gene h by z (decoder): paper, C.8.
    """
    own_g = np.abs((encoder_gk * v_gk).sum(axis=1))
    total_g = np.concatenate([np.abs(block).sum(axis=1) for block in _products(encoder_gk, v_gk)])
    return np.asarray(np.maximum(total_g - own_g, 0.0) / max(len(v_gk) - 1, 1), np.float64)


def degree(factor_gm: Array, *, share: float = 0.01) -> Array:
    """Edges of a gene in the graph of the `share` of pairs with the largest absolute correlation, (g,).

    The published graph joins the closest pairs by Euclidean distance (paper, C.13), and genes at the origin lie close
    together; by correlation they have no edges. Pairs of correlation 0 are never joined.
    """
    g = len(factor_gm)
    if (n_edges := _n_edges(g, share)) > MOST_PAIRS:
        return _counted(factor_gm, n_edges)
    row_e, column_e = top_pairs(factor_gm, share=share)
    return (np.bincount(row_e, minlength=g) + np.bincount(column_e, minlength=g)).astype(np.float64)


def top_pairs(factor_gm: Array, *, share: float = 0.01) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The `share` of pairs with the largest absolute correlation, (e,) and (e,), the first gene before the second.

    One pass over blocks of rows keeps the best pairs so far; pairs of correlation 0 are left out.
    """
    n_edges = _n_edges(len(factor_gm), share)
    value_e, row_e, column_e = np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp)
    cut, start = 0.0, 0
    for product_bg in _products(factor_gm, factor_gm):
        size_bg = np.triu(np.abs(product_bg), start + 1)
        if not len(value_e):
            cut = _low_cut(size_bg, n_edges)
        chosen = np.nonzero(size_bg > cut)
        value_e = np.concatenate([value_e, size_bg[chosen]])
        row_e, column_e = np.concatenate([row_e, chosen[0] + start]), np.concatenate([column_e, chosen[1]])
        if len(value_e) > n_edges:
            cut = float(np.partition(value_e, len(value_e) - n_edges)[len(value_e) - n_edges])
            kept = value_e >= cut  # ties at the cut all stay
            value_e, row_e, column_e = value_e[kept], row_e[kept], column_e[kept]
            cut = np.nextafter(cut, 0.0)
        start += len(size_bg)
    return row_e, column_e


def _n_edges(g: int, share: float) -> int:
    return max(1, round(share * g * (g - 1) / 2))


def _counted(factor_gm: Array, n_edges: int) -> Array:
    """Edges of a gene among so many pairs, in two passes that keep none: where the cut lies, and who is above it."""
    histogram = np.zeros(BINS, np.int64)
    for _, _, bin_bg in _binned(factor_gm):
        histogram += np.bincount(bin_bg.ravel() + 1, minlength=BINS + 1)[1:]
    from_top = np.cumsum(histogram[::-1])[::-1]
    cut_bin = int(np.flatnonzero(from_top >= min(n_edges, from_top[0])).max())
    degree_g, close = np.zeros(len(factor_gm)), []
    for start, size_bg, bin_bg in _binned(factor_gm):
        above_bg = bin_bg > cut_bin
        degree_g += above_bg.sum(axis=0)
        degree_g[start : start + len(above_bg)] += above_bg.sum(axis=1)
        row, column = np.nonzero(bin_bg == cut_bin)
        close.append((size_bg[row, column], row + start, column))
    value_e, row_e, column_e = (np.concatenate(arrays) for arrays in zip(*close, strict=True))
    above = int(from_top[cut_bin] - histogram[cut_bin])
    left = max(len(value_e) - (n_edges - above), 0)
    kept = value_e >= (np.partition(value_e, left)[left] if len(value_e) else 0.0)  # ties at the cut all stay
    for genes in (row_e[kept], column_e[kept]):
        degree_g += np.bincount(genes, minlength=len(degree_g))
    return degree_g


def _binned(factor_gm: Array) -> Iterator[tuple[int, Array, NDArray[np.int64]]]:
    """First row, absolute correlations and their bins, (rows, g), in blocks; bin -1 below the diagonal and of 0."""
    start = 0
    for product_bg in _products(factor_gm, factor_gm):
        size_bg = np.triu(np.abs(product_bg), start + 1)
        bin_bg = np.minimum((size_bg * BINS).astype(np.int64), BINS - 1)
        bin_bg[size_bg == 0] = -1
        yield start, size_bg, bin_bg
        start += len(size_bg)


def _low_cut(size_bg: Array, n_edges: int) -> float:
    """A value that at least `n_edges` exceed, by every eighth row, so that few others are looked at; else 0."""
    sample = size_bg[::8].ravel()
    at = len(sample) - 1 - 2 * n_edges * len(sample) // size_bg.size
    if at < 0:
        return 0.0
    cut = float(np.partition(sample, at)[at])
    return cut if np.count_nonzero(size_bg > cut) >= n_edges else 0.0


def _products(a_gm: Array, b_hm: Array) -> Iterator[Array]:
    """Inner products of rows of `a` with every row of `b`, (rows, h), block by block."""
    step = max(1, BLOCK_VALUES // max(len(b_hm), 1))
    for start in range(0, len(a_gm), step):
        yield a_gm[start : start + step] @ b_hm.T
