"""Cell maps: are labels where the map puts them? siVAE, its variants and its peers on the same held-out cells.

The published comparison (fetal liver) on other data: classifiers (k-NN with twice as many neighbors as labels, logistic
regression, perceptron; five folds), clusters (k-means against labels), silhouette, held-out expression, and gene
neighbors and hubs where there are gene vectors. Every method learns from the same training cells.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from math import fsum
from typing import Any

from bench import _common, _data, _figures, _heldout, _measures, _methods

SIZES = (2, 20)
N_GENES, N_CELLS = 500, 1000
SEEDS = 3
"""Of `REPEATED` on data that ship; everything else runs once."""
MAIN = ("siVAE", "siVAE, nb", "siVAE, gamma 0", "published", "VAE", "PCA", "UMAP", "LDVAE", "scVI", "DRVI")
REPEATED = ("siVAE",)
COLUMNS = (
    "knn", "logistic", "perceptron", "nmi", "ari", "silhouette", "knn_test",
    "r2", "neighbors", "hub", "top50", "seconds",
)  # fmt: skip


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("cells", ("data", "k", "method", "seed"), quick=settings.quick)
    names = settings.data or (("planted",) if settings.quick else _data.NAMES)
    n_genes, n_cells = (100, 300) if settings.quick else (N_GENES, N_CELLS)
    prepared = [_heldout.of(source, n_genes=n_genes, n_cells=n_cells) for source in _data.sources(names)]
    shipped = {source.name for source in _data.SHIPPED}
    methods = _methods.named(("siVAE", "PCA") if settings.quick else MAIN)
    for slow, k, data in product((False, True), (2,) if settings.quick else SIZES, prepared):
        for method in (m for m in methods if m.slow == slow):
            repeated = method.name in REPEATED and data.name in shipped
            for seed in range((settings.seeds or SEEDS) if repeated else 1):
                work = partial(row, data, method, k, seed)
                rows.find(work, data=data.name, k=k, method=method.name, seed=seed)
        rows.write(done=False, **facts())
    rows.write(**facts())


def facts() -> dict[str, Any]:
    steps = {"published": _methods.PUBLISHED_STEPS, "scvi": _methods.STEPS}
    return {"n_genes": N_GENES, "n_cells": N_CELLS, "steps": steps}


def row(data: _heldout.Data, method: _methods.Method, k: int, seed: int) -> dict[str, Any]:
    fit = method.fit(data, k, seed)
    found = _measures.cells(fit.z_nk, data.labels, seed=seed)
    held = _measures.score(data, fit)
    held.pop("knn")  # with 15 neighbors; the published rule is above
    return found | held | {"seconds": round(fit.seconds, 1), "cells": data.counts.n_obs, "genes": data.counts.n_vars}


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    parts = [_common.conditions(result) + "\n"]
    for data in dict.fromkeys(r["data"] for r in rows):
        for k in sorted({r["k"] for r in rows}):
            own = [r for r in rows if (r["data"], r["k"]) == (data, k)]
            if own:
                parts.append(f"**{data}, {k} axes** ({own[0]['cells']} cells x {own[0]['genes']} genes)\n")
                parts.append(_common.table(("method", *COLUMNS), _lines(own)))
    return "\n".join(parts)


def _lines(rows: list[dict[str, Any]]) -> list[list[Any]]:
    by_method = {m: [r for r in rows if r["method"] == m] for m in MAIN if m in {r["method"] for r in rows}}
    return [[m, *(_common.spread(own, column) for column in COLUMNS)] for m, own in by_method.items()]


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Accuracy of every method, data sets that ship alone."""
    shipped = {source.name for source in _data.SHIPPED}
    rows = sorted((r for r in result["rows"] if r["data"] in shipped), key=lambda r: MAIN.index(r["method"]))
    return {"cells": _figures.dots(rows, panels="data", groups="method", value="knn", hue="k", words="k-NN accuracy")}


FEWEST_SETS = 3
"""Data sets over which a headline must be a mean."""


def headlines(result: dict[str, Any]) -> list[list[str]]:
    """Means over the data sets that both methods have seen."""
    lines = []
    for k, other in product(SIZES, ("published", "PCA", "LDVAE", "scVI")):
        rows = [r for r in result["rows"] if r["k"] == k]
        seen = [{r["data"] for r in rows if r["method"] == method} for method in (other, "siVAE")]
        sets = sorted(seen[0] & seen[1])
        if len(sets) < FEWEST_SETS:
            continue
        for key, words in (("knn", "k-NN accuracy of cell labels"), ("r2", "held-out variance explained")):
            theirs, ours = (
                fsum(
                    _common.mean([r for r in rows if (r["data"], r["method"]) == (data, method)], key) for data in sets
                )
                / len(sets)
                for method in (other, "siVAE")
            )
            question = f"{words}, {k} axes, mean of {len(sets)} data sets"
            lines.append([question, f"{other}: {theirs:.3f}", f"{ours:.3f}", ""])
    return lines
