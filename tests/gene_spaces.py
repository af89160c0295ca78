"""An annotated gene space with planted modules, without training: loadings known up to their sampling error."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae._space import read_space
from sivae.graph._implied import correlation_factors, signal_factors
from sivae.graph._neighbors import knn_graph


def planted_space(n_modules=4, size=20, n_null=40, *, n_cells=600, n_neighbors=12, signed_genes=False, seed=0):
    """Modules on axes of their own, then genes that follow nothing; no X. `var["truth"]` is -1 for those."""
    rng = np.random.default_rng(seed)
    g, k, d = n_modules * size + n_null, max(n_modules, 1), 2
    truth = np.r_[np.repeat(np.arange(n_modules), size), np.full(n_null, -1)]
    v = np.zeros((g, k))
    own = truth >= 0
    v[own, truth[own]] = rng.uniform(0.45, 0.85, own.sum()) * (rng.choice([-1, 1], own.sum()) if signed_genes else 1)
    noise = 1 - (v**2).sum(axis=1)
    variance = np.repeat(noise[:, None] / n_cells, k, axis=1)
    z = rng.normal(size=(n_cells, k))
    adata = ad.AnnData(
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)]),
        var=pd.DataFrame({"truth": truth}, index=[f"G{i:03d}" for i in rng.permutation(g)]),
    )
    adata.obsm["X_sivae"] = z
    adata.varm["X_sivae"] = v + np.sqrt(variance) * rng.normal(size=v.shape)
    adata.varm["X_sivae_var"] = variance
    adata.varm["X_sivae_joint"] = 0.02 * rng.normal(size=(g, d))
    adata.var["sivae_noise_variance"] = noise
    adata.var["sivae_connected_pvalue"] = np.where(own, 1e-6, rng.uniform(size=g))
    adata.var["sivae_modelled"] = True
    adata.uns["sivae"] = {"joint_covariance": np.eye(k + d)}
    return connect(adata, n_neighbors)


def connect(adata, n_neighbors=12, use_rep=None):
    """A graph of genes as `gene_neighbors` leaves it."""
    space = read_space(adata, use_rep)
    noise = np.zeros(len(space.names)) if space.noise_g is None else space.noise_g
    graph = knn_graph(
        correlation_factors(signal_factors(space.v_gk, None, space.covariance_kk), noise / 10), n_neighbors
    )
    every = sparse.lil_matrix((adata.n_vars, adata.n_vars))
    every[np.ix_(space.rows, space.rows)] = graph
    adata.varp["sivae_connectivities"] = every.tocsr()
    distances = every.tocsr()
    distances.data = 1 - distances.data
    adata.varp["sivae_distances"] = distances
    choices = {"metric": "balanced", "n_neighbors": n_neighbors, "use_rep": space.rep, "signed": False}
    adata.uns["sivae"] = {**dict(adata.uns.get("sivae", {})), "neighbors": choices}
    return adata


def codes(adata):
    """Modules as numbers, -1 for unassigned."""
    label = adata.var["sivae_module"].astype(str)
    return np.where(label == "unassigned", -1, pd.to_numeric(label.str.replace("module", ""), errors="coerce"))
