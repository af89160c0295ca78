"""Calls of connected genes hold their rate where nothing is to be found, and planted hubs are found."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from sivae import SiVAE, TrainOptions, tl
from sivae.datasets import planted
from sivae.graph._edges import edge_pvalues

pytestmark = [pytest.mark.slow, pytest.mark.science]


def unstructured(seed, *, n=400, g=80, n_batches=1, largest=0.0):
    """Independent negative binomial counts of unequal depth; `bench/null_hubs.py` has a hundred larger ones."""
    rng = np.random.default_rng(seed)
    abundance = rng.lognormal(0, 1.0, g)
    if largest:
        abundance[0] = largest / (1 - largest) * abundance[1:].sum()
    batch = rng.integers(0, n_batches, n)
    rate = (
        rng.lognormal(0, 0.5, (n, 1)) * abundance * np.exp(rng.normal(0, 0.5, (n_batches, g)) * (n_batches > 1))[batch]
    )
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rate * rng.gamma(2, 0.5, rate.shape)).astype(np.float32)))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(g)]
    if n_batches > 1:
        adata.obs["batch"] = [f"b{b}" for b in batch]
    return adata


def trained(adata, n_latent, *, steps, **setup):
    SiVAE.setup_anndata(adata, **setup)
    model = SiVAE(adata, n_latent=n_latent, likelihood="normal")
    options = TrainOptions(max_steps=steps, validation_fraction=0.3)
    model.train(progress=False, accelerator="cpu", options=options)
    model.annotate(adata)
    return adata


def test_nothing_is_called_where_nothing_is_to_be_found():
    calls, p = 0, []
    for seed in range(10):
        adata = unstructured(seed, n_batches=1 + 2 * (seed % 3 == 1), largest=0.3 * (seed % 3 == 2))
        trained(adata, 3, steps=60, batch_key="batch" if "batch" in adata.obs else None)
        tl.hubs(adata)
        calls += bool(adata.var["sivae_connected"].any())
        p.append(adata.var["sivae_connected_pvalue"].to_numpy())
    p = np.concatenate(p)
    assert calls <= 2  # of 10 at 5 %: more has a chance of 1 %
    assert (p < 0.05).mean() < 0.08 and (p < 0.2).mean() < 0.26


def with_hubs(seed, n=1000, *, n_modules=3, size=30, n_null=110, n_hubs=3):
    """Counts of modules with hubs of loading 0.8 and others of 0.2 to 0.4; `bench/planted_hubs.py` has larger ones."""
    rng = np.random.default_rng(seed)
    module = np.r_[np.repeat(np.arange(n_modules), size), np.full(n_null, -1)]
    g = len(module)
    hub = (module >= 0) & (np.arange(g) % size < n_hubs)
    loading = np.where(hub, 0.8, rng.uniform(0.2, 0.4, g)) * rng.choice([-1, 1], g) * (module >= 0)
    z = rng.normal(size=(n, n_modules))
    rate = np.exp(loading * z[:, np.maximum(module, 0)] - loading**2 / 2)
    rate = rate * rng.lognormal(0, 0.35, (n, 1)) * rng.lognormal(0.5, 0.8, g)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rate * rng.gamma(5, 0.2, rate.shape)).astype(np.float32)))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(g)]
    adata.var["planted"], adata.var["hub"] = module >= 0, hub
    return adata


def found(score, hub, stratum):
    """Share of hubs among as many genes of highest score, in each stratum."""
    best = [
        np.flatnonzero(stratum == s)[np.argsort(-score[stratum == s])[: hub[stratum == s].sum()]]
        for s in np.unique(stratum)
    ]
    return hub[np.concatenate(best)].sum() / hub.sum()


def test_planted_hubs_are_found_also_among_genes_of_like_expression():
    ours, raw, expression = [], [], []
    for seed in (0, 1):
        adata = trained(with_hubs(seed), 3, steps=400)
        tl.hubs(adata, top=0.045)
        table = tl.hub_table(adata).loc[adata.var_names]
        hub, score = adata.var["hub"].to_numpy(), adata.var["sivae_hub_score"].to_numpy()
        fifth = np.argsort(np.argsort(table["mean"].to_numpy())) * 5 // len(table)
        counts = adata.X[(adata.obs["sivae_split"] == "train").to_numpy()].toarray()
        log = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
        degree = np.abs(np.corrcoef(log.T)).mean(axis=1)
        for listed, values in ((ours, score), (raw, degree), (expression, table["mean"].to_numpy())):
            listed.append([found(values, hub, np.zeros(len(hub))), found(values, hub, fifth)])
        called = adata.var["sivae_connected"].to_numpy()
        planted_genes = adata.var["planted"].to_numpy()
        assert (called & ~planted_genes).sum() <= max(1, 0.15 * called.sum())
        assert adata.var["hub"][adata.var["sivae_hub"]].mean() > 0.5
    ours, raw, expression = (np.mean(values, axis=0) for values in (ours, raw, expression))
    assert (ours >= 0.6).all() and (ours >= raw - 0.06).all() and (ours > expression + 0.3).all(), (ours, raw)


def test_pairs_with_a_gene_that_follows_nothing_have_no_evidence():
    """p-values of edges after training: uniform or conservative."""
    adata = trained(planted(800, 120, n_factors=3, genes_per_factor=20, counts=False, seed=4), 3, steps=300)
    tl.gene_neighbors(adata, 10)
    v, variance = adata.varm["X_sivae"], adata.varm["X_sivae_var"]
    covariance = adata.uns["sivae"]["joint_covariance"][:3, :3]
    null = (adata.var["module"] == "none").to_numpy()
    rows, columns = np.triu_indices(120, 1)
    p = edge_pvalues(v, variance, covariance, rows=rows, columns=columns)
    touched, both = null[rows] | null[columns], ~null[rows] & ~null[columns]
    for level in (0.2, 0.05, 0.01):
        assert (p[touched] <= level).mean() <= 1.2 * level
    same = (adata.var["module"].to_numpy()[rows] == adata.var["module"].to_numpy()[columns]) & both
    assert (p[same] < 0.01).mean() > 0.9
    listed = tl.neighbors_of(adata, adata.var_names[null])
    assert (listed["q"] < 0.05).groupby(listed["gene"]).any().mean() < 0.1
