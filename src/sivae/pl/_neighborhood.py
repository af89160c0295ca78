"""A gene, its neighbors, and where all of them are expressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse
from scipy.cluster import hierarchy

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._extras import require
from sivae._space import read_space
from sivae.graph._edges import pair_correlations
from sivae.graph._implied import correlation_factors, noise_variance, signal_factors
from sivae.pl import _groups, _heat, _labels, _read, _style
from sivae.pl._modules import read_graph

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sivae._space import GeneSpace

    Array = NDArray[np.float64]

BINS: Final = 60
LETTER: Final = 0.068
"""Width of a letter of a tick's name, in inches, at most on average."""
LIMIT: Final = 2.0
"""Expression is drawn up to so many standard deviations from a gene's mean."""


@door
def neighborhood(
    adata: AnnData,
    gene: str,
    *,
    n_neighbors: int = 10,
    groupby: str | None = None,
    layer: str | None = None,
    ax: Axes | None = None,
) -> NDArray[Any]:
    """Draw a gene with its nearest genes as a small network, beside the expression of all of them.

    Parameters
    ----------
    adata
        With the neighbors of `sivae.tl.gene_neighbors`, and values.
    gene
        The gene in the middle.
    n_neighbors
        How many of its neighbors, the nearest first; at most as many as were found.
    groupby
        Column of `obs`: mean expression in each group of cells. If not given, cells go from the lowest to the highest
        that the linear part of the model predicts for the gene, in at most 60 bins of as many cells.
    layer
        Layer with the values; that of the set-up record, or else `X`, if not given.
    ax
        Axes to draw into; a new figure if not given. The expression goes into a part of them.

    Returns
    -------
    Array of two axes, network and expression. In the network a neighbor is the farther from the middle the farther it
    is in the map; a line is as wide as the correlation that the decoder implies (`sivae.tl.neighbors_of`), dashed if it
    is negative; between two neighbors where one is a neighbor of the other. Expression is log1p of counts per 10,000
    or as stored (see `cells`), less each gene's mean, in its standard deviations over what is drawn, up to two.

    Raises
    ------
    SetupError
        Without neighbors, or without values.
    GeneMismatchError
        If the gene has no position.
    OptionError
        If more neighbors are asked for than were found.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.tl.gene_neighbors(adata, 5)
    >>> len(sivae.pl.neighborhood(adata, "gene_1", n_neighbors=5, groupby="group"))
    2
    """
    graph, space = read_graph(adata), read_space(adata, _rep(adata))
    rows, distance_f = _nearest(adata, space, gene, whole_number("n_neighbors", n_neighbors, least=1))
    at = np.searchsorted(space.rows, rows)
    correlation_ff = _correlations(space, at)
    names = [str(name) for name in adata.var_names[rows]]
    value_fm, columns = _expression(adata, rows, names, groupby, layer)
    ax = _style.new_axes(ax, (5.6, 3.4))
    _style.bare(ax)
    xy_f2 = _ring(correlation_ff, distance_f)
    tied_ff = (graph[rows][:, rows].toarray() > 0) | (graph[rows][:, rows].toarray().T > 0)
    tied_ff[0, 1:] = True
    _network(ax, xy_f2, correlation_ff, tied_ff)
    share, place, size = _room(ax, names, columns)
    ax.set(xlim=(-1.75, -1.75 + 3.5 / share), ylim=(-1.3, 1.3))
    heat = ax.inset_axes(place)
    _expressed(heat, value_fm, names, columns, groupby)
    heat.tick_params(axis="x", labelsize=size[0])
    heat.tick_params(axis="y", labelsize=size[1])
    others_n2 = (np.linspace(0.15, 1.0, 8)[:, None, None] * xy_f2[1:]).reshape(-1, 2)
    _labels.place(ax, xy_f2, names, others_n2=np.concatenate([others_n2, xy_f2]), outward=True)
    return np.array([ax, heat])


def _rep(adata: AnnData) -> str | None:
    """The embedding in which neighbors were found."""
    record = dict(dict(adata.uns.get(_keys.UNS, {})).get("neighbors", {}))
    return str(record["use_rep"]) if "use_rep" in record else None


def _nearest(adata: AnnData, space: GeneSpace, gene: str, n: int) -> tuple[NDArray[np.intp], Array]:
    """Rows of the gene and its n nearest, and their distances (0 for itself)."""
    row = int(space.rows[space.find(gene)[0]])
    if _keys.DISTANCES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.DISTANCES!r}], expected the neighbors of genes. Call sivae.tl.gene_neighbors(adata) "
            "first."
        )
    entry = sparse.csr_matrix(adata.varp[_keys.DISTANCES])[[row]]
    if n > len(entry.indices):
        raise OptionError(
            f"Found n_neighbors={n}, expected 1 to {len(entry.indices)}, the number that was found for {gene}. Call "
            f"sivae.tl.gene_neighbors(adata, {n}) first, or ask for fewer."
        )
    order = np.lexsort((np.asarray(adata.var_names[entry.indices], dtype=str), entry.data))[:n]
    return np.r_[row, entry.indices[order]].astype(np.intp), np.r_[0.0, entry.data[order]]


def _correlations(space: GeneSpace, at: NDArray[np.intp]) -> Array:
    """Correlation of genes that the decoder implies, (f, f)."""
    whole = space.w_gd is not None and space.covariance is not None
    covariance = space.covariance if whole and space.covariance is not None else space.covariance_kk
    signal_gm = signal_factors(space.v_gk, space.w_gd if whole else None, covariance)
    factor_fm = correlation_factors(signal_gm, noise_variance(signal_gm, space.noise_g))[at]
    n = len(at)
    row, column = (index.ravel() for index in np.indices((n, n)))
    return pair_correlations(factor_fm, rows=row, columns=column).reshape(n, n)


def _ring(correlation_ff: Array, distance_f: Array) -> Array:
    """The gene in the middle, its neighbors around it, genes alike side by side, (f, 2)."""
    n = len(distance_f) - 1
    order: NDArray[Any] = np.arange(n)
    if n > 2:
        apart = np.clip(1.0 - np.abs(correlation_ff[1:, 1:]), 0.0, None)
        pairs = apart[np.triu_indices(n, 1)]
        order = hierarchy.leaves_list(hierarchy.optimal_leaf_ordering(hierarchy.linkage(pairs, "average"), pairs))
    angle_f = np.empty(n)
    angle_f[order] = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    near, far = distance_f[1:].min(), distance_f[1:].max()
    radius_f = 0.7 + 0.3 * (distance_f[1:] - near) / max(far - near, 1e-12)
    return np.concatenate([[[0.0, 0.0]], radius_f[:, None] * np.column_stack([np.cos(angle_f), np.sin(angle_f)])])


def _network(ax: Axes, xy_f2: Array, correlation_ff: Array, tied_ff: NDArray[np.bool_]) -> None:
    collections = require("matplotlib.collections", extra="plot")
    for sign, style in ((1.0, "solid"), (-1.0, (0, (2.5, 1.5)))):
        a, b = np.nonzero(np.triu(tied_ff & (sign * correlation_ff > 0), 1))
        strength = np.abs(correlation_ff[a, b])
        color = [_style.HIGH if i == 0 else _style.FAINT for i in a]
        segments = np.stack([xy_f2[a], xy_f2[b]], axis=1)
        lines = collections.LineCollection(
            segments, linewidths=np.where(a == 0, 0.4 + 4.0 * strength, 0.2 + 1.2 * strength), colors=color,
            linestyles=style, alpha=0.7, zorder=1,
            gid="positive" if sign > 0 else "negative",
        )  # fmt: skip
        ax.add_collection(lines)
    fill = [_style.LOW] + [_style.HIGH] * (len(xy_f2) - 1)
    ax.scatter(xy_f2[:, 0], xy_f2[:, 1], s=[70.0] + [34.0] * (len(xy_f2) - 1), c=fill, zorder=3, edgecolors="white")


def _room(
    ax: Axes, names: list[str], columns: list[str]
) -> tuple[float, tuple[float, float, float, float], tuple[float, ...]]:
    """Share of the width for the network, the place of the expression with room for names, and the size of these."""
    figure = _labels.outer(ax)
    figure.draw_without_rendering()
    width, height = ax.bbox.width / figure.dpi, ax.bbox.height / figure.dpi
    right = (LETTER * max(len(_style.short(name, _style.TICK_LIMIT)) for name in names) + 0.08) / width
    longest = max((len(_style.short(name, _style.TICK_LIMIT)) for name in columns), default=0)
    bottom, top = (LETTER * longest + 0.08 if columns else 0.4) / height, 0.36 / height
    across = min(0.45, max(0.42 - right, 0.1 * len(columns) / width))
    up = max(0.15, 1.0 - bottom - top)
    size = tuple(
        min(7.0, max(3.0, 65.0 * inches / max(len(there), 1)))
        for inches, there in ((across * width, columns), (up * height, names))
    )
    return 1.0 - across - right, (1.0 - across - right, bottom, across, up), size


def _expression(
    adata: AnnData, rows: NDArray[np.intp], names: list[str], groupby: str | None, layer: str | None
) -> tuple[Array, list[str]]:
    """Expression of genes in groups or bins of cells, (f, m), and the names of the groups (none of bins)."""
    groups = None if groupby is None else _groups.groups_of(adata, groupby)
    value_nf, _ = _read.expressions(adata, names, layer=layer)
    if groups is None:
        order = np.argsort(_read.cell_positions(adata) @ _read.gene_positions(adata)[rows[0]], kind="stable")
        bins = np.array_split(order, min(BINS, len(order)))
        return _heat.by_gene(np.array([value_nf[cells].mean(axis=0) for cells in bins]).T), []
    return _heat.by_gene(groups.means(value_nf).T), list(groups.names)


def _expressed(heat: Axes, value_fm: Array, names: list[str], columns: list[str], groupby: str | None) -> None:
    drawn = _heat.heat_map(
        heat, value_fm, rows=names, columns=columns, title="", limits=(-LIMIT, LIMIT), bar=False,
    )  # fmt: skip
    heat.yaxis.tick_right()
    heat.tick_params(axis="y", length=0)
    if groupby is None:
        heat.set_xticks([])
        heat.set_xlabel(f"cells by predicted\n{_style.short(names[0], 18)}", fontsize=7, parse_math=False)
    bar = heat.figure.colorbar(drawn, cax=heat.inset_axes((0.0, 1.03, 1.0, 0.035)), orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.ax.set_title("expression, sd", fontsize=7, color=_style.INK, pad=3)
