"""The networks that attribution methods see compute what the module computes, and pass layer norms by their rules."""

import numpy as np
import pytest
import torch
from builders import make_module
from torch import nn

from sivae.model._networks import DecoderNetwork, EncoderNetwork, HeldNorm, RescaledNorm, _Rescaled


def rotation(k, seed=0):
    return torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]


@pytest.fixture(params=[False, True], ids=["covariates aside", "covariates in both"])
def module(request):
    """Two covariate columns, one closed axis."""
    module = make_module(n_genes=6, n_latent=3, n_design=2, encode_covariates=request.param, cell_encoder=(5, 4))
    module.used_k[1] = 0.0
    return module


def rows(module, n=9):
    generator = torch.Generator().manual_seed(1)
    x_cg = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    z_ck = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return x_cg, z_ck, torch.randn(n, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("norm", [nn.LayerNorm, HeldNorm])
def test_encoder_is_the_posterior_mean_in_the_rotated_axes(module, norm):
    x_cg, _, design_cb = rows(module)
    turn = rotation(3)
    expected = module.encode_cells(x_cg, design_cb).mean_rk @ turn
    np.testing.assert_allclose(EncoderNetwork(module, turn, norm)(x_cg, design_cb), expected, atol=1e-12)


def test_encoder_with_rescaled_norm_takes_rows_and_references(module):
    x_cg, _, design_cb = rows(module, n=8)
    turn = rotation(3)
    expected = module.encode_cells(x_cg, design_cb).mean_rk @ turn
    np.testing.assert_allclose(EncoderNetwork(module, turn, RescaledNorm)(x_cg, design_cb), expected, atol=1e-12)


def test_decoder_is_the_joint_layer_of_the_rotated_axes(module):
    _, z_ck, design_cb = rows(module)
    turn = rotation(3)
    expected = module.decode_cells((z_ck @ turn.T) * module.used_k, design_cb)
    np.testing.assert_allclose(DecoderNetwork(module, turn)(z_ck, design_cb), expected, atol=1e-12)


def test_weights_are_shared(module):
    known = {id(p) for p in module.parameters()}
    assert all(
        id(p) in known for net in (EncoderNetwork, DecoderNetwork) for p in net(module, rotation(3)).parameters()
    )


def test_held_norm_is_linear_in_derivatives():
    """Its output without the shift is the input times its derivative."""
    generator = torch.Generator().manual_seed(0)
    norm = HeldNorm(5).double()
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(norm(x)[:, 2].sum(), x)
    np.testing.assert_allclose((slope * x).sum(dim=1).detach(), norm(x)[:, 2].detach(), atol=1e-12)


@pytest.mark.parametrize("step", [1.0, 1e-4, 0.0])
def test_rescaled_norm_passes_differences_whole(step):
    """Multipliers times the differences of the inputs add up to the difference of every output."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    other = u + step * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    both = torch.cat([u, other]).requires_grad_()
    y = _Rescaled.apply(both, 1e-5)
    for j in range(5):
        (multiplier,) = torch.autograd.grad(y[:3, j].sum(), both, retain_graph=True)
        gained = (multiplier[:3] * (u - other)).sum(dim=1)
        np.testing.assert_allclose(gained, (y[:3, j] - y[3:, j]).detach(), atol=1e-12)


def test_rescaled_norm_is_calculus_where_nothing_differs():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    both, single = torch.cat([u, u]).requires_grad_(), u.clone().requires_grad_()
    (found,) = torch.autograd.grad(_Rescaled.apply(both, 1e-5)[:3, 1].sum(), both)
    (expected,) = torch.autograd.grad(
        (single * (single.square().mean(1, keepdim=True) + 1e-5).rsqrt())[:, 1].sum(), single
    )
    np.testing.assert_allclose(found[:3], expected, atol=1e-12)
