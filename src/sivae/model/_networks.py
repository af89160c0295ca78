"""The two halves of the cell tower as plain networks, for tools that attribute outputs to inputs.

    encoder   x_cg, design_cb -> z_ck    posterior mean, in the rotated axes
    decoder   z_ck, design_cb -> h_cd    joint layer, from the rotated axes

They share the weights of the trained module and compute the same numbers; what differs is how derivatives pass a layer
norm, where a rule of attribution needs another than calculus has.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sivae.nn._tower import Mlp, beside
from sivae.nn._two_towers import TwoTowers


@final
class HeldNorm(nn.LayerNorm):
    """Layer norm whose divisor counts as a constant in derivatives.

    It is then a linear layer of the row, which relevance passes as it passes any other. Source: Ali et al. 2022, XAI
    for transformers, ICML, PMLR 162:435.
    """

    def forward(self, x_ri: Tensor) -> Tensor:
        """Normalise rows, (r, i)."""
        centred_ri = x_ri - x_ri.mean(dim=-1, keepdim=True)
        divisor_r = (centred_ri.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt().detach()
        return centred_ri * divisor_r * self.weight + self.bias


@final
class RescaledNorm(nn.LayerNorm):
    """Layer norm of rows and their references, (2r, i), whose backward pass gives multipliers of the Rescale rule."""

    def forward(self, x_ri: Tensor) -> Tensor:
        """Normalise rows, the second half of which are the references of the first."""
        centred_ri = x_ri - x_ri.mean(dim=-1, keepdim=True)
        scaled_ri: Tensor = _Rescaled.apply(centred_ri, self.eps)  # type: ignore[no-untyped-call]
        return scaled_ri * self.weight + self.bias


class _Rescaled(torch.autograd.Function):
    """y = u r with r = (s + eps)^-1/2 and s = mean(u^2), of u and its reference u'.

    Differences pass a product by the mean of the other factor, and a function of one number by its difference quotient:
    dy = du (r + r')/2 + (u + u')/2 dr,  dr = (dr/ds) ds,  ds = mean((u + u') du). The three are exact, so contributions
    add up to the change of the output, as Shrikumar et al. 2017 (ICML, PMLR 70:3145) ask of the Rescale rule.
    """

    @staticmethod
    def forward(ctx: Any, u_ri: Tensor, eps: float) -> Tensor:
        divisor_r = (u_ri.square().mean(dim=-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(u_ri, divisor_r)
        return u_ri * divisor_r

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (multiplier_ri,) = grads
        u_ri, divisor_r = ctx.saved_tensors
        u_other, divisor_other = _swap(u_ri), _swap(divisor_r)
        slope_r = -((divisor_r * divisor_other) ** 2) / (divisor_r + divisor_other)  # (r - r') / (s - s')
        sum_ri = u_ri + u_other
        through_divisor_r = (multiplier_ri * sum_ri / 2).sum(dim=-1, keepdim=True) * slope_r
        return multiplier_ri * (divisor_r + divisor_other) / 2 + through_divisor_r * sum_ri / u_ri.shape[-1], None


def _swap(rows: Tensor) -> Tensor:
    """Rows in the place of their references and the reverse."""
    first, second = rows.chunk(2)
    return torch.cat([second, first])


def perceptron(mlp: Mlp, norm: type[nn.LayerNorm] = nn.LayerNorm) -> nn.Sequential:
    """The same layers with the same weights, one module per operation."""
    layers: list[nn.Module] = []
    for linear, own in zip(mlp.layers, mlp.norms, strict=False):
        layers.append(linear)
        if isinstance(own, nn.LayerNorm):
            layers.append(_with_weights(norm(own.normalized_shape, eps=own.eps), own))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, mlp.layers[-1])


def _with_weights(norm: nn.LayerNorm, own: nn.LayerNorm) -> nn.LayerNorm:
    norm.weight, norm.bias = own.weight, own.bias
    return norm


@final
class EncoderNetwork(nn.Module):
    """Standardised values of a cell, and its covariates, to the posterior mean of z in the rotated axes."""

    def __init__(self, module: TwoTowers, rotation_kk: Tensor, norm: type[nn.LayerNorm] = nn.LayerNorm) -> None:
        super().__init__()
        self.module, self.perceptron = module, perceptron(module.cell_tower.encoder, norm)
        self.turn_kk: Tensor
        self.register_buffer("turn_kk", module.used_k[:, None] * rotation_kk)

    def forward(self, x_cg: Tensor, design_cb: Tensor) -> Tensor:
        """Posterior mean of z, (c, k)."""
        tower = self.module.cell_tower
        u_cg = self.module.without_covariates(x_cg, design_cb)
        encoded_cb = design_cb if self.module.encodes_covariates else None
        deep_ck = self.perceptron(beside(u_cg * tower.input_scale, encoded_cb))[:, : tower.n_latent]
        z_ck: Tensor = (F.linear(u_cg, tower.skip_pk.T) + deep_ck) @ self.turn_kk
        return z_ck


@final
class DecoderNetwork(nn.Module):
    """Coordinates of a cell in the rotated axes, and its covariates, to the joint layer."""

    def __init__(self, module: TwoTowers, rotation_kk: Tensor) -> None:
        super().__init__()
        self.module, self.perceptron = module, perceptron(module.cell_tower.decoder)
        self.turn_kk: Tensor
        self.register_buffer("turn_kk", (module.used_k[:, None] * rotation_kk).T)

    def forward(self, z_ck: Tensor, design_cb: Tensor) -> Tensor:
        """Joint layer h, (c, d)."""
        decoded_cb = design_cb if self.module.decodes_covariates else None
        joint_cd: Tensor = self.perceptron(beside(z_ck @ self.turn_kk, decoded_cb))
        return joint_cd
