"""Small published models: a module in double precision, settings, and data with three groups of cells."""

import anndata
import numpy as np
import pandas as pd
import torch

from sivae import PublishedOptions, SiVAE
from sivae.nn._dispersion import LEAST_SIGMA
from sivae.nn._likelihoods import make_likelihood
from sivae.nn._published import PublishedModule

TINY = {"encoder": (6, 5), "decoder": (5, 6, 4)}
SMALL = {"encoder": (32, 16), "decoder": (16, 32), "iterations": 60, "learning_rate": 3e-3, "kl_warmup": 0.5}


def make_published(
    likelihood="normal", *, n_genes=7, n_latent=2, n_design=0, n_profile=5, seed=0, noise=0.4, **options
):
    """A module in which every parameter is random, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    module = PublishedModule(
        torch.randn(n_genes, n_profile, generator=generator),
        n_latent=n_latent,
        n_design=n_design,
        likelihood=make_likelihood(likelihood, LEAST_SIGMA),
        options=PublishedOptions(**{**TINY, **options}),
        generator=generator,
        dispersion="cell" if likelihood == "normal" else "gene",
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(noise * torch.randn(parameter.shape, generator=generator))
    return module.double()


def groups(n=240, g=24, *, seed=0, n_batches=0):
    """Values of three groups of cells, each with its own third of the genes; the rest follows nothing."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    x = rng.normal(size=(n, g))
    for number in range(3):
        x[:, number * (g // 4) : (number + 1) * (g // 4)] += 2.5 * (group == number)[:, None]
    obs = pd.DataFrame({"group": [f"g{number}" for number in group]}, index=[f"cell{i:04d}" for i in range(n)])
    if n_batches:
        obs["batch"] = [f"b{i}" for i in rng.integers(n_batches, size=n)]
    var = pd.DataFrame(index=[f"gene{i:03d}" for i in range(g)])
    adata = anndata.AnnData(x.astype(np.float32), obs=obs, var=var)
    SiVAE.setup_anndata(adata, batch_key="batch" if n_batches else None, normalize="none")
    return adata


def trained(adata, *, options=None, max_epochs=None, seed=0, train_options=None, **model):
    """A short training of the published recipe."""
    published = PublishedOptions(**{**SMALL, **(options or {})})
    result = SiVAE(adata, **{"n_latent": 2, "recipe": "choi2023", "published": published, "seed": seed} | model)
    result.train(max_epochs=max_epochs, progress=False, accelerator="cpu", options=train_options)
    return result
