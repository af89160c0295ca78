"""Files of cells, small or large: read whole, or opened so that values are read when they are needed; and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from sivae import _damage
from sivae._errors import SetupError, SiVAEError, some
from sivae._memory import available
from sivae._run._links import check_links
from sivae._values import damage, frame

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

SHARE: Final = 0.25
"""Share of the available memory that the values of a file may take before they are left on disk."""
SPARSE: Final = ("csr_matrix", "csc_matrix")
READERS: Final = {
    ".h5": "scanpy.read_10x_h5(path)",
    ".loom": "anndata.io.read_loom(path)",
    ".mtx": "scanpy.read_10x_mtx(folder), or anndata.io.read_mtx(path).T",
    ".csv": "anndata.io.read_csv(path)",
    ".tsv": "anndata.io.read_csv(path, delimiter='\\t')",
    ".txt": "anndata.io.read_text(path)",
    ".xlsx": "anndata.io.read_excel(path, sheet)",
    ".h5mu": "mudata.read_h5mu(path)[modality]",
}
"""What makes an AnnData of other files."""


@final
@dataclass(frozen=True)
class Cells:
    """Cells of a run, and how they are written: whole, or with their values copied from the file they are in."""

    adata: AnnData
    root: Any = None
    """The open file or store that the values were left in; None if they are in memory."""

    def notes(self, name: str, layer: str | None) -> Iterator[str]:
        """What to say before training: that values are turned in memory, and how to have them written otherwise."""
        from sivae.data._rows import by_gene

        if self.root is None or not by_gene(self.adata, layer):
            return
        opened = f"anndata.read_h5ad({name!r}, backed='r')"
        if name.endswith(".zarr"):
            opened = f"anndata.experimental.read_lazy({name!r})"
        yield (
            "Note: values are stored gene by gene (CSC) and are turned in memory. Large data are better written cell "
            f"by cell (CSR) once, a part at a time: sivae.io.write_h5ad({opened}, 'by_cell.h5ad', as_csr=True)"
        )

    def write_h5ad(self, path: Path) -> None:
        """Write the AnnData; values that were left in a file are copied from there a part at a time.

        Raises
        ------
        ArtefactError
            If it cannot be written, or what is copied not be read.
        """
        from sivae.io._write import write_into

        raw = None if self.root is None else self.root.get("raw")
        # an array that says that there is none is no group
        write_into(self.adata, path, raw=raw if hasattr(raw, "keys") else None)


@contextmanager
def open_cells(path: Path, *, leave: bool = False) -> Iterator[Cells]:
    """Yield the AnnData in .h5ad or .zarr; it is closed at the end.

    Where its values are many, or `leave` says so, they stay in the file.

    Raises
    ------
    SetupError
        If it is not there, or cannot be read as what its name says.
    """
    _check_name(path)
    with ExitStack() as stack:
        with _plainly(path):
            root = _open(path)
            if hasattr(root, "close"):  # a zarr store of files has nothing to close
                stack.callback(root.close)
            _check_anndata(root, path)
            stays = (leave or _is_large(root)) and _is_current(root)
            cells = Cells(_lazily(root), root) if stays else Cells(_whole(path, root))
        yield cells


def read_obs(path: Path) -> pd.DataFrame:
    """What is known of the cells in .h5ad or .zarr; no value of a gene is read.

    Raises
    ------
    SetupError
        If it is not there, or cannot be read as what its name says.
    """
    from anndata.io import read_elem

    _check_name(path)
    with _plainly(path), ExitStack() as stack:
        root = _open(path)
        if hasattr(root, "close"):
            stack.callback(root.close)
        _check_anndata(root, path)
        obs = read_elem(root["obs"]) if _is_current(root) else _whole(path, root).obs
        return frame(obs)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except SiVAEError:
        raise
    except Exception as error:  # h5py, zarr and anndata raise what they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SetupError(
            f"{path} cannot be read as {path.suffix}: {reason}. Check that the file is whole and may be read."
        ) from error


# ------------------------------------------------------------------------------------------------------------- opening


def _check_name(path: Path) -> None:
    if path.suffix not in (".h5ad", ".zarr"):
        reader = READERS.get(path.suffix.lower())
        how = f"Make an AnnData of it with {reader}, then adata.write_h5ad" if reader else "Write it with anndata first"
        raise SetupError(f"Found {path.name}, expected a name that ends in .h5ad or .zarr. {how}.")
    if not path.exists():
        raise SetupError(f"Found no {path}, expected an AnnData there. Check the path.")
    if path.is_dir() != (path.suffix == ".zarr"):
        found, expected = ("a folder", "an h5ad file") if path.is_dir() else ("a file", "a zarr store, a folder")
        raise SetupError(f"{path} is {found}, expected {expected}. Rename it, or write it again with anndata.")


def _open(path: Path) -> Any:
    if path.suffix == ".h5ad":
        import h5py

        file = h5py.File(path, "r")
        try:
            check_links(file, path)
        except BaseException:
            file.close()
            raise
        return file
    import zarr

    return zarr.open_group(path, mode="r")


def _check_anndata(root: Any, path: Path) -> None:
    there = sorted(root)
    if "obs" in there and "var" in there:
        return
    hint = "Write cells x genes with anndata."
    if "tables" in there:
        hint = "It looks like SpatialData: give one of its tables, written with anndata."
    elif "mod" in there:
        hint = "It looks like MuData: give one of its modalities, written with anndata."
    elif "matrix" in there:
        hint = f"It looks like a 10x or loom file: make an AnnData of it with {READERS['.h5']} or {READERS['.loom']}."
    raise SetupError(f"{path} holds no AnnData: found {some(there) or 'nothing'}, expected obs and var. {hint}")


def _whole(path: Path, root: Any) -> AnnData:
    """Read everything; matrices that could crash or mislead whoever uses them later are refused."""
    import anndata

    adata: AnnData = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
    for name in ("X", *(f"layers/{layer}" for layer in root.get("layers", ())), "raw/X"):
        if name in root and getattr(root[name], "attrs", {}).get("encoding-type") in SPARSE:
            raw = name == "raw/X"
            matrix = adata.raw.X if raw else adata.layers[name.removeprefix("layers/")] if name != "X" else adata.X
            _check_matrix(root[name], matrix, (adata.obs_names, adata.raw.var_names if raw else adata.var_names), name)
    return adata


def _check_matrix(group: Any, matrix: Any, names: tuple[Any, Any], where: str) -> None:
    """Refuse a sparse matrix that was read whole from a group and cannot be one, or of which chunks are gone."""
    try:
        axis = int(matrix.format == "csc")
        _damage.check_offsets(matrix.indptr, matrix.shape[axis], axis=axis, stored=len(matrix.data))
        _damage.check_matrix(matrix)
        if len(matrix.data):
            _damage.check_chunks(group, "indptr", matrix.indptr)
        _damage.check_chunks(group, "data", matrix.data)
        _damage.check_chunks(group, "indices", matrix.indices, matrix.indptr)
    except _damage.Damaged as error:
        raise ValueError(f"{where} is damaged: {damage(error, names)}") from error


def _is_current(root: Any) -> bool:
    """Whether every part says how it is written; files from before anndata 0.7 do not, and are read whole."""
    return all("encoding-type" in root[name].attrs for name in ("obs", "var"))


def _is_large(root: Any) -> bool:
    return values_bytes(root) > SHARE * available()


def values_bytes(root: Any) -> int:
    """Memory that X, the layers and raw would take."""
    names = ["X", *(f"layers/{name}" for name in root.get("layers", ())), "raw/X"]
    return sum(_bytes(root[name]) for name in names if name in root)


def _bytes(element: Any) -> int:
    if hasattr(element, "dtype"):
        total = int(element.dtype.itemsize)
        for length in element.shape:
            total *= int(length)
        return total
    return sum(_bytes(element[name]) for name in element)


def _lazily(root: Any) -> AnnData:
    """The AnnData without raw, of which every view that is taken would read a part."""
    from anndata import AnnData
    from anndata.io import read_elem

    from sivae.io._copy import element

    names = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns")
    held = {name: read_elem(root[name]) for name in names if name in root}
    layers = {name: element(root["layers"][name]) for name in root["layers"]} if "layers" in root else {}
    return AnnData(element(root["X"]) if "X" in root else None, layers=layers, **held)
