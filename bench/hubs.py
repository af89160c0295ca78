"""Hubs: do central genes tell of the others? Centralities of siVAE, its peers and inferred networks.

The published comparison (C.8, D.7) on the fits of `neighborhoods`: every centrality, from training cells alone, against
the single-gene predictive power on held-out cells, here in closed form (mean squared correlation with the others).
"rho" is Spearman's, "given expression" the same of what mean expression and detection leave of both rankings, "top 50"
the predictive power of the 50 most central genes as a share of the best 50's. Degrees of correlation networks are the
same quantity on other cells, so they are what a centrality can reach. On simulated networks "targets" is Spearman's rho
with the number of genes a gene regulates, "regulators" the AUROC of genes that regulate any.

The published networks (one gene through 2-128-512-1024 units to all; 250 iterations of 1,000) are trained for ten genes
of every level of predictive power in one data set, and ranked against the closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from bench import _common, _data, _figures, _measures, _networks, _spaces
from sivae.stats._partial import rank_residual

NETWORK_DATA, NETWORK_GENES, NETWORK_ITERATIONS = "pbmc700", 10, 250
RANKS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 250, 300)
SHOWN = ("siVAE strength", "published 1 - MSE", "PCA norm", "Pearson", "CLR", "MRNET", "GRNBoost2", "best possible")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("hubs", ("data",), quick=settings.quick)
    for name in _spaces.at_hand(settings.data or (("network",) if settings.quick else _spaces.DATA)):
        rows.find(lambda name=name: row(_spaces.of(name, quick=settings.quick), quick=settings.quick), data=name)
    rows.write(n_axes=_spaces.N_AXES, iterations=NETWORK_ITERATIONS)


def row(known: _spaces.Known, *, quick: bool = False) -> dict[str, Any]:
    power_g = _measures.connectivity(known.test)[1]
    scores = known.centrality | {
        name: space.degree_g for name, space in known.spaces.items() if space.weight_gg is not None
    }
    expression_gc = np.column_stack([known.centrality["mean expression"], known.centrality["detection"]])
    targets_g = out_degree(known)
    each = {name: one(score, power_g, expression_gc, targets_g) for name, score in scores.items()}
    curves = {name: curve(scores.get(name, power_g), power_g) for name in SHOWN if name in (*scores, "best possible")}
    return {
        "genes": len(power_g), "cells": len(known.train), "power_best50": float(np.sort(power_g)[-50:].mean()),
        "each": each, "curves": curves, "networks": networks(known, power_g, scores, quick=quick),
    }  # fmt: skip


def one(
    score_g: np.ndarray, power_g: np.ndarray, expression_gc: np.ndarray, targets_g: np.ndarray | None
) -> dict[str, float]:
    """How a centrality ranks genes."""
    score_g = np.nan_to_num(score_g, nan=float(np.nanmin(score_g)))
    partial = np.corrcoef(rank_residual(score_g, expression_gc), rank_residual(power_g, expression_gc))[0, 1]
    best = np.argsort(-score_g, kind="stable")[:50]
    found = {
        "rho": _rho(score_g, power_g),
        "given expression": round(float(partial), 4),
        "top50": round(_measures.top_power(score_g, power_g), 4),
        "mean PVE of top 50, %": round(100 * float(power_g[best].mean()), 3),
    }
    if targets_g is not None:
        found["targets"] = _rho(score_g, targets_g)
        found["regulators"] = round(float(roc_auc_score(targets_g > 0, score_g)), 4)
    return found


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    return round(float(np.nan_to_num(spearmanr(a, b)[0])), 4)


def out_degree(known: _spaces.Known) -> np.ndarray | None:
    """Genes that each gene regulates, where that is known."""
    if "edges" not in known.data.counts.uns:
        return None
    count = known.data.counts.uns["edges"]["regulator"].value_counts()
    return np.asarray(count.reindex(known.data.counts.var_names).fillna(0.0), float)


def curve(score_g: np.ndarray, power_g: np.ndarray) -> list[float]:
    """Predictive power of the first genes, cumulated, as a share of all, at `RANKS`."""
    cumulated = np.cumsum(power_g[np.argsort(-np.nan_to_num(score_g), kind="stable")]) / power_g.sum()
    return [round(float(cumulated[rank - 1]), 4) for rank in RANKS if rank <= len(power_g)]


def networks(
    known: _spaces.Known, power_g: np.ndarray, scores: dict[str, np.ndarray], *, quick: bool
) -> dict[str, Any] | None:
    """The published reference on genes spread over the ranking; in one data set, for time."""
    if known.data.name != NETWORK_DATA and not quick:
        return None
    n = 3 if quick else NETWORK_GENES
    genes = np.argsort(power_g)[np.linspace(0, len(power_g) - 1, n).round().astype(int)]
    iterations = 5 if quick else NETWORK_ITERATIONS
    pve = np.array([_networks.all_from_gene(int(g), known.train, known.test, iterations=iterations) for g in genes])
    with_scores = {name: _rho(np.nan_to_num(score[genes]), pve) for name, score in scores.items()}
    return {
        "genes": [str(name) for name in known.data.counts.var_names[genes]],
        "pve": pve.round(5).tolist(),
        "closed": power_g[genes].round(5).tolist(),
        "rho": _rho(pve, power_g[genes]),
        "rho with": with_scores,
    }


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for own in result["rows"]:
        parts.append(f"**{own['data']}** ({own['cells']} training cells x {own['genes']} genes)\n")
        head = list(next(iter(own["each"].values())))
        lines = [[name, *found.values()] for name, found in own["each"].items()]
        if own["networks"]:
            for line in lines:
                line.append(own["networks"]["rho with"][line[0]])
            head.append("rho with networks")
        parts.append(_common.table(("centrality", *head), lines))
        if own["networks"]:
            parts.append(
                f"Networks of {len(own['networks']['genes'])} genes: rho {own['networks']['rho']:.3f} with the closed "
                f"form; on held-out cells they explain {_range(own['networks']['pve'])}, "
                f"the closed form {_range(own['networks']['closed'])}.\n"
            )
    return "\n".join(parts)


def _range(values: list[float]) -> str:
    return f"{min(values):.4f} to {max(values):.4f}"


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Cumulative predictive power along each ranking, over the best ranking's; data sets that ship alone."""
    shipped = {source.name for source in _data.SHIPPED}
    points = [
        {"data": row["data"], "score": name, "rank": rank, "share": share / best}
        for row in result["rows"]
        if row["data"] in shipped
        for name, shares in row["curves"].items()
        if name != "best possible"
        for rank, share, best in zip(RANKS, shares, row["curves"]["best possible"], strict=False)
    ]
    words = ("genes, most central first", "share of the best ranking's power")
    figure = _figures.lines(points, panels="data", x="rank", value="share", hue="score", words=words, log="x")
    return {"hubs": _figures.legend_beside(figure)}
