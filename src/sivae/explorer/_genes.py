"""Genes of the page: positions, evidence, neighbors, modules, and the axes they lie on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._errors import SetupError
from sivae.tl import explained_variance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.explorer._blobs import Blobs

N_NEIGHBORS: Final = 20
"""Neighbors of a gene that the page keeps."""
N_SETS: Final = 12
LEVEL: Final = 0.05
"""Sets of each group that the page keeps: those of smallest q up to this level."""
UNASSIGNED: Final = "unassigned"


def records(adata: AnnData, space: GeneSpace, blobs: Blobs) -> dict[str, Any]:
    """What is known of each gene, by name of an array; what is not known is None."""
    var = adata.var
    numbers = {"hub": _keys.HUB_SCORE, "q": _keys.CONNECTED_Q, "r2": _keys.R2, "stability": _keys.MODULE_STABILITY}
    flags = {"is_hub": _keys.HUB, "connected": _keys.CONNECTED}
    found: dict[str, Any] = {
        name: blobs.numbers(var[key].to_numpy(np.float64)[space.rows]) if key in var else None
        for name, key in numbers.items()
    }
    for name, key in flags.items():
        found[name] = blobs.numbers(var[key].to_numpy(bool)[space.rows].astype(np.uint16)) if key in var else None
    sd_gk = None if space.variance_gk is None else np.sqrt(space.variance_gk)
    return found | {
        "names": blobs.names(space.names),
        "loading": blobs.numbers(space.v_gk),
        "sd": None if sd_gk is None else blobs.numbers(sd_gk),
        "modelled": blobs.numbers(space.modelled_g.astype(np.uint16)),
        "module": _modules(adata, space, blobs),
        "neighbors": _neighbors(adata, space, blobs),
    }


def axes(adata: AnnData, space: GeneSpace, unused_k: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Name, use and share of variance of each axis."""
    try:
        share_k = explained_variance(adata)["explained"].to_numpy(np.float64)
    except SetupError:  # an older annotation
        share_k = np.full(len(unused_k), np.nan)
    return [
        {"name": name.replace("axis", "axis "), "unused": bool(unused), "explained": _known(share)}
        for name, unused, share in zip(space.axes, unused_k, share_k, strict=True)
    ]


def _modules(adata: AnnData, space: GeneSpace, blobs: Blobs) -> dict[str, Any] | None:
    if _keys.MODULE not in adata.var:
        return None
    label = adata.var[_keys.MODULE].astype("category")
    names = [str(name) for name in label.cat.categories if str(name) != UNASSIGNED]
    place = {name: number for number, name in enumerate(names)}
    codes = [place.get(str(value), len(names)) for value in label.to_numpy()[space.rows]]
    return {"names": names, "blob": blobs.numbers(np.array(codes, np.uint16))}


def _neighbors(adata: AnnData, space: GeneSpace, blobs: Blobs) -> dict[str, Any] | None:
    """Nearest neighbors, nearest first, as places among the genes of the page (-1 where there are no more)."""
    if _keys.DISTANCES not in adata.varp:
        return None
    distances = sparse.csr_matrix(adata.varp[_keys.DISTANCES])
    place = np.full(adata.n_vars, -1, np.int64)
    place[space.rows] = np.arange(len(space.rows))
    names = np.array(adata.var_names, dtype=str)
    near_gm = np.full((len(space.rows), N_NEIGHBORS), -1, np.int64)
    far_gm = np.full(near_gm.shape, np.nan)
    for gene, row in enumerate(space.rows):
        span = slice(distances.indptr[row], distances.indptr[row + 1])
        others, far = distances.indices[span], distances.data[span]
        best = np.lexsort((names[others], far))
        best = best[place[others[best]] >= 0][:N_NEIGHBORS]
        near_gm[gene, : len(best)], far_gm[gene, : len(best)] = place[others[best]], far[best]
    metric = str(dict(dict(adata.uns.get(_keys.UNS, {})).get("neighbors", {})).get("metric", ""))
    return {"n": N_NEIGHBORS, "near": blobs.numbers(near_gm), "far": blobs.numbers(far_gm), "metric": metric}


# ------------------------------------------------------------------------------------------------------------ gene sets


def enriched(tables: list[pd.DataFrame], space: GeneSpace) -> Mapping[str, list[dict[str, Any]]] | None:
    """Sets of smallest q of each group ("axis1", "module2", ...), None without tables."""
    if not tables:
        return None
    place = {name: number for number, name in enumerate(space.names)}
    found: dict[str, list[dict[str, Any]]] = {}
    for table in tables:
        best = table[table["q"] <= LEVEL].sort_values("q", kind="stable")
        for group, part in best.groupby("group", sort=False):
            found.setdefault(str(group), []).extend(_set(row, place) for row in part.head(N_SETS).to_dict("records"))
    return found


def _set(row: Mapping[Any, Any], place: Mapping[str, int]) -> dict[str, Any]:
    genes = row.get("genes", "")
    members = [place[name] for name in genes.split(";") if name in place] if isinstance(genes, str) else []
    counts = {key: int(row[key]) for key in ("n_overlap", "n_set") if key in row}
    return {"set": str(row["set"]), "q": float(row["q"]), "effect": _known(row.get("effect", np.nan)), **counts,
            "genes": members}  # fmt: skip


def _known(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
