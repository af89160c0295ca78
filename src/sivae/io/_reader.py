"""An AnnData whose values are read by any function that gives rows from one to another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from scipy import sparse

from sivae._checks import names, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._extras import require
from sivae.io._blocks import refuse_twice
from sivae.io._types import fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

Read = Callable[[int, int], Any]
_NUMBER: Final = count()


@door
def from_reader(
    read: Read,
    *,
    obs: pd.DataFrame | Sequence[str],
    var_names: Sequence[str],
    chunk_size: int = 8192,
) -> AnnData:
    """An AnnData whose X is read by a function when it is needed, some rows at a time (a Dask array).

    For readers with random access: a data base, a store of another format, an array of files. Training copies the
    modelled genes into its temporary file in one pass if they are large, so a slow reader is slow once;
    `sivae.io.write_h5ad` writes it all. For readers that only go forward there is `sivae.io.write_blocks`.

    Parameters
    ----------
    read
        `read(start, stop)` gives the rows from `start` to before `stop`: a NumPy array or a SciPy matrix, (stop -
        start, g), the same values at every call. It is called from one thread at a time.
    obs
        What is known of the cells, a frame whose index are their names; or their names.
    var_names
        Names of the genes, in the order of the columns.
    chunk_size
        Rows read at a time.

    Returns
    -------
    AnnData, cells x genes. The first row is read at once, to see what the function gives; the others later.

    Raises
    ------
    SetupError
        If the function gives something else than these rows and genes, or values that the type of the first row does
        not hold.
    OptionError
        If it is no function, or `chunk_size` is not at least 1.
    MissingExtraError
        If Dask is not installed.

    Examples
    --------
    >>> import numpy as np, sivae
    >>> counts = np.random.default_rng(0).poisson(0.5, (1000, 3))
    >>> cells = sivae.io.from_reader(
    ...     lambda start, stop: counts[start:stop],
    ...     obs=[f"cell{i}" for i in range(1000)],
    ...     var_names=["a", "b", "c"],
    ... )
    >>> cells.shape, bool((cells.X[:10].compute() == counts[:10]).all())
    ((1000, 3), True)
    """
    array = require("dask.array", extra="dask")
    import pandas as pd
    from anndata import AnnData

    if not callable(read):
        raise OptionError(f"read is {read!r}; expected a function read(start, stop). Pass one that gives those rows.")
    size = whole_number("chunk_size", chunk_size, least=1, hint="8192 is the default.")
    table = obs if isinstance(obs, pd.DataFrame) else pd.DataFrame(index=pd.Index(names("obs", obs)))
    genes = names("var_names", var_names)
    refuse_twice("var_names", genes)
    refuse_twice("obs_names", table.index)
    if len(table) == 0:
        raise SetupError("obs holds no cell, expected some. Check what the reader was opened on.")
    part = _Part(read, len(genes))
    first = part.like = part.rows(0, 1)
    starts = range(0, len(table), size)
    chunks = (tuple(min(size, len(table) - start) for start in starts), (len(genes),))
    meta = first[:0]
    name = f"sivae-reader-{os.getpid()}-{next(_NUMBER)}"
    graph = {(name, number, 0): (part.rows, start, start + chunks[0][number]) for number, start in enumerate(starts)}
    values = array.Array(graph, name, chunks, dtype=first.dtype, meta=meta)
    return AnnData(values, obs=table, var=pd.DataFrame(index=pd.Index(genes)))


@final
class _Part:
    """What a function gives of some rows, looked at, and made CSR if it is sparse; all are like the first one."""

    def __init__(self, read: Read, n_genes: int) -> None:
        self.read, self.n_genes, self._lock = read, n_genes, threading.Lock()
        self.like: Any = None

    def rows(self, start: int, stop: int) -> Any:
        with self._lock:
            given = self.read(start, stop)
        found: Any = given
        if sparse.issparse(found):
            found = sparse.csr_matrix(given)
        shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
        if shape != (stop - start, self.n_genes) or getattr(dtype, "kind", "") not in tuple("biuf"):
            what = type(found).__name__ + (f" {shape}" if shape else "") + (f" of {dtype}" if dtype else "")
            raise SetupError(
                f"read({start}, {stop}) gave {what}; expected numbers of {stop - start} cells x {self.n_genes} genes, "
                "a NumPy array or a SciPy matrix. Mend the function, or name the genes that it gives in var_names."
            )
        found = found if sparse.issparse(found) else np.asarray(found)
        return found if self.like is None else self._like_first(found, f"read({start}, {stop})")

    def _like_first(self, found: Any, call: str) -> Any:
        """The same values in the form and type that the array was said to have."""
        dense, dtype = isinstance(self.like, np.ndarray), self.like.dtype
        if isinstance(found, np.ndarray) != dense:
            found = found.toarray() if dense else sparse.csr_matrix(found)
        values = fitting(
            found if dense else found.data, dtype, what=call, where="the type of row 0",
            hint="Let the function give one type that holds all values, such as float32.",
        )  # fmt: skip
        return values if dense else sparse.csr_matrix((values, found.indices, found.indptr), shape=found.shape)
