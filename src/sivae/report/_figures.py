"""The pictures of a report, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys, pl
from sivae._extras import require
from sivae._values import has_values
from sivae.pl import _loadings, _read

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

DPI: Final = 170
WIDE: Final = (7.0, 5.2)
"""Inches of a picture that needs room."""
N_LOADINGS: Final = 4
"""Axes whose loadings are drawn."""


def draw(adata: AnnData, *, label: str | None) -> dict[str, bytes]:
    """Draw every picture: cells and genes, a gene's expression, training, loadings of used axes, modules and hubs.

    Returns
    -------
    PNG files by name: "cells_and_genes" (more than one axis), "gene_expression", "history", "loadings_axis1" and so on;
    "biplot" where an axis is used, and "modules" and "hubs" where there are any.
    """
    used = used_axes(adata)
    pair = map_axes(adata)
    pictures = {}
    if pair is not None:
        pictures["cells_and_genes"] = png(lambda: pl.cells_and_genes(adata, pair, color=label)[0])
        if has_values(adata, _read.values_layer(adata, None)):
            pictures["gene_expression"] = png(lambda: _expression(adata, pair))
    pictures["history"] = png(lambda: pl.history(adata))
    for axis in used[:N_LOADINGS]:
        pictures[f"loadings_axis{axis + 1}"] = png(lambda axis=axis: pl.loadings(adata, axis))  # type: ignore[misc]
    return pictures | _gene_space(adata, pair)


def _gene_space(adata: AnnData, pair: tuple[int, int] | None) -> dict[str, bytes]:
    """The biplot, the graph of the modules, and hubs against their evidence, where these were worked out."""
    pictures = {}
    if pair is not None and used_axes(adata):
        pictures["biplot"] = png(lambda: pl.biplot(adata, pair, ax=_wide_axes()))
    if _keys.DISTANCES in adata.varp and has_modules(adata):
        pictures["modules"] = png(lambda: pl.modules(adata, ax=_wide_axes()))
    if _keys.HUB in adata.var and adata.var[_keys.HUB].any():
        pictures["hubs"] = png(lambda: pl.hubs(adata))
    return pictures


def has_modules(adata: AnnData) -> bool:
    """Whether a gene is in a module."""
    return _keys.MODULE in adata.var and bool(adata.var[_keys.MODULE].astype(str).str.startswith("module").any())


def _wide_axes() -> Any:
    plt = require("matplotlib.pyplot", extra="report")
    return plt.subplots(figsize=WIDE, layout="constrained")[1]


def used_axes(adata: AnnData) -> list[int]:
    """Return the axes that carry something, the first first."""
    return [int(axis) for axis in np.flatnonzero(~_read.unused_axes(adata))]


def map_axes(adata: AnnData) -> tuple[int, int] | None:
    """Return the two axes of the map: the first two that are used, or the first two; None if there is one axis only."""
    k = _read.cell_positions(adata).shape[1]
    if k < 2:
        return None
    order = used_axes(adata)
    order += [axis for axis in range(k) if axis not in order]
    return order[0], order[1]


def top_genes(adata: AnnData, pair: tuple[int, int]) -> list[str]:
    """Return the strongest gene of each of two axes (the first that is not taken yet)."""
    chosen: list[str] = []
    for axis in pair:
        rows, _ = _loadings.ends(adata, axis, n_genes=2)
        loading = np.abs(_read.gene_positions(adata)[rows, axis])
        names = [str(adata.var_names[g]) for g in rows[np.argsort(-loading, kind="stable")]]
        chosen += [name for name in names if name not in chosen][:1]
    return chosen


def _expression(adata: AnnData, pair: tuple[int, int]) -> Any:
    plt = require("matplotlib.pyplot", extra="report")
    genes = [gene for gene in top_genes(adata, pair) if gene not in adata.obs]
    _, axs = plt.subplots(1, max(1, len(genes)), figsize=(9.6, 3.6), layout="constrained", squeeze=False)
    for ax, gene in zip(axs[0], genes, strict=False):
        pl.cells(adata, pair, color=gene, ax=ax)
    return axs[0][0]


def png(drawing: Callable[[], Any]) -> bytes:
    """Draw, keep the file, and close every figure that drawing has opened."""
    plt = require("matplotlib.pyplot", extra="report")
    before = set(plt.get_fignums())
    try:
        figure, file = drawing().figure, io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
        return file.getvalue()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
