"""An AnnData whose values lie in a file, a store or Dask arrays, written to a new file without holding them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sivae._checks import a_path, check_adata
from sivae._damage import Damaged
from sivae._door import door
from sivae._errors import ArtefactError, SiVAEError
from sivae._stored import path_of, reads
from sivae._values import behind, frame
from sivae._whole import check_place, whole_file
from sivae.io._copy import copy_matrix, copy_raw
from sivae.io._h5 import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from anndata import AnnData

WHAT = "The AnnData"


@door
def write_h5ad(adata: AnnData, path: str | Path, *, as_csr: bool = False) -> Path:
    """An h5ad file with all that the AnnData holds; values outside memory are copied a part at a time.

    anndata's own `write_h5ad` reads the values of a view into memory, and what was annotated with `backed="r"` it
    does not write elsewhere without. Views may have any order of cells and genes.

    Parameters
    ----------
    adata
        Cells x genes in memory, backed, or with Dask arrays; or a view of one.
    path
        The file to write. One that is there is replaced when the new one is whole.
    as_csr
        Write what is stored gene by gene (CSC) cell by cell (CSR), which is what training reads fast. From a file it
        takes one pass over the values to count them, and one for every quarter of the available memory that they fill
        at 32 bytes each.

    Returns
    -------
    The path.

    Raises
    ------
    ArtefactError
        If it cannot be written there, or is the file that values are read from; nothing is left of it then.
    SetupError
        If values cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata, sivae
    >>> folder = Path(tempfile.mkdtemp())
    >>> sivae.datasets.planted(50, 10, n_factors=1, seed=0).write_h5ad(folder / "cells.h5ad")
    >>> cells = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    >>> cells.obs["mine"] = 1.0
    >>> sivae.io.write_h5ad(cells[::2], folder / "half.h5ad").name
    'half.h5ad'
    >>> anndata.read_h5ad(folder / "half.h5ad").shape
    (25, 10)
    """
    check_adata(adata)
    target = check_place(a_path("path", path), what=WHAT, example="cells.h5ad")
    _refuse_own_file(adata, target)
    with whole_file(target, what=WHAT) as temporary:
        write_into(adata, temporary, as_csr=as_csr)
    return target


def write_into(adata: AnnData, path: Path, *, raw: Any = None, as_csr: bool = False) -> None:
    """Write a new file in place; `raw` is that of an open file, where the AnnData was opened without it.

    Raises
    ------
    ArtefactError
        If it cannot be written, or what is copied not be read.
    """
    try:
        with new_file(path) as (file, steady):
            _fill(file, steady.check, adata, raw, as_csr=as_csr)
    except SiVAEError:
        raise
    except (OSError, RuntimeError, ValueError, Damaged) as error:  # HDF5 has several for what it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        copied = ", and that the data are whole and in place" if raw is not None or any(_sources(adata)) else ""
        raise ArtefactError(
            f"The annotated cells could not be written to {path.name}: {reason}. Check that there is room{copied}."
        ) from error


def _fill(file: Any, check: Callable[[], None], adata: AnnData, raw: Any, *, as_csr: bool) -> None:
    """Write all parts into an open file; `check` says early that a write has failed."""
    whole, rows, columns = behind(adata)
    shown = (rows, columns) if adata.is_view else (None, None)
    names = whole.obs_names, whole.var_names
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    for name, table in zip(("obs", "var"), _tables(adata), strict=True):
        _put(file, name, table)
    for name in ("obsm", "varm", "obsp", "varp", "uns"):
        _put(file, name, {key: value if reads(value) else frame(value) for key, value in getattr(adata, name).items()})
    _put(file, "layers", {})
    check()
    if whole.X is not None:
        copy_matrix(whole.X, file, "X", *shown, names=names, as_csr=as_csr)
    for name, matrix in whole.layers.items():
        check()
        copy_matrix(matrix, file["layers"], name, *shown, names=names, as_csr=as_csr)
    check()
    raw = _raw_in_file(whole) if raw is None else raw
    if raw is not None:
        copy_raw(raw, file, shown[0])
    elif adata.raw is not None:
        _put_raw(file.create_group("raw"), adata.raw)


def _put(file: Any, name: str, value: Any) -> None:
    """Write what is no matrix of values.

    Raises
    ------
    ArtefactError
        If such a thing has no place in a file.
    """
    from anndata.io import write_elem

    try:
        write_elem(file, name, value)
    except (SiVAEError, OSError):
        raise
    except Exception as error:  # anndata and h5py have several for what they do not know
        key = re.search("while writing key '([^']*)'", "".join(getattr(error, "__notes__", [])))
        raise ArtefactError(
            f"{name}{'' if key is None else f'[{key[1]!r}]'} could not be written: {error}; expected numbers, texts, "
            "tables or dictionaries of these. Convert it, or take it out first."
        ) from error


def _put_raw(group: Any, raw: Any) -> None:
    """Write the `raw` of an AnnData, whose frame may be opened lazily."""
    group.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
    copy_matrix(raw.X, group, "X")
    _put(group, "var", frame(raw.var))
    _put(group, "varm", dict(raw.varm))


def _tables(adata: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`obs` and `var` as anndata writes them, texts that repeat as categories; those of the AnnData stay."""
    from anndata import AnnData

    slim = AnnData(obs=frame(adata.obs).copy(), var=frame(adata.var).copy())
    slim.strings_to_categoricals()
    return slim.obs, slim.var


def _raw_in_file(whole: AnnData) -> Any:
    """`raw` of a backed file, of which anndata would read all."""
    return whole.file["raw"] if whole.isbacked and "raw" in whole.file else None


def _refuse_own_file(adata: AnnData, target: Path) -> None:
    for source in _sources(adata):
        if target.exists() and source.exists() and source.samefile(target):
            raise ArtefactError(
                f"{target} holds the values that are to be written there, expected another file. Write beside it; it "
                "can take the old one's place when it is whole and the AnnData is closed."
            )


def _sources(adata: AnnData) -> Iterator[Path]:
    """Files that values are read from, as far as that can be seen: not behind Dask arrays."""
    whole = behind(adata)[0]
    if whole.isbacked:
        yield Path(str(whole.filename))
    for matrix in (whole.X, *whole.layers.values()):
        found = path_of(matrix)
        if found is not None:
            yield found
