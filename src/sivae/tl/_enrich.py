"""Which gene sets are in the axes, modules, hubs and neighborhoods? Offline, against the genes that were modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import number, one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._rng import numpy_generator
from sivae._space import read_space
from sivae.stats._enrichment import over_representation
from sivae.stats._fdr import adjust
from sivae.tl._gene_sets import as_sets, membership
from sivae.tl._modules import read_modules
from sivae.tl._ranked import RunningSum, Sets, as_frame, by_ranks, by_sums, values_of_genes
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

Of: TypeAlias = Literal["axes", "modules", "hubs", "neighbors", "values"]
NEEDED = ("group", "set", "effect", "q")
"""Columns of a table that others show."""
DEFAULT = {"axes": "rank", "modules": "ora", "hubs": "ora", "neighbors": "ora", "values": "rank"}
"""What can be asked about, and how it is."""
METHODS = ("auto", "ora", "rank", "gsea")


@door
def enrich(
    adata: AnnData,
    gene_sets: GeneSets,
    *,
    of: Of = "axes",
    gene: str | None = None,
    values: pd.Series | pd.DataFrame | None = None,
    method: Literal["auto", "ora", "rank", "gsea"] = "auto",
    n_top: int = 100,
    min_size: int = 5,
    max_size: int = 500,
    background: Iterable[str] | None = None,
    match_case: bool = True,
    use_rep: str | None = None,
    weight: float = 1.0,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Find gene sets that are enriched among axes, modules, hubs, the neighbors of a gene, or values of your own.

    Nothing is fetched. Over-representation ("ora") draws at least so many genes of a set from the background without
    replacement (hypergeometric, Fisher's exact test). The rank test ("rank") compares the values of a set's genes with
    all others (Mann-Whitney, two-sided). The running sum ("gsea") rises by abs(value)^weight at genes of a set down the
    ranking and falls at others; its largest deviation from 0 is compared with that of as many random genes. Sets are
    cut down to the background first. All three take genes for independent draws, which genes that follow each other are
    not: a small q says that a set is more than a random set of genes, not that other cells would say so again.

    ========= ================================================ ==========================================
    of        "ora": genes chosen                              "rank", "gsea": values
    ========= ================================================ ==========================================
    axes      `n_top` at each end: groups "axis1+", "axis1-"   loadings ("rank" is the default)
    modules   the genes of each module (the default)           not possible
    hubs      `var["sivae_hub"]` (the default)                 `var["sivae_hub_score"]`
    neighbors those in `varp["sivae_distances"]` (default)     correlation that the decoder implies
    values    `n_top` at each end: groups "latent+", "latent-" `values` ("rank" is the default)
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
    values
        A number for each gene: a series, a frame genes x columns (each column a group), or what
        `sivae.tl.feature_awareness` returned (each layer, in each group of cells, by its awareness). Genes that lack
        one are left out of the background.
    method
        "ora", "rank", "gsea", or the default of the table.
    n_top
        Genes at each end of an axis or of the values with "ora"; genes with a value of 0 are never chosen.
    min_size, max_size
        Sets with fewer or more genes in the background are left out.
    background
        Genes that could have been found; the modelled genes if None. Genes without a position are left out, and with
        `gene` that gene, which is no neighbor of its own.
    match_case
        CD3D and Cd3d are two genes.
    use_rep
        Array of `varm`; siVAE's loadings if None.
    weight
        Exponent of the running sum; 0 counts genes alone. Where nearly all values have one sign, as awareness, only 0
        judges sets at the other end: no random set scores there, effect is NaN and p is 1.
    n_permutations
        Random sets that the running sum is compared with; the smallest p is about 2 / n_permutations.
    seed
        Of these sets.

    Returns
    -------
    Frame, most significant first: group, set, n_overlap (chosen genes in the set; "rank": the set's genes; "gsea": its
    leading edge, the genes up to where the score stands), n_set (in the background), effect ("ora": odds ratio;
    "rank": chance that a gene of the set has a larger value than another, 0.5 is none; "gsea": normalized enrichment
    score, the score over the mean of random ones of its sign), p, q (Benjamini-Hochberg over all rows of the table),
    genes (the overlap; with "rank" the set's ten genes farthest in its direction; joined by ";").

    Raises
    ------
    GeneMismatchError
        If no set holds a gene of the background, saying where only the case differs; if `gene` is unknown.
    SetupError
        If what is asked about is not in `adata`, or `values` are no numbers of genes.
    OptionError
        If options do not go together, or no set has a fit size.

    References
    ----------
    Running sum: Subramanian and others 2005, doi 10.1073/pnas.0506580102.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sets = {"first": adata.var_names[:15], "others": adata.var_names[45:]}
    >>> sivae.tl.enrich(adata, sets, use_rep="planted_v")[["group", "set", "n_set"]].head(1)
       group    set  n_set
    0  axis1  first     15
    """
    by = _method(of, gene, method, values)
    generator = numpy_generator(whole_number("seed", seed, least=0), "enrichment")
    n_permutations = whole_number("n_permutations", n_permutations, least=1, hint="1000 is the default.")
    weight = number("weight", weight, allowed=lambda x: 0 <= x < np.inf, expected="a number of 0 or more")
    n_top, min_size = whole_number("n_top", n_top, least=1), whole_number("min_size", min_size, least=1)
    max_size = whole_number("max_size", max_size, least=1)
    every = by_name(read_space(adata, use_rep))
    drawn = _background(every, background)
    if gene is not None:
        drawn = drawn & (np.arange(len(drawn)) != every.find(gene)[0])
    own: Ranked = {}
    if values is not None:
        own = values_of_genes(values, every.names)
        drawn = drawn & np.all([np.isfinite(value_g) for value_g in own.values()], axis=0)
        own = {name: value_g[drawn] for name, value_g in own.items()}
    space = every.take(drawn)
    sets = _fit(as_sets(gene_sets), space, match_case=match_case, min_size=min_size, max_size=max_size)
    if by == "ora":
        chosen = _chosen(adata, every, space, of=of, gene=gene, n_top=n_top, own=own)
        rows = [_ora(group, chosen_g, sets) for group, chosen_g in chosen.items()]
    else:
        ranked = _ranked(adata, every, space, of=of, gene=gene, own=own)
        how = RunningSum(weight, n_permutations, generator)
        rows = [
            by_sums(group, value_g, sets, how) if by == "gsea" else by_ranks(group, value_g, sets)
            for group, value_g in ranked.items()
        ]
    columns = ["group", "set", "n_overlap", "n_set", "effect", "p", "q", "genes"]
    if not rows:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(rows, ignore_index=True)
    frame["q"] = adjust(frame["p"].to_numpy(dtype=np.float64))
    return frame.sort_values("p", kind="stable", ignore_index=True)[columns]


def _method(of: str, gene: str | None, method: str, values: object) -> str:
    one_of("of", of, DEFAULT)
    one_of("method", method, METHODS)
    if of == "modules" and method in ("rank", "gsea"):
        raise OptionError(f'Found method={method!r} with of="modules", which have members and no order. Use "ora".')
    if (of == "neighbors") != (gene is not None):
        raise OptionError(f'Found of={of!r} with gene={gene!r}. Name a gene with of="neighbors", and only then.')
    if (of == "values") != (values is not None):
        there = "no values" if values is None else "values"
        raise OptionError(f'Found of={of!r} with {there}. Pass values with of="values", and only then.')
    return DEFAULT[of] if method == "auto" else method


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


def _fit(sets: dict[str, list[str]], space: GeneSpace, *, match_case: bool, min_size: int, max_size: int) -> Sets:
    member_sg = membership(sets, space.names, match_case=match_case)
    size_s = np.diff(member_sg.indptr)
    kept = np.flatnonzero((size_s >= min_size) & (size_s <= max_size))
    if len(kept) == 0:
        raise OptionError(
            f"None of {len(sets)} sets has {min_size} to {max_size} of the {len(space.names)} genes of the background "
            f"(the largest has {size_s.max()}). Change min_size or max_size."
        )
    names = list(sets)
    return Sets([names[row] for row in kept], sparse.csr_matrix(member_sg[kept]), np.array(space.names, dtype=str))


def _chosen(
    adata: AnnData, every: GeneSpace, space: GeneSpace, *, of: str, gene: str | None, n_top: int, own: Ranked
) -> Chosen:
    """Masks over the background, one per group."""
    if of in ("axes", "values"):
        return _ends(_ranked(adata, every, space, of=of, gene=gene, own=own), n_top)
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


def _ends(ranked: Ranked, n_top: int) -> Chosen:
    chosen: Chosen = {}
    for name, ranking_g in ranked.items():
        for sign, mark in ((1.0, "+"), (-1.0, "-")):
            value_g = sign * ranking_g
            top = np.argsort(-value_g, kind="stable")[:n_top]
            mask = np.zeros(len(value_g), bool)
            mask[top[value_g[top] > 0]] = True
            chosen[name + mark] = mask
    return chosen


def _ranked(adata: AnnData, every: GeneSpace, space: GeneSpace, *, of: str, gene: str | None, own: Ranked) -> Ranked:
    """Values over the background, one array per group; NaN for genes left out of the comparison."""
    if of == "axes":
        return {name: space.v_gk[:, axis] for axis, name in enumerate(space.axes)}
    if of == "hubs":
        return {"hubs": _column(adata, _keys.HUB_SCORE)[space.rows].astype(np.float64)}
    if of == "values":
        return own
    assert gene is not None
    factor_gm = correlation_of(every)
    value_g = factor_gm @ factor_gm[every.find(gene)[0]]
    return {gene: value_g[np.isin(every.rows, space.rows)]}


def _column(adata: AnnData, key: str) -> NDArray[np.generic]:
    if key not in adata.var:
        raise SetupError(f"Found no var[{key!r}], expected hubs. Call sivae.tl.hubs(adata) first.")
    return np.asarray(adata.var[key].to_numpy())


def _ora(group: str, chosen_g: NDArray[np.bool_], sets: Sets) -> pd.DataFrame:
    size_s = np.diff(sets.member_sg.indptr)
    overlap_s = np.asarray(sets.member_sg @ chosen_g.astype(np.float64)).astype(np.int64)
    odds_s, p_s = over_representation(overlap_s, size_s, n_chosen=int(chosen_g.sum()), n_background=len(chosen_g))
    member = sets.member_sg
    spans = [member.indices[a:b] for a, b in zip(member.indptr, member.indptr[1:], strict=False)]
    genes = [";".join(sets.genes[span[chosen_g[span]]]) for span in spans]
    return as_frame(group, sets, overlap_s, size_s, effect=odds_s, p=p_s, genes=genes)


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
