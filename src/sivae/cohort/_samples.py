"""What the other functions ask of individuals x genes before they read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

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
    Labels: TypeAlias = "str | Mapping[str, str] | pd.Series[str]"

MADE_BY = "Make them with samples = sivae.cohort.connectivity(adata, sample_key)."


def check_samples(samples: object) -> None:
    """Refuse what `sivae.cohort.connectivity` did not make.

    Raises
    ------
    SetupError
        If it is no AnnData, has no record of a cohort, or names of individuals or genes occur twice.
    """
    check_adata(samples)
    adata: Any = samples
    if _keys.COHORT not in adata.uns:
        raise SetupError(f"Found no uns[{_keys.COHORT!r}], expected individuals x genes. {MADE_BY}")
    check_names(adata, "obs_names", "var_names")


def lacking(values_sg: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Individuals without any value, (s,)."""
    return np.asarray(~np.isfinite(values_sg).any(axis=1), np.bool_)


def read_edges(samples: AnnData) -> tuple[pd.DataFrame, sparse.csr_matrix]:
    """Genes of each edge, a frame of `gene_a` and `gene_b`, and who has it, CSR (s, e) of 0 and 1.

    Raises
    ------
    SetupError
        If there are no edges.
    """
    from scipy import sparse

    record = dict(samples.uns.get(_keys.COHORT, {}))
    if "edges" not in record or _keys.EDGES not in samples.obsm:
        raise SetupError(
            f"Found no edges (uns[{_keys.COHORT!r}]['edges'] and obsm[{_keys.EDGES!r}]), expected a graph of genes "
            f"for each individual. {MADE_BY}"
        )
    if not {"gene_a", "gene_b"} <= set(getattr(record["edges"], "columns", ())):
        raise SetupError(f"uns[{_keys.COHORT!r}]['edges'] is no frame of gene_a and gene_b. {MADE_BY}")
    frame = pd.DataFrame(record["edges"])[["gene_a", "gene_b"]].astype(str).reset_index(drop=True)
    return frame, sparse.csr_matrix(samples.obsm[_keys.EDGES], dtype=np.float64)


def read_strength(samples: AnnData) -> NDArray[np.floating]:
    """Correlation of the two genes of each edge in each individual, (s, e).

    Raises
    ------
    SetupError
        If it is not there.
    """
    if _keys.EDGE_STRENGTH not in samples.obsm:
        raise SetupError(f"Found no obsm[{_keys.EDGE_STRENGTH!r}], expected the strength of each edge. {MADE_BY}")
    return np.asarray(samples.obsm[_keys.EDGE_STRENGTH])


def relative_noise(samples: AnnData, rows: NDArray[np.intp]) -> NDArray[np.float64] | None:
    """Variance that few cells give an individual's values, relative to the others', (s,); None where all are alike.

    The mean over genes of squared standard errors of the projection, each over its gene's mean. Individuals whose
    largest is less than half as much again as the smallest count as alike.
    """
    key = _keys.PROJECTION + _keys.SE_SUFFIX
    if key not in samples.layers:
        return None
    variance_sg = np.asarray(samples.layers[key], np.float64)[rows] ** 2
    known_g = np.isfinite(variance_sg).all(axis=0) & (variance_sg > 0).all(axis=0)
    if not known_g.any():
        return None
    noise_s = (variance_sg[:, known_g] / variance_sg[:, known_g].mean(axis=0)).mean(axis=1)
    return None if noise_s.max() < 1.5 * noise_s.min() else np.asarray(noise_s, np.float64)


def read_positions(samples: AnnData) -> NDArray[np.floating]:
    """Position of each gene in each individual, genes as in `samples`, (s, g, k).

    AnnData carries the genes of an array of `obsm` along with individuals alone: where the record of the cohort holds
    the names of genes (`uns["sivae_cohort"]["genes"]`), they are taken by name.

    Raises
    ------
    SetupError
        If they are not there, or their genes are not those of `samples`.
    """
    if _keys.POSITIONS not in samples.obsm:
        raise SetupError(
            f"Found no obsm[{_keys.POSITIONS!r}], expected the position of each gene in each individual. {MADE_BY}"
        )
    position_sgk = np.asarray(samples.obsm[_keys.POSITIONS])
    listed = dict(samples.uns.get(_keys.COHORT, {})).get("genes")
    own = samples.var_names.astype(str)
    if listed is not None and len(listed) == position_sgk.shape[1]:
        at = pd.Index(np.asarray(listed, str)).get_indexer(own)
        if (at >= 0).all():
            return position_sgk[:, at]
    elif position_sgk.shape[1] == samples.n_vars:
        return position_sgk
    raise SetupError(
        f"obsm[{_keys.POSITIONS!r}] has {position_sgk.shape[1]} genes and samples has {samples.n_vars}; expected the "
        "same. Pass all the genes that sivae.cohort.connectivity returned."
    )


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


def read_labels(samples: AnnData, labels: Labels, argument: str, hint: str) -> dict[str, str]:
    """Label of each gene that has one, from a column of `var`, a mapping or a series.

    Raises
    ------
    SetupError
        If there is no such column.
    OptionError
        If this is none of these, or no gene has a label.
    """
    if isinstance(labels, str) and labels not in samples.var:
        columns = some(samples.var.columns, 20) or "no column"
        raise SetupError(f"{argument} is {labels!r}; expected a column of var, which has {columns}. {hint}")
    values: object = samples.var[labels] if isinstance(labels, str) else labels
    if not isinstance(values, Mapping | pd.Series):
        raise OptionError(
            f"{argument} is of type {type(values).__name__}; expected a column of var, or a mapping or series by gene. "
            f"{hint}"
        )
    given = {str(gene): str(label) for gene, label in values.items() if not pd.isna(label)}
    found = {gene: given[gene] for gene in samples.var_names.astype(str) if gene in given}
    if not found:
        raise OptionError(
            f"{argument} has {some(given, 3) or 'nothing'}, none of the {samples.n_vars} genes "
            f"({some(samples.var_names, 3)}). Index it by the names in samples.var_names."
        )
    return found
