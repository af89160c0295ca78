"""Edges of the graph of genes between classes of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from sivae import _keys
from sivae._door import door
from sivae._errors import OptionError, some
from sivae._extras import require
from sivae.pl import _labels, _points, _style
from sivae.pl._modules import read_graph

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

GAP: Final = 0.06
"""Between two classes, in radians."""


@door
def chord(adata: AnnData, groupby: str = _keys.MODULE, *, within: bool = False, ax: Axes | None = None) -> Axes:
    """Draw how many edges of the graph of genes run between classes of genes, as ribbons in a circle.

    Parameters
    ----------
    adata
        With the graph of `sivae.tl.gene_neighbors`.
    groupby
        Column of `var` with the class of each gene; genes without one, "unassigned" or "none", are left out.
    within
        Also draw edges within a class.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. A class has an arc as long as the number of its edges drawn; a ribbon is as wide as the number of edges
    between its two classes, in the color of the class that sorts first.

    Raises
    ------
    SetupError, OptionError
        Without a graph, if there is no such column, or nothing to draw.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 30, use_rep="planted_v")
    >>> len(sivae.pl.chord(adata, "module", within=True).patches) > 2
    True
    """
    return circle(ax, *counts(read_graph(adata), adata, groupby, within=within))


def circle(ax: Axes | None, names: list[str], count_mm: Array) -> Axes:
    """Draw classes as arcs, and the edges between them as ribbons."""
    ax = _style.new_axes(ax, (3.8, 3.8))
    _style.bare(ax)
    ax.set_aspect("equal")
    ax.set(xlim=(-1.75, 1.75), ylim=(-1.35, 1.35))
    colors = [color for color, _ in _style.category_styles(len(names))]
    start_mm, unit = _places(count_mm)
    at_m2: list[Array] = []
    for m, color in enumerate(colors):
        first = start_mm[m, 0]
        _arc(ax, first, first + unit * count_mm[m].sum(), color)
        middle = first + unit * count_mm[m].sum() / 2
        at_m2.append(_at(middle, 1.13)[0])
    for a, b in zip(*np.nonzero(np.triu(count_mm)), strict=True):
        width = unit * count_mm[a, b]
        _ribbon(ax, (start_mm[a, b], width), (start_mm[b, a], width), colors[a])
    words = [f"{_style.short(name, 18)} ({int(n)})" for name, n in zip(names, count_mm.sum(axis=1), strict=True)]
    circle_n2 = _at(np.linspace(0, 2 * np.pi, 200), 1.04)
    _labels.place(ax, np.array(at_m2), words, others_n2=circle_n2, limit=_style.NAME_LIMIT, outward=True)
    return ax


def counts(graph: sparse.csr_matrix, adata: AnnData, groupby: str, *, within: bool) -> tuple[list[str], Array]:
    """Names of the classes with edges, and edges between them, each counted once on either side."""
    if groupby not in adata.var:
        raise OptionError(
            f"Found groupby={groupby!r}, expected a column of var: {some(adata.var.columns, 20) or 'it has none'}. "
            "Name one of these."
        )
    label: Any = _points.categorical(adata.var[groupby])
    names = [str(name) for name in label.categories if name not in _points.GREY_NAMES]
    class_g = np.where(label.codes < len(names), label.codes, -1)
    edges = sparse.coo_matrix(sparse.triu(graph.maximum(graph.T), 1))
    a, b = class_g[edges.row], class_g[edges.col]
    kept = (a >= 0) & (b >= 0) & ((a != b) | within) & (edges.data > 0)
    count_mm = np.zeros((len(names), len(names)))
    np.add.at(count_mm, (a[kept], b[kept]), 1.0)
    count_mm = count_mm + count_mm.T - np.diag(np.diag(count_mm))
    used = count_mm.sum(axis=1) > 0
    if not used.any():
        raise OptionError(
            f"No edge runs between two classes of var[{groupby!r}]; expected one or more. Pass within=True to draw "
            "those within a class."
        )
    return [name for name, drawn in zip(names, used, strict=True) if drawn], count_mm[np.ix_(used, used)]


def _places(count_mm: Array) -> tuple[Array, float]:
    """Angle at which the ribbon from each class to each other begins, and the angle of an edge."""
    m = len(count_mm)
    gap = GAP if m > 1 else 0.0
    unit = (2 * np.pi - m * gap) / count_mm.sum()
    start_mm, angle = np.zeros((m, m)), 0.0
    for a in range(m):
        begin = np.r_[0.0, np.cumsum(unit * count_mm[a])[:-1]]
        start_mm[a] = angle + begin
        angle += unit * count_mm[a].sum() + gap
    return start_mm, float(unit)


def _at(angle: float | Array, radius: float = 1.0) -> Array:
    """Points of a circle, clockwise from the top."""
    return radius * np.column_stack([np.sin(np.atleast_1d(angle)), np.cos(np.atleast_1d(angle))])


def _arc(ax: Axes, first: float, last: float, color: Any) -> None:
    angle = np.linspace(first, last, 40)
    outline = np.concatenate([_at(angle, 1.0), _at(angle[::-1], 1.06)])
    ax.add_patch(require("matplotlib.patches", extra="plot").Polygon(outline, facecolor=color, linewidth=0))


def _ribbon(ax: Axes, one: tuple[float, float], other: tuple[float, float], color: Any) -> None:
    """A shape between two stretches of the circle, with sides that bend to the middle."""
    path = require("matplotlib.path", extra="plot").Path
    patches = require("matplotlib.patches", extra="plot")
    first = _at(np.linspace(one[0], sum(one), 20), 0.98)
    second = _at(np.linspace(other[0], sum(other), 20), 0.98)
    points = [*first, (0.0, 0.0), *second, (0.0, 0.0), first[0]]
    codes = [path.MOVETO, *[path.LINETO] * 19, path.CURVE3, path.CURVE3, *[path.LINETO] * 19, path.CURVE3, path.CURVE3]
    ax.add_patch(patches.PathPatch(path(points, codes), facecolor=color, alpha=0.55, linewidth=0, gid="ribbon"))
