"""Phenotype and covariates of individuals as numbers, and everything that can be wrong with them, said plainly."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import numpy as np
import pandas as pd

from sivae._checks import check_adata, check_names, names
from sivae._errors import OptionError, SetupError, some
from sivae._keys import PROJECTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

Kind = Literal["numeric", "binary", "ordered"]

LEAST_INDIVIDUALS: Final = 4
LEAST_FREEDOM: Final = 2
"""Degrees of freedom that a test needs at least."""
NEARLY: Final = 0.9
"""Share of the phenotype's variance that covariates tell, above which a warning says so."""
NO_LEVELS: Final[tuple[str, ...]] = ()


@final
@dataclass(frozen=True)
class Design:
    """Individuals whose phenotype and covariates are known, by name, and these as numbers."""

    rows: NDArray[np.intp]
    """Rows of the AnnData, in the order of the individuals' names: no result depends on the order of rows."""
    names: list[str]
    phenotype: str
    kind: Kind
    levels: tuple[str, ...]
    """What 0, 1, ... stand for; none for a numeric phenotype."""
    x_s: Array
    covariates: tuple[str, ...]
    """Those that vary."""
    covariates_sc: Array | None
    left_out: list[str]
    notes: list[str]
    """What the user should know: to be passed to `warn` by the public function."""


def read_design(
    samples: AnnData,
    phenotype: str,
    covariates: Iterable[str] = (),
    *,
    lacking_s: NDArray[np.bool_] | None = None,
) -> Design:
    """Phenotype and covariates of the individuals that have them.

    Numbers stay as they are; booleans and two categories become 0 and 1 (in the order of the categories, or of the
    alphabet); ordered categories become their position among all categories. Of covariates, categories become
    indicators of all but the first.

    Parameters
    ----------
    samples
        Individuals x genes.
    phenotype, covariates
        Columns of `obs`.
    lacking_s
        Individuals to leave out because they have no values.

    Raises
    ------
    SetupError
        If a column is missing or of a kind that cannot be used, fewer than 4 individuals remain, the phenotype is
        constant, or the covariates determine it or are too many.
    OptionError
        If a name is no text, or the phenotype is among the covariates.
    """
    check_adata(samples)
    check_names(samples, "obs_names")
    wanted = _wanted(phenotype, covariates)
    columns = {name: _column(samples, name) for name in [phenotype, *wanted]}
    missing = {name: _missing(column) for name, column in columns.items()}
    kept_s = ~np.logical_or.reduce(list(missing.values()))
    if lacking_s is not None:
        kept_s &= ~lacking_s
    sample_names = np.asarray(samples.obs_names, str)
    notes = _left_out(sample_names, missing, lacking_s, phenotype=phenotype)
    rows = np.flatnonzero(kept_s)
    rows = rows[np.argsort(sample_names[rows], kind="stable")]
    if len(rows) < LEAST_INDIVIDUALS:
        reason = f" ({'; '.join(notes)})" if notes else ""
        raise SetupError(
            f"{len(rows)} individuals have {' and '.join(map(repr, columns))}{reason}; expected at least "
            f"{LEAST_INDIVIDUALS}, because the individual is the unit of evidence. Fill in what is missing, name fewer "
            "covariates, or add individuals."
        )
    x_s, kind, levels = phenotype_numbers(columns[phenotype].iloc[rows], phenotype)
    parts = {name: _indicators(columns[name].iloc[rows], name) for name in wanted}
    constant = [name for name, part in parts.items() if not part.shape[1]]
    if constant:
        notes.append(f"{some(map(repr, constant))} has one value in all individuals and is left out of the covariates.")
    parts = {name: part for name, part in parts.items() if part.shape[1]}
    notes += _check_confounding(phenotype, x_s, parts)
    return Design(
        rows=rows,
        names=sample_names[rows].tolist(),
        phenotype=phenotype,
        kind=kind,
        levels=levels,
        x_s=x_s,
        covariates=tuple(parts),
        covariates_sc=np.concatenate(list(parts.values()), axis=1) if parts else None,
        left_out=sorted(sample_names[~kept_s].tolist()),
        notes=notes,
    )


def read_layer(samples: AnnData, layer: str | None = None) -> tuple[str, Array]:
    """A layer of individuals x genes, the default connectivity if not given: its name and its values.

    Raises
    ------
    SetupError
        If it is not there, naming those that are.
    """
    check_adata(samples)
    name = PROJECTION if layer is None else layer
    if name not in samples.layers:
        there = [str(key) for key in samples.layers if not str(key).endswith("_se")]
        found = some(map(repr, there), 10) if there else "none at all"
        raise SetupError(
            f"Found no layer {name!r}, but {found}; expected individuals x genes as sivae.cohort.connectivity gives "
            f"them.{_close(name, there)} Pass what it returned, or name one of its layers."
        )
    return name, dense(samples.layers[name])


def dense(values: Any) -> Array:
    """Values of a layer as a NumPy array of float64."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)


def _wanted(phenotype: object, covariates: Iterable[str]) -> list[str]:
    if not isinstance(phenotype, str):
        raise OptionError(f"phenotype is {phenotype!r}; expected the name of one column of obs. Give one name as text.")
    wanted = list(dict.fromkeys(names("covariates", covariates)))
    if phenotype in wanted:
        raise OptionError(
            f"{phenotype!r} is the phenotype and among the covariates; expected other columns. Take it out of them."
        )
    return wanted


def _column(samples: AnnData, name: str) -> pd.Series[Any]:
    if name in samples.obs:
        return pd.Series(samples.obs[name])
    there = [str(column) for column in samples.obs]
    raise SetupError(
        f"obs has no column {name!r}; it has {some(map(repr, there), 10) if there else 'none'}.{_close(name, there)} "
        "Columns that vary within an individual are not carried over to individuals: add it to samples.obs, one value "
        "for each individual."
    )


def _close(name: str, there: Sequence[str]) -> str:
    lower = {entry.lower(): entry for entry in there}
    close = [lower[entry] for entry in get_close_matches(name.lower(), list(lower), n=3)]
    return f" Is it {' or '.join(map(repr, close))}?" if close else ""


def _missing(column: pd.Series[Any]) -> NDArray[np.bool_]:
    missing_s = column.isna().to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(column.dtype):
        missing_s |= ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return missing_s


def _left_out(
    sample_names: NDArray[np.str_],
    missing: dict[str, NDArray[np.bool_]],
    lacking_s: NDArray[np.bool_] | None,
    *,
    phenotype: str,
) -> list[str]:
    """Words about individuals that are left out, and why."""
    reasons = [
        f"no {'phenotype' if name == phenotype else 'covariate'} {name!r}: {some(sorted(sample_names[missing_s]), 10)}"
        for name, missing_s in missing.items()
        if missing_s.any()
    ]
    if lacking_s is not None and lacking_s.any():
        reasons.append(f"no values: {some(sorted(sample_names[lacking_s]), 10)}")
    masks = [*missing.values(), *([] if lacking_s is None else [lacking_s])]
    n_left_out = int(np.logical_or.reduce(masks).sum())
    return [f"{n_left_out} of {len(sample_names)} individuals are left out ({'; '.join(reasons)})."] if reasons else []


# ------------------------------------------------------------------------------------------------------------- numbers


def phenotype_numbers(column: pd.Series[Any], name: str) -> tuple[Array, Kind, tuple[str, ...]]:
    """A phenotype without missing values as numbers, its kind, and what the numbers stand for.

    Raises
    ------
    SetupError
        If it is constant, has more than two levels without an order, or is of a kind that has no numbers.
    """
    column = _plain(column, name)
    if column.nunique() < 2:
        raise SetupError(
            f"The phenotype {name!r} is {str(column.iloc[0])!r} in all {len(column)} individuals; expected it to vary. "
            "Choose another column, or add individuals with another value."
        )
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64), "binary", ("False", "True")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64), "numeric", NO_LEVELS
    present = column.cat.remove_unused_categories().cat
    if len(present.categories) == 2:
        return np.asarray(present.codes, np.float64), "binary", tuple(map(str, present.categories))
    if column.cat.ordered:
        return np.asarray(column.cat.codes, np.float64), "ordered", tuple(map(str, column.cat.categories))
    raise SetupError(_unordered(present.categories, name))


def _unordered(categories: pd.Index[Any], name: str) -> str:
    numbers = pd.to_numeric(pd.Series(categories.astype(str)), errors="coerce").notna().all()
    do = (
        f"They read as numbers: samples.obs[{name!r}] = samples.obs[{name!r}].astype(float)."
        if numbers
        else f"Give them an order: samples.obs[{name!r}] = pandas.Categorical(samples.obs[{name!r}], categories=[...], "
        "ordered=True); or keep the individuals of two of them."
    )
    return (
        f"The phenotype {name!r} has {len(categories)} levels without an order ({some(categories)}); expected numbers, "
        f"two levels, or ordered ones. {do}"
    )


def _plain(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """The column as numbers, booleans or categories."""
    if column.dtype == object:
        column = column.infer_objects()
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return column
    if pd.api.types.is_complex_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype) or dtype.kind == "m":
        raise SetupError(
            f"obs[{name!r}] holds values of type {dtype}; expected numbers, True and False, or categories. Convert it "
            "first, for example a date to years."
        )
    return column if pd.api.types.is_numeric_dtype(dtype) else column.astype(str).astype("category")


def _indicators(column: pd.Series[Any], name: str) -> Array:
    """Columns of a covariate, (S, C); none where it is constant."""
    column = _plain(column, name)
    if column.nunique() < 2:
        return np.empty((len(column), 0))
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.to_numpy(dtype=np.float64)[:, None]
    codes = column.cat.remove_unused_categories().cat.codes.to_numpy()
    return np.asarray(codes[:, None] == np.arange(1, codes.max() + 1), np.float64)


# --------------------------------------------------------------------------------------------------------- confounding


def told(x_s: Array, columns_sc: Array) -> tuple[float, int]:
    """Share of the variance of x that columns tell, and how many of them are independent."""
    design_sc = np.column_stack([np.ones(len(x_s)), columns_sc - columns_sc.mean(axis=0)])
    scale_c = np.linalg.norm(design_sc, axis=0)
    u_sc, values_c, _ = np.linalg.svd(design_sc / np.where(scale_c > 0, scale_c, 1.0), full_matrices=False)
    u_sc = u_sc[:, values_c > 1e-9 * values_c[0]]
    centered_s = x_s - x_s.mean()
    left_s = centered_s - u_sc @ (u_sc.T @ centered_s)
    return 1 - float((left_s**2).sum() / (centered_s**2).sum()), u_sc.shape[1] - 1


def _check_confounding(phenotype: str, x_s: Array, parts: dict[str, Array]) -> list[str]:
    """Refuse covariates that leave nothing of the phenotype or no degree of freedom; words where they leave little."""
    n = len(x_s)
    for name, columns_sc in parts.items():
        share, rank = told(x_s, columns_sc)
        if share > 1 - 1e-9 and rank < n - 1:
            raise SetupError(
                f"{name!r} and {phenotype!r} cannot be told apart: in these {n} individuals, who knows {name!r} knows "
                f"{phenotype!r}. Expected individuals in which they differ. Take {name!r} out of the covariates and "
                "read what is found as of either, or add such individuals."
            )
    if not parts:
        return []
    share, rank = told(x_s, np.concatenate(list(parts.values()), axis=1))
    said = " and ".join(map(repr, parts))
    if n - 2 - rank < LEAST_FREEDOM:
        raise SetupError(
            f"The covariates {said} make {rank} independent columns, too many for {n} individuals: expected at most "
            f"{max(n - 2 - LEAST_FREEDOM, 0)}, so that {LEAST_FREEDOM} degrees of freedom remain beside a constant and "
            f"{phenotype!r}. Name fewer covariates, or join levels of those with many."
        )
    if share > 1 - 1e-9:
        raise SetupError(
            f"{said} together and {phenotype!r} cannot be told apart: in these {n} individuals, who knows them knows "
            f"{phenotype!r}. Name fewer covariates, or add individuals in which they differ."
        )
    if share > NEARLY:
        return [
            f"{said} tell {share:.0%} of the variance of {phenotype!r}: little is left to see its own effects by, and "
            "intervals are wide. Name fewer covariates, or add individuals in which they differ."
        ]
    return []
