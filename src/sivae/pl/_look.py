"""What colors points: one color, values with a color bar, or categories with a legend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sivae.pl import _points, _style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Look:
    """A column of names, or values, or neither, for points in the order in which they are drawn."""

    column: pd.Series[Any] | None = None
    value_n: NDArray[np.float64] | None = None
    title: str = ""
    around_zero: bool = False
    low: float | None = None
    """The value at the lower end of the colors; the lowest if None."""

    def take(self, rows: NDArray[np.intp]) -> Look:
        """Some of the points."""
        column = None if self.column is None else self.column.iloc[rows]
        return replace(self, column=column, value_n=None if self.value_n is None else self.value_n[rows])

    def draw(self, ax: Axes, xy_n2: NDArray[np.float64], *, size: float | None = None) -> Any:
        """Draw points, and return what `explain` needs."""
        if self.column is not None:
            return _points.categories(ax, xy_n2, self.column, size=size)
        if self.value_n is None:
            return _points.scatter(ax, xy_n2, size=size, color=_style.HIGH)
        scale = _points.Scale(low=self.low)
        if self.around_zero:
            most = float(np.nanmax(np.abs(self.value_n), initial=0.0)) or 1.0
            scale = _points.Scale(_style.CHANGES, -most, most)
        return _points.values(ax, xy_n2, self.value_n, scale, size=size)

    def explain(self, ax: Axes, drawn: Any, *, inside: bool = False) -> None:
        """Say beside the axes what colors mean; `inside` axes that are kept free for it."""
        if self.column is not None:
            _points.category_legend(ax, drawn, title=self.title, inside=inside)
        elif self.value_n is not None:
            _style.color_bar(ax, drawn, title=self.title, inside=inside)
