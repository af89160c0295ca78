"""What the model predicts along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import check_model, whole_number
from sivae._door import door
from sivae._errors import GeneMismatchError, OptionError, SetupError, some
from sivae._values import part_of
from sivae.pl import _labels, _read, _style
from sivae.pl._genes import find
from sivae.pl._loadings import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sivae.pl._model import Decoder

POINTS: Final = 61
NOWHERE: Final = 1e-6
SHARE: Final = (0.01, 0.99)
"""From the first to the last percent of the cells."""


@door
def traversal(
    adata: AnnData,
    axis: int = 0,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 4,
    model: Decoder | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how predictions of genes change as a cell moves along one axis, the others at the cells' mean.

    Without a model the prediction is linear, ``z.v``; with one also what it adds to the line, ``z.v + h.w``, at average
    covariates.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    axis
        The axis, counted from 0.
    genes
        Genes to draw; those at the ends of the axis if not given.
    n_genes
        Genes at each end, where `genes` is not given.
    model
        The model that annotated `adata`, turned as it was then.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: standardised values of genes (standard deviations from the mean) between the first and the last percent of
    the cells' positions. With a model its prediction is drawn, and its linear part as a thin dashed line. Small marks
    at the bottom are the cells, 400 at most.

    Raises
    ------
    SetupError, OptionError
        If there is no embedding, no such axis, nothing along it, or the model has other axes.
    GeneMismatchError
        If a gene is unknown, or the model was not trained on it.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.pl.traversal(adata, genes=["gene_1"]).texts[0].get_text()
    'gene_1'
    """
    n_genes = whole_number("n_genes", n_genes, least=1, hint="4 is the default.")
    z_nk, v_gk = _read.cell_positions(adata), _read.gene_positions(adata)
    (axis,) = _read.check_axes((axis,), v_gk.shape[1], n_wanted=1)
    rows = find(adata, genes) if genes is not None else ends(adata, axis, n_genes=n_genes)[0]
    first, last = (float(end) for end in np.quantile(z_nk[:, axis], SHARE))
    if len(rows) == 0 or last - first < NOWHERE:
        raise OptionError(
            f"Nothing changes along {_read.axis_name(adata, axis)}: no cell moves along it, or no gene has a loading "
            "on it. Choose another axis."
        )
    grid_m = np.linspace(first, last, POINTS)
    grid_mk = np.tile(z_nk.mean(axis=0), (POINTS, 1))
    grid_mk[:, axis] = grid_m
    linear_mf = grid_mk @ v_gk[rows].T
    drawn_mf = linear_mf if model is None else _decoded(adata, model, grid_mk, rows)
    ax = _style.new_axes(ax, (4.2, 3.2))
    ax.axhline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
    colors = [color for color, _ in _style.category_styles(len(rows))]
    for place, row in enumerate(rows):
        ax.plot(grid_m, drawn_mf[:, place], color=colors[place], linewidth=1.5, gid=f"gene {adata.var_names[row]}")
        if model is not None:
            ax.plot(
                grid_m, linear_mf[:, place], color=colors[place], linewidth=0.7, linestyle=(0, (4, 2)), gid="linear"
            )
    _cells_below(ax, z_nk[:, axis], (grid_m[0], grid_m[-1]))
    ax.set_xlim(grid_m[0], grid_m[-1])
    _style.label_axes(ax, _read.axis_name(adata, axis), "predicted, in sd of the gene")
    ends_f2 = np.column_stack([np.full(len(rows), grid_m[-1]), drawn_mf[-1]])
    order = np.argsort(-np.abs(drawn_mf[-1]), kind="stable")
    names = [str(adata.var_names[rows[i]]) for i in order]
    _labels.beside(ax, ends_f2[order], names, colors=[colors[i] for i in order])
    return ax


def _cells_below(ax: Axes, z_n: NDArray[np.float64], span: tuple[float, float]) -> None:
    """Mark where cells lie, along the bottom."""
    inside = np.sort(z_n[(z_n >= span[0]) & (z_n <= span[1])])
    some_n = inside[np.linspace(0, len(inside) - 1, min(len(inside), 400)).astype(int)] if len(inside) else inside
    ax.plot(
        some_n, np.zeros(len(some_n)), "|", transform=ax.get_xaxis_transform(), color=_style.FAINT, markersize=7,
        alpha=0.6, gid="cells",
    )  # fmt: skip


def _decoded(
    adata: AnnData, model: Decoder, grid_mk: NDArray[np.float64], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    check_model("model", model, "explain")
    explanation = model.explain(part_of(adata, slice(0, 1)))
    if len(explanation.axes) != grid_mk.shape[1]:
        raise SetupError(
            f"The model has {len(explanation.axes)} axes and this AnnData {grid_mk.shape[1]}. Pass the one that wrote "
            "it."
        )
    place = {name: number for number, name in enumerate(explanation.genes)}
    names = [str(name) for name in adata.var_names[rows]]
    unknown = [name for name in names if name not in place]
    if unknown:
        raise GeneMismatchError(f"The model was not trained on {some(unknown)}. Leave it out, or leave out the model.")
    return np.asarray(explanation.decode(grid_mk)[:, [place[name] for name in names]])
