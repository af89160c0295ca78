"""Cells and genes in one picture, genes as arrows whose length can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae._extras import require
from sivae.pl import _labels, _read, _style
from sivae.pl._cells import cells
from sivae.pl._genes import farthest, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

REACH: Final = 0.85
"""The longest arrow, as a share of how far out the cells lie."""
DIRECTIONS: Final = 8
SHORTEST: Final = 1 / 3
"""The shortest arrow that is drawn unasked, as a share of the longest."""
KEY: Final = 0.5
"""The key's arrow, as a share of the longest, about."""


@door
def biplot(
    adata: AnnData,
    axes: tuple[int, int] = (0, 1),
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 10,
    color: str | None = None,
    layer: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw cells, and over them genes as arrows: the way an arrow points, the model predicts more of its gene.

    An arrow is the gene's loadings on the two axes, all arrows stretched by one factor a that the key states::

        arrow_g = a (b_g1, b_g2),    b_gk = v_gk (Var(m_k) + s_k) / Var(m_k),

    with m the cells' positions as drawn, means of posteriors of variance s, to which a loading is regressed: along m
    values change by that much more. A cell that moves by one along an arrow, and not along the other axes of the map,
    gains ``|arrow_g| / a`` standard deviations of the gene; one that moves across it gains nothing. Both directions
    have one scale, so that lengths and angles are true. (Under recipe "choi2023" loadings are no part of the predictor:
    only directions can be read.)

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    genes
        Genes to draw, in the order in which names are placed. If not given those with the longest arrows in each of
        eight directions, as long as they have a third of the longest.
    n_genes
        How many of these.
    color
        What colors the cells (see `cells`); grey if not given.
    layer
        Layer with the expression, where a gene colors the cells.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Arrows start at the origin, the position of the average cell; the arrow of the key, above the axes, has
    the length of a change that is written beside it.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding or axis, or all arrows have no length.
    GeneMismatchError
        If a gene is unknown.

    References
    ----------
    Gabriel 1971, biplot, doi 10.1093/biomet/58.3.453. Gower, Lubbe, le Roux 2011, Understanding Biplots, for axes that
    are calibrated.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> ax = sivae.pl.biplot(adata, genes=["gene_1", "gene_5"])
    >>> [text.get_text() for text in ax.texts]
    ['gene_1', 'gene_5']
    """
    n_genes = whole_number("n_genes", n_genes, least=1, hint="10 is the default.")
    x, y = _read.check_axes(axes, _read.cell_positions(adata).shape[1])
    v_g2 = (_read.gene_positions(adata) * _read.regression_factor(adata))[:, [x, y]]
    z_n2 = _read.cell_positions(adata)[:, [x, y]]
    length_g = np.hypot(v_g2[:, 0], v_g2[:, 1])
    rows = _longest(adata, v_g2, n_genes) if genes is None else find(adata, genes)
    if not (length_g[rows] > 0).any() or _read.unused_axes(adata)[[x, y]].all():
        raise OptionError(
            f"No gene asked for has a loading on {_read.axis_name(adata, x)} or {_read.axis_name(adata, y)}; expected "
            "one or more that do. Choose other axes or genes."
        )
    ax = cells(adata, axes, color=color, layer=layer, ax=_style.new_axes(ax, (5.8, 4.0) if color else (4.4, 4.2)))
    _quiet(ax, grey=color is None)
    stretch = REACH * float(np.quantile(np.hypot(z_n2[:, 0], z_n2[:, 1]), 0.98)) / float(length_g[rows].max())
    _arrows(ax, v_g2[rows], stretch)
    _key(ax, _round_down(KEY * float(length_g[rows].max())), stretch)
    tips_f2 = stretch * v_g2[rows]
    along = np.linspace(0.1, 1.0, 12)[:, None, None]
    others_n2 = (along * tips_f2).reshape(-1, 2)
    names = [str(name) for name in adata.var_names[rows]]
    _labels.place(ax, tips_f2, names, others_n2=others_n2, outward=True)
    return ax


def _quiet(ax: Axes, *, grey: bool) -> None:
    """Put the cells into the background."""
    for part in ax.collections:
        part.set_alpha(0.45)
        if grey:
            part.set_facecolor(_style.FAINT)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.1)


def _arrows(ax: Axes, v_f2: NDArray[np.float64], stretch: float) -> None:
    tips_f2 = stretch * v_f2
    ax.quiver(
        np.zeros(len(v_f2)), np.zeros(len(v_f2)), tips_f2[:, 0], tips_f2[:, 1], angles="xy", scale_units="xy", scale=1,
        color=_style.INK, units="inches", width=0.016, headwidth=4.5, headlength=5.5, headaxislength=5, zorder=4,
        edgecolor="white", linewidth=0.5,
    )  # fmt: skip
    ax.update_datalim(1.15 * tips_f2)
    ax.autoscale_view()


def _key(ax: Axes, change: float, stretch: float) -> None:
    """Draw above the axes a line as long as the arrow of a gene that changes by so much, and say it."""
    box = require("matplotlib.offsetbox", extra="plot")
    lines = require("matplotlib.lines", extra="plot")
    line = box.AuxTransformBox(ax.transData)
    line.add_artist(lines.Line2D([0.0, change * stretch], [0.0, 0.0], color=_style.INK, linewidth=1.2, gid="key"))
    words = f"gains {change:g} sd per unit along its arrow"
    text = box.TextArea(words, textprops={"size": 7.5, "color": _style.INK})
    packed = box.HPacker(children=[line, text], align="center", pad=0, sep=5)
    place = {"bbox_to_anchor": (0.0, 1.0), "bbox_transform": ax.transAxes}
    ax.add_artist(box.AnchoredOffsetbox("lower left", child=packed, frameon=False, pad=0.2, borderpad=0.0, **place))


def _longest(adata: AnnData, v_g2: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Return the rows of the longest arrows, those of each direction in turn."""
    length_g = np.hypot(v_g2[:, 0], v_g2[:, 1])
    rows = farthest(adata, _read.modelled(adata), length_g, len(v_g2))
    rows = rows[length_g[rows] >= SHORTEST * length_g[rows[0]]] if len(rows) else rows
    direction = np.round(np.arctan2(v_g2[rows, 1], v_g2[rows, 0]) / (2 * np.pi / DIRECTIONS)).astype(int) % DIRECTIONS
    rank = np.array([int((direction[:i] == direction[i]).sum()) for i in range(len(rows))], dtype=int)
    return rows[np.lexsort((np.arange(len(rows)), rank))][:n]


def _round_down(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive number."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)) * power)
