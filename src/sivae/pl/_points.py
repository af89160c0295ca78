"""Points of cells or genes: one color, values with a color bar, or categories with a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae.pl import _labels, _style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

SHUFFLE_SEED: Final = 0
MISSING: Final = "#D9D9D9"
GREY_NAMES: Final = ("unassigned", "none")
"""Categories that stand for no category: grey, behind the others, last in the legend."""


@dataclass(frozen=True)
class Look:
    """How points look: a marker, how opaque, in front of what, and their name in a legend."""

    marker: str = "o"
    alpha: float | None = None
    zorder: float | None = None
    label: str | None = None


PLAIN: Final = Look()


@dataclass(frozen=True)
class Scale:
    """How values become colors: a color map, and the values at its ends (those of the data if None)."""

    cmap: Any = _style.VALUES
    low: float | None = None
    high: float | None = None


def scatter(ax: Axes, xy_n2: NDArray[np.float64], *, color: Any, size: float | None = None, look: Look = PLAIN) -> Any:
    """Draw points in a color, or in one each; those of large data as one picture."""
    return _draw(ax, xy_n2, size, look, c=color)


def values(
    ax: Axes, xy_n2: NDArray[np.float64], value_n: NDArray[np.float64], scale: Scale, *, size: float | None = None
) -> Any:
    """Draw points with values, the highest last; points without a value are grey, behind them."""
    known, size = np.isfinite(value_n), _style.point_size(len(xy_n2)) if size is None else size
    if not known.all():
        scatter(ax, xy_n2[~known], size=size, color=MISSING)
    order = np.argsort(value_n[known], kind="stable")
    colors = {"c": value_n[known][order], "cmap": scale.cmap, "vmin": scale.low, "vmax": scale.high}
    return _draw(ax, xy_n2[known][order], size, PLAIN, **colors)


def _draw(ax: Axes, xy_n2: NDArray[np.float64], size: float | None, look: Look, **colors: Any) -> Any:
    area = _style.point_size(len(xy_n2)) if size is None else size
    named = {name: value for name, value in vars(look).items() if value is not None}
    return ax.scatter(xy_n2[:, 0], xy_n2[:, 1], s=area, linewidths=0, rasterized=len(xy_n2) > 2000, **named, **colors)


def categorical(column: pd.Series[Any]) -> pd.Categorical[Any]:
    """Return a column as categories that occur, named by texts, in their own order; those of no category are last."""
    import pandas as pd

    label = pd.Categorical(column.astype(object).where(column.notna()).map(str, na_action="ignore"))
    if isinstance(column.dtype, pd.CategoricalDtype):
        label = label.set_categories([str(name) for name in column.cat.remove_unused_categories().cat.categories])
    names = [str(name) for name in label.categories]
    last = [name for name in names if name in GREY_NAMES]
    return label.set_categories([name for name in names if name not in last] + last)


def category_styles(names: list[str]) -> list[tuple[Any, str]]:
    """Return a color and a marker for each category, grey for those that stand for none."""
    n_grey = sum(name in GREY_NAMES for name in names)
    return [*_style.category_styles(len(names) - n_grey), *[(MISSING, "o")] * n_grey]


def categories(
    ax: Axes, xy_n2: NDArray[np.float64], column: pd.Series[Any], *, size: float | None = None
) -> pd.Categorical[Any]:
    """Draw points in the colors of their categories, in a fixed random order so that no group hides another."""
    label = categorical(column)
    names = [str(name) for name in label.categories]
    area = _style.point_size(len(xy_n2)) if size is None else size
    styles = category_styles(names)
    behind = (label.codes < 0) | np.isin(label.codes, [i for i, name in enumerate(names) if name in GREY_NAMES])
    if behind.any():
        scatter(ax, xy_n2[behind], size=area, color=MISSING)
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(xy_n2))
    order = order[~behind[order]]
    for marker in dict.fromkeys(marker for _, marker in styles):
        rows = order[np.isin(label.codes[order], [i for i, style in enumerate(styles) if style[1] == marker])]
        if len(rows):
            colors = [styles[code][0] for code in label.codes[rows]]
            scatter(ax, xy_n2[rows], size=area, color=colors, look=Look(marker))
    return label


def category_legend(ax: Axes, label: pd.Categorical[Any], *, title: str, inside: bool = False) -> None:
    """Write the legend of categories."""
    names = [str(name) for name in label.categories]
    handles = [
        ax.scatter([], [], s=22, c=[color], marker=marker, linewidths=0)
        for color, marker in category_styles(names)[: _style.LEGEND_LIMIT]
    ]
    _style.legend(ax, handles, names, title=title, inside=inside)


def names_on_map(ax: Axes, xy_n2: NDArray[np.float64], label: pd.Categorical[Any]) -> None:
    """Write the names of categories at the median of their points."""
    names = [str(name) for name in label.categories]
    shown = [i for i, name in enumerate(names) if name not in GREY_NAMES and (label.codes == i).any()]
    middle = np.array([np.median(xy_n2[label.codes == i], axis=0) for i in shown]).reshape(-1, 2)
    limit = _style.NAME_LIMIT if _style.slot_width(ax) >= _style.NARROW else 18
    _labels.place(ax, middle, [names[i] for i in shown], others_n2=middle, limit=limit, at_center=True)
