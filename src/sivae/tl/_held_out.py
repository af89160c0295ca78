"""Standardised values of genes in training and in held-out cells, for what cannot be said from positions alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np

from sivae import _keys
from sivae._errors import SetupError
from sivae._rng import name_fractions, numpy_generator
from sivae._values import frame, values_of
from sivae.tl._expression import are_counts, standardised

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.tl._expression import Standardised

    Array: TypeAlias = NDArray[np.float32]
    Positions: TypeAlias = NDArray[np.intp]

HELD_OUT: Final = 0.2
"""Share of the cells held out where `obs` does not say which were."""
MAX_CELLS: Final = 5000
"""Cells read on either side."""


@final
@dataclass(frozen=True)
class Expression:
    """Values of the genes of a space, on the scale of the loadings."""

    train_ng: Array
    test_ng: Array


def read_expression(adata: AnnData, space: GeneSpace, *, layer: str | None, seed: int) -> Expression:
    """Read the genes of the space in at most 5,000 training and 5,000 validation cells.

    Cells are those of `obs["sivae_split"]`, or else a fifth is held out by a hash of the names. Values are those of
    `standardised`, the library being the counts over the modelled genes; without a set-up, whole numbers of at least 0
    are counts.

    Raises
    ------
    SetupError
        If there are no values, or too few cells.
    """
    values, training_n = read_values(adata, space, layer=layer, seed=seed)
    x_ng = np.empty(values.shape, np.float32)
    for rows, x_cg in values.blocks():
        x_ng[rows] = x_cg
    return Expression(x_ng[training_n], x_ng[~training_n])


def read_values(
    adata: AnnData, space: GeneSpace, *, layer: str | None, seed: int
) -> tuple[Standardised, NDArray[np.bool_]]:
    """What `read_expression` reads, block by block, and which of the cells are training cells."""
    train, held = (_some(cells, seed) for cells in _split(adata, seed))
    cells = np.sort(np.concatenate([train, held]))
    record = dict(dict(adata.uns.get(_keys.UNS, {})).get("setup", {}))
    log = None
    if not record:
        every = values_of(adata, layer)
        log = are_counts(replace(every, rows=every.rows[cells]).take(space.rows))
    training_n = np.isin(cells, train)
    library_genes = space.rows[space.modelled_g]
    values = standardised(adata, space.rows, library_genes, layer=layer, cells=cells, training_n=training_n, log=log)
    return values, training_n


def _split(adata: AnnData, seed: int) -> tuple[Positions, Positions]:
    obs = frame(adata.obs)
    kind = obs[_keys.SPLIT].astype(str).to_numpy() if _keys.SPLIT in obs else np.full(adata.n_obs, "")
    train, held = np.flatnonzero(kind == "train"), np.flatnonzero(kind == "validation")
    if len(train) == 0 or len(held) == 0:
        is_held = name_fractions(list(adata.obs_names), seed) < HELD_OUT
        train, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    if min(len(train), len(held)) < 3:
        raise SetupError(
            f"Found {len(train)} training and {len(held)} held-out cells, expected at least 3 of each. "
            "Use the AnnData that the model was trained on, with all of its cells."
        )
    return train, held


def _some(cells: Positions, seed: int) -> Positions:
    if len(cells) <= MAX_CELLS:
        return cells
    return np.sort(numpy_generator(seed, "expression").permutation(cells)[:MAX_CELLS])
