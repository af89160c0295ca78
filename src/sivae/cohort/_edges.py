"""Which edges of the gene graph go with a phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from sivae._checks import number, one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError, warn
from sivae.cohort._phenotype import read_design
from sivae.cohort._samples import check_samples, find_genes, lacking, read_edges, read_strength, relative_noise
from sivae.cohort._tables import association_columns, design_attrs
from sivae.stats._fdr import adjust
from sivae.stats._presence import presence_tests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

Test: TypeAlias = Literal["strength", "presence"]
DECIDES: Final = {"strength": ("p", "q"), "presence": ("p_presence", "q_presence")}
"""Columns that a test orders and calls by."""


@door
def edges(
    samples: AnnData,
    phenotype: str,
    *,
    covariates: Iterable[str] = (),
    test: Test = "strength",
    genes: Iterable[str] | None = None,
    min_share: float = 0.1,
    fdr: float = 0.05,
    n_permutations: int = 100_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test for every edge of the individuals' gene graphs whether it goes with a phenotype.

    Two tests. **Strength**: the correlation of the two genes that the positions imply in every individual is regressed
    on the phenotype and the covariates; p by permutation of individuals as of `associate`. **Presence**: the phenotype
    of individuals that have the edge against that of those that lack it, by Mann and Whitney's rank sums, exact up to
    100 individuals, ties included; covariates do not enter it. Strength keeps what presence rounds off.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    phenotype
        Column of `samples.obs`: numeric, of two categories, or ordered.
    covariates
        Columns of `samples.obs` that are held fixed.
    test
        Which test orders the table and says what is `associated`; both are in it.
    genes
        Only edges between two of these genes are tested, and counted by q; all if not given.
    min_share
        Presence is tested for edges that at least this share of the individuals has and as many lack, and two each.
    fdr
        False discovery rate of `associated`.
    n_permutations
        Permutations of the strength at most, as of `associate`.
    seed
        Of the permutations.

    Returns
    -------
    Frame, most significant first: `gene_a`, `gene_b`; `share` (of the individuals with the edge; 0 for pairs that are
    strong in no drawn-in graph, but on the mean or in one individual's own cells); of the strength
    `mean`, `effect`, `se`, `low`, `high` (95 %), `rho` (partial Spearman), `t`, `p`, `q` (Benjamini-Hochberg over the
    edges of the table); of the presence `chance` (that an individual with the edge has the larger phenotype of the two;
    0.5 is no difference), `p_presence`, `q_presence`, NaN where it is not tested; and `associated`. `attrs` holds
    `phenotype`, `covariates`, `kind`, `levels`, `left_out` (individuals), `n_individuals`, `test`, `fdr`,
    `least_individuals` and `n_presence_untested` (edges that fewer have or lack).

    Raises
    ------
    SetupError
        If `samples` holds no edges, or the phenotype or a covariate cannot be used.
    OptionError
        If an option cannot work, or no edge joins two of the genes.
    GeneMismatchError
        If one of the genes is not there.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y) compare by rank sums having and lacking an edge among the
    mitochondrial genes. The graph of every individual has equally many edges, so an edge can be lost to others that
    grew.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> table = sivae.cohort.edges(samples, "severity", test="presence", n_permutations=999)
    >>> table.columns.to_list()[:4]
    ['gene_a', 'gene_b', 'share', 'mean']
    """
    check_samples(samples)
    one_of("test", test, DECIDES)
    fdr = number("fdr", fdr, allowed=lambda x: 0 < x < 1, expected="a number between 0 and 1", hint="0.05 is usual.")
    share = number("min_share", min_share, allowed=lambda x: 0 <= x <= 0.5, expected="a number from 0 to 0.5")
    n_permutations = whole_number("n_permutations", n_permutations, least=1)
    seed = whole_number("seed", seed, least=0)
    names, present_se = read_edges(samples)
    kept = _among(samples, names, samples.var_names if genes is None else genes)
    strength_se = read_strength(samples)
    design = read_design(samples, phenotype, covariates, lacking_s=lacking(strength_se))
    for note in design.notes:
        warn(note)
    strength_se = strength_se[np.ix_(design.rows, kept)]
    columns = association_columns(
        strength_se, design.x_s, design.covariates_sc, n_permutations=n_permutations, seed=seed, purpose="edges",
        noise_s=relative_noise(samples, design.rows),
    )  # fmt: skip
    columns.insert(0, "mean", strength_se.mean(axis=0, dtype=np.float64))
    least = max(2, int(np.ceil(share * len(design.rows))))
    presence = _presence(sparse.csr_matrix(present_se[design.rows][:, kept]), design.x_s, least)
    ends = names.iloc[kept].reset_index(drop=True)
    frame = pd.concat([ends, presence[["share"]], columns, presence.drop(columns="share")], axis=1)
    by_p, by_q = DECIDES[test]
    frame["associated"] = frame[by_q] <= fdr
    frame = frame.iloc[np.lexsort((frame["gene_b"], frame["gene_a"], frame[by_p]))].reset_index(drop=True)
    frame.attrs |= design_attrs(design) | {"test": test, "fdr": fdr, "least_individuals": least}
    frame.attrs["n_presence_untested"] = int(frame["p_presence"].isna().sum())
    return frame


def _among(samples: AnnData, names: pd.DataFrame, genes: Iterable[str]) -> NDArray[np.intp]:
    """Edges between two of some genes."""
    chosen = set(samples.var_names[find_genes(samples, genes)])
    kept = np.flatnonzero(names["gene_a"].isin(chosen) & names["gene_b"].isin(chosen))
    if not len(kept):
        raise OptionError(
            f"Found no edge between two of the {len(chosen)} genes in any individual, expected one at least. Name more "
            "genes, or make the graphs denser when connectivity is estimated."
        )
    return np.asarray(kept, np.intp)


def _presence(present_se: sparse.csr_matrix, x_s: Array, least: int) -> pd.DataFrame:
    """Share of the individuals with each edge, and the test of presence where enough have and lack it."""
    n_s, n_e = present_se.shape[0], np.asarray(present_se.sum(axis=0)).ravel()
    frame = pd.DataFrame({"share": n_e / n_s, "chance": np.nan, "p_presence": np.nan, "q_presence": np.nan})
    tested = np.flatnonzero((n_e >= least) & (n_s - n_e >= least))
    if len(tested):
        chance_e, p_e = presence_tests(x_s, sparse.csr_matrix(present_se[:, tested].T))
        frame.loc[tested, ["chance", "p_presence", "q_presence"]] = np.column_stack([chance_e, p_e, adjust(p_e)])
    return frame
