"""How far two neighborhoods of a gene agree. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
CHUNK = 256


def jaccard(first_gn: Positions, second_gm: Positions) -> Array:
    """Neighbors in common over neighbors in either, (g,): 1 for equal sets, 0 for sets with nothing in common.

    Entries of a row are different from each other. Paper, C.6 (doi 10.1186/s13059-023-02850-y).
    """
    g, n = first_gn.shape
    n_genes = int(max(first_gn.max(), second_gm.max())) + 1
    own = np.arange(g)[:, None] * n_genes
    common = np.isin((own + first_gn).ravel(), (own + second_gm).ravel(), assume_unique=True)
    common_g = common.reshape(g, n).sum(axis=1)
    return np.asarray(common_g / (n + second_gm.shape[1] - common_g), np.float64)


def pair_correlation(unit_gm: Array, first_gn: Positions, second_gm: Positions) -> Array:
    """Mean absolute correlation over all pairs of a neighbor by one method and a neighbor by the other, (g,).

    `unit_gm` are vectors whose inner products are correlations: standardised values over cells, each of length 1, or
    the factors of the implied correlation. A gene that is in both neighborhoods is paired with itself, too.
    Paper, C.6 (doi 10.1186/s13059-023-02850-y).
    """
    result = np.empty(len(first_gn))
    for start in range(0, len(first_gn), CHUNK):
        rows = slice(start, start + CHUNK)
        product_bnm = unit_gm[first_gn[rows]] @ unit_gm[second_gm[rows]].transpose(0, 2, 1)
        result[rows] = np.abs(product_bnm).mean(axis=(1, 2))
    return result
