"""Cells in two of the latent axes, or in a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae.pl import _points, _read, _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


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
    layout = _read.cell_layout(adata, axes, basis)
    source = None if color is None else _read.color_source(adata, color)
    expression = _read.expression(adata, str(color), layer=layer) if source == "gene" else None
    named = source == "obs" and color is not None and adata.obs[color].dtype.kind not in "fiu"
    ax = _style.new_axes(ax, (5.8, 3.4) if named and not on_map else (4.2, 3.4))
    if layout.is_map:
        _style.origin_lines(ax)
    _style.label_axes(ax, *layout.names)
    xy_n2 = layout.xy_n2
    if color is None:
        _points.scatter(ax, xy_n2, c=_style.HIGH)
    elif expression is not None:
        _points.values(ax, xy_n2, expression[0], title=expression[1])
    elif named:
        _points.categories(ax, xy_n2, adata.obs[color], on_map=on_map)
    elif source == "obs":
        _points.values(ax, xy_n2, adata.obs[color].to_numpy(dtype=np.float64), title=color)
    else:
        _around_zero(ax, adata, xy_n2, color)
    return ax


def _around_zero(ax: Axes, adata: AnnData, xy_n2: np.ndarray, color: str) -> None:
    """Draw a coordinate or a score, which have a sign."""
    position_nk = _read.cell_positions(adata)
    axis = _read.axis_number(color, position_nk.shape[1])
    scored = axis is None
    value_n = _read.score(adata, color) if axis is None else position_nk[:, axis]
    title = f"{color}\nscore, in sd of a gene" if scored else _read.axis_name(adata, axis or 0)
    most = float(np.nanmax(np.abs(value_n))) if len(value_n) else 1.0
    _points.values(ax, xy_n2, value_n, title=title, cmap=_style.CHANGES, vmin=-most, vmax=most)
