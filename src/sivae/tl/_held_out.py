"""Standardised values of genes in training and in held-out cells, for what cannot be said from positions alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from sivae import _keys
from sivae._errors import SetupError
from sivae._rng import name_fractions, numpy_generator
from sivae._values import frame, values_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace

    Array: TypeAlias = NDArray[np.float32]
    Positions: TypeAlias = NDArray[np.intp]

TARGET: Final = 1e4
CLIP: Final = 10.0
HELD_OUT: Final = 0.2
"""Share of the cells held out where `obs` does not say which were."""
MAX_CELLS: Final = 5000
"""Cells read on either side."""


@final
@dataclass(frozen=True)
class Expression:
    """Values of the genes of a space, log-normalised where they are counts, standardised on training cells."""

    train_ng: Array
    test_ng: Array
    mean_g: NDArray[np.float64]
    """Mean over training cells before standardising."""
    detection_g: NDArray[np.float64]
    """Share of the training cells in which the gene is not zero."""


def read_expression(adata: AnnData, space: GeneSpace, *, layer: str | None, seed: int) -> Expression:
    """Read the genes of the space in at most 5,000 training and 5,000 validation cells.

    Cells are those of `obs["sivae_split"]`, or else a fifth is held out by a hash of the names. Counts become
    log1p(10,000 y / total), the total being over the modelled genes; values are standardised by mean and sd of the
    training cells and clipped at +-10, as in training.

    Raises
    ------
    SetupError
        If there are no values, or too few cells.
    """
    record = dict(dict(adata.uns.get(_keys.UNS, {})).get("setup", {}))
    layer = layer if layer is not None else (str(record.get("layer", "")) or None)
    sides = [_some(cells, seed) for cells in _split(adata, seed)]
    values = values_of(adata, layer)
    read = [_read(replace(values, rows=values.rows[cells]).take(space.rows)) for cells in sides]
    detection_g = (read[0] != 0).mean(axis=0)
    if _is_counts(record, read):
        read = [_log_normalised(values_ng, space.modelled_g) for values_ng in read]
    mean_g, sd_g = read[0].mean(axis=0, dtype=np.float64), read[0].std(axis=0, dtype=np.float64)
    inverse_g = np.divide(1.0, sd_g, out=np.zeros_like(sd_g), where=sd_g > 1e-6)
    train_ng, test_ng = (np.clip((x - mean_g) * inverse_g, -CLIP, CLIP).astype(np.float32) for x in read)
    return Expression(train_ng, test_ng, mean_g, detection_g)


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


def _read(values: Any) -> Array:
    result = np.zeros(values.shape, np.float32)
    for rows, columns, block in values.pieces():
        result[np.ix_(rows, columns)] = block.toarray() if hasattr(block, "toarray") else block
    return result


def _is_counts(record: dict[str, Any], read: list[Array]) -> bool:
    if record:
        return str(record.get("normalize")) == "log1p"
    return all(bool((x >= 0).all() and (x == np.round(x)).all()) for x in read)


def _log_normalised(values_ng: Array, counted_g: NDArray[np.bool_]) -> Array:
    total_n = values_ng[:, counted_g].sum(axis=1, dtype=np.float64)
    return np.asarray(np.log1p(values_ng * (TARGET / np.maximum(total_n, 1e-12))[:, None]), np.float32)
