"""Individuals as points on a map, and whether where they lie goes with a phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, warn
from sivae._rng import numpy_generator
from sivae._values import frame
from sivae.cohort._phenotype import read_design
from sivae.cohort._similarity import read_record, read_similarity
from sivae.cohort._tables import design_attrs
from sivae.graph._graph_kernels import centered_products, classical_scaling, distance_of
from sivae.stats._association import associate
from sivae.stats._distance import distance_regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONTROLS: Final = {"p_given_depth": _keys.DEPTH, "p_given_cells": _keys.N_CELLS}
"""Columns of the table, and what each takes off."""


@door
def individuals_map(samples: AnnData, n_components: int = 2) -> None:
    """Place individuals on a map, the more alike the closer, by classical multidimensional scaling.

    Parameters
    ----------
    samples
        Individuals x genes, with the `similarity` written.
    n_components
        Axes.

    Returns
    -------
    Nothing. Writes

    `obsm["X_sivae_map"]`
        Individuals x axes. Their distances approach sqrt(2 (1 - similarity)) as axes are added; the sum of an axis'
        cubed coordinates is positive, which fixes its sign.
    `uns["sivae_cohort"]["map"]`
        `share`: of the sum of absolute eigenvalues, by axis; an axis of share 0 is 0 for all.

    Raises
    ------
    OptionError
        If there are not more individuals than axes.
    SetupError
        If there is no similarity.

    Notes
    -----
    Torgerson 1952, Psychometrika 17:401 (doi 10.1007/BF02288916). For `"positions"` these are the principal components
    of the individuals' positions of all genes.

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> samples = anndata.AnnData(np.zeros((3, 2)))
    >>> samples.obsp["sivae_similarity"] = np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.2], [0.2, 0.2, 1.0]])
    >>> sivae.cohort.individuals_map(samples)
    >>> samples.obsm["X_sivae_map"].shape
    (3, 2)
    """
    map_sk, share_k = _axes(read_similarity(samples), n_components)
    samples.obsm[_keys.MAP] = map_sk
    samples.uns[_keys.COHORT] = {**read_record(samples), "map": {"share": share_k}}


@door
def associate_map(
    samples: AnnData,
    phenotype: str,
    *,
    covariates: Sequence[str] = (),
    n_components: int = 2,
    n_permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether individuals of like phenotype are alike, all at once and along each axis of the map.

    Parameters
    ----------
    samples
        Individuals x genes, with the `similarity` written.
    phenotype
        Column of `obs`: numbers, two categories, or ordered categories. Individuals without a value are left out.
    covariates
        Columns of `obs` that are known: the phenotype is asked what it says beside them.
    n_components
        Axes of the map to test; they are those of `individuals_map`, of the similarity as it stands.
    n_permutations
        Random permutations, where not all arrangements of the phenotype are looked at because they are few.
    seed
        Of the permutations.

    Returns
    -------
    Frame. The row `"similarity"` is the test of all distances, sqrt(2 (1 - similarity)): `pseudo_f`, `r2` (share of
    all squared distance that the phenotype explains beside the covariates) and `p_pseudo_f` of PERMANOVA; `z` and its
    `p`, whether individuals of like phenotype deviate alike, noise left aside. Rows `"axis 1"`, `"axis 2"`, ...:
    `share` of the axis, `rho` (partial Spearman correlation with the phenotype) and its `p`. All rows: `p_given_depth`
    and `p_given_cells`, p with `sivae_depth` or `sivae_n_cells` among the covariates (NaN where that is not there, or
    cannot be told from the phenotype). `attrs`: `phenotype`, `covariates`, `method` (of `similarity`), `kind`,
    `levels`, `n_individuals`, `left_out`, `n_permutations`, `exact`.

    Warns
    -----
    SiVAEWarning
        Naming individuals that are left out because a value is missing, and covariates that leave little to see.

    Raises
    ------
    OptionError
        If a number is too small, or there are not more individuals than axes.
    SetupError
        If there is no similarity, a column cannot be read, fewer than 4 individuals remain, the covariates determine
        the phenotype, or individuals do not differ.

    Notes
    -----
    Distance-based regression (McArdle and Anderson 2001, doi 10.1890/0012-9658(2001)082[0290:FMMTCD]2.0.CO;2); for two
    groups the pseudo-F is that of PERMANOVA. It takes noise for a difference: where 12 individuals and 4 others differ
    in nothing but twice the noise, as of a quarter of the cells, `p_pseudo_f` is at most 0.05 in 97 % of draws, `p` in
    6 %. `z` is of pairs of different individuals alone, once each individual's own share of its distances is taken
    off, over its standard error (Szekely and Rizzo 2014, doi 10.1214/14-AOS1255; Chung and Romano 2013, doi
    10.1214/13-AOS1090); in few individuals of equal noise it sees less than the pseudo-F.

    Graphs from fewer cells are less like all others also on average, which no statistic can tell from a difference:
    `p_given_cells` and `p_given_depth` are for that, and `subsets` of equally many cells. p-values by permutation, of
    residuals where there are covariates (Freedman and Lane 1983, doi 10.1080/07350015.1983.10509354; for `z` Dekker,
    Krackhardt and Snijders 2007, doi 10.1007/s11336-007-9016-1); those of axes are not corrected for their number.

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> samples = anndata.AnnData(np.zeros((6, 2)))
    >>> samples.obs["age"] = [20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    >>> distance = np.abs(np.subtract.outer(samples.obs["age"].to_numpy(), samples.obs["age"].to_numpy())) / 50
    >>> samples.obsp["sivae_similarity"] = 1 - distance**2 / 2
    >>> table = sivae.cohort.associate_map(samples, "age", n_components=1)
    >>> float(table.loc["similarity", "r2"].round(3))
    1.0
    """
    similarity_ss = read_similarity(samples)
    n_permutations = whole_number("n_permutations", n_permutations, least=99, hint="9999 is the default.")
    whole_number("seed", seed, least=0, hint="0 is the default.")
    map_sk, share_k = _axes(similarity_ss, n_components)
    design = read_design(samples, phenotype, covariates)
    rows = design.rows
    product_ss = centered_products(distance_of(similarity_ss)[np.ix_(rows, rows)])

    def tested(covariates_sc: Array | None) -> tuple[dict[str, Array], bool]:
        return _tested(product_ss, map_sk[rows], design.x_s, covariates_sc, n_permutations=n_permutations, seed=seed)

    try:
        columns, exact = tested(design.covariates_sc)
    except ValueError as error:
        raise SetupError(
            f"{len(rows)} individuals cannot be tested by their similarity: {error} Compare other genes or by another "
            "method, or name fewer covariates."
        ) from error
    for name, key in CONTROLS.items():
        columns[name] = np.full(1 + len(share_k), np.nan)
        if key in frame(samples.obs) and key not in (phenotype, *design.covariates):
            control_sc = samples.obs[key].to_numpy(np.float64)[rows][:, None]
            known = [] if design.covariates_sc is None else [design.covariates_sc]
            try:
                columns[name] = tested(np.column_stack([*known, control_sc]))[0]["p"]
            except ValueError:  # it is one with the phenotype: nothing can be said
                continue
    for note in design.notes:
        warn(note)
    table = pd.DataFrame({"share": np.append(np.nan, share_k), **columns})
    table.index = pd.Index(["similarity", *(f"axis {k + 1}" for k in range(len(share_k)))])
    method = str(read_record(samples).get("similarity", {}).get("method", ""))
    table.attrs = {**design_attrs(design), "method": method, "n_permutations": n_permutations, "exact": exact}
    return table


def _axes(similarity_ss: Array, n_components: int) -> tuple[Array, Array]:
    k = whole_number("n_components", n_components, least=1, hint="2 is the default.")
    if k >= len(similarity_ss):
        raise OptionError(
            f"n_components is {k}; expected at most {len(similarity_ss) - 1}, one less than the individuals. Ask for "
            "fewer axes."
        )
    return classical_scaling(distance_of(similarity_ss), k)


def _tested(
    product_ss: Array, map_sk: Array, x_s: Array, covariates_sc: Array | None, *, n_permutations: int, seed: int
) -> tuple[dict[str, Array], bool]:
    """Columns of the table, the similarity first and then the axes, and whether all arrangements were looked at."""
    whole = distance_regression(
        product_ss,
        x_s,
        covariates_sc=covariates_sc,
        n_permutations=n_permutations,
        generator=numpy_generator(seed, "map distances"),
    )
    axes = associate(
        map_sk,
        x_s,
        covariates_sc=covariates_sc,
        ranks=True,
        n_permutations=n_permutations,
        generator=numpy_generator(seed, "map axes"),
    )
    nothing = np.full(map_sk.shape[1], np.nan)
    columns: dict[str, Any] = {
        "pseudo_f": np.append(whole.pseudo_f, nothing),
        "r2": np.append(whole.r2, nothing),
        "p_pseudo_f": np.append(whole.p_pseudo_f, nothing),
        "z": np.append(whole.z, nothing),
        "rho": np.append(np.nan, axes.rho_g),
        "p": np.append(whole.p, axes.p_g),
    }
    return columns, whole.exact
