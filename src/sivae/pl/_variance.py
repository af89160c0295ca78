"""What axes, layers and the model explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._door import door
from sivae.pl import _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CALL: Final = "sivae.tl.explained_variance"


@door
def explained_variance(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of variance that axes, layers, or the model for each gene explain.

    Parameters
    ----------
    table
        What `sivae.tl.explained_variance` returns.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. By axis: a bar for each, and the sum so far as a line. By layer: a bar for each. By gene: how many genes
    have how much explained, by the linear layer alone and by the full model.

    Raises
    ------
    SetupError
        If the table is another.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40, n_factors=2)
    >>> table = sivae.tl.explained_variance(adata, use_rep="planted_v")
    >>> len(sivae.pl.explained_variance(table).patches)
    2
    """
    by_gene = hasattr(table, "columns") and "gene" in table.columns
    check_table(table, ["gene", "linear", "full"] if by_gene else ["explained"], call=CALL)
    ax = _style.new_axes(ax, (4.2, 3.0))
    if by_gene:
        bins = np.linspace(0, 1, 41).tolist()
        for column, words, color in (("full", "full model", _style.FAINT), ("linear", "linear layer", _style.HIGH)):
            share_g = table[column].to_numpy(dtype=np.float64)
            share_g = share_g[np.isfinite(share_g)].clip(0, 1)
            fill = column == "full"
            ax.hist(share_g, bins, color=color, label=words, histtype="step", fill=fill, linewidth=1.4)
        _style.label_axes(ax, "share of a gene's variance explained", "genes")
        _style.small_legend(ax)
        return ax
    kind = "axis" if "axis" in table.columns else "layer"
    check_table(table, [kind], call=CALL)
    share = table["explained"].to_numpy(dtype=np.float64)
    place = np.arange(len(share))
    ax.bar(place, share, color=_style.HIGH, width=0.75, label="each axis" if kind == "axis" else None)
    ax.axhline(0, color=_style.FAINT, linewidth=0.8)
    _style.name_ticks(ax, "x", range(len(share)), [str(name).removeprefix("axis") for name in table[kind]])
    ax.tick_params(axis="x", rotation=0)
    if kind == "axis":
        ax.plot(place, np.cumsum(share), "o-", color=_style.LOW, markersize=3.5, linewidth=1.2, label="sum so far")
        _style.small_legend(ax)
    _style.label_axes(ax, kind, "share of variance explained")
    return ax
