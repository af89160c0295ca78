"""The set-up record: which parts of an AnnData are modelled, as a plain dictionary in `uns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae import _keys
from sivae._errors import SetupError, some
from sivae._values import frame
from sivae.data._matrix import survey

FORMAT = 1
MOST_CATEGORIES = 0.5
"""Categories of a covariate, at most, as a share of the cells."""


@dataclass(frozen=True)
class Setup:
    """What `setup_anndata` was told and found; survives copy, subset, view and h5ad as plain values."""

    layer: str = ""
    batch_key: str = ""
    categorical_covariate_keys: tuple[str, ...] = ()
    continuous_covariate_keys: tuple[str, ...] = ()
    size_factor_key: str = ""
    normalize: str = "log1p"
    counts: bool = True
    """The values are whole numbers, not negative."""
    categories: dict[str, list[str]] = field(default_factory=dict)
    """Categories of each categorical column, sorted."""

    def to_record(self) -> dict[str, Any]:
        """A dictionary of strings, numbers and lists of strings (an empty string stands for None)."""
        record = asdict(self) | {"format": FORMAT}
        record["categories"] = {key: list(values) for key, values in self.categories.items()}
        for key in ("categorical_covariate_keys", "continuous_covariate_keys"):
            record[key] = list(record[key])
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Setup:
        """Read what `to_record` wrote, also after a trip through h5ad (arrays for lists)."""
        if int(record.get("format", 0)) != FORMAT:
            raise SetupError(
                f"The set-up record has format {record.get('format')!r}; this version reads {FORMAT}. "
                "Run SiVAE.setup_anndata(adata, ...) again."
            )
        return cls(
            layer=str(record["layer"]),
            batch_key=str(record["batch_key"]),
            categorical_covariate_keys=tuple(str(k) for k in record["categorical_covariate_keys"]),
            continuous_covariate_keys=tuple(str(k) for k in record["continuous_covariate_keys"]),
            size_factor_key=str(record["size_factor_key"]),
            normalize=str(record["normalize"]),
            counts=bool(record["counts"]),
            categories={str(k): [str(v) for v in values] for k, values in dict(record["categories"]).items()},
        )

    @property
    def categorical_keys(self) -> tuple[str, ...]:
        """The batch column, if any, and further categorical columns."""
        return (*((self.batch_key,) if self.batch_key else ()), *self.categorical_covariate_keys)

    @property
    def n_batches(self) -> int:
        """Batches of the batch column, whose dummy columns come first in the design; 0 without one."""
        return len(self.categories[self.batch_key]) if self.batch_key else 0

    @property
    def columns(self) -> dict[str, slice]:
        """Columns of the design of each covariate: one per category, then one per continuous covariate."""
        widths = {key: len(self.categories[key]) for key in self.categorical_keys}
        widths |= dict.fromkeys(self.continuous_covariate_keys, 1)
        ends = np.cumsum([0, *widths.values()]).tolist()
        return {key: slice(a, b) for key, a, b in zip(widths, ends, ends[1:], strict=False)}


def setup(
    adata: AnnData,
    *,
    layer: str | None,
    batch_key: str | None,
    categorical_covariate_keys: Sequence[str] | None,
    continuous_covariate_keys: Sequence[str] | None,
    size_factor_key: str | None,
    normalize: str,
) -> Setup:
    """Check the AnnData and make its record (see `SiVAE.setup_anndata`)."""
    if normalize not in ("auto", "log1p", "none"):
        raise SetupError(f"normalize is {normalize!r}; expected 'auto', 'log1p' or 'none'.")
    for axis, names in (("obs_names", adata.obs_names), ("var_names", adata.var_names)):
        if not names.is_unique:
            raise SetupError(
                f"{axis} are not unique: {some(names[names.duplicated()].unique())} occur more than once. "
                f"Everything is matched by name: call adata.{axis}_make_unique() first."
            )
    categorical = [*([batch_key] if batch_key else []), *(categorical_covariate_keys or [])]
    continuous = [*(continuous_covariate_keys or []), *([size_factor_key] if size_factor_key else [])]
    obs = frame(adata.obs)
    _check_columns(obs, categorical, continuous, size_factor_key)
    found = survey(adata, layer)
    if normalize == "auto":
        normalize = "log1p" if found.counts else "none"
    if normalize == "log1p" and found.smallest < 0:
        raise SetupError(
            f"normalize='log1p' needs values of at least 0; the smallest found is {found.smallest:g}. "
            "Use normalize='none' for values that are already normalised."
        )
    return Setup(
        layer=layer or "",
        batch_key=batch_key or "",
        categorical_covariate_keys=tuple(categorical_covariate_keys or ()),
        continuous_covariate_keys=tuple(continuous_covariate_keys or ()),
        size_factor_key=size_factor_key or "",
        normalize=normalize,
        counts=found.counts,
        categories={key: sorted(set(category_names(obs[key]))) for key in categorical},
    )


def category_names(column: pd.Series[Any]) -> NDArray[np.str_]:
    """The values of a categorical column as names, (cells,): numbers as they are written, 1.0 as 1."""
    names = column.astype(str).to_numpy(dtype=str)
    return np.array([name.removesuffix(".0") for name in names]) if is_numeric(column) else names


def is_numeric(column: pd.Series[Any]) -> bool:
    """Whether the values, or the categories, are numbers."""
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return bool(pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype))


def refuse_missing(obs: pd.DataFrame, key: str) -> None:
    """Refuse a column that is missing for some cells.

    Raises
    ------
    SetupError
        Naming the column and the first of the cells.
    """
    missing = obs[key].isna().to_numpy()
    if missing.any():
        raise SetupError(
            f"obs[{key!r}] is missing for {int(missing.sum())} cells, the first being {obs.index[missing][0]!r}. "
            "Fill it in or drop these cells."
        )


def _check_columns(obs: pd.DataFrame, categorical: list[str], continuous: list[str], size_factor: str | None) -> None:
    for key in (*categorical, *continuous):
        if key not in obs:
            raise SetupError(f"obs has no column {key!r}; it has: {some(obs.columns, 20)}.")
        refuse_missing(obs, key)
    for key in categorical:
        _refuse_too_many(obs[key], key)
    for key in continuous:
        try:
            values = obs[key].astype(float).to_numpy()
        except (TypeError, ValueError):
            raise SetupError(
                f"obs[{key!r}] is not numeric ({obs[key].dtype}); name it under categorical_covariate_keys."
            ) from None
        if not np.isfinite(values).all() or (key == size_factor and (values <= 0).any()):
            wrong = obs.index[~np.isfinite(values) | ((key == size_factor) & (values <= 0))]
            expected = "positive" if key == size_factor else "finite"
            raise SetupError(f"obs[{key!r}] must be {expected}; it is not for cell {wrong[0]!r}.")


def _refuse_too_many(column: pd.Series[Any], key: str) -> None:
    n_names = len(set(category_names(column)))
    if n_names > max(2, MOST_CATEGORIES * len(column)):
        numeric = is_numeric(column)
        advice = "name it under continuous_covariate_keys" if numeric else "name a column that many cells share"
        raise SetupError(
            f"obs[{key!r}] holds {n_names} different values in {len(column)} cells; expected categories of several "
            f"cells each, at most {MOST_CATEGORIES:.0%} as many. If it is a quantity or a name of a cell, {advice}."
        )


def read_record(adata: AnnData) -> Setup:
    """The set-up record of an AnnData.

    Raises
    ------
    SetupError
        If `SiVAE.setup_anndata` was never called on it.
    """
    try:
        record = adata.uns[_keys.UNS]["setup"]
    except (KeyError, TypeError):
        raise SetupError("This AnnData was not set up. Call SiVAE.setup_anndata(adata, ...) first.") from None
    return Setup.from_record(record)


def write_record(adata: AnnData, setup_: Setup) -> None:
    """Store the record, keeping whatever else is in `uns["sivae"]`."""
    adata.uns[_keys.UNS] = {**dict(adata.uns.get(_keys.UNS, {})), "setup": setup_.to_record()}
