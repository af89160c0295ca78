"""Gene spaces of individuals as an AnnData: individuals x genes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae.graph import _cohort, _hubs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sivae.cohort._shared import Spaces

    Array = NDArray[np.float64]

logger = logging.getLogger("sivae")
MOST_EDGES = 100_000
"""Edges that are kept, at most: those that most individuals have."""
CANDIDATES = 5
"""Pairs of the cohort's mean graph that are kept as well, as multiples of the edges of one individual.

An edge that weakens in some individuals need not be among the strongest of anyone's.
"""


def assemble(
    spaces: Spaces,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    *,
    controls: dict[str, Array],
    composition: pd.DataFrame | None,
    edge_share: float,
    record: dict[str, Any],
) -> ad.AnnData:
    """Make the AnnData that `connectivity` returns; its docstring says what is where."""
    samples = ad.AnnData(spaces.layer[_keys.PROJECTION].copy(), obs=obs, var=var)
    for name, values in (spaces.layer | controls).items():
        samples.layers[name] = values
    if composition is not None:
        samples.obsm[_keys.COMPOSITION] = composition.rename(columns=h5_name)
    samples.obsm[_keys.POSITIONS] = spaces.position_sgk.astype(np.float32)
    if spaces.matched_sgr is not None:
        samples.obsm[_keys.MATCHED] = spaces.matched_sgr.astype(np.float32)
    first_e, second_e, present_se = individual_edges(spaces, edge_share)
    samples.obsm[_keys.EDGES] = present_se
    samples.obsm[_keys.EDGE_STRENGTH] = np.array(
        [_cohort.pair_correlation(v_gk, spaces.mean_gk, first_e, second_e) for v_gk in spaces.raw_sgk], np.float32
    )
    names = np.asarray(samples.var_names, dtype=object)
    edges = pd.DataFrame(
        {"gene_a": names[first_e], "gene_b": names[second_e]}, index=[str(e) for e in range(len(first_e))]
    )
    failed = {h5_name(who): why for who, why in record["failed"].items()}
    samples.uns[_keys.COHORT] = record | {"failed": failed, "matched_cells": spaces.matched_cells, "edges": edges}
    return samples


def h5_name(name: object) -> str:
    """A name that may be a path in an h5ad file: with a division slash instead of a slash."""
    return str(name).replace("/", "\N{DIVISION SLASH}")


def individual_edges(spaces: Spaces, share: float) -> tuple[NDArray[np.intp], NDArray[np.intp], sparse.csr_matrix]:
    """Pairs worth a test, both genes, (e,) each, and whose graph has them, (s, e).

    The edges of every individual's graph (from positions drawn to the cohort's), the strongest pairs of every
    individual's own positions, and those of the mean. None of this looks at a phenotype.
    """
    n_genes = spaces.mean_gk.shape[0]
    pair_s = [_pairs(v_gk, share) for v_gk in spaces.position_sgk]
    own_s = [_pairs(v_gk, share) for v_gk in spaces.raw_sgk]
    every, count = np.unique(np.concatenate([*pair_s, *own_s]), return_counts=True)
    if len(every) > MOST_EDGES:
        logger.info("%d pairs in all; the %d that most individuals have are kept", len(every), MOST_EDGES)
        every = np.sort(every[np.lexsort((every, -count))[:MOST_EDGES]])
    room = (MOST_EDGES - len(every)) / max(n_genes * (n_genes - 1) / 2, 1)
    if room > 0:
        every = np.union1d(every, _pairs(spaces.mean_gk, min(CANDIDATES * share, room, 1.0)))
    rows, columns = [], []
    for s, pairs in enumerate(pair_s):
        kept = pairs[np.isin(pairs, every, assume_unique=True)]
        rows.append(np.full(len(kept), s))
        columns.append(np.searchsorted(every, kept))
    row, column = np.concatenate(rows), np.concatenate(columns)
    present_se = sparse.csr_matrix(
        (np.ones(len(row), np.float32), (row, column)), shape=(len(pair_s), len(every)), dtype=np.float32
    )
    return (every // n_genes).astype(np.intp), (every % n_genes).astype(np.intp), present_se


def _pairs(v_gk: Array, share: float) -> NDArray[np.int64]:
    """The strongest pairs, each as one number, ascending."""
    first_e, second_e = _hubs.top_pairs(v_gk, share=share)
    return np.sort(first_e.astype(np.int64) * len(v_gk) + second_e)
