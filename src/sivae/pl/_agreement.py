"""How well methods agree with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.cluster import hierarchy

from sivae._checks import door
from sivae._errors import SetupError
from sivae.pl import _heat, _style
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
    check_table(table, [], call=SIMILARITY)
    value_mm = table.to_numpy(dtype=np.float64)
    if len(table) < 2 or table.shape[0] != table.shape[1] or [*table.index] != [*table.columns]:
        raise SetupError(
            f"Found a frame of shape {table.shape}, expected a square one. Pass what {SIMILARITY} returns."
        )
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


def _table(ax: Axes, value: Array, rows: list[str], columns: list[str], *, title: str) -> None:
    """A heat map from 0 to 1 with the numbers in it, where they fit."""
    _heat.heat_map(ax, value, rows=rows, columns=columns, title=title, around_zero=False, limits=(0.0, 1.0))
    if _style.slot_width(ax) - BESIDE < NUMBER * value.shape[1]:
        return
    for (row, column), number in np.ndenumerate(value):
        if np.isfinite(number):
            color = "white" if number < 0.55 else _style.INK
            ax.text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=6, color=color)
