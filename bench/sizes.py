"""How many axes? Cell labels and held-out expression over latent sizes, like for like.

The published sweep (fetal liver; Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y) on other data. There siVAE was
scored on all cells, PCA and UMAP on a fold alone; here every method learns from the same training cells and is scored
on the same cells: 400 genes, at most 500 cells, seeds as said with the tables. siVAE has 300 steps, an eighth of its
default. The plain VAE is the first phase of the published recipe (300 steps, a seventh of its own) and has one seed;
the whole recipe is in `cells` and `recipe`.

"knn" is the accuracy of labels from 15 neighbors in five folds of all cells, "knn_test" of held-out cells from training
cells, "r2" the held-out share of variance explained of the 300 genes of highest connectivity.

A held-out cell is reconstructed from its own values, so that an axis that follows a single gene raises r2 as well: on
the planted data, of ten factors, that of PCA grows beyond ten axes. siVAE closes axes in which it finds nothing but
noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench import _common, _data, _figures, _heldout, _measures, _methods

SIZES = (1, 2, 3, 5, 10, 20)
SETS = ("pbmc700", "planted")
N_GENES, N_CELLS, SEEDS = 400, 500, 2
OWN, VAE = 300, 300
"""Steps of siVAE and of the plain VAE."""
MEASURES = ("knn", "knn_test", "r2", "seconds")


def _own(data: _heldout.Data, k: int, seed: int, **settings: Any) -> _methods.Fit:
    return _methods.fit_sivae(data, k, seed, options=_methods.short(OWN), **settings)


FITS: dict[str, Callable[[_heldout.Data, int, int], _methods.Fit]] = {
    "siVAE": _own,
    "siVAE, gamma 0": lambda data, k, seed: _own(data, k, seed, gamma=0.0),
    "VAE": lambda data, k, seed: _methods.fit_published(data, k, seed, steps=VAE, model="vae"),
    "PCA": _methods.fit_pca,
    "UMAP": _methods.fit_umap,
}


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("sizes", ("data", "k", "method", "seed"), quick=settings.quick)
    quick = settings.quick
    for source in _data.sources(settings.data or (("planted",) if quick else SETS)):
        data = _heldout.of(source, n_genes=60 if quick else N_GENES, n_cells=200 if quick else N_CELLS)
        for seed in range(settings.seeds or (1 if quick else SEEDS)):
            for k in (2,) if quick else SIZES:
                for name in ("siVAE", "PCA") if quick else _names(seed):
                    rows.find(lambda d=data, k=k, name=name, seed=seed: row(d, name, k, seed), **{
                        "data": source.name, "k": k, "method": name, "seed": seed,
                    })  # fmt: skip
    rows.write(n_genes=N_GENES, n_cells=N_CELLS, steps={"siVAE": OWN, "VAE": VAE})


def _names(seed: int) -> list[str]:
    """Those that are at hand; principal components have no seed, and the plain VAE takes long."""
    at_hand = [name for name in FITS if name != "UMAP" or _methods.BY_NAME["UMAP"].at_hand()]
    return [name for name in at_hand if not (seed and name in ("PCA", "VAE"))]


def row(data: _heldout.Data, name: str, k: int, seed: int) -> dict[str, Any]:
    fit = FITS[name](data, k, seed)
    found = _measures.score(data, fit)
    return {key: found.get(key) for key in MEASURES} | {
        "seconds": round(fit.seconds, 1), "cells": data.counts.n_obs, "genes": data.counts.n_vars,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    seeds = len({r["seed"] for r in result["rows"]})
    said = " Mean (standard deviation over seeds)." if seeds > 1 else ""
    parts = [_common.conditions(result) + f" Seeds: {seeds}.{said}\n"]
    for data in dict.fromkeys(r["data"] for r in result["rows"]):
        own = [r for r in result["rows"] if r["data"] == data]
        for measure in MEASURES[:3]:
            parts.append(f"**{data}, {measure}** ({own[0]['cells']} cells x {own[0]['genes']} genes)\n")
            parts.append(_common.table(("method", *(f"{k} axes" for k in SIZES)), _lines(own, measure)))
    return "\n".join(parts)


def _lines(rows: list[dict[str, Any]], measure: str) -> list[list[Any]]:
    lines = []
    for name in FITS:
        own = [r for r in rows if r["method"] == name]
        if any(r[measure] is not None for r in own):
            lines.append([name, *(_common.spread([r for r in own if r["k"] == k], measure) for k in SIZES)])
    return lines


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """k-NN accuracy and held-out expression over the number of axes."""
    words = {"knn": "k-NN accuracy", "r2": "held-out R2"}
    long = [
        {"panel": f"{r['data']}, {words[m]}", "k": r["k"], "value": r[m], "method": r["method"]}
        for data in SETS for m in words for r in result["rows"] if r["data"] == data
    ]  # fmt: skip
    figure = _figures.lines(
        long, panels="panel", x="k", value="value", hue="method", words=("axes", "mean over seeds"), log="x"
    )
    for ax in figure.axes:
        ax.set_xticks(SIZES, [str(k) for k in SIZES])
        ax.minorticks_off()
    return {"sizes": figure}
