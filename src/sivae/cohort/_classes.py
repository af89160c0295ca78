"""Edges between classes of genes, counted in each individual."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import warn
from sivae.cohort._phenotype import read_design
from sivae.cohort._samples import check_samples, read_edges, read_labels
from sivae.cohort._tables import association_columns, design_attrs, pair_name, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from sivae.cohort._samples import Labels


PATTERNS: Final = {"MT": re.compile(r"MT[-.]", re.I), "RP": re.compile(r"RP[LS](?!6K)", re.I)}
"""Beginnings of names; RPS6KA1 and its like are kinases."""
OTHER: Final = "other"
CLASSES: Final = "sivae.cohort.gene_classes(samples.var_names) makes classes of names."
"""What to do for want of a column."""


@door
def gene_classes(names: Iterable[str]) -> pd.Series[str]:
    """Class of each gene by its name: "MT" (mitochondrial genome), "RP" (ribosomal proteins) or "other".

    MT-CO1 and mt-Co1 are "MT"; RPL3, RPS4X and Rpl3 are "RP"; kinases (RPS6KA1) and the ribosomal proteins of
    mitochondria (MRPL1) are not. For symbols of human and mouse genes.

    Parameters
    ----------
    names
        Symbols.

    Returns
    -------
    Series of classes, indexed by name.

    Examples
    --------
    >>> import sivae
    >>> sivae.cohort.gene_classes(["MT-CO1", "Rpl3", "CD3D"]).to_dict()
    {'MT-CO1': 'MT', 'Rpl3': 'RP', 'CD3D': 'other'}
    """
    listed = [str(name) for name in names]
    found = [next((one for one, pattern in PATTERNS.items() if pattern.match(name)), OTHER) for name in listed]
    return pd.Series(found, index=pd.Index(listed, name="gene"), name="class", dtype=object)


@door
def edge_classes(
    samples: AnnData,
    classes: Labels,
    *,
    phenotype: str | None = None,
    covariates: Iterable[str] = (),
    n_permutations: int = 100_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the edges between any two classes of genes in each individual, or tell how counts go with a phenotype.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    classes
        Class of each gene: a column of `samples.var`, a mapping or a series, as of `gene_classes(samples.var_names)`.
        Edges of genes without a class are not counted.
    phenotype
        Column of `samples.obs`; counts alone are returned if it is not given.
    covariates
        Columns of `samples.obs` that are held fixed.
    n_permutations
        At most.
    seed
        Of the permutations.

    Returns
    -------
    Without a phenotype: frame individuals x pairs of classes ("MT-other") of counts. With one: frame with a row for
    each pair that any individual has edges of: `class_a`, `class_b`, `mean` (edges of an individual), `effect`, `se`,
    `low`, `high`, `t` (regression of the count), `rho` (partial Spearman), `p` (of rho, by permutation), `q`
    (Benjamini-Hochberg over the rows), most significant first. `attrs` says who was left out.

    Raises
    ------
    SetupError
        If `samples` holds no edges, there is no such column, or the phenotype or a covariate cannot be used.
    OptionError
        If no gene has a class, or an option cannot work.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y) correlate the counts of mitochondrial and ribosomal edges
    with the phenotype. The graph of every individual has equally many edges, so that one pair can only gain what others
    lose: the rows are one finding in several forms. Counted are the edges that `samples` holds, which in a large cohort
    are the most common ones.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> classes = sivae.cohort.gene_classes(samples.var_names)
    >>> sivae.cohort.edge_classes(samples, classes).columns.to_list()
    ['other-other']
    """
    check_samples(samples)
    n_permutations = whole_number("n_permutations", n_permutations, least=1)
    seed = whole_number("seed", seed, least=0)
    names, present_se = read_edges(samples)
    class_of = read_labels(samples, classes, "classes", CLASSES)
    levels = sorted(set(class_of.values()))
    pairs = pairs_of(levels)
    count_sp = present_se @ _pair_of_edges(names, class_of, levels)
    if phenotype is None:
        columns = [pair_name(levels[a], levels[b]) for a, b in pairs]
        return pd.DataFrame(count_sp.toarray().astype(np.int64), index=samples.obs_names.copy(), columns=columns)
    design = read_design(samples, phenotype, covariates)
    for note in design.notes:
        warn(note)
    count_sp = count_sp[design.rows].toarray()
    seen = np.flatnonzero(count_sp.any(axis=0))
    found = association_columns(
        count_sp[:, seen], design.x_s, design.covariates_sc, n_permutations=n_permutations, seed=seed,
        purpose="edge classes", ranks=True,
    )  # fmt: skip
    found.insert(0, "mean", count_sp[:, seen].mean(axis=0))
    found.insert(0, "class_b", [levels[pairs[p][1]] for p in seen])
    found.insert(0, "class_a", [levels[pairs[p][0]] for p in seen])
    found = found.sort_values("p", kind="stable", ignore_index=True)
    found.attrs.update(design_attrs(design))
    return found


def _pair_of_edges(names: pd.DataFrame, class_of: dict[str, str], levels: list[str]) -> sparse.csr_matrix:
    """1 at the pair of classes of each edge, CSR (edges, pairs)."""
    place = {level: number for number, level in enumerate(levels)}
    codes = [names[end].map(class_of).map(place).fillna(-1).to_numpy(dtype=np.int64) for end in ("gene_a", "gene_b")]
    low_e, high_e = np.minimum(*codes), np.maximum(*codes)
    pairs, column_of = pairs_of(levels), np.empty((len(levels), len(levels)), np.intp)
    column_of[tuple(np.array(pairs).T)] = np.arange(len(pairs))
    classed = np.flatnonzero(low_e >= 0)
    column = column_of[low_e[classed], high_e[classed]]
    return sparse.csr_matrix((np.ones(len(classed)), (classed, column)), shape=(len(names), len(pairs)))
