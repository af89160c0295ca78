"""Gene spaces beyond the publication: genes never trained on, two seeds, pathways, and whether errors are honest.

"held out": a fifth of the genes is left out of training and embedded afterwards; the held-out R2 of a gene from its 20
neighbors among all genes, beside the same genes trained in, neighbors by raw correlation, and neighbors by chance;
"Jaccard" with the neighbors that the genes have when trained in.
"seeds": two trainings; rank correlation of the cosines of all pairs of genes, overlap of neighborhoods of 20 genes, and
correlation of loadings axis by axis as they come, and after the best pairing of axes. The published recipe has 300
steps in each phase.
"pathways": share of gene sets (Hallmark, Reactome, complexes, five genes here or more) that are coherent at a false
discovery rate of 5 %, and the median z, by `gene_set_coherence`; human data, 600 genes. Random sets are matched by how
much of a gene is signal, which raw correlation does not tell: its sets of well-measured genes meet an easier null.
"halves": 90 % intervals of the difference of loadings between models of disjoint halves of the cells, one turned and
scaled onto the other by half of the genes and judged on the other half; "null": p-values of connection on planted data,
for genes that follow nothing and for genes that follow a factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm, spearmanr

import sivae
from bench import _common, _data, _heldout, _inference, _measures, _methods, _spaces
from sivae._rng import name_fractions, numpy_generator
from sivae.graph._compare import jaccard

DATA = ("network", "pbmc700")
N_GENES, N_CELLS, N_AXES, PATHWAY_GENES = 300, 1000, 10, 600
OURS, SEEDED = ("siVAE", "siVAE, nb"), ("siVAE", "siVAE, nb", "LDVAE")
SLOW = ("network",)
"""Data on which the published recipe is trained twice."""
HUMAN = ("pbmc3k", "pancreas", "cell_lines")
RAW = "raw correlation"
PARTS = ("held out", "seeds", "halves", "null", "pathways")
EDGE = float(norm.ppf(0.95))


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    rows = _common.Rows("gene_space", ("part", "data", "method"), quick=quick)

    def find(part: str, work: Callable[..., dict[str, Any]], data: str, method: str) -> None:
        rows.find(lambda: work(data, method, quick=quick), part=part, data=data, method=method)

    for method in ("siVAE",) if quick else OURS:
        find("null", null, "planted", method)
    asked = settings.data or (("planted",) if quick else (*DATA, *HUMAN))
    names = [source.name for source in _data.sources(asked)]
    for name in names:
        for part, work, method in _pathways() if name in HUMAN else _asked(quick=quick):
            find(part, work, name, method)
    for name in [name for name in names if name in SLOW and not quick]:
        find("seeds", seeds, name, "published")
    rows.write(n_axes=N_AXES, n_genes=N_GENES, n_cells=N_CELLS, published_steps=_spaces.PUBLISHED_STEPS)


def _asked(*, quick: bool) -> Iterator[tuple[str, Callable[..., dict[str, Any]], str]]:
    """Parts of the benchmark for one data set, and the methods they look at."""
    for method in ("siVAE",) if quick else OURS:
        yield "held out", held_out, method
        if not quick:
            yield "halves", halves, method
    for method in () if quick else _methods.named(SEEDED):
        yield "seeds", seeds, method.name


def _pathways() -> Iterator[tuple[str, Callable[..., dict[str, Any]], str]]:
    for method in (*(method.name for method in _methods.named(("siVAE", "LDVAE", "PCA"))), RAW):
        yield "pathways", pathways, method


@cache
def data_of(name: str, *, n_genes: int = N_GENES, quick: bool = False) -> _heldout.Data:
    source = _data.sources((name,))[0]
    return _heldout.of(source, n_genes=80 if quick else n_genes, n_cells=300 if quick else N_CELLS)


@cache
def fitted(name: str, method: str, seed: int, *, n_genes: int = N_GENES, quick: bool = False) -> _methods.Fit:
    data, k = data_of(name, n_genes=n_genes, quick=quick), 5 if quick else N_AXES
    if method == "published":
        return _methods.fit_published(data, k, seed, steps=_spaces.PUBLISHED_STEPS)
    return _methods.BY_NAME[method].fit(data, k, seed)


def _with(data: _heldout.Data, *, cells: np.ndarray | None = None, genes: np.ndarray | None = None) -> _heldout.Data:
    """The same data with some of the cells, or some of the genes."""
    rows = np.ones(len(data.test), bool) if cells is None else cells
    columns = np.ones(len(data.mean_g), bool) if genes is None else genes
    return replace(
        data, counts=data.counts[rows][:, columns].copy(), labels=data.labels[rows], test=data.test[rows],
        scaled_ng=data.scaled_ng[rows][:, columns], mean_g=data.mean_g[columns], sd_g=data.sd_g[columns],
    )  # fmt: skip


def held_out(name: str, method: str, *, quick: bool) -> dict[str, Any]:
    data = data_of(name, quick=quick)
    left_g = name_fractions(list(data.counts.var_names), 3) < 0.2
    part = _methods.BY_NAME[method].fit(_with(data, genes=~left_g), 5 if quick else N_AXES, 0)
    projected = data.training
    part.model.annotate(projected, project=True)
    whole = _spaces.annotate(data, fitted(name, method, 0, quick=quick))
    near = {
        "embedded": _measures.highest(_spaces.similarity(projected)),
        "trained in": _measures.highest(_spaces.similarity(whole)),
        "raw correlation": _measures.highest(_inference.correlation(data.scaled_ng[~data.test])),
        "chance": _measures.highest(numpy_generator(0, "chance").random((len(left_g), len(left_g)))),
    }
    x_train, x_test = data.scaled_ng[~data.test], data.scaled_ng[data.test]
    found: dict[str, Any] = {
        kind: _rounded(_measures.neighbor_r2_of_genes(index, x_train, x_test)[left_g].mean())
        for kind, index in near.items()
    }
    found["genes left out"] = int(left_g.sum())
    found["Jaccard"] = _rounded(jaccard(near["embedded"], near["trained in"])[left_g].mean())
    found["Jaccard of genes kept"] = _rounded(jaccard(near["embedded"], near["trained in"])[~left_g].mean())
    return found


def seeds(name: str, method: str, *, quick: bool) -> dict[str, Any]:
    fits = [fitted(name, method, seed, quick=quick) for seed in (0, 1)]
    first_gk, second_gk = (np.asarray(fit.v_gk) for fit in fits)
    upper = np.triu_indices(len(first_gk), 1)
    one, other = (_cosine(v_gk)[upper] for v_gk in (first_gk, second_gk))
    k = first_gk.shape[1]
    with np.errstate(invalid="ignore"):
        axis_kk = np.abs(np.nan_to_num(np.corrcoef(first_gk.T, second_gk.T)[:k, k:]))
    weight_k = (first_gk**2).sum(axis=0) / (first_gk**2).sum()
    return {
        "cosines": _rounded(spearmanr(one, other)[0]),
        "Jaccard": _rounded(jaccard(_measures.nearest(first_gk), _measures.nearest(second_gk)).mean()),
        "axis by axis": _rounded((axis_kk.diagonal() * weight_k).sum()),
        "axes paired": _rounded((axis_kk[linear_sum_assignment(-axis_kk)] * weight_k).sum()),
    }


def _cosine(v_gk: np.ndarray) -> np.ndarray:
    unit = v_gk / np.maximum(np.linalg.norm(v_gk, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T)


def halves(name: str, method: str, *, quick: bool) -> dict[str, Any]:
    data = data_of(name, quick=quick)
    first_n = name_fractions(list(data.counts.obs_names), 4) < 0.5
    k = 5 if quick else N_AXES
    models = [
        _methods.BY_NAME[method].fit(_with(data, cells=cells), k, 0).model for cells in (first_n, ~first_n)
    ]  # fmt: skip
    (v, variance), (w, other) = (_loadings(model, data) for model in models)
    cover, strong = [], []
    for draw in range(4):
        fit = numpy_generator(0, "genes to turn by", index=draw).random(len(v)) < 0.5
        turn, _ = orthogonal_procrustes(w[fit], v[fit])
        moved = w @ turn
        scale = (moved[fit] * v[fit]).sum() / (moved[fit] ** 2).sum()
        z_gk = (scale * moved - v) / np.sqrt(variance + scale**2 * (other @ turn**2))
        cover.append((np.abs(z_gk[~fit]) < EDGE).mean())
        strong.append((np.abs(z_gk[~fit]) < EDGE)[:, :3].mean())
    unturned = (np.abs((w - v) / np.sqrt(variance + other)) < EDGE).mean()
    return {
        "coverage": _rounded(np.mean(cover)), "coverage, three strongest axes": _rounded(np.mean(strong)),
        "without turning": _rounded(unturned), "median standard error": _rounded(np.median(np.sqrt(variance))),
        "correlation of loadings": _rounded(np.corrcoef((w @ orthogonal_procrustes(w, v)[0]).ravel(), v.ravel())[0, 1]),
    }  # fmt: skip


def _loadings(model: sivae.SiVAE, data: _heldout.Data) -> list[np.ndarray]:
    frames = model.get_feature_representation(return_dist=True)
    return [frame.loc[data.counts.var_names].to_numpy(float) for frame in frames]


def null(data: str, method: str, *, quick: bool) -> dict[str, Any]:
    """Over two planted data sets: what p-values genes that follow nothing get, and genes that do."""
    del data
    nothing, something, called = [], [], []
    for seed in range(1 if quick else 2):
        adata = sivae.datasets.planted(
            300 if quick else 1000, 300, n_factors=5, genes_per_factor=30, signed=True, seed=seed
        )
        sivae.SiVAE.setup_anndata(adata)
        model = sivae.SiVAE(adata, n_latent=5, likelihood="nb" if "nb" in method else "auto", seed=seed)
        model.train(accelerator="cpu", progress=False)
        model.annotate(adata)
        sivae.tl.hubs(adata)
        none_g = (adata.var["module"] == "none").to_numpy()
        p_g = adata.var["sivae_connected_pvalue"].to_numpy()
        nothing.append(p_g[none_g])
        something.append(p_g[~none_g])
        called_g = adata.var["sivae_connected"].to_numpy()
        called.append((called_g & none_g).sum() / max(called_g.sum(), 1))
    none_p, some_p = np.concatenate(nothing), np.concatenate(something)
    return {
        "null genes": len(none_p), "p <= 0.01": _rounded((none_p <= 0.01).mean()),
        "p <= 0.05": _rounded((none_p <= 0.05).mean()), "p <= 0.2": _rounded((none_p <= 0.2).mean()),
        "power at 0.05": _rounded((some_p <= 0.05).mean()), "false among called": _rounded(np.mean(called)),
    }  # fmt: skip


def pathways(name: str, method: str, *, quick: bool) -> dict[str, Any]:
    del quick
    data = data_of(name, n_genes=PATHWAY_GENES)
    sets = _data.gene_sets(data.counts.var_names.to_numpy())
    adata, rep = data.training, "v"
    if method == "siVAE":
        fitted(name, method, 0, n_genes=PATHWAY_GENES).model.annotate(adata)
        rep = None
    elif method == RAW:
        x_ng = data.scaled_ng[~data.test]
        adata.varm["v"] = ((x_ng - x_ng.mean(axis=0)) / np.maximum(x_ng.std(axis=0), 1e-12)).T
    else:
        adata.varm["v"] = fitted(name, method, 0, n_genes=PATHWAY_GENES).v_gk
    table = sivae.tl.gene_set_coherence(adata, sets, use_rep=rep, n_draws=500)
    return {
        "sets": len(table), "coherent": _rounded((table["q"] <= 0.05).mean()),
        "median z": _rounded(table["z"].median()),
        "median coherence": _rounded(table["coherence"].median()),
    }  # fmt: skip


def _rounded(value: float) -> float:
    return round(float(value), 4)


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for part in PARTS:
        own = [row for row in result["rows"] if row["part"] == part]
        if own:
            head = [key for key in own[0] if key not in ("part", "load")]
            parts += [f"**{part}**\n", _common.table(tuple(head), ([row.get(key) for key in head] for row in own))]
    return "\n".join(parts)
