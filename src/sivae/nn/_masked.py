"""Encoding a cell with one gene hidden, for every gene, at the cost of one rank-one update each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sivae.nn._tower import beside
from sivae.nn._two_towers import TwoTowers


@final
class Hidden:
    """Cells of which any gene can be hidden. Only the first layer sees a gene: its output for all genes is kept.

    Parameters
    ----------
    module
        With an encoder whose first layer reads every gene.
    blocks
        Standardised values x_cg of some cells at a time, their design, and, where hiding a gene also moves the other
        values of the cell, along which slope (c, g), or None.
    """

    @torch.no_grad()
    def __init__(self, module: TwoTowers, blocks: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> None:
        self.module, parts = module, [_first(module, *block) for block in blocks]
        self.hidden_ch, self.slope_ch, self.skip_ck, self.slope_ck = (
            torch.cat(columns) for columns in zip(*parts, strict=True)
        )

    @torch.no_grad()
    def without(
        self,
        genes_f: Tensor,
        x_cf: Tensor,
        design_cb: Tensor,
        *,
        slope_cf: Tensor | None = None,
        shift_fc: Tensor | None = None,
    ) -> Tensor:
        """Posterior mean of z of each cell with gene f at its mean, (f, c, k).

        `x_cf` and `slope_cf` are the genes' own; hiding gene f moves cell c by `shift_fc` times its slope.
        """
        module, tower = self.module, self.module.cell_tower
        if slope_cf is None or shift_fc is None:
            slope_cf, shift_fc = torch.zeros_like(x_cf), x_cf.new_zeros(x_cf.shape[::-1])
        moved_cf = module.without_covariates(x_cf + slope_cf, design_cb, genes_f)
        x_cf = module.without_covariates(x_cf, design_cb, genes_f)
        own_fc = x_cf.T + shift_fc * (moved_cf - x_cf).T
        encoder: Any = tower.encoder
        weight_fh = (encoder.layers[0].weight[:, genes_f] * tower.input_scale).T
        hidden_fch = _updated(self.hidden_ch, self.slope_ch, weight_fh, own_fc, shift_fc)
        for norm, layer in zip(encoder.norms, list(encoder.layers)[1:], strict=True):
            hidden_fch = layer(F.relu(norm(hidden_fch)))
        skip_fck = _updated(self.skip_ck, self.slope_ck, tower.skip_pk[genes_f], own_fc, shift_fc)
        mean_fck = skip_fck if tower.linear_mean else skip_fck + hidden_fch[..., : tower.n_latent]
        return mean_fck * module.used_k


def _first(module: TwoTowers, x_cg: Tensor, design_cb: Tensor, slope_cg: Tensor | None) -> tuple[Tensor, ...]:
    """Output of the first layer and of the skip, and how both move along the slope, (c, h) and (c, k) twice."""
    tower = module.cell_tower
    first, skip_pk, n_genes = tower.encoder.layers[0], tower.skip_pk, x_cg.shape[1]
    moved_cg = None if slope_cg is None else module.without_covariates(x_cg + slope_cg, design_cb)
    x_cg = module.without_covariates(x_cg, design_cb)
    encoded_cb = design_cb if module.encodes_covariates else None
    hidden_ch, skip_ck = first(beside(x_cg * tower.input_scale, encoded_cb)), x_cg @ skip_pk
    if moved_cg is None:
        return hidden_ch, torch.zeros_like(hidden_ch), skip_ck, torch.zeros_like(skip_ck)
    slope_cg = moved_cg - x_cg
    weight_gh = (first.weight[:, :n_genes] * tower.input_scale).T  # type: ignore[index]
    return hidden_ch, slope_cg @ weight_gh, skip_ck, slope_cg @ skip_pk


def _updated(whole_ch: Tensor, slope_ch: Tensor, weight_fh: Tensor, own_fc: Tensor, shift_fc: Tensor) -> Tensor:
    """A linear layer's output moved along a slope, less the share of one gene, (f, c, h)."""
    return whole_ch + shift_fc[:, :, None] * slope_ch - own_fc[:, :, None] * weight_fh[:, None, :]
