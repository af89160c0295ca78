"""Cells in two of the latent axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sivae.pl import _read, _style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

SHUFFLE_SEED = 0


def cells(
    adata: AnnData,
    axes: tuple[int, int] = (0, 1),
    *,
    color: str | None = None,
    layer: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw cells in two latent axes.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    color
        A column of `obs` (categories get a legend, numbers a colour bar) or a gene, whose expression is drawn:
        log1p of counts per 10,000 for counts, else the values as stored. One colour if not given.
    layer
        Layer with the expression; that of the set-up record, or else `X`, if not given.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Points are drawn in a fixed random order, so that no group hides another; a gene's highest cells are
    drawn last.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, column, gene or layer.
    """
    position_nk = _read.cell_positions(adata)
    x, y = _read.check_axes(axes, position_nk.shape[1])
    source = None if color is None else _read.color_source(adata, color)
    expression = _read.expression(adata, str(color), layer=layer) if source == "gene" else None
    names = source == "obs" and color is not None and adata.obs[color].dtype.kind not in "fiu"
    ax = _style.new_axes(ax, (5.8, 3.4) if names else (4.2, 3.4))
    _style.origin_lines(ax)
    _style.label_axes(ax, _read.axis_name(adata, x), _read.axis_name(adata, y))
    xy_n2 = position_nk[:, [x, y]]
    if color is None:
        _scatter(ax, xy_n2, c=_style.HIGH)
    elif expression is not None:
        _values(ax, xy_n2, expression[0], title=expression[1])
    elif adata.obs[color].dtype.kind in "fiu":
        _values(ax, xy_n2, adata.obs[color].to_numpy(dtype=np.float64), title=color)
    else:
        _categories(ax, xy_n2, adata.obs[color])
    return ax


def _scatter(ax: Axes, xy_n2: NDArray[np.float64], *, size: float | None = None, **how: Any) -> Any:
    """Draw points, those of large data as one picture."""
    area = _style.point_size(len(xy_n2)) if size is None else size
    return ax.scatter(xy_n2[:, 0], xy_n2[:, 1], s=area, linewidths=0, rasterized=len(xy_n2) > 2000, **how)


def _values(ax: Axes, xy_n2: NDArray[np.float64], value_n: NDArray[np.float64], *, title: str) -> None:
    known = np.isfinite(value_n)
    if not known.all():
        _scatter(ax, xy_n2[~known], size=_style.point_size(len(xy_n2)), c="#D9D9D9")
    order = np.argsort(value_n[known], kind="stable")
    drawn = _scatter(
        ax, xy_n2[known][order], size=_style.point_size(len(xy_n2)), c=value_n[known][order], cmap=_style.VALUES
    )
    _style.color_bar(ax, drawn, title=title)


def _categories(ax: Axes, xy_n2: NDArray[np.float64], column: pd.Series[Any]) -> None:
    import pandas as pd

    label = pd.Categorical(column.astype(object).where(column.notna()).map(str, na_action="ignore"))
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = [str(name) for name in column.cat.remove_unused_categories().cat.categories]
        label = label.set_categories(present)
    names = [str(name) for name in label.categories]
    size = _style.point_size(len(xy_n2))
    if (label.codes < 0).any():
        _scatter(ax, xy_n2[label.codes < 0], size=size, c="#D9D9D9")
    styles = _style.category_styles(len(names))
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(xy_n2))
    for marker in dict.fromkeys(marker for _, marker in styles):
        rows = order[np.isin(label.codes[order], [i for i, style in enumerate(styles) if style[1] == marker])]
        _scatter(ax, xy_n2[rows], size=size, c=[styles[code][0] for code in label.codes[rows]], marker=marker)
    handles = [
        ax.scatter([], [], s=22, c=[color], marker=marker, linewidths=0)
        for color, marker in styles[: _style.LEGEND_LIMIT]
    ]
    _style.legend(ax, handles, names, title=str(column.name))
