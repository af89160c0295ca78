"""How well methods agree with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.cluster import hierarchy

from sivae._door import door
from sivae._errors import SetupError
from sivae.graph._graph_kernels import classical_scaling, distance_of
from sivae.pl import _heat, _labels, _points, _style
from sivae.pl._individuals import same_scale
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SIMILARITY: Final = "sivae.tl.attribution_similarity"
BESIDE: Final = 1.9
"""Inches for names and the color bar beside the table."""
NUMBER: Final = 0.24
"""Inches for a number."""
AGREEMENT: Final = "sivae.tl.attribution_agreement"


@door
def attribution_similarity(table: pd.DataFrame, *, ax: Axes | None = None) -> NDArray[Any]:
    """Draw how well methods of attribution and the loadings agree with each other, as a clustered heat map.

    Parameters
    ----------
    table
        What `sivae.tl.attribution_similarity` returns: square, 1 on the diagonal.
    ax
        Axes to draw into; a new figure if not given. The dendrogram goes into a part of them.

    Returns
    -------
    Array of two axes, heat map and dendrogram (average linkage of 1 - similarity; a pair that is not known counts as
    not similar). Methods are in the order of the dendrogram.

    Raises
    ------
    SetupError
        If the table is another, or has one method.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> table = pd.DataFrame([[1, 0.2, 0.9], [0.2, 1, 0.1], [0.9, 0.1, 1]], index=list("abc"), columns=list("abc"))
    >>> [tick.get_text() for tick in sivae.pl.attribution_similarity(table)[0].get_yticklabels()]
    ['b', 'a', 'c']
    """
    value_mm = _square(table)
    apart_mm = 1.0 - np.nan_to_num(value_mm, nan=0.0)
    tree = hierarchy.linkage(apart_mm[np.triu_indices(len(table), 1)], "average")
    lines = hierarchy.dendrogram(tree, no_plot=True)
    order = np.asarray(lines["leaves"], dtype=np.intp)
    names = [str(name) for name in table.index[order]]
    ax = _style.new_axes(ax, (2.3 + 0.28 * len(table), 1.6 + 0.28 * len(table)))
    _table(ax, value_mm[np.ix_(order, order)], names, names, title="absolute\nrank correlation")
    top = ax.inset_axes((0.0, 1.01, 1.0, 0.22), sharex=ax)
    for x, y in zip(lines["icoord"], lines["dcoord"], strict=True):
        top.plot((np.array(x) - 5.0) / 10.0, y, color=_style.INK, linewidth=0.9)
    top.set_ylim(0.0, 1.05 * max(float(np.max(lines["dcoord"])), 1e-9))
    top.spines[:].set_visible(False)
    top.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
    return np.array([ax, top])


@door
def attribution_map(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw methods of attribution and the loadings as points, the closer the better they agree.

    Parameters
    ----------
    table
        What `sivae.tl.attribution_similarity` returns: square, 1 on the diagonal.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes; both directions have the same scale. Points are placed by classical scaling of the distances
    sqrt(2 (1 - similarity)); a pair that is not known counts as not similar. Names of the directions say which share of
    the sum of absolute eigenvalues they show. The loadings, the first of the table, have a color of their own.

    Raises
    ------
    SetupError
        If the table is another, or has one method.

    References
    ----------
    Torgerson 1952, classical scaling, Psychometrika 17:401, doi 10.1007/BF02288916.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> table = pd.DataFrame([[1, 0.2, 0.9], [0.2, 1, 0.1], [0.9, 0.1, 1]], index=list("abc"), columns=list("abc"))
    >>> sivae.pl.attribution_map(table).get_xlabel()
    'map of methods 1 (92 %)'
    """
    similarity_mm = np.nan_to_num(_square(table), nan=0.0)
    np.fill_diagonal(similarity_mm, 1.0)
    xy_m2, share_2 = classical_scaling(distance_of(similarity_mm), 2)
    ax = _style.new_axes(ax, (3.8, 3.4))
    colors = [*[_style.FAINT] * (len(table) - 1), _style.HIGH]
    _points.scatter(ax, xy_m2[::-1], color=colors, size=34.0)  # the loadings last, in front
    same_scale(ax, xy_m2)
    _style.label_axes(ax, *(f"map of methods {at + 1} ({100 * share:.0f} %)" for at, share in enumerate(share_2)))
    _labels.place(ax, xy_m2, [str(name) for name in table.index], others_n2=xy_m2)
    return ax


@door
def attribution_agreement(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how well each method of attribution agrees with the loadings on each axis.

    Parameters
    ----------
    table
        What `sivae.tl.attribution_agreement` returns.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: methods in rows, the best on average first; axes and their mean in columns.

    Raises
    ------
    SetupError
        If the table is another.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> table = pd.DataFrame({"axis1": [0.9, 0.4], "mean": [0.9, 0.4], "seconds": [1.0, 2.0]}, index=["a", "b"])
    >>> sivae.pl.attribution_agreement(table).images[0].get_array().shape
    (2, 2)
    """
    check_table(table, ["mean"], call=AGREEMENT)
    table = table.sort_values("mean", ascending=False, kind="stable")
    columns = [str(name) for name in table.columns if name != "seconds"]
    ax = _style.new_axes(ax, (2.4 + 0.28 * len(columns), 0.9 + 0.25 * max(3, len(table))))
    names = [name.replace("axis", "axis ") for name in columns]
    _table(
        ax, table[columns].to_numpy(dtype=np.float64), [str(n) for n in table.index], names, title="rank correlation"
    )
    return ax


def _square(table: pd.DataFrame) -> Array:
    """Values of a table of all methods against all."""
    check_table(table, [], call=SIMILARITY)
    if len(table) < 2 or table.shape[0] != table.shape[1] or [*table.index] != [*table.columns]:
        raise SetupError(
            f"Found a frame of shape {table.shape}, expected a square one. Pass what {SIMILARITY} returns."
        )
    return table.to_numpy(dtype=np.float64, copy=True)


def _table(ax: Axes, value: Array, rows: list[str], columns: list[str], *, title: str) -> None:
    """A heat map from 0 to 1 with the numbers in it, where they fit."""
    _heat.heat_map(ax, value, rows=rows, columns=columns, title=title, around_zero=False, limits=(0.0, 1.0))
    if _style.slot_width(ax) - BESIDE < NUMBER * value.shape[1]:
        return
    for (row, column), number in np.ndenumerate(value):
        if np.isfinite(number):
            color = "white" if number < 0.55 else _style.INK
            ax.text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=6, color=color)
