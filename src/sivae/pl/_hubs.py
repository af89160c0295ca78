"""Which genes are central, against the evidence that they follow anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._checks import check_adata, whole_number
from sivae._door import door
from sivae._errors import SetupError
from sivae.pl import _labels, _points, _style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

KINDS: Final = {
    "not connected": ("#BFBFBF", "o"), "connected": (_style.HIGH, "o"), "hub": (_style.LOW, "D"),
}  # fmt: skip
LEAST_P: Final = 1e-50
"""Smaller p-values are drawn here."""


@door
def hubs(adata: AnnData, *, n_labels: int = 12, ax: Axes | None = None) -> Axes:
    """Draw how central each gene is, against the evidence that it follows anything at all.

    Parameters
    ----------
    adata
        With `var["sivae_hub_score"]` and the rest that `sivae.tl.hubs` writes.
    n_labels
        How many genes to name, the most central hubs first (the most central genes where no gene is a hub); names for
        which there is no room are left out.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: the score against -log10 of `var["sivae_connected_pvalue"]` (at most 50), with a line at the largest
    p-value that counts as connected. Where there are no p-values, as for another embedding, against the rank of the
    score. Genes that lack either are left out.

    Raises
    ------
    SetupError
        Without hubs.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=1, genes_per_factor=20)
    >>> sivae.tl.hubs(adata, use_rep="planted_v")
    >>> sivae.pl.hubs(adata).get_ylabel()
    'hub score'
    """
    whole_number("n_labels", n_labels, least=0)
    check_adata(adata)
    if _keys.HUB_SCORE not in adata.var:
        raise SetupError(f"Found no var[{_keys.HUB_SCORE!r}], expected hubs. Call sivae.tl.hubs(adata) first.")
    score_g = adata.var[_keys.HUB_SCORE].to_numpy(dtype=np.float64)
    x_g, name = _evidence(adata, score_g)
    known_g = np.isfinite(score_g) & np.isfinite(x_g)
    hub_g, connected_g = _flag(adata, _keys.HUB), _flag(adata, _keys.CONNECTED)
    kind_g = np.where(hub_g, "hub", np.where(connected_g, "connected", "not connected"))
    ax = _style.new_axes(ax)
    xy_g2 = np.column_stack([x_g, score_g])
    for kind, (color, marker) in KINDS.items():
        rows = known_g & (kind_g == kind)
        if rows.any():
            size = _style.point_size(int(known_g.sum())) * (1.6 if kind == "hub" else 1.0)
            look = _points.Look(marker, label=f"{kind} ({rows.sum()})")
            _points.scatter(ax, xy_g2[rows], size=size, color=color, look=look)
    if name != "rank" and (connected_g & known_g).any():
        ax.axvline(x_g[connected_g & known_g].min(), color=_style.FAINT, linewidth=0.9, linestyle="--", zorder=0)
    ax.margins(0.1)
    _style.label_axes(ax, "rank of the score" if name == "rank" else "evidence, -log10 p (held-out cells)", "hub score")
    _style.small_legend(ax)
    candidate = known_g & (hub_g if (hub_g & known_g).any() else True)
    rows_f = np.lexsort((np.asarray(adata.var_names, dtype=str), -np.where(candidate, score_g, -np.inf)))
    rows_f = rows_f[candidate[rows_f]][:n_labels]
    _labels.place(ax, xy_g2[rows_f], [str(n) for n in adata.var_names[rows_f]], others_n2=xy_g2[known_g])
    return ax


def _evidence(adata: AnnData, score_g: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    if _keys.CONNECTED_P in adata.var:
        p_g = adata.var[_keys.CONNECTED_P].to_numpy(dtype=np.float64)
        if np.isfinite(p_g[np.isfinite(score_g)]).any():
            return -np.log10(np.maximum(p_g, LEAST_P)), "p"
    order = np.argsort(-np.nan_to_num(score_g, nan=-np.inf), kind="stable")
    rank_g = np.empty(len(score_g))
    rank_g[order] = np.arange(1, len(score_g) + 1)
    return rank_g, "rank"


def _flag(adata: AnnData, key: str) -> NDArray[np.bool_]:
    column: Any = adata.var[key].to_numpy() if key in adata.var else np.zeros(adata.n_vars, bool)
    return np.asarray(column, dtype=bool)
