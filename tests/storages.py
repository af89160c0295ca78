"""One AnnData in every storage that users meet."""

from contextlib import ExitStack

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import zarr
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}


def plain(adata, form, layer):
    """A copy in memory whose values are in the form given, in X or in a layer (X is then something else)."""
    result = adata.copy()
    values = FORMS[form](sparse.csr_matrix(adata.X).toarray())
    result.X = values if layer is None else np.zeros(adata.shape, np.float32)
    if layer is not None:
        result.layers[layer] = values
    return result


class Storage:
    """How a storage is made of an AnnData in memory: `form` is that of the AnnData it must agree with."""

    def __init__(self, form, make):
        self.form, self.make = form, make

    def open(self, adata, layer, folder, stack):
        """The AnnData in this storage; `stack` closes what is opened."""
        return self.make(plain(adata, self.form, layer), layer, folder, stack)


def _with(adata, layer, matrix):
    """The annotations of an AnnData in memory with another matrix for its values."""
    given = {"obs": adata.obs.copy(), "var": adata.var.copy(), "uns": dict(adata.uns)}
    if layer is None:
        return ad.AnnData(matrix, **given)
    return ad.AnnData(np.zeros(adata.shape, np.float32), layers={layer: matrix}, **given)


def _values(adata, layer):
    return adata.X if layer is None else adata.layers[layer]


def backed(adata, layer, folder, stack, **options):
    adata.write_h5ad(folder / "backed.h5ad", **options)
    opened = ad.read_h5ad(folder / "backed.h5ad", backed="r")
    stack.callback(opened.file.close)
    return opened


def in_h5(adata, layer, folder, stack, **options):
    with h5py.File(folder / "values.h5", "w") as file:
        write_elem(file, "values", _values(adata, layer), dataset_kwargs=options)
    file = stack.enter_context(h5py.File(folder / "values.h5", "r"))
    element = file["values"]
    return _with(adata, layer, sparse_dataset(element) if isinstance(element, h5py.Group) else element)


def in_zarr(adata, layer, folder, stack):
    group = zarr.open_group(folder / "values.zarr", mode="w")
    chunks = {} if sparse.issparse(_values(adata, layer)) else {"chunks": (37, 11)}
    write_elem(group, "values", _values(adata, layer), dataset_kwargs=chunks)
    element = zarr.open_group(folder / "values.zarr", mode="r")["values"]
    return _with(adata, layer, sparse_dataset(element) if isinstance(element, zarr.Group) else element)


def dask_rows(adata, layer, folder, stack):
    return _with(adata, layer, da.from_array(_values(adata, layer), chunks=(29, -1), asarray=False))


def dask_columns(adata, layer, folder, stack):
    return _with(adata, layer, da.from_array(_values(adata, layer), chunks=(-1, 7), asarray=False))


def dask_grid(adata, layer, folder, stack):
    return _with(adata, layer, da.from_array(_values(adata, layer), chunks=((17, 80, 63), 13)))


def lazy_frames(adata, layer, folder, stack):
    """`read_lazy`: Dask arrays, and obs and var that are no data frames."""
    adata.write_zarr(folder / "lazy.zarr")
    return ad.experimental.read_lazy(folder / "lazy.zarr")


def lazy_element(adata, layer, folder, stack):
    in_zarr(adata, layer, folder, stack)
    element = zarr.open_group(folder / "values.zarr", mode="r")["values"]
    return _with(adata, layer, ad.experimental.read_elem_lazy(element))


STORAGES = {
    "backed csr": Storage("csr", backed),
    "backed csc": Storage("csc", backed),
    "backed dense": Storage("dense", backed),
    "backed dense in chunks": Storage("dense", lambda *all_: backed(*all_, compression="gzip")),
    "backed csr compressed": Storage("csr", lambda *all_: backed(*all_, compression="gzip")),
    "h5 csr": Storage("csr", in_h5),
    "h5 csc": Storage("csc", in_h5),
    "h5 dense": Storage("dense", in_h5),
    "zarr csr": Storage("csr", in_zarr),
    "zarr csc": Storage("csc", in_zarr),
    "zarr dense": Storage("dense", in_zarr),
    "zarr csr as dask": Storage("csr", lazy_element),
    "zarr csc as dask": Storage("csc", lazy_element),
    "zarr dense as dask": Storage("dense", lazy_element),
    "dask dense in rows": Storage("dense", dask_rows),
    "dask dense in a grid": Storage("dense", dask_grid),
    "dask csr in rows": Storage("csr", dask_rows),
    "dask csc in columns": Storage("csc", dask_columns),
}
ON_DISK = [name for name in STORAGES if "dask" not in name]


def opening(name, adata, layer, folder):
    """The AnnData in a storage, and what closes it."""
    stack = ExitStack()
    return STORAGES[name].open(adata, layer, folder, stack), stack
