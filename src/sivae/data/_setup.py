"""The set-up record: which parts of an AnnData are modelled, as a plain dictionary in `uns`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae import _keys
from sivae._checks import a_name, check_adata, check_names
from sivae._errors import SetupError, some, warn
from sivae._values import frame
from sivae.data._kind import LARGEST_LOG, is_fraction, looks_logged, place
from sivae.data._matrix import Survey, survey

log = logging.getLogger("sivae")
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
    if not isinstance(normalize, str) or normalize not in ("auto", "log1p", "none"):
        raise SetupError(
            f"normalize is {normalize!r}; expected 'auto', 'log1p' or 'none'. 'auto' lets the values decide."
        )
    layer, batch_key = a_name("layer", layer, "layer"), a_name("batch_key", batch_key, "column of obs")
    size_factor_key = a_name("size_factor_key", size_factor_key, "column of obs")
    _check_lists(categorical_covariate_keys, continuous_covariate_keys)
    check_names(adata, "obs_names", "var_names")
    categorical = [*([batch_key] if batch_key else []), *(categorical_covariate_keys or [])]
    continuous = [*(continuous_covariate_keys or []), *([size_factor_key] if size_factor_key else [])]
    obs = frame(adata.obs)
    _check_columns(obs, categorical, continuous, size_factor_key)
    found = survey(adata, layer)
    if normalize == "auto":
        normalize = _chosen(adata, layer, found)
    if normalize == "log1p":
        _refuse_log(adata, layer, found)
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


def _check_lists(*columns: object) -> None:
    for listed in columns:
        if isinstance(listed, str):
            raise SetupError(
                f"Found the text {listed!r} where columns of obs are listed, expected a list of names. "
                f"Write [{listed!r}]."
            )
        if listed is not None and (not isinstance(listed, Iterable) or hasattr(listed, "columns")):
            raise SetupError(f"Found {listed!r} where columns of obs are listed, expected a list of names. Write one.")
        for name in () if listed is None else listed:
            if not isinstance(name, str):
                raise SetupError(f"A covariate is {name!r}; expected the name of one column of obs. Give it as text.")


def _chosen(adata: AnnData, layer: str | None, found: Survey) -> str:
    """What normalize="auto" means for these values, said in the log."""
    if found.counts:
        log.info("normalize='auto': log1p, because the values are counts")
        return "log1p"
    if found.whole:
        raise SetupError(
            f"{place(adata, layer, lambda values: values < 0)}, among whole numbers; expected counts of at least 0. "
            "Mend it, name the layer that holds counts, or pass normalize='none' if these are no counts."
        )
    logged = looks_logged(adata, layer, smallest=found.smallest, largest=found.largest)
    why = f"they look log-normalised ({logged.words})" if logged else "they are no counts"
    log.info("normalize='auto': none, the values as they are, because %s", why)
    if found.smallest >= 0 and found.largest >= LARGEST_LOG:
        warn(
            f"{place(adata, layer, is_fraction)}, so these are no counts, and the largest value is "
            f"{found.largest:,.0f}, so they are not log-normalised. They are taken as they are, and large values will "
            "decide the map. If they are estimated counts, round them or pass normalize='log1p'."
        )
    return "none"


def _refuse_log(adata: AnnData, layer: str | None, found: Survey) -> None:
    """Refuse to take log1p of what is negative, or was log-normalised before."""
    if found.smallest < 0:
        raise SetupError(
            f"normalize='log1p' needs values of at least 0; the smallest found is {found.smallest:g}: "
            f"{place(adata, layer, lambda values: values < 0)}. "
            "Use normalize='none' for values that are already normalised."
        )
    if found.whole:
        return
    logged = looks_logged(adata, layer, smallest=found.smallest, largest=found.largest)
    if logged is not None and logged.sure:
        raise SetupError(
            f"{place(adata, layer, is_fraction)}, and the values look log-normalised: {logged.words}. "
            "normalize='log1p' expected counts and would take the logarithm twice. Name the layer that holds counts "
            f"(layers: {some(adata.layers) or 'none are there'}), or use normalize='none'."
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
            "Fill it in or drop these cells: a value is expected for every cell."
        )


def _check_columns(obs: pd.DataFrame, categorical: list[str], continuous: list[str], size_factor: str | None) -> None:
    for key in (*categorical, *continuous):
        if key not in obs:
            raise SetupError(
                f"obs has no column {key!r}; it has: {some(obs.columns, 20) or 'none'}. "
                "Name one of these, or leave it out."
            )
        refuse_missing(obs, key)
    for key in categorical:
        _refuse_too_many(obs[key], key)
    for key in continuous:
        try:
            values = obs[key].astype(float).to_numpy()
        except (TypeError, ValueError):
            use = (
                "size factors are numbers: name another column"
                if key == size_factor
                else ("name it under categorical_covariate_keys")
            )
            raise SetupError(f"obs[{key!r}] is not numeric ({obs[key].dtype}), expected numbers; {use}.") from None
        refuse_wrong(values, obs, key, positive=key == size_factor)


def refuse_wrong(values: NDArray[Any], obs: pd.DataFrame, key: str, *, positive: bool) -> None:
    """Refuse a numeric column that is not finite, or not positive where it must be.

    Raises
    ------
    SetupError
        Naming the column and the first of the cells.
    """
    with np.errstate(over="ignore", under="ignore"):
        held = values.astype(np.float32)
    wrong = ~np.isfinite(held) | (held <= 0 if positive else np.zeros(len(values), bool))
    if wrong.any():
        at = int(np.argmax(wrong))
        beyond = " as 32 bits hold it" if np.isfinite(values[at]) and (values[at] > 0 or not positive) else ""
        raise SetupError(
            f"obs[{key!r}] must be {'positive' if positive else 'finite'}{beyond}; it is not for cell "
            f"{obs.index[at]!r} ({values[at]:g}). Fill it in or drop the cell."
        )


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
    check_adata(adata)
    try:
        record = adata.uns[_keys.UNS]["setup"]
    except (KeyError, TypeError):
        raise SetupError("This AnnData was not set up. Call SiVAE.setup_anndata(adata, ...) first.") from None
    return Setup.from_record(record)


def write_record(adata: AnnData, setup_: Setup) -> None:
    """Store the record, keeping whatever else is in `uns["sivae"]`."""
    adata.uns[_keys.UNS] = {**dict(adata.uns.get(_keys.UNS, {})), "setup": setup_.to_record()}
