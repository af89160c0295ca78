"""Individuals x genes as plots read them: a phenotype, a centrality, an order, and which edges who has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from sivae import _keys
from sivae._checks import check_adata, check_names
from sivae._errors import GeneMismatchError, OptionError, SetupError, some
from sivae._values import frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

ORDERED: Final = 500
"""Rows up to which branches of a tree are turned so that neighbors are most alike, which takes long for many."""
CALL: Final = "samples = sivae.cohort.connectivity(adata, sample_key)"


@dataclass(frozen=True)
class Phenotype:
    """A column of individuals: numbers, or places among levels; NaN where it is missing."""

    name: str
    value_s: Array
    levels: tuple[str, ...] = ()
    """Names of categories, none for numbers."""
    ordered: bool = True
    """Whether a higher value says more: numbers, two categories, ordered ones."""

    @property
    def known_s(self) -> NDArray[np.bool_]:
        """Individuals whose phenotype is not missing."""
        return np.isfinite(self.value_s)


def check_samples(samples: AnnData) -> None:
    """Refuse what is not individuals x genes.

    Raises
    ------
    SetupError
        Naming the call that makes it.
    """
    check_adata(samples)
    if _keys.COHORT not in samples.uns:
        raise SetupError(
            f"Found no uns[{_keys.COHORT!r}], expected individuals x genes. Call {CALL} first, and pass samples."
        )
    check_names(samples, "obs_names", "var_names")
    if samples.n_obs == 0:
        raise SetupError("samples holds no individual, expected some. Check the filters before it.")


def phenotype_of(samples: AnnData, by: str, *, argument: str = "by") -> Phenotype:
    """Read a column of `obs`; True and False, texts and categories become levels.

    Raises
    ------
    OptionError
        If there is no such column, or it is missing for every individual.
    """
    obs = frame(samples.obs)
    if not isinstance(by, str) or by not in obs:
        raise OptionError(
            f"Found {argument}={by!r}, expected a column of samples.obs: {some(obs.columns, 20) or 'it has none'}. "
            "Name one of these; columns that vary within an individual are not there."
        )
    column = obs[by]
    if column.dtype.kind in "fiu":
        found = Phenotype(by, column.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        # Not as colors of points have them: there "none" is no category, here it is a level like others.
        label: Any = column.astype("category").cat.remove_unused_categories().cat
        levels = tuple(str(name) for name in label.categories)
        value_s = label.codes.to_numpy(dtype=np.float64)
        value_s = np.where(value_s < 0, np.nan, value_s)
        ordered = len(levels) <= 2 or bool(getattr(column.dtype, "ordered", False))
        found = Phenotype(by, value_s, levels, ordered)
    if not found.known_s.any():
        raise OptionError(
            f"Found obs[{by!r}] missing for every individual, expected values. Fill it in, or name another column."
        )
    return found


def layer_name(samples: AnnData, layer: str | None) -> str:
    """Name of the layer asked for, or of the default centrality.

    Raises
    ------
    OptionError
        If it is not there.
    """
    name = _keys.PROJECTION if layer is None else layer
    if name not in samples.layers:
        raise OptionError(
            f"Found layer={name!r}, expected one of: {some(samples.layers, 20) or 'none are there'}. Name one of "
            f"these; {CALL} writes them."
        )
    return name


def layer_of(samples: AnnData, layer: str, columns: Rows | slice = slice(None)) -> Array:
    """Values of a layer, (individuals, genes)."""
    return dense(samples.layers[layer][:, columns])


def dense(value: Any) -> Array:
    """An array of a matrix that may be sparse."""
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value, dtype=np.float64)


def genes_at(samples: AnnData, genes: Sequence[str]) -> Rows:
    """Columns of genes.

    Raises
    ------
    GeneMismatchError
        Naming those that are not there.
    """
    at = samples.var_names.get_indexer(list(genes))
    lost = [gene for gene, place in zip(genes, at, strict=True) if place < 0]
    if lost:
        raise GeneMismatchError(
            f"{len(lost)} of {len(genes)} genes are not among those modelled ({some(lost)}); expected names as in "
            f"samples.var_names, such as {some(samples.var_names, 3)}. Check how they are written."
        )
    return np.asarray(at, dtype=np.intp)


def individuals_at(samples: AnnData, names: Sequence[str], *, argument: str) -> Rows:
    """Rows of individuals.

    Raises
    ------
    OptionError
        If the list is empty or names an individual twice, or one that is not there.
    """
    listed = [str(name) for name in ([] if isinstance(names, str) else names)]
    at = samples.obs_names.get_indexer(listed)
    lost = [name for name, place in zip(listed, at, strict=True) if place < 0]
    if not listed or lost or len(set(listed)) < len(listed):
        found = f"unknown individuals in {argument}: {some(lost)}" if lost else f"{argument}={names!r}"
        raise OptionError(
            f"Found {found}, expected a list of individuals, each once, as in samples.obs_names: "
            f"{some(samples.obs_names)}."
        )
    return np.asarray(at, dtype=np.intp)


def order_by(samples: AnnData, phenotype: Phenotype | None) -> Rows:
    """Rows by rising phenotype, equal ones by name, missing ones last; as they are without a phenotype."""
    if phenotype is None:
        return np.arange(samples.n_obs, dtype=np.intp)
    return np.lexsort((np.asarray(samples.obs_names, dtype=str), phenotype.value_s))


def clustered(value_mf: Array, names: Sequence[str]) -> Rows:
    """Rows in the order of a tree (average linkage of Euclidean distances, similar ones side by side)."""
    sorted_m = np.argsort(np.asarray(names, dtype=str))
    if len(value_mf) < 3:
        return sorted_m
    return leaves(pdist(np.nan_to_num(value_mf[sorted_m])), names)


def leaves(apart: Array, names: Sequence[str]) -> Rows:
    """Order of a tree over condensed distances between rows sorted by name, as places in the list of names."""
    # By name, so that the order in which rows come does not matter.
    sorted_m = np.argsort(np.asarray(names, dtype=str))
    tree = hierarchy.linkage(apart, "average")
    if len(sorted_m) <= ORDERED:
        tree = hierarchy.optimal_leaf_ordering(tree, apart)
    return np.asarray(sorted_m[hierarchy.leaves_list(tree)], dtype=np.intp)


def standard(value_fs: Array) -> Array:
    """Each row less its mean, in its standard deviations, over what is known; zeros where it is constant."""
    known = np.isfinite(value_fs)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centered = value_fs - np.where(known, value_fs, 0.0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(known, centered, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    scaled = np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 1e-12)
    return np.where(known, scaled, np.nan)


# --------------------------------------------------------------------------------------------------------------- edges


@dataclass(frozen=True)
class Edges:
    """Edges that any individual has: the genes of each, who has it, and how strong it is in whom."""

    gene_a: NDArray[np.str_]
    gene_b: NDArray[np.str_]
    presence: Any
    """Individuals x edges, which may be many: only what is drawn is made dense."""
    strengths: Any

    def present(self, rows: Rows | slice, columns: Rows | slice = slice(None)) -> NDArray[np.bool_]:
        """Whether individuals have edges, (rows, columns)."""
        return dense(self.presence[rows][:, columns]) > 0

    def strength(self, rows: Rows | slice, columns: Rows | slice = slice(None)) -> Array:
        """How strong edges are in individuals, (rows, columns)."""
        return dense(self.strengths[rows][:, columns])


def edges_of(samples: AnnData) -> Edges:
    """Read the edges of individuals.

    Raises
    ------
    SetupError
        Without them.
    """
    check_samples(samples)
    table: pd.DataFrame | None = dict(samples.uns[_keys.COHORT]).get("edges")
    missing = [key for key in (_keys.EDGES, _keys.EDGE_STRENGTH) if key not in samples.obsm]
    if table is None or missing:
        where = f"obsm[{missing[0]!r}]" if missing else f"uns[{_keys.COHORT!r}]['edges']"
        raise SetupError(f"Found no {where}, expected the edges of each individual's graph. Call {CALL} anew.")
    a, b = (np.asarray(table[name], dtype=str) for name in ("gene_a", "gene_b"))
    return Edges(a, b, sparse.csr_matrix(samples.obsm[_keys.EDGES]), np.asarray(samples.obsm[_keys.EDGE_STRENGTH]))
