"""Files of cells, small or large: read whole, or opened so that values are read when they are needed; and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sivae._errors import SetupError, SiVAEError, some

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

SHARE: Final = 0.25
"""Share of the available memory that the values of a file may take before they are left on disk."""
CHUNK: Final = 2**22
"""Values copied at a time."""
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


@contextmanager
def open_cells(path: Path) -> Iterator[AnnData]:
    """Yield the AnnData in .h5ad or .zarr; where its values are many, they stay there, and it is closed at the end.

    Raises
    ------
    SetupError
        If it is not there, or cannot be read as what its name says.
    """
    _check_name(path)
    root, adata = None, None
    try:
        root = _open(path)
        _check_anndata(root, path)
        adata = _lazily(root) if _is_large(root) and _is_current(root) else _whole(path)
    except SiVAEError:
        raise
    except Exception as error:  # h5py, zarr and anndata raise what they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SetupError(f"{path} cannot be read as {path.suffix}: {reason}. Check that the file is whole.") from error
    finally:
        if adata is None:
            _close(root)
    try:
        yield adata
    finally:
        _close(root)


def lies_in_file(adata: AnnData) -> bool:
    """Whether values were left in the file."""
    from sivae._stored import is_on_disk

    return any(is_on_disk(matrix) for matrix in (adata.X, *adata.layers.values()))


def write_h5ad(adata: AnnData, path: Path) -> None:
    """Write an AnnData; values that lie in a file are copied from there a part at a time."""
    if not lies_in_file(adata):
        adata.write_h5ad(path)
        return
    import h5py
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("obs", "var"):
            write_elem(file, name, getattr(adata, name))
        for name in ("obsm", "varm", "obsp", "varp", "uns"):
            write_elem(file, name, dict(getattr(adata, name)))
        write_elem(file, "layers", {})
        if adata.X is not None:
            _copy(adata.X, file, "X")
        for name, matrix in adata.layers.items():
            _copy(matrix, file["layers"], name)
        if adata.raw is not None:
            raw = file.create_group("raw")
            raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
            _copy(adata.raw.X, raw, "X")
            write_elem(raw, "var", adata.raw.var)
            write_elem(raw, "varm", dict(adata.raw.varm))


# ------------------------------------------------------------------------------------------------------------- opening


def _check_name(path: Path) -> None:
    if path.suffix not in (".h5ad", ".zarr"):
        reader = READERS.get(path.suffix.lower())
        how = f"Make an AnnData of it with {reader}, then adata.write_h5ad" if reader else "Write it with anndata first"
        raise SetupError(f"Found {path.name}, expected a name that ends in .h5ad or .zarr. {how}.")
    if not path.exists():
        raise SetupError(f"Found no {path}, expected an AnnData there. Check the path.")


def _open(path: Path) -> Any:
    if path.suffix == ".h5ad":
        import h5py

        return h5py.File(path, "r")
    import zarr

    return zarr.open_group(path, mode="r")


def _close(root: Any) -> None:
    if hasattr(root, "close"):  # a zarr store of files has nothing to close
        root.close()


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


def _whole(path: Path) -> AnnData:
    import anndata

    adata: AnnData = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
    return adata


def _is_current(root: Any) -> bool:
    """Whether every part says how it is written; files from before anndata 0.7 do not, and are read whole."""
    return all("encoding-type" in root[name].attrs for name in ("obs", "var"))


def _is_large(root: Any) -> bool:
    import psutil

    return values_bytes(root) > SHARE * int(psutil.virtual_memory().available)


def values_bytes(root: Any) -> int:
    """Memory that X, the layers and raw would take."""
    return sum(_bytes(element) for _, element in _matrices(root))


def _matrices(root: Any) -> Iterator[tuple[str, Any]]:
    if "X" in root:
        yield "X", root["X"]
    if "layers" in root:
        for name in root["layers"]:
            yield f"layers/{name}", root["layers"][name]
    if "raw" in root and "X" in root["raw"]:
        yield "raw/X", root["raw"]["X"]


def _bytes(element: Any) -> int:
    if hasattr(element, "dtype"):
        total = int(element.dtype.itemsize)
        for length in element.shape:
            total *= int(length)
        return total
    return sum(_bytes(element[name]) for name in element)


def _lazily(root: Any) -> AnnData:
    from anndata import AnnData
    from anndata.io import read_elem

    names = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns")
    held = {name: read_elem(root[name]) for name in names if name in root}
    values = {name: _element(element) for name, element in _matrices(root)}
    layers = {name.removeprefix("layers/"): value for name, value in values.items() if name.startswith("layers/")}
    raw = None
    if "raw/X" in values:
        rest = {name: read_elem(root["raw"][name]) for name in ("var", "varm") if name in root["raw"]}
        raw = {"X": values["raw/X"], "var": rest["var"], "varm": rest.get("varm", {})}
    return AnnData(values.get("X"), layers=layers, raw=raw, **held)


def _element(element: Any) -> Any:
    """What anndata takes for a matrix that stays in its file; anything but a matrix is read."""
    from anndata.io import read_elem, sparse_dataset

    kind = element.attrs.get("encoding-type", "")
    if kind in ("csr_matrix", "csc_matrix"):
        return sparse_dataset(element)
    is_dense = kind in ("array", "") and len(getattr(element, "shape", ())) == 2
    return element if is_dense else read_elem(element)


# ------------------------------------------------------------------------------------------------------------- copying


def _copy(matrix: Any, target: Any, name: str) -> None:
    """Copy a matrix into an open HDF5 file without holding more than a part of it."""
    from anndata.io import write_elem

    from sivae._stored import is_on_disk

    if not is_on_disk(matrix):
        write_elem(target, name, matrix)
        return
    handle = getattr(matrix, "group", matrix)
    if hasattr(handle, "file"):
        target.copy(handle, target, name=name)
    elif handle is matrix:
        _copy_dense(matrix, target, name)
    else:
        group = target.create_group(name)
        group.attrs.update({"encoding-type": f"{matrix.format}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = matrix.shape
        for part in ("data", "indices", "indptr"):
            _copy_dense(handle[part], group, part)


def _copy_dense(array: Any, target: Any, name: str) -> None:
    import numpy as np

    from sivae._stored import DenseOnDisk

    made = target.create_dataset(name, shape=array.shape, dtype=array.dtype)
    if array.ndim == 1:
        for start in range(0, array.shape[0], CHUNK):
            made[start : start + CHUNK] = array[start : start + CHUNK]
        return
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    stored = DenseOnDisk(array)
    every_row, every_column = (np.arange(length) for length in stored.shape)
    for rows, columns in stored.plan.tiles(every_row, every_column, stored.shape):
        made[rows, columns] = stored.read(rows, columns)
