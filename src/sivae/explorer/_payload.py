"""Everything that the page shows, read from an annotated AnnData and cut down to what a browser bears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from sivae import __version__, _keys
from sivae._rng import name_fractions
from sivae._space import read_space
from sivae._values import has_values, values_of
from sivae.explorer import _cells, _codes, _genes
from sivae.explorer._blobs import Blobs
from sivae.pl import _read
from sivae.tl._cells import positions
from sivae.tl._expression import Recorded, are_counts, standardised, training_cells

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.explorer._codes import Quantised

    Positions = NDArray[np.intp]

FORMAT: Final = 1
MAX_BYTES: Final = 60_000_000
"""Of the file."""
PAGE_BYTES: Final = 250_000
"""Of the file without data, at most."""
LEAST_CELLS: Final = 100
PROBED: Final = 64
"""Genes packed to foresee the size of all."""


@final
@dataclass(frozen=True)
class Payload:
    """The account in JSON, and the arrays it names."""

    account: dict[str, Any]
    blobs: Blobs


def collect(
    adata: AnnData,
    *,
    label: str | None,
    enrichment: list[pd.DataFrame],
    max_cells: int,
    max_genes: int,
) -> Payload:
    """Read what the page shows, thinning cells and genes where there are too many."""
    every = read_space(adata)
    z_nk = positions(adata, None, every.v_gk.shape[1])
    space, blobs = _fewer_genes(every, max_genes), Blobs()
    account: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "title": _title(adata),
        "axes": _genes.axes(adata, every, _read.unused_axes(adata)),
        "genes": {"n": len(space.names), "total": len(every.names), **_genes.records(adata, space, blobs)},
        "enrichment": _genes.enriched(enrichment, space),
    }
    cells = _fewer_cells(adata, np.arange(adata.n_obs), max_cells)
    values, why = _values(adata, cells, space, every)
    if values is not None:
        cells, account["expression"] = _pack(adata, cells, values, blobs, rest=blobs.size)
    account["scale"] = why
    account["cells"] = {
        "n": len(cells),
        "total": adata.n_obs,
        "names": blobs.names([str(name) for name in adata.obs_names[cells]]),
        "position": blobs.numbers(z_nk[cells]),
        "scores": _cells.scores(adata, cells, blobs),
        **_cells.labels(adata, cells, label=label, blobs=blobs),
    }
    return Payload(account, blobs)


def _title(adata: AnnData) -> str:
    run = dict(dict(adata.uns.get(_keys.UNS, {})).get("run", {}))
    return str(run.get("source", "")) or "Cells and genes in one map"


# ------------------------------------------------------------------------------------------------------------- thinning


def _fewer_genes(space: GeneSpace, at_most: int) -> GeneSpace:
    """Modelled genes first, those farther from the origin first; in the order they had."""
    if len(space.names) <= at_most:
        return space
    size_g = np.sqrt(np.einsum("gk,kl,gl->g", space.v_gk, space.covariance_kk, space.v_gk))
    order = np.lexsort((np.array(space.names, dtype=str), -size_g, ~space.modelled_g))
    return space.take(np.sort(order[:at_most]))


def _fewer_cells(adata: AnnData, cells: Positions, at_most: int) -> Positions:
    """Some of the cells, drawn by a hash of their names, so that their order does not matter."""
    if len(cells) <= at_most:
        return cells
    draw_n = name_fractions([str(name) for name in adata.obs_names[cells]], 0)
    return np.sort(cells[np.argsort(draw_n, kind="stable")[:at_most]])


# ----------------------------------------------------------------------------------------------------------- expression


def _values(adata: AnnData, cells: Positions, space: GeneSpace, every: GeneSpace) -> tuple[Quantised | None, str]:
    """Codes of the expression, and on which scale it is, in words; without values, that there are none."""
    recorded = Recorded.of(adata)
    if not has_values(adata, recorded.layer or None):
        return None, "linear prediction; the file has no expression"
    training_n = training_cells(adata)[cells]
    training_n = training_n if training_n.any() else np.ones(len(cells), bool)
    log = recorded.log
    if not dict(adata.uns.get(_keys.UNS, {})).get("setup"):
        log = are_counts(values_of(adata, None).take(space.rows))
    library = every.rows[every.modelled_g]
    found = standardised(adata, space.rows, library, cells=cells, training_n=training_n, log=log)
    scale = "open or closed" if recorded.binary else "log-normalized expression" if log else "expression"
    return _codes.quantise(found), scale


def _pack(
    adata: AnnData, cells: Positions, values: Quantised, blobs: Blobs, *, rest: int
) -> tuple[Positions, dict[str, Any]]:
    """Pack expression, of fewer cells where the file would be too large; which cells, and what names the arrays."""
    room, each = MAX_BYTES - PAGE_BYTES - rest, _bytes_of_cell(adata)
    kept = cells
    share, chunks = _packed(values.code_gn, room, each)
    while share < 1 and len(kept) > LEAST_CELLS:
        fewer = _fewer_cells(adata, kept, max(LEAST_CELLS, int(0.97 * share * len(kept))))
        values, kept = values.take(np.flatnonzero(np.isin(kept, fewer))), fewer
        share, chunks = _packed(values.code_gn, room, each)
    return kept, {
        "chunks": [{"from": first, "blob": blobs.add(content, packed=True)} for first, content in chunks],
        "low": blobs.numbers(values.low_g),
        "step": blobs.numbers(values.step_g),
        "mean": blobs.numbers(values.mean_g),
        "sd": blobs.numbers(values.sd_g),
    }


def _packed(code_gn: NDArray[np.uint8], room: int, each: int) -> tuple[float, list[tuple[int, bytes]]]:
    """Room over need, and the chunks; these are left out where the need of some genes already shows too little room.

    A cell needs `each` bytes beside its expression.
    """
    g, n = code_gn.shape
    if g > 2 * PROBED and n > LEAST_CELLS:
        some = np.linspace(0, g - 1, PROBED).astype(int)
        foreseen = n * each + g / PROBED * _bytes(_codes.chunks(code_gn[some]))
        if room < 0.9 * foreseen:
            return room / foreseen, []
    chunks = _codes.chunks(code_gn)
    return room / (n * each + _bytes(chunks)), chunks


def _bytes(chunks: list[tuple[int, bytes]]) -> int:
    """Of chunks in base64."""
    return sum(4 * (len(content) // 3 + 1) for _, content in chunks)


def _bytes_of_cell(adata: AnnData) -> int:
    """Bytes that the position, name, labels and scores of a cell may take."""
    scores = sum(
        int(adata.obsm[key].shape[1]) for key in (_keys.MODULE_SCORES, _keys.GENE_SET_SCORES) if key in adata.obsm
    )
    numbers = int(adata.obsm[_keys.CELLS].shape[1]) + scores + len(adata.obs.columns)
    return 6 * numbers + 40
