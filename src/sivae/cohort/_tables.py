"""Association of anything counted or measured in individuals with a phenotype, as columns of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sivae._rng import numpy_generator
from sivae.stats._association import associate, p_of_both
from sivae.stats._fdr import adjust
from sivae.stats._precision import MOST
from sivae.stats._reduced import reduced

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design
    from sivae.stats._association import Association

    Array: TypeAlias = NDArray[np.float64]

Attrs: TypeAlias = "dict[Hashable | None, Any]"
BLOCK: Final = 2**22
"""Values of a block of columns."""
FIRST: Final = 999
"""Permutations of every column."""
UNSETTLED: Final = 20 / (1 + FIRST)
"""Columns with a p up to this get more."""
COLUMNS = ["effect", "se", "low", "high", "rho", "t", "p", "q"]


def association_columns(
    y_se: NDArray[np.floating],
    x_s: Array,
    covariates_sc: Array | None,
    *,
    n_permutations: int,
    seed: int,
    purpose: str,
    ranks: bool = False,
    noise_s: Array | None = None,
) -> pd.DataFrame:
    """Effect with its interval, partial Spearman correlation, t, permutation p and q of each column of `y_se`.

    p is of t, or with `ranks` of the partial Spearman correlation. There may be very many columns, so they come in
    blocks: all get 999 permutations, and those with p up to 0.02 then `n_permutations` others. But for q, what is found
    of a column does not depend on the others. Columns with a value that is not finite are not tested: NaN. Individuals
    come sorted by name, so that nothing depends on their order.

    With `noise_s`, the variance of an individual's values relative to others', individuals are weighted by its inverse,
    and p is that of t where this is larger (`p_of_both`).
    """
    weight_s = None if noise_s is None else np.minimum(1 / noise_s, MOST * np.median(1 / noise_s))
    freedom = reduced(np.zeros((len(x_s), 1)), x_s, covariates_sc).freedom

    def fitted(values_se: Array, n: int, rng: np.random.Generator) -> tuple[Association, Array]:
        weights_se = None if weight_s is None else np.repeat(weight_s[:, None], values_se.shape[1], axis=1)
        fit = associate(
            values_se, x_s, covariates_sc=covariates_sc, weights_sg=weights_se, n_permutations=n, generator=rng
        )
        return fit, fit.p_g if weight_s is None else p_of_both(fit, freedom)

    table_ec, exact = np.full((y_se.shape[1], len(COLUMNS)), np.nan), False
    first = min(FIRST, n_permutations)
    for part in _blocks(np.flatnonzero(np.isfinite(y_se).all(axis=0)), len(x_s)):
        values_se = np.asarray(y_se[:, part], np.float64)
        rng = numpy_generator(seed, purpose)
        fit, p_e = fitted(values_se, first, rng)
        rho_e, exact = partial_spearman(values_se, x_s, covariates_sc), fit.exact
        if ranks:
            p_e = associate(
                values_se, x_s, covariates_sc=covariates_sc, ranks=True, n_permutations=first, generator=rng
            ).p_g
        table_ec[part, :7] = np.column_stack([fit.effect_g, fit.se_g, fit.low_g, fit.high_g, rho_e, fit.t_g, p_e])
    frame = pd.DataFrame(table_ec, columns=COLUMNS)
    if not exact and n_permutations > first:
        p_e = frame["p"].to_numpy(copy=True)
        for part in _blocks(np.flatnonzero(p_e <= UNSETTLED), len(x_s)):
            values_se, rng = np.asarray(y_se[:, part], np.float64), numpy_generator(seed, f"{purpose}, again")
            if ranks:
                p_e[part] = associate(
                    values_se, x_s, covariates_sc=covariates_sc, ranks=True, n_permutations=n_permutations,
                    generator=rng,
                ).p_g  # fmt: skip
            else:
                p_e[part] = fitted(values_se, n_permutations, rng)[1]
        frame["p"] = p_e
    frame["q"] = adjust(frame["p"].to_numpy())
    return frame


def _blocks(columns_e: NDArray[np.intp], n_individuals: int) -> Iterator[NDArray[np.intp]]:
    """Columns, as many at a time as fit into memory."""
    step = max(1, BLOCK // n_individuals)
    for start in range(0, len(columns_e), step):
        yield columns_e[start : start + step]


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
