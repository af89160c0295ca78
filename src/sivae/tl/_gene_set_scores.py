"""Your own gene sets in the learned space: whether their genes go together, and where they are high."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._rng import numpy_generator
from sivae._space import read_space
from sivae.graph._scores import coherence, coherence_null, directions, matching_strata
from sivae.stats._fdr import adjust
from sivae.tl._cells import positions
from sivae.tl._gene_sets import as_sets, membership
from sivae.tl._similarity import by_name, correlation_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.tl._gene_sets import GeneSets

    Array = NDArray[np.float64]

BINS_ALONE, BINS_WITH_LEVEL = 20, 10
"""Strata of the matched null: by the share of variance that is signal; and within each three by mean level."""


@door
def gene_set_coherence(
    adata: AnnData,
    gene_sets: GeneSets,
    *,
    use_rep: str | None = None,
    match_case: bool = True,
    n_draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask whether the genes of a set go together more than genes that follow the cells as much.

    Coherence is the mean over a set's pairs of genes of the correlation that the decoder implies,
    C_gh = S_gh / sqrt((S_gg + noise_g) (S_hh + noise_h)), S = L Cov(z, h) L', L = [v, w] ("correlation" of
    `gene_neighbors`). The null permutes genes within strata of like share of variance that is signal,
    S_gg / (S_gg + noise_g), and, where `var["sivae_bias"]` tells it, of like mean level: random sets as far out and as
    high as the genes of the set.

    Parameters
    ----------
    adata
        Annotated; neither X nor a model is needed.
    gene_sets
        Mapping from names to genes, or the path of a GMT file.
    use_rep
        Array of `varm`; siVAE's loadings if None.
    match_case
        CD3D and Cd3d are two genes.
    n_draws
        Random sets for each set.
    seed
        Of the random sets.

    Returns
    -------
    Frame, one row per set in the order given: set, n_genes, n_found (with a position), coherence, null_mean, z (in
    standard deviations of the null), p (one-sided, (1 + draws at least as coherent) / (1 + draws)), q
    (Benjamini-Hochberg over the sets). NaN for sets with fewer than two genes found.

    Raises
    ------
    GeneMismatchError
        If no gene of any set is here.
    SetupError
        Without a gene space.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sets = {"one factor": ["gene_1", "gene_2", "gene_3"], "two": ["gene_1", "gene_2", "gene_30"]}
    >>> sivae.tl.gene_set_coherence(adata, sets, use_rep="planted_v")["coherence"].round(2).tolist()
    [0.68, 0.27]
    """
    n_draws = whole_number("n_draws", n_draws, least=1, hint="1000 is the default.")
    sets = as_sets(gene_sets)
    space = by_name(read_space(adata, use_rep))
    member_sg = membership(sets, space.names, match_case=match_case)
    vectors_gm = correlation_of(space)
    strata_g = _strata(adata, vectors_gm, space.rows)
    observed_s = coherence(vectors_gm, member_sg)
    null_ds = coherence_null(vectors_gm, member_sg, strata_g, n_draws=n_draws, rng=numpy_generator(seed, "gene sets"))
    p_s = (1 + (null_ds >= observed_s - 1e-12).sum(axis=0)) / (1 + n_draws)
    p_s = np.where(np.isfinite(observed_s), p_s, np.nan)
    mean_s, sd_s = null_ds.mean(axis=0), null_ds.std(axis=0)
    return pd.DataFrame(
        {
            "set": list(sets),
            "n_genes": [len(genes) for genes in sets.values()],
            "n_found": np.diff(member_sg.indptr),
            "coherence": observed_s,
            "null_mean": mean_s,
            "z": (observed_s - mean_s) / np.where(sd_s > 1e-12, sd_s, np.nan),
            "p": p_s,
            "q": adjust(p_s),
        }
    )


@door
def gene_set_scores(
    adata: AnnData, gene_sets: GeneSets, *, match_case: bool = True, key_added: str = _keys.GENE_SET_SCORES
) -> None:
    """Score your own gene sets in every cell, from the positions of cells and genes.

    score = z_c . mean_g(v_g) over the set's genes: the mean of what the linear part predicts for them, in standard
    deviations of a gene; 0 for a cell at the origin. X is not read, so a set's genes that were not measured well
    borrow from those that they follow.

    Parameters
    ----------
    adata
        Annotated, with positions of cells and genes.
    gene_sets
        Mapping from names to genes, or the path of a GMT file.
    match_case
        CD3D and Cd3d are two genes.
    key_added
        Name in `obsm`.

    Returns
    -------
    None. Writes `obsm["X_sivae_gene_sets"]` (or `key_added`), a frame cells x sets; NaN for a set with no gene here.

    Raises
    ------
    GeneMismatchError
        If no gene of any set is here.
    SetupError
        Without positions of genes or of cells.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.tl.gene_set_scores(adata, {"mine": ["gene_1", "gene_2"]})
    >>> adata.obsm["X_sivae_gene_sets"].columns.to_list()
    ['mine']
    """
    sets = as_sets(gene_sets)
    space = read_space(adata)
    z_ck = positions(adata, None, space.v_gk.shape[1])
    member_sg = membership(sets, space.names, match_case=match_case)
    score_cs = z_ck @ directions(space.v_gk, member_sg).T
    score_cs[:, np.diff(member_sg.indptr) == 0] = np.nan
    adata.obsm[key_added] = pd.DataFrame(score_cs, index=adata.obs_names, columns=list(sets))


def _strata(adata: AnnData, vectors_gm: Array, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Genes of like evidence and, where known, of like mean level."""
    share_g = (vectors_gm**2).sum(axis=1)
    if _keys.BIAS in adata.var:
        level_g = adata.var[_keys.BIAS].to_numpy(dtype=np.float64)[rows]
        if np.isfinite(level_g).all() and np.ptp(level_g) > 0:
            coarse = matching_strata(share_g, n_bins=BINS_WITH_LEVEL)
            return coarse * 3 + _thirds(level_g, coarse)
    return matching_strata(share_g, n_bins=BINS_ALONE)


def _thirds(level_g: Array, strata_g: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1 or 2: low, middle or high within the gene's stratum."""
    result = np.zeros(len(level_g), np.intp)
    for stratum in np.unique(strata_g):
        members = np.flatnonzero(strata_g == stratum)
        rank = np.argsort(np.argsort(level_g[members], kind="stable"), kind="stable")
        result[members] = rank * 3 // len(members)
    return result
