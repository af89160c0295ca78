"""Association of anything counted or measured in individuals with a phenotype, as columns of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sivae.stats._association import associate
from sivae.stats._fdr import adjust
from sivae.stats._reduced import reduced

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design

    Array: TypeAlias = NDArray[np.float64]

Attrs: TypeAlias = "dict[Hashable | None, Any]"
COLUMNS = ["effect", "se", "low", "high", "rho", "t", "p", "q"]


def association_columns(
    y_se: NDArray[np.floating],
    x_s: Array,
    covariates_sc: Array | None,
    *,
    n_permutations: int,
    generator: np.random.Generator,
    ranks: bool = False,
) -> pd.DataFrame:
    """Effect with its interval, partial Spearman correlation, t, permutation p and q of each column of `y_se`.

    p is of t, or with `ranks` of the partial Spearman correlation. Columns with a value that is not finite are not
    tested: NaN. So that a result does not depend on the order of individuals, they come sorted by name.
    """
    values_se = np.asarray(y_se, np.float64)
    tested = np.isfinite(values_se).all(axis=0)
    frame = pd.DataFrame(np.nan, index=range(values_se.shape[1]), columns=COLUMNS)
    if not tested.any():
        return frame
    values_se = values_se[:, tested]
    children = generator.spawn(2)
    found = associate(values_se, x_s, covariates_sc=covariates_sc, n_permutations=n_permutations, generator=children[0])
    p_e = found.p_g
    if ranks:
        p_e = associate(
            values_se, x_s, covariates_sc=covariates_sc, ranks=True, n_permutations=n_permutations,
            generator=children[1],
        ).p_g  # fmt: skip
    columns = [found.effect_g, found.se_g, found.low_g, found.high_g, partial_spearman(values_se, x_s, covariates_sc)]
    frame.loc[tested] = np.column_stack([*columns, found.t_g, p_e, adjust(p_e)])
    return frame


def partial_spearman(y_se: Array, x_s: Array, covariates_sc: Array | None) -> Array:
    """Partial correlation of ranks, (e,); 0 for a constant."""
    rank_sc = None if covariates_sc is None else rankdata(covariates_sc, axis=0)
    return reduced(rankdata(y_se, axis=0), rankdata(x_s).astype(np.float64), rank_sc).correlation()


def pairs_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """Places of the two names of every pair, each with itself too."""
    return [(first, second) for first in range(len(names)) for second in range(first, len(names))]


def pair_name(first: str, second: str) -> str:
    """Column of a pair of classes or modules."""
    return f"{first}-{second}"


def design_attrs(design: Design) -> Attrs:
    """What a frame says of the individuals it comes from."""
    return {
        "phenotype": design.phenotype,
        "covariates": list(design.covariates),
        "n_individuals": len(design.rows),
        "left_out": list(design.left_out),
        "kind": design.kind,
        "levels": list(design.levels),
    }
