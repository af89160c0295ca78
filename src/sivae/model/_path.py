"""Integrated gradients of the cell encoder along the straight path from the mean cell to a cell.

The perceptron's first layer is linear, a = a_0 + t W x along the path, so the integral of df_k/dx_g is W'_g J_k with
J_k the mean of df_k/da over the path: steps cost nothing that grows with the genes. Across each step the slope of every
layer is that of its secant, so that contributions add up whatever the number of steps; steps are doubled until they
settle.
Source: Sundararajan, Taly, Yan 2017 (arXiv 1703.01365), integrated gradients; Shrikumar, Greenside, Kundaje 2017
(arXiv 1704.02685), secants. That the secants of a layer norm are exact is shown at `_across_norm`.
"""

from __future__ import annotations

import copy
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float64]
NUMBERS = 2**22
"""Slopes that are in memory at a time."""
FIRST_STEPS, MOST_STEPS = 8, 2**12
TINY = 1e-12


@final
class PathEncoder:
    """The cell encoder in double precision, its axes turned: a linear map and a perceptron behind one linear layer."""

    def __init__(self, module: TwoTowers, rotation_ka: Array) -> None:
        tower, g = module.cell_tower, len(module.bias_g)
        turn_ka = torch.from_numpy(module.used_k.double().numpy()[:, None] * rotation_ka)
        layers = [_weights(layer) for layer in tower.encoder.layers]
        weight, self._bias_d = layers[0]
        self.first_dg: Array = weight[:, :g].numpy() * float(tower.input_scale)
        self._covariates_db, self._with_covariates = weight[:, g:], module.encodes_covariates
        self.linear_ga: Array = tower.skip_pk.detach().double().numpy() @ turn_ka.numpy()
        self._later, self._norms = layers[1:], list(copy.deepcopy(tower.encoder.norms).double())
        width = len(layers[-1][1])  # means, then widths
        self._head_wa = turn_ka.new_zeros((width, turn_ka.shape[1]))
        if not tower.linear_mean:
            self._head_wa[: tower.n_latent] = turn_ka

    @torch.no_grad()
    def slopes(self, x_cg: Array, design_cb: Tensor, tolerance: float) -> tuple[Array, Array, float]:
        """f(0), (c, a); mean slope of f along the path from 0 to x by the first layer, (c, a, d); largest error."""
        step_cd = torch.from_numpy(x_cg @ self.first_dg.T)
        start_cd = self._bias_d.expand_as(step_cd)
        if self._with_covariates:
            start_cd = start_cd + design_cb @ self._covariates_db.T
        baseline_ca = self._forward(start_cd)[0]
        slope_cad = self._mean_slope(start_cd, step_cd, FIRST_STEPS)
        left, n_steps, worst = torch.arange(len(step_cd)), 2 * FIRST_STEPS, 0.0
        while len(left) and n_steps <= MOST_STEPS:
            finer_cad = self._mean_slope(start_cd[left], step_cd[left], n_steps)
            error_c = (step_cd[left, None] * (finer_cad - slope_cad[left])).abs().sum(dim=2).amax(dim=1) / 3
            slope_cad[left] = finer_cad  # errors fall with the square of the number of steps, hence the 3
            left, n_steps, worst = left[error_c > tolerance], 2 * n_steps, float(error_c.max())
        return baseline_ca.numpy(), slope_cad.numpy(), worst

    def _forward(self, a_rd: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The perceptron after its first linear layer, turned, and each hidden layer before and after its norm."""
        hidden = []
        for (weight, bias), norm in zip(self._later, self._norms, strict=True):
            n_rd = norm(a_rd)
            hidden.append((a_rd, n_rd))
            a_rd = F.relu(n_rd) @ weight.T + bias
        return a_rd @ self._head_wa, hidden

    def _mean_slope(self, start_cd: Tensor, step_cd: Tensor, n_steps: int) -> Tensor:
        """Mean along the path of the slope of f across a step, (c, a, d).

        Steps are short near the mean cell, where a layer norm turns fast: there its input is nearly constant.
        """
        at_t = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64) ** 4
        length_t = torch.diff(at_t)
        n_axes = self._head_wa.shape[1]
        some = max(1, NUMBERS // (n_steps * n_axes * max(len(bias) for _, bias in [(0, self._bias_d), *self._later])))
        parts = []
        for first in range(0, len(start_cd), some):
            rows = slice(first, first + some)
            _, hidden = self._forward(start_cd[rows, None] + at_t[:, None] * step_cd[rows, None])
            slope = self._head_wa.T  # (a, w), then (c, t, a, d)
            for (weight, _), norm, (a_ctd, n_ctd) in zip(
                reversed(self._later), reversed(self._norms), reversed(hidden), strict=True
            ):
                slope = (slope @ weight) * _across_relu(n_ctd)[:, :, None]
                slope = _across_norm(slope, a_ctd, norm) if isinstance(norm, nn.LayerNorm) else slope
            n_rows = len(start_cd[rows])
            parts.append(torch.einsum("ctad,t->cad", slope, length_t) if hidden else slope.expand(n_rows, -1, -1))
        return torch.cat(parts)


def _across_relu(n_ctd: Tensor) -> Tensor:
    """Slope of the rectifier across each step, (c, t, d): exact wherever in the step it bends."""
    moved, rectified = torch.diff(n_ctd, dim=1), torch.diff(F.relu(n_ctd), dim=1)
    still = moved.abs() < TINY
    return torch.where(still, (n_ctd[:, :-1] > 0).double(), rectified / torch.where(still, 1.0, moved))


def _across_norm(slope_ctad: Tensor, a_ctd: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Slopes behind a layer norm carried to before it, across each step.

    With c = a - mean(a) and r = sd, c'/r' - c/r = (c' - c)(1/r + 1/r') / 2 + (c + c')(1/r' - 1/r) / 2, and
    1/r' - 1/r = -(r'^2 - r^2) / (r r' (r + r')), where r'^2 - r^2 is the mean of (c' - c)(c + c').
    """
    c_ctd = a_ctd - a_ctd.mean(dim=2, keepdim=True)
    sd_ct1 = (c_ctd.square().mean(dim=2, keepdim=True) + norm.eps).sqrt()
    before, after = sd_ct1[:, :-1], sd_ct1[:, 1:]
    both_ct1d = (c_ctd[:, :-1] + c_ctd[:, 1:])[:, :, None]
    slope_ctad = slope_ctad * norm.weight
    bent = (slope_ctad * both_ct1d).mean(dim=3, keepdim=True) / (2 * before * after * (before + after))[..., None]
    slope_ctad = slope_ctad * ((1 / before + 1 / after) / 2)[..., None] - bent * both_ct1d
    return slope_ctad - slope_ctad.mean(dim=3, keepdim=True)


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = (parameter.detach().double() for parameter in layer.parameters())
    return weight, bias
