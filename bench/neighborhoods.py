"""Gene neighborhoods of siVAE, its peers and network inference: how far do they agree, and which are true?

The published comparison (C.6, D.6) at 300 genes (400 where the network is known) and 800 training cells: overlap
(Jaccard) of neighborhoods of 50 and of 20 genes; mean absolute correlation, on held-out cells, over pairs of a neighbor
by one method and one by the other; what 20 neighbors tell of a gene on held-out cells (closed-form ridge). Where the
regulatory network is known (simulations), pairs are ranked by every method and counted against two truths: "edge", one
gene regulates the other, and "shared", both have a regulator in common and no edge; in planted data against "module",
both follow the same factor. AUPRC and early precision are ratios to chance (1).

siVAE, LDVAE and PCA have 10 axes; 300 steps in each published phase, of 2,000. "Euclidean" is the published metric,
else the default of `gene_neighbors`. Networks see the same training cells; GRNBoost2 has at most 300 of them and 150
trees a gene (40 on reconstructions, where boosting does not stop of itself).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, ward
from scipy.spatial.distance import squareform

from bench import _common, _data, _figures, _inference, _measures, _spaces
from sivae.graph._compare import jaccard
from sivae.graph._implied import unit_factors

SIZES = (50, 20)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("neighborhoods", ("data",), quick=settings.quick)
    for name in _spaces.at_hand(settings.data or (("network",) if settings.quick else _spaces.DATA)):
        rows.find(lambda name=name: row(_spaces.of(name, quick=settings.quick)), data=name)
    rows.write(n_axes=_spaces.N_AXES, published_steps=_spaces.PUBLISHED_STEPS)


def row(known: _spaces.Known) -> dict[str, Any]:
    names, g = list(known.spaces), known.train.shape[1]
    truth = _spaces.truth(known.data)
    factor_gm = unit_factors((known.test - known.test.mean(axis=0)).T)
    found: dict[str, Any] = {"genes": g, "cells": len(known.train), "methods": names}
    found["kinds"] = [known.spaces[name].kind for name in names]
    for size in SIZES:
        near = [known.spaces[name].neighbors(min(size, g // 3)) for name in names]
        overlap = np.array([[jaccard(a, b).mean() for b in near] for a in near])
        pairs = pair_correlations(factor_gm, near)
        found[f"groups{size}"] = {"jaccard": grouped(overlap, found["kinds"]), "pairs": grouped(pairs, found["kinds"])}
        if size == SIZES[0]:
            found["jaccard50"] = overlap.round(3).tolist()
            found["within50"] = pairs.diagonal().round(4).tolist()
    found["each"] = {name: one(known, known.spaces[name], truth) for name in names}
    return found


def pair_correlations(factor_gm: np.ndarray, near: list[np.ndarray]) -> np.ndarray:
    """`pair_correlation` of every two methods, mean over genes, (methods, methods): quicker for a few hundred genes."""
    size_gg = np.abs(factor_gm @ factor_gm.T)
    shown = [np.zeros_like(size_gg) for _ in near]
    for mark_gg, index in zip(shown, near, strict=True):
        np.put_along_axis(mark_gg, index, 1 / index.shape[1], axis=1)
    reached = [mark_gg @ size_gg for mark_gg in shown]
    return np.array([[(a * b).sum() / len(b) for b in shown] for a in reached])


def grouped(value_mm: np.ndarray, kinds: list[str]) -> dict[str, float]:
    """Means over pairs of different methods by what these are."""
    kind_m, different_mm = np.array(kinds), ~np.eye(len(kinds), dtype=bool)
    found = {}
    for first, second in (("DR", "DR"), ("GRN", "GRN"), ("DR", "GRN")):
        chosen_mm = (kind_m == first)[:, None] & (kind_m == second) & different_mm
        found[f"{first} with {second}"] = _rounded(value_mm[chosen_mm].mean())
    return found


def one(known: _spaces.Known, space: _spaces.Space, truth: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """What is measured of one method."""
    near = space.neighbors(20)
    found: dict[str, Any] = {
        "r2": _rounded(_measures.neighbor_r2(near, known.train, known.test)),
        "seconds": round(space.seconds, 1),
    }
    if space.weight_gg is not None:
        found["edges"] = _rounded((space.weight_gg > 0).mean() * len(near) / (len(near) - 1))
    weight_gg = space.similarity_gg if space.weight_gg is None else space.weight_gg
    for kind, true_gg in (truth or {}).items():
        found[f"{kind} AUPRC"] = _rounded(_inference.average_precision(weight_gg, true_gg))
        found[f"{kind} early"] = _rounded(_inference.early_precision(weight_gg, true_gg))
    if truth is not None:
        related_gg = np.any(list(truth.values()), axis=0)
        found["related"] = _rounded(np.take_along_axis(related_gg, near, axis=1).mean())
        found["related, chance"] = _rounded(related_gg.sum() / (len(near) * (len(near) - 1)))
    return found


def _rounded(value: float) -> float:
    return round(float(value), 4)


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for own in result["rows"]:
        parts.append(f"**{own['data']}** ({own['cells']} training cells x {own['genes']} genes)\n")
        parts.append(_grouped(own))
        parts.append(_each(own))
    return "\n".join(parts)


def _grouped(own: dict[str, Any]) -> str:
    at = [(size, kind) for kind in ("jaccard", "pairs") for size in SIZES]
    lines = [[group, *(own[f"groups{size}"][kind][group] for size, kind in at)] for group in own["groups50"]["jaccard"]]
    words = {"jaccard": "Jaccard", "pairs": "abs. correlation"}
    return _common.table(("methods", *(f"{words[kind]}, {size}" for size, kind in at)), lines)


def _each(own: dict[str, Any]) -> str:
    kinds = [f"{kind} {measure}" for kind in ("edge", "shared", "module") for measure in ("AUPRC", "early")]
    head = ["r2", "edges", *kinds, "related", "seconds"]
    head = [key for key in head if any(key in found for found in own["each"].values())]
    base = own["methods"].index("siVAE")
    lines = []
    for at, (name, found) in enumerate(own["each"].items()):
        lines.append([name, own["jaccard50"][at][base], own["within50"][at], *(found.get(key) for key in head)])
    words = {
        "r2": "held-out R2 of 20", "edges": "share of pairs with weight", "related": "related among 20",
    }  # fmt: skip
    chance = next(iter(own["each"].values())).get("related, chance")
    if chance is not None:
        words["related"] += f" (chance {chance:.3f})"
    columns = ("method", "Jaccard with siVAE", "abs. correlation within 50", *(words.get(key, key) for key in head))
    return _common.table(columns, lines)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Overlap of neighborhoods of 50, methods in the order of Ward's tree; data sets that ship alone."""
    shipped = {source.name for source in _data.SHIPPED}
    rows = [row for row in result["rows"] if row["data"] in shipped]
    figure, axes = _figures.row_of_axes(len(rows), width=5.2, height=4.6)
    image = None
    for ax, own in zip(axes, rows, strict=True):
        value = np.array(own["jaccard50"])
        distance = (2 - value - value.T) / 2
        np.fill_diagonal(distance, 0.0)
        order = leaves_list(ward(squareform(distance, checks=False)))
        image = ax.imshow(value[np.ix_(order, order)], vmin=0, vmax=1, cmap="viridis")
        labels = [own["methods"][i] for i in order]
        ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
        ax.set_yticks(range(len(labels)), labels, fontsize=6)
        ax.set_title(own["data"], fontsize=8)
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.6, label="Jaccard overlap of 50 neighbors")
    return {"neighborhoods": figure}
