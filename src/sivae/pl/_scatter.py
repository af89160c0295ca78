"""Two accounts of the same genes against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import spearmanr

from sivae._checks import check_adata, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._space import read_space
from sivae.pl import _labels, _points, _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

AWARENESS: Final = "sivae.tl.feature_awareness"


@door
def awareness(
    table: pd.DataFrame,
    layers: tuple[str, str] = ("latent", "full"),
    *,
    group: str | None = None,
    n_labels: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw how well one layer reconstructs each gene against another.

    Parameters
    ----------
    table
        What `sivae.tl.feature_awareness` returns.
    layers
        The two layers, of those in the table ("latent", "full", "pca").
    group
        The group of cells, where the table holds groups.
    n_labels
        How many genes to name: those on which the layers differ most.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: the share of each gene's variance that each layer explains, with the line of equality.

    Raises
    ------
    SetupError, OptionError
        If the table is another, or has no such layer or group.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(300, 40, counts=False, n_factors=2)
    >>> table = sivae.tl.feature_awareness(adata, use_rep="planted_v", cells_rep="planted_z", pca=True)
    >>> sivae.pl.awareness(table, ("latent", "pca")).get_xlabel()
    'share explained, latent'
    """
    whole_number("n_labels", n_labels, least=0)
    check_table(table, ["layer", "gene", "share"], call=AWARENESS)
    if "group" in table.columns:
        there = [str(name) for name in dict.fromkeys(table["group"])]
        if group not in there:
            raise OptionError(
                f"Found group={group!r}, expected one of those in the table: {some(there, 20)}. Name one."
            )
        table = table[table["group"].astype(str) == group]
    known = [str(name) for name in dict.fromkeys(table["layer"])]
    two = isinstance(layers, Sequence) and not isinstance(layers, str) and len(layers) == 2
    if not two or any(layer not in known for layer in layers):
        raise OptionError(
            f"Found layers={layers!r}, expected two of {some(known)}. Pass a model to {AWARENESS} for 'full', pca=True "
            "for 'pca'."
        )
    first, second = (table[table["layer"] == layer].set_index("gene")["share"] for layer in layers)
    genes = first.index.intersection(second.index, sort=False)
    xy_g2 = np.column_stack([first.loc[genes].to_numpy(np.float64), second.loc[genes].to_numpy(np.float64)])
    ax = _against(ax, xy_g2, [str(name) for name in genes], n_labels=n_labels, equal=True)
    _style.label_axes(ax, f"share explained, {layers[0]}", f"share explained, {layers[1]}")
    return ax


@door
def loading_scatter(
    adata: AnnData,
    axis: int = 0,
    other_axis: int | None = None,
    *,
    other: str | pd.DataFrame = "PCs",
    n_labels: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw the loadings of an axis against those of another account of the genes.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axis
        The axis, counted from 0.
    other_axis
        The axis of the other; the one that agrees best (absolute rank correlation) if not given.
    other
        An array of `varm` (principal components of scanpy are "PCs"), or a frame genes x axes, as
        `sivae.tl.attributions` and `gene_relevance` make them, matched by name.
    n_labels
        How many genes to name: those farthest out on `axis`.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes; the title has the rank correlation (Spearman).

    Raises
    ------
    SetupError, OptionError
        If there is no such embedding or axis, or fewer than three genes are in both.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.loading_scatter(adata, 1, other="planted_v").get_ylabel()
    'planted_v, axis 2'
    """
    whole_number("n_labels", n_labels, least=0)
    check_adata(adata)
    names, first_gk, second_gm, words = _matched(adata, other)
    (axis,) = _axis(axis, first_gk.shape[1], "axis")
    value_g = first_gk[:, axis]
    agreement_m = np.array([_rank_correlation(value_g, column) for column in second_gm.T])
    if other_axis is None:
        other_axis = int(np.argmax(np.abs(agreement_m)))
    (other_axis,) = _axis(other_axis, second_gm.shape[1], "other_axis")
    xy_g2 = np.column_stack([value_g, second_gm[:, other_axis]])
    ax = _against(ax, xy_g2, names, n_labels=n_labels, equal=False)
    _style.label_axes(ax, f"loading on axis {axis + 1}", f"{words}, axis {other_axis + 1}")
    _style.head(ax, f"rank correlation {agreement_m[other_axis]:.2f}")
    return ax


def _matched(adata: AnnData, other: str | pd.DataFrame) -> tuple[list[str], Array, Array, str]:
    """Names of the genes that both have, their loadings and the others, and what these are called."""
    space = read_space(adata)
    if isinstance(other, str):
        second = read_space(adata, other)
        index, second_gm, words = list(second.names), second.v_gk, other
    elif hasattr(other, "index") and hasattr(other, "to_numpy"):
        index, second_gm = [str(name) for name in other.index], other.to_numpy(dtype=np.float64)
        words = str(other.attrs.get("method", "other"))
    else:
        raise SetupError(
            f"Found other of type {type(other).__name__}, expected the name of an array of varm or a frame."
        )
    place = {name: row for row, name in enumerate(index)}
    both = [row for row, name in enumerate(space.names) if name in place]
    if len(both) < 3:
        raise SetupError(f"{len(both)} genes are in both, expected three or more. Check how genes are named.")
    names = [space.names[row] for row in both]
    return names, space.v_gk[both], second_gm[[place[name] for name in names]], words


def _axis(axis: int, k: int, name: str) -> tuple[int]:
    number = whole_number(name, axis, least=0)
    if number >= k:
        raise OptionError(f"{name} is {number}; expected 0 to {k - 1}, because there are {k}.")
    return (number,)


def _rank_correlation(first_g: Array, second_g: Array) -> float:
    known = np.isfinite(first_g) & np.isfinite(second_g)
    if known.sum() < 3 or np.ptp(first_g[known]) == 0 or np.ptp(second_g[known]) == 0:
        return 0.0
    return float(spearmanr(first_g[known], second_g[known]).statistic)


def _against(ax: Axes | None, xy_g2: Array, names: Sequence[str], *, n_labels: int, equal: bool) -> Axes:
    known = np.flatnonzero(np.isfinite(xy_g2).all(axis=1))
    xy_g2, names = xy_g2[known], [names[row] for row in known.tolist()]
    ax = _style.new_axes(ax, (3.6, 3.4))
    _style.origin_lines(ax)
    _points.scatter(ax, xy_g2, color=_style.HIGH, look=_points.Look(alpha=0.7))
    ax.margins(0.1)
    far_g = np.abs(xy_g2[:, 1] - xy_g2[:, 0]) if equal else np.abs(xy_g2[:, 0])
    if equal and len(xy_g2):
        low, high = min(0.0, float(xy_g2.min())), float(xy_g2.max())
        ax.plot([low, high], [low, high], color=_style.FAINT, linewidth=0.9, linestyle="--", zorder=0, gid="equal")
    order = np.lexsort((np.array(names, dtype=str), -far_g))[:n_labels]
    _labels.place(ax, xy_g2[order], [names[row] for row in order.tolist()], others_n2=xy_g2)
    return ax
