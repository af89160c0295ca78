"""Individuals x genes made by hand, as `sivae.cohort.connectivity` writes them, with a planted association."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys


def made_samples(
    n_individuals: int = 16,
    n_genes: int = 60,
    *,
    n_latent: int = 4,
    n_changed: int = 5,
    n_expression: int = 5,
    effect: float = 1.0,
    n_types: int = 3,
    n_draws: int = 4,
    seed: int = 0,
) -> ad.AnnData:
    """The first `n_changed` genes lose connectivity with `obs["severity"]`, by `effect` over its range, others do not.

    The next `n_expression` genes lose connectivity exactly as their mean expression falls with severity.
    """
    rng = np.random.default_rng(seed)
    half = n_individuals // 2
    severity = np.concatenate([np.zeros(half), np.linspace(0.35, 1.0, n_individuals - half)])
    loss_sg = np.zeros((n_individuals, n_genes))
    loss_sg[:, :n_changed] = effect * severity[:, None]
    expression_sg = rng.normal(2.0, 0.05, (n_individuals, n_genes)) + rng.normal(0, 0.5, n_genes)
    follow = slice(n_changed, n_changed + n_expression)
    expression_sg[:, follow] -= 0.8 * severity[:, None]
    loss_sg[:, follow] = effect * (2.0 - expression_sg[:, follow] + expression_sg[:, follow].mean(axis=0) - 2.0)
    direction_gk = rng.standard_normal((n_genes, n_latent))
    direction_gk /= np.linalg.norm(direction_gk, axis=1)[:, None]
    length_sg = 1.5 - loss_sg + 0.05 * rng.standard_normal((n_individuals, n_genes))
    position_sgk = length_sg[:, :, None] * direction_gk + 0.02 * rng.standard_normal((n_individuals, n_genes, n_latent))
    implied_sgh = np.einsum("sgk,shk->sgh", position_sgk, position_sgk)
    first_e, second_e = np.triu_indices(n_genes, 1)
    strength_se = implied_sgh[:, first_e, second_e]
    cut_s = np.quantile(np.abs(strength_se), 0.95, axis=1)
    present_se = np.abs(strength_se) > cut_s[:, None]
    kept_e = present_se.any(axis=0)
    names = [f"gene{g:03d}" for g in range(n_genes)]
    sample = pd.Index([f"donor{s:02d}" for s in range(n_individuals)])
    obs = pd.DataFrame(
        {
            "severity": severity,
            "phenotype": pd.Categorical(np.where(severity > 0, "case", "control"), categories=["control", "case"]),
            "sex": pd.Categorical(rng.permutation(np.arange(n_individuals) % 2).astype(str)),
            "age": rng.integers(20, 80, n_individuals).astype(float),
            _keys.N_CELLS: rng.integers(200, 400, n_individuals),
            _keys.DEPTH: rng.normal(2500, 100, n_individuals),
        },
        index=sample,
    )
    samples = ad.AnnData(length_sg.copy(), obs=obs, var=pd.DataFrame(index=names))
    adjacency_sgh = np.zeros((n_individuals, n_genes, n_genes), bool)
    adjacency_sgh[:, first_e, second_e] = present_se
    layers = {
        _keys.PROJECTION: length_sg,
        _keys.EXPLAINED_VARIANCE: (position_sgk**2).sum(axis=2) / 4,
        _keys.NORM: np.linalg.norm(position_sgk, axis=2),
        _keys.DEGREE: (adjacency_sgh | adjacency_sgh.transpose(0, 2, 1)).sum(axis=2).astype(float),
        _keys.STRENGTH: np.abs(implied_sgh).mean(axis=2),
    }
    for name, layer in layers.items():
        samples.layers[name] = layer.copy()
        samples.layers[name + _keys.SE_SUFFIX] = np.full(layer.shape, 0.05) * rng.uniform(0.8, 1.25, layer.shape)
    samples.layers[_keys.MEAN_EXPRESSION] = expression_sg
    samples.layers[_keys.DETECTION] = 1 / (1 + np.exp(-expression_sg))
    share = rng.dirichlet(np.full(n_types, 30.0), n_individuals)
    samples.obsm[_keys.COMPOSITION] = pd.DataFrame(share, index=sample, columns=[f"type{t}" for t in range(n_types)])
    samples.obsm[_keys.POSITIONS] = position_sgk.astype(np.float32)
    samples.obsm[_keys.EDGES] = sparse.csr_matrix(present_se[:, kept_e].astype(np.float32))
    samples.obsm[_keys.EDGE_STRENGTH] = strength_se[:, kept_e].astype(np.float32)
    samples.obsm[_keys.MATCHED] = (
        length_sg[:, :, None] + 0.05 * rng.standard_normal((n_individuals, n_genes, n_draws))
    ).astype(np.float32)
    samples.uns[_keys.COHORT] = {
        "mode": "shared",
        "sample_key": "donor",
        "cell_type_key": "cell_type",
        "n_latent": n_latent,
        "matched_cells": 200,
        "n_individuals": n_individuals,
        "failed": {},
        "seed": seed,
        "version": "0",
        "edges": pd.DataFrame(
            {"gene_a": np.array(names)[first_e[kept_e]], "gene_b": np.array(names)[second_e[kept_e]]},
            index=[str(e) for e in range(int(kept_e.sum()))],
        ),
    }
    return samples
