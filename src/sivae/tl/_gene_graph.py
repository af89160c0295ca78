"""The graph of genes for other programs: networkx, Cytoscape, tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import check_adata
from sivae._door import door
from sivae._errors import ArtefactError, OptionError, SetupError
from sivae._extras import require
from sivae._space import read_space
from sivae._spreadsheet import write_csv
from sivae._whole import check_place, whole_file
from sivae.graph._edges import edge_pvalues, pair_correlations
from sivae.stats._fdr import adjust
from sivae.tl._similarity import correlation_of

if TYPE_CHECKING:
    import networkx
    from anndata import AnnData

    from sivae._space import GeneSpace

NODES: Final = {
    "module": _keys.MODULE,
    "module_stability": _keys.MODULE_STABILITY,
    "hub_score": _keys.HUB_SCORE,
    "hub": _keys.HUB,
    "connected_qvalue": _keys.CONNECTED_Q,
    "r2": _keys.R2,
}
"""Attributes of a gene, and the columns of `var` that they come from."""


@overload
def gene_graph(adata: AnnData, *, as_: Literal["edges"] = ..., use_rep: str | None = ...) -> pd.DataFrame: ...
@overload
def gene_graph(adata: AnnData, *, as_: Literal["networkx"], use_rep: str | None = ...) -> networkx.Graph: ...
@door
def gene_graph(
    adata: AnnData, *, as_: Literal["edges", "networkx"] = "edges", use_rep: str | None = None
) -> pd.DataFrame | networkx.Graph:
    """Give the graph of genes as a table of edges or as a networkx graph.

    Every edge of `varp["sivae_connectivities"]` comes once, with the correlation that the decoder implies and the
    evidence that the linear parts of its two genes are correlated at all: s = v_g' C v_h, C = Cov(z), against its
    standard error by the delta method from the variances of the loadings,
    var(s) = v_g' C V_h C v_g + v_h' C V_g C v_h + tr(C V_g C V_h). An edge whose genes are tied by the non-linear part
    alone has a large p.

    Parameters
    ----------
    adata
        Annotated, with the graph of `sivae.tl.gene_neighbors`.
    as_
        "edges" or "networkx" (extra `graph`).
    use_rep
        Array of `varm` that the graph was made from; if None what `gene_neighbors` recorded, else siVAE's loadings.

    Returns
    -------
    "edges": frame, heaviest first: gene_a, gene_b, weight (0 to 1), distance (smaller of both ways; NaN if not in
    `varp`), correlation (implied, as `neighbors_of` gives it), p (two-sided), q (Benjamini-Hochberg over the
    edges); p and q are NaN where variances are not known. The edges were chosen for their weight, so q tells which
    of them are in doubt, not how many pairs of all genes would pass.
    "networkx": an undirected graph of all genes with a position; nodes with module, module_stability, hub_score, hub,
    connected_qvalue and r2 where known, edges with weight, distance, correlation, p and q where known.

    Raises
    ------
    SetupError
        Without a gene space or without a graph.
    MissingExtraError
        If networkx is asked for and not installed.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 5, use_rep="planted_v")
    >>> sivae.tl.gene_graph(adata).columns.to_list()
    ['gene_a', 'gene_b', 'weight', 'distance', 'correlation', 'p', 'q']
    """
    if as_ not in ("edges", "networkx"):
        raise OptionError(f'Found as_={as_!r}, expected "edges" or "networkx".')
    check_adata(adata)
    choices = dict(dict(adata.uns.get(_keys.UNS, {})).get("neighbors", {}))
    space = read_space(adata, choices.get("use_rep") if use_rep is None else use_rep)
    edges = _edges(adata, space)
    return edges if as_ == "edges" else _networkx(adata, space, edges)


@door
def write_graph(adata: AnnData, path: str | Path, *, use_rep: str | None = None, overwrite: bool = False) -> None:
    """Write the graph of genes to a file, whole or not at all.

    `.graphml` (extra `graph`) is read by Cytoscape, Gephi, igraph and networkx and holds genes and edges with all that
    `gene_graph` gives; `.csv` is the table of edges, in which a name that a spreadsheet would take for a formula has an
    apostrophe before it.

    Parameters
    ----------
    adata
        Annotated, with the graph of `sivae.tl.gene_neighbors`.
    path
        Name that ends in `.graphml` or `.csv`.
    use_rep
        Array of `varm` that the graph was made from; if None what `gene_neighbors` recorded, else siVAE's loadings.
    overwrite
        Replace a file of that name.

    Returns
    -------
    None. Writes the file; nothing in `adata`.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    ArtefactError
        If the file exists, or cannot be written.
    SetupError
        Without a gene space or without a graph.

    Examples
    --------
    >>> import tempfile, pathlib, sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 5, use_rep="planted_v")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sivae.tl.write_graph(adata, pathlib.Path(folder) / "genes.graphml")
    """
    path = Path(path)
    if path.suffix not in (".graphml", ".csv"):
        raise OptionError(f"Found the name {path.name!r}, expected one that ends in .graphml or .csv.")
    if path.exists() and not overwrite:
        raise ArtefactError(f"{path} exists, expected a new name. Choose another, or pass overwrite=True.")
    check_place(path, what="The graph", example="genes.csv")
    if path.suffix == ".csv":
        edges = gene_graph(adata, use_rep=use_rep)
        with whole_file(path, what="The graph") as temporary:
            write_csv(edges, temporary)
    else:
        graph = gene_graph(adata, as_="networkx", use_rep=use_rep)
        with whole_file(path, what="The graph") as temporary:
            require("networkx", extra="graph").write_graphml(graph, temporary)


def _edges(adata: AnnData, space: GeneSpace) -> pd.DataFrame:
    if _keys.CONNECTIVITIES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.CONNECTIVITIES!r}], expected a graph of genes. "
            "Call sivae.tl.gene_neighbors(adata) first."
        )
    weights = sparse.csr_matrix(adata.varp[_keys.CONNECTIVITIES], dtype=np.float64)[space.rows][:, space.rows]
    upper = sparse.coo_matrix(sparse.triu(weights.maximum(weights.T), 1))
    names = np.array(space.names, dtype=object)
    swapped = names[upper.row].astype(str) > names[upper.col].astype(str)
    row = np.where(swapped, upper.col, upper.row).astype(np.intp)
    column = np.where(swapped, upper.row, upper.col).astype(np.intp)
    p_e = np.full(len(row), np.nan)
    if space.variance_gk is not None:
        p_e = edge_pvalues(space.v_gk, space.variance_gk, space.covariance_kk, rows=row, columns=column)
    frame = pd.DataFrame(
        {
            "gene_a": names[row],
            "gene_b": names[column],
            "weight": upper.data,
            "distance": _distances(adata, space, row, column),
            "correlation": pair_correlations(correlation_of(space), rows=row, columns=column),
            "p": p_e,
            "q": adjust(p_e),
        }
    )
    return frame.sort_values(["weight", "gene_a", "gene_b"], ascending=[False, True, True], ignore_index=True)


def _distances(adata: AnnData, space: GeneSpace, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Distance of each pair, the smaller where both are each other's neighbors; NaN where it is not stored."""
    result = np.full(len(row), np.nan)
    if _keys.DISTANCES not in adata.varp or len(row) == 0:
        return result
    stored = sparse.csr_matrix(adata.varp[_keys.DISTANCES], dtype=np.float64)[space.rows][:, space.rows]
    # Zero distances are stored, and reading single entries cannot tell them from what is not there.
    marked = stored.copy()
    marked.data = np.arange(1, len(marked.data) + 1, dtype=np.float64)
    for a, b in ((row, column), (column, row)):
        at = np.asarray(marked[a, b]).ravel().astype(np.int64)
        found = at > 0
        result[found] = np.fmin(result[found], stored.data[at[found] - 1])
    return result


def _networkx(adata: AnnData, space: GeneSpace, edges: pd.DataFrame) -> networkx.Graph:
    graph = require("networkx", extra="graph").Graph()
    columns = {name: adata.var[key].to_numpy()[space.rows] for name, key in NODES.items() if key in adata.var}
    for position, gene in enumerate(space.names):
        graph.add_node(gene, **_known({name: values[position] for name, values in columns.items()}))
    for edge in edges.to_dict("records"):
        a, b = edge.pop("gene_a"), edge.pop("gene_b")
        graph.add_edge(a, b, **_known(edge))
    return graph


def _known(values: dict[Any, Any]) -> dict[str, Any]:
    """Plain values that GraphML can hold, without those that are missing."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if pd.isna(value):
            continue
        result[str(name)] = value.item() if isinstance(value, np.generic) else value
    return result
