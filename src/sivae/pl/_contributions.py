"""Why a gene is predicted as it is, and why a cell lies where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae.pl import _style
from sivae.pl._tables import check_table, one

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CALL: Final = "sivae.tl.contributions"
SPECIAL: Final = ("(baseline)", "(other genes)")


@door
def contributions(
    table: pd.DataFrame,
    unit: str | int | None = None,
    *,
    gene: str | None = None,
    axis: str | None = None,
    n_genes: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a prediction (decoder side) or a position (encoder side) is the sum of, for a cell or a group.

    Parameters
    ----------
    table
        What `sivae.tl.contributions` returns.
    unit
        The cell, or the group, where the table holds several.
    gene
        Decoder side: the gene, where the table holds several.
    axis
        Encoder side: the axis ("axis1"), where the table holds several.
    n_genes
        Encoder side: genes with the largest contributions; the others are one bar.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: a bar for each summand. Decoder side: covariates, axes and the non-linear remainder; the title has the
    bias and the sum. Encoder side: genes, from the largest contribution to the smallest; the title has the position,
    a mark on each bar the linear part.

    Raises
    ------
    SetupError
        If the table is another.
    OptionError
        If it holds several units, genes or axes and none is named, or not the one that is named.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=2)
    >>> history = model.train(max_epochs=1, progress=False)
    >>> table = sivae.tl.contributions(adata, model, genes=model.genes[0], groupby="group")
    >>> [tick.get_text() for tick in sivae.pl.contributions(table, "+++").get_yticklabels()]
    ['covariates', 'axis1', 'axis2', 'remainder']
    """
    n_genes = whole_number("n_genes", n_genes, least=1, hint="12 is the default.")
    check_table(table, ["gene"], call=CALL)
    kind = "cell" if "cell" in table.columns else "group"
    check_table(table, [kind], call=CALL)
    unit = one(table, kind, unit)
    rows = table[table[kind].astype(str) == unit]
    if "predictor" in table.columns:
        return _decoder(rows, unit, one(rows, "gene", gene), ax=ax)
    check_table(table, ["axis", "linear", "nonlinear", "total"], call=CALL)
    if gene is not None:
        raise OptionError("gene= belongs to the decoder side; this table is of the encoder side. Name an axis.")
    return _encoder(rows, unit, one(rows, "axis", axis), n_genes=n_genes, ax=ax)


def _decoder(rows: pd.DataFrame, unit: str, gene: str, *, ax: Axes | None) -> Axes:
    row: Any = rows[rows["gene"].astype(str) == gene].iloc[0]
    columns = [str(name) for name in rows.columns]
    parts = columns[columns.index("bias") + 1 : columns.index("predictor")]
    ax = _bars(parts, np.array([float(row[part]) for part in parts]), ax=ax)
    _style.head(ax, f"{_style.short(gene)} in {_style.short(unit)}\nbias {row['bias']:.2f}, sum {row['predictor']:.2f}")
    _style.label_axes(ax, "part of the prediction", "")
    return ax


def _encoder(rows: pd.DataFrame, unit: str, axis: str, *, n_genes: int, ax: Axes | None) -> Axes:
    rows = rows[rows["axis"].astype(str) == axis]
    named = rows["gene"].isin(SPECIAL).to_numpy()
    value_g, linear_g = rows["total"].to_numpy(dtype=np.float64), rows["linear"].to_numpy(dtype=np.float64)
    genes = np.flatnonzero(~named)
    chosen = genes[np.argsort(-np.abs(value_g[genes]), kind="stable")][:n_genes]
    rest = np.setdiff1d(np.arange(len(rows)), np.r_[chosen, np.flatnonzero(rows["gene"] == SPECIAL[0])])
    chosen = chosen[np.argsort(-value_g[chosen], kind="stable")]
    baseline = value_g[rows["gene"].to_numpy() == SPECIAL[0]]
    names = [str(name) for name in rows["gene"].to_numpy()[chosen]]
    bars, lines = value_g[chosen], linear_g[chosen]
    if len(rest):
        names, bars, lines = [*names, SPECIAL[1]], np.r_[bars, value_g[rest].sum()], np.r_[lines, linear_g[rest].sum()]
    if len(baseline):
        names, bars, lines = [*names, SPECIAL[0]], np.r_[bars, baseline], np.r_[lines, 0.0]
    ax = _bars(names, bars, ax=ax)
    ax.plot(lines, np.arange(len(lines)), "|", color=_style.INK, markersize=7, gid="linear")
    _style.head(ax, f"{_style.short(unit)}, {axis}\nposition {value_g.sum():.2f}")
    _style.label_axes(ax, "contribution (mark: its linear part)", "")
    return ax


def _bars(names: list[str], values: Any, *, ax: Axes | None) -> Axes:
    ax = _style.new_axes(ax, (3.8, 0.9 + 0.19 * max(5, len(names))))
    ax.barh(
        np.arange(len(names)), values, color=[_style.HIGH if value > 0 else _style.LOW for value in values], height=0.75
    )
    _style.name_ticks(ax, "y", range(len(names)), names)
    ax.invert_yaxis()
    ax.axvline(0, color=_style.FAINT, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=5)
    return ax
