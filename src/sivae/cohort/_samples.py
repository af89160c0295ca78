"""What the other functions ask of individuals x genes before they read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, check_names, names
from sivae._errors import GeneMismatchError, OptionError, SetupError, some
from sivae._space import nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    Array: TypeAlias = NDArray[np.float64]

MADE_BY = "Make them with samples = sivae.cohort.connectivity(adata, sample_key)."


def check_samples(samples: object) -> None:
    """Refuse what `sivae.cohort.connectivity` did not make.

    Raises
    ------
    SetupError
        If it is no AnnData, has no record of a cohort, or names of individuals or genes occur twice.
    """
    check_adata(samples)
    if _keys.COHORT not in samples.uns:  # type: ignore[attr-defined]
        raise SetupError(f"Found no uns[{_keys.COHORT!r}], expected individuals x genes. {MADE_BY}")
    check_names(samples, "obs_names", "var_names")  # type: ignore[arg-type]


def read_layer(samples: AnnData, layer: str | None) -> Array:
    """Connectivity of each gene in each individual, (s, g); X if no layer is named.

    Raises
    ------
    SetupError
        If there is no such layer.
    """
    if layer is not None and layer not in samples.layers:
        raise SetupError(
            f"Found no layer {layer!r}, expected one of {some(samples.layers, 20)}. Name one of these, or leave "
            "layer out."
        )
    values = samples.X if layer is None else samples.layers[layer]
    if values is None:
        raise SetupError(f"Found no X, expected connectivity. Name a layer: {some(samples.layers, 20)}.")
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)


def read_edges(samples: AnnData) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """Genes of each edge, a frame of `gene_a` and `gene_b`, and who has it, CSR (s, e) of 0 and 1.

    Raises
    ------
    SetupError
        If there are no edges.
    """
    from scipy import sparse

    record = dict(samples.uns[_keys.COHORT])
    if "edges" not in record or _keys.EDGES not in samples.obsm:
        raise SetupError(
            f"Found no edges (uns[{_keys.COHORT!r}]['edges'] and obsm[{_keys.EDGES!r}]), expected a graph of genes "
            f"for each individual. {MADE_BY}"
        )
    frame = pd.DataFrame(record["edges"])[["gene_a", "gene_b"]].astype(str)
    return frame, sparse.csr_matrix(samples.obsm[_keys.EDGES], dtype=np.float64)


def read_array(samples: AnnData, key: str, what: str) -> NDArray[np.floating]:
    """Read an array of `obsm`.

    Raises
    ------
    SetupError
        If it is not there.
    """
    if key not in samples.obsm:
        raise SetupError(f"Found no obsm[{key!r}], expected {what}. {MADE_BY}")
    return np.asarray(samples.obsm[key])


def find_genes(samples: AnnData, genes: Iterable[str], *, argument: str = "genes") -> NDArray[np.intp]:
    """Positions of genes by name.

    Raises
    ------
    OptionError
        If none is given, or this is no list of names.
    GeneMismatchError
        Naming those that are not there.
    """
    wanted = list(dict.fromkeys(names(argument, genes)))
    if not wanted:
        raise OptionError(f"{argument} is empty; expected names of genes. Leave it out to take all.")
    at = samples.var_names.get_indexer(wanted)
    unknown = [gene for gene, position in zip(wanted, at, strict=True) if position < 0]
    if unknown:
        near = nearest_names(unknown[0], samples.var_names)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Check how genes are named in samples.var_names."
        raise GeneMismatchError(f"Found no gene {some(unknown)} among {samples.n_vars} genes. {hint}")
    return np.asarray(at, np.intp)
