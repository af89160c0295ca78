"""The gene space of a run: what `fit` works out once it has trained, and the tables that are asked for later."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sivae import _keys
from sivae._errors import ArtefactError, OptionError, SetupError
from sivae._run._files import CELLS
from sivae._run._links import check_links
from sivae._run._use import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

NEIGHBORS = 20
UNASSIGNED = "unassigned"
ENRICHMENT = "enrichment_"
"""How names of tables of gene sets begin."""


def analyse(adata: AnnData, *, seed: int) -> str:
    """Write neighbors, hubs and modules into an annotated AnnData; what was found, in words."""
    from sivae import tl
    from sivae._space import read_space

    n_genes = len(read_space(adata).names)
    tl.hubs(adata)
    connected, central = (int(adata.var[key].sum()) for key in (_keys.CONNECTED, _keys.HUB))
    words = f"{connected:,} genes follow others, {central:,} of them hubs"
    if n_genes < 3:
        return words
    tl.gene_neighbors(adata, min(NEIGHBORS, n_genes - 1))
    if find_spec("graspologic_native") is None:
        return f"{words} (modules need the extra modules)"
    tl.modules(adata, seed=seed)
    found = set(adata.var[_keys.MODULE].dropna()) - {UNASSIGNED}
    return f"{words}; {len(found):,} modules"


def tables(adata: AnnData, *, gene_sets: Path | None) -> dict[str, pd.DataFrame]:
    """The tables of the gene space that a run keeps, by the name of their file."""
    from sivae import tl

    found = {
        "loadings": tl.rank_loadings(adata, n_genes=None),
        "explained_variance": tl.explained_variance(adata),
        "hubs": tl.hub_table(adata).reset_index(),
    }
    if _keys.DISTANCES in adata.varp:
        found["neighbors"] = tl.gene_graph(adata, as_="edges")
    if _keys.MODULE in adata.var:
        found["modules"] = module_members(adata)
    if gene_sets is not None:
        found[f"{ENRICHMENT}axes"] = tl.enrich(adata, gene_sets)
        if "modules" in found and len(found["modules"]):
            found[f"{ENRICHMENT}modules"] = tl.enrich(adata, gene_sets, of="modules")
        if adata.var[_keys.HUB].any():
            found[f"{ENRICHMENT}hubs"] = tl.enrich(adata, gene_sets, of="hubs")
    return found


# ------------------------------------------------------------------------------------------------------ asked for later


def open_gene_space(run: Path) -> AnnData:
    """The annotated AnnData of a run without its values.

    Raises
    ------
    ArtefactError
        If the folder is not a run, or its cells cannot be read.
    """
    import h5py
    from anndata import AnnData
    from anndata.io import read_elem

    read_record(run)
    try:
        with h5py.File(run / CELLS, "r") as file:
            check_links(file, run / CELLS)
            names = ("obs", "var", "uns", "obsm", "varm", "varp")
            held: dict[str, Any] = {name: read_elem(file[name]) for name in names if name in file}
        return AnnData(**held)
    except (OSError, KeyError, ValueError) as error:
        raise ArtefactError(
            f"{run / CELLS} cannot be read: {error}. The run is damaged: copy or make it again."
        ) from error


def neighbors(run: Path, genes: Sequence[str], *, n_neighbors: int | None, metric: str | None) -> pd.DataFrame:
    """Neighbors of some genes; found again where another number or metric is asked for (nothing is written)."""
    from sivae import tl
    from sivae._space import read_space

    adata = open_gene_space(run)
    read_space(adata).find(genes)
    known = dict(dict(adata.uns.get(_keys.UNS, {})).get("neighbors", {}))
    number = int(known.get("n_neighbors", NEIGHBORS)) if n_neighbors is None else n_neighbors
    if not known or number > int(known["n_neighbors"]) or metric is not None:
        metric = str(known.get("metric", "auto")) if metric is None else metric
        tl.gene_neighbors(adata, number, metric, signed=bool(known.get("signed", False)))  # type: ignore[arg-type]
    return tl.neighbors_of(adata, genes, n_neighbors=number)


def hubs(run: Path, *, n_genes: int | None, score: str | None) -> pd.DataFrame:
    """The most central genes, with every centrality and the evidence."""
    from sivae import tl
    from sivae.tl._hubs import SCORES

    adata = open_gene_space(run)
    table = tl.hub_table(adata)
    if score is not None and score != "auto":
        scores = [name for name in SCORES[1:] if name in table]
        if score not in scores:
            raise OptionError(f"Found --score {score!r}, expected one of {', '.join(scores)}.")
        table = table.sort_values(score, ascending=False, kind="stable")
    if _keys.MODULE in adata.var:
        table["module"] = adata.var[_keys.MODULE].astype(str).reindex(table.index)
    return table.reset_index().head(len(table) if n_genes is None else n_genes)


def modules(run: Path, *, module: str | None, n_genes: int) -> pd.DataFrame:
    """Modules with their most central genes; or the genes of one module."""
    adata = open_gene_space(run)
    if _keys.MODULE not in adata.var:
        raise SetupError(
            f"{run} has no modules. Install the extra modules (pip install 'sivae-tools[modules]') and make it again."
        )
    members = module_members(adata)
    if module is None:
        return _summary(members, n_genes)
    if module not in set(members["module"]):
        known = list(dict.fromkeys(members["module"]))
        raise OptionError(f"Found no module {module!r}, expected one of: {', '.join(known) or 'none were found'}.")
    return members[members["module"] == module].reset_index(drop=True)


def loadings(run: Path, *, axis: int | None, n_genes: int | None) -> pd.DataFrame:
    """Genes at both ends of each axis, or of one, counted from 1."""
    from sivae import tl

    adata = open_gene_space(run)
    table = tl.rank_loadings(adata, n_genes=n_genes)
    if axis is None:
        return table
    n_axes = adata.varm[_keys.GENES].shape[1]
    if not 1 <= axis <= n_axes:
        raise OptionError(f"Found --axis {axis}, expected 1 to {n_axes}.")
    if f"axis{axis}" in table.attrs["unused"]:
        raise OptionError(f"Axis {axis} is not used: no gene loads on it. sivae loadings {run} lists the others.")
    return table[table["axis"] == f"axis{axis}"].reset_index(drop=True)


def enrich(run: Path, gene_sets: Path, *, of: str, gene: str | None, method: str, match_case: bool) -> pd.DataFrame:
    """Gene sets enriched among axes, modules, hubs or the neighbors of a gene."""
    from sivae import tl

    adata = open_gene_space(run)
    return tl.enrich(adata, gene_sets, of=of, gene=gene, method=method, match_case=match_case)  # type: ignore[arg-type]


def module_members(adata: AnnData) -> pd.DataFrame:
    """Genes of the modules, most central first: module, gene, stability, score, r2."""
    columns = {"module": _keys.MODULE, "stability": _keys.MODULE_STABILITY, "score": _keys.HUB_SCORE, "r2": _keys.R2}
    table = adata.var[[key for key in columns.values() if key in adata.var]].copy()
    table.columns = [name for name, key in columns.items() if key in adata.var]
    table.insert(1, "gene", adata.var_names.astype(str))
    for name in ("stability", "score"):  # as modules alone, without hubs, leave them
        if name not in table:
            table[name] = float("nan")
    table["module"] = table["module"].astype(str)
    table = table[table["module"].str.startswith("module")]
    table["order"] = table["module"].str.removeprefix("module").astype(int)
    ordered: pd.DataFrame = table.sort_values(["order", "score", "gene"], ascending=[True, False, True])
    return ordered.drop(columns="order").reset_index(drop=True)


def _summary(members: pd.DataFrame, n_genes: int) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            "module": name,
            "genes": len(part),
            "stability": part["stability"].mean(),
            "most central": ", ".join(part["gene"].head(n_genes)),
        }
        for name, part in members.groupby("module", sort=False)
    ]
    return pd.DataFrame(rows, columns=["module", "genes", "stability", "most central"])
