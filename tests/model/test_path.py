"""Integrated gradients of the cell encoder: complete at any number of steps, and what automatic derivatives say."""

import copy

import numpy as np
import pytest
import torch
from builders import make_module

from sivae.model import _path
from sivae.model._path import PathEncoder

SHAPES = [
    {"cell_encoder": (5,)},
    {"cell_encoder": (6, 4)},
    {"cell_encoder": (6, 4), "layer_norm": False},
    {"cell_encoder": ()},
    {"cell_encoder": (5,), "encode_covariates": True},
]


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(f"{v}" for v in shape.values()))
def module(request):
    found = make_module(n_design=2, noise=0.8, **request.param)
    found.cell_tower.input_scale.fill_(0.7)
    return found


def values(module, rng, n=4):
    return rng.normal(size=(n, len(module.bias_g))), torch.from_numpy(rng.normal(size=(n, 2)))


def perceptron(module, x_cg, design_cb):
    """Mean of z without its linear part."""
    seen = design_cb if module.architecture.encode_covariates else None
    return module.cell_tower.encode(x_cg, covariates_rb=seen)[0] - x_cg @ module.cell_tower.skip_pk


def by_automatic_derivatives(module, x, design, turn, n_steps=6000):
    """The integral by midpoints, which lie close together near the baseline, (c, g, a)."""
    edges = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64) ** 4
    result = np.empty((*x.shape, turn.shape[1]))
    for cell, row in enumerate(torch.from_numpy(x)):
        path = ((edges[1:] + edges[:-1]) / 2)[:, None] * row
        path.requires_grad_()
        out = perceptron(module, path, design[[cell]].expand(n_steps, -1)) @ torch.from_numpy(turn)
        for axis in range(turn.shape[1]):
            slope = torch.autograd.grad(out[:, axis].sum(), path, retain_graph=True)[0]
            result[cell, :, axis] = (row * (torch.diff(edges) @ slope)).numpy()
    return result


def test_contributions_add_up_at_any_tolerance(module, rng):
    x, design = values(module, rng)
    for tolerance in (10.0, 1e-3):
        encoder = PathEncoder(module, np.eye(2))
        start, slope, _ = encoder.slopes(x, design, tolerance)
        sums = np.einsum("cg,cad,dg->ca", x, slope, encoder.first_dg)
        end, zero = (perceptron(module, torch.from_numpy(at), design).numpy() for at in (x, 0 * x))
        np.testing.assert_allclose(start, zero, atol=1e-10)
        np.testing.assert_allclose(sums, end - zero, atol=1e-10)


def test_it_is_the_integral_of_derivatives(module, rng):
    x, design = values(module, rng)
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    encoder = PathEncoder(module, turn)
    _, slope, worst = encoder.slopes(x, design, 1e-4)
    found = x[:, :, None] * np.einsum("cad,dg->cga", slope, encoder.first_dg)
    np.testing.assert_allclose(found, by_automatic_derivatives(module, x, design, turn), atol=1e-3)
    assert worst <= 1e-4
    np.testing.assert_allclose(encoder.linear_ga, module.cell_tower.skip_pk.numpy() @ turn)


def test_a_closed_axis_gets_nothing(rng):
    module = make_module()
    module.used_k[1] = 0
    encoder = PathEncoder(module, np.eye(2))
    start, slope, _ = encoder.slopes(rng.normal(size=(3, 7)), torch.zeros(3, 0, dtype=torch.float64), 1e-2)
    assert not start[:, 1].any() and not slope[:, 1].any() and not encoder.linear_ga[:, 1].any()


def test_the_number_of_steps_is_bounded_and_the_error_told(rng, monkeypatch):
    monkeypatch.setattr(_path, "MOST_STEPS", 16)
    module = make_module(noise=2.0)
    _, _, worst = PathEncoder(copy.deepcopy(module), np.eye(2)).slopes(
        rng.normal(size=(3, 7)), torch.zeros(3, 0, dtype=torch.float64), 1e-12
    )
    assert worst > 1e-12
