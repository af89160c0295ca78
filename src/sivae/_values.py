"""What an AnnData shows of its stored values: the whole, or the rows and columns of a view, whatever holds them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from sivae._checks import check_adata
from sivae._damage import Damaged, place_of, state
from sivae._errors import SetupError, SiVAEError, some
from sivae._stored import Grid, is_on_disk, open_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._damage import State
    from sivae._stored import Stored

    Positions: TypeAlias = NDArray[np.intp]


@final
@dataclass(frozen=True)
class Values:
    """Rows and columns of a stored matrix, in any order: what an AnnData, or a view of one, shows."""

    stored: Stored
    rows: Positions
    columns: Positions
    where: str
    """"X", or "layers['counts']"."""
    names: tuple[Any, Any]
    """Names of the stored rows and columns."""
    place: str = ""
    """The file or store, in words, where they lie in one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return len(self.rows), len(self.columns)

    def take(self, columns: Positions) -> Values:
        """Some of the columns, in the order asked."""
        return replace(self, columns=self.columns[columns])

    def take_rows(self, rows: Positions) -> Values:
        """Some of the rows, in the order asked; what was read to open the matrix is not read again."""
        return replace(self, rows=self.rows[rows])

    def estimate(self) -> float:
        """Values stored, nearly; something may be read to find out."""
        with _plainly(self.where, self.names, self.place):
            return self.stored.estimate()

    def windows(self, size: int, *, by_column: bool = False) -> Positions:
        """Edges of windows of at most `size` rows (columns), or of one chunk where chunks are larger.

        They are at edges of chunks where there are chunks, and none is then read for two windows.
        """
        shown, plan = self.columns if by_column else self.rows, self.stored.plan
        n = len(shown)
        if not isinstance(plan, Grid) or not _ascends(shown):
            return np.append(np.arange(0, n, size), n)
        stored_edges = plan.column_edges if by_column else plan.row_edges
        chunks = np.unique(np.searchsorted(shown, stored_edges))  # of what is shown
        edges = [0]
        while edges[-1] < n:
            fits = int(np.searchsorted(chunks, edges[-1] + size, side="right"))
            later = int(np.searchsorted(chunks, edges[-1], side="right"))
            edges.append(int(chunks[max(fits - 1, later)]))
        return np.array(edges)

    def pieces(self) -> Iterator[tuple[Positions, Positions, Any]]:
        """Pass over the values once, a tile at a time.

        Yields
        ------
        Rows, columns, and the values there, (rows, columns): a NumPy array or a SciPy CSR or CSC matrix. Every pair
        of a row and a column comes once.
        """
        row_order, rows = _in_order(self.rows)
        column_order, columns = _in_order(self.columns)
        tiles = self.stored.plan.tiles(_once(rows), _once(columns), self.stored.shape)
        before = self._state()
        for tile in tiles:
            first, last = np.searchsorted(rows, (tile[0].start, tile[0].stop))
            left, right = np.searchsorted(columns, (tile[1].start, tile[1].stop))
            inside = rows[first:last] - tile[0].start, columns[left:right] - tile[1].start
            block = self._read(*tile)
            if self._state() != before:
                raise SetupError(
                    f"{self.where} was written to while it was read{self.place}. "
                    "Do the same again when nothing writes there."
                )
            yield row_order(first, last), column_order(left, right), _pick(block, *inside)

    def _read(self, rows: slice, columns: slice) -> Any:
        with _plainly(self.where, self.names, self.place):
            return self.stored.read(rows, columns)

    def _state(self) -> tuple[State, ...]:
        with _plainly(self.where, self.names, self.place):
            return tuple(state(handle) for handle in self.stored.handles())


@contextmanager
def _plainly(where: str, names: tuple[Any, Any], place: str) -> Iterator[None]:
    """Say what is wrong with stored values; h5py, zarr, their codecs and Dask raise what they like."""
    try:
        yield
    except Damaged as error:
        raise SetupError(
            f"{where} is damaged{place}: {damage(error, names)}. Copy or write it again from its source."
        ) from error
    except (SiVAEError, MemoryError):
        raise
    except Exception as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise SetupError(
            f"{where} cannot be read from where it is stored{place}: {reason}. "
            "Check that the file is whole and in place."
        ) from error


def damage(error: Damaged, names: tuple[Any, Any]) -> str:
    """What is wrong, and at which cell or gene."""
    if error.number is None:
        return str(error)
    return f"{error} ({('cell', 'gene')[error.axis]} {str(names[error.axis][error.number])!r})"


def _place(matrix: Any) -> str:
    """Where a matrix is stored, in words, if it is in a file or store and that can be said."""
    with suppress(Exception):
        return f" ({place_of(getattr(matrix, 'group', matrix))})" if is_on_disk(matrix) else ""
    return ""


def _in_order(wanted: Positions) -> tuple[Callable[[Any, Any], Positions], Positions]:
    """Where the sorted positions are among the wanted, from one to another, and the sorted positions."""
    if _ascends(wanted):
        return np.arange, wanted
    order = np.argsort(wanted, kind="stable")
    return lambda first, last: order[first:last], wanted[order]


def _once(ordered: Positions) -> Positions:
    return ordered if _ascends(ordered) else np.unique(ordered)


def _ascends(wanted: Positions) -> bool:
    return bool((wanted[1:] > wanted[:-1]).all())


def _pick(block: Any, rows: Positions, columns: Positions) -> Any:
    """Sorted rows and columns of a block."""
    every_row, every_column = (
        len(part) == length and bool((np.diff(part) == 1).all())
        for part, length in zip((rows, columns), block.shape, strict=True)
    )
    if getattr(block, "format", None) == "csc":  # its columns are what is fast to take
        block = block if every_column else block[:, columns]
        return block if every_row else block[rows]
    block = block if every_row else block[rows]
    return block if every_column else block[:, columns]


def first(adata: AnnData, values: Values, wrong: Callable[[Any], Any]) -> str:
    """The first stored value that is wrong, in words: "X holds -1 (cell 'c7', gene 'g3')"."""
    for rows, columns, block in values.pieces():
        dense = isinstance(block, np.ndarray)
        found = np.asarray(wrong(block if dense else block.data))
        if not found.any():
            continue
        at: Any
        if dense:
            at = np.argwhere(found)[0]
            value = block[tuple(at)]
        else:
            coo, number = block.tocoo(), int(np.flatnonzero(found)[0])
            at, value = (coo.row[number], coo.col[number]), coo.data[number]
        return holds(adata, values.where, int(rows[at[0]]), int(columns[at[1]]), value)
    return f"{values.where} holds such a value"


def holds(adata: AnnData, where: str, row: int, column: int, value: Any) -> str:
    """Where a value is, in words."""
    return f"{where} holds {value:g} (cell {str(adata.obs_names[row])!r}, gene {str(adata.var_names[column])!r})"


# ------------------------------------------------------------------------------------------------------------ the door


def values_of(adata: AnnData, layer: str | None) -> Values:
    """Open X or a layer of an AnnData; nothing but its shape is read.

    Raises
    ------
    SetupError
        If it is not there, is stored as something that cannot be read, is damaged, or does not hold numbers.
    """
    check_adata(adata)
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise SetupError(
            f"The AnnData is empty: {adata.n_obs} cells x {adata.n_vars} genes; expected at least one of each. "
            "Check the filters before it."
        )
    whole, rows, columns = behind(adata)
    where = f"layers[{layer!r}]" if layer else "X"
    names = whole.obs_names, whole.var_names
    matrix = _matrix(whole, layer)
    place = _place(matrix)
    with _plainly(where, names, place):
        stored = open_stored(matrix, where)
    if stored.dtype.kind not in "biuf":
        raise SetupError(f"{where} holds values of type {stored.dtype}; expected numbers. Convert it first.")
    return Values(stored, rows, columns, where, names, place)


def has_values(adata: AnnData, layer: str | None) -> bool:
    """Whether X (or the layer) is there."""
    try:
        _matrix(behind(adata)[0], layer)
    except SetupError:
        return False
    return True


def part_of(adata: AnnData, rows: Any = slice(None), genes: Sequence[str] | None = None) -> AnnData:
    """`adata[rows, genes]`, also of a view of a backed AnnData, of which anndata takes no view."""
    if not (adata.is_view and adata.isbacked):
        return adata[rows] if genes is None else adata[rows, genes]
    whole, at_rows, at_columns = behind(adata)
    taken = at_columns if genes is None else at_columns[adata.var_names.get_indexer(list(genes))]
    return whole[at_rows[rows], taken]


def frame(table: Any) -> pd.DataFrame:
    """`obs` or `var` as a data frame, read into memory where it was opened lazily."""
    found: pd.DataFrame = table.to_memory() if hasattr(table, "to_memory") else table
    return found


def refuse_view(adata: AnnData, call: str) -> None:
    """Refuse what is no AnnData, and to write into a view of values on disk, which anndata would read whole first."""
    check_adata(adata)
    if not adata.is_view:
        return
    whole = behind(adata)[0]
    if whole.isbacked or any(is_on_disk(matrix) for matrix in (whole.X, *whole.layers.values())):
        raise SetupError(
            f"This AnnData is a view of one whose values lie in a file, and anndata cannot write into such a view. "
            f"Call {call} on the whole AnnData; views taken afterwards have what it wrote."
        )


def behind(adata: AnnData) -> tuple[AnnData, Positions, Positions]:
    """The AnnData that a view is taken of, and the rows and columns it shows: to read X of the view reads too much."""
    whole: Any = getattr(adata, "_adata_ref", None) if adata.is_view else None
    if whole is None:
        return adata, np.arange(adata.n_obs), np.arange(adata.n_vars)
    view: Any = adata
    return whole, np.arange(whole.n_obs)[view._oidx], np.arange(whole.n_vars)[view._vidx]


def _matrix(adata: AnnData, layer: str | None) -> Any:
    try:
        matrix = adata.X if not layer else adata.layers[layer] if layer in adata.layers else None
    except Exception as error:  # a file that is gone or closed, or has no X, or is damaged
        raise SetupError(
            f"{'X' if not layer else f'layers[{layer!r}]'} cannot be opened in the file behind this AnnData: {error}. "
            "Check that the file is in place and was not closed; then make the AnnData anew."
        ) from error
    if layer and matrix is None:
        there, hint = some(adata.layers) or "none are there", "Name one of these, or leave layer out to use X."
        if layer == "raw" and adata.raw is not None:
            hint = "adata.raw is no layer: to model it, pass adata.raw.to_adata()."
        raise SetupError(f"Found no layer {layer!r}, expected one of: {there}. {hint}")
    if matrix is None:
        raise SetupError(
            "Found no X in the AnnData (it is None), expected cells x genes. "
            "Give the name of a layer that holds the values: layer='counts'."
        )
    return matrix
