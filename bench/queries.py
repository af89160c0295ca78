"""Query genes from their neighbors: whose neighborhoods tell most of a gene?

The published comparison (C.7) on the fits of `neighborhoods`: a gene is predicted from its 20 neighbors by every
method, by ridge regression in closed form on training cells, and judged by R2 on held-out cells. Query genes are among
the most central by the degree of every method: the smallest share of the genes (half or more) that leaves 40 of them.
Methods are compared in pairs over these genes by Wilcoxon's signed-rank test (two-sided; Holm's correction over all
pairs, or over all genes for siVAE with each) and by the correlation of their accuracies. "along" cumulates the mean R2
along siVAE's centrality.

For ten query genes of one data set the published small networks (20-20-20-5, 3,000 iterations) are trained as well, on
the neighbors of two methods, and ranked against the closed form.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import spearmanr, wilcoxon

from bench import _common, _data, _figures, _measures, _networks, _spaces

N_NEIGHBORS, LEAST = 20, 40
SHOWN = (
    "siVAE", "siVAE, gamma 0", "published, Euclidean", "published", "LDVAE", "PCA", "Pearson", "CLR", "MRNET", "ARACNE",
    "GRNBoost2", "CLR of siVAE", "MRNET of siVAE", "GRNBoost2 of siVAE",
)  # fmt: skip
TRAINED_DATA, TRAINED, TRAINED_GENES, ITERATIONS = ("pbmc700",), ("siVAE", "CLR"), 10, 3000
SEQUENCE = (5, 10, 20, 30, 40)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("queries", ("data",), quick=settings.quick)
    for name in _spaces.at_hand(settings.data or (("network",) if settings.quick else _spaces.DATA)):
        rows.find(lambda name=name: row(_spaces.of(name, quick=settings.quick), quick=settings.quick), data=name)
    rows.write(n_neighbors=N_NEIGHBORS, iterations=ITERATIONS)


def row(known: _spaces.Known, *, quick: bool = False) -> dict[str, Any]:
    names = [name for name in SHOWN if name in known.spaces]
    degrees = [known.spaces[name].degree_g for name in names]
    genes, share = query_genes(degrees, least=10 if quick else LEAST)
    order = genes[np.argsort(-known.centrality["siVAE strength"][genes], kind="stable")]
    near = {name: known.spaces[name].neighbors(N_NEIGHBORS) for name in names}
    r2 = {name: _measures.neighbor_r2_of_genes(near[name], known.train, known.test) for name in names}
    chosen = np.stack([r2[name][order] for name in names])
    return {
        "genes": known.train.shape[1], "queries": len(genes), "share": share, "methods": names,
        "mean": {name: round(float(values.mean()), 4) for name, values in zip(names, chosen, strict=True)},
        "mean_all": {name: round(float(values.mean()), 4) for name, values in r2.items()},
        "along": {
            name: [round(float(values[:n].mean()), 4) for n in SEQUENCE if n <= len(genes)]
            for name, values in zip(names, chosen, strict=True)
        },
        "pairs": paired(names, chosen),
        "pairs_all": with_first(names, np.stack([r2[name] for name in names])),
        "networks": networks(known, order, near, r2, quick=quick),
    }  # fmt: skip


def query_genes(degrees: list[np.ndarray], *, least: int) -> tuple[np.ndarray, float]:
    """Genes among the most central of every method, and the share of all genes that each method had to give."""
    g = len(degrees[0])
    rank = np.max([np.argsort(np.argsort(-np.nan_to_num(degree), kind="stable")) for degree in degrees], axis=0)
    share = next(share for share in np.arange(0.5, 1.01, 0.05) if (rank < share * g).sum() >= least or share > 0.99)
    return np.flatnonzero(rank < share * g), round(float(share), 2)


def paired(names: list[str], r2_mg: np.ndarray) -> list[dict[str, Any]]:
    """Every pair of methods: mean difference, p by Wilcoxon, Holm's, Pearson correlation over genes."""
    pairs = list(combinations(range(len(names)), 2))
    p = np.array([
        float(wilcoxon(r2_mg[a], r2_mg[b]).pvalue) if np.any(r2_mg[a] != r2_mg[b]) else 1.0 for a, b in pairs
    ])  # fmt: skip
    return [
        {
            "first": names[a], "second": names[b], "difference": round(float((r2_mg[a] - r2_mg[b]).mean()), 4),
            "p": float(f"{one:.3g}"), "holm": float(f"{corrected:.3g}"),
            "pearson": round(float(np.corrcoef(r2_mg[a], r2_mg[b])[0, 1]), 4),
        }
        for (a, b), one, corrected in zip(pairs, p, holm(p), strict=True)
    ]  # fmt: skip


def with_first(names: list[str], r2_mg: np.ndarray) -> list[dict[str, Any]]:
    """The first method with every other, over all genes; Holm's correction over these pairs alone."""
    pairs = [pair for pair in paired(names, r2_mg) if pair["first"] == names[0]]
    corrected = holm(np.array([pair["p"] for pair in pairs]))
    return [pair | {"holm": float(f"{p:.3g}")} for pair, p in zip(pairs, corrected, strict=True)]


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down p-values: the smallest times m, the next times m - 1 and so on, never falling."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(stepped, 1.0)
    return result


def networks(
    known: _spaces.Known, order: np.ndarray, near: dict[str, np.ndarray], r2: dict[str, np.ndarray], *, quick: bool
) -> dict[str, Any] | None:
    """The published networks beside the closed form; in few data sets, for time."""
    if known.data.name not in TRAINED_DATA and not quick:
        return None
    genes = order[np.linspace(0, len(order) - 1, 2 if quick else TRAINED_GENES).round().astype(int)]
    names = [name for name in TRAINED if name in near]
    trained = [
        [
            _networks.gene_from_neighbors(
                near[name][gene], int(gene), known.train, known.test, iterations=5 if quick else ITERATIONS
            )
            for gene in genes
        ]
        for name in names
    ]
    closed = [[float(r2[name][gene]) for gene in genes] for name in names]
    return {
        "methods": names, "network": np.round(trained, 4).tolist(), "closed": np.round(closed, 4).tolist(),
        "rho": round(float(spearmanr(np.ravel(trained), np.ravel(closed))[0]), 4),
        "rho each": [round(float(spearmanr(a, b)[0]), 4) for a, b in zip(trained, closed, strict=True)],
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for own in result["rows"]:
        parts.append(
            f"**{own['data']}**: {own['queries']} query genes, among the {own['share']:.0%} most central of "
            f"{own['genes']} by every method\n"
        )
        against = {frozenset((pair["first"], pair["second"])): pair for pair in own["pairs"]}
        over_all = {pair["second"]: pair["holm"] for pair in own["pairs_all"]}
        lines = []
        for name in own["methods"]:
            pair = against.get(frozenset((name, "siVAE")), {})
            sign = -1 if pair.get("first") == "siVAE" else 1
            difference = None if not pair else sign * pair["difference"]
            lines.append([
                name, own["mean"][name], difference, _p(pair.get("p")), _p(pair.get("holm")), pair.get("pearson"),
                own["mean_all"][name], _p(over_all.get(name)),
                ", ".join(f"{value:.3f}" for value in own["along"][name]),
            ])  # fmt: skip
        words = ", ".join(str(n) for n in SEQUENCE[: len(next(iter(own["along"].values())))])
        parts.append(
            _common.table(
                ("neighbors by", "R2", "less siVAE's", "p", "p (Holm)", "Pearson with siVAE's", "R2, all genes",
                 "p, all genes (Holm)",
                 f"along: first {words}"), lines,
            )
        )  # fmt: skip
        parts.append(_words(own))
    return "\n".join(parts)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _words(own: dict[str, Any]) -> str:
    differ = [pair for pair in own["pairs"] if pair["holm"] <= 0.05]
    text = f"{len(differ)} of {len(own['pairs'])} pairs of methods differ (Holm, 5 %)."
    if own["networks"]:
        found = own["networks"]
        means = "; ".join(
            f"{name} {np.mean(net):.3f}, closed form {np.mean(closed):.3f}"
            for name, net, closed in zip(found["methods"], found["network"], found["closed"], strict=True)
        )
        text += (
            f" Published networks for {len(found['network'][0])} genes: R2 {means}; rank correlation with the closed "
            f"form {found['rho']:.3f}."
        )
    return text + "\n"


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Mean R2 along siVAE's centrality; data sets that ship alone."""
    shipped = {source.name for source in _data.SHIPPED}
    few = ("siVAE", "published", "LDVAE", "PCA", "Pearson", "CLR", "GRNBoost2", "CLR of siVAE")
    points = [
        {"data": row["data"], "method": name, "n": n, "r2": value}
        for row in result["rows"]
        if row["data"] in shipped
        for name, values in row["along"].items()
        if name in few
        for n, value in zip(SEQUENCE, values, strict=False)
    ]
    words = ("query genes, most central first", "mean R2 of 20 neighbors")
    figure = _figures.lines(points, panels="data", x="n", value="r2", hue="method", words=words)
    return {"queries": _figures.legend_beside(figure)}
