"""Whose cells are whose: individuals, their cell types, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sivae._errors import SetupError, some, warn
from sivae._values import frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    Positions = NDArray[np.intp]

FEWEST = 2
"""Individuals without which there is nothing to compare."""


@dataclass(frozen=True)
class Individuals:
    """Individuals with enough cells, sorted by name."""

    names: tuple[str, ...]
    rows: tuple[Positions, ...]
    """Cells of each, in the order of their names."""
    type_n: Positions
    """Cell type of every cell of the AnnData; 0 where none were given."""
    types: tuple[str, ...]
    """Names of the cell types; one empty name where none were given."""
    obs: pd.DataFrame
    """Columns of the AnnData that are constant within each of them."""
    left_out: dict[str, str]
    """Individuals with too few cells, and why."""

    def only(self, names: Sequence[str], why: Mapping[str, str]) -> Individuals:
        """Some of them, in the order of their names; why the others are not among them."""
        kept = [s for s, name in enumerate(self.names) if name in set(names)]
        return replace(
            self,
            names=tuple(self.names[s] for s in kept),
            rows=tuple(self.rows[s] for s in kept),
            obs=self.obs.iloc[kept],
            left_out=self.left_out | dict(why),
        )

    @property
    def cells(self) -> Positions:
        """Every cell of theirs, individual by individual."""
        return np.concatenate(self.rows)


def individuals_of(adata: AnnData, sample_key: str, *, cell_type_key: str | None, min_cells: int) -> Individuals:
    """Group the cells by individual.

    Cells without an individual (missing values) are left out. Individuals with fewer than `min_cells` cells are left
    out with a warning that names them.

    Raises
    ------
    SetupError
        If a column is missing, a cell has no type, or fewer than two individuals are left.
    """
    obs = frame(adata.obs)
    label_n = _column(obs, sample_key, "the individual of each cell")
    type_n, types = _types(obs, cell_type_key)
    found_of = pd.Series(np.arange(adata.n_obs), index=label_n.to_numpy()).groupby(level=0, sort=True).indices
    names_of = {str(name): np.asarray(found, np.intp) for name, found in found_of.items()}
    by_name = np.argsort(np.asarray(adata.obs_names, dtype=str), kind="stable")
    rank_n = np.empty(adata.n_obs, np.intp)
    rank_n[by_name] = np.arange(adata.n_obs)
    rows: dict[str, Positions] = {}
    left_out: dict[str, str] = {}
    for name in sorted(names_of):
        found = names_of[name]
        if len(found) < min_cells:
            left_out[name] = f"{len(found)} cells, expected at least {min_cells}"
        else:
            rows[name] = found[np.argsort(rank_n[found])]
    _judge(sample_key, rows, left_out)
    return Individuals(tuple(rows), tuple(rows.values()), type_n, types, constant_columns(obs, rows), left_out)


def _judge(sample_key: str, rows: dict[str, Positions], left_out: dict[str, str]) -> None:
    if len(rows) < FEWEST:
        raise SetupError(
            f"obs[{sample_key!r}] has {len(rows)} individuals with enough cells ({some(rows) or 'none'}); expected at "
            f"least {FEWEST}. {_words(left_out)}Lower min_cells, or name the column that tells individuals apart."
        )
    if left_out:
        warn(f"{_words(left_out)}The other {len(rows)} individuals are analyzed.")


def _words(left_out: dict[str, str]) -> str:
    if not left_out:
        return ""
    who = some([f"{name} ({why.partition(',')[0]})" for name, why in left_out.items()])
    least = next(iter(left_out.values())).rpartition(" ")[2]
    return f"{len(left_out)} individuals have too few cells and are left out: {who}; expected at least {least} each. "


def _column(obs: pd.DataFrame, key: str, what: str) -> pd.Series:
    if key not in obs:
        raise SetupError(f"obs has no column {key!r}; it has: {some(obs, 20) or 'none'}. Name the column with {what}.")
    column = obs[key]
    known = column.notna()
    return column[known].astype(str).reindex(column.index).where(known)


def _types(obs: pd.DataFrame, key: str | None) -> tuple[Positions, tuple[str, ...]]:
    if key is None:
        return np.zeros(len(obs), np.intp), ("",)
    label_n = _column(obs, key, "the cell type of each cell")
    if label_n.isna().any():
        raise SetupError(
            f"obs[{key!r}] is missing for {int(label_n.isna().sum())} cells, the first being "
            f"{str(obs.index[label_n.isna()][0])!r}; expected a cell type for each. Drop these cells or label them."
        )
    names = sorted(set(label_n))
    return pd.Index(names).get_indexer(pd.Index(label_n)).astype(np.intp), tuple(names)


def constant_columns(obs: pd.DataFrame, rows: dict[str, Positions]) -> pd.DataFrame:
    """Columns with one value (or none) within each individual, one row per individual, kinds kept."""
    first = np.array([found[0] for found in rows.values()], np.intp)
    which = np.concatenate([np.full(len(found), s) for s, found in enumerate(rows.values())])
    every = np.concatenate(list(rows.values()))
    kept = {}
    for name in obs.columns:
        code = pd.factorize(obs[name].iloc[every])[0]
        head = code[np.searchsorted(which, np.arange(len(rows)))]
        if (code == head[which]).all():
            kept[str(name)] = obs[name].iloc[first].to_numpy() if obs[name].dtype == object else obs[name].array[first]
    return pd.DataFrame(kept, index=pd.Index(list(rows)))
