"""Gene sets whose genes change their connectivity together with a phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from sivae._checks import number, whole_number
from sivae._door import door
from sivae._errors import OptionError, warn
from sivae._rng import numpy_generator
from sivae.cohort._phenotype import read_design, read_layer
from sivae.cohort._samples import check_samples, lacking
from sivae.cohort._tables import design_attrs
from sivae.stats._association import permuted_t
from sivae.stats._gsea import enrichment, enrichment_scores, leading_edges
from sivae.tl._gene_sets import as_sets, membership

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.tl._gene_sets import GeneSets

    Array: TypeAlias = NDArray[np.float64]

LARGEST: Final = 1e6
"""A perfect fit has an infinite t; a running sum needs a number."""


@door
def gene_sets(
    samples: AnnData,
    phenotype: str,
    gene_sets: GeneSets,
    *,
    covariates: Iterable[str] = (),
    layer: str | None = None,
    min_genes: int = 5,
    max_genes: int = 500,
    weight: float = 1.0,
    absolute: bool = False,
    match_case: bool = True,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Find gene sets at an end of the ranking of genes by how their connectivity goes with a phenotype (GSEA).

    Genes are ranked by the t of the (unweighted) regression of connectivity on phenotype and covariates. Down the
    ranking a sum rises by abs(t)^weight at genes of a set and falls at others; its largest deviation from 0 is the
    set's enrichment score. **Individuals are permuted**, not genes: genes of a set move together with or without a
    phenotype, and permuting genes would take that for evidence.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    phenotype
        Column of `samples.obs`.
    gene_sets
        Mapping from names to genes, or the path of a GMT file.
    covariates
        Columns of `samples.obs` that are held fixed.
    layer
        Which connectivity; `"projection"` if not given.
    min_genes, max_genes
        Sets with fewer or more of the ranked genes are left out.
    weight
        Exponent of the running sum; 0 counts genes alone.
    absolute
        Rank by abs(t), as the paper does: sets whose genes change in whichever direction. Scores are then one-sided,
        0 or more.
    match_case
        CD3D and Cd3d are two genes.
    n_permutations
        Permutations of the individuals. The smallest p is about 2 / n_permutations (1 / n_permutations with
        `absolute`), so that many sets need more than the default.
    seed
        Of the permutations.

    Returns
    -------
    Frame indexed by set, most significant first: `n_genes` (ranked), `es`, `nes` (the score over the mean of the
    permuted ones of its sign), `p` (by permutation, among those of its sign), `q` (Benjamini-Hochberg over these p; not
    the pooled rate of the original), `n_leading` and `leading_edge` (genes up to where the score stands, the outermost
    first, joined by ";"). A positive score: connectivity rises with the phenotype. `attrs` says who was left out, which
    genes were not ranked (`unranked`: constant, or without a value in someone), `weight`, `absolute` and
    `n_permutations`.

    Raises
    ------
    GeneMismatchError
        If no set holds one of the genes.
    OptionError
        If no set has a fit size, or an option cannot work.
    SetupError
        If the phenotype, a covariate or the layer cannot be used.
    ArtefactError
        If the file cannot be read.

    Notes
    -----
    Subramanian et al. 2005, doi 10.1073/pnas.0506580102. With covariates residuals are permuted (Freedman and Lane
    1983, doi 10.1080/07350015.1983.10509354).

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> sets = {"first": samples.var_names[:20], "last": samples.var_names[-20:]}
    >>> table = sivae.cohort.gene_sets(samples, "severity", sets, n_permutations=99)
    >>> sorted(table.index)
    ['first', 'last']
    """
    check_samples(samples)
    weight = number("weight", weight, allowed=lambda x: 0 <= x < np.inf, expected="a number of 0 or more")
    n_permutations = whole_number("n_permutations", n_permutations, least=1, hint="1000 is the default.")
    generator = numpy_generator(whole_number("seed", seed, least=0), "gene sets")
    least, most = (whole_number(name, n, least=1) for name, n in (("min_genes", min_genes), ("max_genes", max_genes)))
    sets = as_sets(gene_sets)
    layer, value_sg = read_layer(samples, layer)
    design = read_design(samples, phenotype, covariates, lacking_s=lacking(value_sg))
    for note in design.notes:
        warn(note)
    value_sg = value_sg[design.rows]
    # By name, so that genes of equal t do not come in the order of the table.
    order = np.argsort(samples.var_names.to_numpy().astype(str), kind="stable")
    ranked = order[(np.isfinite(value_sg).all(axis=0) & (np.ptp(value_sg, axis=0) > 0))[order]]
    names = samples.var_names.to_numpy().astype(str)[ranked]
    kept, member_mg = _fit(sets, list(names), match_case=match_case, least=least, most=most)
    t_g, t_bg = permuted_t(
        value_sg[:, ranked], design.x_s, covariates_sc=design.covariates_sc, n_permutations=n_permutations,
        generator=generator,
    )  # fmt: skip
    t_g, t_bg = np.clip(t_g, -LARGEST, LARGEST), np.clip(t_bg, -LARGEST, LARGEST)
    if absolute:
        t_g, t_bg = np.abs(t_g), np.abs(t_bg)
    frame = _table(t_g, t_bg, member_mg, names, weight=weight, one_sided=absolute)
    frame.index = pd.Index(kept, name="set")
    frame = frame.iloc[np.lexsort((frame.index, -frame["nes"].abs(), frame["p"]))]
    frame.attrs |= design_attrs(design) | {
        "layer": layer, "weight": weight, "absolute": absolute, "n_permutations": n_permutations,
        "unranked": sorted(set(samples.var_names.astype(str)) - set(names)),
    }  # fmt: skip
    return frame


def _fit(
    sets: dict[str, list[str]], names: list[str], *, match_case: bool, least: int, most: int
) -> tuple[list[str], sparse.csr_matrix]:
    """Names of the sets of fit size, and the ranked genes in each, CSR (sets, genes).

    Raises
    ------
    OptionError
        If none has.
    """
    member_mg = membership(sets, names, match_case=match_case)
    size_m = np.diff(member_mg.indptr)
    kept = np.flatnonzero((size_m >= least) & (size_m <= most) & (size_m < len(names)))
    if not len(kept):
        raise OptionError(
            f"None of {len(sets)} sets has {least} to {most} of the {len(names)} ranked genes, and not all of them "
            f"(the largest has {size_m.max()}). Change min_genes or max_genes."
        )
    listed = list(sets)
    return [listed[m] for m in kept], sparse.csr_matrix(member_mg[kept])


def _table(
    t_g: Array, t_bg: Array, member_mg: sparse.csr_matrix, names: NDArray[np.str_], *, weight: float, one_sided: bool
) -> pd.DataFrame:
    observed_m = enrichment_scores(t_g[None], member_mg, weight=weight, one_sided=one_sided)[0]
    null_bm = enrichment_scores(t_bg, member_mg, weight=weight, one_sided=one_sided)
    found = enrichment(observed_m, null_bm, one_sided=one_sided)
    leading = leading_edges(t_g, member_mg, weight=weight, one_sided=one_sided)
    return pd.DataFrame(
        {
            "n_genes": np.diff(member_mg.indptr),
            "es": found.es_m,
            "nes": found.nes_m,
            "p": found.p_m,
            "q": found.q_m,
            "n_leading": [len(genes) for genes in leading],
            "leading_edge": [";".join(names[genes]) for genes in leading],
        }
    )
