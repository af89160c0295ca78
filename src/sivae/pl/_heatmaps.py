"""Loadings of several axes at once: as a table of genes, or as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae._extras import require
from sivae.pl import _heat, _read, _style
from sivae.pl._genes import find
from sivae.pl._loadings import Z_90, deviations, ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


@door
def loadings_heatmap(
    adata: AnnData,
    axes: Sequence[int] | None = None,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 2,
    ax: Axes | None = None,
) -> Axes:
    """Draw loadings of genes in rows on axes in columns.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        Axes to draw, counted from 0; all that carry something if not given.
    genes
        Genes to draw, in this order; the ends of each axis in turn if not given.
    n_genes
        Genes at each end of each axis, where `genes` is not given.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. A dot marks a loading whose 90 % interval holds zero, where variances are known.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding or no such axis.
    GeneMismatchError
        If a gene is unknown.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.loadings_heatmap(adata, genes=["gene_1", "gene_5"]).images[0].get_array().shape
    (2, 5)
    """
    n_genes = whole_number("n_genes", n_genes, least=1, hint="2 is the default.")
    chosen = some_axes(adata, axes)
    rows = find(adata, genes) if genes is not None else _ends(adata, chosen, n_genes)
    loading_fa = _read.gene_positions(adata)[rows][:, chosen]
    ax = _style.new_axes(ax, (1.9 + 0.26 * len(chosen), 0.9 + 0.135 * max(6, len(rows))))
    names = [_read.axis_name(adata, axis) for axis in chosen]
    _heat.heat_map(ax, loading_fa, rows=adata.var_names[rows].tolist(), columns=names, title="loading")
    if _keys.GENES_VAR in adata.varm:
        unsure = np.abs(loading_fa) <= Z_90 * deviations(adata)[rows][:, chosen]
        at_row, at_column = np.nonzero(unsure)
        ax.scatter(at_column, at_row, s=2.0, c="#888888", linewidths=0)
    return ax


@door
def loading_images(
    adata: AnnData, shape: tuple[int, int], *, axes: Sequence[int] | None = None, n_columns: int = 5
) -> NDArray[Any]:
    """Draw the loadings on each axis as an image, where features are pixels.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`; features in the order of pixels, row by row.
    shape
        Height and width; their product is the number of features.
    axes
        Axes to draw, counted from 0; all that carry something if not given.
    n_columns
        Images in a row.

    Returns
    -------
    Array of axes, one per axis of the map, in a new figure. All images have one scale; features without a position are
    grey.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, or features do not fill the shape.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> len(sivae.pl.loading_images(adata, (5, 8)))
    5
    """
    n_columns, chosen = whole_number("n_columns", n_columns, least=1), some_axes(adata, axes)
    size = tuple(int(n) for n in np.ravel(shape))
    if len(size) != 2 or min(size) < 1 or size[0] * size[1] != adata.n_vars:
        raise OptionError(
            f"Found shape={shape!r} for {adata.n_vars} features; expected height and width whose product is "
            f"{adata.n_vars}. Draw before features are left out, or name the shape that is left."
        )
    loading_gk = _read.gene_positions(adata)
    plt = require("matplotlib.pyplot", extra="plot")
    n_rows = -(-len(chosen) // n_columns)
    width = min(n_columns, len(chosen))
    figure, axs = plt.subplots(
        n_rows, width, figsize=(1.35 * width + 0.9, (1.35 * size[0] / size[1] + 0.25) * n_rows + 0.1),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    most = float(np.nanmax(np.abs(loading_gk[:, chosen]))) or 1.0
    image: Any = None
    for place, ax in enumerate(axs.flat):
        _style.bare(ax)
        if place >= len(chosen):
            ax.set_axis_off()
            continue
        ax.set_facecolor("#DDDDDD")
        picture = loading_gk[:, chosen[place]].reshape(size)
        image = ax.imshow(picture, cmap=_style.CHANGES, vmin=-most, vmax=most, interpolation="nearest")
        ax.set_title(_read.axis_name(adata, chosen[place]), fontsize=7.5, color=_style.INK)
    bar = figure.colorbar(image, ax=axs.ravel().tolist(), shrink=0.8, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, color=_style.FAINT, labelcolor=_style.INK)
    bar.set_label("loading", fontsize=8, color=_style.INK)
    return np.array(axs.ravel()[: len(chosen)])


def some_axes(adata: AnnData, axes: Sequence[int] | None) -> list[int]:
    """Axes asked for, or all that carry something."""
    k = _read.gene_positions(adata).shape[1]
    if axes is not None:
        listed = list(axes)
        return list(_read.check_axes(listed, k, n_wanted=max(1, len(listed))))
    used = [int(axis) for axis in np.flatnonzero(~_read.unused_axes(adata))]
    return used or list(range(k))


def _ends(adata: AnnData, axes: Sequence[int], n_genes: int) -> NDArray[np.intp]:
    """Genes at both ends of each axis, those of the first axis first, each gene once."""
    rows = [int(row) for axis in axes for row in ends(adata, axis, n_genes=n_genes)[0]]
    return np.array(list(dict.fromkeys(rows)), dtype=np.intp)
