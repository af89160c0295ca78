"""An h5ad file from blocks of cells that anything can give: one pass, one block in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sivae._checks import a_path, names
from sivae._door import door
from sivae._errors import SetupError, some
from sivae._values import frame
from sivae._whole import check_place, whole_file
from sivae.io._growing import Growing
from sivae.io._h5 import new_file
from sivae.io._types import as_type, fitting, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import DTypeLike

WHAT = "The blocks"


@door
def write_blocks(
    path: str | Path,
    blocks: Iterable[Any],
    *,
    var_names: Sequence[str],
    obs_names: Sequence[str] | None = None,
    dtype: DTypeLike | None = None,
) -> Path:
    """An h5ad file with a CSR matrix from blocks of cells x genes, of which one at a time is in memory.

    So any reader, loader or generator becomes a store that training reads fast: `anndata.read_h5ad(path,
    backed="r")`, or `sivae fit`. What is known of the cells is in memory until the end.

    Parameters
    ----------
    path
        The file to write. One that is there is replaced when the new one is whole.
    blocks
        Each a NumPy array, a SciPy matrix or what `numpy.asarray` takes, (c, g); or a pair of such and what is known
        of its cells: a frame whose index are their names, or a list of names; or an AnnData, of which `X` and `obs`
        are taken. All of one kind.
    var_names
        Names of the genes, in the order of the columns.
    obs_names
        Names of all cells, where blocks have none. Without any they are numbered.
    dtype
        Type of the values; that of the first block if None.

    Returns
    -------
    The path.

    Raises
    ------
    SetupError
        If names occur twice, a block is no table of numbers of the right width, blocks know different things of
        their cells, a value does not fit the type, or there is no cell. Values are not judged otherwise: set-up is
        what finds those that are negative or missing.
    OptionError
        If `dtype` is none that sparse matrices hold.
    ArtefactError
        If it cannot be written; nothing is left of it after this or any other error.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata, numpy as np, sivae
    >>> rng = np.random.default_rng(0)
    >>> blocks = (rng.poisson(0.5, (100, 3)) for _ in range(5))
    >>> path = sivae.io.write_blocks(Path(tempfile.mkdtemp()) / "cells.h5ad", blocks, var_names=["a", "b", "c"])
    >>> anndata.read_h5ad(path, backed="r").shape
    (500, 3)
    """
    genes = names("var_names", var_names)
    cells = None if obs_names is None else names("obs_names", obs_names)
    for axis, given in (("var_names", genes), ("obs_names", cells or [])):
        refuse_twice(axis, given)
    wanted = None if dtype is None else as_type(dtype)
    target = check_place(a_path("path", path), what=WHAT, example="cells.h5ad")
    with whole_file(target, what=WHAT) as temporary:
        _write(temporary, blocks, genes, cells, wanted)
    return target


def _write(
    path: Path, blocks: Iterable[Any], genes: list[str], cells: list[str] | None, dtype: np.dtype[Any] | None
) -> None:
    import pandas as pd
    from anndata import AnnData
    from anndata.io import write_elem

    matrix, known = None, []
    with new_file(path) as (file, steady):
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for number, block in enumerate(blocks, 1):
            values, obs = _taken_apart(block)
            csr = _as_csr(values, len(genes), number)
            if matrix is None:
                dtype = csr.dtype if dtype is None else dtype
                matrix = Growing(file, "X", width=len(genes), dtype=dtype)
            csr.data = fitting(
                csr.data, matrix.dtype, what=f"Block {number}", where="the type of the file",
                hint="Name one that holds all values, such as dtype='float32'.",
            )  # fmt: skip
            matrix.add(csr)
            steady.check()
            known.append(_known(obs, csr.shape[0], number))
        if matrix is None or matrix.length == 0:
            raise SetupError("The blocks hold no cell, expected some. Check that the reader was not used up before.")
        matrix.finish()
        slim = AnnData(obs=_joined(known, cells, matrix.length), var=pd.DataFrame(index=pd.Index(genes)))
        slim.strings_to_categoricals()
        for name in ("obs", "var"):
            write_elem(file, name, getattr(slim, name))
        for name in ("obsm", "varm", "obsp", "varp", "uns", "layers"):
            write_elem(file, name, {})


def _taken_apart(block: Any) -> tuple[Any, Any]:
    """Values of a block, and what is known of its cells."""
    if isinstance(block, tuple) and len(block) == 2:
        return block
    if hasattr(block, "obs_names") and hasattr(block, "X"):
        return block.X, _frame_of(block)
    return block, None


def _frame_of(block: Any) -> pd.DataFrame:
    """`obs` of an AnnData, or of a part of a collection of them, where it is a mapping."""
    import pandas as pd

    obs: Any = frame(getattr(block, "obs", None))
    if isinstance(obs, pd.DataFrame):
        return obs
    keys = [] if obs is None else list(obs.keys())
    return pd.DataFrame({key: obs[key] for key in keys}, index=pd.Index(block.obs_names))


def _as_csr(values: Any, n_genes: int, number: int) -> Any:
    found: Any = values if sparse.issparse(values) else np.asarray(values)
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise SetupError(
            f"Block {number} has the shape {found.shape} and holds values of type {found.dtype}; expected numbers of "
            "cells x genes. Give a matrix, or a pair of a matrix and what is known of its cells."
        )
    if found.shape[1] != n_genes:
        raise SetupError(
            f"Block {number} has {found.shape[1]} genes, expected {n_genes}, one for each of var_names. "
            "Bring all blocks to the same genes in the same order first."
        )
    found = found.astype(storable(found.dtype), copy=False)
    csr = sparse.csr_matrix(found, copy=sparse.issparse(found))
    csr.sum_duplicates()
    return csr


def _known(obs: Any, n_cells: int, number: int) -> Any:
    """A frame of what is known of the cells of a block; None where nothing is."""
    import pandas as pd

    if obs is None:
        return None
    table = obs if isinstance(obs, pd.DataFrame) else pd.DataFrame(index=pd.Index([str(name) for name in obs]))
    if len(table) != n_cells:
        raise SetupError(
            f"Block {number} has {n_cells} cells and knows {len(table)}, expected one name or row for each. "
            "Give those of this block alone."
        )
    return table


def _joined(known: list[Any], cells: list[str] | None, n: int) -> pd.DataFrame:
    """What is known of all cells, their names as the index."""
    import pandas as pd

    given = [table for table in known if table is not None]
    if given and (len(given) < len(known) or len({tuple(table.columns) for table in given}) > 1):
        raise SetupError(
            f"Of {len(known)} blocks {len(given)} know something of their cells, with the columns "
            f"{some(dict.fromkeys(str(list(table.columns)) for table in given))}; expected the same of every block."
        )
    obs = pd.concat(given) if given else pd.DataFrame(index=pd.Index([str(row) for row in range(n)]))
    if cells is not None:
        if len(cells) != n:
            raise SetupError(f"Found {len(cells)} obs_names, expected {n}, one for each cell of the blocks.")
        obs.index = pd.Index(cells)
    obs.index = obs.index.astype(str)
    refuse_twice("obs_names", obs.index)
    return obs


def refuse_twice(axis: str, given: Iterable[str]) -> None:
    """Refuse names that occur twice.

    Raises
    ------
    SetupError
        Naming them.
    """
    twice = list(_twice(given))
    if twice:
        raise SetupError(
            f"{axis} are not unique: {some(twice)} occur more than once; expected each name once, because everything "
            "is matched by name. Make them unique first."
        )


def _twice(given: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in given:
        if name in seen:
            yield name
        seen.add(name)
