"""What are the published recipe's steps worth, and its pre-training?

500 and 1,000 steps (2,000 are published) a phase of the published recipe (Choi, Li, Quon 2023, doi
10.1186/s13059-023-02850-y), preset "fetal liver", gamma 0.05; its first phase alone, which is the plain VAE; and the
joint phase alone, without the two before (`pretrain=False`). Beside them siVAE's default, principal components, and the
default stopped at its start (the factor model, 1 step). 200 genes, at most 400 cells, 2 axes, one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sivae
from bench import _common, _data, _heldout, _measures, _methods

SETS = ("pbmc700",)
STEPS = (500, 1000)
N_GENES, N_CELLS, N_LATENT = 200, 400, 2
MEASURES = ("knn", "knn_test", "r2", "neighbors", "hub", "seconds")
FITS: dict[str, Callable[[_heldout.Data, int], _methods.Fit]] = {
    "published": lambda data, steps: _methods.fit_published(data, N_LATENT, 0, steps=steps),
    "published, no pre-training": lambda data, steps: _methods.fit_published(
        data, N_LATENT, 0, steps=steps, pretrain=False
    ),
    "VAE (first phase alone)": lambda data, steps: _methods.fit_published(data, N_LATENT, 0, steps=steps, model="vae"),
}
OTHERS: dict[str, Callable[[_heldout.Data], _methods.Fit]] = {
    "siVAE": lambda data: _methods.fit_sivae(data, N_LATENT, 0),
    "siVAE, 1 step": lambda data: _methods.fit_sivae(data, N_LATENT, 0, options=sivae.TrainOptions(max_steps=1)),
    "PCA": lambda data: _methods.fit_pca(data, N_LATENT, 0),
}


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("recipe", ("data", "method", "steps"), quick=settings.quick)
    quick = settings.quick
    for source in _data.sources(settings.data or (("planted",) if quick else SETS)):
        data = _heldout.of(source, n_genes=60 if quick else N_GENES, n_cells=150 if quick else N_CELLS)
        for name, other in OTHERS.items():
            rows.find(lambda d=data, fit=other: row(d, fit(d)), data=source.name, method=name, steps=None)
        for steps in (5,) if quick else STEPS:
            for name, fit in FITS.items():
                rows.find(lambda d=data, fit=fit, steps=steps: row(d, fit(d, steps)), **{
                    "data": source.name, "method": name, "steps": steps,
                })  # fmt: skip
    rows.write(n_latent=N_LATENT)


def row(data: _heldout.Data, fit: _methods.Fit) -> dict[str, Any]:
    found = _measures.score(data, fit)
    return {name: found.get(name) for name in MEASURES} | {
        "seconds": round(fit.seconds, 1), "cells": data.counts.n_obs, "genes": data.counts.n_vars,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for data in dict.fromkeys(r["data"] for r in result["rows"]):
        own = [r for r in result["rows"] if r["data"] == data]
        parts.append(f"**{data}, {result['n_latent']} axes** ({own[0]['cells']} cells x {own[0]['genes']} genes)\n")
        own = sorted(own, key=lambda r: r["method"] not in FITS)
        lines = [[r["method"], r["steps"], *(r[m] for m in MEASURES)] for r in own]
        parts.append(_common.table(("method", "steps a phase", *MEASURES), lines))
    return "\n".join(parts)
