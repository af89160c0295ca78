"""Modules of genes: their graph, how they are tied, how large they are, where they are high, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from sivae import _keys
from sivae._checks import check_adata, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._extras import require
from sivae.graph._layout import spring_layout, strongest_edges
from sivae.pl import _groups, _heat, _labels, _points, _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

UNASSIGNED: Final = "unassigned"


@door
def modules(adata: AnnData, *, n_genes: int = 800, n_edges: int = 4, seed: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the graph of the genes in modules, a color and a name for each module.

    Parameters
    ----------
    adata
        With the graph of `sivae.tl.gene_neighbors` and `var["sivae_module"]` of `sivae.tl.modules`.
    n_genes
        Genes at most: those whose edges are heaviest in sum.
    n_edges
        An edge is drawn, and pulls, if it is among so many heaviest of either gene.
    seed
        Of the layout (`sivae.graph._layout`: edges pull, genes repel).
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Distances in the picture are those of a drawing, not of the map.

    Raises
    ------
    SetupError
        Without a graph or modules.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 15, use_rep="planted_v")
    >>> sivae.tl.modules(adata, 1.0)
    >>> sorted(text.get_text() for text in sivae.pl.modules(adata).texts)
    ['module1 (20)', 'module2 (20)']
    """
    n_genes = whole_number("n_genes", n_genes, least=2)
    n_edges = whole_number("n_edges", n_edges, least=1)
    names, module_g = read_modules(adata)
    graph = read_graph(adata)
    degree_g = np.asarray(graph.sum(axis=1)).ravel()
    rows = np.flatnonzero(module_g >= 0)
    rows = np.sort(rows[np.argsort(-degree_g[rows], kind="stable")][:n_genes])
    drawn = strongest_edges(sparse.csr_matrix(graph[rows][:, rows]), n_edges)
    xy_f2 = spring_layout(drawn, seed=seed)
    ax = _style.new_axes(ax, (4.4, 4.0))
    _style.bare(ax)
    ax.set_aspect("equal", adjustable="datalim")
    edges = sparse.coo_matrix(sparse.triu(drawn, 1))
    lines = require("matplotlib.collections", extra="plot").LineCollection(
        np.stack([xy_f2[edges.row], xy_f2[edges.col]], axis=1), colors=_style.FAINT, linewidths=0.4,
        alpha=0.6, zorder=1, rasterized=edges.nnz > 3000,
    )  # fmt: skip
    ax.add_collection(lines)
    styles = _style.category_styles(len(names))
    size = min(26.0, _style.point_size(len(rows)) * 1.3)
    for number, (color, marker) in enumerate(styles):
        mine = module_g[rows] == number
        if mine.any():
            look = _points.Look(marker, zorder=2, label=names[number])
            _points.scatter(ax, xy_f2[mine], size=size, color=color, look=look)
    present = [number for number in range(len(names)) if (module_g[rows] == number).any()]
    middle = np.array([np.median(xy_f2[module_g[rows] == number], axis=0) for number in present]).reshape(-1, 2)
    words = [f"{names[number]} ({int((module_g == number).sum())})" for number in present]
    _labels.place(ax, middle, words, others_n2=middle, limit=_style.NAME_LIMIT, at_center=True)
    return ax


@door
def module_network(adata: AnnData, *, ax: Axes | None = None) -> Axes:
    """Draw modules as discs, and lines between them as wide as they are tied.

    Parameters
    ----------
    adata
        With the graph of `sivae.tl.gene_neighbors` and `var["sivae_module"]` of `sivae.tl.modules`.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. The area of a disc is the number of genes; a line is as wide as the mean weight of the graph over all
    pairs of genes of the two modules, relative to the widest.

    Raises
    ------
    SetupError
        Without a graph, or without any module.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 15, use_rep="planted_v")
    >>> sivae.tl.modules(adata, 1.0)
    >>> ax = sivae.pl.module_network(adata)
    """
    names, module_g = read_modules(adata)
    graph, size_m = read_graph(adata), np.bincount(module_g[module_g >= 0], minlength=len(names))
    inside = np.flatnonzero(module_g >= 0)
    member = sparse.csr_matrix((np.ones(len(inside)), (module_g[inside], inside)), shape=(len(names), adata.n_vars))
    tie_mm = (member @ graph @ member.T).toarray() / np.maximum(np.outer(size_m, size_m), 1)
    np.fill_diagonal(tie_mm, 0.0)
    xy_m2 = spring_layout(sparse.csr_matrix(tie_mm)) if len(names) > 2 else _line(len(names))
    ax = _style.new_axes(ax, (4.0, 3.6))
    _style.bare(ax)
    ax.margins(0.2)
    most = max(float(tie_mm.max(initial=0.0)), 1e-12)
    for a, b in zip(*np.nonzero(np.triu(tie_mm, 1)), strict=True):
        width = 7.0 * tie_mm[a, b] / most
        ax.plot(*xy_m2[[a, b]].T, color=_style.FAINT, linewidth=max(width, 0.2), zorder=1, solid_capstyle="round")
    colors = [color for color, _ in _style.category_styles(len(names))]
    area_m = 900.0 * size_m / size_m.max()
    ax.scatter(xy_m2[:, 0], xy_m2[:, 1], s=area_m, c=colors, zorder=2, edgecolors="white", linewidths=1.0)
    words = [f"{name} ({n})" for name, n in zip(names, size_m, strict=True)]
    _labels.place(ax, xy_m2, words, others_n2=xy_m2, limit=_style.NAME_LIMIT, at_center=True)
    return ax


@door
def module_sizes(adata: AnnData, *, ax: Axes | None = None) -> Axes:
    """Draw how many genes each module has, and how stable it is.

    Parameters
    ----------
    adata
        With `var["sivae_module"]` and `var["sivae_module_stability"]` of `sivae.tl.modules`.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: a bar per module, in their order, colored by the mean stability of its genes (0 to 1; grey where none is
    known).

    Raises
    ------
    SetupError
        Without any module.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> adata.var["sivae_module"] = adata.var["module"].cat.rename_categories({"none": "unassigned"})
    >>> [int(bar.get_width()) for bar in sivae.pl.module_sizes(adata).patches]
    [20, 20]
    """
    names, module_g = read_modules(adata)
    stability_m = np.full(len(names), np.nan)
    if _keys.MODULE_STABILITY in adata.var:
        stability_g = adata.var[_keys.MODULE_STABILITY].to_numpy(dtype=np.float64)
        for number in range(len(names)):
            mine = stability_g[(module_g == number) & np.isfinite(stability_g)]
            stability_m[number] = mine.mean() if len(mine) else np.nan
    ax = _style.new_axes(ax, (4.2, 0.7 + 0.22 * max(4, len(names))))
    plt = require("matplotlib.cm", extra="plot")
    colors = require("matplotlib.colors", extra="plot")
    scale = plt.ScalarMappable(colors.Normalize(0.0, 1.0), _style.VALUES)
    size_m = [int((module_g == number).sum()) for number in range(len(names))]
    known = np.isfinite(stability_m)
    fill = [scale.to_rgba(value) if known[i] else _points.MISSING for i, value in enumerate(stability_m)]
    ax.barh(np.arange(len(names)), size_m, color=fill, height=0.75)
    _style.name_ticks(ax, "y", range(len(names)), names)
    ax.invert_yaxis()
    _style.label_axes(ax, "genes", "")
    if known.any():
        _style.color_bar(ax, scale, title="stability")
    return ax


@door
def module_scores(adata: AnnData, groupby: str, *, ax: Axes | None = None) -> Axes:
    """Draw the mean score of each module in each group of cells.

    Parameters
    ----------
    adata
        With `obsm["X_sivae_modules"]` of `sivae.tl.modules` or `module_scores`.
    groupby
        Column of `obs`. Cells without a group are left out.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: groups in rows, modules in columns; a score is in standard deviations of a gene, 0 at the average cell.

    Raises
    ------
    SetupError, OptionError
        Without scores, or if there is no such column.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> adata.var["sivae_module"] = adata.var["module"]
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.tl.module_scores(adata)
    >>> sivae.pl.module_scores(adata, "group").images[0].get_array().shape
    (4, 3)
    """
    check_adata(adata)
    if _keys.MODULE_SCORES not in adata.obsm:
        raise SetupError(
            f"Found no obsm[{_keys.MODULE_SCORES!r}], expected scores of modules. Call sivae.tl.modules(adata) or "
            "sivae.tl.module_scores(adata) first."
        )
    groups, table = _groups.groups_of(adata, groupby), adata.obsm[_keys.MODULE_SCORES]
    mean_um = groups.means(np.asarray(table, dtype=np.float64))
    ax = _style.new_axes(ax, (1.6 + 0.3 * table.shape[1] + 1.2, 1.2 + 0.22 * len(groups.names)))
    _heat.heat_map(ax, mean_um, rows=groups.names, columns=list(table.columns), title="mean score\n(sd of a gene)")
    return ax


# -------------------------------------------------------------------------------------------------------------- reading


def read_modules(adata: AnnData) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the modules, and the place of each gene's module among them, -1 for none, (n_vars,).

    Raises
    ------
    SetupError
        Without modules, or if no gene is in one.
    """
    check_adata(adata)
    if _keys.MODULE not in adata.var:
        raise SetupError(f"Found no var[{_keys.MODULE!r}], expected modules. Call sivae.tl.modules(adata) first.")
    label: Any = _points.categorical(adata.var[_keys.MODULE])
    names = [str(name) for name in label.categories if name != UNASSIGNED]
    if not names:
        raise SetupError(
            f"No gene is in a module: var[{_keys.MODULE!r}] is {UNASSIGNED!r} everywhere. There is nothing to draw; "
            "sivae.tl.modules(adata, resolution=1.0) looks at a resolution of your own."
        )
    return names, np.where(label.codes < len(names), label.codes, -1).astype(np.intp)


def read_graph(adata: AnnData) -> sparse.csr_matrix:
    """The graph of genes, (n_vars, n_vars).

    Raises
    ------
    SetupError
        Without one.
    """
    check_adata(adata)
    if _keys.CONNECTIVITIES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.CONNECTIVITIES!r}], expected a graph of genes; varp has: "
            f"{some(adata.varp.keys()) or 'nothing'}. Call sivae.tl.gene_neighbors(adata) first."
        )
    return sparse.csr_matrix(adata.varp[_keys.CONNECTIVITIES], dtype=np.float64)


def _line(n: int) -> NDArray[np.float64]:
    if n < 1:
        raise OptionError("There is no module to draw.")
    return np.column_stack([np.linspace(-1, 1, n) if n > 1 else np.zeros(1), np.zeros(n)])
