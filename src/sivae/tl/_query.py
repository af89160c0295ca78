"""What neighborhoods are worth: how well they predict a gene, and how far methods agree about them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sivae._door import door
from sivae._errors import OptionError
from sivae._space import read_space
from sivae.graph._compare import jaccard, pair_correlation
from sivae.graph._implied import unit_factors
from sivae.graph._neighbors import nearest
from sivae.graph._ridge import neighbor_r2 as ridge_r2
from sivae.tl._held_out import read_expression
from sivae.tl._neighbors import neighbor_positions, rep_of_neighbors
from sivae.tl._similarity import name_order, similarity_of

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae._space import GeneSpace


@door
def neighbor_r2(adata: AnnData, *, layer: str | None = None, ridge: float = 10.0, seed: int = 0) -> pd.DataFrame:
    """Tell how well each gene is predicted by its neighbors on held-out cells, by closed-form ridge regression.

    Call `gene_neighbors` first. Fitted on the training cells and judged on the validation cells of
    `obs["sivae_split"]` (a fifth of the cells, by name, where that says nothing), at most 5,000 of each.

    Parameters
    ----------
    adata
        AnnData with values and neighbors.
    layer
        Layer with the values; the one that the model was set up with if not given, or X.
    ridge
        Penalty, in cells.
    seed
        Chooses among more than 5,000 cells.

    Returns
    -------
    Frame indexed by gene, nearest neighbor first in `neighbors` (a string): `r2`, ``1 - |x - X beta|^2 / |x|^2`` with
    ``beta = (X'X + ridge 1)^-1 X'x`` and values as training saw them; negative where the training mean is better, NaN
    where the gene is constant on the held-out cells.

    Raises
    ------
    SetupError
        If there are no values or no neighbors, or genes were left out after neighbors were found.
    OptionError
        If `ridge` is not positive.

    Notes
    -----
    In place of the small networks of Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y; accuracy 1 - MSE), with
    which it agrees in rank.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(300, 30, n_factors=1, genes_per_factor=10, counts=False)
    >>> sivae.tl.gene_neighbors(adata, 5, use_rep="planted_v")
    >>> r2 = sivae.tl.neighbor_r2(adata)["r2"]
    >>> bool(r2[:10].min() > r2[10:].max())
    True
    """
    if not ridge > 0:
        raise OptionError(f"Found ridge={ridge}, expected a positive number of cells. The default is 10.")
    space = read_space(adata, rep_of_neighbors(adata))
    genes_f, neighbors_fn = neighbor_positions(adata, space)
    values = read_expression(adata, space, layer=layer, seed=seed)
    r2_f = ridge_r2(values.train_ng, values.test_ng, neighbors_fn, genes_f, ridge=ridge)
    names = np.array(space.names, dtype=object)
    listed = [", ".join(names[row]) for row in neighbors_fn]
    return pd.DataFrame({"r2": r2_f, "neighbors": listed}, index=pd.Index(names[genes_f], name="gene"))


@door
def neighbor_overlap(
    adata: AnnData,
    metrics: Sequence[str] = ("correlation", "cosine", "euclidean"),
    *,
    use_reps: Sequence[str | None] = (None,),
    n_neighbors: int = 50,
    layer: str | None = None,
    values: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the neighborhoods that several metrics and embeddings give.

    Parameters
    ----------
    adata
        Annotated AnnData.
    metrics
        Metrics of `gene_neighbors`, each tried on each embedding.
    use_reps
        Arrays of `varm`; None is the loadings of siVAE. Genes with a position in all of them are compared.
    n_neighbors
        Size of a neighborhood.
    layer
        Layer with the values, where `values`.
    values
        Correlate genes by their values over held-out cells, instead of by what the first metric and embedding imply.
    seed
        Chooses among more than 5,000 cells.

    Returns
    -------
    Frame with one row per pair of methods, each with itself first: `first`, `second` ("metric of embedding"),
    `jaccard` (neighbors in common over neighbors in either, mean over genes; 1 with itself) and `correlation` (mean
    absolute correlation over pairs of a neighbor by the first and a neighbor by the second, mean over genes).

    Raises
    ------
    OptionError
        If no metric is given, one is not known, or a neighborhood is larger than the other genes.
    SetupError
        If an embedding is not there.

    Notes
    -----
    Choi, Li and Quon 2023, doi 10.1186/s13059-023-02850-y; neighborhoods of 50.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(300, 30, n_factors=1, counts=False)
    >>> table = sivae.tl.neighbor_overlap(adata, ["cosine", "euclidean"], use_reps=["planted_v"], n_neighbors=5)
    >>> table["first"].tolist()[:2]
    ['cosine of planted_v', 'euclidean of planted_v']
    """
    spaces = _shared_spaces(adata, metrics, use_reps, n_neighbors)
    similarities = [(space, similarity_of(space, metric)) for space in spaces for metric in metrics]
    found = {
        f"{one.metric} of {space.rep}": nearest(one.points_gm, n_neighbors, order_g=name_order(space), inner=one.inner)[
            0
        ]
        for space, one in similarities
    }
    if values:
        test_ng = read_expression(adata, spaces[0], layer=layer, seed=seed).test_ng
        factor_gm = unit_factors((test_ng - test_ng.mean(axis=0)).T.astype(np.float64))
    else:
        first = similarities[0][1]
        factor_gm = first.points_gm if first.inner else unit_factors(first.points_gm)
    pairs = [(label, label) for label in found] + list(combinations(found, 2))
    rows = [
        (
            one,
            other,
            float(jaccard(found[one], found[other]).mean()),
            float(pair_correlation(factor_gm, found[one], found[other]).mean()),
        )
        for one, other in pairs
    ]
    return pd.DataFrame(rows, columns=["first", "second", "jaccard", "correlation"])


def _shared_spaces(
    adata: AnnData, metrics: Sequence[str], use_reps: Sequence[str | None], n_neighbors: int
) -> list[GeneSpace]:
    """The embeddings, each with the genes that have a position in all of them."""
    if isinstance(use_reps, str) or not isinstance(use_reps, Sequence):
        raise OptionError(f"use_reps is {use_reps!r}; expected a list of names of varm, or None in it. Write a list.")
    for rep in use_reps:
        if rep is not None and not isinstance(rep, str):
            raise OptionError(f"use_reps holds {rep!r}; expected names of varm, or None. Give names as text.")
    if not metrics or not use_reps:
        raise OptionError("Found no metric or no embedding to compare, expected at least one of each. Name them.")
    spaces = [read_space(adata, rep) for rep in use_reps]
    shared = set(spaces[0].names).intersection(*(space.names for space in spaces[1:]))
    if not 1 <= n_neighbors < len(shared):
        raise OptionError(
            f"Found n_neighbors={n_neighbors} and {len(shared)} genes with a position in every embedding, expected 1 "
            f"to {len(shared) - 1}. A gene is not its own neighbor; ask for fewer."
        )
    return [space.take(np.array([name in shared for name in space.names])) for space in spaces]
