"""How plots look: axes, colors that color-blind readers can tell apart, legends and color bars."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from sivae._extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

OKABE_ITO: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#4D4D4D")
"""Up to eight categories (Okabe and Ito, 2008)."""
ORDERED: Final = (
    "#882E72", "#1965B0", "#5289C7", "#7BAFDE", "#4EB265", "#90C987", "#CAE0AB", "#F7F056", "#F6C141", "#F1932D",
    "#E8601C", "#DC050C", "#72190E",
)  # fmt: skip
"""More than eight categories: an ordered rainbow whose neighbours differ in lightness (after Tol, 2021)."""
VALUES: Final = "viridis"
CHANGES: Final = "RdBu_r"
"""Values around zero."""
INK: Final = "#333333"
FAINT: Final = "#B8B8B8"
HIGH: Final = OKABE_ITO[0]
LOW: Final = OKABE_ITO[3]
MARKERS: Final = ("o", "^", "s", "D", "v", "P", "X")
"""Beyond eight categories, neighbours in color also differ in shape."""
LEGEND_LIMIT: Final = 40
NAME_LIMIT: Final = 28
NARROW: Final = 4.3
"""Inches below which a legend goes under the axes."""
BELOW: Final = 32.0
"""Points between the axes and a legend under them."""
TICK_LIMIT: Final = 22
LETTER: Final = 0.063
"""Width of a letter of 9 points, in inches, on average."""


def new_axes(ax: Axes | None, size: tuple[float, float] = (4.2, 3.4)) -> Axes:
    """Return the axes given, or those of a new figure (inches), with quiet spines."""
    if ax is None:
        plt = require("matplotlib.pyplot", extra="plot")
        _, ax = plt.subplots(figsize=size, layout="constrained")
    else:
        require("matplotlib", extra="plot")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    return ax


def label_axes(ax: Axes, x: str, y: str) -> None:
    """Name both axes."""
    ax.set_xlabel(x, fontsize=9, color=INK, parse_math=False)
    ax.set_ylabel(y, fontsize=9, color=INK, parse_math=False)


def head(ax: Axes, text: str) -> None:
    """Write a title above the axes, at their left."""
    ax.set_title(text, fontsize=9, color=INK, loc="left", parse_math=False)


def name_ticks(
    ax: Axes,
    axis: Literal["x", "y"],
    places: Sequence[float] | NDArray[np.floating],
    names: Sequence[object],
    *,
    limit: int = TICK_LIMIT,
) -> None:
    """Write names along "x" (upright) or "y", without tick marks, as they are, small enough not to touch."""
    texts = [short(name, limit) for name in names]
    if axis == "y":
        ax.set_yticks(list(places), texts, parse_math=False)
    else:
        ax.set_xticks(list(places), texts, parse_math=False, rotation=90)
    room = ax.bbox.height if axis == "y" else ax.bbox.width
    size = 72 * room / ax.figure.dpi / max(len(texts), 1) * 0.85
    ax.tick_params(axis=axis, length=0, labelsize=min(8.0, max(3.0, size)))


def bare(ax: Axes) -> None:
    """Take spines and ticks away."""
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[])


def origin_lines(ax: Axes) -> None:
    """Draw faint lines through the origin, behind everything."""
    ax.axhline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
    ax.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)


def category_styles(n: int) -> list[tuple[Any, str]]:
    """Return a color and a marker for each of n categories."""
    if n <= len(OKABE_ITO):
        return [(color, "o") for color in OKABE_ITO[:n]]
    colors = require("matplotlib.colors", extra="plot")
    ramp = colors.LinearSegmentedColormap.from_list("sivae_ordered", ORDERED)
    return [(colors.to_hex(ramp(i / (n - 1))), MARKERS[i % len(MARKERS)]) for i in range(n)]


def point_size(n: int) -> float:
    """Marker area for n points: large for few, small for many."""
    return float(min(26.0, max(1.5, 9000 / max(n, 1))))


def short(name: object, limit: int = NAME_LIMIT) -> str:
    """Cut a long name for a picture, in the middle, because names often differ at their end."""
    text = " ".join(str(name).split())
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def legend(
    ax: Axes,
    handles: Sequence[Any],
    names: Sequence[object],
    *,
    title: str,
    inside: bool = False,
    limit: int | None = None,
    lower: float = 0.0,
) -> None:
    """Write a legend to the right of the axes, or below where they are narrow, or `inside`; names as they are.

    Names are cut at `limit` letters (else by how wide the axes are); one below is `lower` by points than is usual, for
    a name of the axis in several lines.
    """
    shown = list(handles)[:LEGEND_LIMIT]
    width = slot_width(ax)
    most = limit or (NAME_LIMIT if width >= NARROW else TICK_LIMIT)
    labels = [short(name, most) for name in names][:LEGEND_LIMIT]
    longest = max((len(label) for label in labels), default=0)
    beside = {"bbox_to_anchor": (1.01, 1.0), "ncols": 1 if len(shown) <= 20 else 2}
    below = {"bbox_to_anchor": (-0.1, 0.0), "bbox_transform": _below(ax, lower), "columnspacing": 0.8}
    below["ncols"] = max(1, min(len(shown), int(width / (0.4 + 0.056 * longest))))
    box = ax.legend(
        shown, [f"category {i}" for i in range(len(shown))],
        loc="upper left", borderaxespad=0.0, frameon=False, fontsize=7.5, handletextpad=0.3, labelspacing=0.35,
        **({} if inside else below if width < NARROW else beside),
    )  # fmt: skip
    for text, label in zip(box.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
    rest = len(names) - len(shown)
    heading = short(title) + (f" (first {len(shown)} of {len(names)})" if rest > 0 else "")
    box.set_title(heading)
    box.get_title().set_fontsize(8)
    box.get_title().set_parse_math(False)
    box.set_alignment("left")


def small_legend(ax: Axes) -> None:
    """Write a legend of what was drawn with a label into the emptiest corner."""
    handles, names = ax.get_legend_handles_labels()
    box = ax.legend(handles, [f"line {i}" for i in range(len(handles))], frameon=False, fontsize=7.5, handletextpad=0.3)
    for text, name in zip(box.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def wrap(ax: Axes, text: str) -> str:
    """Break the name of an axis (9 points) into lines that are hardly longer than the axes are now."""
    width = max(10, int(ax.bbox.width / ax.figure.dpi / LETTER))
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def slot_width(ax: Axes) -> float:
    """Width that a figure has for these axes and what belongs to them, in inches."""
    spec, figure = ax.get_subplotspec(), ax.figure
    if spec is None:
        return float(1.25 * ax.bbox.width / figure.dpi)
    columns = spec.get_gridspec().ncols / (spec.colspan.stop - spec.colspan.start)
    return float(figure.bbox.width / figure.dpi / columns)


def _below(ax: Axes, lower: float) -> Any:
    """Coordinates of the axes, moved down past the ticks and the name of the axis."""
    transforms = require("matplotlib.transforms", extra="plot")
    return ax.transAxes + transforms.ScaledTranslation(0, -(BELOW + lower) / 72, ax.figure.dpi_scale_trans)


def color_bar(ax: Axes, drawn: Any, *, title: str, inside: bool = False) -> None:
    """Write a color bar to the right of the axes, or `inside`, with a title of one or more lines."""
    beside: dict[str, Any] = {"ax": ax, "shrink": 0.7, "pad": 0.02, "aspect": 18}
    bar = ax.figure.colorbar(drawn, **({"cax": ax.inset_axes((0.1, 0.05, 0.1, 0.9))} if inside else beside))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, color=FAINT, labelcolor=INK)
    lines = [short(line) for line in title.split("\n")]
    lines = [part for line in lines for part in (textwrap.wrap(line, 18) if inside else [line])]
    bar.set_label("\n".join(lines), fontsize=7 if inside else 8, color=INK)
    bar.ax.yaxis.label.set_parse_math(False)
