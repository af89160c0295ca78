"""Genes in two of the latent axes or in a layout, alone or beside the cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import GeneMismatchError, OptionError, some
from sivae._extras import require
from sivae._space import read_space
from sivae.pl import _labels, _read, _style
from sivae.pl._cells import cells
from sivae.pl._look import Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Color: TypeAlias = "str | Iterable[str] | Mapping[str, Iterable[str]] | None"
OTHERS: Final = "none"
WORDS: Final = {_keys.HUB_SCORE: "hub score", _keys.MODULE_STABILITY: "stability"}


@door
def genes(
    adata: AnnData,
    axes: tuple[int, int] = (0, 1),
    *,
    basis: str | None = None,
    color: Color = _keys.R2,
    n_labels: int = 15,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw genes in two latent axes, or in a layout of them, and name those farthest from the origin.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    basis
        Draw this array of `varm` with two columns instead ("X_umap" or "umap", ...).
    color
        A column of `var`: numbers get a color bar (`sivae_r2`, `sivae_hub_score`; of `sivae_r2` values below 0 are
        drawn as 0), anything else a legend (`sivae_module`, `sivae_hub`). A list of genes, drawn before the others. Or
        gene sets, a mapping from names to genes: a color each, a gene of several in that of the first. One color if
        None, or if it is the default and not there.
    n_labels
        How many genes to name, among those that the model was trained on (of gene sets, their genes): in a layout those
        farthest from the origin of the map, over all its axes. Names for which there is no room are left out.
    labels
        Genes to name instead.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. Genes that the model was not trained on and that were embedded afterwards are drawn as small rings; genes
    without a position are left out.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, layout or column.
    GeneMismatchError
        If a gene to name, or every gene of the sets, is unknown.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.genes(adata, color="module").get_ylabel()
    'axis 2'
    """
    whole_number("n_labels", n_labels, least=0)
    layout, trained_g = _read.gene_layout(adata, axes, basis), _read.modelled(adata)
    look, member_g = look_at(adata, color)
    named = _named(adata, layout, n_labels, labels, trained_g if member_g is None else member_g)
    ax = _style.new_axes(ax)
    if layout.is_map:
        _style.origin_lines(ax)
    _style.label_axes(ax, *layout.names)
    look.explain(ax, draw(ax, layout.xy_n2, trained_g if member_g is None else trained_g | member_g, look=look))
    known = layout.xy_n2[np.isfinite(layout.xy_n2).all(axis=1)]
    _labels.place(ax, layout.xy_n2[named], [str(name) for name in adata.var_names[named]], others_n2=known)
    return ax


@door
def cells_and_genes(
    adata: AnnData, axes: tuple[int, int] = (0, 1), *, color: str | None = None, n_labels: int = 15
) -> tuple[Axes, Axes]:
    """Draw cells and genes side by side in the same two axes: a gene points to the cells that express it.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axes
        The two axes to draw, counted from 0.
    color
        What colors the cells: a column of `obs` or a gene (see `cells`).
    n_labels
        How many genes to name (see `genes`).

    Returns
    -------
    The axes of the cells and of the genes, in a new figure.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, column or gene.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> left, right = sivae.pl.cells_and_genes(adata, color="group")
    >>> right.get_title(loc="left")
    'genes'
    """
    _read.gene_positions(adata)
    _read.check_axes(axes, _read.cell_positions(adata).shape[1])
    if color is not None and _read.color_source(adata, color) == "gene":
        _read.expression(adata, color, layer=None)
    plt = require("matplotlib.pyplot", extra="plot")
    _, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    cells(adata, axes, color=color, ax=left)
    left.set_title("cells", fontsize=10, color=_style.INK, loc="left")
    right.set_title("genes", fontsize=10, color=_style.INK, loc="left")
    genes(adata, axes, n_labels=n_labels, ax=right)
    return left, right


def find(adata: AnnData, wanted: Iterable[str]) -> NDArray[np.intp]:
    """Return the rows of genes with a position, in the order asked.

    Raises
    ------
    GeneMismatchError
        Naming those that are not there.
    """
    space = read_space(adata)
    return space.rows[space.find(wanted)]


def draw(
    ax: Axes, xy_g2: NDArray[np.float64], full_g: NDArray[np.bool_], *, look: Look, size: float | None = None
) -> Any:
    """Draw genes as rings, those placed after training, and over them the others, and return what explains them."""
    known_g = np.isfinite(xy_g2).all(axis=1)
    size, later = _style.point_size(int(known_g.sum())) if size is None else size, known_g & ~full_g
    if later.any():
        ax.scatter(
            xy_g2[later, 0], xy_g2[later, 1], s=size * 0.8, facecolors="none", edgecolors=_style.FAINT, linewidths=0.5,
            rasterized=later.sum() > 2000,
        )  # fmt: skip
    ax.margins(0.12)
    rows = np.flatnonzero(known_g & full_g)
    return look.take(rows).draw(ax, xy_g2[rows], size=size)


def _named(
    adata: AnnData,
    layout: _read.Layout,
    n: int,
    labels: Sequence[str] | None,
    candidate_g: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Return the rows of the genes to name, the first to be placed first."""
    known_g: NDArray[np.bool_] = np.asarray(np.isfinite(layout.xy_n2).all(axis=1))
    if labels is not None:
        rows = find(adata, labels)
        return rows[known_g[rows]]
    # The origin of a layout means nothing.
    position_gk = layout.xy_n2 if layout.is_map else _read.gene_positions(adata)
    return farthest(adata, candidate_g & known_g, np.sqrt((position_gk**2).sum(axis=1)), n)


def farthest(
    adata: AnnData, candidate_g: NDArray[np.bool_], distance_g: NDArray[np.float64], n: int
) -> NDArray[np.intp]:
    """Return the rows of the candidates with the largest distance, the largest first; ties go by name."""
    distance_g = np.where(candidate_g, distance_g, -1.0)
    order = np.lexsort((np.asarray(adata.var_names, dtype=str), -distance_g))
    named: NDArray[np.intp] = order[distance_g[order] > 0][: max(0, n)]
    return named


def look_at(adata: AnnData, color: Color) -> tuple[Look, NDArray[np.bool_] | None]:
    """Return what colors the genes, and for gene sets which genes are in one.

    Raises
    ------
    OptionError, GeneMismatchError
        If there is no such column, or no gene of the sets is here.
    """
    if color is None or (isinstance(color, str) and color == _keys.R2 and color not in adata.var):
        return Look(), None
    if not isinstance(color, str):
        column = _sets(adata, color)
        return Look(column=column), np.asarray(column != OTHERS)
    if color not in adata.var:
        raise OptionError(
            f"Found color={color!r}, expected a column of var: {some(adata.var.columns, 20) or 'none are there'}; or a "
            "list of genes, or a mapping from names to genes. Name one of these, or None for one color."
        )
    if adata.var[color].dtype.kind not in "fiu":
        return Look(column=adata.var[color], title=color), None
    value_g = adata.var[color].to_numpy(dtype=np.float64)
    if not np.isfinite(value_g[_read.modelled(adata)]).any():
        return Look(), None
    if color == _keys.R2:
        words = "share of variance explained\n(held-out cells)"
        return Look(value_n=np.maximum(value_g, 0.0), title=words, low=0.0), None
    return Look(value_n=value_g, title=WORDS.get(color, color)), None


def _sets(adata: AnnData, color: Iterable[str] | Mapping[str, Iterable[str]]) -> pd.Series[Any]:
    """Return the set of each gene, the first that holds it, "none" for genes in none."""
    import pandas as pd

    sets = color if isinstance(color, Mapping) else {"gene set": color}
    found: dict[str, str] = {}
    for name, members in sets.items():
        if isinstance(members, str):
            raise OptionError(f"The genes of {str(name)!r} are one text, {members!r}; expected a list of names.")
        for gene in members:
            found.setdefault(str(gene), str(name))
    set_g = [found.get(str(gene), OTHERS) for gene in adata.var_names]
    if all(name == OTHERS for name in set_g):
        raise GeneMismatchError(
            f"None of {len(found)} genes ({some(found, 3)}) is among the {adata.n_vars} genes here "
            f"({some(adata.var_names, 3)}). Check how genes are named in var_names."
        )
    kinds = [str(name) for name in sets if str(name) in set_g] + [OTHERS]
    return pd.Series(pd.Categorical(set_g, categories=list(dict.fromkeys(kinds))), index=adata.var_names)
