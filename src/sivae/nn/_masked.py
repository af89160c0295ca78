"""Encoding a cell with one gene hidden, for every gene, at the cost of one rank-one update each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sivae.nn._tower import beside
from sivae.nn._two_towers import TwoTowers


@torch.no_grad()
def encode_without(
    module: TwoTowers,
    x_cg: Tensor,
    design_cb: Tensor,
    genes_f: Tensor,
    *,
    slope_cg: Tensor | None = None,
    shift_fc: Tensor | None = None,
) -> Tensor:
    """Posterior mean of z for each cell with gene f at its mean, (f, c, k).

    Only the first layer sees the gene, so its output for all genes is known and one gene's share is subtracted. Where
    hiding gene f also moves the other values of cell c, by `shift_fc` times `slope_cg`, one more update follows that.
    """
    if slope_cg is None or shift_fc is None:
        slope_cg, shift_fc = torch.zeros_like(x_cg), x_cg.new_zeros(len(genes_f), len(x_cg))
    moved_cg = module.without_covariates(x_cg + slope_cg, design_cb)
    x_cg = module.without_covariates(x_cg, design_cb)
    slope_cg = moved_cg - x_cg
    tower = module.cell_tower
    encoder = tower.encoder
    first = encoder.layers[0]
    encoded_cb = design_cb if module.encodes_covariates else None
    hidden_ch = first(beside(x_cg * tower.input_scale, encoded_cb))
    own_fc = x_cg[:, genes_f].T + shift_fc * slope_cg[:, genes_f].T
    weight_gh = (first.weight[:, : x_cg.shape[1]] * tower.input_scale).T  # type: ignore[index]
    hidden_fch = _updated(hidden_ch, slope_cg @ weight_gh, weight_gh[genes_f], own_fc, shift_fc)
    for norm, layer in zip(encoder.norms, list(encoder.layers)[1:], strict=True):
        hidden_fch = layer(F.relu(norm(hidden_fch)))
    skip_pk = tower.skip_pk
    skip_fck = _updated(x_cg @ skip_pk, slope_cg @ skip_pk, skip_pk[genes_f], own_fc, shift_fc)
    mean_fck = skip_fck if tower.linear_mean else skip_fck + hidden_fch[..., : tower.n_latent]
    return mean_fck * module.used_k


def _updated(whole_ch: Tensor, slope_ch: Tensor, weight_fh: Tensor, own_fc: Tensor, shift_fc: Tensor) -> Tensor:
    """A linear layer's output moved along a slope, less the share of one gene, (f, c, h)."""
    return whole_ch + shift_fc[:, :, None] * slope_ch - own_fc[:, :, None] * weight_fh[:, None, :]
