"""Batches: are cells of a kind together, whatever their batch, with and without `batch_key`?

The published batch study (stem cell lines; Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y) looks at pictures; here
it has numbers as well. Planted groups in three batches with an effect on every gene (drawn below, first two principal
components of z.v), and public data with batches; 300 genes, at most 500 cells, 10 axes, one seed. siVAE has 400 steps.
The published recipe, gamma 0 as in that study, has 250 a phase, an eighth of its own, and runs on the planted batches.

"knn" is the accuracy of labels from 15 neighbors, "across" from neighbors in other batches alone. "mixing" is the
diversity of batches among the 10 nearest cells of a cell's own label, over that of the label: 1 is fully mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import sivae
from bench import _common, _data, _figures, _heldout, _measures, _methods

SETS = ("cell_lines", "pancreas", "pbmc7")
PLANTED = "planted batches"
N_GENES, N_CELLS, N_LATENT = 300, 500, 10
OWN, PUBLISHED = 400, 250
NEAR = 10
MEASURES = ("knn", "across", "mixing", "seconds")
METHODS = ("siVAE", "siVAE, nb", "published", "scVI", "PCA")


def _fit(data: _heldout.Data, name: str, *, batch: bool) -> _methods.Fit:
    own: dict[str, Callable[[], _methods.Fit]] = {
        "siVAE": lambda: _sivae(data, batch=batch),
        "siVAE, nb": lambda: _sivae(data, batch=batch, likelihood="nb"),
        "published": lambda: _methods.fit_published(data, N_LATENT, 0, steps=PUBLISHED, gamma=0.0, batch=batch),
        "scVI": lambda: _methods.fit_scvi_tools(data, N_LATENT, 0, name="scVI", batch=batch),
        "PCA": lambda: _methods.fit_pca(data, N_LATENT, 0),
    }
    return own[name]()


def _sivae(data: _heldout.Data, *, batch: bool, **settings: Any) -> _methods.Fit:
    options = _methods.short(OWN)
    return _methods.fit_sivae(data, N_LATENT, 0, batch=batch, options=options, **settings)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("batches", ("data", "method", "batch_key"), quick=settings.quick)
    quick = settings.quick
    wanted = () if quick else SETS if settings.data is None else settings.data
    files = tuple(name for name in wanted if name != PLANTED)
    for source in (_data.Source(PLANTED, planted, "group", "batch"), *_data.sources(files)):
        data = _heldout.of(source, n_genes=60 if quick else N_GENES, n_cells=250 if quick else N_CELLS)
        for name, batch in _runs(source.name, quick=quick):
            rows.find(lambda d=data, name=name, batch=batch: row(d, name, batch=batch), **{
                "data": source.name, "method": name, "batch_key": batch,
            })  # fmt: skip
    rows.write(n_latent=N_LATENT, steps={"siVAE": OWN, "published": PUBLISHED, "scvi": _methods.STEPS})


def planted() -> anndata.AnnData:
    """500 cells x 300 genes in three batches: five factors, eight groups, a shift of sd 0.5 of every gene by batch."""
    return sivae.datasets.planted(
        500, 300, n_factors=5, genes_per_factor=48, signed=True, n_batches=3, batch_effect=0.5, seed=0
    )


def _runs(data: str, *, quick: bool) -> list[tuple[str, bool]]:
    """Methods, and whether they are told the batches; principal components have nothing to be told."""
    runs = []
    for name in ("siVAE", "PCA") if quick else METHODS:
        at_hand = name not in _methods.BY_NAME or _methods.BY_NAME[name].at_hand()
        if at_hand and (name != "published" or data == PLANTED):
            runs += [(name, False)] if name == "PCA" else [(name, False), (name, True)]
    return runs


def row(data: _heldout.Data, name: str, *, batch: bool) -> dict[str, Any]:
    fit = _fit(data, name, batch=batch)
    assert data.batch is not None
    found: dict[str, Any] = {
        "knn": round(_measures.knn(fit.z_nk, data.labels), 4),
        "across": round(across(fit.z_nk, data.labels, data.batch), 4),
        "mixing": round(_measures.mixing(fit.z_nk, data.labels, data.batch, NEAR), 4),
        "seconds": round(fit.seconds, 1),
        "cells": data.counts.n_obs,
        "genes": data.counts.n_vars,
    }
    if data.name == PLANTED and name == "siVAE":
        # Axes have variance one each: what they say of the genes tells which directions are long.
        assert fit.v_gk is not None
        left_nm, length_m, _ = np.linalg.svd((fit.z_nk.astype(float) - fit.z_nk.mean(axis=0)) @ fit.v_gk.T)
        found["map"] = np.round(left_nm[:, :2] * length_m[:2], 2).tolist()
        found["groups"], found["batches"] = data.labels.tolist(), data.batch.tolist()
    return found


def across(z_nk: np.ndarray, labels: np.ndarray, batch: np.ndarray, n_neighbors: int = 15) -> float:
    """Accuracy of labels from the nearest cells of the other batches, among labels that those have."""
    right = []
    for own in np.unique(batch):
        there = batch != own
        here = ~there & np.isin(labels, labels[there])
        if here.any() and there.sum() >= n_neighbors:
            classifier = KNeighborsClassifier(n_neighbors).fit(z_nk[there], labels[there])
            right.append(classifier.predict(z_nk[here]) == labels[here])
    return float(np.concatenate(right).mean())


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for data in dict.fromkeys(r["data"] for r in result["rows"]):
        own = [r for name in METHODS for r in result["rows"] if (r["data"], r["method"]) == (data, name)]
        parts.append(f"**{data}** ({own[0]['cells']} cells x {own[0]['genes']} genes, {result['n_latent']} axes)\n")
        lines = [[r["method"], "yes" if r["batch_key"] else "no", *(r[m] for m in MEASURES)] for r in own]
        parts.append(_common.table(("method", "batch_key", *MEASURES), lines))
    return "\n".join(parts)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """The planted map without and with `batch_key`, coloured by batch and by group."""
    rows = {r["batch_key"]: r for r in result["rows"] if "map" in r}
    figure, axes = _figures.row_of_axes(4, width=2.1, height=2.2)
    for at, (told, column) in enumerate([(False, "batches"), (True, "batches"), (False, "groups"), (True, "groups")]):
        z, names = np.array(rows[told]["map"]), np.array(rows[told][column])
        for color, name in zip(_figures.COLORS, np.unique(names), strict=False):
            axes[at].plot(*z[names == name].T, ".", ms=2.5, color=color, label=name)
        axes[at].set_title(
            f"{'with' if told else 'without'} batch_key, by {column[:-1].replace('batche', 'batch')}", fontsize=7
        )
        axes[at].set(xticks=[], yticks=[])
    axes[0].set_xlabel("first two principal components of z.v", fontsize=7, loc="left")
    return {"batches": figure}
