"""Genes in two of the latent axes, alone or beside the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae import _keys
from sivae._checks import whole_number
from sivae._errors import OptionError, some
from sivae._extras import require
from sivae.pl import _labels, _read, _style
from sivae.pl._cells import cells

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def genes(
    adata: AnnData,
    axes: tuple[int, int] = (0, 1),
    *,
    color: str | None = _keys.R2,
    n_labels: int = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw genes in two latent axes, and name those farthest from the origin.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    color
        A column of `var` with numbers; values below 0 are drawn as 0 for `sivae_r2`. One colour if None, or if
        it is the default and not there.
    n_labels
        How many genes to name, among those that the model was trained on; names for which there is no room are
        left out.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Genes that the model was not trained on and that were embedded afterwards are drawn as small rings; genes
    without a position are left out.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis or column.
    """
    whole_number("n_labels", n_labels, least=0)
    position_gk = _read.gene_positions(adata)
    x, y = _read.check_axes(axes, position_gk.shape[1])
    value_g = _values(adata, color)
    ax = _style.new_axes(ax)
    _style.origin_lines(ax)
    _style.label_axes(ax, _read.axis_name(adata, x), _read.axis_name(adata, y))
    xy_g2 = position_gk[:, [x, y]]
    _points(ax, xy_g2, _read.modelled(adata), value_g=value_g, color=color)
    named = _farthest(adata, xy_g2, n_labels)
    _labels.place(ax, xy_g2[named], [str(name) for name in adata.var_names[named]], others_n2=_finite(xy_g2))
    return ax


def cells_and_genes(
    adata: AnnData, axes: tuple[int, int] = (0, 1), *, color: str | None = None, n_labels: int = 15
) -> tuple[Axes, Axes]:
    """Draw cells and genes side by side in the same two axes: a gene points to the cells that express it.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    color
        What colours the cells: a column of `obs` or a gene (see `cells`).
    n_labels
        How many genes to name (see `genes`).

    Returns
    -------
    The axes of the cells and of the genes, in a new figure.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, column or gene.
    """
    _read.gene_positions(adata)
    _read.check_axes(axes, _read.cell_positions(adata).shape[1])
    if color is not None and _read.color_source(adata, color) == "gene":
        _read.expression(adata, color, layer=None)
    plt = require("matplotlib.pyplot", extra="plot")
    _, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    cells(adata, axes, color=color, ax=left)
    left.set_title("cells", fontsize=10, color=_style.INK, loc="left")
    right.set_title("genes", fontsize=10, color=_style.INK, loc="left")
    genes(adata, axes, n_labels=n_labels, ax=right)
    return left, right


def _points(
    ax: Axes,
    xy_g2: NDArray[np.float64],
    trained_g: NDArray[np.bool_],
    *,
    value_g: NDArray[np.float64] | None,
    color: str | None,
) -> None:
    """Draw genes placed after training as rings, and over them those that the model was trained on."""
    known_g = np.isfinite(xy_g2).all(axis=1)
    size, later = _style.point_size(int(known_g.sum())), known_g & ~trained_g
    if later.any():
        ax.scatter(
            xy_g2[later, 0], xy_g2[later, 1], s=size * 0.8, facecolors="none", edgecolors=_style.FAINT, linewidths=0.5,
            rasterized=later.sum() > 2000,
        )  # fmt: skip
    ax.margins(0.12)
    rows = np.flatnonzero(trained_g)
    if value_g is None:
        ax.scatter(xy_g2[rows, 0], xy_g2[rows, 1], s=size, c=_style.HIGH, linewidths=0)
        return
    rows = rows[np.argsort(np.nan_to_num(value_g[rows], nan=-np.inf), kind="stable")]
    drawn = ax.scatter(
        xy_g2[rows, 0], xy_g2[rows, 1], s=size, c=value_g[rows], cmap=_style.VALUES, linewidths=0,
        plotnonfinite=True, vmin=0 if color == _keys.R2 else None,
    )  # fmt: skip
    words = "share of variance explained\n(held-out cells)" if color == _keys.R2 else str(color)
    _style.color_bar(ax, drawn, title=words)


def _farthest(adata: AnnData, xy_g2: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Return the rows of the modelled genes farthest from the origin, the farthest first."""
    distance_g = np.where(_read.modelled(adata), np.hypot(xy_g2[:, 0], xy_g2[:, 1]), -1.0)
    order = np.lexsort((np.asarray(adata.var_names, dtype=str), -distance_g))
    named: NDArray[np.intp] = order[distance_g[order] > 0][: max(0, n)]
    return named


def _values(adata: AnnData, color: str | None) -> NDArray[np.float64] | None:
    if color is None or (color == _keys.R2 and color not in adata.var):
        return None
    if color not in adata.var or adata.var[color].dtype.kind not in "fiub":
        numbers = [str(name) for name in adata.var.columns if adata.var[name].dtype.kind in "fiub"]
        raise OptionError(
            f"Found color={color!r}, expected a column of var with numbers: {some(numbers) or 'none are there'}. "
            "Name one of these, or None for one colour."
        )
    value_g: NDArray[np.float64] = adata.var[color].to_numpy(dtype=np.float64).copy()
    if not np.isfinite(value_g[_read.modelled(adata)]).any():
        return None
    if color == _keys.R2:
        np.maximum(value_g, 0.0, out=value_g)
    return value_g


def _finite(xy_g2: NDArray[np.float64]) -> NDArray[np.float64]:
    return xy_g2[np.isfinite(xy_g2).all(axis=1)]
