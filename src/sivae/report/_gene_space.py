"""Hubs, modules, gene sets and the genes to look at first, in words and rows, as far as they were worked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae.pl import _read
from sivae.report._facts import number

if TYPE_CHECKING:
    from anndata import AnnData

Row = dict[str, str]
N_HUBS: Final = 20
N_CENTRAL: Final = 6
"""Genes named for each module."""
N_MODULES: Final = 30
N_FIRST: Final = 12
N_SETS: Final = 3
LEAST_CELLS: Final = 5
"""Smaller groups are not named as the highest or lowest."""
ENRICHED: Final = 0.05
"""Largest q-value of a gene set that is named."""
UNASSIGNED: Final = "unassigned"
SCORES: Final = {
    "strength": "the mean absolute correlation with the other genes that the model implies",
    "power": "the mean share of the other genes' variance that the gene alone explains, as the model implies it",
    "norm": "the length of the gene's loadings",
    "degree": "the number of its edges among the 1 % of pairs with the largest implied correlation",
    "explained": "the share of the gene's own variance that is explained on cells kept apart",
    "attribution": "the mean of what the encoder reads of it and the decoder moves of others",
}


def describe(adata: AnnData, *, label: str | None, enrichment: pd.DataFrame | None) -> dict[str, Any]:
    """Return what the page says of the gene space; None where it was not worked out.

    Parameters
    ----------
    adata
        Annotated; `sivae.tl.hubs` and `modules` may have been called.
    label
        Column of `obs` with groups of cells.
    enrichment
        Rows of `sivae.tl.enrich`, of axes, modules and hubs together.
    """
    return {
        "hubs": hubs(adata),
        "modules": modules(adata, label=label, enriched=enrichment),
        "hub_sets": sets_of(enrichment, "hubs"),
        "first": first(adata),
        "asked_sets": enrichment is not None,
    }


def hubs(adata: AnnData) -> dict[str, Any] | None:
    """Numbers of connected genes and hubs, what was asked of `tl.hubs`, and the most central genes."""
    if not {_keys.HUB, _keys.CONNECTED_Q, _keys.CONNECTED, _keys.HUB_SCORE} <= set(adata.var):
        return None
    q_g = adata.var[_keys.CONNECTED_Q].to_numpy(dtype=np.float64)
    connected_g, hub_g = (adata.var[key].to_numpy(dtype=bool) for key in (_keys.CONNECTED, _keys.HUB))
    table = adata.var.assign(gene=adata.var_names.astype(str))[hub_g]
    table = table.sort_values([_keys.HUB_SCORE, "gene"], ascending=[False, True], kind="stable").head(N_HUBS)
    asked = dict(dict(adata.uns[_keys.UNS]).get("hubs", {}))
    return {
        "score": SCORES.get(str(asked.get("score", "")), ""),
        "fdr": f"{100 * float(asked['fdr']):g} %" if "fdr" in asked else "",
        "n_known": f"{int(np.isfinite(q_g).sum()):,}",
        "n_connected": f"{int(connected_g.sum()):,}",
        "n_hubs": f"{int(hub_g.sum()):,}",
        "rows": [
            {
                "gene": str(row["gene"]),
                "score": number(float(row[_keys.HUB_SCORE])),
                "q": _small(float(row[_keys.CONNECTED_Q])),
                "r2": number(float(row[_keys.R2])) if _keys.R2 in row else "–",
                "module": str(row[_keys.MODULE]) if _keys.MODULE in row else "–",
            }
            for _, row in table.iterrows()
        ],
    }


def modules(adata: AnnData, *, label: str | None, enriched: pd.DataFrame | None) -> dict[str, Any] | None:
    """How many modules there are, how many genes are in none, and a row for each module, the largest first."""
    if _keys.MODULE not in adata.var:
        return None
    module_g = adata.var[_keys.MODULE].astype(str).to_numpy()
    names = sorted(set(module_g[np.char.startswith(module_g.astype(str), "module")]), key=_place)
    rows = [_module(adata, name, module_g == name, label, sets_of(enriched, name)) for name in names]
    return {
        "n": f"{len(names):,}",
        "n_genes": f"{int(np.isin(module_g, names).sum()):,}",
        "rows": rows[:N_MODULES],
        "left_out": max(0, len(rows) - N_MODULES),
    }


def _place(name: str) -> tuple[int, str]:
    """Modules are numbered; a module that the user has named comes after these."""
    digits = name.removeprefix("module")
    return (int(digits), "") if digits.isdigit() else (10**9, name)


def _module(adata: AnnData, name: str, members: np.ndarray, label: str | None, sets: list[str]) -> dict[str, Any]:
    part = adata.var[members].assign(gene=adata.var_names[members].astype(str))
    if _keys.HUB_SCORE in part:
        part = part.sort_values([_keys.HUB_SCORE, "gene"], ascending=[False, True], kind="stable")
    known = _keys.MODULE_STABILITY in part
    high, low = _groups(adata, members, label)
    return {
        "name": name,
        "size": f"{len(part):,}",
        "stability": number(float(part[_keys.MODULE_STABILITY].mean()), 2) if known else "–",
        "axis": str(_axis(adata, members) + 1),
        "genes": list(part["gene"].head(N_CENTRAL)),
        "high": high,
        "low": low,
        "sets": sets,
    }


def _axis(adata: AnnData, members: np.ndarray) -> int:
    """The axis along which most of what the module's genes share lies."""
    v_gk, variance_k = _read.gene_positions(adata)[members], _read.axis_variance(adata)
    strength_k = (np.nan_to_num(v_gk) ** 2).sum(axis=0) * (1.0 if variance_k is None else variance_k)
    return int(strength_k.argmax())


def _groups(adata: AnnData, members: np.ndarray, label: str | None) -> tuple[str, str]:
    """The groups of cells in which the module is highest and lowest, by the mean position of its genes."""
    if label is None or adata.obs[label].dtype.kind in "fiu":
        return "–", "–"
    score_c = _read.cell_positions(adata) @ np.nan_to_num(_read.gene_positions(adata)[members]).mean(axis=0)
    mean = group_means(adata, score_c, label)
    return ("–", "–") if len(mean) < 2 else (str(mean.index[0]), str(mean.index[-1]))


def group_means(adata: AnnData, value_c: np.ndarray, label: str) -> pd.Series[Any]:
    """Mean of a number per cell, (cells,), in each group of at least `LEAST_CELLS`, the highest first."""
    grouped = pd.Series(value_c).groupby(adata.obs[label].astype(str).to_numpy())
    return grouped.mean()[grouped.size() >= LEAST_CELLS].sort_values(ascending=False, kind="stable")


def sets_of(table: pd.DataFrame | None, group: str, *, end: str = "") -> list[str]:
    """The most significant gene sets of a group, with their q-values; those that are enriched alone.

    `end` is "high" or "low" for an axis: genes chosen there (group "axis1+", "axis1-"), or for the rank test an effect
    above or below one half.
    """
    if table is None or not len(table):
        return []
    groups, wanted = table["group"].astype(str), group
    known = table["q"] <= ENRICHED
    if end and (groups == group).any():
        known &= (table["effect"] > 0.5) == (end == "high")
    elif end:
        wanted += "+" if end == "high" else "-"
    own = table[known & (groups == wanted)].head(N_SETS)
    return [f"{name} (q {_small(float(q))})" for name, q in zip(own["set"], own["q"], strict=True)]


def first(adata: AnnData) -> list[Row]:
    """Genes to look at first, and why: the top hub of each module, then the strongest gene of each used axis.

    Only genes that are connected and explained better than by their mean, where that is known.
    """
    usable_g = _read.modelled(adata) & np.isfinite(_read.gene_positions(adata)).all(axis=1)
    if _keys.CONNECTED in adata.var and adata.var[_keys.CONNECTED].any():
        usable_g &= adata.var[_keys.CONNECTED].to_numpy(dtype=bool)
    if np.isfinite(adata.var[_keys.R2].to_numpy(dtype=np.float64)).any():
        usable_g &= np.nan_to_num(adata.var[_keys.R2].to_numpy(dtype=np.float64)) > 0
    reasons: dict[str, list[str]] = {}
    for gene, why in [*_first_of_modules(adata, usable_g), *_first_of_axes(adata, usable_g)]:
        reasons.setdefault(gene, []).append(why)
    r2 = adata.var[_keys.R2]
    return [
        {"gene": gene, "why": "; ".join(why), "r2": number(float(r2[gene]))}
        for gene, why in list(reasons.items())[:N_FIRST]
    ]


def _first_of_modules(adata: AnnData, usable_g: np.ndarray) -> list[tuple[str, str]]:
    if _keys.MODULE not in adata.var or _keys.HUB_SCORE not in adata.var:
        return []
    module_g = adata.var[_keys.MODULE].astype(str).to_numpy()
    score_g = np.where(usable_g, adata.var[_keys.HUB_SCORE].to_numpy(dtype=np.float64), -np.inf)
    found = []
    for name in sorted(set(module_g[usable_g]) - {UNASSIGNED}, key=_place):
        if name.startswith("module"):
            best = int(np.where(module_g == name, score_g, -np.inf).argmax())
            found.append((str(adata.var_names[best]), f"most central gene of {name}"))
    return found


def _first_of_axes(adata: AnnData, usable_g: np.ndarray) -> list[tuple[str, str]]:
    size_gk, unused_k = np.abs(_read.gene_positions(adata)), _read.unused_axes(adata)
    found = []
    for axis in np.flatnonzero(~unused_k) if usable_g.any() else ():
        best = int(np.where(usable_g, size_gk[:, axis], -np.inf).argmax())
        found.append((str(adata.var_names[best]), f"strongest on axis {axis + 1}"))
    return found


def _small(value: float) -> str:
    """A q-value: three decimals, or its power of ten."""
    if not np.isfinite(value):
        return "–"
    return number(value) if value >= 0.001 else f"{value:.0e}".replace("-", "\N{MINUS SIGN}")
