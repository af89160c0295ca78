"""What each axis is, and which genes are explained best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae.pl import _loadings, _read
from sivae.report._facts import number
from sivae.report._gene_space import group_means, sets_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

N_GENES: Final = 8
N_GROUPS: Final = 3
N_BEST: Final = 20


def describe(adata: AnnData, *, label: str | None, enriched: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """Return one entry per axis: its share, and at both ends its genes, its groups of cells and its gene sets."""
    unused, shares = _read.unused_axes(adata), shares_of(adata)
    entries = [_axis(adata, axis, bool(unused[axis]), share, label) for axis, share in enumerate(shares)]
    for entry in entries:
        for end in ("high", "low"):
            entry[f"{end}_sets"] = sets_of(enriched, f"axis{entry['number']}", end=end)
    return entries


def shares_of(adata: AnnData) -> list[float]:
    """Return each axis' share of the variance of z.v, summed over modelled genes on the standardised scale."""
    loading_gk = _read.gene_positions(adata)[_read.modelled(adata)]
    variance_k = _read.axis_variance(adata)
    strength_k = (loading_gk**2).sum(axis=0) * (1.0 if variance_k is None else variance_k)
    total = float(strength_k.sum())
    return [float(value) / total if total > 0 else 0.0 for value in strength_k]


def _axis(adata: AnnData, axis: int, unused: bool, share: float, label: str | None) -> dict[str, Any]:  # noqa: FBT001
    rows, n_high = _loadings.ends(adata, axis, n_genes=N_GENES)
    high, low = group_ends(adata, axis, label)
    return {
        "number": axis + 1,
        "unused": unused,
        "share": number(100 * share, 1),
        "high_genes": _genes(adata, axis, rows[:n_high]),
        "low_genes": _genes(adata, axis, rows[n_high:][::-1]),
        "high_groups": high,
        "low_groups": low,
    }


def _genes(adata: AnnData, axis: int, rows: Iterable[int]) -> list[tuple[str, str, str]]:
    loading, sd = _read.gene_positions(adata)[:, axis], _loadings.deviations(adata)[:, axis]
    return [(str(adata.var_names[g]), number(float(loading[g])), number(float(sd[g]))) for g in rows]


def group_ends(adata: AnnData, axis: int, label: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the groups with the highest and with the lowest mean position, with that mean."""
    if label is None or adata.obs[label].dtype.kind in "fiu":
        return [], []
    mean = group_means(adata, _read.cell_positions(adata)[:, axis], label)
    n = min(N_GROUPS, len(mean) // 2)
    pairs = [(str(name), number(float(value), 2)) for name, value in mean.items()]
    return pairs[:n], pairs[::-1][:n]


def best_explained(adata: AnnData) -> list[tuple[str, str, str, str]]:
    """Return the modelled genes explained best on validation cells: name, share, strongest axis, loading on it."""
    trained = np.flatnonzero(_read.modelled(adata))
    r2_g = adata.var[_keys.R2].to_numpy(dtype=np.float64)
    trained = trained[np.isfinite(r2_g[trained])]
    loading_gk = _read.gene_positions(adata)
    rows = []
    for g in trained[np.argsort(-r2_g[trained], kind="stable")][:N_BEST]:
        axis = int(np.abs(loading_gk[g]).argmax())
        rows.append(
            (str(adata.var_names[g]), number(float(r2_g[g])), str(axis + 1), number(float(loading_gk[g, axis])))
        )
    return rows
