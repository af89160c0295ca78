"""How sure the positions of some genes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from sivae._checks import number
from sivae._door import door
from sivae._errors import OptionError
from sivae._extras import require
from sivae.pl import _labels, _read, _style
from sivae.pl._genes import find
from sivae.pl._loadings import deviations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes


@door
def posteriors(
    adata: AnnData,
    genes: Sequence[str],
    axes: tuple[int, int] = (0, 1),
    *,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Draw some genes with the ellipses in which their loadings lie, over all other genes.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    genes
        Genes to draw.
    axes
        The two axes to draw, counted from 0.
    level
        Probability of an ellipse, between 0 and 1: the radii are ``sqrt(q) sd`` with q the quantile of chi-square on
        two degrees of freedom and sd the root of `varm["X_sivae_var"]`. Correlations between axes are not kept, so
        that ellipses lie along the axes.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no variances, no such axis, or no gene is asked for.
    GeneMismatchError
        If a gene is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> adata.varm["X_sivae_var"] = np.full(adata.varm["X_sivae"].shape, 0.01)
    >>> len(sivae.pl.posteriors(adata, ["gene_1", "gene_5"]).patches)
    2
    """
    level = number("level", level, allowed=lambda x: 0 < x < 1, expected="more than 0 and less than 1")
    position_gk = _read.gene_positions(adata)
    x, y = _read.check_axes(axes, position_gk.shape[1])
    if isinstance(genes, str) or not list(genes):
        raise OptionError(f"genes is {genes!r}; expected a list of one or more names. Write genes=['NAME'].")
    rows, sd_gk = find(adata, genes), deviations(adata)
    xy_g2, radius_g2 = position_gk[:, [x, y]], np.sqrt(chi2.ppf(level, 2)) * sd_gk[:, [x, y]]
    ax = _style.new_axes(ax)
    _style.origin_lines(ax)
    _style.label_axes(ax, _read.axis_name(adata, x), _read.axis_name(adata, y))
    known = np.isfinite(xy_g2).all(axis=1)
    ax.scatter(
        xy_g2[known, 0], xy_g2[known, 1], s=4, c="#DDDDDD", linewidths=0, zorder=0.5, rasterized=known.sum() > 2000
    )
    ellipse = require("matplotlib.patches", extra="plot").Ellipse
    colors = [color for color, _ in _style.category_styles(len(rows))]
    for row, color in zip(rows, colors, strict=True):
        width, height = 2 * radius_g2[row]
        patch = ellipse(
            tuple(xy_g2[row]), width, height, facecolor=color, edgecolor=color, alpha=0.3, gid=str(adata.var_names[row])
        )
        ax.add_patch(patch)
        ax.scatter(xy_g2[row, 0], xy_g2[row, 1], s=14, color=color, linewidths=0, zorder=3)
    ax.margins(0.1)
    ax.autoscale_view()
    _labels.place(ax, xy_g2[rows], [str(name) for name in adata.var_names[rows]], others_n2=xy_g2[rows])
    return ax
