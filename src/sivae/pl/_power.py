"""How many cells and individuals it takes to find an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae._checks import number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae.pl import _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CALL: Final = "sivae.cohort.power(adata, sample_key)"
COLUMNS: Final = ("individuals", "cells", "effect", "power", "power_low", "power_high", "type1", "extrapolated")


@door
def power(table: pd.DataFrame, *, effect: float | None = None, target: float = 0.8, ax: Axes | None = None) -> Axes:
    """Draw the power to find an effect against the cells of each individual, a line for each number of individuals.

    Parameters
    ----------
    table
        What `sivae.cohort.power` returns.
    effect
        The effect, where the table holds several.
    target
        Where the dashed line lies.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: power with its interval as a band; open points and dotted lines where numbers go beyond the cohort and
    are extrapolated. The thin line at the bottom is the largest error rate without an effect.

    Raises
    ------
    SetupError, OptionError
        If the table is another, or has no such effect.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> row = {"individuals": 20, "effect": 1.0, "type1": 0.05, "extrapolated": False}
    >>> rows = [{**row, "cells": n, "power": p, "power_low": p, "power_high": p} for n, p in ((50, 0.3), (100, 0.6))]
    >>> sivae.pl.power(pd.DataFrame(rows)).get_ylabel()
    'power'
    """
    target = number("target", target, allowed=lambda x: 0 < x < 1, expected="more than 0 and less than 1")
    check_table(table, COLUMNS, call=CALL)
    rows, value = _of_effect(table, effect)
    ax = _style.new_axes(ax, (4.8, 3.2))
    numbers = sorted({int(n) for n in rows["individuals"]})
    handles = [
        _line(ax, rows[rows["individuals"] == n].sort_values("cells", kind="stable"), color, marker)
        for n, (color, marker) in zip(numbers, _style.category_styles(len(numbers)), strict=True)
    ]
    ax.axhline(target, color=_style.FAINT, linewidth=0.9, linestyle="--", zorder=0, gid="target")
    false = rows["type1"].to_numpy(dtype=np.float64)
    beyond = rows["extrapolated"].to_numpy(dtype=bool).any()
    words = f"effect {value:g}{' (open points: extrapolated)' if beyond else ''}"
    if np.isfinite(false).any():
        most = float(np.nanmax(false))
        ax.axhline(most, color=_style.FAINT, linewidth=0.9, zorder=0, gid="type1")
        ax.annotate(
            f"without effect: at most {most:.2g}", (1.0, most), xycoords=("axes fraction", "data"), xytext=(0, 1.5),
            textcoords="offset points", ha="right", va="bottom", fontsize=7, color=_style.INK,
        )  # fmt: skip
    _cells(ax, np.unique(rows["cells"].to_numpy(dtype=np.float64)))
    ax.set_ylim(-0.03, 1.03)
    _style.label_axes(ax, "cells per individual", "power")
    _style.head(ax, words)
    _style.legend(ax, handles, numbers, title="individuals")
    return ax


def _of_effect(table: pd.DataFrame, effect: float | None) -> tuple[pd.DataFrame, float]:
    """Rows of the effect that is asked for, or of the only one."""
    if not len(table):
        raise SetupError(f"Found a frame without rows, expected some. Pass what {CALL} returns.")
    value = table["effect"].to_numpy(dtype=np.float64)
    there = np.unique(value)
    if effect is None and len(there) == 1:
        return table, float(there[0])
    near = np.isclose(value, np.nan if effect is None else float(effect))
    if not near.any():
        listed = some([f"{one:g}" for one in there], 10)
        raise OptionError(
            f"Found effect={effect!r}, expected one of those in the table: {listed}. Name one as effect=."
        )
    return table[near], float(value[near][0])


def _line(ax: Axes, rows: pd.DataFrame, color: Any, marker: str) -> Any:
    x, y, low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("cells", "power", "power_low", "power_high"))
    beyond = rows["extrapolated"].to_numpy(dtype=bool)
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0, zorder=1)
    for place in range(len(x) - 1):
        style = ":" if beyond[place] or beyond[place + 1] else "-"
        ax.plot(x[place : place + 2], y[place : place + 2], color=color, linewidth=1.5, linestyle=style, zorder=2)
    fill = ["white" if one else color for one in beyond]
    ax.scatter(x, y, s=20, marker=marker, c=fill, edgecolors=[color], linewidths=1.0, zorder=3)
    return ax.scatter([], [], s=20, marker=marker, c=[color], linewidths=0)


def _cells(ax: Axes, cells: Any) -> None:
    """Numbers of cells on a logarithmic axis, as they are, those without room left out."""
    if len(cells) > 1 and cells.min() > 0:
        ax.set_xscale("log")
        ax.margins(x=0.08)
        width = ax.bbox.width / ax.figure.dpi
        span, shown = np.log(cells[-1] / cells[0]), [cells[0]]
        for value in cells[1:]:
            if np.log(value / shown[-1]) / span * width * 0.8 > 0.35:
                shown.append(value)
        ax.set_xticks(shown, [f"{value:g}" for value in shown])
        ax.minorticks_off()
