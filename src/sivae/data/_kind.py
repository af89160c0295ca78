"""What kind of numbers values are: counts, log-normalised, or what cannot be modelled; the cell and gene are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import SetupError, some
from sivae._values import first, holds, part_of, values_of
from sivae.data._matrix import Matrix, as_matrix, survey

LARGEST_LOG = 20.0
"""No logarithm of a count of any cell is above this."""
SAMPLE = 200
"""Cells that are looked at."""
AT_ONCE = 2**22
SAME_TOTAL = 0.01
"""Relative spread of the cells' totals at which they count as the same."""
NEAR_WHOLE = 0.02


@dataclass(frozen=True)
class Logged:
    """Values that look like log1p of size-corrected counts."""

    words: str
    """Why."""
    sure: bool
    """The counts shine through; without that the values are merely fractions of the right size."""


def place(adata: AnnData, layer: str | None, wrong: Callable[[Any], Any]) -> str:
    """The first stored value that is wrong, in words (see `first`)."""
    return first(adata, values_of(adata, layer), wrong)


def is_fraction(values: Any) -> Any:
    """Which values are no whole numbers."""
    return values != np.rint(values)


def describe(adata: AnnData, layer: str | None) -> str:
    """What keeps values from being counts, in words."""
    found = survey(adata, layer)
    if found.smallest < 0:
        return place(adata, layer, lambda values: values < 0)
    logged = looks_logged(adata, layer, smallest=found.smallest, largest=found.largest)
    return place(adata, layer, is_fraction) + (f". They look log-normalised: {logged.words}" if logged else "")


def looks_logged(adata: AnnData, layer: str | None, *, smallest: float, largest: float) -> Logged | None:
    """Whether values that are no whole numbers look log-normalised, from some cells and from their range."""
    if smallest < 0 or largest >= LARGEST_LOG:
        return None
    rows = np.unique(np.linspace(0, adata.n_obs - 1, min(SAMPLE, adata.n_obs)).astype(np.intp))
    return _judge(as_matrix(part_of(adata, rows), layer, np.arange(adata.n_vars)), largest)


def _judge(values_cg: Matrix, largest: float) -> Logged | None:
    values: Any = values_cg
    back = values.toarray() if sparse.issparse(values_cg) else values
    seen = back[back != 0]
    if seen.size == 0 or is_fraction(seen).mean() <= 0.5:
        return None
    back = np.expm1(back.astype(np.float64))
    total_c = back.sum(axis=1)
    total_c = total_c[total_c > 0]
    if len(total_c) > 1 and back.shape[1] > 1 and total_c.std() < SAME_TOTAL * total_c.mean():
        return Logged(f"expm1 of each cell's values sums to about {np.median(total_c):,.0f}", sure=True)
    if _are_multiples(back):
        return Logged("expm1 of each cell's values are whole multiples of its smallest", sure=True)
    return Logged(f"fractions, none negative and none above {largest:.3g}", sure=False)


def _are_multiples(back_cg: NDArray[np.float64]) -> bool:
    """Whether what is in a cell are multiples of the smallest, as counts divided by one number are."""
    judged = []
    for row in back_cg:
        seen = row[row > 0]
        ratio = seen / seen.min() if seen.size else seen
        if len(np.unique(np.rint(ratio))) > 2:
            judged.append(bool((np.abs(ratio - np.rint(ratio)) < NEAR_WHOLE).mean() > 0.95))
    return len(judged) > 0 and float(np.mean(judged)) > 0.8


# ------------------------------------------------------------------------------------------------- when they are read


def refuse_values(
    values_ng: Matrix,
    adata: AnnData,
    at: NDArray[np.intp],
    *,
    layer: str | None,
    counts: bool,
    positive: bool,
    rows: NDArray[np.intp] | None = None,
) -> None:
    """Refuse values that are not of the kind that set-up found: the data may be others, or have changed since.

    Parameters
    ----------
    values_ng
        As they were read from X or the layer of `adata`, genes at the positions `at`.
    counts, positive
        Set-up found whole numbers of at least 0; or, without counts, log1p will be taken.
    rows
        Cells of `adata` that were read; all if not given.

    Raises
    ------
    SetupError
        Naming the first of them.
    """
    values: Any = values_ng
    is_sparse = sparse.issparse(values_ng)
    flat = values.data if is_sparse else values.reshape(-1)
    found = _first_wrong(flat, counts=counts, positive=positive or counts)
    if found is None:
        return
    row, column = divmod(found, values_ng.shape[1])
    if is_sparse:
        row, column = int(np.searchsorted(values.indptr, found, side="right")) - 1, int(values.indices[found])
    row = row if rows is None else int(rows[row])
    where = f"layers[{layer!r}]" if layer else "X"
    words, value = holds(adata, where, row, int(at[column]), flat[found]), float(flat[found])
    if not np.isfinite(value):
        raise SetupError(f"{words}; expected finite numbers. Mend or drop it first.")
    if value < 0:
        raise SetupError(f"{words}; expected numbers of at least 0. Mend it, or {_where_counts(adata, layer)}.")
    largest = float(flat.max())
    logged = _judge(values_ng[:SAMPLE], largest) if flat.min() >= 0 and largest < LARGEST_LOG else None
    looks = f" They look log-normalised: {logged.words}." if logged else ""
    raise SetupError(
        f"{words}; expected counts, whole numbers, as the model was set up with.{looks} "
        f"Put the counts there, or {_where_counts(adata, layer)}."
    )


def _where_counts(adata: AnnData, layer: str | None) -> str:
    others = [name for name in adata.layers if name != layer]
    there = f"the layers here are {some(others)}" if others else "no other layer is here"
    return f"set up and train again with what holds them ({there})"


def _first_wrong(flat: NDArray[Any], *, counts: bool, positive: bool) -> int | None:
    """Position of the first value that is not finite, negative, or no whole number, as asked; in that order of harm."""
    tests: list[Callable[[Any], Any]] = [lambda part: ~np.isfinite(part)]
    if positive:
        tests.append(lambda part: part < 0)
    if counts:
        tests.append(is_fraction)
    for test in tests:
        for start in range(0, len(flat), AT_ONCE):
            wrong = test(flat[start : start + AT_ONCE])
            if wrong.any():
                return start + int(np.argmax(wrong))
    return None
