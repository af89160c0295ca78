"""Encoding a cell with one gene hidden, for every gene, at the cost of one rank-one update each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sivae.nn._module import SiVAEModule
from sivae.nn._tower import beside


@torch.no_grad()
def encode_without(module: SiVAEModule, x_cg: Tensor, design_cb: Tensor, genes_f: Tensor) -> Tensor:
    """Posterior mean of z for each cell with gene f at its mean, (f, c, k).

    Only the first layer sees the gene, so its output for all genes is known and one gene's share is subtracted.
    """
    x_cg = module.without_covariates(x_cg, design_cb)
    tower = module.cell_tower
    encoder = tower.encoder
    first = encoder.layers[0]
    encoded_cb = design_cb if module.architecture.encode_covariates else None
    hidden_ch = first(beside(x_cg * tower.input_scale, encoded_cb))
    x_fc = x_cg[:, genes_f].T
    weight_fh = (first.weight[:, genes_f] * tower.input_scale).T  # type: ignore[index]
    hidden_fch = hidden_ch - x_fc[:, :, None] * weight_fh[:, None, :]
    for norm, layer in zip(encoder.norms, list(encoder.layers)[1:], strict=True):
        hidden_fch = layer(F.relu(norm(hidden_fch)))
    skip_fck = x_cg @ tower.skip_pk - x_fc[:, :, None] * tower.skip_pk[genes_f][:, None, :]
    mean_fck = skip_fck if tower.linear_mean else skip_fck + hidden_fch[..., : tower.n_latent]
    return mean_fck * module.used_k
