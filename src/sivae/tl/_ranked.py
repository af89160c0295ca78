"""Gene sets in rankings of genes: by ranks, or by a running sum; and rankings from values of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np
import pandas as pd
from scipy import sparse

from sivae._errors import GeneMismatchError, SetupError, some
from sivae.stats._enrichment import rank_sums
from sivae.stats._gsea import enrichment, enrichment_scores, leading_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

NAMED: Final = 10
"""Genes named in a row of a rank test."""
BLOCK: Final = 2**20
"""Genes of random sets held at a time."""


@final
@dataclass(frozen=True)
class Sets:
    """Sets of fit size over the background."""

    names: list[str]
    member_sg: sparse.csr_matrix
    genes: NDArray[np.str_]


@final
@dataclass(frozen=True)
class RunningSum:
    """How the running sum is made, and how many random sets it is compared with."""

    weight: float
    n_permutations: int
    generator: np.random.Generator


def by_ranks(group: str, value_g: Array, sets: Sets) -> pd.DataFrame:
    """Rows of a group: its sets by the ranks of their genes among those that have a value."""
    known = np.isfinite(value_g)
    member = sparse.csr_matrix(sets.member_sg[:, known])
    chance_s, p_s = rank_sums(value_g[known], member)
    names, known_g, genes = sets.genes[known], value_g[known], []
    for row, chance in enumerate(chance_s):
        span = member.indices[member.indptr[row] : member.indptr[row + 1]]
        order = np.argsort(-known_g[span] if chance >= 0.5 else known_g[span], kind="stable")
        genes.append(";".join(names[span[order[:NAMED]]]))
    size_s = np.diff(member.indptr)
    return as_frame(group, sets, size_s, size_s, effect=chance_s, p=p_s, genes=genes)


def by_sums(group: str, value_g: Array, sets: Sets, how: RunningSum) -> pd.DataFrame:
    """The same by the running sum, compared with that of random genes; sets without an order are left out."""
    known = np.isfinite(value_g)
    size_s = np.diff(sparse.csr_matrix(sets.member_sg[:, known]).indptr)
    fit = np.flatnonzero((size_s > 0) & (size_s < known.sum()))
    member = sparse.csr_matrix(sets.member_sg[fit][:, known])
    there = Sets([sets.names[s] for s in fit], member, sets.genes[known])
    value_g = value_g[known]
    if not len(fit):
        return as_frame(group, there, size_s[fit], size_s[fit], effect=np.empty(0), p=np.empty(0), genes=[])
    observed_s = enrichment_scores(value_g[None], member, weight=how.weight)[0]
    found = enrichment(observed_s, _random(value_g, size_s[fit], how))
    edges = leading_edges(value_g, member, weight=how.weight)
    n_edge, genes = np.array([len(edge) for edge in edges]), [";".join(there.genes[edge]) for edge in edges]
    return as_frame(group, there, n_edge, size_s[fit], effect=found.nes_m, p=found.p_m, genes=genes)


def _random(value_g: Array, size_s: NDArray[np.integer], how: RunningSum) -> Array:
    """Scores of sets of random genes, (b, s); sets of one size share them."""
    size_u, at_s = np.unique(size_s, return_inverse=True)
    first = np.concatenate([np.arange(size) for size in size_u])
    step, found = max(1, BLOCK // max(len(first), len(value_g))), []
    for start in range(0, how.n_permutations, step):
        rows = min(step, how.n_permutations - start)
        gene_bg = how.generator.permuted(np.tile(np.arange(len(value_g)), (rows, 1)), axis=1)
        ends = np.concatenate([[0], np.cumsum(np.tile(size_u, rows))])
        member = sparse.csr_matrix((np.ones(ends[-1]), gene_bg[:, first].ravel(), ends), (len(ends) - 1, len(value_g)))
        found.append(enrichment_scores(value_g[None], member, weight=how.weight).reshape(rows, -1))
    return np.concatenate(found)[:, at_s]


def as_frame(
    group: str, sets: Sets, overlap_s: NDArray[np.integer], size_s: NDArray[np.integer], *, effect: Array, p: Array,
    genes: list[str],
) -> pd.DataFrame:  # fmt: skip
    """Rows of the table of enrichment."""
    columns = {"group": group, "set": sets.names, "n_overlap": overlap_s, "n_set": size_s}
    return pd.DataFrame({**columns, "effect": effect, "p": p, "genes": genes})


def values_of_genes(values: Any, names: Sequence[str]) -> dict[str, Array]:
    """Values of genes by name, one ranking per column; NaN where there is none.

    Raises
    ------
    SetupError
        If this is no series or frame of numbers, or a gene is in it twice.
    GeneMismatchError
        If none of the genes has a number in every column.
    """
    table = _table(values)
    table.index = table.index.astype(str)
    if not table.index.is_unique:
        raise SetupError(
            f"values have {some(table.index[table.index.duplicated()])} more than once, expected each gene once. "
            "Keep one of them."
        )
    matched = table.reindex(list(names))
    try:
        found = {str(name): matched[name].to_numpy(np.float64) for name in table.columns}
    except (TypeError, ValueError) as error:
        raise SetupError(f"values are no numbers: {error}. Pass one number for each gene.") from error
    if not found or not np.all([np.isfinite(value_g) for value_g in found.values()], axis=0).any():
        raise GeneMismatchError(
            f"None of the {len(names)} genes here ({some(names, 3)}) has a number in every column of values, which has "
            f"{len(table)} genes ({some(table.index, 3)}). Index values by var_names."
        )
    return found


def _table(values: Any) -> pd.DataFrame:
    """Genes x rankings."""
    if isinstance(values, pd.Series):
        return values.to_frame("values" if values.name is None else str(values.name))
    if not isinstance(values, pd.DataFrame):
        raise SetupError(
            f"Found values of type {type(values).__name__}, expected a series or a frame indexed by gene, or what "
            "sivae.tl.feature_awareness returns. Pass one of these."
        )
    if {"layer", "gene", "awareness"} <= set(values.columns):
        parts = ["layer", "group"] if "group" in values.columns else ["layer"]
        name = values[parts].astype(str).agg(", ".join, axis=1)
        wide = values.assign(name=name).pivot(index="gene", columns="name", values="awareness")
        return wide[list(dict.fromkeys(name))]
    return values.copy()
