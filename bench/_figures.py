"""Small figures for the tables: dots by method, lines over a setting. Fonts stay text in the SVG."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's, which colour-blind readers can tell apart."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sivae",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def save(figure: Any, path: Any) -> None:
    """Write the figure as SVG, the same bytes each time."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def row_of_axes(n: int, *, width: float = 2.6, height: float = 2.4) -> tuple[Any, list[Any]]:
    """A row of axes in a figure of its own, no window."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width * n, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, list(np.atleast_1d(figure.subplots(1, n, squeeze=False)[0]))


def dots(rows: Iterable[dict[str, Any]], *, panels: str, groups: str, value: str, hue: str, words: str) -> Any:
    """One panel for each `panels`, one line for each `groups`, a dot for each row, coloured by `hue`."""
    rows = [row for row in rows if row.get(value) is not None]
    titles = list(dict.fromkeys(row[panels] for row in rows))
    names = list(dict.fromkeys(row[groups] for row in rows))
    hues = sorted({row[hue] for row in rows})
    figure, axes = row_of_axes(len(titles), height=0.6 + 0.2 * len(names))
    for at, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        for color, kind in zip(COLORS, hues, strict=False):
            own = [row for row in rows if row[panels] == title and row[hue] == kind]
            where = [-names.index(row[groups]) for row in own]
            ax.plot([row[value] for row in own], where, "o", ms=4, alpha=0.8, color=color, label=f"{hue} {kind}")
        ax.set_title(title, fontsize=8)
        ax.set_xlabel(words)
        ax.set_yticks([-i for i in range(len(names))], names if at == 0 else [""] * len(names))
        ax.grid(axis="y", lw=0.4, color="#dddddd")
    axes[0].legend(frameon=False, fontsize=7)
    return figure


def legend_beside(figure: Any) -> Any:
    """The same figure with its legend to the right of the last panel, where it hides no line."""
    figure.axes[0].get_legend().remove()
    figure.axes[-1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def lines(
    rows: Iterable[dict[str, Any]], *, panels: str, x: str, value: str, hue: str, words: tuple[str, str], log: str = ""
) -> Any:
    """One panel for each `panels`, one line for each `hue` (mean over rows of one x); `log` names logarithmic axes."""
    rows = [row for row in rows if row.get(value) is not None]
    titles = list(dict.fromkeys(row[panels] for row in rows))
    hues = list(dict.fromkeys(row[hue] for row in rows))
    figure, axes = row_of_axes(len(titles))
    for ax, title in zip(axes, titles, strict=True):
        for color, kind in zip(COLORS, hues, strict=False):
            own = [row for row in rows if row[panels] == title and row[hue] == kind]
            places = sorted({row[x] for row in own})
            means = [np.mean([row[value] for row in own if row[x] == place]) for place in places]
            ax.plot(places, means, "o-", ms=3, lw=1, color=color, label=str(kind))
        ax.set_title(title, fontsize=8)
        ax.set_xlabel(words[0])
        if "x" in log:
            ax.set_xscale("log")
        if "y" in log:
            ax.set_yscale("log")
    axes[0].set_ylabel(words[1])
    axes[0].legend(frameon=False, fontsize=7)
    return figure


def pictures(rows: list[tuple[str, list[list[float]]]], *, columns: list[str], side: int) -> Any:
    """A grid of square images with `side` pixels, one row for each name; 0 is white, red above it and blue below.

    Colors of a row go up to its largest value.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.75 * len(columns) + 0.9, 0.75 * len(rows) + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for at, (name, images) in enumerate(rows):
            most = max(float(np.abs(image).max()) for image in images)
            for ax, image in zip(grid[at], images, strict=True):
                ax.imshow(np.reshape(image, (side, side)), cmap="RdBu_r", vmin=-most, vmax=most)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            grid[at][0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
        for ax, name in zip(grid[0], columns, strict=True):
            ax.set_title(name, fontsize=7)
        return figure
