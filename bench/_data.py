"""The data sets of the benchmarks, by name.

Those of `SHIPPED` are simulated or come with an installed library. Those of `FILES` are public data that do not ship
with the package: they are read from the folder named by the environment variable SIVAE_DATA (or `shared/data` beside
the checkout), and left out, loudly, where it does not hold them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
from scipy import sparse

import sivae
from bench import _common

FOLDER = Path(os.environ.get("SIVAE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@dataclass(frozen=True)
class Source:
    """Counts, and what is known of them: the column of labels, and of batches."""

    name: str
    make: Callable[[], anndata.AnnData]
    label: str
    batch: str | None = None


def planted() -> anndata.AnnData:
    """1,200 cells x 600 genes: ten signed factors over four fifths of the genes, eight groups, thinned to a half."""
    adata = sivae.datasets.planted(1200, 600, n_factors=10, genes_per_factor=48, signed=True, seed=0)
    return _common.thinned(adata, kept=0.5, seed=0)


def network() -> anndata.AnnData:
    """1,500 cells x 400 genes of a simulated regulatory network with known edges (`bench/_network.py`)."""
    from bench._network import simulate

    return simulate(1500, 400, seed=0)


def pbmc700() -> anndata.AnnData:
    """700 blood cells x 765 genes that come with scanpy."""
    return sivae.datasets.pbmc700()


def _file(path: str) -> Callable[[], anndata.AnnData]:
    def read() -> anndata.AnnData:
        adata = anndata.read_h5ad(FOLDER / path)
        adata.X = sparse.csr_matrix(adata.X)
        if "grn_edges" in adata.uns:
            adata.uns["edges"] = adata.uns["grn_edges"]
        return adata

    return read


SHIPPED = (
    Source("planted", planted, "group"),
    Source("network", network, "cell_type"),
    Source("pbmc700", pbmc700, "cell_type"),
)
FILES = {
    "pbmc3k": ("scrna/pbmc3k.h5ad", "cell_type", None),
    "pancreas": ("scrna/baron_pancreas_2donors.h5ad", "cell_type", "donor"),
    "cell_lines": ("scrna/cellbench_celllines.h5ad", "cell_type", "batch"),
    "bladder": ("scrna/mouse_bladder.h5ad", "cell_type", None),
    "endocrine": ("scrna/pancreas_endocrinogenesis.h5ad", "cell_type", None),
    "pbmc7": ("scrna/pbmc_7batches.h5ad", "cell_type_predicted_coarse", "batch"),
    "cord_blood": ("scrna/cbmc_citeseq.h5ad", "cell_type", None),
    "sergio": ("sim/sergio_grn400_steady.h5ad", "cell_type", None),
}
COHORTS = {"rewired": "sim/multi_individual_grn400.h5ad", "onek1k": "scrna/onek1k_40donors.h5ad"}
"""Cells of many individuals, `obs["donor"]` and `obs["cell_type"]`."""
NAMES = (*(source.name for source in SHIPPED), *FILES)


def sources(names: tuple[str, ...]) -> list[Source]:
    """Those of these names that are at hand; the others are named on standard error."""
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"Found {', '.join(sorted(unknown))}; expected data of {', '.join(NAMES)}.")
    shipped = {source.name: source for source in SHIPPED}
    found = []
    for name in names:
        if name in shipped:
            found.append(shipped[name])
        elif (FOLDER / FILES[name][0]).exists():
            path, label, batch = FILES[name]
            found.append(Source(name, _file(path), label, batch))
        else:
            print(f"*** {name} LEFT OUT: no {FOLDER / FILES[name][0]}; name its folder in SIVAE_DATA", file=sys.stderr)
    return found


def cohort(name: str) -> anndata.AnnData | None:
    """Cells of many individuals, or None, and a word on standard error, where they are not at hand."""
    if (FOLDER / COHORTS[name]).exists():
        return _file(COHORTS[name])()
    print(f"*** {name} LEFT OUT: no {FOLDER / COHORTS[name]}; name its folder in SIVAE_DATA", file=sys.stderr)
    return None


def gene_sets(names: np.ndarray) -> dict[str, list[str]]:
    """Hallmark, Reactome and complexes of the folder with five of these genes or more; none where it is absent."""
    from sivae.tl import read_gmt

    files = ("human_hallmark.gmt", "human_reactome_10_200.gmt.gz", "human_go_protein_complexes.gmt")
    known, found = set(map(str, names)), {}
    for file in files:
        if not (FOLDER / "genesets" / file).exists():
            print(f"*** gene sets LEFT OUT: no {FOLDER / 'genesets' / file}", file=sys.stderr)
            continue
        for key, members in read_gmt(str(FOLDER / "genesets" / file)).items():
            present = [gene for gene in members if gene in known]
            if len(present) >= 5:
                found[key] = present
    return found
