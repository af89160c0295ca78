"""What plots read from an annotated AnnData, by name, with errors that say what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from sivae import _keys
from sivae._checks import check_adata
from sivae._errors import OptionError, SetupError, some
from sivae._values import values_of
from sivae.stats import entries

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if adata.n_obs == 0:
        raise SetupError("The AnnData has no cells, expected some. Check the filters before it.")
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


def regression_factor(adata: AnnData) -> NDArray[np.float64]:
    """Return by how much more values change than loadings say for a step of the cells' posterior means, (k,).

    Training sees positions z = m + e, with e of the posterior's variance s, so that a loading is the slope on z,
    v = E[x m] / (Var(m) + s). On the means m alone, where cells are drawn, the slope is E[x m] / Var(m): larger by
    (Var(m) + s) / Var(m). It is taken as 1 where s is not known.
    """
    variance_k, stored = axis_variance(adata), dict(adata.uns.get(_keys.UNS, {})).get("position_variance")
    k = gene_positions(adata).shape[1]
    if variance_k is None or stored is None or np.shape(stored) != (k,):
        return np.ones(k)
    used_k = variance_k >= UNUSED_VARIANCE
    extra_k = np.divide(np.asarray(stored, np.float64), variance_k, out=np.zeros(k), where=used_k)
    return np.asarray(1.0 + extra_k)


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
    values_nf, words = expressions(adata, [gene], layer=layer)
    return values_nf[:, 0], f"{gene}\n{words}" if words else gene


def expressions(adata: AnnData, genes: Sequence[str], *, layer: str | None) -> tuple[NDArray[np.float64], str]:
    """Return the expression of some genes, (n, f), as `expression` does, and what it is ("" for values as stored)."""
    x_ng, at_f = values_of(adata, values_layer(adata, layer)), adata.var_names.get_indexer(list(genes))
    place_g = np.full(adata.n_vars, -1)
    place_g[at_f] = np.arange(len(at_f))
    values_nf, total_n = np.zeros((adata.n_obs, len(at_f))), np.zeros(adata.n_obs)
    for row, column, value in entries(x_ng):
        total_n += np.bincount(row, value, minlength=adata.n_obs)
        mine = place_g[column] >= 0
        values_nf[row[mine], place_g[column[mine]]] = value[mine]
    setup = dict(dict(adata.uns.get(_keys.UNS, {})).get("setup", {}))
    normalize = str(setup.get("normalize", "")) or ("log1p" if _whole(values_nf) else "none")
    if normalize != "log1p":
        return values_nf, ""
    return np.log1p(TARGET * values_nf / np.maximum(total_n, 1e-12)[:, None]), "log(1 + counts per 10,000)"


def _whole(values: NDArray[np.float64]) -> bool:
    return bool((values >= 0).all() and (values == np.round(values)).all())


Source: TypeAlias = Literal["obs", "gene", "axis", "score"]


def color_source(adata: AnnData, color: str) -> Source:
    """Tell whether a name is a column of `obs`, a gene, an axis or a score; asked for in this order."""
    if color in adata.obs:
        return "obs"
    if color in adata.var_names:
        return "gene"
    if axis_number(color, cell_positions(adata).shape[1]) is not None:
        return "axis"
    if any(color in names for _, names in _score_tables(adata)):
        return "score"
    scores = [name for _, names in _score_tables(adata) for name in names]
    raise OptionError(
        f"Found color={color!r}, expected a column of obs ({some(adata.obs.columns) or 'none are there'}), a gene "
        f"({some(adata.var_names, 3)}), an axis (axis1), or a score of modules or gene sets "
        f"({some(scores, 3) or 'none are there'}). Check the spelling."
    )


def axis_number(name: str, n_latent: int) -> int | None:
    """Return the axis that "axis1" and so on name, counted from 0, or None."""
    number = name.removeprefix("axis").strip()
    return int(number) - 1 if name.startswith("axis") and number.isdecimal() and 1 <= int(number) <= n_latent else None


def score(adata: AnnData, name: str) -> NDArray[np.float64]:
    """Return a score of a module or of a gene set in every cell, (n,)."""
    key = next(key for key, names in _score_tables(adata) if name in names)
    return np.asarray(adata.obsm[key][name], dtype=np.float64)


def _score_tables(adata: AnnData) -> list[tuple[str, list[str]]]:
    tables = [(key, adata.obsm[key]) for key in (_keys.MODULE_SCORES, _keys.GENE_SET_SCORES) if key in adata.obsm]
    return [(key, [str(name) for name in table.columns]) for key, table in tables if hasattr(table, "columns")]


# ------------------------------------------------------------------------------------------------------------- layouts

HOW: Final = {
    "cells": {
        "umap": "sc.pp.neighbors(adata, use_rep='X_sivae'); sc.tl.umap(adata)",
        "tsne": "sc.tl.tsne(adata, use_rep='X_sivae')",
    },
    "genes": {
        "umap": "umap.UMAP(metric='cosine')",
        "tsne": "sklearn.manifold.TSNE(metric='cosine')",
    },
}
"""How a layout is computed of the cells' and of the genes' positions."""


def cell_layout(adata: AnnData, axes: tuple[int, int], basis: str | None) -> Layout:
    """Return the cells' positions on two axes, or those of a layout in `obsm`."""
    position_nk = cell_positions(adata)
    if basis is None:
        return _two_axes(adata, position_nk, axes)
    return _stored_layout(adata, basis, side="cells")


def gene_layout(adata: AnnData, axes: tuple[int, int], basis: str | None) -> Layout:
    """Return the genes' positions on two axes, or those of a layout in `varm`."""
    position_gk = gene_positions(adata)
    if basis is None:
        return _two_axes(adata, position_gk, axes)
    return _stored_layout(adata, basis, side="genes")


@dataclass(frozen=True)
class Layout:
    """Where points are drawn, (n, 2), and what the two directions are called."""

    xy_n2: NDArray[np.float64]
    names: tuple[str, str]
    is_map: bool
    """Whether these are axes of the map, with an origin that means something."""


def _two_axes(adata: AnnData, position_nk: NDArray[np.float64], axes: tuple[int, int]) -> Layout:
    x, y = check_axes(axes, position_nk.shape[1])
    return Layout(position_nk[:, [x, y]], (axis_name(adata, x), axis_name(adata, y)), is_map=True)


def _stored_layout(adata: AnnData, basis: str, *, side: Literal["cells", "genes"]) -> Layout:
    table, where = (adata.obsm, "obsm") if side == "cells" else (adata.varm, "varm")
    key = next((key for key in (basis, f"X_{basis}") if key in table), None)
    if key is None:
        raise SetupError(
            f"Found no {where}[{basis!r}], expected a layout of the {side}, two columns; {where} has: "
            f"{some(table.keys()) or 'nothing'}. {_how(basis, side)}"
        )
    xy_n2 = np.asarray(table[key], dtype=np.float64)
    if xy_n2.ndim != 2 or xy_n2.shape[1] != 2:
        raise OptionError(
            f"{where}[{key!r}] has shape {xy_n2.shape}, expected two columns. Name a layout, or use axes= for two axes "
            "of the map."
        )
    word = key.removeprefix("X_")
    return Layout(xy_n2, (f"{word} 1", f"{word} 2"), is_map=False)


def _how(basis: str, side: Literal["cells", "genes"]) -> str:
    kind = basis.removeprefix("X_")
    call = HOW[side].get(kind)
    if side == "cells":
        call = call or "; ".join(HOW["cells"].values())
        return f"Compute it with scanpy (import scanpy as sc): {call}"
    call = call or " or ".join(HOW["genes"].values())
    return (
        f"Compute it of adata.varm['X_sivae'], for example with {call}.fit_transform on the rows without NaN, and put "
        f"it into adata.varm[{basis!r}]; docs/plots.md has the lines."
    )
