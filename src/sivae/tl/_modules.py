"""Modules: communities of the graph of genes, and their score in each cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import check_adata, number, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._extras import require
from sivae._rng import numpy_generator
from sivae._space import read_space
from sivae.graph._communities import find_communities
from sivae.graph._edges import pair_correlations
from sivae.graph._implied import correlation_factors
from sivae.graph._neighbors import knn_graph
from sivae.graph._scores import directions, orientations
from sivae.stats._enrichment import origin_pvalues
from sivae.stats._fdr import adjust
from sivae.tl._cells import positions
from sivae.tl._similarity import ALIKE, AUTO, by_name, correlation_of, noise_of, signal_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.graph._communities import Communities, Pair

UNASSIGNED = "unassigned"
"""Value of `var["sivae_module"]` for a gene in no module."""


@door
def modules(
    adata: AnnData,
    resolution: float | Literal["auto"] = "auto",
    *,
    signed: bool = True,
    fdr: float = 0.05,
    min_size: int = 5,
    min_stability: float = 0.5,
    n_resamples: int = 20,
    use_rep: str | None = None,
    seed: int = 0,
) -> None:
    """Find modules: genes that go together, in every graph that the data might as well have given.

    Connected genes alone take part (`var["sivae_connected_pvalue"]` at the false discovery rate `fdr`, Benjamini and
    Hochberg; where a gene has none, its loadings against their variances). Their graph is made again `n_resamples`
    times, with the metric and the number of neighbors of the graph at hand, from loadings v + sd e, e standard normal,
    and v - sd e: the two are independent draws around the true
    loadings (data fission; Leiner, Duan, Wasserman, Ramdas 2023, doi 10.1080/01621459.2023.2270748), as if two
    experiments had been made. Leiden (Traag, Waltman, van Eck 2019, doi 10.1038/s41598-019-41695-z) divides each, with
    a seed of its own. Modules are the median of these partitions.

    A gene's **stability** is the share of its module's other genes with which it falls together, mean over the
    graphs. With `resolution="auto"` modules of one half of the graphs are looked for in the other half, at eight
    resolutions from 0.25 to 2.8; taken is the finest at which the mean stability of all connected genes (0 for those in
    no module) is at least 0.75, else the most stable, and below 0.5 there are no modules.

    Where variances of the loadings are not known (another embedding), or the metric is not a correlation, the edges of
    the graph are weighted at random instead (exponential weights, a Bayesian bootstrap). Without p-values and variances
    nothing says that genes follow anything, so a single module of all genes is not reported.

    Parameters
    ----------
    adata
        Annotated, with the graph of `sivae.tl.gene_neighbors`. Neither X nor a model is needed.
    resolution
        Of modularity: higher gives more and smaller modules. "auto" chooses by stability.
    signed
        Genes that move against each other are not tied. Otherwise only the size of the correlation counts, and a module
        may hold genes of both directions.
    fdr
        False discovery rate of the connected genes, 0 to 1.
    min_size
        Genes of the smallest module.
    min_stability
        A less stable gene is unassigned.
    n_resamples
        Graphs, an even number.
    use_rep
        Array of `varm` that the graph was made from; if None what `gene_neighbors` recorded, else siVAE's loadings.
    seed
        Of the resampling and of Leiden.

    Returns
    -------
    None. Writes `var["sivae_module"]` (categorical: "module1", ... by falling size, "unassigned"),
    `var["sivae_module_stability"]` (0 to 1; NaN if unassigned), `uns["sivae"]["modules"]` (resolution, size and
    stability of each module, what was tried, parameters), and, where the cells have positions,
    `obsm["X_sivae_modules"]` as `module_scores` does.

    Raises
    ------
    SetupError
        Without a gene space or without a graph.
    MissingExtraError
        Without `graspologic-native` (extra `modules`).
    OptionError
        If an option cannot work.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.tl.gene_neighbors(adata, 15, use_rep="planted_v")
    >>> sivae.tl.modules(adata, 1.0)
    >>> adata.var["sivae_module"].value_counts().to_dict()
    {'module1': 20, 'module2': 20, 'unassigned': 20}
    """
    check_adata(adata)
    _check(resolution, fdr=fdr, min_size=min_size, min_stability=min_stability, n_resamples=n_resamples)
    seed = whole_number("seed", seed, least=0, hint="0 is the default.")
    require("graspologic_native", extra="modules")
    graph, choices = _graph(adata)
    space = by_name(read_space(adata, choices.get("use_rep") if use_rep is None else use_rep))
    space = space.take(connected(space, fdr))
    found = None
    if len(space.names) >= max(min_size, 2):
        alike = ALIKE.get(str(choices.get("metric", AUTO)))
        if alike is None or space.variance_gk is None or space.noise_g is None:
            pairs = _from_edges(space, graph, n_pairs=n_resamples // 2, signed=signed, seed=seed)
        else:
            number = int(choices.get("n_neighbors", 0)) or _n_neighbors(graph)
            pairs = _from_positions(space, number, alike=alike, n_pairs=n_resamples // 2, signed=signed, seed=seed)
        found = find_communities(
            pairs,
            resolution=None if resolution == "auto" else float(resolution),
            min_size=min_size,
            min_stability=min_stability,
            seed=seed,
        )
        if space.variance_gk is None and space.pvalue_g is None and found.module_g.max() < 1:
            found = None
    _write(adata, space, found)
    parameters: dict[str, Any] = {"signed": signed, "fdr": fdr, "min_size": min_size, "min_stability": min_stability}
    parameters |= {"n_resamples": n_resamples, "use_rep": space.rep, "seed": seed, "automatic": resolution == "auto"}
    _record(adata, found, parameters)
    adata.obsm.pop(_keys.MODULE_SCORES, None)
    if space.rep == _keys.GENES and _keys.CELLS in adata.obsm:
        module_scores(adata)


@door
def module_scores(adata: AnnData) -> None:
    """Score every module in every cell, from the positions of cells and genes.

    score = z_c . mean_g(sign_g v_g) over the module's genes: the mean of what the linear part predicts for them, in
    standard deviations of a gene; 0 for a cell at the origin. The sign is -1 for a gene that runs against most of its
    module, which happens only in modules found with `signed=False`.

    Parameters
    ----------
    adata
        With `var["sivae_module"]`, the cells' positions and the genes'. New cells need their positions alone.

    Returns
    -------
    None. Writes `obsm["X_sivae_modules"]`, a frame cells x modules.

    Raises
    ------
    SetupError
        Without modules, or without positions of the cells.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> adata.var["sivae_module"] = adata.var["module"]
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> sivae.tl.module_scores(adata)
    >>> adata.obsm["X_sivae_modules"].shape
    (100, 3)
    """
    space = read_space(adata)
    names, module_g = read_modules(adata, space)
    z_ck = positions(adata, None, space.v_gk.shape[1])
    members = np.flatnonzero(module_g >= 0)
    sign_g = orientations(correlation_of(space), module_g)[members]
    shape = (len(names), len(module_g))
    direction_mk = directions(space.v_gk, sparse.csr_matrix((sign_g, (module_g[members], members)), shape=shape))
    adata.obsm[_keys.MODULE_SCORES] = pd.DataFrame(z_ck @ direction_mk.T, index=adata.obs_names, columns=names)


def read_modules(adata: AnnData, space: GeneSpace) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the modules, and the place of each gene's module among them, -1 for genes in none, (genes,).

    Raises
    ------
    SetupError
        Without modules.
    """
    if _keys.MODULE not in adata.var:
        raise SetupError(f"Found no var[{_keys.MODULE!r}], expected modules. Call sivae.tl.modules(adata) first.")
    label = adata.var[_keys.MODULE].astype("category")
    names = [str(name) for name in label.cat.categories if name != UNASSIGNED]
    place = {name: number for number, name in enumerate(names)}
    values = [place.get(str(value), -1) for value in label.to_numpy()[space.rows]]
    return names, np.array(values, np.int64)


def connected(space: GeneSpace, fdr: float) -> NDArray[np.bool_]:
    """Genes that follow anything, (genes,): evidence at the false discovery rate `fdr` (Benjamini-Hochberg).

    The evidence is `var["sivae_connected_pvalue"]`, from held-out cells. For a gene that has none it is weaker: its
    loadings against their variances. Where neither is known, a gene is connected unless it lies exactly at the origin.
    """
    p_g = np.full(len(space.names), np.nan) if space.pvalue_g is None else space.pvalue_g.copy()
    unknown = ~np.isfinite(p_g)
    if unknown.any() and space.variance_gk is not None:
        variance_k = np.diag(space.covariance_kk)
        p_g[unknown] = origin_pvalues(space.v_gk[unknown], space.variance_gk[unknown], variance_k)
        unknown = ~np.isfinite(p_g)
    result: NDArray[np.bool_] = (space.v_gk**2).sum(axis=1) > 0
    result[~unknown] = adjust(p_g)[~unknown] <= fdr
    return result


def _graph(adata: AnnData) -> tuple[sparse.csr_matrix, dict[str, Any]]:
    """The graph of genes, and with which choices it was made, where that is recorded."""
    if _keys.CONNECTIVITIES not in adata.varp:
        raise SetupError(
            f"Found no varp[{_keys.CONNECTIVITIES!r}], expected a graph of genes. "
            "Call sivae.tl.gene_neighbors(adata) first."
        )
    choices = dict(dict(adata.uns.get(_keys.UNS, {})).get("neighbors", {}))
    return sparse.csr_matrix(adata.varp[_keys.CONNECTIVITIES], dtype=np.float64), choices


def _from_positions(
    space: GeneSpace, n_neighbors: int, *, alike: float, n_pairs: int, signed: bool, seed: int
) -> list[Pair]:
    """Pairs of graphs from loadings moved by their error in one direction and in the other."""
    assert space.variance_gk is not None
    noise_g, sd_gk = noise_of(space), np.sqrt(np.nan_to_num(space.variance_gk))

    def graph(shift_gk: NDArray[np.float64]) -> sparse.csr_matrix:
        signal_gm = signal_of(replace(space, v_gk=space.v_gk + shift_gk))
        return knn_graph(correlation_factors(signal_gm, noise_g, alike=alike), n_neighbors, signed=signed)

    pairs = []
    for pair in range(n_pairs):
        shift_gk = sd_gk * numpy_generator(seed, "modules", index=pair).standard_normal(sd_gk.shape)
        pairs.append((graph(shift_gk), graph(-shift_gk)))
    return pairs


def _from_edges(space: GeneSpace, graph: sparse.csr_matrix, *, n_pairs: int, signed: bool, seed: int) -> list[Pair]:
    """Pairs of graphs with edges weighted at random."""
    edges = sparse.coo_matrix(sparse.triu(graph[space.rows][:, space.rows], 1))
    order = np.lexsort((edges.col, edges.row))
    row, column = (index[order].astype(np.intp) for index in (edges.row, edges.col))
    weight = edges.data[order]
    if signed:
        correlation = pair_correlations(correlation_of(space), rows=row, columns=column)
        row, column, weight = (values[correlation > 0] for values in (row, column, weight))

    def drawn(rng: np.random.Generator) -> sparse.csr_matrix:
        half = sparse.csr_matrix((weight * rng.exponential(size=len(weight)), (row, column)), shape=(n, n))
        return sparse.csr_matrix(half + half.T)

    n = len(space.names)
    rngs = (numpy_generator(seed, "modules", index=pair) for pair in range(n_pairs))
    return [(drawn(rng), drawn(rng)) for rng in rngs]


def _n_neighbors(graph: sparse.csr_matrix) -> int:
    """Half of the ties of a gene: those of its own choice."""
    count = np.diff(graph.indptr)
    return max(1, int(np.median(count[count > 0])) // 2 + 1) if (count > 0).any() else 1


def _write(adata: AnnData, space: GeneSpace, found: Communities | None) -> None:
    module_g = np.full(len(space.names), -1) if found is None else found.module_g
    categories = [f"module{number + 1}" for number in range(int(module_g.max(initial=-1)) + 1)] + [UNASSIGNED]
    codes = space.spread(module_g % len(categories), fill=len(categories) - 1).astype(np.int64)
    adata.var[_keys.MODULE] = pd.Categorical.from_codes(codes, categories=pd.Index(categories))
    stability_g = np.full(len(module_g), np.nan) if found is None else found.stability_g
    adata.var[_keys.MODULE_STABILITY] = space.spread(np.asarray(stability_g, np.float64))


def _record(adata: AnnData, found: Communities | None, parameters: dict[str, Any]) -> None:
    """`uns["sivae"]["modules"]`, in values that h5ad holds."""
    frame = pd.DataFrame({"module": adata.var[_keys.MODULE], "stability": adata.var[_keys.MODULE_STABILITY]})
    by_module = frame[frame["module"] != UNASSIGNED].groupby("module", observed=True)["stability"]
    record: dict[str, Any] = {
        "resolution": float("nan") if found is None else found.resolution,
        "module": np.array([str(name) for name in by_module.size().index], dtype=object),
        "size": by_module.size().to_numpy(dtype=np.int64),
        "stability": by_module.mean().to_numpy(dtype=np.float64),
        "parameters": parameters,
    }
    if found is not None and found.scan is not None:
        scan = found.scan
        record["scan"] = {
            "resolution": scan.resolution_r,
            "stability": scan.stability_r,
            "n_modules": scan.n_modules_r,
        }
    adata.uns[_keys.UNS] = {**dict(adata.uns.get(_keys.UNS, {})), "modules": record}


def _check(resolution: float | str, *, fdr: float, min_size: int, min_stability: float, n_resamples: int) -> None:
    if not (isinstance(resolution, str) and resolution == "auto"):
        number("resolution", resolution, allowed=lambda x: 0 < x < np.inf, expected='a positive number or "auto"')
    for name, share in {"fdr": fdr, "min_stability": min_stability}.items():
        number(name, share, allowed=lambda x: 0 <= x <= 1, expected="a number from 0 to 1")
    whole_number("min_size", min_size, least=2, hint="One gene is not a module.")
    if whole_number("n_resamples", n_resamples, least=4, hint="20 is the default.") % 2:
        raise OptionError(f"Found n_resamples={n_resamples}, expected an even number of at least 4.")
