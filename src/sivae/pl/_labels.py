"""Names beside points, placed so that none covers another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import isotonic_regression

from sivae.pl import _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
RADII: Final = (5.0, 11.0, 18.0, 26.0, 36.0, 48.0)
"""Distances from the point to the nearest edge of its name, in points of a printer."""
DIRECTIONS: Final = 16
LEADER_FROM: Final = 10.0
"""Distance beyond which a line joins a name to its point."""
PADDING: Final = 2.0
"""Room around a name, in pixels."""


def place(
    ax: Axes,
    xy_m2: NDArray[np.float64],
    names: Sequence[str],
    *,
    others_n2: NDArray[np.float64],
    limit: int = 18,
    at_center: bool = False,
    outward: bool = False,
) -> list[Any]:
    """Write names beside their points, the first in the list first; a name for which there is no room is left out.

    The figure is laid out once to learn where everything lies, so names stay apart as long as its size does.

    Parameters
    ----------
    ax
        Axes with everything else already drawn.
    xy_m2
        The points to name, in data coordinates.
    names
        Their names.
    others_n2
        All points drawn, which names avoid to cover.
    limit
        Longest name, in characters.
    at_center
        A name may lie on its point.
    outward
        A name lies on the side of its point that is away from the origin of the data, if there is room.

    Returns
    -------
    The annotations drawn.
    """
    if not len(names):
        return []
    figure = outer(ax)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    pixels = figure.dpi / 72
    frame, other_n2 = ax.get_window_extent(renderer), ax.transData.transform(others_n2)
    taken: list[Box] = []
    drawn = []
    middle = ax.transData.transform((0.0, 0.0))
    for name, anchor, xy in zip(names, ax.transData.transform(xy_m2), xy_m2, strict=True):
        text = ax.annotate(
            _style.short(name, limit), xy, xytext=(0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=7, color=_style.INK, zorder=5, parse_math=False, annotation_clip=False,
        )  # fmt: skip
        extent = text.get_window_extent(renderer)
        size = (extent.width + 2 * PADDING, extent.height + 2 * PADDING)
        offset = _best(
            anchor, size, pixels, taken=taken, other_n2=other_n2, frame=(frame.x0, frame.y0, frame.x1, frame.y1),
            at_center=at_center, outward=_unit(anchor - middle) if outward else None,
        )  # fmt: skip
        text.remove()
        if offset is None:
            continue
        taken.append(_box(anchor + offset, size))
        opaque = 0.85 if at_center else 0.55
        drawn.append(_draw(ax, _style.short(name, limit), xy, offset / pixels, height=size[1] / pixels, opaque=opaque))
    return drawn


def _draw(
    ax: Axes, name: str, xy: NDArray[np.float64], offset: NDArray[np.float64], *, height: float, opaque: float
) -> Any:
    far = abs(offset[1]) > height / 2 + LEADER_FROM or abs(offset[0]) > LEADER_FROM * 4
    line = {"arrowstyle": "-", "color": _style.FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2} if far else None
    point, shift = (float(xy[0]), float(xy[1])), (float(offset[0]), float(offset[1]))
    text = ax.annotate(
        name, point, xytext=shift, textcoords="offset points", ha="center", va="center", fontsize=7,
        color=_style.INK, zorder=5, parse_math=False, arrowprops=line,
    )  # fmt: skip
    # Not an outline of the letters: that would turn text into shapes in vector files.
    text.set_bbox({"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": opaque, "linewidth": 0})
    text.set_in_layout(False)
    return text


def _best(
    anchor: NDArray[np.float64],
    size: tuple[float, float],
    pixels: float,
    *,
    taken: list[Box],
    other_n2: NDArray[np.float64],
    frame: Box,
    at_center: bool,
    outward: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Return the offset, in pixels, with the least cost among those that cover no other name, or None."""
    best, least = None, np.inf
    if at_center and _free(_box(anchor, size), taken, frame):
        return np.zeros(2)
    for radius in RADII:
        for angle in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
            direction = np.array([np.cos(angle), np.sin(angle)])
            offset = direction * (radius * pixels + np.abs(direction) * np.array(size) / 2)
            box = _box(anchor + offset, size)
            if not _free(box, taken, frame):
                continue
            covered = (other_n2 >= box[:2]).all(axis=1) & (other_n2 <= box[2:]).all(axis=1)
            cost = 4.0 * int(covered.sum()) + radius / 6
            if outward is not None:
                cost += 6.0 * (1.0 - float(direction @ outward))
            if cost < least:
                best, least = offset, cost
    return best


def _free(box: Box, taken: list[Box], frame: Box) -> bool:
    """Whether a box lies inside the frame and covers no other."""
    inside = box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
    return inside and not any(_overlap(box, other) for other in taken)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.hypot(*vector)), 1e-12)


def _box(center: NDArray[np.float64], size: tuple[float, float]) -> Box:
    return (
        float(center[0] - size[0] / 2), float(center[1] - size[1] / 2),
        float(center[0] + size[0] / 2), float(center[1] + size[1] / 2),
    )  # fmt: skip


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def beside(
    ax: Axes, xy_m2: NDArray[np.float64], names: Sequence[str], *, colors: Sequence[Any], left: bool = False
) -> list[Any]:
    """Write names to the right of the axes (or left), where lines end, moved up or down so that none covers another.

    Names keep the order of their lines, and are joined to them by a line of their color.
    """
    if not len(names):
        return []
    figure = outer(ax)
    figure.draw_without_rendering()
    height = 7.0 * 1.25 * figure.dpi / 72
    y_m = ax.transData.transform(xy_m2)[:, 1]
    frame = ax.get_window_extent()
    order, target_m, steps_m = np.argsort(y_m, kind="stable"), np.empty(len(y_m)), height * np.arange(len(y_m))
    # The nearest places, in squares, that keep the order and the distance.
    near_m = isotonic_regression(y_m[order] - steps_m).x
    target_m[order] = np.clip(near_m, frame.y0 + height / 2, frame.y1 - height / 2 - steps_m[-1]) + steps_m
    drawn = []
    for name, xy, shift, color in zip(names, xy_m2, (target_m - y_m) * 72 / figure.dpi, colors, strict=True):
        text = ax.annotate(
            _style.short(name, 18), (float(xy[0]), float(xy[1])), xytext=(-14.0 if left else 14.0, float(shift)),
            textcoords="offset points", ha="right" if left else "left", va="center", fontsize=7, color=_style.INK,
            parse_math=False, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0,
                        "relpos": (1.0 if left else 0.0, 0.5)},
        )  # fmt: skip
        drawn.append(text)
    return drawn


def outer(ax: Axes) -> Any:
    """The figure around all parts of figures that the axes are in."""
    figure: Any = ax.figure
    while getattr(figure, "figure", figure) is not figure:
        figure = figure.figure
    return figure
