"""What plots read from an annotated AnnData, by name, with errors that say what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from sivae import _keys
from sivae._checks import check_adata
from sivae._errors import OptionError, SetupError, some
from sivae._values import values_of
from sivae.stats import entries

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

TARGET: Final = 1e4
"""Counts to which a cell is scaled before taking log1p."""
UNUSED_VARIANCE: Final = 0.01
"""An axis along which the cells' positions vary less than this, where the prior has 1, places no cell."""


def cell_positions(adata: AnnData) -> NDArray[np.float64]:
    """Return `obsm["X_sivae"]`, (n, k)."""
    check_adata(adata)
    if _keys.CELLS not in adata.obsm:
        raise SetupError(
            f"Found no obsm[{_keys.CELLS!r}], expected the cell embedding; "
            f"obsm has: {some(adata.obsm.keys()) or 'nothing'}. Call model.annotate(adata) first."
        )
    return np.asarray(adata.obsm[_keys.CELLS], dtype=np.float64)


def gene_positions(adata: AnnData) -> NDArray[np.float64]:
    """Return `varm["X_sivae"]`, (g, k); NaN for genes that were not embedded."""
    check_adata(adata)
    if _keys.GENES not in adata.varm:
        raise SetupError(
            f"Found no varm[{_keys.GENES!r}], expected the gene embedding; "
            f"varm has: {some(adata.varm.keys()) or 'nothing'}. Call model.annotate(adata) first."
        )
    return np.asarray(adata.varm[_keys.GENES], dtype=np.float64)


def modelled(adata: AnnData) -> NDArray[np.bool_]:
    """Tell which genes the model was trained on, (g,); all that are embedded if nothing says so."""
    embedded_g: NDArray[np.bool_] = np.asarray(np.isfinite(gene_positions(adata)).all(axis=1))
    if _keys.MODELLED in adata.var:
        embedded_g &= adata.var[_keys.MODELLED].to_numpy(dtype=bool)
    return embedded_g


def unused_axes(adata: AnnData) -> NDArray[np.bool_]:
    """Tell which axes carry nothing, (k,): all loadings zero, or cells whose positions hardly vary along them."""
    if _keys.GENES in adata.varm:
        loading_gk = gene_positions(adata)[modelled(adata)]
        unused_k: NDArray[np.bool_] = np.asarray(~(np.abs(loading_gk) > 0).any(axis=0))
    else:
        unused_k = np.zeros(cell_positions(adata).shape[1], dtype=bool)
    variance_k = axis_variance(adata)
    if variance_k is not None:
        unused_k |= variance_k < UNUSED_VARIANCE
    return unused_k


def axis_variance(adata: AnnData) -> NDArray[np.float64] | None:
    """Return the variance of the training cells' positions along each axis, (k,); of all cells if that is not kept."""
    stored = dict(adata.uns.get(_keys.UNS, {})).get("joint_covariance")
    if stored is not None and _keys.GENES in adata.varm:
        return np.diag(np.asarray(stored, dtype=np.float64))[: gene_positions(adata).shape[1]].copy()
    if _keys.CELLS in adata.obsm and adata.n_obs > 1:
        variance_k: NDArray[np.float64] = cell_positions(adata).var(axis=0, ddof=1)
        return variance_k
    return None


def check_axes(axes: object, n_latent: int, *, n_wanted: int = 2) -> tuple[int, ...]:
    """Check axis numbers, counted from 0."""
    listed = list(axes) if isinstance(axes, Iterable) else [axes]
    numbers = tuple(int(axis) for axis in listed if isinstance(axis, int | np.integer) and 0 <= axis < n_latent)
    if not len(listed) == len(set(numbers)) == n_wanted:
        raise OptionError(
            f"Found axes {listed}, expected {n_wanted} different from 0 to {n_latent - 1}: the embedding has "
            f"{n_latent}, counted from 0. For example {list(range(min(n_wanted, n_latent)))}."
        )
    return numbers


def axis_name(adata: AnnData, axis: int) -> str:
    """Name an axis as people count, "axis 1", and say so if nothing uses it."""
    return f"axis {axis + 1}{' (unused)' if unused_axes(adata)[axis] else ''}"


def values_layer(adata: AnnData, layer: str | None) -> str | None:
    """Return the layer with the values: the one named, or the one that the model was set up with; None is X."""
    setup = dict(dict(adata.uns.get(_keys.UNS, {})).get("setup", {}))
    return layer or str(setup.get("layer", "")) or None


def expression(adata: AnnData, gene: str, *, layer: str | None) -> tuple[NDArray[np.float64], str]:
    """Return a gene's expression, (n,), and what it is in words.

    Counts become log1p(1e4 y / counts of the cell over the genes of `adata`); other values are as stored.
    """
    x_ng, at = values_of(adata, values_layer(adata, layer)), int(adata.var_names.get_loc(gene))
    values, total_n = np.zeros(adata.n_obs), np.zeros(adata.n_obs)
    for row, column, value in entries(x_ng):
        total_n += np.bincount(row, value, minlength=adata.n_obs)
        values[row[column == at]] = value[column == at]
    setup = dict(dict(adata.uns.get(_keys.UNS, {})).get("setup", {}))
    normalize = str(setup.get("normalize", "")) or ("log1p" if _whole(values) else "none")
    if normalize != "log1p":
        return values, gene
    return np.log1p(TARGET * values / np.maximum(total_n, 1e-12)), f"{gene}\nlog(1 + counts per 10,000)"


def _whole(values: NDArray[np.float64]) -> bool:
    return bool((values >= 0).all() and (values == np.round(values)).all())


def color_source(adata: AnnData, color: str) -> Literal["obs", "gene"]:
    """Tell whether a name is a column of `obs` or a gene; `obs` comes first."""
    if color in adata.obs:
        return "obs"
    if color in adata.var_names:
        return "gene"
    raise OptionError(
        f"Found color={color!r}, expected a column of obs ({some(adata.obs.columns) or 'none are there'}) or a gene "
        f"({some(adata.var_names, 3)}). Check the spelling."
    )
