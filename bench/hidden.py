"""What do the other genes tell of a gene? Explained variance on held-out cells, with the gene itself seen and hidden.

A reconstruction may copy: a cell's position is made from all genes, the one that is predicted among them. Here the
gene's standardised value is set to its mean before the cell is embedded, gene by gene, for every fourth of the 300
genes of highest degree on held-out cells. What remains is what the map knows of the gene from the others. Principal
components in closed form (x V V' less the gene's own share).
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from bench import _common, _data, _figures, _heldout, _measures, _methods

SIZES, N_GENES, N_CELLS, EVERY = (2, 20), 500, 1000, 4
METHODS = ("siVAE", "siVAE, gamma 0", "PCA")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("hidden", ("data", "k", "method"), quick=settings.quick)
    names = settings.data or (("planted",) if settings.quick else ("network", "planted", "pbmc700", "pbmc3k", "sergio"))
    n_genes, n_cells = (80, 300) if settings.quick else (N_GENES, N_CELLS)
    prepared = [_heldout.of(source, n_genes=n_genes, n_cells=n_cells) for source in _data.sources(names)]
    methods = _methods.named(("siVAE", "PCA") if settings.quick else METHODS)
    for slow, k, data in product((False, True), (2,) if settings.quick else SIZES, prepared):
        for method in (m for m in methods if m.slow == slow):
            rows.find(partial(row, data, method, k), data=data.name, k=k, method=method.name)
        rows.write(done=False, n_cells=N_CELLS)
    rows.write(n_cells=N_CELLS)


def row(data: _heldout.Data, method: _methods.Method, k: int) -> dict[str, Any]:
    degree_g, _ = _measures.connectivity(data.scaled_ng[data.test])
    genes = np.argsort(-degree_g, kind="stable")[: _measures.TOP : EVERY]
    if method.name == "PCA":
        seen, hidden = of_components(data, k, genes)
    else:
        seen, hidden = of_model(data, method.fit(data, k, 0).model, genes)
    found = {"seen": _explained(data, seen, genes), "hidden": _explained(data, hidden, genes)}
    return {name: round(value, 4) for name, value in found.items()} | {"genes": len(genes)}


def _explained(data: _heldout.Data, predicted_ns: np.ndarray, genes: np.ndarray) -> float:
    x_train, x_test = data.scaled_ng[~data.test][:, genes], data.scaled_ng[data.test][:, genes]
    return float(_measures.explained(x_train, predicted_ns[~data.test], x_test, predicted_ns[data.test]).mean())


def of_components(data: _heldout.Data, k: int, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of these genes from k components, with each gene seen and hidden, (cells, genes)."""
    x_ng = data.scaled_ng - data.scaled_ng[~data.test].mean(axis=0)
    v_gk = np.linalg.svd(x_ng[~data.test], full_matrices=False)[2][:k].T
    seen = (x_ng @ v_gk) @ v_gk[genes].T
    return seen, seen - x_ng[:, genes] * (v_gk[genes] ** 2).sum(axis=1)


@torch.no_grad()
def of_model(data: _heldout.Data, model: Any, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same from a trained model of this package, at posterior means."""
    module = model._module_().eval()
    place = {gene: at for at, gene in enumerate(sorted(map(str, model.genes)))}
    expression = model._read(data.counts, range(data.counts.n_obs))
    x_ng = torch.from_numpy(expression.standardised(np.arange(data.counts.n_obs)))
    design_nb = torch.from_numpy(expression.design_nb)
    v_gk = module.encode_features(module.profile_gq).mean_rk
    z_nk = module.encode_cells(x_ng, design_nb).mean_rk
    seen, hidden = [], []
    for gene in data.counts.var_names[genes]:
        at = torch.tensor([place[str(gene)]])
        without_ng = x_ng.clone()
        without_ng[:, at] = 0.0
        for into, position_nk in ((seen, z_nk), (hidden, module.encode_cells(without_ng, design_nb).mean_rk)):
            into.append(module.predict(position_nk, v_gk[at], design_nb, at)[0][:, 0].numpy())
    return np.stack(seen, axis=1), np.stack(hidden, axis=1)


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines = []
    for data, k in dict.fromkeys((r["data"], r["k"]) for r in rows):
        own = {r["method"]: r for r in rows if (r["data"], r["k"]) == (data, k)}
        cells = [f"{own[m]['seen']:.3f} / {own[m]['hidden']:.3f}" if m in own else "" for m in METHODS]
        lines.append([data, k, *cells])
    said = f"Gene seen / gene hidden. {_common.conditions(result)}\n\n"
    return said + _common.table(("data", "axes", *METHODS), lines)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    shipped = {source.name for source in _data.SHIPPED}
    rows = [
        {"data": r["data"], "method": f"{r['method']}, {r['k']} axes", "gene": gene, "value": r[gene]}
        for r in result["rows"]
        for gene in ("seen", "hidden")
        if r["data"] in shipped
    ]
    words = "explained variance, held-out cells"
    return {"hidden": _figures.dots(rows, panels="data", groups="method", value="value", hue="gene", words=words)}


def headlines(result: dict[str, Any]) -> list[list[str]]:
    lines = []
    for gene, words in (("seen", ""), ("hidden", ", the gene itself hidden")):
        own = {
            m: [r[gene] for r in result["rows"] if (r["method"], r["k"]) == (m, SIZES[-1])] for m in ("PCA", "siVAE")
        }
        question = f"held-out variance explained, {SIZES[-1]} axes, mean of {len(own['PCA'])} data sets{words}"
        lines.append([question, f"PCA: {np.mean(own['PCA']):.3f}", f"{np.mean(own['siVAE']):.3f}", ""])
    return lines
