"""How little may the gene encoder see? Profiles of genes from some cells, some components, or cells of one kind.

The published grid (fetal liver; Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y) at a smaller size: 300 genes, at
most 500 cells, 10 axes, one seed. The default recipe (400 steps) with `profiles="principal"` of 10, 20, 50 or 128
components (fewer than axes are refused) and with `profiles="cells"` of 50, 200 or all training cells; the published
recipe (200 steps a phase, a tenth of its own) with cells, components, and the cells of the most frequent label alone,
on the data that ship. PCA and LDVAE have no such choice.

"knn" is the accuracy of cell labels from 15 neighbors, "neighbors" the held-out R2 of a gene on its 20 nearest by
cosine. "markers" is the accuracy of marker sets from the 5 nearest genes by direction, five folds. A label's markers
are the genes, at most 20, whose mean on the training cells is furthest above that of the other cells; each gene is of
one label.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench import _common, _data, _heldout, _measures, _methods

SETS = ("pbmc700", "pbmc3k")
SHIPPED = "pbmc700"
N_GENES, N_CELLS, N_LATENT = 300, 500, 10
OWN, PUBLISHED = 400, 200
N_MARKERS, FEWEST = 20, 5
PROFILES: tuple[dict[str, Any], ...] = (
    *({"profiles": "principal", "n_profile": n} for n in (10, 20, 50, 128)),
    *({"profiles": "cells", "n_profile": n} for n in (50, 200, None)),
)
PUBLISHED_PROFILES: tuple[dict[str, Any], ...] = (PROFILES[0], PROFILES[4], PROFILES[6])
MEASURES = ("knn", "r2", "neighbors", "markers", "seconds")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("profiles", ("data", "method", "profile"), quick=settings.quick)
    quick = settings.quick
    for source in _data.sources(settings.data or (("planted",) if quick else SETS)):
        data = _heldout.of(source, n_genes=80 if quick else N_GENES, n_cells=200 if quick else N_CELLS)
        data.counts.obs["label"] = data.labels
        for name, profile, fit in _quick() if quick else _runs(data, source.name):
            rows.find(lambda d=data, fit=fit: row(d, fit(d, N_LATENT, 0)), **{
                "data": source.name, "method": name, "profile": profile,
            })  # fmt: skip
    rows.write(n_latent=N_LATENT, steps={"siVAE": OWN, "published": PUBLISHED})


Run = tuple[str, str, Callable[[_heldout.Data, int, int], _methods.Fit]]


def _quick() -> list[Run]:
    return [
        ("siVAE", "50 cells", partial(_methods.fit_sivae, profiles="cells", n_profile=50)),
        ("PCA", "", _methods.fit_pca),
    ]


def _runs(data: _heldout.Data, name: str) -> list[Run]:
    options = _methods.short(OWN)
    runs: list[Run] = [("siVAE", said(p), partial(_methods.fit_sivae, options=options, **p)) for p in PROFILES]
    if name == SHIPPED:
        published = partial(_methods.fit_published, steps=PUBLISHED)
        runs += [("published", said(p), partial(published, profile=p)) for p in PUBLISHED_PROFILES]
        names, count = np.unique(data.labels[~data.test], return_counts=True)
        label = str(names[count.argmax()])
        runs.append((
            "published", f"{count.max()} cells of {label}",
            partial(published, feature_label_key="label", feature_label=label),
        ))  # fmt: skip
    runs.append(("PCA", "", _methods.fit_pca))
    return runs + [("LDVAE", "", method.fit) for method in _methods.named(("LDVAE",))]


def said(profile: dict[str, Any]) -> str:
    """A profile in words."""
    kind, n = profile["profiles"], profile["n_profile"]
    return f"{n} component{'s' * (n > 1)}" if kind == "principal" else f"{n or 'all'} cells"


def row(data: _heldout.Data, fit: _methods.Fit) -> dict[str, Any]:
    found = _measures.score(data, fit)
    gene_g, set_g = markers(data)
    assert fit.v_gk is not None
    unit = fit.v_gk / np.maximum(np.linalg.norm(fit.v_gk, axis=1, keepdims=True), 1e-12)
    return {name: found.get(name) for name in ("knn", "r2", "neighbors")} | {
        "markers": round(_measures.knn(unit[gene_g], set_g, 5), 4), "sets": len(np.unique(set_g)),
        "seconds": round(fit.seconds, 1), "cells": data.counts.n_obs, "genes": data.counts.n_vars,
    }  # fmt: skip


def markers(data: _heldout.Data) -> tuple[np.ndarray, np.ndarray]:
    """Genes that are a marker of a label, and of which; labels of fewer than five markers or cells are left out."""
    x, labels = data.scaled_ng[~data.test], data.labels[~data.test]
    names, count = np.unique(labels, return_counts=True)
    names = names[count >= FEWEST]
    above_lg = np.stack([x[labels == name].mean(axis=0) - x[labels != name].mean(axis=0) for name in names])
    best_g = above_lg.argmax(axis=0)
    genes, sets = [], []
    for at, name in enumerate(names):
        own = np.flatnonzero((best_g == at) & (above_lg[at] > 0))
        own = own[np.argsort(-above_lg[at, own], kind="stable")[:N_MARKERS]]
        if len(own) >= FEWEST:
            genes += own.tolist()
            sets += [name] * len(own)
    return np.array(genes), np.array(sets)


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for data in dict.fromkeys(r["data"] for r in result["rows"]):
        own = [r for r in result["rows"] if r["data"] == data]
        first = own[0]
        size = f"{first['cells']} cells x {first['genes']} genes, {first['sets']} marker sets"
        parts.append(f"**{data}, {result['n_latent']} axes** ({size})\n")
        lines = [[r["method"], r["profile"], *(r[m] for m in MEASURES)] for r in own]
        parts.append(_common.table(("method", "genes are seen in", *MEASURES), lines))
    return "\n".join(parts)
