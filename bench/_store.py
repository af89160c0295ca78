"""Large stores of cells for `bench/out_of_core.py`: h5ad with a CSR matrix, written in parts and never held.

python -m bench._store FILE.h5ad CELLS [GENES]

A cell is one of 3,000 simulated ones, thinned as in the other benchmarks, with Poisson noise of its own: its counts are
Poisson about those of its profile times a depth. Part p of any store is drawn from the seed and p alone, so that a
smaller store is the beginning of a larger one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse

from bench import _common

PART, PROFILES, GENES = 10_000, 3_000, 2_000
KEPT, DEPTH_SD, MEAN_DEPTH = 0.12, 0.3, 0.85
CHUNK = 2**18


def profiles(n_genes: int) -> sparse.csr_matrix:
    """Counts of the simulated cells: ten factors over four fifths of the genes."""
    return sparse.csr_matrix(_common.counts(PROFILES, n_genes, kept=KEPT).X, dtype=np.float32)


def parts(n_cells: int, n_genes: int, seed: int) -> Iterator[sparse.csr_matrix]:
    """The counts, some cells at a time; no cell is empty."""
    expected = profiles(n_genes)
    for number, start in enumerate(range(0, n_cells, PART)):
        rng = np.random.default_rng([seed, number])
        part = expected[rng.integers(0, expected.shape[0], PART)]
        depth = MEAN_DEPTH * rng.lognormal(0.0, DEPTH_SD, PART)
        part.data = rng.poisson(part.data * np.repeat(depth, np.diff(part.indptr))).astype(np.float32)
        part.eliminate_zeros()
        empty = np.flatnonzero(np.diff(part.indptr) == 0)
        if len(empty):
            ones = np.ones(len(empty), np.float32)
            part = part + sparse.csr_matrix((ones, (empty, empty % n_genes)), shape=part.shape)
        yield sparse.csr_matrix(part[: min(PART, n_cells - start)])


def write(path: Path, n_cells: int, n_genes: int = GENES, *, seed: int = 0) -> None:
    """Write the store; the file is whole or absent."""
    names = np.random.default_rng(seed).permutation(n_cells) if n_cells < 10**9 else np.arange(n_cells)
    temporary, ends = path.with_suffix(".part"), [np.zeros(1, np.int64)]
    with h5py.File(temporary, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", pd.DataFrame(index=pd.Index([f"cell_{name}" for name in names])))
        write_elem(file, "var", pd.DataFrame(index=pd.Index([f"gene_{gene}" for gene in range(n_genes)])))
        for name in ("obsm", "varm", "obsp", "varp", "uns", "layers"):
            write_elem(file, name, {})
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_cells, n_genes)})
        kinds = {"data": np.float32, "indices": np.int32}
        stored = {
            name: group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(CHUNK,))
            for name, kind in kinds.items()
        }
        for part in parts(n_cells, n_genes, seed):
            end = int(ends[-1][-1])
            for name, array in stored.items():
                array.resize((end + part.nnz,))
                array[end:] = getattr(part, name)
            ends.append(end + part.indptr[1:].astype(np.int64))
        group.create_dataset("indptr", data=np.concatenate(ends))
    temporary.replace(path)


def unseen(n_cells: int, n_genes: int = GENES) -> anndata.AnnData:
    """Cells of the same kind, in memory, that are in no store."""
    counts = sparse.vstack(list(parts(n_cells, n_genes, seed=1)), format="csr")
    adata = anndata.AnnData(counts)
    adata.obs_names = [f"unseen_{cell}" for cell in range(n_cells)]
    adata.var_names = [f"gene_{gene}" for gene in range(n_genes)]
    return adata


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
