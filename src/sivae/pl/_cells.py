"""Cells in two of the latent axes, or in a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae._door import door
from sivae._values import frame
from sivae.pl import _points, _read, _style
from sivae.pl._look import Look

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@door
def cells(
    adata: AnnData,
    axes: tuple[int, int] = (0, 1),
    *,
    basis: str | None = None,
    color: str | None = None,
    layer: str | None = None,
    on_map: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw cells in two latent axes, or in a layout of them such as UMAP.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    basis
        Draw this array of `obsm` with two columns instead ("X_umap" or "umap", "X_tsne", ...), as scanpy writes it.
    color
        A column of `obs` (categories get a legend, numbers a color bar); a gene, whose expression is drawn: log1p of
        counts per 10,000 for counts, else the values as stored; an axis ("axis1"); or a module or gene set, whose score
        in `obsm["X_sivae_modules"]` or `obsm["X_sivae_gene_sets"]` is drawn. One color if not given.
    layer
        Layer with the expression; that of the set-up record, or else `X`, if not given.
    on_map
        Write the names of categories among the cells instead of in a legend.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Points are drawn in a fixed random order, so that no group hides another; a gene's highest cells are
    drawn last.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, layout, column, gene or layer.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.cells(adata, color="group").get_xlabel()
    'axis 1'
    """
    layout, look = _read.cell_layout(adata, axes, basis), look_of(adata, color, layer)
    beside = look.column is not None and not on_map
    ax = _style.new_axes(ax, (5.8, 3.4) if beside else (4.2, 3.4))
    if layout.is_map:
        _style.origin_lines(ax)
    _style.label_axes(ax, *layout.names)
    drawn = look.draw(ax, layout.xy_n2)
    if look.column is not None and on_map:
        _points.names_on_map(ax, layout.xy_n2, drawn)
    else:
        look.explain(ax, drawn)
    return ax


def look_of(adata: AnnData, color: str | None, layer: str | None) -> Look:
    """Read what colors the cells.

    Raises
    ------
    OptionError, SetupError
        If there is nothing of that name, or no such layer.
    """
    if color is None:
        return Look()
    source = _read.color_source(adata, color)
    if source == "gene":
        value_n, title = _read.expression(adata, color, layer=layer)
        return Look(value_n=value_n, title=title)
    if source == "axis":
        position_nk = _read.cell_positions(adata)
        axis = _read.axis_number(color, position_nk.shape[1]) or 0
        return Look(value_n=position_nk[:, axis], title=_read.axis_name(adata, axis), around_zero=True)
    if source == "score":
        return Look(value_n=_read.score(adata, color), title=f"{color}\nscore, in sd of a gene", around_zero=True)
    column = frame(adata.obs)[color]
    if column.dtype.kind in "fiu":
        return Look(value_n=column.to_numpy(dtype=np.float64), title=color)
    return Look(column=column, title=color)
