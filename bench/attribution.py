"""What attribution methods say beside the loadings, and what they cost.

Every method of `sivae.tl.attributions` on the encoder and on the decoder, and Gene Relevance on the cell map, on 100
cells: absolute rank correlation with the loadings per axis, averaged over axes, and seconds. Loadings are read off the
trained model and cost nothing. "Centered" is the published reduction of a table cells x genes to one number per gene
(first principal component); "uncentered" does not take the mean over cells off first.

On planted data the truth is known as well: the multiple correlation of each factor's planted loadings with the axes of
a method, averaged over factors.

The decoder's attributions come in closed form for all genes. What one pass per gene would cost, as tools that know
nothing of the model take it, is timed on some genes and scaled up.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

import sivae
from bench import _common
from sivae.model._attribution import METHODS, Options, attribute
from sivae.model._networks import DecoderNetwork
from sivae.model._predict import encode
from sivae.train._options import TrainOptions

N_LATENT = 5
N_CELLS = 100
NEIGHBORS = (10, 100)
TIMED_GENES = 10
BY_GENE = ("gradient", "integrated_gradients", "deeplift")


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    facts = _common.machine()
    planted = sivae.datasets.planted(300 if quick else 2000, 100 if quick else 1000, n_factors=N_LATENT, signed=True)
    sets = {"planted": planted} if quick else {"planted": planted, "pbmc700": sivae.datasets.pbmc700()}
    result: dict[str, Any] = {"machine": facts, "n_latent": N_LATENT, "n_cells": N_CELLS, "sets": {}}
    for name, adata in sets.items():
        result["sets"][name] = {"data": _common.describe(adata), **one_set(adata, quick=quick)}
        print(f"{name}\n{pd.DataFrame(result['sets'][name]['methods']).T.to_string()}", flush=True)
    if not quick:
        _common.write("attribution", result)


def one_set(adata: AnnData, *, quick: bool) -> dict[str, Any]:
    model = trained(adata, quick=quick)
    per_cell = np.asarray(adata.X.sum(axis=1)).ravel()
    scaled = adata.X.multiply(1e4 / per_cell[:, None]).tocsr()
    adata.layers["log"] = scaled.log1p().astype(np.float32)
    methods = {}
    for side in ("encoder", "decoder"):
        for method in METHODS:
            found = {
                center: sivae.tl.attributions(
                    adata, model, side=side, method=method, n_cells=N_CELLS, center=center == "centered"
                )
                for center in ("centered", "uncentered")
            }
            methods[f"{side} {method}"] = row(adata, found)
    for estimator in ("median", "least_squares"):
        for n_neighbors in NEIGHBORS:
            found = {
                center: sivae.tl.gene_relevance(
                    adata, layer="log", n_neighbors=n_neighbors, n_cells=N_CELLS, estimator=estimator,
                    center=center == "centered",
                )
                for center in ("centered", "uncentered")
            }  # fmt: skip
            methods[f"relevance {estimator} {n_neighbors}"] = row(adata, found)
    own = pd.DataFrame(adata.varm["X_sivae"], index=adata.var_names)
    own.attrs["seconds"] = 0.0
    result: dict[str, Any] = {"methods": {"loadings": row(adata, {"centered": own, "uncentered": own}), **methods}}
    result["gene_by_gene_seconds"] = {m: gene_by_gene(adata, model, m) for m in BY_GENE}
    return result


def trained(adata: AnnData, *, quick: bool) -> sivae.SiVAE:
    sivae.SiVAE.setup_anndata(adata, size_factor_key="size_factor" if "size_factor" in adata.obs else None)
    model = sivae.SiVAE(adata, n_latent=N_LATENT, seed=0)
    model.train(accelerator="cpu", progress=False, options=TrainOptions(max_steps=20) if quick else None)
    model.annotate(adata)
    return model


def row(adata: AnnData, found: dict[str, pd.DataFrame]) -> dict[str, float]:
    agreement = sivae.tl.attribution_agreement(adata, found)
    result = {name: round(float(agreement.loc[name, "mean"]), 3) for name in found}
    if "planted_v" in adata.varm:
        for name, frame in found.items():
            result[f"truth_{name}"] = round(truth(adata, frame), 3)
    return result | {"seconds": round(float(agreement["seconds"].min()), 3)}


def truth(adata: AnnData, frame: pd.DataFrame) -> float:
    """Multiple correlation of planted loadings with the axes, mean over factors (of sizes, where there is no sign)."""
    planted_gk = pd.DataFrame(adata.varm["planted_v"], index=adata.var_names).loc[frame.index].to_numpy()
    if not frame.attrs.get("signed", True):
        planted_gk = np.abs(planted_gk)
    axes = np.column_stack([np.ones(len(frame)), frame.to_numpy()])
    fitted = axes @ np.linalg.lstsq(axes, planted_gk, rcond=None)[0]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(fitted.T, planted_gk.T, strict=True)]))


class Genes(nn.Module):
    """Predictor of some genes over its scale, without covariates."""

    def __init__(self, model: sivae.SiVAE, genes: np.ndarray) -> None:
        super().__init__()
        module = model._module_()
        self.joint = DecoderNetwork(module, torch.eye(N_LATENT)).eval()
        with torch.no_grad():
            v_gk = module.encode_features(module.profile_gq[genes]).mean_rk * module.used_k
            self.v_gk, self.w_gd = v_gk, module.feature_tower.decode(v_gk)

    def forward(self, z_ck: torch.Tensor, design_cb: torch.Tensor) -> torch.Tensor:
        return z_ck @ self.v_gk.T + self.joint(z_ck, design_cb) @ self.w_gd.T


def gene_by_gene(adata: AnnData, model: sivae.SiVAE, method: Any) -> float:
    """Seconds for every gene, one pass per gene, from those of some genes."""
    expression = model._read(adata, range(N_CELLS))
    z_ck = torch.from_numpy(encode(model._module_(), expression)[0])
    net, design_cb = Genes(model, np.arange(TIMED_GENES)), torch.from_numpy(expression.design_nb)
    started = time.perf_counter()
    for gene in range(TIMED_GENES):
        attribute(net, z_ck, design_cb, range(gene, gene + 1), torch.zeros(N_LATENT), Options(method))
    return round((time.perf_counter() - started) * adata.n_vars / TIMED_GENES, 2)


def table(result: dict[str, Any]) -> str:
    parts = []
    for name, found in result["sets"].items():
        by_gene = ", ".join(f"{m} {s} s" for m, s in found["gene_by_gene_seconds"].items())
        known = "truth_centered" in found["methods"]["loadings"]
        heads = ["centered", "uncentered", *(("truth_centered", "truth_uncentered") if known else ()), "seconds"]
        parts += [
            f"**{name}**: " + _common.sized(result | {"data": found["data"]}),
            f"{result['n_cells']} cells. One pass per gene through the decoder would take: {by_gene}.\n",
            "| method | " + " | ".join(heads).replace("_", ", ") + " |",
            "| --- |" + " --- |" * len(heads),
            *(f"| {m} | " + " | ".join(f"{row[h]:.3g}" for h in heads) + " |" for m, row in found["methods"].items()),
            "",
        ]
    return "\n".join(parts)
