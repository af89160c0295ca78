"""Tables as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sivae.pl import _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def heat_map(
    ax: Axes,
    values: NDArray[np.float64],
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    title: str,
    around_zero: bool = True,
    limits: tuple[float, float] | None = None,
    bar: bool = True,
) -> Any:
    """Draw a table, (rows, columns), the first row at the top, with names and a color bar; NaN is grey."""
    most = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    low, high = limits or ((-most, most) if around_zero else (float(np.nanmin(values)), float(np.nanmax(values))))
    ax.set_facecolor("#EEEEEE")
    drawn = ax.imshow(
        values, aspect="auto", interpolation="nearest", vmin=low, vmax=high,
        cmap=_style.CHANGES if around_zero else _style.VALUES,
    )  # fmt: skip
    ax.spines[:].set_visible(False)
    _style.name_ticks(ax, "y", range(len(rows)), rows)
    _style.name_ticks(ax, "x", range(len(columns)), columns)
    ax.tick_params(labelcolor=_style.INK)
    if bar:
        _style.color_bar(ax, drawn, title=title)
    return drawn


def by_gene(values_fm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less its mean, in its standard deviations; zeros where it is constant."""
    centred = values_fm - values_fm.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12))
