"""Every pair of some axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sivae._checks import one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae._extras import require
from sivae.pl import _read, _style
from sivae.pl._cells import look_of
from sivae.pl._genes import draw, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


@door
def pairs(
    adata: AnnData,
    axes: Sequence[int] | None = None,
    *,
    of: Literal["cells", "genes"] = "cells",
    color: str | None = None,
    layer: str | None = None,
    n_axes: int = 4,
    width: float | None = None,
) -> NDArray[Any]:
    """Draw cells or genes in every pair of axes, with the distribution along each axis on the diagonal.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        Axes to draw, counted from 0, two or more; the first `n_axes` that carry something if not given.
    of
        "cells" or "genes".
    color
        What colors them (see `cells` and `genes`); one color if not given.
    layer
        Layer with the expression, where a gene colors the cells.
    n_axes
        How many axes, where `axes` is not given.
    width
        Of the figure, in inches; 1.5 for each axis if not given.

    Returns
    -------
    Array of axes, (axes, axes), in a new figure: None above the diagonal. A column has one horizontal axis; what colors
    mean is said in the upper right.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, fewer than two axes, or nothing of the name in `color`.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.pairs(adata, color="group").shape
    (4, 4)
    """
    one_of("of", of, ("cells", "genes"))
    position_nk = _read.cell_positions(adata) if of == "cells" else _read.gene_positions(adata)
    chosen = _chosen(adata, axes, whole_number("n_axes", n_axes, least=2), position_nk.shape[1])
    look = look_of(adata, color, layer) if of == "cells" else look_at(adata, color)[0]
    side = 1.5 * len(chosen) if width is None else width
    plt = require("matplotlib.pyplot", extra="plot")
    figure, axs = plt.subplots(
        len(chosen), len(chosen), figsize=(side, side), layout="constrained", sharex="col", squeeze=False
    )
    drawn = None
    for i, j in np.ndindex(axs.shape):
        ax = _style.new_axes(axs[i, j])
        if j > i:
            ax.remove()
            axs[i, j] = None
            continue
        ax.tick_params(labelsize=6, labelbottom=i == len(chosen) - 1)
        if i == j:
            _distribution(ax, position_nk[:, chosen[i]])
        else:
            xy_n2 = position_nk[:, [chosen[j], chosen[i]]]
            size = max(0.8, 0.35 * _style.point_size(len(xy_n2)))
            _style.origin_lines(ax)
            if of == "cells":
                drawn = look.draw(ax, xy_n2, size=size)
            else:
                drawn = draw(ax, xy_n2, _read.modelled(adata), look=look, size=size)
        ax.locator_params(nbins=3 if side > 1.3 * len(chosen) else 2)
    _name(adata, axs, chosen)
    half = max(1, len(chosen) // 2)
    corner = figure.add_subplot(axs[0, 0].get_subplotspec().get_gridspec()[:half, half:])
    corner.set_axis_off()
    look.explain(corner, drawn, inside=True)
    return np.asarray(axs)


def _name(adata: AnnData, axs: NDArray[Any], chosen: Sequence[int]) -> None:
    """Name the axes along the left and the bottom."""
    for place, axis in enumerate(chosen):
        name = _read.axis_name(adata, axis)
        axs[-1, place].set_xlabel(name, fontsize=7.5, color=_style.INK)
        if place:
            axs[place, 0].set_ylabel(name, fontsize=7.5, color=_style.INK)


def _distribution(ax: Axes, value_n: NDArray[np.float64]) -> None:
    ax.hist(value_n[np.isfinite(value_n)], bins=30, color=_style.FAINT)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _chosen(adata: AnnData, axes: Sequence[int] | None, n_axes: int, k: int) -> list[int]:
    if axes is not None:
        listed = list(axes)
        if len(listed) < 2:
            raise OptionError(f"Found axes {listed}, expected two or more. Name two, or leave axes out.")
        return list(_read.check_axes(listed, k, n_wanted=len(listed)))
    used = [int(axis) for axis in np.flatnonzero(~_read.unused_axes(adata))]
    order = used + [axis for axis in range(k) if axis not in used]
    if k < 2:
        raise OptionError("The embedding has one axis, expected two or more. Use pl.loadings for a single axis.")
    return sorted(order[: max(2, min(n_axes, len(used)))])
