"""The pictures of a report over individuals, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sivae import _keys, pl
from sivae._errors import SiVAEError
from sivae._extras import require
from sivae.report._cohort_words import ASSOCIATED
from sivae.report._figures import png

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData

    from sivae.report._cohort import Parts

N_HEAT: Final = 40
"""Genes of the heat map."""
N_LEAST: Final = 10
"""Genes drawn where none is associated."""
N_ALONE: Final = 4
"""Genes drawn one by one."""
N_EDGES: Final = 25


def draw(samples: AnnData, parts: Parts) -> dict[str, bytes]:
    """Draw every picture that the tables allow.

    Returns
    -------
    PNG files by name: "association", "genes_by_individuals", "gene1" to "gene4", "network_difference", "edges",
    "individuals", "gene_sets". What cannot be drawn of these data is not there.
    """
    name = str(parts.association.attrs["phenotype"])
    drawings: dict[str, Callable[[], Any]] = {
        "association": lambda: pl.association(parts.association, ax=_axes(7.4, 4.4)),
        "genes_by_individuals": lambda: _heat(samples, parts.association, name),
        "network_difference": lambda: pl.network_difference(samples, by=name, ax=_axes(7.4, 5.4)),
    }
    for key, gene in alone(parts.association).items():
        drawings[key] = lambda gene=gene: pl.gene_association(samples, gene, name)[0]  # type: ignore[misc]
    edges = parts.edges
    if edges is not None and len(edges):
        drawings["edges"] = lambda: pl.edge_association(samples, edges, by=name, values="strength", n_edges=N_EDGES)
    if _keys.MAP in samples.obsm:
        drawings["individuals"] = lambda: pl.individuals(samples, name, ax=_axes(6.4, 4.2))
    if parts.gene_sets is not None:
        sets = set_rows(parts.gene_sets)
        drawings["gene_sets"] = lambda: pl.gene_set_association(
            sets, ax=_axes(7.0, 0.9 + 0.24 * min(15, max(5, len(sets))))
        )
    pictures = {}
    for key, drawing in drawings.items():
        try:
            pictures[key] = png(drawing)
        except SiVAEError:  # these data have nothing to draw there; the tables say so
            continue
    return pictures


def top_genes(association: pd.DataFrame, limit: int, *, least: int = 0) -> list[str]:
    """The associated genes, the first first; where there are fewer than so many, or none, also the first others."""
    known = association[association["p"].notna()]
    found = [str(gene) for gene in known.index[known["verdict"] == ASSOCIATED]]
    if len(found) < max(least, 1):
        others = [str(gene) for gene in known.index[known["verdict"] != ASSOCIATED]]
        found += others[: max(least, min(limit, N_LEAST)) - len(found)]
    return found[:limit]


def alone(association: pd.DataFrame) -> dict[str, str]:
    """Genes drawn one by one, by the name of their picture."""
    return {f"gene{number}": gene for number, gene in enumerate(top_genes(association, N_ALONE), start=1)}


def set_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Gene sets as rows that a plot takes: the name and the number of genes as columns."""
    return table if "set" in table else table.reset_index().rename(columns={"index": "set", "n_genes": "n"})


def _heat(samples: AnnData, association: pd.DataFrame, name: str) -> Any:
    genes = top_genes(association, N_HEAT, least=N_LEAST)
    return pl.connectivity(samples, genes, by=name, ax=_axes(7.4, 1.9 + 0.15 * max(6, len(genes))))


def _axes(width: float, height: float) -> Any:
    plt = require("matplotlib.pyplot", extra="report")
    return plt.subplots(figsize=(width, height), layout="constrained")[1]
