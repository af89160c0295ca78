"""An annotated AnnData with everything that analyses of the gene space read."""

import numpy as np
from annotated import annotated


def annotated_space(n=120, g=60, k=3, d=4, seed=0):
    """Thirty genes on three axes, the others at (or, for two, near) the origin; four without a position."""
    rng = np.random.default_rng(seed)
    adata = annotated(n, g, k, unused=(), later=6, seed=seed)
    v = np.zeros((g, k))
    v[np.arange(30), np.arange(30) % k] = rng.uniform(0.3, 0.9, 30) * rng.choice([-1, 1], 30)
    v[30:32] = 0.01 * rng.normal(size=(2, k))
    w = 0.2 * v[:, :1] @ rng.normal(size=(1, d))
    variance = np.full((g, k), 0.003)
    v[-4:], w[-4:], variance[-4:] = np.nan, np.nan, np.nan
    adata.varm["X_sivae"], adata.varm["X_sivae_joint"], adata.varm["X_sivae_var"] = v, w, variance
    adata.varm["X_sivae_encoder"] = 0.1 * v
    adata.var["sivae_noise_variance"] = np.where(np.isfinite(v[:, 0]), 0.5, np.nan)
    p = np.where(np.arange(g) < 30, 1e-4, rng.uniform(0.1, 1, g))
    adata.var["sivae_connected_pvalue"] = np.where(np.isfinite(v[:, 0]), p, np.nan)
    root = np.eye(k + d) + 0.1 * rng.normal(size=(k + d, k + d))
    adata.uns["sivae"]["joint_covariance"] = root @ root.T
    adata.uns["sivae"]["setup"]["normalize"] = "log1p"
    return adata
