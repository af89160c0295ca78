"""What weight of the interpretability term is best for what? The default recipe, and the published one with its own.

The published grid of weights (fetal liver; Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y), for 20 axes, and 2 on
the blood cells that ship, one seed, 300 steps. The two recipes' weights are of different losses and cannot be compared:
ours weighs a likelihood, the published one a squared error. The published recipe runs on 200 genes for 300 steps a
phase, a seventh of its own, for 2 axes.

"linear" is the share of the explained variance that is linear in the cell's position (`sivae.tl.explained_variance`),
for the published recipe, whose prediction has no linear part of its own, that of a regression of its predictions on the
position; "neighbors" the held-out R2 of a gene on its 20 nearest by cosine of loadings, "hub" the rank correlation of
the norm of a loading with connectivity on held-out cells, "top50" what the 50 longest loadings explain of the best 50.

In short, with 20 axes: labels of cells are best kept by 0.1 to 0.5 and lost above 1, held-out expression is best at 0.5
and hardly moves, hubs and the longest loadings gain up to 0.5 and little beyond. So the default is 0.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sivae
from bench import _common, _data, _figures, _heldout, _measures, _methods

GAMMAS = (0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0)
SIZES = (2, 20)
SHIPPED = ("pbmc700", "planted", "network")
TWO_AXES = "pbmc700"
SETS = (*SHIPPED, "pbmc3k", "pancreas")
N_GENES, N_CELLS, STEPS = 500, 600, 300
PUBLISHED_GENES, PUBLISHED_STEPS, PUBLISHED_SET = 200, 300, "pbmc700"
PUBLISHED_GAMMAS = (0.0, 0.05, 100.0)
MEASURES = ("knn", "knn_test", "r2", "linear", "neighbors", "hub", "top50")
DRAWN = ("knn", "r2", "linear", "neighbors", "hub")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("gammas", ("data", "recipe", "k", "gamma"), quick=settings.quick)
    quick = settings.quick
    names = settings.data or (("planted",) if quick else SETS)
    for source in _data.sources(names):
        data = _heldout.of(source, n_genes=60 if quick else N_GENES, n_cells=200 if quick else N_CELLS)
        for k in (2,) if quick else SIZES if source.name == TWO_AXES else (20,):
            for gamma in (0.0, 1.0) if quick else GAMMAS:
                rows.find(lambda d=data, k=k, gamma=gamma: row(d, k, gamma), **{
                    "data": source.name, "recipe": "default", "k": k, "gamma": gamma,
                })  # fmt: skip
    for source in _data.sources(() if quick else (PUBLISHED_SET,)):
        data = _heldout.of(source, n_genes=PUBLISHED_GENES, n_cells=N_CELLS)
        for gamma in PUBLISHED_GAMMAS:
            rows.find(lambda d=data, gamma=gamma: published(d, gamma), **{
                "data": source.name, "recipe": "published", "k": 2, "gamma": gamma,
            })  # fmt: skip
    rows.write(n_genes=N_GENES, n_cells=N_CELLS, steps={"default": STEPS, "published": PUBLISHED_STEPS})


def row(data: _heldout.Data, k: int, gamma: float) -> dict[str, Any]:
    fit = _methods.fit_sivae(data, k, 0, gamma=gamma, options=_methods.short(STEPS))
    return _sized(data, fit) | _measures.score(data, fit) | {"linear": round(linear(data, fit.model), 4)}


def published(data: _heldout.Data, gamma: float) -> dict[str, Any]:
    fit = _methods.fit_published(data, 2, 0, gamma=gamma, steps=PUBLISHED_STEPS)
    return _sized(data, fit) | _measures.score(data, fit) | {"linear": round(regressed(data, fit), 4)}


def _sized(data: _heldout.Data, fit: _methods.Fit) -> dict[str, Any]:
    return {"cells": data.counts.n_obs, "genes": data.counts.n_vars, "seconds": round(fit.seconds, 1)}


def linear(data: _heldout.Data, model: sivae.SiVAE) -> float:
    """Linear over full explained variance of a model trained by the default recipe."""
    training = data.training
    sivae.SiVAE.setup_anndata(training)
    model.annotate(training)
    explained = sivae.tl.explained_variance(training, by="layer").set_index("layer")["explained"]
    return float(explained["linear"] / explained["full"])


def regressed(data: _heldout.Data, fit: _methods.Fit) -> float:
    """Share of the variance of predictions (training cells) that a regression on the positions explains."""
    assert fit.predicted_ng is not None
    x = fit.predicted_ng[~data.test] - fit.predicted_ng[~data.test].mean(axis=0)
    z = fit.z_nk[~data.test] - fit.z_nk[~data.test].mean(axis=0)
    slope = np.linalg.lstsq(z, x, rcond=None)[0]
    return float(((z @ slope) ** 2).sum() / (x**2).sum())


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n", *_means(result["rows"])]
    groups = sorted({(r["recipe"], SETS.index(r["data"]), r["k"]) for r in result["rows"]})
    for recipe, place, k in groups:
        data = SETS[place]
        own = [r for r in result["rows"] if (r["recipe"], r["data"], r["k"]) == (recipe, data, k)]
        steps = f", {result['steps']['published']} steps a phase" if recipe == "published" else ""
        size = f"{own[0]['cells']} cells x {own[0]['genes']} genes"
        parts.append(f"**{data}, {k} axes, {recipe} recipe** ({size}{steps})\n")
        parts.append(_common.table(("gamma", *MEASURES), [[f"{r['gamma']:g}", *(r[m] for m in MEASURES)] for r in own]))
    return "\n".join(parts)


def _means(rows: list[dict[str, Any]]) -> list[str]:
    """What a weight does on average: means over data sets, each weight on the same sets."""
    parts = []
    for k in SIZES:
        own = [r for r in rows if r["recipe"] == "default" and r["k"] == k]
        sets = len({r["data"] for r in own})
        if sets < 2:
            continue
        parts.append(f"**Mean over {sets} data sets, {k} axes, default recipe**\n")
        at = {gamma: [r for r in own if r["gamma"] == gamma] for gamma in GAMMAS}
        lines = [[f"{gamma:g}", *(_common.mean(found, m) for m in MEASURES)] for gamma, found in at.items()]
        parts.append(_common.table(("gamma", *MEASURES), lines))
    return parts


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Every measure over gamma, for data sets that ship."""
    own = [r for r in result["rows"] if r["data"] in SHIPPED and r["recipe"] == "default"]
    return {f"gammas_{k}": _drawn([r for r in own if r["k"] == k], k) for k in SIZES}


def _drawn(rows: list[dict[str, Any]], k: int) -> Any:
    """Weights are evenly spaced, so that 0 has its place."""
    long = [
        {"measure": name, "data": r["data"], "at": GAMMAS.index(r["gamma"]), "value": r[name]}
        for name in DRAWN
        for r in rows
    ]
    figure = _figures.lines(long, panels="measure", x="at", value="value", hue="data", words=("gamma", f"{k} axes"))
    for ax in figure.axes:
        ax.set_xticks(range(len(GAMMAS)), [f"{gamma:g}" for gamma in GAMMAS], fontsize=6)
    return figure
