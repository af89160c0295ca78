"""Genes that are central in many individuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae.cohort._phenotype import read_layer
from sivae.cohort._samples import check_samples

if TYPE_CHECKING:
    from anndata import AnnData


@door
def central_genes(
    samples: AnnData, *, n_top: int = 100, layer: str | None = None, min_individuals: int = 1
) -> pd.DataFrame:
    """List the genes that are among the most central of at least so many individuals.

    With `min_individuals=1` this is the union of the individuals' lists, as in the paper; with the number of
    individuals it is what they all share.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    n_top
        Length of an individual's list. Genes that are as central as the last of it are on it too.
    layer
        Which connectivity; `"projection"` if not given.
    min_individuals
        Individuals whose list a gene must be on.

    Returns
    -------
    Frame indexed by gene, on most lists first: `count` (lists that the gene is on), `share` (of the individuals in
    which it has a value), `mean_rank` (1 is the most central; mean over these individuals, equal values share their
    rank).

    Raises
    ------
    OptionError
        If there are not more genes than `n_top`, or fewer individuals than `min_individuals`.
    SetupError
        If `samples` is no table of individuals, or has no such layer.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y): union over cell lines of the 100 genes with the smallest
    error.

    Examples
    --------
    >>> import anndata, numpy, sivae
    >>> samples = anndata.AnnData(numpy.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]), uns={"sivae_cohort": {}})
    >>> samples.layers["projection"] = samples.X
    >>> sivae.cohort.central_genes(samples, n_top=1).loc["0"].to_list()
    [2.0, 1.0, 1.0]
    """
    check_samples(samples)
    n_top = whole_number("n_top", n_top, least=1, hint="100 is the default.")
    if n_top >= samples.n_vars:
        raise OptionError(f"n_top is {n_top}; expected fewer than the {samples.n_vars} genes. Every gene would be on.")
    least = whole_number("min_individuals", min_individuals, least=1, hint="1 takes every list.")
    if least > samples.n_obs:
        raise OptionError(f"min_individuals is {least}; expected at most the {samples.n_obs} individuals.")
    _, value_sg = read_layer(samples, layer)
    known_sg = np.isfinite(value_sg)
    low_sg = np.where(known_sg, value_sg, -np.inf)
    # "min" gives equal values the best of their ranks, so that ties at the end of the list are all on it.
    top_sg = (rankdata(-low_sg, method="min", axis=1) <= n_top) & known_sg
    rank_sg = np.where(known_sg, rankdata(-low_sg, axis=1), 0.0)
    count_g, n_g = top_sg.sum(axis=0), known_sg.sum(axis=0)
    with np.errstate(invalid="ignore"):
        columns = {"count": count_g, "share": count_g / n_g, "mean_rank": rank_sg.sum(axis=0) / n_g}
    frame = pd.DataFrame(columns, index=pd.Index(samples.var_names, name="gene"))
    order = np.lexsort((samples.var_names.to_numpy(), columns["mean_rank"], -count_g))
    frame = frame.iloc[order]
    return frame[frame["count"] >= least]
