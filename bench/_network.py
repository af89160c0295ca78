"""Cells of a simulated regulatory network whose edges are known.

A hierarchy of regulators drives targets. The log activity of a gene in a cell is the activities of its regulators
times their strengths (for regulators at the top, a number for each kind of cells), and noise of its own, scaled to one
standard deviation; counts are negative binomial with log abundance of sd 0.8 and a depth that varies. Nothing in it is
a low-rank factor: every regulator has noise of its own, which its targets share.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

N_REGULATORS, N_TOP, N_KINDS = 30, 8, 6
OWN = 0.6
"""Share of a regulator's standard deviation that is its own."""


def simulate(n_cells: int, n_genes: int, *, seed: int) -> ad.AnnData:
    """Counts; `obs["cell_type"]`, `var["regulator"]`, and `uns["edges"]` (regulator, target, strength)."""
    rng = np.random.default_rng(seed)
    strength_gg = edges(n_genes, rng)
    kind_n = rng.integers(0, N_KINDS, n_cells)
    state_kr = rng.normal(size=(N_KINDS, N_TOP))
    x_ng = np.zeros((n_cells, n_genes))
    for gene in range(n_genes):  # regulators come before what they regulate
        driven_n = x_ng @ strength_gg[:, gene]
        own_n = rng.normal(size=n_cells)
        if gene < N_TOP:
            driven_n = driven_n + state_kr[kind_n, gene] + 0.5 * rng.normal(size=n_cells)
        if driven_n.std() > 0:
            driven_n = (driven_n - driven_n.mean()) / driven_n.std()
        mixed_n = np.sqrt(1 - OWN**2) * driven_n + OWN * own_n
        x_ng[:, gene] = (mixed_n - mixed_n.mean()) / mixed_n.std()
    rate_ng = np.exp(0.6 * x_ng - 0.18) * rng.lognormal(0, 0.35, (n_cells, 1)) * rng.lognormal(0, 0.8, n_genes)
    counts_ng = rng.poisson(rate_ng * rng.gamma(5, 0.2, rate_ng.shape)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts_ng))
    adata.obs_names = [f"cell_{n + 1}" for n in range(n_cells)]
    adata.var_names = [f"gene_{g + 1}" for g in range(n_genes)]
    adata.obs["cell_type"] = pd.Categorical([f"kind_{k + 1}" for k in kind_n])
    adata.var["regulator"] = np.arange(n_genes) < N_REGULATORS
    source, target = np.nonzero(strength_gg)
    names = adata.var_names.to_numpy()
    adata.uns["edges"] = pd.DataFrame(
        {"regulator": names[source], "target": names[target], "strength": strength_gg[source, target]}
    )
    return adata


def edges(n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Strengths (regulator, target): one to three regulators for each gene below the top; few have many targets."""
    strength_gg = np.zeros((n_genes, n_genes))
    weight_r = 1 / np.arange(1, N_REGULATORS + 1)
    for gene in range(N_TOP, n_genes):
        before = min(gene, N_REGULATORS)
        share = weight_r[:before] / weight_r[:before].sum()
        chosen = rng.choice(before, size=min(before, int(rng.integers(1, 4))), replace=False, p=share)
        strength_gg[chosen, gene] = rng.uniform(0.5, 1.5, len(chosen)) * rng.choice([1, 1, -1], len(chosen))
    return strength_gg
