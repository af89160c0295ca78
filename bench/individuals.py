"""Which genes lose connectivity as a phenotype rises? Planted rewiring, fewer and fewer cells, siVAE and its peers.

"rewired": 16 individuals of a simulated network of 400 genes; in cases three hubs lose their targets in proportion to
severity, expression held, and 20 other genes change expression alone. "planted": `sivae.datasets.planted_cohort`, 16
individuals, 200 genes, two hubs and 30 targets, 10 that change expression alone; three seeds. 300, 150, 75 and 40 cells
of each individual, drawn at random. One model is trained on those cells (siVAE), or one for each individual (siVAE
separate). All other methods are tested as siVAE is (least squares on severity, permutation of individuals,
Benjamini-Hochberg), but "published": one model of the published recipe for each individual, 200 steps a phase instead
of 2,000, 1 - squared error, Spearman's correlation with severity and its p ("published test"). Peers
(`bench/_individuals.py`) are written anew from published ideas: Dozer-like is our reading, not the program; genes are
left out at 90 % noise, and with 75 % it found all three hubs at 300 cells without types, and none at 75 cells either.
All are told the cell types unless it says so.

`hub ranks`: places by loss of connectivity (t) among all genes. `above`: neutral genes (no hub, no target, no change of
expression) in front of each hub. `auc`: hubs and targets against neutral genes. `hubs`, `targets`: share found at 5 %
FDR; `neutral`, `expression`: how many of the others are called. siVAE with its verdict is a line of its own. Genes
further down the network count as neutral, though they may change truly. Edges: rewired ones found among those in
the graph (1 % of pairs in any individual; siVAE adds strong pairs of the cohort's mean), and calls among edges of which
no end is hub or target.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import rankdata, spearmanr

import sivae
from bench import _common, _data, _individuals
from sivae.stats._association import associate
from sivae.stats._fdr import adjust

CELLS = (300, 150, 75, 40)
N_SEEDS = 3
N_LATENT = 20
LAYERS = ("projection", "norm", "explained_variance", "strength", "degree")
PUBLISHED_STEPS, PUBLISHED_LATENT = 200, 5
N_PERMUTATIONS = 100_000
FITS = _common.RESULTS / "individuals.fits"
"""Where published fits are kept until all are there, so that a benchmark that was stopped goes on."""


@dataclass(frozen=True)
class Truth:
    """What was planted, by gene, and the rewired edges as sorted pairs of names."""

    genes: tuple[str, ...]
    hub_g: np.ndarray
    target_g: np.ndarray
    expression_g: np.ndarray
    edges: frozenset[tuple[str, str]]

    @property
    def neutral_g(self) -> np.ndarray:
        return np.asarray(~(self.hub_g | self.target_g | self.expression_g))


@dataclass(frozen=True)
class Case:
    """Cells of a cohort, what was planted, and the severity of each individual by name."""

    adata: AnnData
    truth: Truth
    x_s: np.ndarray
    n_latent: int
    quick: bool = False


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    rows = _common.Rows("individuals", ("data", "cells", "group"), quick=quick)
    for name, adata, truth in _cohorts(settings):
        for n_cells in (30,) if quick else CELLS:
            case = case_of(adata, truth, n_cells, quick=quick)
            for group, work in GROUPS.items():
                if not wanted(group, name, n_cells, quick=quick):
                    continue
                rows.find(lambda c=case, w=work: quietly(w, c), data=name, cells=n_cells, group=group)
        rows.write(done=False, **facts())
    rows.write(**facts())
    if not quick:
        shutil.rmtree(FITS, ignore_errors=True)


def facts() -> dict[str, Any]:
    return {"n_latent": N_LATENT, "steps": PUBLISHED_STEPS}


def wanted(group: str, name: str, n_cells: int, *, quick: bool) -> bool:
    """Published fits take minutes an individual: the network at 300 cells alone."""
    if group == "published":
        return quick or (name == "rewired" and n_cells == max(CELLS))
    if group == "siVAE separate":
        return quick or name in ("rewired", "planted 0")
    return True


def _cohorts(settings: _common.Settings) -> list[tuple[str, AnnData, Truth]]:
    found = []
    asked = settings.data or ("planted", "rewired")
    for seed in range(1 if settings.quick else settings.seeds or N_SEEDS):
        if "planted" in asked:
            size = {"n_individuals": 6, "n_cells": 40, "n_genes": 60, "n_regulators": 4, "targets": 8}
            adata = sivae.datasets.planted_cohort(**(size if settings.quick else {}), seed=seed)  # type: ignore[arg-type]
            found.append((f"planted {seed}", adata, truth_of(adata, "expression_only", "planted_edges")))
    if "rewired" in asked and not settings.quick:
        adata = _data.cohort("rewired")
        if adata is not None:
            found.insert(0, ("rewired", adata, truth_of(adata, "de_only", "edges")))
    return found


def truth_of(adata: AnnData, expression: str, edges: str) -> Truth:
    known = adata.uns[edges]
    known = known[known["rewired"].astype(bool)]
    pairs = frozenset(
        (min(a, b), max(a, b)) for a, b in zip(known["regulator"].astype(str), known["target"].astype(str), strict=True)
    )
    columns = [adata.var[name].to_numpy(bool) for name in ("rewired_hub", "rewired_target", expression)]
    return Truth(tuple(map(str, adata.var_names)), *columns, pairs)


def case_of(adata: AnnData, truth: Truth, n_cells: int, *, quick: bool) -> Case:
    """So many cells of each individual, the same ones for every method."""
    rng = np.random.default_rng(n_cells)
    label_n = adata.obs["donor"].astype(str).to_numpy()
    rows = [np.sort(rng.permutation(np.flatnonzero(label_n == name))[:n_cells]) for name in sorted(set(label_n))]
    part = adata[np.concatenate(rows)].copy()
    part.uns = {}
    x_s = adata.obs["severity"].to_numpy()[[at[0] for at in rows]]
    return Case(part, truth, x_s, 4 if quick else N_LATENT, quick)


def quietly(work: Callable[[Case], dict[str, Any]], case: Case) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clock = _common.Clock()
        found = work(case)
        return found | {"seconds": round(clock.seconds, 1), "cpu": round(clock.cpu, 1)}


# ------------------------------------------------------------------------------------------------------------- siVAE


def shared(case: Case) -> dict[str, Any]:
    sivae.SiVAE.setup_anndata(case.adata)
    model = sivae.SiVAE(case.adata, n_latent=case.n_latent, seed=0)
    model.train(accelerator="cpu", progress=False, **({"max_epochs": 2} if case.quick else {}))
    told = sivae.cohort.connectivity(case.adata, "donor", model=model, cell_type_key="cell_type")
    untold = sivae.cohort.connectivity(case.adata, "donor", model=model)
    methods = of_samples(told, case, LAYERS, "siVAE") | of_samples(untold, case, ("projection",), "siVAE, no types")
    return {"methods": methods, "edges": {"siVAE": of_edges(told, case)}}


def separate(case: Case) -> dict[str, Any]:
    """One model for each individual, in common axes."""
    made = sivae.cohort.connectivity(
        case.adata, "donor", mode="separate", cell_type_key="cell_type", n_latent=case.n_latent
    )
    methods = of_samples(made, case, LAYERS, "siVAE separate")
    explained_sg = made.to_df("explained_variance").sort_index().reindex(columns=list(case.truth.genes)).to_numpy()
    methods["siVAE separate, published test"] = by_spearman(explained_sg, case)
    return {
        "methods": methods,
        "edges": {"siVAE separate": of_edges(made, case)},
    }


def of_samples(samples: AnnData, case: Case, layers: tuple[str, ...], name: str) -> dict[str, Any]:
    """Measures of each layer; of the default one with its verdict too."""
    found = {}
    for layer in layers:
        table = sivae.cohort.associate(
            samples, "severity", layer=layer, controls=layer == "projection", n_permutations=N_PERMUTATIONS
        )
        table = table.reindex(list(case.truth.genes))
        label = name if layer == "projection" else f"{name}, {layer.replace('_', ' ')}"
        t_g, q_g = table["t"].to_numpy(), table["q"].to_numpy()
        found[label] = measured(t_g, q_g <= 0.05, case.truth)
        if layer == "projection":
            found[f"{label}, with verdict"] = measured(t_g, (table["verdict"] == "associated").to_numpy(), case.truth)
    return found


def of_edges(samples: AnnData, case: Case) -> dict[str, Any]:
    table = sivae.cohort.edges(samples, "severity", n_permutations=N_PERMUTATIONS)
    return edge_measures(table["gene_a"], table["gene_b"], table["q"].to_numpy() <= 0.05, case.truth)


# ------------------------------------------------------------------------------------------------------------- others


def peers(case: Case, *, within_types: bool = True) -> dict[str, Any]:
    counts = _individuals.counts_of(case.adata)
    label = "" if within_types else ", no types"
    methods = {}
    for name, y_sg in _individuals.centralities(counts, within_types=within_types).items():
        found = tested(y_sg, case)
        methods[name + label] = measured(found.t_g, adjust(found.p_g) <= 0.05, case.truth)
    if not within_types:
        return {"methods": methods}
    edges = {}
    for name, network in _individuals.NETWORKS.items():
        correlation_sgg = network(counts, within_types=True)
        first, second = np.triu_indices(len(counts.genes), 1)
        kept = _individuals.present(correlation_sgg).any(axis=0)
        found = tested(correlation_sgg[:, first[kept], second[kept]], case)
        genes = np.array(counts.genes)
        called = adjust(found.p_g) <= 0.05
        edges[name] = edge_measures(genes[first[kept]], genes[second[kept]], called, case.truth)
    return {"methods": methods, "edges": edges}


def tested(y_sg: np.ndarray, case: Case) -> Any:
    return associate(y_sg, case.x_s, n_permutations=N_PERMUTATIONS, generator=np.random.default_rng(0))


def published(case: Case) -> dict[str, Any]:
    """The published recipe for each individual, and its test: Spearman over individuals."""
    from sivae.cohort._separate import fit_separately

    steps = 5 if case.quick else PUBLISHED_STEPS
    options = replace(sivae.PublishedOptions.preset("ipsc"), iterations=steps, kl_warmup=steps // 2)
    fit = fit_separately(
        case.adata, "donor", genes=list(case.truth.genes), min_cells=10, setup={}, folder=None if case.quick else FITS,
        model_options={"n_latent": PUBLISHED_LATENT, "recipe": "choi2023", "published": options, "gamma": 0.05},
        train_options={"early_stopping": False, "options": sivae.TrainOptions(validation_fraction=0.0)},
    )  # fmt: skip
    explained = pd.DataFrame(fit.explained_sg, fit.individuals, fit.genes).sort_index()
    found = by_spearman(explained.reindex(columns=list(case.truth.genes)).to_numpy(), case)
    return {"methods": {"published": found}, "explained": round(float(fit.explained_sg.mean()), 4)}


def by_spearman(explained_sg: np.ndarray, case: Case) -> dict[str, Any]:
    """The published test: Spearman's correlation of 1 - squared error with the phenotype, and its p."""
    rho_g, p_g = np.array([spearmanr(case.x_s, y_s) for y_s in explained_sg.T]).T
    rho_g, p_g = np.nan_to_num(rho_g), np.nan_to_num(p_g, nan=1.0)
    return measured(rho_g, adjust(p_g) <= 0.05, case.truth)


GROUPS: dict[str, Callable[[Case], dict[str, Any]]] = {
    "siVAE": shared,
    "peers": peers,
    "peers, no types": lambda case: peers(case, within_types=False),
    "siVAE separate": separate,
    "published": published,
}


# ----------------------------------------------------------------------------------------------------------- measures


def measured(t_g: np.ndarray, called_g: np.ndarray, truth: Truth) -> dict[str, Any]:
    """How well a loss of connectivity is told; t is negative where connectivity falls."""
    loss_g = np.nan_to_num(-t_g)
    place_g = rankdata(-loss_g, method="max").astype(int)  # ties count against the hub
    neutral_g, changed_g = truth.neutral_g, truth.hub_g | truth.target_g
    wins = rankdata(np.r_[loss_g[changed_g], loss_g[neutral_g]])[: changed_g.sum()].sum()
    n, m = int(changed_g.sum()), int(neutral_g.sum())
    return {
        "ranks": sorted(int(place) for place in place_g[truth.hub_g]),
        "above": sorted(int((loss_g[neutral_g] >= loss).sum()) for loss in loss_g[truth.hub_g]),
        "auc": round(float((wins - n * (n + 1) / 2) / (n * m)), 4),
        "hubs": round(float(called_g[truth.hub_g].mean()), 4),
        "targets": round(float(called_g[truth.target_g].mean()), 4),
        "neutral": int(called_g[neutral_g].sum()), "n_neutral": m,
        "expression": int(called_g[truth.expression_g].sum()), "n_expression": int(truth.expression_g.sum()),
    }  # fmt: skip


def edge_measures(first: Any, second: Any, called_e: np.ndarray, truth: Truth) -> dict[str, Any]:
    pairs = [(min(a, b), max(a, b)) for a, b in zip(map(str, first), map(str, second), strict=True)]
    touched = {gene for gene, hit in zip(truth.genes, truth.hub_g | truth.target_g, strict=True) if hit}
    rewired_e = np.array([pair in truth.edges for pair in pairs])
    untouched_e = np.array([pair[0] not in touched and pair[1] not in touched for pair in pairs])
    return {
        "rewired": len(truth.edges), "in_graph": int(rewired_e.sum()), "found": int(called_e[rewired_e].sum()),
        "untouched": int(untouched_e.sum()), "false": int(called_e[untouched_e].sum()),
        "tested": len(pairs), "called": int(called_e.sum()),
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- table


def table(result: dict[str, Any]) -> str:
    groups = {row["group"] for row in result["rows"]}
    lacking = [group for group in GROUPS if group not in groups]
    parts = [f"{result['n_latent']} axes. {_common.conditions(result)}\n"]
    if lacking:
        parts.append(f"Not run here: {', '.join(lacking)}.\n")
    rows = [row | {"data": row["data"].split()[0]} for row in result["rows"]]
    for data in dict.fromkeys(row["data"] for row in rows):
        for n_cells in CELLS:
            own = [row for row in rows if row["data"] == data and row["cells"] == n_cells]
            if own:
                parts.append(f"**{data}, {n_cells} cells of each individual**\n\n" + _genes_table(own))
    return "\n".join(parts + [_edges_table(rows)])


def _genes_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for method in dict.fromkeys(name for row in rows for name in row["methods"]):
        own = [row["methods"][method] for row in rows if method in row["methods"]]
        share = [_common.mean(own, key) for key in ("auc", "hubs", "targets")]
        called = [
            f"{sum(one[key] for one in own)} of {sum(one[f'n_{key}'] for one in own)}"
            for key in ("neutral", "expression")
        ]
        lines.append(
            [method, *("; ".join(_joined(one[key]) for one in own) for key in ("ranks", "above")), *share, *called]
        )
    head = ("method", "hub ranks", "above", "auc", "hubs", "targets", "neutral", "expression")
    return _common.table(head, lines)


def _joined(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _edges_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for data, n_cells in dict.fromkeys((row["data"], row["cells"]) for row in rows):
        own = [row for row in rows if (row["data"], row["cells"]) == (data, n_cells) and "edges" in row]
        for method in dict.fromkeys(name for row in own for name in row["edges"]):
            found = [row["edges"][method] for row in own if method in row["edges"]]
            total = {key: sum(one[key] for one in found) for key in found[0]}
            share = total["found"] / max(total["in_graph"], 1)
            lines.append([
                data, n_cells, method, f"{total['in_graph']} of {total['rewired']}", f"{total['found']} ({share:.0%})",
                f"{total['false']} of {total['untouched']}", f"{total['called']} of {total['tested']}",
            ])  # fmt: skip
    head = ("data", "cells", "method", "rewired in the graph", "found", "untouched called", "all called")
    return "**Edges**\n\n" + _common.table(head, lines)
