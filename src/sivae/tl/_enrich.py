"""Which gene sets are in the axes, modules, hubs and neighborhoods? Offline, against the genes that were modelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import door, whole_number
from sivae._errors import OptionError, SetupError, some
from sivae._space import read_space
from sivae.stats._enrichment import over_representation, rank_sums
from sivae.stats._fdr import adjust
from sivae.tl._gene_sets import as_sets, membership
from sivae.tl._modules import read_modules
from sivae.tl._similarity import by_name, correlation_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.tl._gene_sets import GeneSets

    Array = NDArray[np.float64]
    Chosen: TypeAlias = dict[str, NDArray[np.bool_]]
    Ranked: TypeAlias = dict[str, Array]

Of: TypeAlias = Literal["axes", "modules", "hubs", "neighbors"]
NEEDED = ("group", "set", "effect", "q")
"""Columns of a table that others show."""
NAMED = 10
"""Genes named in a row of a rank test."""


@final
@dataclass(frozen=True)
class _Sets:
    """Sets of fit size over the background."""

    names: list[str]
    member_sg: sparse.csr_matrix
    genes: NDArray[np.str_]


@door
def enrich(
    adata: AnnData,
    gene_sets: GeneSets,
    *,
    of: Of = "axes",
    gene: str | None = None,
    method: Literal["auto", "ora", "rank"] = "auto",
    n_top: int = 100,
    min_size: int = 5,
    max_size: int = 500,
    background: Iterable[str] | None = None,
    match_case: bool = True,
    use_rep: str | None = None,
) -> pd.DataFrame:
    """Find gene sets that are enriched among axes, modules, hubs or the neighbors of a gene. Nothing is fetched.

    Over-representation ("ora") draws at least so many genes of a set from the background without replacement
    (hypergeometric, Fisher's exact test). The rank test ("rank") compares the values of a set's genes with all others
    (Mann-Whitney, two-sided). Sets are cut down to the background first.

    ========= ================================================ ==========================================
    of        "ora": genes chosen                              "rank": values
    ========= ================================================ ==========================================
    axes      `n_top` at each end: groups "axis1+", "axis1-"   loadings (the default)
    modules   the genes of each module (the default)           not possible
    hubs      `var["sivae_hub"]` (the default)                 `var["sivae_hub_score"]`
    neighbors those in `varp["sivae_distances"]` (default)     correlation that the decoder implies
    ========= ================================================ ==========================================

    Parameters
    ----------
    adata
        Annotated; neither X nor a model is needed.
    gene_sets
        Mapping from names to genes, or the path of a GMT file.
    of
        What is asked about.
    gene
        The gene whose neighbors are asked about.
    method
        "ora", "rank", or the default of the table.
    n_top
        Genes at each end of an axis with "ora"; genes with a loading of 0 are never chosen.
    min_size, max_size
        Sets with fewer or more genes in the background are left out.
    background
        Genes that could have been found; the modelled genes if None. Genes without a position are left out, and with
        `gene` that gene, which is no neighbor of its own.
    match_case
        CD3D and Cd3d are two genes.
    use_rep
        Array of `varm`; siVAE's loadings if None.

    Returns
    -------
    Frame, most significant first: group, set, n_overlap (chosen genes in the set; with "rank" the set's genes), n_set
    (in the background), effect ("ora": odds ratio; "rank": chance that a gene of the set has a larger value than
    another, 0.5 is none), p, q (Benjamini-Hochberg over all rows of the table), genes (the overlap; with "rank" the
    set's ten genes farthest in its direction; joined by ";").

    Raises
    ------
    GeneMismatchError
        If no set holds a gene of the background, saying where only the case differs; if `gene` is unknown.
    SetupError
        If what is asked about is not in `adata`.
    OptionError
        If options do not go together, or no set has a fit size.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sets = {"first": adata.var_names[:15], "others": adata.var_names[45:]}
    >>> sivae.tl.enrich(adata, sets, use_rep="planted_v")[["group", "set", "n_set"]].head(1)
       group    set  n_set
    0  axis1  first     15
    """
    by = _method(of, gene, method)
    n_top, min_size = whole_number("n_top", n_top, least=1), whole_number("min_size", min_size, least=1)
    max_size = whole_number("max_size", max_size, least=1)
    every = by_name(read_space(adata, use_rep))
    drawn = _background(every, background)
    if gene is not None:
        drawn = drawn & (np.arange(len(drawn)) != every.find(gene)[0])
    space = every.take(drawn)
    sets = _fit(as_sets(gene_sets), space, match_case=match_case, min_size=min_size, max_size=max_size)
    if by == "ora":
        chosen = _chosen(adata, every, space, of=of, gene=gene, n_top=n_top)
        rows = [_ora(group, chosen_g, sets) for group, chosen_g in chosen.items()]
    else:
        ranked = _ranked(adata, every, space, of=of, gene=gene)
        rows = [_rank(group, value_g, sets) for group, value_g in ranked.items()]
    columns = ["group", "set", "n_overlap", "n_set", "effect", "p", "q", "genes"]
    if not rows:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(rows, ignore_index=True)
    frame["q"] = adjust(frame["p"].to_numpy(dtype=np.float64))
    return frame.sort_values("p", kind="stable", ignore_index=True)[columns]


def _method(of: str, gene: str | None, method: str) -> str:
    default = {"axes": "rank", "modules": "ora", "hubs": "ora", "neighbors": "ora"}
    if of not in default:
        raise OptionError(f"Found of={of!r}, expected one of {', '.join(default)}.")
    if method not in ("auto", "ora", "rank"):
        raise OptionError(f'Found method={method!r}, expected "auto", "ora" or "rank".')
    if of == "modules" and method == "rank":
        raise OptionError('Found method="rank" with of="modules", which have members and no order. Use "ora".')
    if (of == "neighbors") != (gene is not None):
        raise OptionError(f'Found of={of!r} with gene={gene!r}. Name a gene with of="neighbors", and only then.')
    return default[of] if method == "auto" else method


def _background(space: GeneSpace, background: Iterable[str] | None) -> NDArray[np.bool_]:
    """Mask of the genes that could have been found."""
    if background is None:
        return space.modelled_g
    if isinstance(background, str):
        raise OptionError("Found a text as background, expected a list of genes.")
    wanted = {str(name) for name in background}
    mask = np.array([name in wanted for name in space.names], bool)
    if not mask.any():
        space.find(sorted(wanted)[:1] or [""])
    return mask


def _fit(sets: dict[str, list[str]], space: GeneSpace, *, match_case: bool, min_size: int, max_size: int) -> _Sets:
    member_sg = membership(sets, space.names, match_case=match_case)
    size_s = np.diff(member_sg.indptr)
    kept = np.flatnonzero((size_s >= min_size) & (size_s <= max_size))
    if len(kept) == 0:
        raise OptionError(
            f"None of {len(sets)} sets has {min_size} to {max_size} of the {len(space.names)} genes of the background "
            f"(the largest has {size_s.max()}). Change min_size or max_size."
        )
    names = list(sets)
    return _Sets([names[row] for row in kept], sparse.csr_matrix(member_sg[kept]), np.array(space.names, dtype=str))


def _chosen(adata: AnnData, every: GeneSpace, space: GeneSpace, *, of: str, gene: str | None, n_top: int) -> Chosen:
    """Masks over the background, one per group."""
    if of == "axes":
        return _ends(space, n_top)
    if of == "modules":
        names, module_g = read_modules(adata, space)
        return {name: module_g == number for number, name in enumerate(names)}
    if of == "hubs":
        return {"hubs": _column(adata, _keys.HUB)[space.rows].astype(bool)}
    assert gene is not None
    row = every.rows[every.find(gene)[0]]
    if _keys.DISTANCES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.DISTANCES!r}], expected neighbors. Call sivae.tl.gene_neighbors(adata) first."
        )
    near = sparse.csr_matrix(adata.varp[_keys.DISTANCES])[[row]].indices
    return {gene: np.isin(space.rows, near)}


def _ends(space: GeneSpace, n_top: int) -> Chosen:
    chosen: Chosen = {}
    for axis, name in enumerate(space.axes):
        for sign, mark in ((1.0, "+"), (-1.0, "-")):
            value_g = sign * space.v_gk[:, axis]
            top = np.argsort(-value_g, kind="stable")[:n_top]
            mask = np.zeros(len(value_g), bool)
            mask[top[value_g[top] > 0]] = True
            chosen[name + mark] = mask
    return chosen


def _ranked(adata: AnnData, every: GeneSpace, space: GeneSpace, *, of: str, gene: str | None) -> Ranked:
    """Values over the background, one array per group; NaN for genes left out of the comparison."""
    if of == "axes":
        return {name: space.v_gk[:, axis] for axis, name in enumerate(space.axes)}
    if of == "hubs":
        return {"hubs": _column(adata, _keys.HUB_SCORE)[space.rows].astype(np.float64)}
    assert gene is not None
    factor_gm = correlation_of(every)
    value_g = factor_gm @ factor_gm[every.find(gene)[0]]
    return {gene: value_g[np.isin(every.rows, space.rows)]}


def _column(adata: AnnData, key: str) -> NDArray[np.generic]:
    if key not in adata.var:
        raise SetupError(f"Found no var[{key!r}], expected hubs. Call sivae.tl.hubs(adata) first.")
    return np.asarray(adata.var[key].to_numpy())


def _ora(group: str, chosen_g: NDArray[np.bool_], sets: _Sets) -> pd.DataFrame:
    size_s = np.diff(sets.member_sg.indptr)
    overlap_s = np.asarray(sets.member_sg @ chosen_g.astype(np.float64)).astype(np.int64)
    odds_s, p_s = over_representation(overlap_s, size_s, n_chosen=int(chosen_g.sum()), n_background=len(chosen_g))
    member = sets.member_sg
    spans = [member.indices[a:b] for a, b in zip(member.indptr, member.indptr[1:], strict=False)]
    genes = [";".join(sets.genes[span[chosen_g[span]]]) for span in spans]
    return _frame(group, sets, overlap_s, size_s, effect=odds_s, p=p_s, genes=genes)


def _rank(group: str, value_g: Array, sets: _Sets) -> pd.DataFrame:
    known = np.isfinite(value_g)
    member = sparse.csr_matrix(sets.member_sg[:, known])
    chance_s, p_s = rank_sums(value_g[known], member)
    names, known_g = sets.genes[known], value_g[known]
    genes = []
    for row, chance in enumerate(chance_s):
        span = member.indices[member.indptr[row] : member.indptr[row + 1]]
        order = np.argsort(-known_g[span] if chance >= 0.5 else known_g[span], kind="stable")
        genes.append(";".join(names[span[order[:NAMED]]]))
    size_s = np.diff(member.indptr)
    return _frame(group, sets, size_s, size_s, effect=chance_s, p=p_s, genes=genes)


def _frame(
    group: str, sets: _Sets, overlap_s: NDArray[np.integer], size_s: NDArray[np.integer], *, effect: Array, p: Array,
    genes: list[str],
) -> pd.DataFrame:  # fmt: skip
    return pd.DataFrame(
        {
            "group": group,
            "set": sets.names,
            "n_overlap": overlap_s,
            "n_set": size_s,
            "effect": effect,
            "p": p,
            "genes": genes,
        }
    )


def check_tables(enrichment: object) -> list[pd.DataFrame]:
    """Tables of enrichment as a list.

    Raises
    ------
    OptionError
        If one is no table as `sivae.tl.enrich` makes it.
    """
    if enrichment is None:
        return []
    listed: list[Any] = list(enrichment.values()) if isinstance(enrichment, dict) else [enrichment]
    for table in listed:
        if not isinstance(table, pd.DataFrame):
            raise OptionError(
                f"enrichment holds {type(table).__name__}; expected frames that sivae.tl.enrich returned. "
                "Pass one, or a dict of them."
            )
        gone = [name for name in NEEDED if name not in table]
        if gone:
            raise OptionError(
                f"enrichment lacks the columns {some(gone)}, expected {some(NEEDED)} at least. "
                "Pass what sivae.tl.enrich returned."
            )
    return listed
