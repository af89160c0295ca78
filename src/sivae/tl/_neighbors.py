"""Which genes lie near which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import check_adata, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._space import read_space
from sivae.graph._edges import edge_pvalues
from sivae.graph._neighbors import connectivity_matrix, distance_matrix, nearest
from sivae.stats._fdr import adjust
from sivae.tl._similarity import correlation_of, name_order, similarity_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.tl._similarity import Metric

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]


@door
def gene_neighbors(
    adata: AnnData,
    n_neighbors: int = 20,
    metric: Metric = "auto",
    *,
    use_rep: str | None = None,
    signed: bool = False,
    modelled_only: bool = False,
) -> None:
    """Find the nearest genes of every gene, exactly.

    A gene is never its own neighbor; the nearest is first; ties go to the name that sorts first. Works on what
    `SiVAE.annotate` wrote, without a model and without X, in blocks of rows.

    Parameters
    ----------
    adata
        Annotated AnnData.
    n_neighbors
        Neighbors per gene.
    metric
        `"correlation"`: the correlation that the trained decoder implies, C_gh = S_gh / sqrt(t_g t_h) with
        S = L Cov(z, h) L', L = [v, w] and t_g = S_gg + noise_g. Noise is in the denominator, so a gene at the origin
        has no neighbors to speak of. `"joint"`: the correlation of the predictions, t_g = S_gg. `"balanced"`: between
        the two, t_g = S_gg + noise_g / 10, the correlation of averages of ten genes alike: neighbors are used together,
        and their noise cancels out in part. For an embedding without noise, t_g goes up to the longest squared length.
        `"cosine"` and `"euclidean"`: of the positions. `"auto"` is `"balanced"`, by measurement (docs/defaults.md).
    use_rep
        Array of `varm`; the loadings of siVAE if not given.
    signed
        Genes that move against each other are far apart: distance 1 - C instead of 1 - abs(C). Under `"euclidean"` they
        always are.
    modelled_only
        Leave out genes that were embedded after training.

    Returns
    -------
    Nothing. Writes

    `varp["sivae_distances"]`
        CSR, `n_neighbors` entries for each gene with a position (zeros are stored), none for others.
    `varp["sivae_connectivities"]`
        CSR, symmetric weights 0 to 1: the similarity where one gene is a neighbor of the other, 0 where it is negative;
        under `"euclidean"` exp(-d^2 / (r_g r_h)), with r the distance of a gene's last neighbor.
    `uns["sivae"]["neighbors"]`
        The choices, and the keys.

    Raises
    ------
    OptionError
        If `n_neighbors` is not from 1 to the number of other genes, or there is no such metric.
    SetupError
        If the AnnData is not annotated, or lacks what the metric needs.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y) use the Euclidean distance.

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> adata = anndata.AnnData(var={"gene": ["a", "b", "c"]})
    >>> adata.varm["loadings"] = np.array([[1.0, 0.0], [0.0, 0.5], [-0.9, 0.1]])
    >>> sivae.tl.gene_neighbors(adata, 1, use_rep="loadings")
    >>> adata.varp["sivae_distances"].indices
    array([2, 2, 0], dtype=int32)
    """
    n_neighbors = whole_number("n_neighbors", n_neighbors, least=1, hint="20 is the default.")
    space = read_space(adata, use_rep)
    if modelled_only:
        space = space.take(space.modelled_g)
    _check_number(n_neighbors, len(space.names))
    similarity = similarity_of(space, metric)
    index_gn, distance_gn = nearest(
        similarity.points_gm, n_neighbors, order_g=name_order(space), inner=similarity.inner, signed=signed
    )
    matrices = {
        _keys.DISTANCES: distance_matrix(index_gn, distance_gn),
        _keys.CONNECTIVITIES: connectivity_matrix(index_gn, distance_gn, inner=similarity.inner),
    }
    for key, matrix in matrices.items():
        adata.varp[key] = _spread(matrix, space)
    adata.uns[_keys.UNS] = {
        **dict(adata.uns.get(_keys.UNS, {})),
        "neighbors": {
            "metric": similarity.metric,
            "n_neighbors": n_neighbors,
            "use_rep": space.rep,
            "signed": signed,
            "distances_key": _keys.DISTANCES,
            "connectivities_key": _keys.CONNECTIVITIES,
        },
    }


@door
def neighbors_of(adata: AnnData, genes: str | Iterable[str], *, n_neighbors: int | None = None) -> pd.DataFrame:
    """List the neighbors of some genes, nearest first, with evidence, from what `gene_neighbors` wrote.

    Parameters
    ----------
    adata
        AnnData with neighbors.
    genes
        A gene, or several.
    n_neighbors
        How many of them; all that were found if not given.

    Returns
    -------
    Frame with one row per gene and neighbor: `gene`, `rank` (from 1), `neighbor`, `distance`, `correlation` (signed;
    of `"correlation"`, whatever the metric), and for loadings of siVAE `p` and `q`. The p-value is two-sided, of
    s = v_g' C v_h with C the covariance of z, and by the delta method

        var(s) = v_g' C V_h C v_g + v_h' C V_g C v_h + tr(C V_g C V_h)

    with V the variances in `varm["X_sivae_var"]`; it is about the linear part and the sampling of cells, and
    conservative for genes at the origin. The q-value (Benjamini-Hochberg) counts every other gene as a test, since
    neighbors are the best of all.

    Raises
    ------
    SetupError
        If there are no neighbors yet.
    GeneMismatchError
        If a gene has no position; the nearest names are said.
    OptionError
        If fewer neighbors were found than asked for.

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> adata = anndata.AnnData(var={"gene": ["a", "b", "c"]})
    >>> adata.var_names = ["A", "B", "C"]
    >>> adata.varm["loadings"] = np.array([[1.0, 0.0], [0.0, 0.5], [-0.9, 0.1]])
    >>> sivae.tl.gene_neighbors(adata, 2, use_rep="loadings")
    >>> sivae.tl.neighbors_of(adata, "A")[["neighbor", "correlation"]].values.tolist()
    [['C', -0.9], ['B', 0.0]]
    """
    record = _record(adata)
    found = int(record["n_neighbors"])
    if n_neighbors is not None and not 1 <= n_neighbors <= found:
        raise OptionError(
            f"Found n_neighbors={n_neighbors}, expected 1 to {found}, the number that was found. "
            f"Call gene_neighbors(adata, {n_neighbors}) first, or leave n_neighbors out."
        )
    space = read_space(adata, str(record["use_rep"]))
    wanted = space.find(genes)
    distances = sparse.csr_matrix(adata.varp[_keys.DISTANCES])
    place = np.full(adata.n_vars, -1, np.intp)
    place[space.rows] = np.arange(len(space.rows))
    factor_gm = correlation_of(space)
    parts = [
        _listed(space, int(gene), distances[space.rows[gene]], place, factor_gm)[: n_neighbors or found]
        for gene in wanted
    ]
    columns = ["gene", "rank", "neighbor", "distance", "correlation", "p", "q"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return frame if space.variance_gk is not None else frame.drop(columns=["p", "q"])


def neighbor_positions(adata: AnnData, space: GeneSpace) -> tuple[Positions, Positions]:
    """Genes of the space that have neighbors, (f,), and their neighbors, nearest first, (f, n), as positions in it.

    Raises
    ------
    SetupError
        If there are no neighbors, or genes were left out since.
    """
    n = int(_record(adata)["n_neighbors"])
    distances = sparse.csr_matrix(adata.varp[_keys.DISTANCES])
    place = np.full(adata.n_vars, -1, np.intp)
    place[space.rows] = np.arange(len(space.rows))
    length_g = np.diff(distances.indptr)[space.rows]
    filled = length_g == n
    cut = np.flatnonzero((length_g < n) & ((length_g > 0) | space.modelled_g))
    if len(cut):
        raise SetupError(
            f"{len(cut)} genes, the first being {space.names[cut[0]]!r}, have fewer than {n} neighbors here, because "
            "genes were left out after they were found. Call sivae.tl.gene_neighbors(adata) again."
        )
    rows_f = space.rows[filled]
    entries_fn = distances.indptr[rows_f][:, None] + np.arange(n)
    best_fn = np.argsort(distances.data[entries_fn], axis=1, kind="stable")
    columns_fn = np.take_along_axis(distances.indices[entries_fn], best_fn, axis=1)
    return np.flatnonzero(filled), place[columns_fn]


def rep_of_neighbors(adata: AnnData) -> str:
    """The embedding in which neighbors were found."""
    return str(_record(adata)["use_rep"])


def _listed(space: GeneSpace, gene: int, row: Any, place: Positions, factor_gm: Array) -> pd.DataFrame:
    """The neighbors of one gene, nearest first."""
    others, distance = place[row.indices], np.asarray(row.data)
    names = np.array([space.names[other] for other in others], dtype=object)
    best = np.lexsort((names.astype(str), distance))
    p_g = _pvalues(space, gene)
    q_g = adjust(p_g)
    chosen = others[best]
    return pd.DataFrame(
        {
            "gene": space.names[gene],
            "rank": np.arange(1, len(best) + 1),
            "neighbor": names[best],
            "distance": distance[best],
            "correlation": factor_gm[chosen] @ factor_gm[gene],
            "p": p_g[chosen],
            "q": q_g[chosen],
        }
    )


def _pvalues(space: GeneSpace, gene: int) -> Array:
    """Evidence that a gene goes with each gene, (g,); NaN for itself and where variances are not known."""
    g = len(space.names)
    if space.variance_gk is None:
        return np.full(g, np.nan)
    columns = np.arange(g)
    p_g = edge_pvalues(
        space.v_gk, space.variance_gk, space.covariance_kk, rows=np.full(g, gene, np.intp), columns=columns
    )
    p_g[gene] = np.nan
    return p_g


def _record(adata: AnnData) -> dict[str, Any]:
    check_adata(adata)
    record = dict(adata.uns.get(_keys.UNS, {})).get("neighbors")
    if record is None or _keys.DISTANCES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.DISTANCES!r}], expected the neighbors of genes. "
            "Call sivae.tl.gene_neighbors(adata) first."
        )
    return dict(record)


def _check_number(n_neighbors: int, n_genes: int) -> None:
    if not 1 <= n_neighbors < n_genes:
        raise OptionError(
            f"Found n_neighbors={n_neighbors} and {n_genes} genes with a position, expected 1 to {n_genes - 1}. "
            "A gene is not its own neighbor; ask for fewer."
        )


def _spread(matrix: sparse.csr_matrix, space: GeneSpace) -> sparse.csr_matrix:
    """The matrix of the genes with a position at their rows and columns of the whole; zeros stay stored."""
    length = np.zeros(space.n_vars, np.int64)
    length[space.rows] = np.diff(matrix.indptr)
    starts = np.concatenate([[0], np.cumsum(length)])
    shape = (space.n_vars, space.n_vars)
    return sparse.csr_matrix((matrix.data, space.rows[matrix.indices], starts), shape=shape)
