"""A colored strip above a heat map of individuals: the phenotype of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from sivae._extras import require
from sivae.pl import _labels, _points, _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sivae.pl._samples import Phenotype

HEIGHT: Final = 0.1
"""Of the strip, in inches."""
GAP: Final = 0.03
LETTER: Final = 0.055
"""Width of a letter of the legend, in inches, on average."""
ENTRY: Final = 0.27
"""Width of an entry of the legend without its name."""
LEAST: Final = 5.0
"""Smallest letters, in points, in which names of rows and columns are written; smaller ones are left out."""
UPRIGHT: Final = 0.07
"""Width of a letter of the names of columns, in inches, on average."""
SHARE: Final = 0.35
"""Of the height, for names of columns; longer ones are left out."""
STEPS: Final = 3
"""Values of a number that the legend shows."""


def strip(ax: Axes, phenotype: Phenotype, order: NDArray[np.intp]) -> Axes:
    """Draw the phenotype of individuals above their columns, with what the colors mean above it."""
    _labels.outer(ax).draw_without_rendering()
    box = require("matplotlib.transforms", extra="plot").Bbox

    def above(_: Any, __: Any) -> Any:
        """Where the strip lies, as high as it is whatever the height of the axes."""
        place, inches = ax.get_position(), ax.figure.bbox.height / ax.figure.dpi
        return box.from_bounds(place.x0, place.y1 + GAP / inches, place.width, HEIGHT / inches)

    top = ax.inset_axes((0.0, 1.0, 1.0, 0.05))
    top.set_axes_locator(above)
    colors = _colors(phenotype)
    shown = np.array([colors(value) for value in phenotype.value_s[order]])
    top.imshow(shown[None], aspect="auto", interpolation="nearest")
    _style.bare(top)
    _legend(ax, top, phenotype, colors)
    return top


def _colors(phenotype: Phenotype) -> Any:
    """The color of a value, grey for what is missing."""
    to_rgba = require("matplotlib.colors", extra="plot").to_rgba
    if phenotype.levels:
        styles = [to_rgba(color) for color, _ in _style.category_styles(len(phenotype.levels))]
        return lambda value: styles[int(value)] if np.isfinite(value) else to_rgba(_points.MISSING)
    low, high = float(np.nanmin(phenotype.value_s)), float(np.nanmax(phenotype.value_s))
    ramp = require("matplotlib", extra="plot").colormaps[_style.VALUES]
    return lambda value: (
        ramp((value - low) / max(high - low, 1e-12)) if np.isfinite(value) else to_rgba(_points.MISSING)
    )


def _legend(ax: Axes, top: Axes, phenotype: Phenotype, colors: Any) -> None:
    patches = require("matplotlib.patches", extra="plot")
    if phenotype.levels:
        entries = [(float(code), name) for code, name in enumerate(phenotype.levels)][: _style.LEGEND_LIMIT]
    else:
        ends = np.nanmin(phenotype.value_s), np.nanmax(phenotype.value_s)
        entries = [(float(value), f"{value:.3g}") for value in np.unique(np.linspace(*ends, STEPS))]
    if not phenotype.known_s.all():
        entries.append((np.nan, "missing"))
    names = [_style.short(name, _style.TICK_LIMIT) for _, name in entries]
    columns = _columns(ax, [len(name) for name in names])
    box = top.legend(
        [patches.Patch(facecolor=colors(value), linewidth=0) for value, _ in entries],
        [f"level {i}" for i in range(len(names))], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns,
        borderaxespad=0.2, borderpad=0.0, frameon=False, fontsize=7, handlelength=0.9, handleheight=0.9,
        handletextpad=0.3, columnspacing=0.8, labelspacing=0.3,
    )  # fmt: skip
    for text, name in zip(box.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    box.set_title(_style.short(phenotype.name))
    box.get_title().set_fontsize(8)
    box.get_title().set_parse_math(False)
    box.set_alignment("left")


def _columns(ax: Axes, lengths: Sequence[int]) -> int:
    """Entries side by side in a legend as wide as the axes, for names of these lengths."""
    width = ax.bbox.width / ax.figure.dpi
    if sum(ENTRY + LETTER * length for length in lengths) <= width:
        return len(lengths)
    return max(1, int(width / (ENTRY + LETTER * max(lengths))))


def names(
    ax: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    what: str,
    annotate: Sequence[str] | None = None,
    note: str = "",
) -> None:
    """Write names of rows and of individuals where there is room, else how many there are, and a note below.

    If names are given to `annotate`, these alone, beside their rows. Names of either side take room from the other, so
    that they are written twice.
    """
    for _ in range(2):
        _labels.outer(ax).draw_without_rendering()
        fits = room(ax, "y", len(rows)), room(ax, "x", len(columns)) and _short(ax, columns)
        _ticks(ax, "y", rows if annotate is None and fits[0] else ())
        _ticks(ax, "x", columns if fits[1] else ())
        ax.set_ylabel("" if annotate is not None or fits[0] else f"{len(rows)} {what}", fontsize=9, color=_style.INK)
        words = ([] if fits[1] else [f"{len(columns)} individuals"]) + ([note] if note else [])
        ax.set_xlabel(", ".join(words), fontsize=9, color=_style.INK)
    if annotate is not None:
        _beside(ax, rows, annotate)


def _short(ax: Axes, names: Sequence[str]) -> bool:
    """Whether upright names leave enough of the height to what is drawn."""
    longest = max(len(_style.short(name, _style.TICK_LIMIT)) for name in names)
    return bool(longest * UPRIGHT <= SHARE * ax.figure.bbox.height / ax.figure.dpi)


def _ticks(ax: Axes, axis: Literal["x", "y"], texts: Sequence[str]) -> None:
    if texts:
        _style.name_ticks(ax, axis, range(len(texts)), texts)
    else:
        ax.set(**{f"{axis}ticks": []})


def _beside(ax: Axes, rows: Sequence[str], annotate: Sequence[str]) -> None:
    """Write some names beside their rows, as many as there is room for."""
    _labels.outer(ax).draw_without_rendering()
    place = {name: row for row, name in enumerate(rows)}
    fit = int(ax.bbox.height / (7.0 * 1.25 * ax.figure.dpi / 72))
    listed = [name for name in annotate if name in place][:fit]
    xy_m2 = np.array([(-0.5, place[name]) for name in listed]).reshape(-1, 2)
    _labels.beside(ax, xy_m2, listed, colors=[_style.FAINT] * len(listed), left=True)


def room(ax: Axes, axis: str, n: int) -> bool:
    """Whether so many names can be written along an axis in letters that can be read."""
    length = ax.bbox.height if axis == "y" else ax.bbox.width
    return float(72 * length / ax.figure.dpi / max(n, 1) * 0.85) >= LEAST
