"""Tables of associations made by hand from individuals, with the columns that `sivae.cohort` writes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

from sivae import _keys


def made_association(samples: ad.AnnData, phenotype: str = "severity", *, fdr: float = 0.05) -> pd.DataFrame:
    """What `cohort.associate` returns, by plain least squares; genes that follow mean expression say so."""
    column = samples.obs[phenotype]
    binary = column.dtype.kind not in "fiu"
    x_s = column.cat.codes.to_numpy(float) if binary else column.to_numpy(float)
    y_sg, expression_sg = samples.layers[_keys.PROJECTION], samples.layers[_keys.MEAN_EXPRESSION]
    fits = [stats.linregress(x_s, y_s) for y_s in y_sg.T]
    expression_p = np.array([stats.linregress(x_s, e_s).pvalue for e_s in expression_sg.T])
    p = np.array([fit.pvalue for fit in fits])
    q = stats.false_discovery_control(p)
    found = q <= fdr
    verdict = np.where(found & (expression_p < 0.001), "follows mean expression", "associated")
    table = pd.DataFrame(
        {
            "effect": [fit.slope for fit in fits],
            "se": [fit.stderr for fit in fits],
            "rho": [stats.spearmanr(x_s, y_s).statistic for y_s in y_sg.T],
            "p": p,
            "q": q,
            "mean_connectivity": y_sg.mean(axis=0),
            "expression_p": expression_p,
            "verdict": np.where(found, verdict, "not associated"),
        },
        index=samples.var_names,
    )
    table["relative_effect"] = table["effect"] / table["mean_connectivity"]
    table.attrs = {
        "phenotype": phenotype, "covariates": [], "layer": _keys.PROJECTION, "fdr": fdr, "n_individuals": len(x_s),
        "kind": "binary" if binary else "numeric", "levels": list(column.cat.categories) if binary else [],
    }  # fmt: skip
    return table


def made_edges(samples: ad.AnnData, phenotype: str = "severity") -> pd.DataFrame:
    """Edges with the p of their strength against the phenotype, as `cohort.edges` returns them."""
    table = samples.uns[_keys.COHORT]["edges"].copy()
    strength_se, x_s = samples.obsm[_keys.EDGE_STRENGTH], samples.obs[phenotype].to_numpy(float)
    fits = [stats.linregress(x_s, y_s) for y_s in strength_se.T]
    table["effect"], table["p"] = [fit.slope for fit in fits], [fit.pvalue for fit in fits]
    table["q"] = stats.false_discovery_control(table["p"])
    table["associated"] = table["q"] <= 0.05
    return table.sort_values("p")


def made_sets(n: int = 12, seed: int = 0) -> pd.DataFrame:
    """What `cohort.gene_sets` returns."""
    rng = np.random.default_rng(seed)
    nes = np.sort(rng.normal(0, 1.6, n))
    p = np.clip(2 * stats.norm.sf(np.abs(nes) * 1.4), 1e-5, 1)
    names = [f"HALLMARK_SET_OF_GENES_WITH_A_LONG_NAME_{i}" if i % 3 == 0 else f"set {i}" for i in range(n)]
    return pd.DataFrame(
        {
            "set": names, "n": rng.integers(8, 200, n), "es": nes / 3, "nes": nes, "p": p,
            "q": stats.false_discovery_control(p), "leading_edge": "gene001 gene002",
        }
    ).sample(frac=1, random_state=0)  # fmt: skip


def made_power(effects: tuple[float, ...] = (1.0,)) -> pd.DataFrame:
    """What `cohort.power` returns: the last number of individuals and of cells goes beyond the cohort."""
    rows = []
    for effect in effects:
        for individuals in (10, 20, 40, 80):
            for cells in (40, 75, 150, 300, 1000):
                power = float(stats.norm.cdf(effect * np.sqrt(individuals * cells / (cells + 150)) / 1.5 - 1.96))
                width = 0.08 * np.sqrt(power * (1 - power)) * 2
                rows.append(
                    {
                        "individuals": individuals, "cells": cells, "effect": effect, "power": power,
                        "power_low": max(power - width, 0.0), "power_high": min(power + width, 1.0), "type1": 0.048,
                        "extrapolated": individuals == 80 or cells == 1000,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def mapped(samples: ad.AnnData) -> ad.AnnData:
    """The same individuals with the overlap of their edges as similarity, and a map of two axes."""
    edge_se = samples.obsm[_keys.EDGES].toarray()
    both_ss = edge_se @ edge_se.T
    size_s = edge_se.sum(axis=1)
    similarity_ss = both_ss / (size_s[:, None] + size_s[None, :] - both_ss)
    center = np.eye(len(size_s)) - 1 / len(size_s)
    values, vectors = np.linalg.eigh(center @ similarity_ss @ center)
    samples.obsp[_keys.SIMILARITY] = similarity_ss
    samples.obsm[_keys.MAP] = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0))
    return samples
