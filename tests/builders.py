"""Small modules, blocks and trainings."""

import numpy as np
import torch

from sivae import Architecture, TrainOptions
from sivae._block import Block, Counts
from sivae.data._split import is_validation
from sivae.nn._likelihoods import make_likelihood
from sivae.nn._module import SiVAEModule

SMALL = Architecture(cell_encoder=(16,), feature_encoder=(16,), cell_decoder=(16,), feature_decoder=(16,), n_joint=6)


def train(model, *, max_steps=60, batch_size=64, feature_batch_size=32, early_stopping=False, **options):
    """A short training."""
    options = TrainOptions(**{"max_steps": max_steps, "checks": 6, "validation_fraction": 0.15} | options)
    return model.train(
        batch_size=batch_size,
        feature_batch_size=feature_batch_size,
        early_stopping=early_stopping,
        accelerator="cpu",
        progress=False,
        options=options,
    )


def split(model, adata):
    """Rows of training and of validation cells, in the order of their names."""
    held = is_validation(list(adata.obs_names), 0.15)
    order = np.argsort(np.asarray(adata.obs_names, str), kind="stable")
    return order[~held[order]], order[held[order]]


SHORT = TrainOptions(max_steps=500, checks=20)
"""A training long enough for a few hundred genes and a thousand cells, from the spectral start."""
STILL = {"max_steps": 1, "checks": 1, "learning_rate": 1e-30}
"""Options under which the weights stay those of step 0 (to 1e-30)."""


def make_module(
    likelihood="normal",
    *,
    n_genes=7,
    n_latent=2,
    n_design=0,
    n_profile=4,
    decoder="residual",
    seed=0,
    noise=0.4,
    grad=False,
    dispersion="gene",
    n_batches=0,
    **sizes,
):
    """A module in which every parameter is random, in double precision; gradients only where asked."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {
        "cell_encoder": (5,),
        "feature_encoder": (6,),
        "cell_decoder": (5,),
        "feature_decoder": (4,),
        "n_joint": 3,
    } | sizes
    module = SiVAEModule(
        torch.randn(n_genes, n_profile, generator=generator),
        n_latent=n_latent,
        n_design=n_design,
        likelihood=make_likelihood(likelihood, 0.3),
        decoder=decoder,
        architecture=Architecture(**sizes),
        generator=generator,
        dispersion=dispersion,
        n_batches=n_batches,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(noise * torch.randn(parameter.shape, generator=generator))
        module.scale_g.copy_(0.5 + torch.rand(n_genes, generator=generator))
        module.shift_bg.copy_(torch.randn(n_design, n_genes, generator=generator))
        module.log_gain_bg.copy_(0.3 * torch.randn(n_design, n_genes, generator=generator))
    return module.double().eval().requires_grad_(grad)


def coordinates(y_cf, *, seed=0):
    """Counts in coordinate form, in no particular order."""
    row, column = np.nonzero(y_cf)
    order = np.random.default_rng(seed).permutation(len(row))
    row, column = row[order], column[order]
    return Counts(
        torch.tensor(row), torch.tensor(column), torch.tensor(np.asarray(y_cf)[row, column], dtype=torch.float64)
    )


def make_block(
    x_cg, y_cg=None, *, cells=None, genes=None, design_cb=None, library_c=None, cell_weight=None, gene_weight=None
):
    """The block of some cells and genes of dense arrays; counts where `y_cg` is given."""
    x_cg = np.asarray(x_cg, float)
    cells = np.arange(len(x_cg)) if cells is None else np.asarray(cells)
    genes = np.arange(x_cg.shape[1]) if genes is None else np.asarray(genes)
    design_cb = np.zeros((len(x_cg), 0)) if design_cb is None else design_cb
    library_c = np.ones(len(x_cg)) if library_c is None else library_c
    return Block(
        x_cg=torch.tensor(x_cg[cells]),
        design_cb=torch.tensor(design_cb[cells], dtype=torch.float64),
        log_library_c=torch.tensor(np.log(library_c[cells])),
        genes_f=torch.tensor(genes),
        y=torch.tensor(x_cg[np.ix_(cells, genes)]) if y_cg is None else coordinates(y_cg[np.ix_(cells, genes)]),
        cell_weight=1 / len(cells) if cell_weight is None else cell_weight,
        gene_weight=1 / len(genes) if gene_weight is None else gene_weight,
    )
