"""What an axis is: its genes at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import SetupError
from sivae.pl import _read, _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Z_90: Final = 1.6448536269514722
"""Half width of a central 90 % interval of a normal distribution, in standard deviations."""


@door
def loadings(adata: AnnData, axis: int = 0, *, n_genes: int = 10, ax: Axes | None = None) -> Axes:
    """Draw the genes at both ends of an axis, with 90 % intervals.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axis
        The axis, counted from 0.
    n_genes
        Genes at each end, among those that the model was trained on: the largest positive and the largest negative
        loadings; fewer where fewer have that sign.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: bars from the highest loading at the top to the lowest at the bottom.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding or no such axis.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=300, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> model.annotate(adata)
    >>> sivae.pl.loadings(adata, axis=0, n_genes=5).get_xlabel()
    'loading on axis 1, 90 % interval'
    """
    whole_number("n_genes", n_genes, least=1, hint="10 is the default.")
    _read.check_axes((axis,), _read.gene_positions(adata).shape[1], n_wanted=1)
    rows, n_high = ends(adata, axis, n_genes=n_genes)
    loading, sd = _read.gene_positions(adata)[rows, axis], deviations(adata)[rows, axis]
    ax = _style.new_axes(ax, (3.6, 0.5 + 0.19 * max(6, len(rows))))
    high = np.arange(len(rows)) < n_high
    place = np.arange(len(rows)) + np.where(high, 0.0, 0.6)
    colors = [_style.HIGH if up else _style.LOW for up in high]
    interval = {"ecolor": _style.INK, "elinewidth": 0.8, "capsize": 1.5}
    ax.barh(place, loading, xerr=Z_90 * sd, color=colors, height=0.75, error_kw=interval)
    _style.name_ticks(ax, "y", place.tolist(), adata.var_names[rows].tolist())
    ax.invert_yaxis()
    ax.locator_params(axis="x", nbins=5)
    ax.axvline(0, color=_style.FAINT, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    _style.label_axes(ax, f"loading on {_read.axis_name(adata, axis)}, 90 % interval", "")
    return ax


def ends(adata: AnnData, axis: int, *, n_genes: int) -> tuple[NDArray[np.intp], int]:
    """Return the rows of the genes at both ends of an axis, highest loading first, and how many are positive."""
    loading_g = np.where(_read.modelled(adata), _read.gene_positions(adata)[:, axis], 0.0)
    names_g = np.asarray(adata.var_names, dtype=str)
    order = np.lexsort((names_g, -loading_g))
    high = order[loading_g[order] > 0][:n_genes]
    low = order[loading_g[order] < 0][-n_genes:]
    return np.concatenate([high, low]), len(high)


def deviations(adata: AnnData) -> NDArray[np.float64]:
    """Return posterior standard deviations of loadings, (g, k)."""
    if _keys.GENES_VAR not in adata.varm:
        raise SetupError(
            f"Found no varm[{_keys.GENES_VAR!r}], expected the posterior variance of loadings. "
            "Call model.annotate(adata) first."
        )
    return np.sqrt(np.asarray(adata.varm[_keys.GENES_VAR], dtype=np.float64))
