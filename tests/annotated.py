"""An AnnData as `SiVAE.annotate` leaves it, with known numbers and without training."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse


def annotated(n=120, g=60, k=3, *, unused=(2,), n_groups=3, later=10, seed=0):
    rng = np.random.default_rng(seed)
    counts = sparse.csr_matrix(rng.poisson(1.0, (n, g)).astype(np.float32))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical([f"type {i % n_groups}" for i in range(n)]), "depth": rng.gamma(2.0, size=n)},
        index=[f"cell_{i}" for i in range(n)],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(g)]))
    z, v = rng.normal(size=(n, k)), rng.normal(0, 0.4, size=(g, k))
    z[:, 0] += np.arange(n) % n_groups
    z[:, list(unused)] *= 0.01
    v[:, list(unused)] = 0.0
    trained = np.arange(g) < g - later
    adata.obsm["X_sivae"], adata.varm["X_sivae"] = z, v
    adata.varm["X_sivae_var"] = rng.uniform(0.001, 0.01, (g, k))
    adata.var["sivae_modelled"] = trained
    adata.var["sivae_r2"] = np.where(trained, rng.uniform(-0.2, 0.9, g), np.nan)
    adata.var["sivae_noise"], adata.var["sivae_connected_pvalue"] = 1.0, 0.5
    adata.obs["sivae_split"] = pd.Categorical(np.where(np.arange(n) % 10 == 0, "validation", "train"))
    adata.uns["sivae"] = uns(z, n=n)
    return adata


def uns(z, *, n):
    step = np.array([0.0, 10, 20, 30, 40])
    validation = np.array([50.0, 42.5, 40.25, 40.5, 41.0])
    return {
        "setup": {
            "format": 1, "layer": "", "batch_key": "", "categorical_covariate_keys": [], "counts": True,
            "continuous_covariate_keys": [], "size_factor_key": "", "normalize": "log1p", "categories": {},
        },
        "options": {
            "n_latent": z.shape[1], "likelihood": "nb", "gamma": 0.05, "decoder": "residual", "kl_scale": "bound",
            "profiles": "principal", "n_profile": 128, "architecture": {"n_joint": 8}, "seed": 4,
        },
        "joint_covariance": np.atleast_2d(np.cov(z, rowvar=False)),
        "rotation": {"kind": "none", "matrix": np.eye(z.shape[1])},
        "history": {
            "step": step, "seconds": step / 10, "loss": np.array([np.nan, 48.0, 46, 45, 44]),
            "nll": np.array([np.nan, 36.0, 34, 33, 32]), "kl_cells": np.array([np.nan, 4.0, 4, 4, 4]),
            "nll_linear": np.array([np.nan, 40.0, 38, 37, 36]), "validation_loss": validation,
            "best": np.array([1.0, 1, 1, 0, 0]),
        },
        "facts": {
            "n_training_cells": n - n // 10, "n_validation_cells": n // 10, "n_signal_axes": 2, "best_step": 20,
            "stopped": "plateau", "train_options": {"learning_rate": 0.002}, "batch_size": 256,
            "feature_batch_size": 512, "validation_fraction": 0.1, "versions": {"torch": "2.0"},
        },
    }  # fmt: skip
