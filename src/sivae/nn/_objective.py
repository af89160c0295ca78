"""The objective of one block, term by term."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Weights of the terms (paper: Methods, joint objective).

    `kl_features` is beta_v s_v: with s_v = G / N and gamma = 0 the objective is the evidence bound divided by N
    (`kl_scale="bound"`); s_v = 1 is the published mean over genes (`kl_scale="published"`).
    """

    kl_cells: float
    kl_features: float
    gamma: float


@dataclass(frozen=True)
class Terms:
    """The four terms of the objective: unbiased estimates of their values over all cells and genes."""

    nll: Tensor  # sum over genes, mean over cells
    kl_cells: Tensor  # mean over cells
    kl_features: Tensor  # mean over genes
    nll_linear: Tensor  # as nll, under the linear predictor alone

    def loss(self, weights: Weights) -> Tensor:
        """The scalar that training minimises."""
        return (
            self.nll
            + weights.kl_cells * self.kl_cells
            + weights.kl_features * self.kl_features
            + weights.gamma * self.nll_linear
        )

    def as_floats(self) -> dict[str, float]:
        """The values by name."""
        return {name: float(getattr(self, name).detach()) for name in ("nll", "kl_cells", "kl_features", "nll_linear")}


def gaussian_kl(mean_rk: Tensor, sd_rk: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, 1)) summed over axes, (rows,)."""
    return (0.5 * (mean_rk.square() + sd_rk.square() - 1.0) - torch.log(sd_rk)).sum(dim=1)
