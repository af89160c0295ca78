"""Gene spaces and inferred networks of one data set, fitted once and shared by the benchmarks about genes.

Each is a similarity of genes (from which neighbors are taken) and, for networks, an adjacency. Dimension reductions
("DR"): the default metric of `sivae.tl.gene_neighbors`, and the Euclidean distance of the publication where it says so.
Networks ("GRN"): on log-normalised, standardised training cells; on what siVAE reconstructs of them; and on its joint
layer, whose units stand for cells. CLR, MRNET and ARACNE take mutual information from ranks, minet's default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import anndata
import numpy as np
import pandas as pd

import sivae
from bench import _data, _heldout, _inference, _measures, _methods
from sivae._space import read_space
from sivae.tl._similarity import similarity_of

N_GENES, N_CELLS, N_AXES = 300, 1000, 10
PUBLISHED_STEPS = 300
"""Of each of the three published phases, of 2,000."""
BOOSTED_CELLS, BOOSTED_TREES, BOOSTED_TREES_SMOOTH = 300, 150, 40
"""GRNBoost2 sees as many training cells, and grows at most as many trees a gene, fewer on reconstructions: they have no
noise, so that arboreto's rule would not stop before its 5,000."""
EVERY_GENE = 400
"""Genes where the network is known: all of them, or most regulators, which vary little, would be left out."""
DATA = ("network", "pbmc700", "planted", "pbmc3k", "sergio")


@dataclass(frozen=True)
class Space:
    """`similarity_gg` ranks the neighbors of a gene; `degree_g` is its centrality; `weight_gg` an adjacency, if any."""

    name: str
    kind: str
    similarity_gg: np.ndarray
    degree_g: np.ndarray
    weight_gg: np.ndarray | None = None
    seconds: float = 0.0

    def neighbors(self, n: int) -> np.ndarray:
        return _measures.highest(self.similarity_gg, n)


@dataclass(frozen=True)
class Known:
    """What is known of a data set, once."""

    data: _heldout.Data
    spaces: dict[str, Space]
    centrality: dict[str, np.ndarray]
    """More centralities, by name, (g,)."""

    @property
    def train(self) -> np.ndarray:
        return self.data.scaled_ng[~self.data.test]

    @property
    def test(self) -> np.ndarray:
        return self.data.scaled_ng[self.data.test]


@cache
def of(name: str, *, quick: bool = False) -> Known:
    """Every space of a data set; `quick`, some of them on less data."""
    source = _data.sources((name,))[0]
    n_genes = EVERY_GENE if name in ("network", "sergio") else N_GENES
    data = _heldout.of(source, n_genes=80 if quick else n_genes, n_cells=300 if quick else N_CELLS)
    centrality: dict[str, np.ndarray] = {}
    spaces: dict[str, Space] = {}
    for space in _spaces(data, centrality, quick=quick):
        spaces[space.name] = space
        print(f"    {name}: {space.name}, {space.seconds:.1f} s", file=sys.stderr, flush=True)
    return Known(data, spaces, centrality)


def at_hand(names: tuple[str, ...]) -> list[str]:
    return [source.name for source in _data.sources(names)]


def _spaces(data: _heldout.Data, centrality: dict[str, np.ndarray], *, quick: bool) -> Iterator[Space]:
    k = 5 if quick else N_AXES
    ours = _methods.fit_sivae(data, k, 0)
    annotated = annotate(data, ours)
    table = sivae.tl.hub_table(annotated).loc[data.counts.var_names]
    scores = ("strength", "power", "norm", "degree", "explained", "attribution")
    centrality |= {f"siVAE {score}": table[score].to_numpy() for score in scores}
    centrality["mean expression"], centrality["detection"] = table["mean"].to_numpy(), table["detection"].to_numpy()
    yield _reduced("siVAE", annotated, seconds=ours.seconds)
    yield _reduced("siVAE, correlation", annotated, metric="correlation")
    yield _reduced("siVAE, Euclidean", annotated, metric="euclidean")
    if not quick:
        yield from _others(data, centrality)
    pca = _methods.fit_pca(data, k, 0)
    centrality["PCA norm"] = _norm(pca.v_gk)
    yield _reduced("PCA", _bare(data, pca.v_gk), rep="v", seconds=pca.seconds)
    yield from _networks(data.scaled_ng[~data.test], "", quick=quick)
    assert ours.predicted_ng is not None
    yield from _networks(ours.predicted_ng[~data.test], " of siVAE", quick=quick, smooth=True)
    if not quick:
        layer_dg = np.asarray(annotated.varm["X_sivae_joint"], np.float64).T
        yield _network("CLR of the joint layer", lambda: _inference.clr(_inference.information(layer_dg)))
        yield _network("GRNBoost2 of the joint layer", partial(_boosted, layer_dg, BOOSTED_TREES_SMOOTH))


def _others(data: _heldout.Data, centrality: dict[str, np.ndarray]) -> Iterator[Space]:
    """siVAE without the linear term, the published recipe, LDVAE."""
    flat = _methods.fit_sivae(data, N_AXES, 0, gamma=0.0)
    annotated = annotate(data, flat)
    table = sivae.tl.hub_table(annotated).loc[data.counts.var_names]
    centrality["siVAE, gamma 0 strength"] = table["strength"].to_numpy()
    yield _reduced("siVAE, gamma 0", annotated, seconds=flat.seconds)
    published = _methods.fit_published(data, N_AXES, 0, steps=PUBLISHED_STEPS)
    annotated = annotate(data, published)
    assert published.predicted_ng is not None
    error_g = ((data.scaled_ng - published.predicted_ng)[~data.test] ** 2).mean(axis=0)
    centrality["published 1 - MSE"] = 1 - error_g
    centrality["published norm"] = _norm(published.v_gk)
    yield _reduced("published, Euclidean", annotated, metric="euclidean", seconds=published.seconds)
    yield _reduced("published", annotated)
    for method in _methods.named(("LDVAE",)):
        linear = method.fit(data, N_AXES, 0)
        centrality["LDVAE norm"] = _norm(linear.v_gk)
        bare = _bare(data, linear.v_gk)
        yield _reduced("LDVAE", bare, rep="v", seconds=linear.seconds)
        yield _reduced("LDVAE, Euclidean", bare, rep="v", metric="euclidean")


def annotate(data: _heldout.Data, fit: _methods.Fit) -> anndata.AnnData:
    """The training cells with what the model says of them and of the genes."""
    training = data.training
    fit.model.annotate(training)
    return training


def _bare(data: _heldout.Data, v_gk: np.ndarray | None) -> anndata.AnnData:
    adata = anndata.AnnData(var=pd.DataFrame(index=data.counts.var_names))
    adata.varm["v"] = v_gk
    return adata


def _norm(v_gk: np.ndarray | None) -> np.ndarray:
    assert v_gk is not None
    return np.asarray(np.linalg.norm(v_gk, axis=1))


def similarity(adata: anndata.AnnData, *, rep: str | None = None, metric: Any = "auto") -> np.ndarray:
    """Of every two genes, as `gene_neighbors` compares them; minus the distance where it is Euclidean."""
    found = similarity_of(read_space(adata, rep), metric)
    points_gm = found.points_gm
    if found.inner:
        return np.asarray(np.abs(points_gm @ points_gm.T))
    return np.asarray(-np.linalg.norm(points_gm[:, None] - points_gm[None], axis=2))


def _reduced(
    name: str, adata: anndata.AnnData, *, rep: str | None = None, metric: str = "auto", seconds: float = 0.0
) -> Space:
    found_gg = similarity(adata, rep=rep, metric=metric)
    return Space(name, "DR", found_gg, _degree(similarity(adata, rep=rep)), seconds=seconds)


def _degree(weight_gg: np.ndarray) -> np.ndarray:
    """Mean weight of a gene's edges, (g,): the published degree of a network."""
    off_gg = np.abs(weight_gg) * ~np.eye(len(weight_gg), dtype=bool)
    return np.asarray(off_gg.sum(axis=1) / (len(weight_gg) - 1))


def _networks(x_ng: np.ndarray, of_what: str, *, quick: bool, smooth: bool = False) -> Iterator[Space]:
    ranks = _inference.information(x_ng)
    yield _network(f"Pearson{of_what}", lambda: _inference.correlation(x_ng))
    yield _network(f"CLR{of_what}", lambda: _inference.clr(ranks), fill=ranks)
    yield _network(f"MRNET{of_what}", lambda: _inference.mrnet(ranks), fill=ranks)
    yield _network(f"ARACNE{of_what}", lambda: _inference.aracne(ranks), fill=ranks)
    if not smooth:
        yield _network("Spearman", lambda: _inference.correlation(x_ng, ranks=True))
        yield _network("CLR, bins", lambda: _inference.clr(_inference.information(x_ng, "empirical")))
    if not quick:
        trees = BOOSTED_TREES_SMOOTH if smooth else BOOSTED_TREES
        yield _network(f"GRNBoost2{of_what}", partial(_boosted, x_ng[:BOOSTED_CELLS], trees), fill=ranks)


def _boosted(x_ng: np.ndarray, n_trees: int) -> np.ndarray:
    """Both directions of a pair have the larger of their importances."""
    sd_g = x_ng.std(axis=0)
    found = _inference.grnboost2((x_ng - x_ng.mean(axis=0)) / np.where(sd_g > 0, sd_g, 1.0), n_trees=n_trees)
    return np.maximum(found, found.T)


def _network(name: str, make: Callable[[], np.ndarray], *, fill: np.ndarray | None = None) -> Space:
    """A network; pairs that it leaves at 0 are ranked by `fill`, behind all others."""
    import time

    started = time.perf_counter()
    weight_gg = make()
    seconds = time.perf_counter() - started
    ranked = weight_gg
    if fill is not None:
        least = weight_gg[weight_gg > 0].min(initial=1.0)
        ranked = np.where(weight_gg > 0, weight_gg, 0.5 * least * fill / max(fill.max(), 1e-300))
    return Space(name, "GRN", ranked, _degree(weight_gg), weight_gg, seconds)


def truth(data: _heldout.Data) -> dict[str, np.ndarray] | None:
    """Known pairs, (g, g), or None.

    "edge", one regulates the other; "shared", both have a regulator in common, and no edge; "module", both follow the
    same planted factor.
    """
    if "module" in data.counts.var:
        module_g = data.counts.var["module"].to_numpy(str)
        same_gg = (module_g[:, None] == module_g) & (module_g != "none")
        return {"module": same_gg & ~np.eye(len(module_g), dtype=bool)}
    if "edges" not in data.counts.uns:
        return None
    place = {name: position for position, name in enumerate(data.counts.var_names)}
    edges = data.counts.uns["edges"]
    regulated_rg = np.zeros((len(set(edges["regulator"])), len(place)))
    number = {name: row for row, name in enumerate(dict.fromkeys(edges["regulator"]))}
    edge_gg = np.zeros((len(place), len(place)), bool)
    for regulator, target in zip(edges["regulator"], edges["target"], strict=True):
        if target in place:
            regulated_rg[number[regulator], place[target]] = 1.0  # a regulator that was not chosen is shared as well
            if regulator in place:
                edge_gg[place[regulator], place[target]] = True
    edge_gg |= edge_gg.T
    shared_gg = (regulated_rg.T @ regulated_rg > 0) & ~edge_gg
    np.fill_diagonal(shared_gg, 0)
    return {"edge": edge_gg, "shared": shared_gg}
